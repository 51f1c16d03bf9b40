//! A ledger in memory, for tests and for trying things out: it forgets all when the process ends.
//!
//! Its clock is tokio's, so tests with paused time can let hours pass.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use seatrial_core::{
    id::JobId,
    ledger::{
        Claim, Created, Delivery, DeliveryEnd, Durability, Filter, Ledger, LedgerError, NewJob, Page, Stats, WorkerCard,
    },
    record::{Budgets, JobRecord, Move, News, Refusal},
};
use tokio::time::{Instant, timeout};

use super::{
    bell::{Bell, Heard, WHILE},
    stored,
};

mod shelf;

use shelf::Shelf;

/// Jobs in memory. Clones are handles to the same jobs.
#[derive(Debug)]
pub struct MemoryLedger {
    shared: Arc<Shared>,
    heard: Heard,
}

#[derive(Debug)]
struct Shared {
    shelf: Mutex<Shelf>,
    bell: Bell,
    budgets: Budgets,
    /// The wall clock at `since`; from then on, tokio's counts.
    began: Timestamp,
    since: Instant,
}

impl Clone for MemoryLedger {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            heard: Heard::default(),
        }
    }
}

impl MemoryLedger {
    /// An empty one.
    #[must_use]
    pub fn new(budgets: Budgets) -> Self {
        Self {
            shared: Arc::new(Shared {
                shelf: Mutex::new(Shelf::new(budgets)),
                bell: Bell::default(),
                budgets,
                began: Timestamp::now(),
                since: Instant::now(),
            }),
            heard: Heard::default(),
        }
    }

    /// The stored text of a record, for tests that look at it.
    #[must_use]
    pub fn stored(&self, id: JobId) -> Option<String> {
        self.shelf().text(id)
    }

    /// Replaces the stored text of a record, for tests of what other versions leave behind.
    pub fn store(&self, id: JobId, record: String) {
        self.shelf().put_text(id, record);
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shared.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time(&self) -> Timestamp {
        let since = SignedDuration::try_from(self.shared.since.elapsed()).unwrap_or(SignedDuration::MAX);
        self.shared.began.saturating_add(since).unwrap_or(Timestamp::MAX)
    }

    /// Does something with the jobs, then wakes whom it concerns.
    fn with<T>(&self, act: impl FnOnce(&mut Shelf, Timestamp) -> T) -> T {
        let (answer, touched, work) = {
            let mut shelf = self.shelf();
            // Under the lock: times are in the order of the changes.
            let answer = act(&mut shelf, self.time());
            let (touched, work) = shelf.take_touched();
            (answer, touched, work)
        };
        for id in touched {
            self.shared.bell.ring_job(id);
        }
        if work {
            self.shared.bell.ring_work();
        }
        answer
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn create(&self, job: NewJob) -> Result<Created, LedgerError> {
        self.with(|shelf, now| shelf.create(job, now))
    }

    async fn get(&self, id: JobId) -> Result<Option<JobRecord>, LedgerError> {
        self.shelf().get(id)
    }

    async fn list(&self, filter: &Filter) -> Result<Page, LedgerError> {
        Ok(self.shelf().list(filter))
    }

    async fn position(&self, id: JobId) -> Result<Option<u64>, LedgerError> {
        Ok(self.with(|shelf, now| {
            shelf.promote(now);
            shelf.position(id)
        }))
    }

    async fn apply(&self, id: JobId, what: Move) -> Result<Result<JobRecord, Refusal>, LedgerError> {
        self.with(|shelf, now| shelf.apply(id, what, now))
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<JobRecord>, LedgerError> {
        self.with(|shelf, now| shelf.claim(claim, now))
    }

    async fn overdue(&self, limit: usize) -> Result<Vec<JobId>, LedgerError> {
        Ok(self.with(|shelf, now| shelf.overdue(now, limit)))
    }

    async fn news(&self, id: JobId, after: u64, limit: usize) -> Result<Vec<News>, LedgerError> {
        Ok(self.shelf().news(id, after, limit))
    }

    async fn moved(&self, id: JobId) {
        let watch = self.shared.bell.watch(id);
        let _ = timeout(WHILE, watch.moved.notified()).await;
    }

    async fn work_may_wait(&self) {
        let now = self.time();
        let next = self.shelf().next_delayed();
        let due_in = next.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        let patience = due_in.map_or(WHILE, |due_in| due_in.min(WHILE));
        self.shared.bell.work(&self.heard, patience).await;
    }

    async fn stats(&self) -> Result<Stats, LedgerError> {
        Ok(self.with(|shelf, now| shelf.stats(now)))
    }

    async fn beat(&self, card: &WorkerCard, keep: Duration) -> Result<(), LedgerError> {
        self.with(|shelf, now| shelf.beat(card, keep, now));
        Ok(())
    }

    async fn leave(&self, worker: &str) -> Result<(), LedgerError> {
        self.shelf().leave(worker);
        Ok(())
    }

    async fn workers(&self) -> Result<Vec<WorkerCard>, LedgerError> {
        Ok(self.with(|shelf, now| shelf.workers(now)))
    }

    async fn deliveries(&self, limit: usize, hold: Duration) -> Result<Vec<Delivery>, LedgerError> {
        Ok(self.with(|shelf, now| shelf.deliveries(limit, hold, now)))
    }

    async fn delivered(&self, job: JobId, end: DeliveryEnd) -> Result<(), LedgerError> {
        self.with(|shelf, now| shelf.delivered(job, end, now));
        Ok(())
    }

    async fn delivery(&self, job: JobId) -> Result<Option<Delivery>, LedgerError> {
        Ok(self.shelf().delivery(job))
    }

    async fn erase(&self, id: JobId) -> Result<bool, LedgerError> {
        self.with(|shelf, _| shelf.erase(id))
    }

    async fn settled_before(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, LedgerError> {
        Ok(self.with(|shelf, now| shelf.settled_before(now, age, limit)))
    }

    fn durability(&self) -> Durability {
        Durability {
            kind: "memory",
            durable: false,
            how: "jobs are lost when the process ends".into(),
        }
    }

    async fn now(&self) -> Result<Timestamp, LedgerError> {
        Ok(self.time())
    }

    fn budgets(&self) -> Budgets {
        self.shared.budgets
    }
}
