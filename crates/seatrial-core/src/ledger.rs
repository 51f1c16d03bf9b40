//! The seam to the ledger: the one truth about jobs.
//!
//! # Promises
//! - Acknowledged means durable, within what [`Ledger::durability`] says.
//! - A job is moved by [`JobRecord::on`] alone, atomically: record, index and news together, or nothing.
//! - The clock is the ledger's own: no process's wall clock decides about leases, waits and deadlines.
//! - A claim gives at most as many jobs as were asked for. The order: priority, then fairly between callers
//!   (start-time fair queueing: each caller's next job is ranked behind the last one that was claimed), then age.
//! - A record of a newer schema is left alone ([`LedgerError::Newer`]); fields that are not known are kept.
//!
//! # Dropping
//! A dropped future may have done its work: the caller must be able to ask again. Moves are fenced by
//! tokens and creation by idempotency keys, so asking again is safe.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    BoxError,
    digest::Digest,
    id::{CorrelationId, JobId},
    job::{Ending, Outcome},
    record::{Budgets, JobRecord, Move, News, Priority, Refusal},
    vault::{BlobKind, BlobRef, WrappedKey},
    view::DockerfileView,
    walls::Walls,
};

/// Why the ledger gave no answer. Never says that something was or was not done.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// No answer, a full disk, a lost connection: may pass.
    #[error("the ledger did not {action}")]
    Unreachable {
        /// As a verb phrase.
        action: &'static str,
        /// What happened.
        source: BoxError,
    },
    /// A record was made by a newer Seatrial.
    #[error("{what} was written by a newer Seatrial (schema {schema}); this one leaves it alone")]
    Newer {
        /// A job's id, or `the ledger`.
        what: String,
        /// Its schema.
        schema: u32,
    },
    /// What is stored cannot be read.
    #[error("{what} in the ledger cannot be read")]
    Broken {
        /// A job's id, or which part.
        what: String,
        /// Why.
        source: BoxError,
    },
    /// It cannot be used as it is set up.
    #[error("the ledger cannot be used: {0}")]
    Unfit(String),
}

impl LedgerError {
    /// Worth another try.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// A job to remember. Times are spans from now: the ledger's clock counts.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// A fresh id.
    pub id: JobId,
    /// See [`JobRecord::caller`].
    pub caller: String,
    /// Its queue.
    pub priority: Priority,
    /// Ties logs together.
    pub correlation_id: CorrelationId,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// The submitter's labels.
    pub labels: BTreeMap<String, String>,
    /// The text, by digest.
    pub dockerfile: DockerfileView,
    /// Its data key.
    pub key: WrappedKey,
    /// What was put into the vault.
    pub blobs: BTreeMap<BlobKind, BlobRef>,
    /// Where to send word of its end.
    pub webhook: Option<String>,
    /// Not claimed before.
    pub delay: Duration,
    /// Longest wait, counted from the end of the delay.
    pub wait: Duration,
    /// Longest life, counted from now: delay, wait and all tries.
    pub life: Duration,
    /// Over already: the policy said no. Codes only.
    pub outcome: Option<Outcome>,
    /// Makes asking again safe.
    pub idempotency: Option<Idempotency>,
    /// Refuse when so many jobs wait already.
    pub max_waiting: u64,
}

/// An idempotency key of a caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Idempotency {
    /// The key as given; the ledger keeps it per caller.
    pub key: String,
    /// Digest of what was asked for.
    pub fingerprint: Digest,
    /// How long it is remembered.
    pub keep: Duration,
}

/// What became of a creation.
#[derive(Clone, PartialEq, Debug)]
pub enum Created {
    /// Remembered, durably.
    New(Box<JobRecord>),
    /// The same was asked for before.
    Existing(Box<JobRecord>),
    /// The key was used for something else.
    KeyReused,
    /// Too many wait.
    Full {
        /// How many.
        waiting: u64,
    },
}

