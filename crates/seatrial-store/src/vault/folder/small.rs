//! Small blobs as rows of one file, so that all who wait share one flush to the disk: a flush costs more
//! than all the rest of a submission.
//!
//! Rows are deleted, not overwritten, as files are: what was sealed is noise once its data key is gone, and
//! that goes with the record. Room that is freed is used again; the file does not shrink.

use std::{
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};
use rustix::{
    fs::{AtFlags, FileType, Stat},
    io::Errno,
};
use seatrial_core::{
    BoxError,
    id::JobId,
    vault::{BlobKind, VaultError},
};

use super::sweep::job_of;
use crate::{
    sqlite::{self, Answer, readers::Readers, writer::Book},
    vault::{BlobName, OpenError, Sealed, Ttl, Wanted, seal},
};

/// The file's name in the vault's folder.
const FILE: &str = "small.db";
/// Layout of the file. A process leaves a file of a higher one alone.
const LAYOUT: u32 = 1;
/// In the file's head, so that tools know whose it is: `SeaV`.
const APPLICATION: u32 = 0x5365_6156;
/// Longer sealed bytes go into a file of their own.
pub(super) const LONGEST: usize = 64 << 10;
/// Pages that a connection keeps, in KiB. Few: rows are added at the end, and read once or twice.
const WRITER_CACHE: i64 = 2_048;
const READER_CACHE: i64 = 512;
/// Rows that one step of a sweep deletes: puts wait no longer than for these.
const BATCH: usize = 500;
/// How long one sweep deletes. At some ten thousand rows a second, more than anybody submits in a minute.
const EXPIRE_FOR: Duration = Duration::from_secs(10);
/// Jobs that one sweep looks at for old blobs.
const MOST_JOBS: usize = 20_000;

type Fault = sqlite::Fault<VaultError>;
type Writer = sqlite::writer::Writer<Rows>;

impl Answer for VaultError {
    fn of_db(action: &'static str, error: rusqlite::Error) -> Self {
        Self::unreachable(action, error.into())
    }

    fn unreachable(action: &'static str, source: BoxError) -> Self {
        Self::Unreachable { action, source }
    }

    fn copy(&self) -> Self {
        match self {
            Self::Unreachable { action, source } => Self::unreachable(action, source.to_string().into()),
            Self::Missing { kind } => Self::Missing { kind: *kind },
            Self::Tampered { kind } => Self::Tampered { kind: *kind },
            Self::NoSuchKey { key } => Self::NoSuchKey { key: key.clone() },
            Self::WrongKey { key } => Self::WrongKey { key: key.clone() },
        }
    }
}

/// The rows of one file.
pub(super) struct Small {
    writer: Writer,
    readers: Readers<VaultError>,
}

/// What the writer works on.
struct Rows {
    place: Place,
}

/// A transaction on the rows.
struct Turn<'a>(&'a Connection);

/// Which file it is.
struct Place {
    root: Arc<OwnedFd>,
    /// Device and number.
    file: (u64, u64),
}

impl Place {
    /// Whoever removes the file, or the folder with it, must not hear that bytes are kept in it.
    fn is_there(&self) -> bool {
        stat(&self.root).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.file)
    }
}

fn stat(root: &OwnedFd) -> Result<Stat, Errno> {
    rustix::fs::statat(root, FILE, AtFlags::SYMLINK_NOFOLLOW)
}

impl Book for Rows {
    type Turn<'a> = Turn<'a>;
    type Rung = ();
    type Error = VaultError;

    fn begin<'a>(&mut self, db: &'a Connection) -> Result<Turn<'a>, Fault> {
        if !self.place.is_there() {
            return Err(Fault::Own(VaultError::unreachable(
                "find its file",
                "it was removed".into(),
            )));
        }
        refuse_newer(db)?;
        Ok(Turn(db))
    }

    fn end(&mut self, _: Turn<'_>, _: bool) -> Result<(), Fault> {
        Ok(())
    }

    fn ring(&mut self, (): ()) {}
}

