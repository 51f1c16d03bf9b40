//! The one thread of a process that writes. What waits is done in one transaction, so many callers share
//! one write to the disk; nobody is answered before it is there.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};
use seatrial_core::{BoxError, id::JobId, ledger::LedgerError, record::Budgets};
use tokio::sync::{mpsc, oneshot};

use super::{
    clock::Anchored,
    file::{Fault, refuse_newer},
    lane::Lane,
};
use crate::ledger::bell::Bell;

/// Calls that wait for the writer at most; more wait in their own tasks.
const INBOX: usize = 1_024;
/// Calls of one transaction at most.
const BATCH: usize = 256;
/// A writer without a pause leaves the file to other processes each time that so much went by…
const COURTESY: Duration = Duration::from_millis(250);
/// …or sooner, while they are seen to write.
const COURTESY_TO_OTHERS: Duration = Duration::from_millis(20);
/// For this long: they look each millisecond.
const LEFT_ALONE: Duration = Duration::from_millis(2);

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

/// A call: run in a transaction, and again alone if a transaction with others failed; answered once.
trait Call: Send {
    /// Nobody waits for the answer any more.
    fn is_dropped(&self) -> bool;
    /// Runs; `false` when it failed.
    fn run(&mut self, turn: &mut Turn<'_>) -> bool;
    /// Answers; `Err` when the transaction did not reach the disk.
    fn answer(self: Box<Self>, committed: Result<(), LedgerError>);
}

struct Asked<T, F> {
    action: &'static str,
    act: F,
    outcome: Option<Result<T, LedgerError>>,
    answer: oneshot::Sender<Result<T, LedgerError>>,
}

impl<T, F> Call for Asked<T, F>
where
    T: Send,
    F: FnMut(&mut Turn<'_>) -> Result<T, Fault> + Send,
{
    fn is_dropped(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(&mut self, turn: &mut Turn<'_>) -> bool {
        let outcome = (self.act)(turn).map_err(|fault| fault.at(self.action));
        let fine = outcome.is_ok();
        self.outcome = Some(outcome);
        fine
    }

    fn answer(self: Box<Self>, committed: Result<(), LedgerError>) {
        let answer = match (committed, self.outcome) {
            (_, Some(Err(own))) => own,
            (Err(error), _) => error,
            (Ok(()), Some(Ok(outcome))) => {
                let _ = self.answer.send(Ok(outcome)); // its caller may have gone
                return;
            }
            (Ok(()), None) => return, // its caller had gone before it was run
        };
        let _ = self.answer.send(Err(answer));
    }
}

/// Why a transaction was not made; nothing of it was done.
enum Undone {
    /// It could not even begin.
    Unbegun(LedgerError),
    /// A call failed half-way, or the disk did.
    Spoiled(LedgerError),
}

/// Takes calls to the thread.
#[derive(Clone)]
pub(super) struct Writer {
    inbox: mpsc::Sender<Box<dyn Call>>,
}

impl Writer {
    /// Starts the thread; it ends when the last writer is dropped.
    pub(super) fn start(
        db: Connection,
        clock: Anchored,
        budgets: Budgets,
        bell: Arc<Bell>,
    ) -> Result<Self, LedgerError> {
        let (inbox, calls) = mpsc::channel(INBOX);
        let desk = Desk {
            db,
            clock,
            budgets,
            bell,
            others: Others::default(),
        };
        thread::Builder::new()
            .name("ledger-writer".into())
            .spawn(move || desk.work(calls))
            .map_err(|error| LedgerError::Unfit(format!("no thread can be started: {error}")))?;
        Ok(Self { inbox })
    }

    /// Has something done in a transaction; returns when it is on the disk. `action` as a verb phrase. `act`
    /// is called again if a transaction of others and it failed.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        action: &'static str,
        act: impl FnMut(&mut Turn<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let call = Asked {
            action,
            act,
            outcome: None,
            answer,
        };
        let gone = || LedgerError::Unreachable {
            action,
            source: "its writer has ended".into(),
        };
        self.inbox.send(Box::new(call)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// The thread's own.
struct Desk {
    db: Connection,
    clock: Anchored,
    budgets: Budgets,
    bell: Arc<Bell>,
    others: Others,
}

/// Whether other processes write.
#[derive(Default)]
struct Others {
    version: i64,
    seen_at: Option<Instant>,
}

impl Desk {
    fn work(mut self, mut calls: mpsc::Receiver<Box<dyn Call>>) {
        let mut busy_since = Instant::now();
        loop {
            let first = match calls.try_recv() {
                Ok(call) => {
                    if busy_since.elapsed() > self.others.courtesy() {
                        thread::sleep(LEFT_ALONE);
                        busy_since = Instant::now();
                    }
                    call
                }
                Err(_) => match calls.blocking_recv() {
                    Some(call) => {
                        busy_since = Instant::now();
                        call
                    }
                    None => return,
                },
            };
            let mut batch = vec![first];
            match self.transact(&mut batch, &mut calls) {
                Ok(rung) => {
                    for call in batch {
                        call.answer(Ok(()));
                    }
                    self.ring(rung);
                }
                Err(Undone::Spoiled(_)) if batch.len() > 1 => self.one_by_one(batch),
                Err(Undone::Spoiled(error) | Undone::Unbegun(error)) => refuse(batch, &error),
            }
        }
    }

    /// Finds those of a failed batch that can be done, on a full disk for example those that need no room.
    fn one_by_one(&mut self, batch: Vec<Box<dyn Call>>) {
        let (_, mut none) = mpsc::channel(1);
        let mut left = batch.into_iter();
        while let Some(call) = left.next() {
            let mut alone = vec![call];
            match self.transact(&mut alone, &mut none) {
                Ok(rung) => {
                    for call in alone {
                        call.answer(Ok(()));
                    }
                    self.ring(rung);
                }
                Err(Undone::Spoiled(error)) => refuse(alone, &error),
                // That took its time; the others need not take it again.
                Err(Undone::Unbegun(error)) => {
                    refuse(alone, &error);
                    return refuse(left.collect(), &error);
                }
            }
        }
    }

    /// Runs the batch, and what comes while it runs. On an error, nothing of it was done.
    fn transact(
        &mut self,
        batch: &mut Vec<Box<dyn Call>>,
        calls: &mut mpsc::Receiver<Box<dyn Call>>,
    ) -> Result<Rung, Undone> {
        let mut undone = self.try_transact(batch, calls);
        if undone.is_err() && !self.db.is_autocommit() {
            // SQLite may have undone it already; if this fails too, so does the next begin.
            let rolled_back = run_cached(&self.db, "ROLLBACK");
            if let (Err(fault), Err(_)) = (rolled_back, &undone) {
                undone = Err(Undone::Unbegun(fault.at("undo a failed transaction")));
            }
        }
        undone
    }

    fn try_transact(
        &mut self,
        batch: &mut Vec<Box<dyn Call>>,
        calls: &mut mpsc::Receiver<Box<dyn Call>>,
    ) -> Result<Rung, Undone> {
        let unbegun = |fault: Fault| Undone::Unbegun(fault.at("begin to write"));
        let spoiled = |fault: Fault| Undone::Spoiled(fault.at("write to the disk"));
        let db = &self.db;
        run_cached(db, "BEGIN IMMEDIATE").map_err(unbegun)?;
        refuse_newer(db).map_err(unbegun)?;
        self.others.look(db).map_err(unbegun)?;
        let tallies = Tallies::read(db).map_err(|error| unbegun(error.into()))?;
        let unchanged = db.total_changes();
        // Never back, whatever the anchor says.
        let now = self.clock.micros().max(tallies.seen);
        let mut turn = Turn {
            db,
            now,
            budgets: self.budgets,
            tallies,
            rung: Rung::default(),
        };
        let mut done = 0;
        while done < batch.len() {
            let call = &mut batch[done];
            let changes = db.total_changes();
            if !call.is_dropped() && !call.run(&mut turn) && (db.total_changes() > changes || db.is_autocommit()) {
                // What it wrote cannot be told from what the others wrote.
                return Err(Undone::Spoiled(LedgerError::Unreachable {
                    action: "write",
                    source: "a call failed half-way".into(),
                }));
            }
            done += 1;
            if batch.len() < BATCH
                && let Ok(next) = calls.try_recv()
            {
                batch.push(next);
            }
        }
        if db.total_changes() > unchanged {
            turn.tallies.seen = now;
            turn.tallies.write(db).map_err(|error| spoiled(error.into()))?;
        }
        run_cached(db, "COMMIT").map_err(spoiled)?;
        Ok(turn.rung)
    }

    fn ring(&self, rung: Rung) {
        for id in rung.jobs {
            self.bell.ring_job(id);
        }
        if rung.work {
            self.bell.ring_work();
        }
    }
}

/// Tells each that nothing was done.
fn refuse(batch: Vec<Box<dyn Call>>, error: &LedgerError) {
    for call in batch {
        call.answer(Err(copy(error)));
    }
}

impl Others {
    fn look(&mut self, db: &Connection) -> Result<(), Fault> {
        let version = db
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if version != self.version {
            self.version = version;
            self.seen_at = Some(Instant::now());
        }
        Ok(())
    }

    fn courtesy(&self) -> Duration {
        match self.seen_at {
            Some(at) if at.elapsed() < Duration::from_secs(1) => COURTESY_TO_OTHERS,
            _ => COURTESY,
        }
    }
}

fn run_cached(db: &Connection, sql: &str) -> Result<(), Fault> {
    db.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// The same error for each of those who share it.
fn copy(error: &LedgerError) -> LedgerError {
    let said = |source: &BoxError| -> BoxError { source.to_string().into() };
    match error {
        LedgerError::Unreachable { action, source } => LedgerError::Unreachable {
            action,
            source: said(source),
        },
        LedgerError::Newer { what, schema } => LedgerError::Newer {
            what: what.clone(),
            schema: *schema,
        },
        LedgerError::Broken { what, source } => LedgerError::Broken {
            what: what.clone(),
            source: said(source),
        },
        LedgerError::Unfit(why) => LedgerError::Unfit(why.clone()),
    }
}
