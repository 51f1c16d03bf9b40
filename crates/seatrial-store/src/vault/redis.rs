//! Sealed bytes in a Redis of their own, never the ledger's.
//!
//! | key | holds |
//! |---|---|
//! | `{sv}:<job>` | hash: each blob's name -> when it was written (Redis's clock, ms) and in how many pieces |
//! | `{sv}:<job>:<name>` | the first piece of a blob |
//! | `{sv}:<job>:<name>:<n>` | its further pieces, from 1 |
//!
//! A piece is 8 MiB at most, so that one blob of 64 MiB neither holds up the connection of all others nor
//! meets a time limit that is meant for one command; 8 GiB in all. All keys expire by themselves. The hash
//! comes first and the first piece last: what can be read is whole, and what is half-written is in the
//! hash, so erasure finds it. Short blobs that are put together take one step, and one round trip. Everything lies in memory: this Redis needs room for the contexts of a week.

mod connect;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use redis::{FromRedisValue, Pipeline, RedisError};
use seatrial_core::{id::JobId, vault::VaultError};

use self::connect::Link;
pub use self::connect::RedisOptions;
use super::{BlobName, BlobStore, OpenError, Sealed, Ttl, Wanted, unreachable};
use crate::server_clock::ServerClock;

/// How long one answer to what time it is counts: ages here are hours.
const CLOCK_GOOD_FOR: Duration = Duration::from_secs(60);
/// Longest value.
const PIECE: usize = 8 << 20;
/// More pieces than any blob has: bounds what a changed hash can make us do.
const MOST_PIECES: usize = 1024;
/// One sweep asks so often and no more. The next one goes on there.
const MOST_SCANS: usize = 200;
/// Keys that Redis looks at for one answer.
const SCAN_COUNT: usize = 500;

/// A Redis with sealed bytes.
pub struct Redis {
    link: Link,
    clock: ServerClock,
    ttl: Ttl,
    swept: Mutex<Swept>,
}

/// Where the sweep before ended.
#[derive(Default)]
struct Swept {
    cursor: u64,
    /// Jobs that a scan gave and nobody has looked at yet.
    seen: VecDeque<JobId>,
    /// They are the last ones of this round.
    last: bool,
}

/// What the hash says of a blob.
#[derive(Clone, Copy)]
struct Entry {
    written_ms: u64,
    pieces: usize,
}