/// `root` is `folder`, which was checked already.
pub(super) fn open(root: &Arc<OwnedFd>, folder: &Path) -> Result<Small, OpenError> {
    let unfit = |why: String| OpenError::Unfit(format!("{} {why}", folder.join(FILE).display()));
    let failed = |error: rusqlite::Error| OpenError::Unreachable {
        action: "open its file",
        source: error.into(),
    };
    let path = folder.join(FILE);
    sqlite::file::make(&path).map_err(|error| OpenError::Unreachable {
        action: "make its file",
        source: error.into(),
    })?;
    let seen = stat(root).map_err(|error| unfit(format!("is not in its folder: {error}")))?;
    if FileType::from_raw_mode(seen.st_mode) != FileType::RegularFile {
        return Err(unfit("is no plain file".into()));
    }
    let us = rustix::process::geteuid().as_raw();
    if seen.st_uid != us {
        return Err(unfit(format!("belongs to user {}, and this is user {us}", seen.st_uid)));
    }
    if seen.st_mode & 0o077 != 0 {
        return Err(unfit(format!(
            "is open to others (mode {:03o}): chmod 600",
            seen.st_mode & 0o777
        )));
    }
    let connect = |flags, cache| sqlite::file::connect(&path, flags, cache, false).map_err(failed);
    let mut db = connect(OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_CACHE)?;
    prepare(&mut db).map_err(|fault| match fault {
        Fault::Db(error) => failed(error),
        Fault::Own(why) => unfit(why.to_string()),
    })?;
    let reader = || connect(OpenFlags::SQLITE_OPEN_READ_ONLY, READER_CACHE);
    let readers = [reader()?, reader()?, reader()?];
    let rows = Rows {
        place: Place {
            root: Arc::clone(root),
            file: (seen.st_dev, seen.st_ino),
        },
    };
    let no_thread = |error: std::io::Error| unfit(format!("gets no thread: {error}"));
    Ok(Small {
        writer: Writer::start("vault-writer", db, rows).map_err(no_thread)?,
        readers: Readers::start("vault-reader", readers).map_err(no_thread)?,
    })
}

