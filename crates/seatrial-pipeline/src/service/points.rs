//! Ledger and vault of a worker whose calls are named points, for the tests that kill it there.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use seatrial_core::{
    id::JobId,
    ledger::{
        Claim, Created, Delivery, DeliveryEnd, Durability, Filter, Ledger, LedgerError, NewJob, Page, Stats, WorkerCard,
    },
    points::{are_watched, around},
    record::{Budgets, JobRecord, Move, News, Refusal},
    vault::{BlobKind, BlobRef, Vault, VaultError, WrappedKey},
};

use super::Service;

/// The same service. Where a test asked for it, what a worker calls of ledger and vault are points.
#[must_use]
pub fn marked(service: Service) -> Service {
    if !are_watched() {
        return service;
    }
    Service {
        ledger: Arc::new(Marked(service.ledger)),
        vault: Arc::new(Marked(service.vault)),
        ..service
    }
}

/// Passes a point before and after each call that a worker makes.
struct Marked<T: ?Sized>(Arc<T>);

fn name(what: &Move) -> &'static str {
    match what {
        Move::Claim { .. } => "claim one",
        Move::Renew { .. } => "renew",
        Move::Tell { .. } => "tell",
        Move::Settle { .. } => "settle",
        Move::Fault { .. } => "fault",
        Move::HandBack { .. } => "hand back",
        Move::Cancel => "cancel",
        Move::Reap(_) => "reap",
    }
}

#[async_trait]
impl Ledger for Marked<dyn Ledger> {
    async fn apply(&self, id: JobId, what: Move) -> Result<Result<JobRecord, Refusal>, LedgerError> {
        around("ledger", name(&what), self.0.apply(id, what)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<JobRecord>, LedgerError> {
        around("ledger", "claim", self.0.claim(claim)).await
    }

    async fn overdue(&self, limit: usize) -> Result<Vec<JobId>, LedgerError> {
        around("ledger", "look for overdue", self.0.overdue(limit)).await
    }

    async fn beat(&self, card: &WorkerCard, keep: Duration) -> Result<(), LedgerError> {
        around("ledger", "beat", self.0.beat(card, keep)).await
    }

    async fn leave(&self, worker: &str) -> Result<(), LedgerError> {
        around("ledger", "leave", self.0.leave(worker)).await
    }

    // The rest is not a worker's.

    async fn create(&self, job: NewJob) -> Result<Created, LedgerError> {
        self.0.create(job).await
    }

    async fn get(&self, id: JobId) -> Result<Option<JobRecord>, LedgerError> {
        self.0.get(id).await
    }

    async fn list(&self, filter: &Filter) -> Result<Page, LedgerError> {
        self.0.list(filter).await
    }

    async fn position(&self, id: JobId) -> Result<Option<u64>, LedgerError> {
        self.0.position(id).await
    }

    async fn news(&self, id: JobId, after: u64, limit: usize) -> Result<Vec<News>, LedgerError> {
        self.0.news(id, after, limit).await
    }

    async fn moved(&self, id: JobId) {
        self.0.moved(id).await;
    }

    async fn work_may_wait(&self) {
        self.0.work_may_wait().await;
    }

    async fn stats(&self) -> Result<Stats, LedgerError> {
        self.0.stats().await
    }

    async fn workers(&self) -> Result<Vec<WorkerCard>, LedgerError> {
        self.0.workers().await
    }

    async fn deliveries(&self, limit: usize, hold: Duration) -> Result<Vec<Delivery>, LedgerError> {
        self.0.deliveries(limit, hold).await
    }

    async fn delivered(&self, job: JobId, end: DeliveryEnd) -> Result<(), LedgerError> {
        self.0.delivered(job, end).await
    }

    async fn delivery(&self, job: JobId) -> Result<Option<Delivery>, LedgerError> {
        self.0.delivery(job).await
    }

    async fn erase(&self, id: JobId) -> Result<bool, LedgerError> {
        self.0.erase(id).await
    }

    async fn settled_before(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, LedgerError> {
        self.0.settled_before(age, limit).await
    }

    fn durability(&self) -> Durability {
        self.0.durability()
    }

    async fn now(&self) -> Result<Timestamp, LedgerError> {
        self.0.now().await
    }

    fn budgets(&self) -> Budgets {
        self.0.budgets()
    }
}

#[async_trait]
impl Vault for Marked<dyn Vault> {
    async fn put_all(
        &self,
        job: JobId,
        key: &WrappedKey,
        parts: &[(BlobKind, &[u8])],
    ) -> Result<Vec<BlobRef>, VaultError> {
        around("vault", "put", self.0.put_all(job, key, parts)).await
    }

    async fn get_all(
        &self,
        job: JobId,
        key: &WrappedKey,
        blobs: &[(BlobKind, &BlobRef)],
    ) -> Result<Vec<Vec<u8>>, VaultError> {
        around("vault", "get", self.0.get_all(job, key, blobs)).await
    }

    async fn ping(&self) -> Result<(), VaultError> {
        around("vault", "ping", self.0.ping()).await
    }

    async fn delete(&self, job: JobId, blob: &BlobRef) -> Result<(), VaultError> {
        around("vault", "delete", self.0.delete(job, blob)).await
    }

    // The rest is not a worker's, or is done in memory.

    fn new_key(&self, job: JobId) -> Result<WrappedKey, VaultError> {
        self.0.new_key(job)
    }

    async fn erase(&self, job: JobId) -> Result<(), VaultError> {
        self.0.erase(job).await
    }

    fn seal_text(&self, job: JobId, key: &WrappedKey, text: &str) -> Result<String, VaultError> {
        self.0.seal_text(job, key, text)
    }

    fn open_text(&self, job: JobId, key: &WrappedKey, sealed: &str) -> Result<String, VaultError> {
        self.0.open_text(job, key, sealed)
    }

    async fn sweep(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, VaultError> {
        self.0.sweep(age, limit).await
    }
}
