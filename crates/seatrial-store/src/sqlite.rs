//! What all files of SQLite share: how they are made and opened, the one thread that writes, and the few
//! that read.

use rusqlite::Connection;
use seatrial_core::BoxError;

pub(crate) mod file;
pub(crate) mod readers;
pub(crate) mod writer;

/// What the database says, or an answer already.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault<E> {
    /// SQLite's word.
    #[error(transparent)]
    Db(#[from] rusqlite::Error),
    /// An answer already.
    #[error(transparent)]
    Own(E),
}

impl<E: Answer> Fault<E> {
    /// As the seam has it; `action` as a verb phrase.
    pub(crate) fn at(self, action: &'static str) -> E {
        match self {
            Self::Own(error) => error,
            Self::Db(error) => E::of_db(action, error),
        }
    }
}

/// The error of a seam that is kept in such a file.
pub(crate) trait Answer: Sized + Send + 'static {
    /// What SQLite said; `action` as a verb phrase.
    fn of_db(action: &'static str, error: rusqlite::Error) -> Self;
    /// No answer: may pass.
    fn unreachable(action: &'static str, source: BoxError) -> Self;
    /// The same error for each of those who share it.
    fn copy(&self) -> Self;
}

/// Plans it once.
pub(crate) fn run_cached(db: &Connection, sql: &str) -> Result<(), rusqlite::Error> {
    db.prepare_cached(sql)?.execute([])?;
    Ok(())
}
