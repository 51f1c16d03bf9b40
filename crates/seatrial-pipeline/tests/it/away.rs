//! A ledger that can be away: wholly, or for the writes that end a job.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use seatrial_core::{
    id::JobId,
    ledger::{
        Claim, Created, Delivery, DeliveryEnd, Durability, Filter, Ledger, LedgerError, NewJob, Page, Stats, WorkerCard,
    },
    record::{Budgets, JobRecord, Move, News, Refusal},
};
use seatrial_store::ledger::memory::MemoryLedger;

pub(crate) struct Away {
    inner: MemoryLedger,
    away: AtomicBool,
    away_at_the_end: AtomicBool,
    beats: AtomicUsize,
    damaged: Mutex<BTreeSet<JobId>>,
}

impl Away {
    pub(crate) fn new(inner: MemoryLedger) -> Self {
        Self {
            inner,
            away: AtomicBool::new(false),
            away_at_the_end: AtomicBool::new(false),
            beats: AtomicUsize::new(0),
            damaged: Mutex::default(),
        }
    }

    pub(crate) fn away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub(crate) fn away_at_the_end(&self, away: bool) {
        self.away_at_the_end.store(away, Ordering::SeqCst);
    }

    /// Its record cannot be erased.
    pub(crate) fn damage(&self, id: JobId) {
        self.damaged.lock().unwrap().insert(id);
    }

    /// How often a lease was renewed.
    pub(crate) fn beats(&self) -> usize {
        self.beats.load(Ordering::SeqCst)
    }

    fn there(&self) -> Result<(), LedgerError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(gone());
        }
        Ok(())
    }
}

fn gone() -> LedgerError {
    LedgerError::Unreachable {
        action: "answer",
        source: "it is away".into(),
    }
}

#[async_trait]
impl Ledger for Away {
    async fn create(&self, job: NewJob) -> Result<Created, LedgerError> {
        self.there()?;
        self.inner.create(job).await
    }
    async fn get(&self, id: JobId) -> Result<Option<JobRecord>, LedgerError> {
        self.there()?;
        self.inner.get(id).await
    }
    async fn list(&self, filter: &Filter) -> Result<Page, LedgerError> {
        self.there()?;
        self.inner.list(filter).await
    }
    async fn position(&self, id: JobId) -> Result<Option<u64>, LedgerError> {
        self.there()?;
        self.inner.position(id).await
    }
    async fn apply(&self, id: JobId, what: Move) -> Result<Result<JobRecord, Refusal>, LedgerError> {
        self.there()?;
        if self.away_at_the_end.load(Ordering::SeqCst) && matches!(what, Move::Settle { .. }) {
            return Err(gone());
        }
        if matches!(what, Move::Renew { .. }) {
            self.beats.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.apply(id, what).await
    }
    async fn claim(&self, claim: &Claim) -> Result<Vec<JobRecord>, LedgerError> {
        self.there()?;
        self.inner.claim(claim).await
    }
    async fn overdue(&self, limit: usize) -> Result<Vec<JobId>, LedgerError> {
        self.there()?;
        self.inner.overdue(limit).await
    }
    async fn news(&self, id: JobId, after: u64, limit: usize) -> Result<Vec<News>, LedgerError> {
        self.there()?;
        self.inner.news(id, after, limit).await
    }
    async fn moved(&self, id: JobId) {
        self.inner.moved(id).await;
    }
    async fn work_may_wait(&self) {
        self.inner.work_may_wait().await;
    }
    async fn stats(&self) -> Result<Stats, LedgerError> {
        self.there()?;
        self.inner.stats().await
    }
    async fn beat(&self, card: &WorkerCard, keep: Duration) -> Result<(), LedgerError> {
        self.there()?;
        self.inner.beat(card, keep).await
    }
    async fn leave(&self, worker: &str) -> Result<(), LedgerError> {
        self.there()?;
        self.inner.leave(worker).await
    }
    async fn workers(&self) -> Result<Vec<WorkerCard>, LedgerError> {
        self.there()?;
        self.inner.workers().await
    }
    async fn deliveries(&self, limit: usize, hold: Duration) -> Result<Vec<Delivery>, LedgerError> {
        self.there()?;
        self.inner.deliveries(limit, hold).await
    }
    async fn delivered(&self, job: JobId, end: DeliveryEnd) -> Result<(), LedgerError> {
        self.there()?;
        self.inner.delivered(job, end).await
    }
    async fn delivery(&self, job: JobId) -> Result<Option<Delivery>, LedgerError> {
        self.there()?;
        self.inner.delivery(job).await
    }
    async fn erase(&self, id: JobId) -> Result<bool, LedgerError> {
        if self.damaged.lock().unwrap().contains(&id) {
            return Err(LedgerError::Broken {
                what: id.to_string(),
                source: "damaged".into(),
            });
        }
        self.inner.erase(id).await
    }
    async fn settled_before(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, LedgerError> {
        self.inner.settled_before(age, limit).await
    }
    fn durability(&self) -> Durability {
        self.inner.durability()
    }
    async fn now(&self) -> Result<Timestamp, LedgerError> {
        self.there()?;
        self.inner.now().await
    }
    fn budgets(&self) -> Budgets {
        self.inner.budgets()
    }
}
