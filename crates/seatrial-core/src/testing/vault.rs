//! What each vault must do: one suite for all of them. A rig says how to reach behind a vault; each fact
//! below is a test, and `vault_contract!` makes them all from an expression that gives a rig:
//!
//! ```ignore
//! seatrial_core::vault_contract!(FolderRig::new());
//! ```

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod together;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    id::JobId,
    vault::{BlobKind, BlobRef, Vault, VaultError, WrappedKey},
};

pub use self::together::{
    one_of_several_that_is_missing_or_changed_is_named, what_is_put_together_comes_back_together_and_alone,
};

/// Which key ring a vault has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ring {
    /// One key.
    Ours,
    /// The same ring with a fresh key in front.
    Rotated,
    /// The rotated ring without our first key.
    Retired,
    /// Another key with another id.
    Other,
    /// Another key with our key's id.
    Impostor,
}

/// A place for blobs, and ways to reach behind the vaults over it.
#[async_trait]
pub trait VaultRig: Send + Sync {
    /// A vault over the place; all of them are over the same.
    async fn vault(&self, ring: Ring) -> Arc<dyn Vault>;
    /// The sealed bytes of a blob.
    async fn raw(&self, job: JobId, kind: BlobKind, name: &str) -> Vec<u8>;
    /// Puts bytes in place of a blob, whether there is one or not.
    async fn plant(&self, job: JobId, kind: BlobKind, name: &str, sealed: Vec<u8>);
    /// Names and bytes of everything that is stored.
    async fn everything(&self) -> Vec<Vec<u8>>;
    /// Makes everything that is stored look older.
    async fn age(&self, by: Duration);
}

/// Tests for all facts, over the rig that the expression gives.
#[macro_export]
macro_rules! vault_contract {
    ($rig:expr) => {
        $crate::vault_contract! { @ $rig,
            bytes_come_back_as_they_were,
            a_blob_longer_than_a_piece_comes_back_as_it_was,
            what_is_put_together_comes_back_together_and_alone,
            one_of_several_that_is_missing_or_changed_is_named,
            equal_bytes_have_different_names_and_look_different,
            what_was_never_put_or_was_deleted_is_missing,
            erasure_takes_all_of_one_job_and_nothing_else,
            a_changed_byte_is_noticed,
            another_length_is_noticed,
            a_blob_in_another_place_is_noticed,
            a_key_serves_its_own_job_alone,
            another_ring_says_which_key_is_missing,
            another_key_with_the_same_id_is_told_apart,
            rotation_keeps_what_was_sealed_before,
            no_byte_lies_there_plain,
            texts_come_back_and_open_nowhere_else,
            hostile_names_are_missing,
            each_kind_goes_when_its_time_is_over,
            a_sweep_names_jobs_with_old_blobs,
            sweeps_with_a_limit_get_round,
            a_vault_answers,
        }
    };
    (@ $rig:expr, $($fact:ident,)+) => {
        $(
            #[tokio::test]
            async fn $fact() {
                $crate::testing::vault::$fact(&$rig).await;
            }
        )+
    };
}

const DAY: Duration = Duration::from_secs(86_400);
const MARK: &str = "FROM seatrial-marker-7f3a";

struct Job {
    id: JobId,
    key: WrappedKey,
}

fn job_in(vault: &dyn Vault) -> Job {
    let id = JobId::fresh();
    let key = vault.new_key(id).unwrap();
    Job { id, key }
}

impl Job {
    async fn put(&self, vault: &dyn Vault, kind: BlobKind, bytes: &[u8]) -> BlobRef {
        vault.put(self.id, &self.key, kind, bytes).await.unwrap()
    }

    async fn get(&self, vault: &dyn Vault, kind: BlobKind, blob: &BlobRef) -> Result<Vec<u8>, VaultError> {
        vault.get(self.id, &self.key, kind, blob).await
    }
}

