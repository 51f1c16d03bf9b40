//! The seam to a message broker that says "there is work". It carries tickets only; the ledger stays
//! the one truth, so a ticket may be lost, doubled or late without any harm to a job.

use async_trait::async_trait;

use crate::{BoxError, id::JobId, record::Priority};

/// The broker gave no usable answer.
#[derive(Debug, thiserror::Error)]
#[error("the message broker did not {action}")]
pub struct DispatchError {
    /// As a verb phrase.
    pub action: &'static str,
    /// What happened.
    pub source: BoxError,
}

/// Carries tickets from whoever queues jobs to whoever has a free slot.
///
/// A ticket names the job that it was sent for, but whoever takes it claims what the ledger puts first:
/// so priorities and fairness between callers hold with a broker too, and a doubled ticket finds no claim.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// Sends a ticket; returns when the broker has it on disk.
    ///
    /// # Errors
    /// [`DispatchError`]: the ticket may be lost. The job is not: the sweep sends another.
    async fn send(&self, id: JobId, priority: Priority) -> Result<(), DispatchError>;
    /// Waits for a ticket, the highest priority first, and takes it off the queue only when `claim` has
    /// returned: a worker that dies in between leaves it to another.
    ///
    /// # Errors
    /// [`DispatchError`]: look at the ledger without a ticket.
    async fn take(&self) -> Result<Box<dyn Ticket>, DispatchError>;
    /// Whether the broker answers.
    ///
    /// # Errors
    /// [`DispatchError`].
    async fn ping(&self) -> Result<(), DispatchError>;
}

/// A ticket in hand.
#[async_trait]
pub trait Ticket: Send {
    /// The job that it was sent for.
    fn job(&self) -> JobId;
    /// Takes it off the queue. Failing is harmless: it comes again.
    async fn done(self: Box<Self>);
}
