//! The file: how it is made, opened and brought up to date.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior, params};
use seatrial_core::{BoxError, ledger::LedgerError};

use super::clock::{Anchored, Clock, anchor};
use crate::sqlite::{self, Answer};

/// Layout of the file. A process leaves a file of a higher one alone.
pub(super) const LAYOUT: u32 = 1;
/// In the file's head, so that tools know whose it is: `Seat`.
const APPLICATION: u32 = 0x5365_6174;
/// Pages that a connection keeps, in KiB; the others are a copy away, as the host caches the file.
const WRITER_CACHE: i64 = 8_192;
const READER_CACHE: i64 = 2_048;

/// What the database says, or what stands in it.
pub(super) type Fault = sqlite::Fault<LedgerError>;

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        Self::Own(error)
    }
}

impl Answer for LedgerError {
    fn of_db(action: &'static str, error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Broken {
                what: "the file".into(),
                source: error.into(),
            },
            _ => Self::unreachable(action, error.into()),
        }
    }

    fn unreachable(action: &'static str, source: BoxError) -> Self {
        Self::Unreachable { action, source }
    }

    fn copy(&self) -> Self {
        let said = |source: &BoxError| -> BoxError { source.to_string().into() };
        match self {
            Self::Unreachable { action, source } => Self::unreachable(action, said(source)),
            Self::Newer { what, schema } => Self::Newer {
                what: what.clone(),
                schema: *schema,
            },
            Self::Broken { what, source } => Self::Broken {
                what: what.clone(),
                source: said(source),
            },
            Self::Unfit(why) => Self::Unfit(why.clone()),
        }
    }
}

/// Makes the file if there is none, brings it up to date, and reads its clock.
pub(super) fn open(path: &Path, clock: Clock) -> Result<(Connection, Anchored), LedgerError> {
    make(path)?;
    let mut db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_CACHE)?;
    let offset = prepare(&mut db, &clock).map_err(|fault| fault.at("prepare its file"))?;
    Ok((db, Anchored::at(clock, offset)))
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> Result<Connection, LedgerError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, READER_CACHE)
}

fn make(path: &Path) -> Result<(), LedgerError> {
    sqlite::file::make(path).map_err(|error| LedgerError::Unfit(format!("{} cannot be made: {error}", path.display())))
}

/// Erased means overwritten: wrapped keys of erased jobs shall not be found in free pages.
fn connect(path: &Path, flags: OpenFlags, cache: i64) -> Result<Connection, LedgerError> {
    sqlite::file::connect(path, flags, cache, true).map_err(|error| Fault::from(error).at("open its file"))
}

/// Journal, layout, anchor of the clock. Any number of processes may do this at once.
fn prepare(db: &mut Connection, clock: &Clock) -> Result<i64, Fault> {
    refuse_newer(db)?;
    let mode = sqlite::file::log_ahead(db)?;
    if mode != "wal" {
        let unfit = format!("its file cannot have a write-ahead log; SQLite says '{mode}'");
        return Err(LedgerError::Unfit(unfit).into());
    }
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
    let layout = sqlite::file::layout(db)?;
    if layout > LAYOUT {
        let newer = LedgerError::Newer {
            what: "the ledger".into(),
            schema: layout,
        };
        return Err(newer.into());
    }
    Ok(layout)
}
