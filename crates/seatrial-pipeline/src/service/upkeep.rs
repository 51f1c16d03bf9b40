//! What processes do beside their own work, so that every job ends and nothing is kept for ever: every process
//! reaps, the API's also forget (a worker has no right to erase).
//!
//! All of it may run in many processes at once: each step is one atomic move of the ledger.

use std::{collections::BTreeSet, time::Duration};

use seatrial_core::{ledger::LedgerError, record::Move};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Service, ServiceError, metrics::Duty, submit::announce};

/// Between two looks for leases, waits and deadlines that are over.
const REAP: Duration = Duration::from_secs(1);
/// Between two looks for what is kept too long, and how long one of them may go on.
const FORGET: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(45));
/// Jobs in one look.
const AT_ONCE: usize = 100;
/// Damaged jobs that are looked past.
const MOST_STUCK: usize = 900;
/// Bytes without a record are a submission under way until they are this old.
const ORPHAN: Duration = Duration::from_secs(60 * 60);

/// Reaps until it is dropped.
pub async fn reap_always(service: &Service) {
    let mut ticks = interval(REAP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = reap(service).await {
            service.telemetry.metrics.upkeep_failed(Duty::Reap);
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "overdue jobs could not be looked at"
            );
        }
    }
}

/// Forgets until it is dropped.
pub async fn forget_always(service: &Service) {
    let mut ticks = interval(FORGET.0);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match timeout(FORGET.1, forget(service)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                service.telemetry.metrics.upkeep_failed(Duty::Forget);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "old jobs could not be forgotten"
                );
            }
            Err(_) => tracing::warn!(
                "more is kept too long than could be erased in {} s; it goes on",
                FORGET.1.as_secs()
            ),
        }
    }
}

/// Moves what is overdue; returns how many jobs it moved.
///
/// # Errors
/// [`LedgerError`]: the next look goes on.
pub async fn reap(service: &Service) -> Result<usize, LedgerError> {
    let mut moved = 0;
    let mut stuck = 0;
    loop {
        // Those that cannot be moved stay in front: looked past, they do not keep the others.
        let limit = AT_ONCE + stuck;
        let due = service.ledger.overdue(limit).await?;
        let full = due.len() >= limit;
        stuck = 0;
        for id in due {
            match service.ledger.apply(id, Move::Reap(service.ledger.budgets())).await {
                Ok(Ok(record)) => {
                    moved += 1;
                    service.telemetry.metrics.reaped(&record);
                    match record.outcome() {
                        Some(outcome) => tracing::warn!(
                            job.id = %id, correlation.id = record.correlation_id.as_str(), state = %outcome.ending,
                            reason = %outcome.reason, blame = %outcome.blame, "job ended by the reaper"
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
                    stuck += 1;
                    tracing::error!(job.id = %id, error = &error as &dyn std::error::Error, "an overdue job cannot be moved");
                }
                Err(error) => return Err(error),
            }
        }
        if !full || stuck >= MOST_STUCK {
            return Ok(moved);
        }
    }
}

/// Erases jobs that are kept long enough, and bytes that no job refers to, until there are none.
///
/// # Errors
/// [`ServiceError`]: the next look goes on.
pub async fn forget(service: &Service) -> Result<(), ServiceError> {
    let mut stuck = BTreeSet::new();
    loop {
        // Those that stay are looked past.
        let limit = AT_ONCE + stuck.len();
        let old = service.ledger.settled_before(service.queue.keep_jobs, limit).await?;
        let full = old.len() >= limit;
        for id in old {
            if stuck.contains(&id) {
                continue;
            }
            // Bytes first: a record without bytes says so, bytes without a record say nothing.
            service.vault.erase(id).await?;
            match service.ledger.erase(id).await {
                Ok(true) => service.telemetry.metrics.erased(),
                Ok(false) => {
                    stuck.insert(id);
                }
                // Damaged records must not keep all the others.
                Err(error) if !error.is_transient() => {
                    stuck.insert(id);
                    tracing::error!(job.id = %id, error = &error as &dyn std::error::Error, "an old job cannot be erased");
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !full || stuck.len() >= MOST_STUCK {
            break;
        }
    }
    for id in service.vault.sweep(ORPHAN, AT_ONCE).await? {
        match service.ledger.get(id).await {
            Ok(None) => {
                tracing::info!(job.id = %id, "bytes without a job are erased");
                service.vault.erase(id).await?;
                service.telemetry.metrics.orphan_erased();
            }
            Ok(Some(_)) => {}
            Err(error) if !error.is_transient() => {
                tracing::error!(job.id = %id, error = &error as &dyn std::error::Error, "a job cannot be read; its bytes stay");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
