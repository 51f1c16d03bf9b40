//! Where a job is, as one number of the file.

use seatrial_core::{job::Ending, ledger::StateFilter, record::Priority};

/// A number of `jobs.lane`. Numbers never change their meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Lane(pub(super) i64);

impl Lane {
    /// Held by a worker.
    pub(super) const RUNNING: Self = Self(6);
    /// Its record cannot be read.
    pub(super) const BROKEN: Self = Self(20);
    /// Lanes from 0 whose jobs are counted.
    pub(super) const COUNTED: usize = 7;

    /// Waits and can be claimed.
    pub(super) fn ready(priority: Priority) -> Self {
        Self(order(priority))
    }

    /// Waits, and its delay is not over.
    pub(super) fn delayed(priority: Priority) -> Self {
        Self(3 + order(priority))
    }

    /// Over.
    pub(super) fn ended(ending: Ending) -> Self {
        Self(match ending {
            Ending::Succeeded => 10,
            Ending::Rejected => 11,
            Ending::Failed => 12,
            Ending::TimedOut => 13,
            Ending::Cancelled => 14,
            Ending::Expired => 15,
            Ending::Errored => 16,
        })
    }

    /// All lanes of a state that users filter by.
    pub(super) fn of(state: StateFilter) -> Vec<Self> {
        match state {
            StateFilter::Queued => (0..6).map(Self).collect(),
            StateFilter::Running => vec![Self::RUNNING],
            StateFilter::Ended(ending) => vec![Self::ended(ending)],
        }
    }

    /// The queue, of a job that waits.
    pub(super) fn queue(self) -> Option<Priority> {
        let order = usize::try_from(self.0).ok()?;
        (order < 6).then(|| Priority::ALL[order % 3])
    }

    /// Its index among the counted ones.
    pub(super) fn counted(self) -> Option<usize> {
        usize::try_from(self.0).ok().filter(|lane| *lane < Self::COUNTED)
    }
}

/// A priority's place; high is 0.
pub(super) fn order(priority: Priority) -> i64 {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}
