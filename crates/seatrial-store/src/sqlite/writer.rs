//! The one thread of a process that writes. What waits is done in one transaction, so many callers share
//! one write to the disk; nobody is answered before it is there.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Fault, run_cached};

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

/// What the calls of one file work on.
pub(crate) trait Book: Send + 'static {
    /// The open transaction.
    type Turn<'a>;
    /// What happened in a transaction that others wait for.
    type Rung;
    /// The seam's.
    type Error: Answer;
    /// A transaction was begun. On an error it is given up, and nobody is asked again.
    fn begin<'a>(&mut self, db: &'a Connection) -> Result<Self::Turn<'a>, Fault<Self::Error>>;
    /// It is about to be committed.
    fn end(&mut self, turn: Self::Turn<'_>, changed: bool) -> Result<Self::Rung, Fault<Self::Error>>;
    /// It is on the disk, and nobody was answered yet.
    fn ring(&mut self, rung: Self::Rung);
}

/// A call: run in a transaction, and again alone if a transaction with others failed; answered once.
trait Call<B: Book>: Send {
    /// Nobody waits for the answer any more.
    fn is_dropped(&self) -> bool;
    /// Runs; `false` when it failed.
    fn run(&mut self, turn: &mut B::Turn<'_>) -> bool;
    /// Answers; `Err` when the transaction did not reach the disk.
    fn answer(self: Box<Self>, committed: Result<(), B::Error>);
}

struct Asked<T, F, E> {
    action: &'static str,
    act: F,
    outcome: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<B, T, F> Call<B> for Asked<T, F, B::Error>
where
    B: Book,
    T: Send,
    F: FnMut(&mut B::Turn<'_>) -> Result<T, Fault<B::Error>> + Send,
{
    fn is_dropped(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(&mut self, turn: &mut B::Turn<'_>) -> bool {
        let outcome = (self.act)(turn).map_err(|fault| fault.at(self.action));
        let fine = outcome.is_ok();
        self.outcome = Some(outcome);
        fine
    }

    fn answer(self: Box<Self>, committed: Result<(), B::Error>) {
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
enum Undone<E> {
    /// It could not even begin.
    Unbegun(E),
    /// A call failed half-way, or the disk did.
    Spoiled(E),
}

type Calls<B> = mpsc::Receiver<Box<dyn Call<B>>>;

/// Takes calls to the thread.
pub(crate) struct Writer<B> {
    inbox: mpsc::Sender<Box<dyn Call<B>>>,
}

impl<B> Clone for Writer<B> {
    fn clone(&self) -> Self {
        Self {
            inbox: self.inbox.clone(),
        }
    }
}

impl<B: Book> Writer<B> {
    /// Starts the thread; it ends when the last writer is dropped.
    pub(crate) fn start(name: &str, db: Connection, book: B) -> io::Result<Self> {
        let (inbox, calls) = mpsc::channel(INBOX);
        let desk = Desk {
            db,
            book,
            others: Others::default(),
        };
        thread::Builder::new()
            .name(name.into())
            .spawn(move || desk.work(calls))?;
        Ok(Self { inbox })
    }

    /// Has something done in a transaction; returns when it is on the disk. `action` as a verb phrase. `act`
    /// is called again if a transaction of others and it failed.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        action: &'static str,
        act: impl FnMut(&mut B::Turn<'_>) -> Result<T, Fault<B::Error>> + Send + 'static,
    ) -> Result<T, B::Error> {
        let (answer, answered) = oneshot::channel();
        let call = Asked {
            action,
            act,
            outcome: None,
            answer,
        };
        let gone = || B::Error::unreachable(action, "its writer has ended".into());
        self.inbox.send(Box::new(call)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// The thread's own.
struct Desk<B> {
    db: Connection,
    book: B,
    others: Others,
}

/// Whether other processes write.
#[derive(Default)]
struct Others {
    version: i64,
    seen_at: Option<Instant>,
}

impl<B: Book> Desk<B> {
    fn work(mut self, mut calls: Calls<B>) {
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
                    // First, so that no wait that begins after an answer hears of what was answered.
                    self.book.ring(rung);
                    for call in batch {
                        call.answer(Ok(()));
                    }
                }
                Err(Undone::Spoiled(_)) if batch.len() > 1 => self.one_by_one(batch),
                Err(Undone::Spoiled(error) | Undone::Unbegun(error)) => refuse(batch, &error),
            }
        }
    }

    /// Finds those of a failed batch that can be done, on a full disk for example those that need no room.
    fn one_by_one(&mut self, batch: Vec<Box<dyn Call<B>>>) {
        let (_, mut none) = mpsc::channel(1);
        let mut left = batch.into_iter();
        while let Some(call) = left.next() {
            let mut alone = vec![call];
            match self.transact(&mut alone, &mut none) {
                Ok(rung) => {
                    self.book.ring(rung);
                    for call in alone {
                        call.answer(Ok(()));
                    }
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
        batch: &mut Vec<Box<dyn Call<B>>>,
        calls: &mut Calls<B>,
    ) -> Result<B::Rung, Undone<B::Error>> {
        let mut undone = self.try_transact(batch, calls);
        if undone.is_err() && !self.db.is_autocommit() {
            // SQLite may have undone it already; if this fails too, so does the next begin.
            let rolled_back = run_cached(&self.db, "ROLLBACK");
            if let (Err(fault), Err(_)) = (rolled_back, &undone) {
                undone = Err(Undone::Unbegun(B::Error::of_db("undo a failed transaction", fault)));
            }
        }
        undone
    }

    fn try_transact(
        &mut self,
        batch: &mut Vec<Box<dyn Call<B>>>,
        calls: &mut Calls<B>,
    ) -> Result<B::Rung, Undone<B::Error>> {
        let unbegun = |fault: Fault<B::Error>| Undone::Unbegun(fault.at("begin to write"));
        let spoiled = |fault: Fault<B::Error>| Undone::Spoiled(fault.at("write to the disk"));
        let db = &self.db;
        run_cached(db, "BEGIN IMMEDIATE").map_err(|error| unbegun(error.into()))?;
        self.others.look(db).map_err(|error| unbegun(error.into()))?;
        let unchanged = db.total_changes();
        let mut turn = self.book.begin(db).map_err(unbegun)?;
        let mut done = 0;
        while done < batch.len() {
            let call = &mut batch[done];
            let changes = db.total_changes();
            if !call.is_dropped() && !call.run(&mut turn) && (db.total_changes() > changes || db.is_autocommit()) {
                // What it wrote cannot be told from what the others wrote.
                let half = B::Error::unreachable("write", "a call failed half-way".into());
                return Err(Undone::Spoiled(half));
            }
            done += 1;
            if batch.len() < BATCH
                && let Ok(next) = calls.try_recv()
            {
                batch.push(next);
            }
        }
        let changed = db.total_changes() > unchanged;
        let rung = self.book.end(turn, changed).map_err(spoiled)?;
        run_cached(db, "COMMIT").map_err(|error| spoiled(error.into()))?;
        Ok(rung)
    }
}

/// Tells each that nothing was done.
fn refuse<B: Book>(batch: Vec<Box<dyn Call<B>>>, error: &B::Error) {
    for call in batch {
        call.answer(Err(error.copy()));
    }
}

impl Others {
    fn look(&mut self, db: &Connection) -> Result<(), rusqlite::Error> {
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