fn prepare(db: &mut Connection) -> Result<(), Fault> {
    refuse_newer(db)?;
    let own = |why: String| Fault::Own(VaultError::unreachable("take its file", why.into()));
    let mode = sqlite::file::log_ahead(db)?;
    if mode != "wal" {
        return Err(own(format!("it has no write-ahead log; SQLite says '{mode}'")));
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    if refuse_newer(&tx)? == 0 {
        let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables > 0 {
            return Err(own("it is another program's database".into()));
        }
        tx.execute_batch(include_str!("layout.sql"))?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.pragma_update(None, "user_version", LAYOUT)?;
    }
    tx.commit()?;
    Ok(())
}

fn refuse_newer(db: &Connection) -> Result<u32, Fault> {
    match sqlite::file::layout(db)? {
        layout @ 0..=LAYOUT => Ok(layout),
        newer => Err(Fault::Own(VaultError::unreachable(
            "take its file",
            format!("its layout {newer} is of a newer Seatrial").into(),
        ))),
    }
}

impl Small {
    /// In one transaction.
    pub(super) async fn write(&self, job: JobId, blobs: Vec<Sealed>) -> Result<(), VaultError> {
        let put = move |turn: &mut Turn<'_>| {
            let mut insert = turn
                .0
                .prepare_cached("INSERT INTO blobs (job, name, kind, written, sealed) VALUES (?, ?, ?, ?, ?)")?;
            let now = millis(SystemTime::now());
            for Sealed { kind, name, bytes } in &blobs {
                insert.execute(params![job.short(), name.to_string(), seal::word(*kind), now, bytes])?;
            }
            Ok(())
        };
        self.writer.ask("write blobs", put).await
    }

    /// `None`: not there. Of a row with another length, no bytes.
    pub(super) async fn read(&self, job: JobId, blobs: Vec<Wanted>, ttl: Ttl) -> Result<Vec<Found>, VaultError> {
        let read = move |db: &Connection| {
            let mut read = db.prepare_cached(
                "SELECT written, CASE length(sealed) WHEN ? THEN sealed END FROM blobs WHERE job = ? AND name = ?",
            )?;
            let now = SystemTime::now();
            let mut one = |blob: &Wanted| {
                let len = i64::try_from(blob.len).unwrap_or(i64::MAX);
                let row = read
                    .query_row(params![len, job.short(), blob.name.to_string()], |row| {
                        Ok((row.get(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
                    })
                    .optional()?;
                Ok(match row {
                    None => Found::Nothing,
                    Some((written, _)) if age(written, now) > ttl.of(blob.kind) => Found::Over,
                    Some((_, sealed)) => Found::Row(sealed.unwrap_or_default()),
                })
            };
            blobs.iter().map(&mut one).collect()
        };
        self.readers.ask("read blobs", read).await
    }

    /// Whether its file is still in its place, and takes a transaction.
    pub(super) async fn ping(&self) -> Result<(), VaultError> {
        self.writer.ask("answer", |_| Ok(())).await
    }

    pub(super) async fn delete(&self, job: JobId, name: BlobName) -> Result<(), VaultError> {
        let delete = move |turn: &mut Turn<'_>| {
            let mut delete = turn.0.prepare_cached("DELETE FROM blobs WHERE job = ? AND name = ?")?;
            delete.execute(params![job.short(), name.to_string()])?;
            Ok(())
        };
        self.writer.ask("delete a blob", delete).await
    }

    pub(super) async fn erase(&self, job: JobId) -> Result<(), VaultError> {
        let erase = move |turn: &mut Turn<'_>| {
            let mut erase = turn.0.prepare_cached("DELETE FROM blobs WHERE job = ?")?;
            erase.execute([job.short()])?;
            Ok(())
        };
        self.writer.ask("erase a job", erase).await
    }

    /// Deletes rows whose time is over, in steps between which others write.
    pub(super) async fn expire(&self, ttl: Ttl) -> Result<(), VaultError> {
        let begun = Instant::now();
        for kind in BlobKind::ALL {
            while begun.elapsed() < EXPIRE_FOR {
                let before = millis(SystemTime::now()) - spell(ttl.of(kind));
                let delete = move |turn: &mut Turn<'_>| {
                    let mut delete = turn.0.prepare_cached(
                        "DELETE FROM blobs WHERE id IN
                             (SELECT id FROM blobs WHERE kind = ? AND written < ? ORDER BY written LIMIT ?)",
                    )?;
                    Ok(delete.execute(params![seal::word(kind), before, BATCH as i64])?)
                };
                if self.writer.ask("delete what is over", delete).await? < BATCH {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Jobs behind `after` whose oldest row is older than `old`, at most `limit`; and where the look ended,
    /// `None` at the end.
    pub(super) async fn old(
        &self,
        after: Option<JobId>,
        old: Duration,
        limit: usize,
    ) -> Result<(Vec<JobId>, Option<JobId>), VaultError> {
        let look = move |db: &Connection| {
            let mut read = db.prepare_cached(
                "SELECT job, min(written) FROM blobs WHERE job > ? GROUP BY job ORDER BY job LIMIT ?",
            )?;
            let after = after.map(JobId::short).unwrap_or_default();
            let mut rows = read.query(params![after, MOST_JOBS as i64])?;
            let (mut found, mut looked, now) = (Vec::new(), 0, SystemTime::now());
            let mut last = None;
            while let Some(row) = rows.next()? {
                looked += 1;
                let Some(job) = job_of(&row.get::<_, String>(0)?) else {
                    continue; // not ours
                };
                last = Some(job);
                if age(row.get(1)?, now) >= old {
                    found.push(job);
                }
                if found.len() == limit {
                    return Ok((found, last));
                }
            }
            Ok((found, last.filter(|_| looked == MOST_JOBS)))
        };
        self.readers.ask("look for old blobs", look).await
    }
}

/// What a look into the table gave.
pub(super) enum Found {
    Nothing,
    /// It is there, and its time is over.
    Over,
    Row(Vec<u8>),
}

fn millis(at: SystemTime) -> i64 {
    spell(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Far from the end of the numbers.
fn spell(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX).min(1 << 52)
}

/// Zero when its time is still to come.
fn age(written: i64, now: SystemTime) -> Duration {
    Duration::from_millis(u64::try_from(millis(now).saturating_sub(written)).unwrap_or_default())
}