/// Who wants work.
#[derive(Clone, PartialEq, Debug)]
pub struct Claim {
    /// The worker's name.
    pub worker: String,
    /// How many jobs at most: free slots. Nobody hoards.
    pub slots: usize,
    /// For how long, unless renewed.
    pub lease: Duration,
}

/// Which jobs.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Filter {
    /// Only this caller's; `None` for all.
    pub caller: Option<String>,
    /// Only in this state: `queued`, `running` or an ending.
    pub state: Option<StateFilter>,
    /// Only with this label.
    pub label: Option<(String, String)>,
    /// Only created at or after.
    pub since: Option<Timestamp>,
    /// Only older than this one: where the page before ended.
    pub before: Option<JobId>,
    /// How many at most.
    pub limit: usize,
}

/// A state to filter by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StateFilter {
    /// Waiting.
    Queued,
    /// Held by a worker.
    Running,
    /// Over in this way.
    Ended(Ending),
}

impl StateFilter {
    /// Whether a record is in it.
    #[must_use]
    pub fn takes(self, record: &JobRecord) -> bool {
        use crate::job::JobState::{Queued, Running, Settled};
        match (self, &record.state) {
            (Self::Queued, Queued { .. }) | (Self::Running, Running { .. }) => true,
            (Self::Ended(ending), Settled(outcome)) => outcome.ending == ending,
            (Self::Queued | Self::Running | Self::Ended(_), _) => false,
        }
    }
}

impl Filter {
    /// Whether a record passes; `before` and `limit` aside.
    #[must_use]
    pub fn takes(&self, record: &JobRecord) -> bool {
        self.caller.as_ref().is_none_or(|caller| *caller == record.caller)
            && self.state.is_none_or(|state| state.takes(record))
            && self
                .label
                .as_ref()
                .is_none_or(|(key, value)| record.labels.get(key) == Some(value))
            && self.since.is_none_or(|since| record.created_at >= since)
    }
}

/// Some jobs, newest first.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    /// The jobs; may be fewer than asked for though more follow.
    pub jobs: Vec<JobRecord>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<JobId>,
}

/// How the queue stands.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Stats {
    /// Jobs that wait, by priority; delayed ones count.
    pub waiting: BTreeMap<Priority, u64>,
    /// How long the first in each queue has waited since its admission, in seconds.
    pub oldest_s: BTreeMap<Priority, f64>,
    /// Jobs that are held.
    pub running: u64,
}

/// What a worker says of itself with each beat.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkerCard {
    /// Its name: unique for each process.
    pub name: String,
    /// Its host, by name.
    pub host: String,
    /// Seatrial's version.
    pub version: String,
    /// Tries at a time.
    pub slots: usize,
    /// Jobs it holds, those included whose end is being written; as many as it has slots at most.
    pub busy: usize,
    /// Takes no more jobs: it is going.
    pub draining: bool,
    /// Why it does not claim; `None` when it does.
    pub unfit: Option<String>,
    /// Walls that it tested, around a build.
    #[serde(default)]
    pub build_walls: Option<Walls>,
    /// The same around a run.
    pub walls: Option<Walls>,
    /// When its vulnerability database was made.
    pub database_updated_at: Option<Timestamp>,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    /// Last beat, by the ledger's clock: the ledger fills it in.
    pub seen_at: Option<Timestamp>,
}

impl WorkerCard {
    /// It claims when it has a free slot.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        self.unfit.is_none() && !self.draining
    }
}

/// What an acknowledgement is worth.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Durability {
    /// `memory`, `sqlite`, `redis`.
    pub kind: &'static str,
    /// An acknowledged job survives the loss of the process and of power.
    pub durable: bool,
    /// What it rests on, in a few words.
    pub how: String,
}

/// Word of a job's end to be sent, written with the settlement.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// The job; there is one delivery a job.
    pub job: JobId,
    /// Tries made.
    pub tries: u32,
    /// Given up: kept for people to see.
    pub dead: bool,
    /// What the last try said, without a byte of the answer.
    pub last_error: Option<String>,
}

