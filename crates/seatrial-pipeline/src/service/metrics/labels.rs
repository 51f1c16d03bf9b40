//! Labels: words of closed lists.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder};
use seatrial_core::{
    job::{Blame, Ending, Reason, Stage},
    record::{JobRecord, Priority},
};

/// How a job left a worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Left {
    /// Over: the ledger has its end.
    Settled,
    /// A fault of ours; it waits for another try.
    Retried,
    /// The worker drains: it goes back as it was.
    HandedBack,
    /// The ledger was away for too long, so the worker ended the try by itself.
    Fenced,
    /// It was somebody else's already, or over.
    Lost,
    /// Its end could not be written; the lease runs out.
    Unwritten,
}

impl Left {
    pub(super) const ALL: [Self; 6] = [
        Self::Settled,
        Self::Retried,
        Self::HandedBack,
        Self::Fenced,
        Self::Lost,
        Self::Unwritten,
    ];
}

impl fmt::Display for Left {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Settled => "settled",
            Self::Retried => "retried",
            Self::HandedBack => "handed_back",
            Self::Fenced => "fenced",
            Self::Lost => "lost",
            Self::Unwritten => "unwritten",
        })
    }
}

/// How a stage was left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum StageEnd {
    /// It did what it is for.
    Finished,
    /// The try ended in it.
    Stopped,
}

impl fmt::Display for StageEnd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Finished => "finished",
            Self::Stopped => "stopped",
        })
    }
}

/// What was due when the reaper moved a job.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Due {
    Lease,
    LastLease,
    Wait,
    Deadline,
}

impl Due {
    pub(super) const ALL: [Self; 4] = [Self::Lease, Self::LastLease, Self::Wait, Self::Deadline];

    /// What the reaper made of a job says why it took it.
    pub(super) fn of(reaped: &JobRecord) -> Self {
        match reaped.outcome().map(|outcome| outcome.reason) {
            None => Self::Lease,
            Some(Reason::WorkersLost) => Self::LastLease,
            Some(Reason::QueueTime) => Self::Wait,
            Some(_) => Self::Deadline,
        }
    }
}

impl fmt::Display for Due {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Lease => "lease",
            Self::LastLease => "last_lease",
            Self::Wait => "wait",
            Self::Deadline => "deadline",
        })
    }
}

/// A part of the upkeep.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Duty {
    Reap,
    Forget,
}

impl fmt::Display for Duty {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Reap => "reap",
            Self::Forget => "forget",
        })
    }
}

/// A word of a closed list as a label. `Copy`, so that no `String` can be one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Word<T>(pub(super) T);

impl<T: Copy + fmt::Display> EncodeLabelValue for Word<T> {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
        write!(encoder, "{}", self.0)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByPriority {
    pub(super) priority: Word<Priority>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByOutcome {
    pub(super) state: Word<Ending>,
    pub(super) reason: Word<Reason>,
    pub(super) blame: Word<Blame>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByEnd {
    pub(super) end: Word<Left>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByFault {
    pub(super) reason: Word<Reason>,
    pub(super) blame: Word<Blame>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByStage {
    pub(super) stage: Word<Stage>,
    pub(super) end: Word<StageEnd>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByDue {
    pub(super) due: Word<Due>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByDuty {
    pub(super) duty: Word<Duty>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByArrival {
    pub(super) outcome: Word<&'static str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByObject {
    pub(super) kind: Word<&'static str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ByWalls {
    pub(super) runtime: Word<&'static str>,
    pub(super) user_namespace: Word<bool>,
    pub(super) cgroup: Word<&'static str>,
}

/// Without labels: a family that may be empty, so that what is not known is not shown as 0.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Plain;

impl EncodeLabelSet for Plain {
    fn encode(&self, _: &mut LabelSetEncoder) -> fmt::Result {
        Ok(())
    }
}
