//! What a sweep does: takes away what is over and what a crash left, and names jobs with old blobs.

use std::{
    os::fd::OwnedFd,
    sync::PoisonError,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{AtFlags, FileType},
    io::Errno,
};
use seatrial_core::{id::JobId, vault::BlobKind};

use super::{Inner, UNFINISHED, age, names, open_folder, remove};
use crate::vault::{BlobName, Ttl, seal};

/// One sweep looks at so many jobs and no more: some seconds on a slow disk. The next one goes on there.
const MOST_JOBS: usize = 20_000;
/// Nobody writes one file for so long, nor makes a folder so long before its first file: whoever did is gone.
const WRITTEN_WITHIN: Duration = Duration::from_secs(3600);

pub(super) fn sweep(inner: &Inner, old: Duration, limit: usize) -> Result<Vec<JobId>, Errno> {
    let mut swept = inner.swept.lock().unwrap_or_else(PoisonError::into_inner);
    let now = SystemTime::now();
    let mut found = Vec::new();
    let mut looked = 0;
    let after = swept.take();
    let mut shards = names(&inner.root)?;
    shards.sort_unstable();
    for shard in shards {
        let after = match &after {
            Some((last, _)) if *last > shard => continue,
            Some((last, job)) if *last == shard => Some(job),
            Some(_) | None => None,
        };
        let Ok(folder) = open_folder(&inner.root, &shard) else {
            continue; // not a folder: not ours
        };
        let mut jobs = names(&folder)?;
        jobs.sort_unstable();
        for short in jobs {
            let Some(job) = job_of(&short).filter(|_| after.is_none_or(|last| short > *last)) else {
                continue;
            };
            looked += 1;
            if tend(&folder, &short, &inner.ttl, now)?.is_some_and(|oldest| oldest >= old) && limit > 0 {
                found.push(job);
            }
            if looked == MOST_JOBS || (limit > 0 && found.len() == limit) {
                *swept = Some((shard, short));
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Tidies a job's folder; the age of its oldest blob.
fn tend(shard: &OwnedFd, short: &str, ttl: &Ttl, now: SystemTime) -> Result<Option<Duration>, Errno> {
    let folder = match open_folder(shard, short) {
        Ok(folder) => folder,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None), // gone, or not ours
        Err(error) => return Err(error),
    };
    let idle = age(&rustix::fs::fstat(&folder)?, now); // before we change it
    let mut oldest = None;
    for name in names(&folder)? {
        let stat = match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => stat,
            Ok(_) | Err(Errno::NOENT) => continue,
            Err(error) => return Err(error),
        };
        let age = age(&stat, now);
        let over = match kind_of(&name) {
            Some(kind) => age > ttl.of(kind),
            None => name.starts_with(UNFINISHED) && age > WRITTEN_WITHIN,
        };
        if over {
            remove(&folder, &name, AtFlags::empty())?;
        } else if !name.starts_with(UNFINISHED) {
            oldest = oldest.max(Some(age));
        }
    }
    if oldest.is_some() || idle <= WRITTEN_WITHIN {
        return Ok(oldest);
    }
    // Fails while there is something in it, which is right. A write that wanted it makes it again.
    match remove(shard, short, AtFlags::REMOVEDIR) {
        Ok(_) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(oldest),
        Err(error) => Err(error),
    }
}

fn job_of(short: &str) -> Option<JobId> {
    let job: JobId = format!("job_{}", short.to_ascii_uppercase()).parse().ok()?;
    (job.short() == short).then_some(job)
}

/// `None` for what is not ours, or comes from a newer Seatrial.
fn kind_of(file: &str) -> Option<BlobKind> {
    let (name, word) = file.split_once('.')?;
    name.parse::<BlobName>().ok()?;
    BlobKind::ALL.into_iter().find(|kind| seal::word(*kind) == word)
}