fn is_missing(end: &Result<Vec<u8>, VaultError>, what: BlobKind) -> bool {
    matches!(end, Err(VaultError::Missing { kind }) if *kind == what)
}

fn is_tampered(end: &Result<Vec<u8>, VaultError>, what: BlobKind) -> bool {
    matches!(end, Err(VaultError::Tampered { kind }) if *kind == what)
}

/// Bytes that do not repeat, so that a lost or doubled piece shows.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A fact.
pub async fn bytes_come_back_as_they_were(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let mut blobs = Vec::new();
    for (kind, len) in [
        (BlobKind::Result, 0),
        (BlobKind::Log, 1),
        (BlobKind::Log, 2),
        (BlobKind::Dockerfile, 1000),
        (BlobKind::Submission, 100_000),
        (BlobKind::Admission, 65_536),
    ] {
        let bytes = pattern(len);
        let blob = job.put(&*vault, kind, &bytes).await;
        assert_eq!(blob.bytes, len as u64);
        assert_eq!(blob.name.len(), 26);
        blobs.push((kind, blob, bytes));
    }
    let again = rig.vault(Ring::Ours).await; // another process
    for (kind, blob, bytes) in &blobs {
        assert_eq!(job.get(&*again, *kind, blob).await.unwrap(), *bytes);
    }
}

/// A fact.
pub async fn a_blob_longer_than_a_piece_comes_back_as_it_was(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let bytes = pattern((9 << 20) + 5);
    let blob = job.put(&*vault, BlobKind::Context, &bytes).await;
    let back = job.get(&*vault, BlobKind::Context, &blob).await.unwrap();
    assert!(back == bytes); // assert_eq would print them
    vault.delete(job.id, &blob).await.unwrap();
    assert!(is_missing(
        &job.get(&*vault, BlobKind::Context, &blob).await,
        BlobKind::Context
    ));
    let left: usize = rig.everything().await.iter().map(Vec::len).sum();
    assert!(left < 100_000, "{left} bytes are left of a deleted blob");
}

/// A fact.
pub async fn equal_bytes_have_different_names_and_look_different(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let one = job.put(&*vault, BlobKind::Log, b"the same").await;
    let two = job.put(&*vault, BlobKind::Log, b"the same").await;
    assert_ne!(one.name, two.name);
    let raw = rig.raw(job.id, BlobKind::Log, &one.name).await;
    assert_ne!(raw, rig.raw(job.id, BlobKind::Log, &two.name).await);
    assert_ne!(vault.new_key(job.id).unwrap(), job.key);
}

/// A fact.
pub async fn what_was_never_put_or_was_deleted_is_missing(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let never = BlobRef {
        name: "01ARZ3NDEKTSV4RRFFQ69G5FAV".into(),
        bytes: 4,
    };
    let end = job.get(&*vault, BlobKind::Sbom, &never).await;
    assert!(is_missing(&end, BlobKind::Sbom), "{end:?}");
    assert!(!end.unwrap_err().is_transient());
    let kept = job.put(&*vault, BlobKind::Report, b"kept").await;
    let gone = job.put(&*vault, BlobKind::Report, b"gone").await;
    for _ in 0..2 {
        vault.delete(job.id, &gone).await.unwrap();
        vault.delete(job.id, &never).await.unwrap();
        let end = job.get(&*vault, BlobKind::Report, &gone).await;
        assert!(is_missing(&end, BlobKind::Report), "{end:?}");
    }
    assert_eq!(job.get(&*vault, BlobKind::Report, &kept).await.unwrap(), b"kept");
}

