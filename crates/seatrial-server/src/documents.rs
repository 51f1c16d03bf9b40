//! Job documents that were sent a moment ago: who asks for a job asks again.
//!
//! A document is a function of its version, so a kept one is never wrong; it is dropped after a while so
//! that what the vault does not keep any more is not shown for long.

use std::time::{Duration, Instant};

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};

use crate::answer::Version;

/// Most bytes kept.
const CAPACITY: u64 = 8 << 20;
/// Larger documents are not kept: the cache has parts, on a large host of not much more than this.
const LARGEST: usize = 32 << 10;
/// Older ones are made anew.
const FRESH: Duration = Duration::from_secs(30);

pub(crate) struct Documents(Cache<Version, Kept, ByBytes>);

#[derive(Clone)]
struct Kept {
    bytes: Bytes,
    since: Instant,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Version, Kept> for ByBytes {
    fn weight(&self, _: &Version, kept: &Kept) -> u64 {
        kept.bytes.len() as u64 + 128
    }
}

impl Documents {
    pub(crate) fn new() -> Self {
        Self(Cache::with_weighter(4_000, CAPACITY, ByBytes))
    }

    pub(crate) fn get(&self, version: &Version) -> Option<Bytes> {
        let kept = self.0.get(version)?;
        (kept.since.elapsed() < FRESH).then_some(kept.bytes)
    }

    pub(crate) fn put(&self, version: Version, bytes: &Bytes) {
        if bytes.len() <= LARGEST {
            let kept = Kept {
                bytes: bytes.clone(),
                since: Instant::now(),
            };
            self.0.insert(version, kept);
        }
    }
}
