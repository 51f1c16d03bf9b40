//! Sealed bytes: in a folder, in a Redis of their own, or in memory for tests.
//!
//! [`SealedVault`] is the one implementation of [`Vault`]: it makes names, checks those that it is given,
//! and seals and opens (`seal`) with keys of the [`ring`]. A [`BlobStore`] only keeps what is sealed
//! already, so no store can leave a plain byte anywhere.
//!
//! A put whose future is dropped may still write: such a blob is known to nobody and goes with
//! [`Vault::sweep`].

pub mod folder;
pub mod memory;
pub mod redis;
pub mod ring;
mod seal;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use seatrial_core::{
    BoxError,
    id::JobId,
    vault::{BlobKind, BlobRef, Vault, VaultError, WrappedKey},
};
use ulid::Ulid;

use self::{folder::Folder, memory::Memory, redis::Redis, ring::KeyRing};

/// Sealed bytes in files: the embedded default.
pub type FolderVault = SealedVault<Folder>;
/// Sealed bytes in a Redis of their own.
pub type RedisVault = SealedVault<Redis>;
/// Sealed bytes in memory: for tests.
pub type MemoryVault = SealedVault<Memory>;

const DAY: Duration = Duration::from_secs(86_400);

/// How long each kind is kept. The spans count from a job's end; the vault knows only when a blob was
/// written, so it adds the longest life of a job: it may keep a blob longer, never shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ttl {
    /// The Dockerfile's text.
    pub dockerfile: Duration,
    /// The build context.
    pub context: Duration,
    /// Input files and what else was asked for.
    pub submission: Duration,
    /// What the judge said at admission.
    pub admission: Duration,
    /// What the job became.
    pub report: Duration,
    /// The result.
    pub result: Duration,
    /// The bill of materials.
    pub sbom: Duration,
    /// Other files of `/data`.
    pub artifact: Duration,
    /// Output of stages.
    pub log: Duration,
    /// The longest life of a job, from its admission to its end, delays included.
    pub life: Duration,
}

impl Default for Ttl {
    /// What `docs/RETENTION.md` says.
    fn default() -> Self {
        Self {
            dockerfile: DAY * 7,
            context: DAY * 7,
            submission: DAY * 7,
            admission: DAY * 30,
            report: DAY * 30,
            result: DAY * 30,
            sbom: DAY * 30,
            artifact: DAY * 30,
            log: DAY * 14,
            life: DAY,
        }
    }
}

impl Ttl {
    /// How long a blob of this kind is kept, counted from its writing.
    #[must_use]
    pub fn of(&self, kind: BlobKind) -> Duration {
        let after_the_end = match kind {
            BlobKind::Dockerfile => self.dockerfile,
            BlobKind::Context => self.context,
            BlobKind::Submission => self.submission,
            BlobKind::Admission => self.admission,
            BlobKind::Report | BlobKind::Egress => self.report,
            BlobKind::Result => self.result,
            BlobKind::Sbom => self.sbom,
            BlobKind::Artifact => self.artifact,
            BlobKind::Log => self.log,
        };
        after_the_end.saturating_add(self.life)
    }

    /// The longest of them.
    #[must_use]
    pub fn longest(&self) -> Duration {
        BlobKind::ALL
            .map(|kind| self.of(kind))
            .into_iter()
            .max()
            .unwrap_or_default()
    }
}

/// Why a vault could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be used as it is set up.
    #[error("the vault cannot be used: {0}")]
    Unfit(String),
    /// No answer.
    #[error("the vault did not {action}")]
    Unreachable {
        /// As a verb phrase.
        action: &'static str,
        /// What happened.
        source: BoxError,
    },
}

/// A blob's name that was checked: 26 characters of a ULID in the one way to write it, so it is safe as a
/// part of a path or a key, and no two names mean one blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlobName(Ulid);

/// The text is not a blob's name. The text itself is not repeated: it is hostile.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a blob's name is 26 characters of base 32, not these {len} bytes")]
pub struct BadBlobName {
    /// Length of the refused text, in bytes.
    pub len: usize,
}

