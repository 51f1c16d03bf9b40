//! Several blobs in one call.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::{Ring, VaultRig, is_missing, is_tampered, job_in, pattern};
use crate::vault::{BlobKind, BlobRef};

/// A fact.
pub async fn what_is_put_together_comes_back_together_and_alone(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let kinds_and_lengths = [
        (BlobKind::Dockerfile, 300),
        (BlobKind::Context, (8 << 20) + 1),
        (BlobKind::Log, 0),
        (BlobKind::Log, 65_536),
        (BlobKind::Submission, 200_000),
        (BlobKind::Log, 300),
        (BlobKind::Report, 2),
    ];
    let bytes = kinds_and_lengths.map(|(_, len)| pattern(len));
    let parts: Vec<(BlobKind, &[u8])> = kinds_and_lengths
        .iter()
        .zip(&bytes)
        .map(|((kind, _), bytes)| (*kind, &**bytes))
        .collect();
    let blobs = vault.put_all(job.id, &job.key, &parts).await.unwrap();
    assert_eq!(blobs.len(), parts.len());
    let mut named: Vec<(BlobKind, &BlobRef)> = parts.iter().map(|(kind, _)| *kind).zip(&blobs).collect();
    let again = rig.vault(Ring::Ours).await; // another process
    for ((kind, blob), (_, bytes)) in named.iter().zip(&parts) {
        assert_eq!(blob.bytes, bytes.len() as u64);
        assert!(job.get(&*again, *kind, blob).await.unwrap() == *bytes);
    }
    // Any order, any number, and twice.
    named.reverse();
    named.push(named[0]);
    let back = again.get_all(job.id, &job.key, &named).await.unwrap();
    let wanted: Vec<&[u8]> = parts
        .iter()
        .rev()
        .chain(parts.last())
        .map(|(_, bytes)| *bytes)
        .collect();
    assert!(back == wanted);
    assert_eq!(vault.put_all(job.id, &job.key, &[]).await.unwrap(), []);
    assert_eq!(
        vault.get_all(job.id, &job.key, &[]).await.unwrap(),
        Vec::<Vec<u8>>::new()
    );
    vault.erase(job.id).await.unwrap();
    for (kind, blob) in named {
        assert!(is_missing(&job.get(&*vault, kind, blob).await, kind));
    }
}

/// A fact.
pub async fn one_of_several_that_is_missing_or_changed_is_named(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let parts = [(BlobKind::Dockerfile, &b"one"[..]), (BlobKind::Report, &b"two"[..])];
    let blobs = vault.put_all(job.id, &job.key, &parts).await.unwrap();
    let named = [(BlobKind::Dockerfile, &blobs[0]), (BlobKind::Report, &blobs[1])];
    let all = async || {
        let all = vault.get_all(job.id, &job.key, &named).await;
        all.map(|all| all.concat())
    };
    assert_eq!(all().await.unwrap(), b"onetwo");
    let mut raw = rig.raw(job.id, BlobKind::Report, &blobs[1].name).await;
    raw[30] ^= 1;
    rig.plant(job.id, BlobKind::Report, &blobs[1].name, raw).await;
    assert!(is_tampered(&all().await, BlobKind::Report));
    vault.delete(job.id, &blobs[1]).await.unwrap();
    assert!(is_missing(&all().await, BlobKind::Report));
}
