//! What is told of a job.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::job::{Blame, Ending, Reason, Stage};

/// Something that happened to a job: what `GET /v1/jobs/{id}/events` shows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct News {
    /// From 1, without gaps.
    pub seq: u64,
    /// When, by the ledger's clock.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub body: NewsBody,
}

/// What happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum NewsBody {
    /// It waits.
    Queued {
        /// Number of the try to come, from 1.
        attempt: u32,
    },
    /// A worker took it.
    Claimed {
        /// Who.
        worker: String,
        /// Which try.
        attempt: u32,
    },
    /// A stage began.
    StageStarted {
        /// Which.
        stage: Stage,
    },
    /// A stage ended well.
    StageFinished {
        /// Which.
        stage: Stage,
        /// How long it took.
        millis: u64,
    },
    /// The builder reached a step: a hint.
    BuildStep {
        /// From 1.
        step: usize,
        /// Of how many.
        of: usize,
        /// The instruction, sealed in the ledger, plain for the one who asks.
        text: String,
    },
    /// A word of ours on the way.
    Note {
        /// Sealed in the ledger: it may quote the guest.
        text: String,
    },
    /// More output of a stage can be read.
    Log {
        /// Which.
        stage: Stage,
        /// Bytes that the stage wrote so far.
        total: u64,
    },
    /// The lease of its worker ran out.
    Lost {
        /// Whose.
        worker: String,
    },
    /// A fault of ours ended the try.
    Faulted {
        /// Which.
        reason: Reason,
        /// When it is tried again; `None` when it is not.
        again_at: Option<Timestamp>,
    },
    /// A worker gave it back.
    HandedBack {
        /// Who.
        worker: String,
    },
    /// Somebody asked for its end.
    CancelRequested,
    /// It is over.
    Settled {
        /// How.
        state: Ending,
        /// Why.
        reason: Reason,
        /// Whose doing.
        blame: Blame,
    },
}