impl FromStr for BlobName {
    type Err = BadBlobName;
    fn from_str(text: &str) -> Result<Self, BadBlobName> {
        let bad = BadBlobName { len: text.len() };
        if text.len() != 26 {
            return Err(bad);
        }
        match Ulid::from_string(text) {
            Ok(ulid) if ulid.to_string() == text => Ok(Self(ulid)),
            Ok(_) | Err(_) => Err(bad),
        }
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A blob to keep.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Decides how long it is kept.
    pub kind: BlobKind,
    /// Never used before.
    pub name: BlobName,
    /// Its bytes, sealed.
    pub bytes: Vec<u8>,
}

/// A blob to read.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// As it was kept.
    pub kind: BlobKind,
    /// As it was kept.
    pub name: BlobName,
    /// How long it should be, sealed.
    pub len: u64,
}

/// Keeps bytes that are sealed already, and counts their time to live.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Keeps blobs of a job; all are durable when it returns.
    ///
    /// # Errors
    /// [`VaultError::Unreachable`]; those that are readable then are known to nobody.
    async fn write_all(&self, job: JobId, blobs: Vec<Sealed>) -> Result<(), VaultError>;
    /// The bytes of each, in the same order, `None` when there are none or their time is over. Gives no more
    /// than `len` and a few bytes, whatever lies there; another length says that they were changed.
    ///
    /// # Errors
    /// [`VaultError::Unreachable`].
    async fn read_all(&self, job: JobId, blobs: &[Wanted]) -> Result<Vec<Option<Vec<u8>>>, VaultError>;
    /// See [`Vault::delete`].
    ///
    /// # Errors
    /// [`VaultError::Unreachable`].
    async fn delete(&self, job: JobId, name: BlobName) -> Result<(), VaultError>;
    /// See [`Vault::erase`].
    ///
    /// # Errors
    /// [`VaultError::Unreachable`].
    async fn erase(&self, job: JobId) -> Result<(), VaultError>;
    /// See [`Vault::sweep`]. One call looks at a bounded number of jobs; the next one goes on there.
    ///
    /// # Errors
    /// [`VaultError::Unreachable`].
    async fn sweep(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, VaultError>;
    /// See [`Vault::ping`].
    ///
    /// # Errors
    /// [`VaultError::Unreachable`].
    async fn ping(&self) -> Result<(), VaultError>;
}

/// A vault over any store.
pub struct SealedVault<B> {
    store: B,
    ring: Arc<KeyRing>,
}

impl<B: BlobStore> SealedVault<B> {
    /// Seals with this ring into this store.
    pub fn new(store: B, ring: Arc<KeyRing>) -> Self {
        Self { store, ring }
    }
}

#[async_trait]
impl<B: BlobStore> Vault for SealedVault<B> {
    fn new_key(&self, job: JobId) -> Result<WrappedKey, VaultError> {
        self.ring.new_key(job)
    }

    async fn put_all(
        &self,
        job: JobId,
        key: &WrappedKey,
        parts: &[(BlobKind, &[u8])],
    ) -> Result<Vec<BlobRef>, VaultError> {
        let secret = self.ring.open_key(job, key)?;
        let mut blobs = Vec::with_capacity(parts.len());
        let mut refs = Vec::with_capacity(parts.len());
        for &(kind, bytes) in parts {
            let name = BlobName(Ulid::generate());
            let cover = seal::blob_cover(job, kind, name);
            let draft = seal::draft(bytes)?;
            let sealed = if draft.len() <= AT_ONCE {
                seal::close(&secret, &cover, draft)?
            } else {
                let secret = secret.clone();
                blocking("seal bytes", move || seal::close(&secret, &cover, draft)).await?
            };
            blobs.push(Sealed {
                kind,
                name,
                bytes: sealed,
            });
            refs.push(BlobRef {
                name: name.to_string(),
                bytes: bytes.len() as u64,
            });
        }
        if !blobs.is_empty() {
            self.store.write_all(job, blobs).await?;
        }
        Ok(refs)
    }