/// A fact.
pub async fn erasure_takes_all_of_one_job_and_nothing_else(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let (erased, other) = (job_in(&*vault), job_in(&*vault));
    let mut blobs = Vec::new();
    for kind in [BlobKind::Dockerfile, BlobKind::Log, BlobKind::Log, BlobKind::Artifact] {
        blobs.push((kind, erased.put(&*vault, kind, b"erased").await));
    }
    let kept = other.put(&*vault, BlobKind::Log, b"kept").await;
    for _ in 0..2 {
        vault.erase(erased.id).await.unwrap();
        for (kind, blob) in &blobs {
            let end = erased.get(&*vault, *kind, blob).await;
            assert!(is_missing(&end, *kind), "{end:?}");
        }
    }
    let traces = [erased.id.short(), erased.id.short().to_uppercase()];
    for stored in rig.everything().await {
        let stored = String::from_utf8_lossy(&stored);
        assert!(traces.iter().all(|trace| !stored.contains(trace)), "{stored}");
    }
    assert_eq!(other.get(&*vault, BlobKind::Log, &kept).await.unwrap(), b"kept");
    let late = erased.put(&*vault, BlobKind::Log, b"late").await; // by a worker that did not know
    assert_eq!(erased.get(&*vault, BlobKind::Log, &late).await.unwrap(), b"late");
}

