//! Answers about jobs. Everything here may be asked of any process, as often as one likes.

use std::{collections::BTreeMap, future::poll_fn, task::Poll, time::Duration};

use seatrial_core::{
    egress::EgressView,
    id::JobId,
    job::{JobState, Stage},
    ledger::LedgerError,
    record::{JobRecord, News, NewsBody},
    vault::{BlobKind, BlobRef, VaultError},
    view::{JobView, Report},
};

use super::{Service, ServiceError};
use crate::query::{Documents, stored_view};

/// Why a part of a job cannot be had.
#[derive(Debug)]
pub enum Absent {
    /// No such job, or not this caller's.
    NoJob,
    /// The job is not over.
    NotReady(Box<JobRecord>),
    /// The job is over and has none.
    None(Box<JobRecord>),
    /// It had one; its time to live is over.
    Expired,
    /// A part of the service gave no answer.
    Failed(ServiceError),
}

impl<E: Into<ServiceError>> From<E> for Absent {
    fn from(error: E) -> Self {
        match error.into() {
            ServiceError::Vault(VaultError::Missing { .. }) => Self::Expired,
            error => Self::Failed(error),
        }
    }
}

/// The record of a job that `caller` may see; `None` sees all.
///
/// # Errors
/// [`Absent`].
pub async fn record(service: &Service, caller: Option<&str>, id: JobId) -> Result<JobRecord, Absent> {
    match service.ledger.get(id).await? {
        Some(record) if caller.is_none_or(|caller| caller == record.caller) => Ok(record),
        _ => Err(Absent::NoJob),
    }
}

/// The document of a job.
///
/// # Errors
/// [`ServiceError`]; bytes whose time to live is over are left out instead.
pub async fn view(service: &Service, record: &JobRecord) -> Result<JobView, ServiceError> {
    let position = position(service, record).await?;
    view_at(service, record, position).await
}

/// Jobs before this one; `None` when it does not wait.
///
/// # Errors
/// [`LedgerError`].
pub async fn position(service: &Service, record: &JobRecord) -> Result<Option<u64>, LedgerError> {
    match record.state {
        JobState::Queued { .. } => service.ledger.position(record.id).await,
        JobState::Running { .. } | JobState::Settled(_) => Ok(None),
    }
}

/// The document of a job whose position is known.
///
/// # Errors
/// [`ServiceError`]; bytes whose time to live is over are left out instead.
pub async fn view_at(service: &Service, record: &JobRecord, position: Option<u64>) -> Result<JobView, ServiceError> {
    let documents = match documents(service, record).await {
        Err(ServiceError::Vault(VaultError::Missing { .. })) => Documents::Gone,
        other => other?,
    };
    Ok(stored_view(record, documents, position))
}

async fn documents(service: &Service, record: &JobRecord) -> Result<Documents, ServiceError> {
    if record.blobs.contains_key(&BlobKind::Report) {
        let bytes = blob(service, record, BlobKind::Report).await?;
        return Ok(Documents::Report(Box::new(serde_json::from_slice(&bytes)?)));
    }
    let bytes = blob(service, record, BlobKind::Admission).await?;
    let asked = asked(service, record).await?;
    Ok(Documents::Admission(Box::new(serde_json::from_slice(&bytes)?), asked))
}

