//! Somebody wants a job to end, or to be forgotten.

use seatrial_core::{
    id::JobId,
    ledger::LedgerError,
    record::{JobRecord, Move, Refusal},
};

use super::{Service, ServiceError};

/// Asks for the end of a job: at once when it waits, by its worker when it runs. Asking again changes
/// nothing. The job as it is then; `None` when there is none.
///
/// # Errors
/// [`LedgerError`]; asking again is safe.
pub async fn cancel(service: &Service, id: JobId) -> Result<Option<JobRecord>, LedgerError> {
    match service.ledger.apply(id, Move::Cancel).await? {
        Ok(record) => {
            // One that runs is ended by its worker.
            if let Some(outcome) = record.outcome() {
                service.telemetry.metrics.settled(outcome);
            }
            Ok(Some(record))
        }
        Err(Refusal::Unknown) => Ok(None),
        // It is over already.
        Err(Refusal::Settled | Refusal::Fenced | Refusal::NotWaiting | Refusal::NotDue) => service.ledger.get(id).await,
    }
}

/// Forgets a job that is over: its bytes first, so that none is left when the ledger does not know it any
/// more. `false` when it is not over, or not known.
///
/// # Errors
/// [`ServiceError`]; asking again is safe.
pub async fn erase(service: &Service, id: JobId) -> Result<bool, ServiceError> {
    match service.ledger.get(id).await? {
        Some(record) if record.outcome().is_some() => {}
        _ => return Ok(false),
    }
    service.vault.erase(id).await?;
    Ok(service.ledger.erase(id).await?)
}
