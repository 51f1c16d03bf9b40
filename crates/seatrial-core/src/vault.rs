//! The seam to the place where everything that a guest wrote lies encrypted, apart from the ledger.
//!
//! Each job has a data key of its own; the ledger holds it wrapped, the vault holds bytes sealed with it.
//! Neither alone gives a byte away.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{BoxError, id::JobId};

/// What a blob is: part of what its seal covers, so one cannot stand in for another. Decides how long it
/// is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlobKind {
    /// The Dockerfile's text.
    Dockerfile,
    /// Tar of the build context.
    Context,
    /// Input files, and what else was asked for, as one document.
    Submission,
    /// What the judge said at admission, as JSON.
    Admission,
    /// What the job became, as JSON, with the words of its outcome.
    Report,
    /// The exact bytes of the result.
    Result,
    /// CycloneDX JSON.
    Sbom,
    /// Another file of `/data`.
    Artifact,
    /// Output of a stage, or a part of it.
    Log,
    /// What tries asked of the egress proxy until now, as JSON; when a job is over its report has it.
    Egress,
}

impl BlobKind {
    /// All of them: a blob is deleted without being told which it is.
    pub const ALL: [Self; 10] = [
        Self::Dockerfile,
        Self::Context,
        Self::Submission,
        Self::Admission,
        Self::Report,
        Self::Result,
        Self::Sbom,
        Self::Artifact,
        Self::Log,
        Self::Egress,
    ];
}

/// Where a blob is: its name is random and never used twice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlobRef {
    /// 26 characters of a ULID.
    pub name: String,
    /// Length of the plain bytes.
    pub bytes: u64,
}

/// A job's data key, wrapped by a key of the key ring: `<key id>.<base64>`. Worth nothing without the ring.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WrappedKey(pub String);

/// Why the vault did not give or take bytes.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// No answer, or a full disk: may pass.
    #[error("the vault did not {action}")]
    Unreachable {
        /// As a verb phrase.
        action: &'static str,
        /// What happened.
        source: BoxError,
    },
    /// Nothing has that name: it was erased, or its time to live is over.
    #[error("the vault holds no {kind:?} under this name: it was erased or its time is over")]
    Missing {
        /// What was asked for.
        kind: BlobKind,
    },
    /// The bytes are not the ones that were sealed.
    #[error("the {kind:?} in the vault is not what was put there: it was changed, or belongs to another job")]
    Tampered {
        /// What was asked for.
        kind: BlobKind,
    },
    /// No key of the ring opens the job's key.
    #[error("the key ring has no key '{key}': the job was sealed with another ring, or the key was removed too early")]
    NoSuchKey {
        /// Its id.
        key: String,
    },
    /// The key has the right id and is another one.
    #[error("key '{key}' of the ring does not open the job's key: it is not the key that sealed it")]
    WrongKey {
        /// Its id.
        key: String,
    },
}

impl VaultError {
    /// Worth another try.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// Keeps sealed bytes.
#[async_trait]
pub trait Vault: Send + Sync {
    /// A fresh data key for a job, wrapped by the ring's newest key.
    ///
    /// # Errors
    /// [`VaultError`].
    fn new_key(&self, job: JobId) -> Result<WrappedKey, VaultError>;
    /// Seals and keeps bytes, each under a fresh name; all are durable when it returns. What is put together
    /// costs little more than one of them.
    ///
    /// # Errors
    /// [`VaultError`]; some may be kept then, known to nobody: the sweep finds them.
    async fn put_all(
        &self,
        job: JobId,
        key: &WrappedKey,
        parts: &[(BlobKind, &[u8])],
    ) -> Result<Vec<BlobRef>, VaultError>;
    /// The bytes of several blobs, in the same order.
    ///
    /// # Errors
    /// [`VaultError`] of the first that cannot be had.
    async fn get_all(
        &self,
        job: JobId,
        key: &WrappedKey,
        blobs: &[(BlobKind, &BlobRef)],
    ) -> Result<Vec<Vec<u8>>, VaultError>;
    /// [`Self::put_all`] of one.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn put(&self, job: JobId, key: &WrappedKey, kind: BlobKind, bytes: &[u8]) -> Result<BlobRef, VaultError> {
        one("keep a blob", self.put_all(job, key, &[(kind, bytes)]).await?)
    }
    /// [`Self::get_all`] of one.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn get(&self, job: JobId, key: &WrappedKey, kind: BlobKind, blob: &BlobRef) -> Result<Vec<u8>, VaultError> {
        one("read a blob", self.get_all(job, key, &[(kind, blob)]).await?)
    }
    /// Removes one blob; that it is gone already is no error.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn delete(&self, job: JobId, blob: &BlobRef) -> Result<(), VaultError>;
    /// Removes all blobs of a job.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn erase(&self, job: JobId) -> Result<(), VaultError>;
    /// Seals a short text for a place outside the vault, such as an event in the ledger.
    ///
    /// # Errors
    /// [`VaultError`].
    fn seal_text(&self, job: JobId, key: &WrappedKey, text: &str) -> Result<String, VaultError>;
    /// Opens such a text.
    ///
    /// # Errors
    /// [`VaultError`].
    fn open_text(&self, job: JobId, key: &WrappedKey, sealed: &str) -> Result<String, VaultError>;
    /// Removes blobs whose time to live is over, and returns jobs of which it holds blobs older than
    /// `age`, at most `limit`: the caller erases those that the ledger does not know.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn sweep(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, VaultError>;
    /// Whether it answers.
    ///
    /// # Errors
    /// [`VaultError`].
    async fn ping(&self) -> Result<(), VaultError>;
}

/// The answer to a question about one.
fn one<T>(action: &'static str, mut answers: Vec<T>) -> Result<T, VaultError> {
    answers.pop().ok_or(VaultError::Unreachable {
        action,
        source: "it gave no answer".into(),
    })
}
