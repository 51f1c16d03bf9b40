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
//! hash, so erasure finds it. Everything lies in memory: this Redis needs room for the contexts of a week.

mod connect;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use redis::{FromRedisValue, Pipeline, RedisError};
use seatrial_core::{
    id::JobId,
    vault::{BlobKind, VaultError},
};

use self::connect::Link;
pub use self::connect::RedisOptions;
use super::{BlobName, BlobStore, OpenError, Ttl, unreachable};

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
        let ((seconds, micros),): ((u64, u64),) = self.ask("tell its time", redis::pipe().cmd("TIME")).await?;
        Ok(seconds.saturating_mul(1000).saturating_add(micros / 1000))
    }

    async fn write_pieces(
        &self,
        job: JobId,
        kind: BlobKind,
        name: BlobName,
        now: u64,
        pieces: &[&[u8]],
    ) -> Result<(), RedisError> {
        let ttl = milliseconds(self.ttl.of(kind));
        let mut pipe = redis::pipe();
        pipe.atomic();
        pipe.cmd("HSET").arg(index_key(job)).arg(name.to_string());
        pipe.arg(format!("{now} {}", pieces.len()));
        pipe.cmd("PEXPIRE")
            .arg(index_key(job))
            .arg(milliseconds(self.ttl.longest()));
        for (number, piece) in pieces.iter().enumerate().rev() {
            pipe.cmd("SET")
                .arg(piece_key(job, name, number))
                .arg(*piece)
                .arg("PX")
                .arg(ttl);
            // A short blob takes one step with its line in the hash.
            let () = self.link.ask(&pipe).await?;
            pipe = redis::pipe();
        }
        Ok(())
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
    async fn write(&self, job: JobId, kind: BlobKind, name: BlobName, sealed: Vec<u8>) -> Result<(), VaultError> {
        const ACTION: &str = "write a blob";
        let pieces: Vec<&[u8]> = sealed.chunks(PIECE).collect();
        if pieces.len() > MOST_PIECES {
            return Err(unreachable(ACTION)("it is longer than 8 GiB"));
        }
        let now = self.now().await?;
        let done = self.write_pieces(job, kind, name, now, &pieces).await;
        if done.as_ref().is_err_and(connect::is_answer) {
            // It is full, say: what is there of the blob is in the way of others. Best effort.
            let _ = self.remove(job, name, pieces.len()).await;
        }
        done.map_err(unreachable(ACTION))
    }

    async fn read(&self, job: JobId, _: BlobKind, name: BlobName, len: u64) -> Result<Option<Vec<u8>>, VaultError> {
        let mut sealed = Vec::new();
        for number in 0.. {
            let left = len - sealed.len() as u64;
            let wanted = left.min(PIECE as u64);
            if wanted == 0 {
                break;
            }
            // One byte more than there should be: a longer value shows, and is not fetched whole.
            let mut pipe = redis::pipe();
            pipe.cmd("GETRANGE")
                .arg(piece_key(job, name, number))
                .arg(0)
                .arg(wanted);
            let (piece,): (Vec<u8>,) = self.ask("read a blob", &pipe).await?;
            if piece.is_empty() {
                return Ok(None); // pieces are never empty
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
