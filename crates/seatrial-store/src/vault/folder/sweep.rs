//! What a sweep does: takes away what is over and what a crash left, and names jobs with old blobs.

use std::{
    os::fd::OwnedFd,
    sync::PoisonError,
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    fs::{AtFlags, FileType},
    io::Errno,
};
use seatrial_core::{id::JobId, vault::BlobKind};

use super::{Inner, UNFINISHED, age, names, open_folder, remove};
use crate::vault::{BlobName, Ttl, seal};

/// One sweep tidies so many folders and no more, for so long and no longer. The next one goes on there.
const MOST_JOBS: usize = 100_000;
const TIDY_FOR: Duration = Duration::from_secs(5);
/// One sweep looks at so many for old blobs.
const MOST_LOOKS: usize = 20_000;
/// Nobody writes one file for so long, nor makes a folder so long before its first file: whoever did is gone.
const WRITTEN_WITHIN: Duration = Duration::from_secs(3600);

/// Where the sweeps before ended. To tidy and to name jobs go round each by itself: how many jobs are named
/// is bounded by who asks, and must not hold up what is over.
#[derive(Default)]
pub(super) struct Swept {
    tidied: Option<At>,
    pub(super) named: Look,
}

/// A job's folder: its upper folder and itself.
type At = (String, String);

/// From where to look for old blobs.
pub(super) enum Look {
    /// In files behind this one, then in rows.
    Files(Option<At>),
    /// In rows behind this job.
    Rows(Option<JobId>),
}

impl Default for Look {
    fn default() -> Self {
        Self::Files(None)
    }
}

/// Takes away files that are over, and folders that nobody needs.
pub(super) fn tidy(inner: &Inner) -> Result<(), Errno> {
    let swept = || inner.swept.lock().unwrap_or_else(PoisonError::into_inner);
    let (begun, now) = (Instant::now(), SystemTime::now());
    let after = swept().tidied.take();
    let mut left = MOST_JOBS;
    let ended = walk(&inner.root, after, |shard, short, _| {
        tend(shard, short, &inner.ttl, now)?;
        left -= 1;
        Ok(left > 0 && begun.elapsed() < TIDY_FOR)
    })?;
    swept().tidied = ended;
    Ok(())
}

/// Jobs behind `after` that have a file older than `old`, at most `limit`; and where the look ended, `None` at
/// the end.
pub(super) fn old(
    inner: &Inner,
    after: Option<At>,
    old: Duration,
    limit: usize,
) -> Result<(Vec<JobId>, Option<At>), Errno> {
    let now = SystemTime::now();
    let mut found = Vec::new();
    let mut left = MOST_LOOKS;
    let ended = walk(&inner.root, after, |shard, short, job| {
        if oldest(shard, short, now)?.is_some_and(|oldest| oldest >= old) {
            found.push(job);
        }
        left -= 1;
        Ok(left > 0 && found.len() < limit)
    })?;
    Ok((found, ended))
}

/// Visits the jobs behind `after` that have a folder, as long as the visit says so; where it ended, `None` at
/// the end.
fn walk(
    root: &OwnedFd,
    after: Option<At>,
    mut visit: impl FnMut(&OwnedFd, &str, JobId) -> Result<bool, Errno>,
) -> Result<Option<At>, Errno> {
    let mut shards = names(root)?;
    shards.sort_unstable();
    for shard in shards {
        let after = match &after {
            Some((last, _)) if *last > shard => continue,
            Some((last, job)) if *last == shard => Some(job),
            Some(_) | None => None,
        };
        let Ok(folder) = open_folder(root, &shard) else {
            continue; // not a folder: not ours
        };
        let mut jobs = names(&folder)?;
        jobs.sort_unstable();
        for short in jobs {
            let Some(job) = job_of(&short).filter(|_| after.is_none_or(|last| short > *last)) else {
                continue;
            };
            if !visit(&folder, &short, job)? {
                return Ok(Some((shard, short)));
            }
        }
    }
    Ok(None)
}

/// The age of a job's oldest file.
fn oldest(shard: &OwnedFd, short: &str, now: SystemTime) -> Result<Option<Duration>, Errno> {
    let Some(folder) = open_job(shard, short)? else {
        return Ok(None);
    };
    let ages = files(&folder, now)?.into_iter();
    Ok(ages
        .filter(|(name, _)| !name.starts_with(UNFINISHED))
        .map(|(_, age)| age)
        .max())
}

/// Tidies a job's folder.
fn tend(shard: &OwnedFd, short: &str, ttl: &Ttl, now: SystemTime) -> Result<(), Errno> {
    let Some(folder) = open_job(shard, short)? else {
        return Ok(());
    };
    let idle = age(&rustix::fs::fstat(&folder)?, now); // before we change it
    let mut kept = false;
    for (name, age) in files(&folder, now)? {
        let over = match kind_of(&name) {
            Some(kind) => age > ttl.of(kind),
            None => name.starts_with(UNFINISHED) && age > WRITTEN_WITHIN,
        };
        if over {
            remove(&folder, &name, AtFlags::empty())?;
        } else {
            kept |= !name.starts_with(UNFINISHED);
        }
    }
    if kept || idle <= WRITTEN_WITHIN {
        return Ok(());
    }
    // Fails while there is something in it, which is right. A write that wanted it makes it again.
    match remove(shard, short, AtFlags::REMOVEDIR) {
        Ok(_) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

/// `None` when it is gone, or not ours.
fn open_job(shard: &OwnedFd, short: &str) -> Result<Option<OwnedFd>, Errno> {
    match open_folder(shard, short) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Plain files of a job's folder, with their age.
fn files(folder: &OwnedFd, now: SystemTime) -> Result<Vec<(String, Duration)>, Errno> {
    let mut files = Vec::new();
    for name in names(folder)? {
        match rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                files.push((name, age(&stat, now)));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

pub(super) fn job_of(short: &str) -> Option<JobId> {
    let job: JobId = format!("job_{}", short.to_ascii_uppercase()).parse().ok()?;
    (job.short() == short).then_some(job)
}

/// `None` for what is not ours, or comes from a newer Seatrial.
fn kind_of(file: &str) -> Option<BlobKind> {
    let (name, word) = file.split_once('.')?;
    name.parse::<BlobName>().ok()?;
    BlobKind::ALL.into_iter().find(|kind| seal::word(*kind) == word)
}
