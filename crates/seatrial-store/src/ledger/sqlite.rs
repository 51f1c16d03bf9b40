//! A ledger in one file: the embedded default. Any number of processes of one host may share the file.
//!
//! # Durability
//! A write-ahead log that is flushed to the disk before anybody is answered. One thread of each process
//! writes; calls that come while it waits for the disk share the next transaction, so many
//! submitters cost hardly more flushes than one.
//!
//! # Cost
//! No call looks at more of a deep queue than it gives back: each question has an index that holds only
//! the jobs that it is about, and what is counted is kept as a number.
//!
//! # Trouble
//! A full or failing disk is [`LedgerError::Unreachable`]: nothing of the call was done, or all of it.
//! A record that cannot be read is its job's trouble alone: it is set aside and hinders no other.

use std::{fmt, path::Path, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use seatrial_core::{
    id::JobId,
    ledger::{
        Claim, Created, Delivery, DeliveryEnd, Durability, Filter, Ledger, LedgerError, NewJob, Page, Stats, WorkerCard,
    },
    record::{Budgets, JobRecord, Move, News, Refusal},
};
use tokio::time::timeout;

use self::{
    clock::Anchored,
    position::Heads,
    watcher::Watcher,
    writer::{Jobs, Writer},
};
use super::bell::{Bell, Heard, WHILE};
use crate::sqlite::readers::Readers;

mod clock;
mod file;
mod jobs;
mod lane;
mod outbox;
mod position;
mod queries;
mod watcher;
mod writer;

pub use clock::Clock;

/// Jobs in a file.
pub struct SqliteLedger {
    writer: Writer,
    readers: Readers<LedgerError>,
    heads: Arc<Heads>,
    watcher: Watcher,
    clock: Anchored,
    bell: Arc<Bell>,
    heard: Heard,
    budgets: Budgets,
}

impl fmt::Debug for SqliteLedger {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SqliteLedger").finish_non_exhaustive()
    }
}

impl SqliteLedger {
    /// Opens the file, or makes one that only its owner may read; its folder must exist. Blocks for
    /// as long as another process brings the file up to date.
    ///
    /// # Errors
    /// [`LedgerError::Newer`] for a file of a newer Seatrial, [`LedgerError::Unfit`] for what is no file
    /// of ours or cannot be one.
    pub fn open(path: &Path, budgets: Budgets) -> Result<Self, LedgerError> {
        Self::open_with(path, budgets, Clock::of_host()?)
    }

    /// The same with another clock, for tests.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_with(path: &Path, budgets: Budgets, clock: Clock) -> Result<Self, LedgerError> {
        let (db, clock) = file::open(path, clock)?;
        let bell = Arc::<Bell>::default();
        let jobs = Jobs {
            clock: clock.clone(),
            budgets,
            bell: Arc::clone(&bell),
        };
        let no_thread = |error| LedgerError::Unfit(format!("no thread can be started: {error}"));
        let readers = [file::reader(path)?, file::reader(path)?, file::reader(path)?];
        Ok(Self {
            writer: Writer::start("ledger-writer", db, jobs).map_err(no_thread)?,
            readers: Readers::start("ledger-reader", readers).map_err(no_thread)?,
            heads: Arc::default(),
            watcher: Watcher::start(path, clock.clone(), &bell)?,
            clock,
            bell,
            heard: Heard::default(),
            budgets,
        })
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn create(&self, job: NewJob) -> Result<Created, LedgerError> {
        self.writer
            .ask("remember the job", move |turn| jobs::create(turn, job.clone()))
            .await
    }

    async fn get(&self, id: JobId) -> Result<Option<JobRecord>, LedgerError> {
        self.readers.ask("read the job", move |db| queries::get(db, id)).await
    }

    async fn list(&self, filter: &Filter) -> Result<Page, LedgerError> {
        let filter = filter.clone();
        self.readers
            .ask("list jobs", move |db| queries::list(db, &filter, queries::GLANCE))
            .await
    }

    async fn position(&self, id: JobId) -> Result<Option<u64>, LedgerError> {
        let (now, heads) = (self.clock.micros(), Arc::clone(&self.heads));
        self.readers
            .ask("count the jobs before", move |db| {
                position::position(db, &heads, id, now)
            })
            .await
    }

