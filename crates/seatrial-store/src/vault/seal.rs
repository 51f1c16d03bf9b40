//! Envelope encryption with XChaCha20-Poly1305.
//!
//! Sealed bytes are `version (1) | nonce (24) | ciphertext | tag (16)`. Nonces are random: with 24 bytes no
//! two ever meet. What the bytes are (a domain, and its parts: job, kind, name) is associated data, its
//! "cover": they open only as what they were sealed as.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{AeadInOut as _, inout::InOutBuf},
};
use seatrial_core::{
    id::JobId,
    vault::{BlobKind, VaultError},
};
use zeroize::Zeroizing;

use super::{BlobName, unreachable};

/// A key; overwritten when it is dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// First byte of everything sealed. It is in each cover too, by the domain's name.
const VERSION: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;
const HEAD: usize = 1 + NONCE;
/// How much longer than the plain bytes the sealed ones are.
pub(crate) const OVERHEAD: usize = HEAD + TAG;

/// A fresh key.
pub(crate) fn fresh() -> Result<Secret, VaultError> {
    let mut secret = Secret::default();
    random(secret.as_mut_slice())?;
    Ok(secret)
}

fn random(bytes: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(bytes).map_err(|error| unreachable("find random bytes")(error.to_string()))
}

/// What a blob's seal covers.
pub(crate) fn blob_cover(job: JobId, kind: BlobKind, name: BlobName) -> Vec<u8> {
    cover("blob", &[&job.short(), word(kind), &name.to_string()])
}

/// What the wrapping of a job's key covers.
pub(crate) fn key_cover(job: JobId, ring_key: &str) -> Vec<u8> {
    cover("key", &[&job.short(), ring_key])
}

/// A kind's word: part of covers and of file names, so it never changes.
pub(crate) fn word(kind: BlobKind) -> &'static str {
    match kind {
        BlobKind::Dockerfile => "dockerfile",
        BlobKind::Context => "context",
        BlobKind::Submission => "submission",
        BlobKind::Admission => "admission",
        BlobKind::Report => "report",
        BlobKind::Result => "result",
        BlobKind::Sbom => "sbom",
        BlobKind::Artifact => "artifact",
        BlobKind::Log => "log",
        BlobKind::Egress => "egress",
    }
}

/// Each part with its length, so that no two lists of parts give the same bytes.
fn cover(domain: &str, parts: &[&str]) -> Vec<u8> {
    let mut cover = format!("seatrial.vault.{VERSION}.{domain}\0").into_bytes();
    for part in parts {
        cover.extend_from_slice(&(part.len() as u64).to_be_bytes());
        cover.extend_from_slice(part.as_bytes());
    }
    cover
}

/// A buffer with head and plain bytes, and room for the tag: the one copy that sealing makes.
pub(crate) fn draft(plain: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut head = [VERSION; HEAD];
    random(&mut head[1..])?;
    let mut draft = Vec::with_capacity(plain.len().saturating_add(OVERHEAD));
    draft.extend_from_slice(&head);
    draft.extend_from_slice(plain);
    Ok(draft)
}

/// Seals a draft where it is.
pub(crate) fn close(secret: &Secret, cover: &[u8], mut draft: Vec<u8>) -> Result<Vec<u8>, VaultError> {
    let (head, body) = draft.split_at_mut(HEAD);
    let mut nonce = [0; NONCE];
    nonce.copy_from_slice(&head[1..]);
    let tag = XChaCha20Poly1305::new((&**secret).into())
        .encrypt_inout_detached(&nonce.into(), cover, InOutBuf::from(body))
        .map_err(|_| unreachable("seal so many bytes")("the cipher takes 256 GiB at most"))?;
    draft.extend_from_slice(&tag);
    Ok(draft)
}

/// Opens sealed bytes where they are; `None` when they are not what was sealed under this key and cover.
pub(crate) fn open(secret: &Secret, cover: &[u8], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
    let (head, rest) = sealed.split_at_mut_checked(HEAD)?;
    if head[0] != VERSION {
        return None;
    }
    let (body, tag) = rest.split_at_mut_checked(rest.len().checked_sub(TAG)?)?;
    let nonce: [u8; NONCE] = head[1..].try_into().ok()?;
    let tag: [u8; TAG] = (&*tag).try_into().ok()?;
    XChaCha20Poly1305::new((&**secret).into())
        .decrypt_inout_detached(&nonce.into(), cover, InOutBuf::from(body), &tag.into())
        .ok()?;
    sealed.truncate(sealed.len() - TAG);
    sealed.drain(..HEAD);
    Some(sealed)
}

/// Seals a short text, as text.
pub(crate) fn close_text(secret: &Secret, job: JobId, text: &str) -> Result<String, VaultError> {
    let sealed = close(secret, &cover("text", &[&job.short()]), draft(text.as_bytes())?)?;
    Ok(STANDARD_NO_PAD.encode(sealed))
}

/// Opens such a text.
pub(crate) fn open_text(secret: &Secret, job: JobId, sealed: &str) -> Option<String> {
    let sealed = STANDARD_NO_PAD.decode(sealed).ok()?;
    String::from_utf8(open(secret, &cover("text", &[&job.short()]), sealed)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_open_as_what_they_were_sealed_as_and_as_nothing_else() {
        let secret = fresh().unwrap();
        let sealed = close(&secret, b"a", draft(b"plain").unwrap()).unwrap();
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert_eq!(open(&secret, b"a", sealed.clone()).as_deref(), Some(&b"plain"[..]));
        assert_eq!(open(&secret, b"b", sealed.clone()), None);
        assert_eq!(open(&fresh().unwrap(), b"a", sealed), None);
    }

    #[test]
    fn each_bit_counts_and_each_length_but_one_is_refused() {
        let secret = fresh().unwrap();
        let sealed = close(&secret, b"a", draft(b"plain").unwrap()).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&secret, b"a", flipped), None, "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(open(&secret, b"a", sealed[..len].to_vec()), None, "{len} bytes");
        }
    }

    #[test]
    fn a_cover_cannot_be_cut_in_another_place() {
        assert_ne!(cover("blob", &["ab", "c"]), cover("blob", &["a", "bc"]));
        assert_ne!(cover("blob", &["ab"]), cover("blob", &["ab", ""]));
    }

    #[test]
    fn the_words_of_kinds_are_the_ones_of_the_ledger() {
        for kind in BlobKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), word(kind));
        }
    }

    /// The format is on disks: a change of it must be a new version. The bytes come from another
    /// implementation.
    #[test]
    fn a_blob_sealed_by_the_first_version_still_opens() {
        let job: JobId = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let name: BlobName = "01BX5ZZKBKACTAV9WEVGEMMVRZ".parse().unwrap();
        let cover = blob_cover(job, BlobKind::Report, name);
        let mut sealed = [&[VERSION][..], &[7; NONCE]].concat();
        sealed.extend(hex::decode("73246f28be571ea10887aafdb4fbcdc94783").unwrap());
        assert_eq!(open(&Secret::new([9; 32]), &cover, sealed).as_deref(), Some(&b"{}"[..]));
    }
}