impl Redis {
    /// Connects, and checks that what this Redis acknowledges stays.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn connect(options: &RedisOptions, ttl: Ttl) -> Result<Self, OpenError> {
        Ok(Self {
            link: connect::connect(options).await?,
            clock: ServerClock::new(CLOCK_GOOD_FOR),
            ttl,
            swept: Mutex::default(),
        })
    }

    async fn ask<T: FromRedisValue>(&self, action: &'static str, pipe: &Pipeline) -> Result<T, VaultError> {
        let answer: Result<T, RedisError> = self.link.ask(pipe).await;
        answer.map_err(unreachable(action))
    }

    /// Redis's own clock, in ms: processes that write and processes that sweep may disagree about theirs.
    async fn now(&self) -> Result<u64, VaultError> {
        let now = match self.clock.micros() {
            Some(now) => now,
            None => {
                let ((seconds, micros),): ((i64, i64),) = self.ask("tell its time", redis::pipe().cmd("TIME")).await?;
                let now = seconds.saturating_mul(1_000_000).saturating_add(micros);
                self.clock.set(now);
                now
            }
        };
        Ok(u64::try_from(now / 1000).unwrap_or_default())
    }

    /// Lines in the hash first, then the pieces; a step for each [`PIECE`] of all of them.
    async fn write_pieces(&self, job: JobId, now: u64, blobs: &[Sealed]) -> Result<(), RedisError> {
        let mut pipe = redis::pipe();
        pipe.atomic();
        pipe.cmd("HSET").arg(index_key(job));
        for blob in blobs {
            let pieces = pieces(&blob.bytes).count();
            pipe.arg(blob.name.to_string()).arg(format!("{now} {pieces}"));
        }
        pipe.cmd("PEXPIRE")
            .arg(index_key(job))
            .arg(milliseconds(self.ttl.longest()));
        let mut room = PIECE;
        for blob in blobs {
            for (number, piece) in pieces(&blob.bytes).enumerate().collect::<Vec<_>>().into_iter().rev() {
                if piece.len() > room {
                    let () = self.link.ask(&pipe).await?;
                    pipe = redis::pipe();
                    pipe.atomic();
                    room = PIECE;
                }
                room -= piece.len();
                pipe.cmd("SET")
                    .arg(piece_key(job, blob.name, number))
                    .arg(piece)
                    .arg("PX")
                    .arg(milliseconds(self.ttl.of(blob.kind)));
            }
        }
        self.link.ask(&pipe).await
    }

    /// Blobs that together are no longer than a piece, in one round trip.
    async fn read_short(&self, job: JobId, blobs: &[Wanted]) -> Result<Vec<Option<Vec<u8>>>, VaultError> {
        let mut pipe = redis::pipe();
        for blob in blobs {
            // One byte more than there should be: a longer value shows, and is not fetched whole.
            pipe.cmd("GETRANGE")
                .arg(piece_key(job, blob.name, 0))
                .arg(0)
                .arg(blob.len);
        }
        let values: Vec<Vec<u8>> = self.ask("read blobs", &pipe).await?;
        // Pieces are never empty.
        Ok(values
            .into_iter()
            .map(|value| (!value.is_empty()).then_some(value))
            .collect())
    }

    async fn read_long(&self, job: JobId, name: BlobName, len: u64) -> Result<Option<Vec<u8>>, VaultError> {
        let mut sealed = Vec::new();
        for number in 0.. {
            let left = len - sealed.len() as u64;
            let wanted = left.min(PIECE as u64);
            if wanted == 0 {
                break;
            }
            let mut pipe = redis::pipe();
            pipe.cmd("GETRANGE")
                .arg(piece_key(job, name, number))
                .arg(0)
                .arg(wanted);
            let (piece,): (Vec<u8>,) = self.ask("read a blob", &pipe).await?;
            if piece.is_empty() {
                return Ok(None);
            }
            let whole = piece.len() as u64 == wanted;
            match sealed.is_empty() {
                true => sealed = piece,
                false => sealed.extend_from_slice(&piece),
            }
            if !whole {
                break;
            }
        }
        Ok(Some(sealed))
    }

    async fn entries(&self, job: JobId) -> Result<BTreeMap<String, String>, VaultError> {
        let (entries,) = self
            .ask("list a job's blobs", redis::pipe().cmd("HGETALL").arg(index_key(job)))
            .await?;
        Ok(entries)
    }

    async fn remove(&self, job: JobId, name: BlobName, pieces: usize) -> Result<(), VaultError> {
        let mut pipe = redis::pipe();
        pipe.cmd("UNLINK");
        for piece in 0..pieces {
            pipe.arg(piece_key(job, name, piece));
        }
        // The hash goes with its last field, and a blob that came meanwhile stays in it.
        pipe.cmd("HDEL").arg(index_key(job)).arg(name.to_string());
        self.ask("remove a blob", &pipe).await
    }

    /// Jobs that the next scan gives.
    async fn scan(&self, cursor: u64) -> Result<(u64, VecDeque<JobId>), VaultError> {
        let mut pipe = redis::pipe();
        pipe.cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("{{sv}}:{}", "?".repeat(26)));
        pipe.arg("COUNT").arg(SCAN_COUNT);
        let ((cursor, keys),): ((u64, Vec<Vec<u8>>),) = self.ask("scan its keys", &pipe).await?;
        Ok((cursor, keys.iter().filter_map(|key| job_of(key)).collect()))
    }

    /// How long ago the oldest blob was written.
    async fn oldest(&self, job: JobId, now: u64) -> Result<Option<Duration>, VaultError> {
        let entries = self.entries(job).await?;
        let written = entries.values().map(|text| parse_entry(text).written_ms).min();
        Ok(written.map(|written| Duration::from_millis(now.saturating_sub(written))))
    }

    fn swept(&self) -> std::sync::MutexGuard<'_, Swept> {
        self.swept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl BlobStore for Redis {
    async fn write_all(&self, job: JobId, blobs: Vec<Sealed>) -> Result<(), VaultError> {
        const ACTION: &str = "write blobs";
        if blobs.iter().any(|blob| pieces(&blob.bytes).count() > MOST_PIECES) {
            return Err(unreachable(ACTION)("one is longer than 8 GiB"));
        }
        let now = self.now().await?;
        let done = self.write_pieces(job, now, &blobs).await;
        if done.as_ref().is_err_and(connect::is_answer) {
            // It is full, say: what is there of the blobs is in the way of others. Best effort.
            for blob in &blobs {
                let _ = self.remove(job, blob.name, pieces(&blob.bytes).count()).await;
            }
        }
        done.map_err(unreachable(ACTION))
    }

    async fn read_all(&self, job: JobId, blobs: &[Wanted]) -> Result<Vec<Option<Vec<u8>>>, VaultError> {
        let mut all = Vec::with_capacity(blobs.len());
        let mut rest = blobs;
        while let Some(first) = rest.first() {
            let mut room = PIECE as u64;
            let fits = rest.iter().take_while(|blob| match room.checked_sub(blob.len) {
                Some(left) => {
                    room = left;
                    true
                }
                None => false,
            });
            let (short, others) = rest.split_at(fits.count());
            if short.is_empty() {
                all.push(self.read_long(job, first.name, first.len).await?);
                rest = &rest[1..];
            } else {
                all.extend(self.read_short(job, short).await?);
                rest = others;
            }
        }
        Ok(all)
    }

    async fn delete(&self, job: JobId, name: BlobName) -> Result<(), VaultError> {
        let mut pipe = redis::pipe();
        pipe.cmd("HGET").arg(index_key(job)).arg(name.to_string());
        let (entry,): (Option<String>,) = self.ask("find a blob", &pipe).await?;
        let pieces = entry.map_or(1, |text| parse_entry(&text).pieces);
        self.remove(job, name, pieces).await
    }

    async fn erase(&self, job: JobId) -> Result<(), VaultError> {
        for (name, text) in self.entries(job).await? {
            match name.parse() {
                Ok(name) => self.remove(job, name, parse_entry(&text).pieces).await?,
                Err(_) => {
                    let mut pipe = redis::pipe();
                    pipe.cmd("HDEL").arg(index_key(job)).arg(name); // not ours, and in the way
                    let () = self.ask("erase a job", &pipe).await?;
                }
            }
        }
        Ok(())
    }

    async fn sweep(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, VaultError> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found); // keys expire by themselves
        }
        let now = self.now().await?;
        let mut swept = std::mem::take(&mut *self.swept());
        for _ in 0..MOST_SCANS {
            while let Some(job) = swept.seen.pop_front() {
                // A scan may give a key twice.
                if self.oldest(job, now).await?.is_some_and(|oldest| oldest >= age) && !found.contains(&job) {
                    found.push(job);
                }
                if found.len() == limit {
                    *self.swept() = swept;
                    return Ok(found);
                }
            }
            if swept.last {
                return Ok(found); // the next sweep begins a new round
            }
            (swept.cursor, swept.seen) = self.scan(swept.cursor).await?;
            swept.last = swept.cursor == 0;
        }
        *self.swept() = swept;
        Ok(found)
    }

    async fn ping(&self) -> Result<(), VaultError> {
        self.ask("answer", redis::pipe().cmd("PING").ignore()).await
    }
}

fn pieces(sealed: &[u8]) -> std::slice::Chunks<'_, u8> {
    sealed.chunks(PIECE)
}

fn index_key(job: JobId) -> String {
    format!("{{sv}}:{}", job.short())
}

fn piece_key(job: JobId, name: BlobName, piece: usize) -> String {
    match piece {
        0 => format!("{{sv}}:{}:{name}", job.short()),
        _ => format!("{{sv}}:{}:{name}:{piece}", job.short()),
    }
}

fn job_of(key: &[u8]) -> Option<JobId> {
    let short = std::str::from_utf8(key).ok()?.strip_prefix("{sv}:")?;
    let job: JobId = format!("job_{}", short.to_ascii_uppercase()).parse().ok()?;
    (job.short() == short).then_some(job)
}

/// What cannot be read is old and long: it is reported and removed.
fn parse_entry(text: &str) -> Entry {
    let (written, pieces) = text.split_once(' ').unwrap_or_default();
    Entry {
        written_ms: written.parse().unwrap_or_default(),
        pieces: pieces.parse().unwrap_or(MOST_PIECES).clamp(1, MOST_PIECES),
    }
}

/// As Redis wants it: at least 1, and far from the end of its numbers.
fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 52)
}