/// How a try to deliver ended.
#[derive(Clone, PartialEq, Debug)]
pub enum DeliveryEnd {
    /// Taken.
    Done,
    /// Try again later.
    Again {
        /// How much later.
        after: Duration,
        /// Why it failed.
        error: String,
    },
    /// Give up.
    Dead {
        /// Why.
        error: String,
    },
}

/// The one truth about jobs.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Remembers a job: record, queue entry, idempotency key and its first news in one atomic step.
    ///
    /// # Errors
    /// [`LedgerError`]; it may have been remembered then.
    async fn create(&self, job: NewJob) -> Result<Created, LedgerError>;
    /// One job.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn get(&self, id: JobId) -> Result<Option<JobRecord>, LedgerError>;
    /// Some jobs, newest first.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn list(&self, filter: &Filter) -> Result<Page, LedgerError>;
    /// Jobs before this one, counted up to 10,000; `None` when it does not wait or is delayed.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn position(&self, id: JobId) -> Result<Option<u64>, LedgerError>;
    /// Moves one job. A settlement of a job with a webhook writes its delivery in the same step.
    ///
    /// # Errors
    /// [`LedgerError`]; it may have been moved then. A refusal is an answer.
    async fn apply(&self, id: JobId, what: Move) -> Result<Result<JobRecord, Refusal>, LedgerError>;
    /// Takes work. Empty when none waits.
    ///
    /// # Errors
    /// [`LedgerError`]; jobs claimed then come back when their lease runs out.
    async fn claim(&self, claim: &Claim) -> Result<Vec<JobRecord>, LedgerError>;
    /// Jobs whose lease, wait or deadline may be over, the longest overdue first. Each is then moved with
    /// [`Move::Reap`] by whoever asks: any process may.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn overdue(&self, limit: usize) -> Result<Vec<JobId>, LedgerError>;
    /// News of a job after a number, in order.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn news(&self, id: JobId, after: u64, limit: usize) -> Result<Vec<News>, LedgerError>;
    /// Returns when the job may have moved since the call began, or after a while: look again.
    async fn moved(&self, id: JobId);
    /// Returns when work may have come since the last return, or after a while: claim again.
    async fn work_may_wait(&self);
    /// How the queue stands.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn stats(&self) -> Result<Stats, LedgerError>;
    /// A worker says that it lives; forgotten after `keep` without another beat.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn beat(&self, card: &WorkerCard, keep: Duration) -> Result<(), LedgerError>;
    /// A worker goes.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn leave(&self, worker: &str) -> Result<(), LedgerError>;
    /// Workers that live, by name.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn workers(&self) -> Result<Vec<WorkerCard>, LedgerError>;
    /// Deliveries to try now; nobody else gets them for `hold`.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn deliveries(&self, limit: usize, hold: Duration) -> Result<Vec<Delivery>, LedgerError>;
    /// How a delivery's try ended.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn delivered(&self, job: JobId, end: DeliveryEnd) -> Result<(), LedgerError>;
    /// The delivery of a job, while it is due or dead.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn delivery(&self, job: JobId) -> Result<Option<Delivery>, LedgerError>;
    /// Forgets a settled job, its news, its idempotency key, its delivery. `false` when it is not settled
    /// or not known.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn erase(&self, id: JobId) -> Result<bool, LedgerError>;
    /// Jobs that were settled longer ago than `age`, the oldest first: to be erased.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn settled_before(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, LedgerError>;
    /// What its acknowledgements are worth.
    fn durability(&self) -> Durability;
    /// Whether it answers; its clock.
    ///
    /// # Errors
    /// [`LedgerError`].
    async fn now(&self) -> Result<Timestamp, LedgerError>;
    /// What its reaping allows; the index needs the grace.
    fn budgets(&self) -> Budgets;
}

impl NewJob {
    /// The record and its first news, at the ledger's time.
    #[must_use]
    pub fn begin(self, now: Timestamp) -> (JobRecord, Vec<News>) {
        crate::record::begin(self, now)
    }
}
