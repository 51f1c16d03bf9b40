//! What the calls that write share: the open transaction, and the numbers that change with almost every one.

use std::sync::Arc;

use rusqlite::{Connection, params};
use seatrial_core::{id::JobId, ledger::LedgerError, record::Budgets};

use super::{
    clock::Anchored,
    file::{Fault, refuse_newer},
    lane::Lane,
};
use crate::{
    ledger::bell::Bell,
    sqlite::writer::{self, Book},
};

/// Takes calls to the thread that writes.
pub(super) type Writer = writer::Writer<Jobs>;

/// Numbers that change with almost every move: read at the begin of a transaction and written at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tallies {
    /// Jobs by lane.
    pub(super) jobs: [i64; Lane::COUNTED],
    /// The rank claimed last, by priority.
    pub(super) turns: [i64; 3],
    /// The last time that was written.
    pub(super) seen: i64,
}

impl Tallies {
    /// As the file has them.
    pub(super) fn read(db: &Connection) -> Result<Self, rusqlite::Error> {
        let mut read = db.prepare_cached("SELECT * FROM tallies")?;
        read.query_row([], |row| {
            let mut tallies = Self::default();
            for (n, count) in tallies.jobs.iter_mut().enumerate() {
                *count = row.get(1 + n)?;
            }
            for (n, turn) in tallies.turns.iter_mut().enumerate() {
                *turn = row.get(1 + Lane::COUNTED + n)?;
            }
            tallies.seen = row.get("seen")?;
            Ok(tallies)
        })
    }

    fn write(&self, db: &Connection) -> Result<(), rusqlite::Error> {
        let [a, b, c, d, e, f, g] = self.jobs;
        let [x, y, z] = self.turns;
        db.prepare_cached("REPLACE INTO tallies VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
            .execute(params![a, b, c, d, e, f, g, x, y, z, self.seen])?;
        Ok(())
    }

    /// Jobs that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.jobs[..6]
            .iter()
            .map(|count| u64::try_from(*count).unwrap_or_default())
            .sum()
    }
}

/// The open transaction.
pub(super) struct Turn<'a> {
    /// In the transaction.
    pub(super) db: &'a Connection,
    /// The ledger's time: the same for the whole transaction.
    pub(super) now: i64,
    /// What reaping allows.
    pub(super) budgets: Budgets,
    /// Written back at the end.
    pub(super) tallies: Tallies,
    /// Whom to wake when it is on the disk.
    pub(super) rung: Rung,
}

/// What happened in a transaction that others wait for.
#[derive(Default)]
pub(super) struct Rung {
    /// Jobs that moved.
    pub(super) jobs: Vec<JobId>,
    /// Work has come.
    pub(super) work: bool,
}

/// The jobs of a file, as their writer has them.
pub(super) struct Jobs {
    pub(super) clock: Anchored,
    pub(super) budgets: Budgets,
    pub(super) bell: Arc<Bell>,
}

impl Book for Jobs {
    type Turn<'a> = Turn<'a>;
    type Rung = Rung;
    type Error = LedgerError;

    fn begin<'a>(&mut self, db: &'a Connection) -> Result<Turn<'a>, Fault> {
        refuse_newer(db)?;
        let tallies = Tallies::read(db)?;
        Ok(Turn {
            db,
            // Never back, whatever the anchor says.
            now: self.clock.micros().max(tallies.seen),
            budgets: self.budgets,
            tallies,
            rung: Rung::default(),
        })
    }

    fn end(&mut self, mut turn: Turn<'_>, changed: bool) -> Result<Rung, Fault> {
        if changed {
            turn.tallies.seen = turn.now;
            turn.tallies.write(turn.db)?;
        }
        Ok(turn.rung)
    }

    /// Before the answers, so that no wait that begins after one hears of what was answered.
    fn ring(&mut self, rung: Rung) {
        for id in rung.jobs {
            self.bell.ring_job(id);
        }
        if rung.work {
            self.bell.ring_work();
        }
    }
}