    async fn get_all(
        &self,
        job: JobId,
        key: &WrappedKey,
        blobs: &[(BlobKind, &BlobRef)],
    ) -> Result<Vec<Vec<u8>>, VaultError> {
        let secret = self.ring.open_key(job, key)?;
        let wanted = |&(kind, blob): &(BlobKind, &BlobRef)| {
            let name = blob.name.parse().map_err(|_| VaultError::Missing { kind })?;
            let len = blob.bytes.saturating_add(seal::OVERHEAD as u64);
            Ok(Wanted { kind, name, len })
        };
        let wanted: Vec<Wanted> = blobs.iter().map(wanted).collect::<Result<_, VaultError>>()?;
        let sealed = self.store.read_all(job, &wanted).await?;
        let mut all = Vec::with_capacity(wanted.len());
        for (Wanted { kind, name, len }, sealed) in wanted.into_iter().zip(sealed) {
            let sealed = sealed.ok_or(VaultError::Missing { kind })?;
            if sealed.len() as u64 != len {
                return Err(VaultError::Tampered { kind });
            }
            let cover = seal::blob_cover(job, kind, name);
            let plain = if sealed.len() <= AT_ONCE {
                seal::open(&secret, &cover, sealed)
            } else {
                let secret = secret.clone();
                blocking("open bytes", move || Ok(seal::open(&secret, &cover, sealed))).await?
            };
            all.push(plain.ok_or(VaultError::Tampered { kind })?);
        }
        Ok(all)
    }

    async fn delete(&self, job: JobId, blob: &BlobRef) -> Result<(), VaultError> {
        match blob.name.parse() {
            Ok(name) => self.store.delete(job, name).await,
            Err(BadBlobName { .. }) => Ok(()), // nothing was ever kept under it
        }
    }

    async fn erase(&self, job: JobId) -> Result<(), VaultError> {
        self.store.erase(job).await
    }

    fn seal_text(&self, job: JobId, key: &WrappedKey, text: &str) -> Result<String, VaultError> {
        let secret = self.ring.open_key(job, key)?;
        seal::close_text(&secret, job, text)
    }

    fn open_text(&self, job: JobId, key: &WrappedKey, sealed: &str) -> Result<String, VaultError> {
        let secret = self.ring.open_key(job, key)?;
        // Texts are words about a job's progress: of the kinds, a log is nearest.
        seal::open_text(&secret, job, sealed).ok_or(VaultError::Tampered { kind: BlobKind::Log })
    }

    async fn sweep(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, VaultError> {
        self.store.sweep(age, limit).await
    }

    async fn ping(&self) -> Result<(), VaultError> {
        self.store.ping().await
    }
}

/// Longer bytes are sealed and opened off the runtime: they would hold up everybody else.
const AT_ONCE: usize = 64 << 10;

/// Runs what takes long or waits for a disk where it holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(gone) => Err(unreachable(action)(gone)),
    }
}

/// For `map_err`.
pub(crate) fn unreachable<E: Into<BoxError>>(action: &'static str) -> impl Fn(E) -> VaultError {
    move |source| VaultError::Unreachable {
        action,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_way_to_be_written() {
        let name = Ulid::generate().to_string();
        assert_eq!(name.parse::<BlobName>().map(|name| name.to_string()), Ok(name.clone()));
        let hostile = [
            String::new(),
            name.to_ascii_lowercase(),
            "../../../../../etc/passwd".into(),
            "../../../../../../etc/host".into(), // 26 bytes
            "OILOILOILOILOILOILOILOILOI".into(),
            "ZZZZZZZZZZZZZZZZZZZZZZZZZZ".into(), // more than 128 bits
            "é".repeat(13),
            "0".repeat(10_000),
        ];
        for text in hostile {
            assert!(text.parse::<BlobName>().is_err(), "{text:.40}");
        }
    }

    #[test]
    fn the_vault_keeps_no_kind_shorter_than_promised() {
        let ttl = Ttl::default();
        assert_eq!(ttl.of(BlobKind::Context), DAY * 8);
        assert_eq!(ttl.of(BlobKind::Log), DAY * 15);
        assert_eq!(ttl.longest(), DAY * 31);
    }
}
