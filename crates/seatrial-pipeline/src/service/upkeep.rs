//! What any process does beside its own work, so that every job ends and nothing is kept for ever.
//!
//! All of it may run in many processes at once: each step is one atomic move of the ledger.

use std::time::Duration;

use seatrial_core::{ledger::LedgerError, record::Move};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Service, ServiceError, submit::announce};

/// Between two looks for leases, waits and deadlines that are over.
const REAP: Duration = Duration::from_secs(1);
/// Looks at what is kept too long, counted in reapings.
const FORGET_EACH: u32 = 60;
/// Jobs in one look.
const AT_ONCE: usize = 100;
/// One turn forgets for so long and no longer; it keeps up with thousands of jobs a minute.
const FORGET_FOR: Duration = Duration::from_secs(20);
/// Bytes without a record are a submission under way until they are this old.
const ORPHAN: Duration = Duration::from_secs(60 * 60);

/// Does it until it is dropped.
pub async fn run(service: &Service) {
    let mut ticks = interval(REAP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn = 0_u32;
    loop {
        ticks.tick().await;
        if let Err(error) = reap(service).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "overdue jobs could not be looked at"
            );
        }
        if turn.is_multiple_of(FORGET_EACH)
            && let Err(error) = forget(service).await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "old jobs could not be forgotten"
            );
        }
        turn = turn.wrapping_add(1);
    }
}

/// Moves what is overdue; returns how many jobs it moved.
///
/// # Errors
/// [`LedgerError`]: the next look goes on.
pub async fn reap(service: &Service) -> Result<usize, LedgerError> {
    let mut moved = 0;
    loop {
        let due = service.ledger.overdue(AT_ONCE).await?;
        let full = due.len() == AT_ONCE;
        let before = moved;
        for id in due {
            match service.ledger.apply(id, Move::Reap(service.ledger.budgets())).await {
                Ok(Ok(record)) => {
                    moved += 1;
                    match record.outcome() {
                        Some(outcome) => tracing::warn!(
                            job.id = %id, correlation.id = record.correlation_id.as_str(), state = %outcome.ending,
                            reason = %outcome.reason, "job ended by the reaper"
                        ),
                        None => {
                            tracing::warn!(
                                job.id = %id, correlation.id = record.correlation_id.as_str(),
                                worker = record.worker.as_deref(), losses = record.losses, "lease ran out; the job waits again"
                            );
                            announce(service, id, record.priority).await;
                        }
                    }
                }
                // Another process was first, or the worker renewed in between.
                Ok(Err(_)) => {}
                Err(error @ (LedgerError::Newer { .. } | LedgerError::Broken { .. })) => {
                    tracing::error!(job.id = %id, error = &error as &dyn std::error::Error, "an overdue job cannot be moved");
                }
                Err(error) => return Err(error),
            }
        }
        if !full || moved == before {
            return Ok(moved);
        }
    }
}

/// Erases jobs that are kept long enough, and bytes that no job refers to.
///
/// # Errors
/// [`ServiceError`]: the next look goes on.
pub async fn forget(service: &Service) -> Result<(), ServiceError> {
    let until = Instant::now() + FORGET_FOR;
    loop {
        let old = service.ledger.settled_before(service.queue.keep_jobs, AT_ONCE).await?;
        let full = old.len() == AT_ONCE;
        let mut gone = 0;
        for id in old {
            // Bytes first: a record without bytes says so, bytes without a record say nothing.
            service.vault.erase(id).await?;
            gone += usize::from(service.ledger.erase(id).await?);
        }
        // Those that stay would be found again.
        if !full || gone == 0 || Instant::now() >= until {
            break;
        }
    }
    for id in service.vault.sweep(ORPHAN, AT_ONCE).await? {
        if service.ledger.get(id).await?.is_none() {
            tracing::info!(job.id = %id, "bytes without a job are erased");
            service.vault.erase(id).await?;
        }
    }
    Ok(())
}
