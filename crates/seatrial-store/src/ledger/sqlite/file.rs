//! The file: how it is made, opened and brought up to date.

use std::{
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior, config::DbConfig, params,
};
use seatrial_core::ledger::LedgerError;

use super::clock::{Anchored, Clock, anchor};

/// Layout of the file. A process leaves a file of a higher one alone.
pub(super) const LAYOUT: u32 = 1;
/// In the file's head, so that tools know whose it is: `Seat`.
const APPLICATION: u32 = 0x5365_6174;
/// How long a process waits while others write.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What the database says, or what stands in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// SQLite's word.
    #[error(transparent)]
    Db(#[from] rusqlite::Error),
    /// An answer already.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Fault {
    /// As the seam has it; `action` as a verb phrase.
    pub(super) fn at(self, action: &'static str) -> LedgerError {
        match self {
            Self::Ledger(error) => error,
            Self::Db(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => LedgerError::Broken {
                    what: "the file".into(),
                    source: error.into(),
                },
                _ => LedgerError::Unreachable {
                    action,
                    source: error.into(),
                },
            },
        }
    }
}

/// Makes the file if there is none, brings it up to date, and reads its clock.
pub(super) fn open(path: &Path, clock: Clock) -> Result<(Connection, Anchored), LedgerError> {
    make(path)?;
    let mut db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|fault| fault.at("open its file"))?;
    let offset = prepare(&mut db, &clock).map_err(|fault| fault.at("prepare its file"))?;
    Ok((db, Anchored::at(clock, offset)))
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> Result<Connection, LedgerError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|fault| fault.at("open its file"))
}

/// An empty file that only its owner reads.
///
/// Closing a file drops all of a process's locks on it, SQLite's included. So the file is made under
/// another name and moved into place, and one that exists is never opened here.
fn make(path: &Path) -> Result<(), LedgerError> {
    if path.exists() {
        return Ok(());
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let unfit = |error: io::Error| LedgerError::Unfit(format!("{} cannot be made: {error}", path.display()));
    let made = tempfile::NamedTempFile::new_in(folder).map_err(unfit)?;
    match made.into_temp_path().persist_noclobber(path) {
        Ok(()) => Ok(()),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(refused) => Err(unfit(refused.error)),
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, Fault> {
    // Absolute, so that no name has a meaning of its own for SQLite.
    let path = std::path::absolute(path)
        .map_err(|error| LedgerError::Unfit(format!("{} is no usable path: {error}", path.display())))?;
    let mut db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let mut since = Instant::now();
    // In steps of a millisecond: SQLite's own pauses grow, and who has waited longest would wait on.
    db.busy_handler(Some(move |tries| {
        if tries == 0 {
            since = Instant::now();
        }
        thread::sleep(Duration::from_millis(1));
        since.elapsed() < PATIENCE
    }))?;
    db.set_prepared_statement_cache_capacity(96);
    // Plans do not depend on the values that are bound, so nothing is planned twice.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Erased means overwritten: wrapped keys of erased jobs shall not be found in free pages.
    db.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -16000;
         PRAGMA wal_autocheckpoint = 4000;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA trusted_schema = OFF;",
    )?;
    Ok(db)
}

/// Journal, layout, anchor of the clock. Any number of processes may do this at once.
fn prepare(db: &mut Connection, clock: &Clock) -> Result<i64, Fault> {
    refuse_newer(db)?;
    log_ahead(db)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    match refuse_newer(&tx)? {
        LAYOUT => {}
        _ => {
            let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            if tables > 0 {
                return Err(LedgerError::Unfit("its file is another program's database".into()).into());
            }
            tx.execute_batch(include_str!("layout.sql"))?;
            tx.pragma_update(None, "application_id", APPLICATION)?;
            tx.pragma_update(None, "user_version", LAYOUT)?;
        }
    }
    let known = "SELECT offset FROM clock WHERE boot = ?";
    let known: Option<i64> = tx.query_row(known, [&clock.boot], |row| row.get(0)).optional()?;
    let offset = match known {
        Some(offset) => offset,
        None => {
            let seen: i64 = tx.query_row("SELECT seen FROM tallies", [], |row| row.get(0))?;
            let offset = anchor(clock, seen);
            tx.execute(
                "INSERT INTO clock (boot, offset) VALUES (?, ?)",
                params![clock.boot, offset],
            )?;
            offset
        }
    };
    tx.commit()?;
    Ok(offset)
}

/// The layout of the file, unless it is too new.
pub(super) fn refuse_newer(db: &Connection) -> Result<u32, Fault> {
    let layout: u32 = db
        .prepare_cached("PRAGMA user_version")?
        .query_row([], |row| row.get(0))?;
    if layout > LAYOUT {
        let newer = LedgerError::Newer {
            what: "the ledger".into(),
            schema: layout,
        };
        return Err(newer.into());
    }
    Ok(layout)
}

/// Switches to a write-ahead log. While another process does the same, SQLite answers "busy" at once.
fn log_ahead(db: &Connection) -> Result<(), Fault> {
    let started = Instant::now();
    loop {
        let mode = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                let unfit = format!("its file cannot have a write-ahead log; SQLite says '{mode}'");
                return Err(LedgerError::Unfit(unfit).into());
            }
            Err(error) if is_busy(&error) && started.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