/// A fact.
pub async fn a_changed_byte_is_noticed(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let blob = job.put(&*vault, BlobKind::Result, br#"{"perf": 0.99}"#).await;
    let raw = rig.raw(job.id, BlobKind::Result, &blob.name).await;
    for at in 0..raw.len() {
        let mut changed = raw.clone();
        changed[at] ^= 0x20;
        rig.plant(job.id, BlobKind::Result, &blob.name, changed).await;
        let end = job.get(&*vault, BlobKind::Result, &blob).await;
        assert!(is_tampered(&end, BlobKind::Result), "byte {at}: {end:?}");
    }
    rig.plant(job.id, BlobKind::Result, &blob.name, raw).await;
    assert!(job.get(&*vault, BlobKind::Result, &blob).await.is_ok());
}

/// A fact.
pub async fn another_length_is_noticed(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let blob = job.put(&*vault, BlobKind::Log, b"a log").await;
    let raw = rig.raw(job.id, BlobKind::Log, &blob.name).await;
    let longer = [&raw[..], b"x"].concat();
    let much_longer = [&raw[..], &[7; 100_000]].concat();
    for changed in [raw[..raw.len() - 1].to_vec(), raw[..1].to_vec(), longer, much_longer] {
        let len = changed.len();
        rig.plant(job.id, BlobKind::Log, &blob.name, changed).await;
        let end = job.get(&*vault, BlobKind::Log, &blob).await;
        assert!(is_tampered(&end, BlobKind::Log), "{len} bytes: {end:?}");
    }
    rig.plant(job.id, BlobKind::Log, &blob.name, raw).await;
    for bytes in [0, 4, 6, 1 << 40, u64::MAX] {
        let name = blob.name.clone();
        let end = job.get(&*vault, BlobKind::Log, &BlobRef { name, bytes }).await;
        assert!(is_tampered(&end, BlobKind::Log), "{bytes} asked for: {end:?}");
    }
}

/// A fact.
pub async fn a_blob_in_another_place_is_noticed(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let (job, other) = (job_in(&*vault), job_in(&*vault));
    let blob = job.put(&*vault, BlobKind::Report, b"one").await;
    let beside = job.put(&*vault, BlobKind::Report, b"two").await;
    let raw = rig.raw(job.id, BlobKind::Report, &blob.name).await;

    rig.plant(job.id, BlobKind::Report, &beside.name, raw.clone()).await;
    let end = job.get(&*vault, BlobKind::Report, &beside).await;
    assert!(is_tampered(&end, BlobKind::Report), "another name: {end:?}");

    rig.plant(other.id, BlobKind::Report, &blob.name, raw.clone()).await;
    let end = other.get(&*vault, BlobKind::Report, &blob).await;
    assert!(is_tampered(&end, BlobKind::Report), "another job: {end:?}");

    rig.plant(job.id, BlobKind::Result, &blob.name, raw).await;
    let end = job.get(&*vault, BlobKind::Result, &blob).await;
    assert!(is_tampered(&end, BlobKind::Result), "another kind: {end:?}");
}

/// A fact.
pub async fn a_key_serves_its_own_job_alone(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let (job, other) = (job_in(&*vault), job_in(&*vault));
    let blob = job.put(&*vault, BlobKind::Report, b"one").await;
    let end = vault.get(job.id, &other.key, BlobKind::Report, &blob).await;
    assert!(matches!(end, Err(VaultError::WrongKey { .. })), "{end:?}");
    let end = vault.put(job.id, &other.key, BlobKind::Report, b"two").await;
    assert!(matches!(end, Err(VaultError::WrongKey { .. })), "{end:?}");
    let second = vault.new_key(job.id).unwrap(); // of the same job, but not the one that sealed
    let end = vault.get(job.id, &second, BlobKind::Report, &blob).await;
    assert!(is_tampered(&end, BlobKind::Report), "{end:?}");
}

/// A fact.
pub async fn another_ring_says_which_key_is_missing(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let blob = job.put(&*vault, BlobKind::Log, b"a log").await;
    let (id, _) = job.key.0.split_once('.').unwrap();
    for ring in [Ring::Other, Ring::Retired] {
        let end = job.get(&*rig.vault(ring).await, BlobKind::Log, &blob).await;
        assert!(
            matches!(&end, Err(VaultError::NoSuchKey { key }) if key == id),
            "{end:?}"
        );
    }
}

/// A fact.
pub async fn another_key_with_the_same_id_is_told_apart(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let blob = job.put(&*vault, BlobKind::Log, b"a log").await;
    let (id, _) = job.key.0.split_once('.').unwrap();
    let impostor = rig.vault(Ring::Impostor).await;
    let end = job.get(&*impostor, BlobKind::Log, &blob).await;
    assert!(
        matches!(&end, Err(VaultError::WrongKey { key }) if key == id),
        "{end:?}"
    );
    let text = vault.seal_text(job.id, &job.key, "a text").unwrap();
    let end = impostor.open_text(job.id, &job.key, &text);
    assert!(
        matches!(&end, Err(VaultError::WrongKey { key }) if key == id),
        "{end:?}"
    );
}

/// A fact.
pub async fn rotation_keeps_what_was_sealed_before(rig: &impl VaultRig) {
    let before = rig.vault(Ring::Ours).await;
    let old = job_in(&*before);
    let old_blob = old.put(&*before, BlobKind::Log, b"before").await;

    let after = rig.vault(Ring::Rotated).await;
    assert_eq!(old.get(&*after, BlobKind::Log, &old_blob).await.unwrap(), b"before");
    let more = old.put(&*after, BlobKind::Log, b"more").await;
    assert_eq!(old.get(&*after, BlobKind::Log, &more).await.unwrap(), b"more");

    let new = job_in(&*after);
    assert_ne!(
        new.key.0.split_once('.').unwrap().0,
        old.key.0.split_once('.').unwrap().0
    );
    let new_blob = new.put(&*after, BlobKind::Log, b"after").await;
    let retired = rig.vault(Ring::Retired).await;
    assert_eq!(new.get(&*retired, BlobKind::Log, &new_blob).await.unwrap(), b"after");
    let end = old.get(&*retired, BlobKind::Log, &old_blob).await;
    assert!(matches!(end, Err(VaultError::NoSuchKey { .. })), "{end:?}");
}

/// A fact.
pub async fn no_byte_lies_there_plain(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    for kind in [BlobKind::Dockerfile, BlobKind::Submission, BlobKind::Report] {
        job.put(&*vault, kind, format!("{MARK}\nRUN true\n").as_bytes()).await;
    }
    let large = [MARK.as_bytes(), &[b' '; 9 << 20], MARK.as_bytes()].concat();
    job.put(&*vault, BlobKind::Context, &large).await;
    let text = vault.seal_text(job.id, &job.key, MARK).unwrap();
    let mut all = rig.everything().await;
    assert!(all.iter().map(Vec::len).sum::<usize>() > large.len());
    all.push(text.into_bytes());
    all.push(job.key.0.into_bytes());
    // A piece of it is as bad as all of it: no 8 bytes of it lie anywhere.
    let pieces: BTreeSet<&[u8]> = MARK.as_bytes().windows(8).collect();
    for stored in all {
        let plain = stored
            .windows(8)
            .any(|window| pieces.contains(window) || window == [b' '; 8]);
        assert!(!plain, "{} bytes hold plain ones", stored.len());
    }
}

/// A fact.
pub async fn texts_come_back_and_open_nowhere_else(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let (job, other) = (job_in(&*vault), job_in(&*vault));
    for text in ["", "one", "größer \u{0}\n", &"long ".repeat(20_000)] {
        let sealed = vault.seal_text(job.id, &job.key, text).unwrap();
        assert!(sealed.is_ascii());
        assert_ne!(sealed, vault.seal_text(job.id, &job.key, text).unwrap());
        assert_eq!(vault.open_text(job.id, &job.key, &sealed).unwrap(), text);
        let end = vault.open_text(other.id, &other.key, &sealed);
        assert!(matches!(end, Err(VaultError::Tampered { .. })), "{end:?}");
    }
    let sealed = vault.seal_text(job.id, &job.key, "one").unwrap();
    let mut flipped = sealed.clone().into_bytes();
    flipped[20] = if flipped[20] == b'A' { b'B' } else { b'A' };
    for bad in [
        "",
        "AAAA",
        "no base64!",
        &sealed[..sealed.len() - 1],
        std::str::from_utf8(&flipped).unwrap(),
    ] {
        let end = vault.open_text(job.id, &job.key, bad);
        assert!(matches!(end, Err(VaultError::Tampered { .. })), "{bad}: {end:?}");
    }
}

/// A fact.
pub async fn hostile_names_are_missing(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let blob = job.put(&*vault, BlobKind::Log, b"kept").await;
    let stored = rig.everything().await.len();
    let names = [
        String::new(),
        "../../etc/passwd".into(),
        "../../../../../../etc/pass".into(), // as long as a name
        "/etc/passwd".into(),
        ".".into(),
        "*".repeat(26),
        format!("{}/", &blob.name[..25]),
        format!("{}\0", &blob.name[..25]),
        blob.name.to_lowercase(),
        format!("{}.log", blob.name),
        "x".repeat(10_000),
    ];
    for name in names {
        let hostile = BlobRef { name, bytes: 4 };
        let end = job.get(&*vault, BlobKind::Log, &hostile).await;
        assert!(is_missing(&end, BlobKind::Log), "{:.40}: {end:?}", hostile.name);
        vault.delete(job.id, &hostile).await.unwrap();
    }
    assert_eq!(rig.everything().await.len(), stored);
    assert_eq!(job.get(&*vault, BlobKind::Log, &blob).await.unwrap(), b"kept");
}

/// A fact. The rig's vaults have the default times to live.
pub async fn each_kind_goes_when_its_time_is_over(rig: &impl VaultRig) {
    const SHORT: [BlobKind; 3] = [BlobKind::Dockerfile, BlobKind::Context, BlobKind::Submission];
    const LONG: [BlobKind; 5] = [
        BlobKind::Admission,
        BlobKind::Report,
        BlobKind::Result,
        BlobKind::Sbom,
        BlobKind::Artifact,
    ];
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let mut blobs = Vec::new();
    for kind in SHORT.into_iter().chain(LONG).chain([BlobKind::Log]) {
        blobs.push((kind, job.put(&*vault, kind, b"for a while").await));
    }
    let mut days = 0;
    for day in [7, 10, 14, 17, 30, 33] {
        rig.age(DAY * (day - days)).await;
        days = day;
        // Gone for readers at once, and from the place with the sweep.
        for swept in [false, true] {
            if swept {
                vault.sweep(DAY * 1000, 10).await.unwrap();
            }
            for (kind, blob) in &blobs {
                let kept = match kind {
                    kind if SHORT.contains(kind) => day <= 7,
                    BlobKind::Log => day <= 14,
                    _ => day <= 30,
                };
                let end = job.get(&*vault, *kind, blob).await;
                assert!(kept || is_missing(&end, *kind), "{kind:?} on day {day}: {end:?}");
                assert!(!kept || end.is_ok(), "{kind:?} on day {day}: {end:?}");
            }
        }
    }
    let stored = rig.everything().await.concat();
    assert!(!String::from_utf8_lossy(&stored).contains(&job.id.short()));
    assert_eq!(vault.sweep(Duration::ZERO, 10).await.unwrap(), []);
}

/// A fact.
pub async fn a_sweep_names_jobs_with_old_blobs(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let (old, young) = (job_in(&*vault), job_in(&*vault));
    old.put(&*vault, BlobKind::Log, b"an orphan").await;
    old.put(&*vault, BlobKind::Context, b"an orphan").await;
    rig.age(DAY).await;
    let blob = young.put(&*vault, BlobKind::Log, b"young").await;
    assert_eq!(vault.sweep(DAY / 2, 10).await.unwrap(), [old.id]);
    assert_eq!(vault.sweep(DAY / 2, 10).await.unwrap(), [old.id]);
    assert_eq!(vault.sweep(DAY * 2, 10).await.unwrap(), []);
    let all = vault.sweep(Duration::ZERO, 10).await.unwrap();
    assert_eq!(BTreeSet::from_iter(all), BTreeSet::from([old.id, young.id]));
    vault.erase(old.id).await.unwrap();
    assert_eq!(vault.sweep(Duration::ZERO, 10).await.unwrap(), [young.id]);
    assert_eq!(young.get(&*vault, BlobKind::Log, &blob).await.unwrap(), b"young");
}

/// A fact.
pub async fn sweeps_with_a_limit_get_round(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let mut jobs = BTreeSet::new();
    for _ in 0..25 {
        let job = job_in(&*vault);
        job.put(&*vault, BlobKind::Log, b"a log").await;
        jobs.insert(job.id);
    }
    assert_eq!(vault.sweep(Duration::ZERO, 0).await.unwrap(), []);
    // Known jobs stay: a sweep that always began in the same place would never see what is behind them.
    let mut seen = BTreeSet::new();
    for _ in 0..12 {
        let found = vault.sweep(Duration::ZERO, 3).await.unwrap();
        assert!(found.len() <= 3);
        seen.extend(found);
    }
    assert_eq!(seen, jobs);
}

/// A fact.
pub async fn a_vault_answers(rig: &impl VaultRig) {
    rig.vault(Ring::Ours).await.ping().await.unwrap();
}

/// A fact for a vault that takes 200 KB and is full long before 10 MiB; each rig fills up in its own way.
pub async fn a_full_vault_shows_nothing_half_written(rig: &impl VaultRig) {
    let vault = rig.vault(Ring::Ours).await;
    let job = job_in(&*vault);
    let kept = job.put(&*vault, BlobKind::Dockerfile, b"kept").await;
    let large = pattern(10 << 20);
    for _ in 0..3 {
        let end = vault.put(job.id, &job.key, BlobKind::Context, &large).await;
        assert!(matches!(&end, Err(error) if error.is_transient()), "{end:?}");
    }
    assert_eq!(job.get(&*vault, BlobKind::Dockerfile, &kept).await.unwrap(), b"kept");
    vault.ping().await.unwrap();
    // What did not fit is not in the way of what does.
    let small = pattern(200_000);
    let blob = job.put(&*vault, BlobKind::Log, &small).await;
    assert_eq!(job.get(&*vault, BlobKind::Log, &blob).await.unwrap(), small);
    vault.erase(job.id).await.unwrap();
    assert_eq!(vault.sweep(Duration::ZERO, 10).await.unwrap(), []);
}