    async fn apply(&self, id: JobId, what: Move) -> Result<Result<JobRecord, Refusal>, LedgerError> {
        self.writer
            .ask("move the job", move |turn| jobs::apply(turn, id, what.clone()))
            .await?
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<JobRecord>, LedgerError> {
        let now = self.clock.micros();
        let waits = move |db: &rusqlite::Connection| queries::work_waits(db, now);
        if claim.slots == 0 || !self.readers.ask("look for work", waits).await? {
            return Ok(Vec::new());
        }
        let claim = claim.clone();
        self.writer
            .ask("claim jobs", move |turn| jobs::claim(turn, &claim))
            .await
    }

    async fn overdue(&self, limit: usize) -> Result<Vec<JobId>, LedgerError> {
        let now = self.clock.micros();
        self.readers
            .ask("look for overdue jobs", move |db| queries::overdue(db, now, limit))
            .await
    }

    async fn news(&self, id: JobId, after: u64, limit: usize) -> Result<Vec<News>, LedgerError> {
        self.readers
            .ask("read the job's news", move |db| queries::news(db, id, after, limit))
            .await
    }

    async fn moved(&self, id: JobId) {
        let watch = self.bell.watch(id);
        let mut moved = pin!(watch.moved.notified());
        // From here on, moves of this process ring.
        moved.as_mut().enable();
        let known = self.readers.ask("read the job", move |db| queries::revision(db, id));
        if let Ok(revision) = known.await {
            // Who watched before us may know an older one.
            self.bell.learn(id, revision);
        }
        let _looking = self.watcher.wait();
        let _ = timeout(WHILE, moved).await; // either way: look again
    }

    async fn work_may_wait(&self) {
        let next = self.readers.ask("look for delayed jobs", queries::next_delayed).await;
        let now = self.clock.micros();
        let due_in = match next {
            Ok(Some(at)) => Duration::from_micros(u64::try_from(at - now).unwrap_or_default()),
            Ok(None) | Err(_) => WHILE,
        };
        let _looking = self.watcher.wait();
        self.bell.work(&self.heard, due_in.min(WHILE)).await;
    }

    async fn stats(&self) -> Result<Stats, LedgerError> {
        let now = self.clock.micros();
        self.readers.ask("count jobs", move |db| queries::stats(db, now)).await
    }

    async fn beat(&self, card: &WorkerCard, keep: Duration) -> Result<(), LedgerError> {
        let card = card.clone();
        self.writer
            .ask("note the worker's beat", move |turn| {
                outbox::beat(turn, card.clone(), keep)
            })
            .await
    }

    async fn leave(&self, worker: &str) -> Result<(), LedgerError> {
        let worker = worker.to_owned();
        self.writer
            .ask("forget the worker", move |turn| outbox::leave(turn, &worker))
            .await
    }

    async fn workers(&self) -> Result<Vec<WorkerCard>, LedgerError> {
        let now = self.clock.micros();
        self.readers
            .ask("list workers", move |db| outbox::workers(db, now))
            .await
    }

    async fn deliveries(&self, limit: usize, hold: Duration) -> Result<Vec<Delivery>, LedgerError> {
        let now = self.clock.micros();
        let due = move |db: &rusqlite::Connection| outbox::is_due(db, now);
        if !self.readers.ask("look for deliveries", due).await? {
            return Ok(Vec::new());
        }
        self.writer
            .ask("take deliveries", move |turn| outbox::take(turn, limit, hold))
            .await
    }

    async fn delivered(&self, job: JobId, end: DeliveryEnd) -> Result<(), LedgerError> {
        self.writer
            .ask("note a delivery's end", move |turn| outbox::end(turn, job, end.clone()))
            .await
    }

    async fn delivery(&self, job: JobId) -> Result<Option<Delivery>, LedgerError> {
        self.readers
            .ask("read a delivery", move |db| outbox::delivery(db, job))
            .await
    }

    async fn erase(&self, id: JobId) -> Result<bool, LedgerError> {
        self.writer
            .ask("erase the job", move |turn| jobs::erase(turn, id))
            .await
    }

    async fn settled_before(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, LedgerError> {
        let now = self.clock.micros();
        self.readers
            .ask("look for old jobs", move |db| {
                queries::settled_before(db, now, age, limit)
            })
            .await
    }

    fn durability(&self) -> Durability {
        Durability {
            kind: "sqlite",
            durable: true,
            how: "a write-ahead log, flushed to the disk before each answer".into(),
        }
    }

    async fn now(&self) -> Result<Timestamp, LedgerError> {
        let seen = self.readers.ask("tell the time", queries::seen).await?;
        Ok(clock::time(self.clock.micros()).max(seen))
    }

    fn budgets(&self) -> Budgets {
        self.budgets
    }
}

#[cfg(test)]
mod tests;
