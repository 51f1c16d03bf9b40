//! What can be done to a job.

use std::{collections::BTreeMap, time::Duration};

use super::{LogRef, NewsBody};
use crate::{
    job::{Outcome, Stage, Token},
    vault::{BlobKind, BlobRef},
};

/// What is done to a job.
#[derive(Clone, PartialEq, Debug)]
pub enum Move {
    /// A worker takes it.
    Claim {
        /// Who.
        worker: String,
        /// For how long, unless renewed.
        lease: Duration,
    },
    /// The worker still works on it.
    Renew {
        /// Its right.
        token: Token,
        /// For how long from now.
        lease: Duration,
    },
    /// The worker tells what happened.
    Tell {
        /// Its right.
        token: Token,
        /// What.
        news: Batch,
        /// Output in the vault, by stage: replaces what was known. That there is more of it is news too.
        logs: BTreeMap<Stage, LogRef>,
        /// What it asked of the network until now, with what earlier tries did, in the vault: replaces what was known.
        asked: Option<BlobRef>,
    },
    /// The worker ends it.
    Settle {
        /// Its right.
        token: Token,
        /// How; codes only.
        outcome: Outcome,
        /// What is kept of the try.
        kept: Kept,
    },
    /// A fault of ours ended the try; it is tried again until `budget` failures.
    Fault {
        /// Its right.
        token: Token,
        /// How the job ends when the budget is used up; codes only.
        outcome: Outcome,
        /// Tries that may fail, at least 1.
        budget: u32,
        /// Back-off before the next.
        after: Duration,
        /// What is kept of the try: its output until the next one, what it asked of the network for the report, all else if
        /// this ends the job.
        kept: Kept,
    },
    /// The worker drains, or lacks what the job asks for, and gives it back untried.
    HandBack {
        /// Its right.
        token: Token,
        /// How long nobody may take it.
        after: Duration,
    },
    /// Somebody asks for its end: at once when it waits, by its worker when it runs.
    Cancel,
    /// Whatever time demands: its lease, its wait, its deadline.
    Reap(Budgets),
}

/// News of a try, in order. They are counted, for a worker whose answer was lost tells them again.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Batch {
    /// How many of the try's news come before these.
    pub before: u64,
    /// What happened.
    pub bodies: Vec<NewsBody>,
}

/// What a try leaves behind.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kept {
    /// What was not told yet.
    pub news: Batch,
    /// What it put into the vault.
    pub blobs: BTreeMap<BlobKind, BlobRef>,
    /// Its output.
    pub logs: BTreeMap<Stage, LogRef>,
}

/// What a reaper allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budgets {
    /// Leases that may run out before a job counts as poison.
    pub losses: u32,
    /// How long past its deadline a worker has to end a job by itself.
    pub grace: Duration,
}

impl Default for Budgets {
    /// Five losses: three were too few for healthy jobs under a storm of killed workers.
    fn default() -> Self {
        Self {
            losses: 5,
            grace: Duration::from_secs(30),
        }
    }
}

/// Why a move was refused. None of them is a fault: somebody else was first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// No such job.
    #[error("there is no such job")]
    Unknown,
    /// It is over.
    #[error("the job is over")]
    Settled,
    /// The token is not the last one: another worker has the job, or had it since.
    #[error("the lease is lost")]
    Fenced,
    /// It cannot be claimed now: somebody holds it, or its time has not come.
    #[error("the job cannot be claimed now")]
    NotWaiting,
    /// Nothing is due.
    #[error("nothing is due")]
    NotDue,
}
