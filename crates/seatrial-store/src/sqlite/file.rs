//! How a file is made and opened.

use std::{
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

/// How long a process waits while others write.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// An empty file that only its owner reads.
///
/// Closing a file drops all of a process's locks on it, SQLite's included. So the file is made under
/// another name and moved into place, and one that exists is never opened here.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let made = tempfile::NamedTempFile::new_in(folder)?;
    match made.into_temp_path().persist_noclobber(path) {
        Ok(()) => Ok(()),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(refused) => Err(refused.error),
    }
}

/// A connection that flushes what it commits; keeps so many KiB of pages. `erase`: what is deleted is overwritten.
pub(crate) fn connect(path: &Path, flags: OpenFlags, cache: i64, erase: bool) -> Result<Connection, rusqlite::Error> {
    // Absolute, so that no name has a meaning of its own for SQLite.
    let path = std::path::absolute(path).map_err(|_| rusqlite::Error::InvalidPath(path.to_owned()))?;
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
    db.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA temp_store = MEMORY;
         PRAGMA wal_autocheckpoint = 1000;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA trusted_schema = OFF;",
    )?;
    db.pragma_update(None, "secure_delete", erase)?;
    db.pragma_update(None, "cache_size", -cache)?;
    Ok(db)
}

/// Switches to a write-ahead log; the mode that the file has then, `wal` when it could. While another process
/// does the same, SQLite answers "busy" at once.
pub(crate) fn log_ahead(db: &Connection) -> Result<String, rusqlite::Error> {
    let started = Instant::now();
    loop {
        match db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)) {
            Err(error) if is_busy(&error) && started.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
}

/// The number of the file's layout; 0 when it has none yet.
pub(crate) fn layout(db: &Connection) -> Result<u32, rusqlite::Error> {
    db.prepare_cached("PRAGMA user_version")?
        .query_row([], |row| row.get(0))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
