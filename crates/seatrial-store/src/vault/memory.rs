//! Sealed bytes in memory, which tests can make older or full.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use seatrial_core::{
    id::JobId,
    vault::{BlobKind, VaultError},
};

use super::{BlobName, BlobStore, Sealed, Ttl, Wanted, unreachable};

/// Sealed bytes in memory. Clones share them.
#[derive(Clone, Default)]
pub struct Memory {
    ttl: Ttl,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    blobs: BTreeMap<(JobId, BlobName), Blob>,
    full: bool,
    /// The job where the sweep before ended.
    swept: Option<JobId>,
}

struct Blob {
    kind: BlobKind,
    at: Instant,
    /// How much older it is made to look.
    aged: Duration,
    sealed: Vec<u8>,
}

impl Memory {
    /// Empty.
    #[must_use]
    pub fn new(ttl: Ttl) -> Self {
        Self {
            ttl,
            inner: Arc::default(),
        }
    }

    /// Makes everything that is in it look older.
    pub fn age(&self, by: Duration) {
        for blob in self.inner().blobs.values_mut() {
            blob.aged += by;
        }
    }

    /// Whether it takes bytes.
    pub fn set_full(&self, full: bool) {
        self.inner().full = full;
    }

    /// All sealed bytes with what they are.
    #[must_use]
    pub fn everything(&self) -> Vec<(JobId, BlobKind, BlobName, Vec<u8>)> {
        let inner = self.inner();
        let all = inner.blobs.iter();
        all.map(|(&(job, name), blob)| (job, blob.kind, name, blob.sealed.clone()))
            .collect()
    }

    /// Puts sealed bytes anywhere, as somebody would who meddles with them.
    pub fn plant(&self, job: JobId, kind: BlobKind, name: BlobName, sealed: Vec<u8>) {
        let blob = Blob {
            kind,
            at: Instant::now(),
            aged: Duration::ZERO,
            sealed,
        };
        self.inner().blobs.insert((job, name), blob);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blob {
    fn age(&self) -> Duration {
        self.at.elapsed() + self.aged
    }
}

#[async_trait]
impl BlobStore for Memory {
    async fn write_all(&self, job: JobId, blobs: Vec<Sealed>) -> Result<(), VaultError> {
        if self.inner().full {
            return Err(unreachable("write a blob")("it is full"));
        }
        for blob in blobs {
            self.plant(job, blob.kind, blob.name, blob.bytes);
        }
        Ok(())
    }

    async fn read_all(&self, job: JobId, blobs: &[Wanted]) -> Result<Vec<Option<Vec<u8>>>, VaultError> {
        let inner = self.inner();
        let read = |wanted: &Wanted| {
            let blob = inner.blobs.get(&(job, wanted.name))?;
            if blob.age() > self.ttl.of(blob.kind) {
                return None;
            }
            let end = usize::try_from(wanted.len.saturating_add(1)).unwrap_or(usize::MAX);
            Some(blob.sealed[..end.min(blob.sealed.len())].to_vec())
        };
        Ok(blobs.iter().map(read).collect())
    }

    async fn delete(&self, job: JobId, name: BlobName) -> Result<(), VaultError> {
        self.inner().blobs.remove(&(job, name));
        Ok(())
    }

    async fn erase(&self, job: JobId) -> Result<(), VaultError> {
        self.inner().blobs.retain(|(of, _), _| *of != job);
        Ok(())
    }

    async fn sweep(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, VaultError> {
        let mut inner = self.inner();
        let swept = inner.swept;
        inner.blobs.retain(|_, blob| blob.age() <= self.ttl.of(blob.kind));
        let mut jobs: Vec<JobId> = inner
            .blobs
            .iter()
            .filter(|((job, _), blob)| swept.is_none_or(|swept| *job > swept) && blob.age() >= age)
            .map(|((job, _), _)| *job)
            .collect();
        jobs.dedup();
        inner.swept = if jobs.len() > limit {
            jobs.truncate(limit);
            jobs.last().copied().or(swept)
        } else {
            None
        };
        Ok(jobs)
    }

    async fn ping(&self) -> Result<(), VaultError> {
        Ok(())
    }
}