/// What the tries of a job asked of the network, as far as it was written down before their ends.
///
/// # Errors
/// [`ServiceError`].
pub(super) async fn asked(service: &Service, record: &JobRecord) -> Result<BTreeMap<Stage, EgressView>, ServiceError> {
    if !record.blobs.contains_key(&BlobKind::Egress) {
        return Ok(BTreeMap::new());
    }
    match blob(service, record, BlobKind::Egress).await {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        // A newer one has taken its place since the record was read.
        Err(ServiceError::Vault(VaultError::Missing { .. })) => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// Bytes of a job that there is one of. [`VaultError::Missing`] when the record names none.
///
/// # Errors
/// [`ServiceError`].
pub async fn blob(service: &Service, record: &JobRecord, kind: BlobKind) -> Result<Vec<u8>, ServiceError> {
    let blob = record.blobs.get(&kind).ok_or(VaultError::Missing { kind })?;
    Ok(service.vault.get(record.id, &record.key, kind, blob).await?)
}

/// The same for several, in the same order and in one go.
pub(super) async fn blobs(
    service: &Service,
    record: &JobRecord,
    kinds: &[BlobKind],
) -> Result<Vec<Vec<u8>>, ServiceError> {
    let named = |&kind: &BlobKind| {
        let blob = record.blobs.get(&kind).ok_or(VaultError::Missing { kind })?;
        Ok((kind, blob))
    };
    let named: Vec<_> = kinds.iter().map(named).collect::<Result<_, VaultError>>()?;
    Ok(service.vault.get_all(record.id, &record.key, &named).await?)
}

/// Bytes that a job has when it is over: its result, SBOM, report.
///
/// # Errors
/// [`Absent`] says why not.
pub async fn product(service: &Service, record: &JobRecord, kind: BlobKind) -> Result<Vec<u8>, Absent> {
    if record.outcome().is_none() {
        return Err(Absent::NotReady(Box::new(record.clone())));
    }
    if !record.blobs.contains_key(&kind) {
        return Err(Absent::None(Box::new(record.clone())));
    }
    Ok(blob(service, record, kind).await?)
}

/// The report of a job that is over.
///
/// # Errors
/// [`Absent`].
pub async fn report(service: &Service, record: &JobRecord) -> Result<Report, Absent> {
    let bytes = product(service, record, BlobKind::Report).await?;
    serde_json::from_slice(&bytes).map_err(Absent::from)
}

/// Where a file of `/data` is that was kept, and how long it is.
///
/// # Errors
/// [`Absent`].
pub async fn artifact_ref(service: &Service, record: &JobRecord, name: &str) -> Result<BlobRef, Absent> {
    let mut report = report(service, record).await?;
    let blob = report.artifact_blobs.remove(name);
    blob.ok_or_else(|| Absent::None(Box::new(record.clone())))
}

/// A file of `/data`.
///
/// # Errors
/// [`Absent`].
pub async fn artifact(service: &Service, record: &JobRecord, blob: &BlobRef) -> Result<Vec<u8>, Absent> {
    Ok(service
        .vault
        .get(record.id, &record.key, BlobKind::Artifact, blob)
        .await?)
}

/// A piece of a stage's output.
#[derive(Clone, Debug, Default)]
pub struct LogPiece {
    /// The bytes; hostile.
    pub bytes: Vec<u8>,
    /// Offset in what is kept, after these bytes.
    pub next: u64,
    /// Nothing more will come.
    pub complete: bool,
}

/// Output of a stage from an offset in what is kept, at most `max` bytes. While the stage runs, what is
/// kept only grows; when it is over and was too long, its middle is cut out and the cut is marked.
///
/// # Errors
/// [`Absent`].
pub async fn log(
    service: &Service,
    record: &JobRecord,
    stage: Stage,
    offset: u64,
    max: usize,
) -> Result<LogPiece, Absent> {
    let Some(log) = record.logs.get(&stage) else {
        return Ok(LogPiece {
            next: offset,
            complete: record.outcome().is_some(),
            ..LogPiece::default()
        });
    };
    let mut piece = LogPiece {
        next: offset,
        ..LogPiece::default()
    };
    let mut begins = 0;
    for part in &log.parts {
        let ends = begins + part.bytes;
        if ends > piece.next && piece.bytes.len() < max {
            let bytes = service.vault.get(record.id, &record.key, BlobKind::Log, part).await?;
            let from = usize::try_from(piece.next - begins).unwrap_or(usize::MAX);
            let wanted = bytes.get(from..).unwrap_or_default();
            let taken = &wanted[..wanted.len().min(max - piece.bytes.len())];
            piece.bytes.extend_from_slice(taken);
            piece.next += taken.len() as u64;
        }
        begins = ends;
    }
    piece.complete = piece.next >= begins && (log.complete || record.outcome().is_some());
    Ok(piece)
}

/// News of a job after a number, its words opened.
///
/// # Errors
/// [`ServiceError`].
pub async fn news(service: &Service, record: &JobRecord, after: u64, limit: usize) -> Result<Vec<News>, ServiceError> {
    let mut news = service.ledger.news(record.id, after, limit).await?;
    for one in &mut news {
        if let NewsBody::BuildStep { text, .. } | NewsBody::Note { text } = &mut one.body
            // None when its words could not be sealed.
            && !text.is_empty()
        {
            *text = service.vault.open_text(record.id, &record.key, text)?;
        }
    }
    Ok(news)
}

/// Waits until a job is over, at most `patience`; returns it as it is then.
///
/// # Errors
/// [`LedgerError`].
pub async fn settled(service: &Service, id: JobId, patience: Duration) -> Result<Option<JobRecord>, LedgerError> {
    let until = tokio::time::Instant::now() + patience;
    loop {
        let mut moved = service.ledger.moved(id);
        // Polled once before the look: it listens from then on, and a move in between is not missed.
        let at_once = poll_fn(|context| Poll::Ready(moved.as_mut().poll(context).is_ready())).await;
        let record = service.ledger.get(id).await?;
        match &record {
            Some(open) if open.outcome().is_none() => {}
            _ => return Ok(record),
        }
        if !at_once && tokio::time::timeout_at(until, moved).await.is_err() {
            return service.ledger.get(id).await;
        }
        if tokio::time::Instant::now() >= until {
            return Ok(record);
        }
    }
}
