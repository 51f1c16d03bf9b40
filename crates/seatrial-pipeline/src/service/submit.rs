//! A submission becomes a job: judged, its bytes put into the vault, remembered, announced.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use seatrial_core::{
    digest::Digest,
    egress::EgressView,
    finding::Finding,
    id::{CorrelationId, JobId},
    job::{Outcome, Reason, Stage},
    ledger::{Created, Idempotency, NewJob},
    record::{JobRecord, Priority},
    vault::{BlobKind, BlobRef, WrappedKey},
    view::{DockerfileView, Report},
    walls::Asked,
};
use serde::{Deserialize, Serialize};

use super::{Service, ServiceError};
use crate::{
    admission::{self, Admitted, LeftToTheWorker, UNPARSABLE, Verdict},
    case::{ResultPath, Submission},
    query::Documents,
};

/// What is asked for, beside the submission itself.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// See [`JobRecord::caller`].
    pub caller: String,
    /// Its queue.
    pub priority: Priority,
    /// Not started before this time has passed; cut to the operator's bound.
    pub delay: Duration,
    /// As given; empty for a fresh one.
    pub correlation_id: String,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Makes asking again safe.
    pub idempotency_key: Option<String>,
    /// Where to send word of the end; checked by the edge.
    pub webhook: Option<String>,
}

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// Remembered; it may be rejected already.
    New(Box<JobRecord>),
    /// The same was asked for before.
    Existing(Box<JobRecord>),
    /// The key was used for something else.
    KeyReused,
    /// Too many jobs wait.
    Full {
        /// How many.
        waiting: u64,
    },
    /// The text is not a Dockerfile: no job was made.
    Unparsable {
        /// All places.
        findings: Vec<Finding>,
        /// In words.
        outcome: Box<Outcome>,
    },
}

/// Takes a submission. When it returns, the job is durable.
///
/// # Errors
/// [`ServiceError`]; asking again with the same idempotency key is safe.
pub async fn submit(service: &Service, submission: Submission, request: Request) -> Result<Submitted, ServiceError> {
    Ok(submit_and_tell(service, submission, request).await?.0)
}

/// The same, with what was said about a text that will be built: who answers at once need not read it back.
///
/// # Errors
/// As for [`submit`].
pub async fn submit_and_tell(
    service: &Service,
    submission: Submission,
    request: Request,
) -> Result<(Submitted, Option<Documents>), ServiceError> {
    let admitted = admission::admit(
        &service.settings.policy,
        &submission.dockerfile,
        Timestamp::now(),
        &LeftToTheWorker,
    );
    if let Verdict::Deny(outcome) = &admitted.verdict
        && outcome.reason == Reason::Unparsable
    {
        let mut findings = admitted.analysis.findings;
        findings.retain(|finding| finding.rule == UNPARSABLE);
        let outcome = outcome.clone();
        return Ok((Submitted::Unparsable { findings, outcome }, None));
    }
    let id = JobId::fresh();
    let key = service.vault.new_key(id)?;
    let blobs = store(service, id, &key, &submission, &admitted).await?;
    let job = new_job(service, id, key, blobs, &submission, &admitted, request);
    let priority = job.priority;
    let created = service.ledger.create(job).await?;
    if !matches!(created, Created::New(_)) {
        // A fresh id and not remembered: nobody else can know these bytes. The sweep is behind us.
        if let Err(error) = service.vault.erase(id).await {
            tracing::warn!(job.id = %id, error = &error as &dyn std::error::Error, "bytes of a refused job stay until the next sweep");
        }
    }
    let submitted = match created {
        Created::New(record) => {
            let told = record.outcome().is_none();
            match record.outcome() {
                None => announce(service, id, priority).await,
                Some(outcome) => service.telemetry.metrics.settled(outcome),
            }
            let said = told.then(|| Documents::Admission(Box::new(admitted.analysis), BTreeMap::new()));
            return Ok((Submitted::New(record), said));
        }
        Created::Existing(record) => Submitted::Existing(record),
        Created::KeyReused => Submitted::KeyReused,
        Created::Full { waiting } => Submitted::Full { waiting },
    };
    Ok((submitted, None))
}

/// A lost ticket delays a job until a worker looks by itself; it loses nothing.
pub(super) async fn announce(service: &Service, id: JobId, priority: Priority) {
    if let Some(dispatch) = &service.dispatch
        && let Err(error) = dispatch.send(id, priority).await
    {
        tracing::warn!(job.id = %id, error = &error as &dyn std::error::Error, "the ticket was not sent; workers look by themselves");
    }
}

fn new_job(
    service: &Service,
    id: JobId,
    key: WrappedKey,
    blobs: BTreeMap<BlobKind, BlobRef>,
    submission: &Submission,
    admitted: &Admitted,
    request: Request,
) -> NewJob {
    let delay = request.delay.min(service.queue.max_delay);
    let idempotency = request.idempotency_key.as_ref().map(|key| Idempotency {
        key: key.clone(),
        fingerprint: fingerprint(submission, &request),
        keep: service.queue.keep_keys,
    });
    NewJob {
        id,
        caller: request.caller,
        priority: request.priority,
        correlation_id: CorrelationId::accept_or_fresh(&request.correlation_id),
        traceparent: request.traceparent,
        labels: submission.labels.clone(),
        dockerfile: DockerfileView {
            digest: admitted.digest,
            bytes: admitted.bytes,
        },
        key,
        blobs,
        webhook: request.webhook,
        delay,
        wait: service.queue.wait,
        life: delay + service.queue.wait + service.settings.longest_trial(),
        outcome: match &admitted.verdict {
            Verdict::Deny(outcome) => Some((**outcome).clone().without_words()),
            Verdict::Pass(_) => None,
        },
        idempotency,
        max_waiting: service.queue.max_waiting,
    }
}

/// What a repeated request must have in common with the first.
fn fingerprint(submission: &Submission, request: &Request) -> Digest {
    let inputs: Vec<_> = submission
        .inputs
        .iter()
        .map(|(name, bytes)| (name, Digest::of(bytes)))
        .collect();
    let mut asked = serde_json::json!([
        Digest::of(&submission.dockerfile),
        Digest::of(&submission.context_tar),
        inputs,
        submission.result.absolute(),
        submission.artifacts,
        submission.labels,
        request.priority,
        request.delay.as_millis().to_string(),
        request.webhook,
    ]);
    // Only then: a request of yesterday, sent again, must be the same after an update.
    if submission.walls != Asked::default()
        && let (Some(list), Ok(walls)) = (asked.as_array_mut(), serde_json::to_value(&submission.walls))
    {
        list.push(walls);
    }
    Digest::of(asked.to_string().as_bytes())
}

async fn store(
    service: &Service,
    id: JobId,
    key: &WrappedKey,
    submission: &Submission,
    admitted: &Admitted,
) -> Result<BTreeMap<BlobKind, BlobRef>, ServiceError> {
    // Together: their cost is that of the flush to the disk, which they share.
    let mut parts: Vec<(BlobKind, Cow<'_, [u8]>)> = vec![(BlobKind::Dockerfile, (&submission.dockerfile[..]).into())];
    match &admitted.verdict {
        Verdict::Deny(outcome) => {
            // Nobody will build it: what was said about it is all that is kept beside the text.
            let report = Report {
                message: seatrial_core::finding::escape_untrusted(&outcome.message),
                remedy: outcome.remedy.clone(),
                analysis: admitted.analysis.clone(),
                ..Report::default()
            };
            parts.push((BlobKind::Report, serde_json::to_vec(&report)?.into()));
        }
        Verdict::Pass(_) => {
            parts.push((BlobKind::Admission, serde_json::to_vec(&admitted.analysis)?.into()));
            parts.push((BlobKind::Submission, pack(submission)?.into()));
            if !submission.context_tar.is_empty() {
                parts.push((BlobKind::Context, (&submission.context_tar[..]).into()));
            }
        }
    }
    let parts: Vec<(BlobKind, &[u8])> = parts.iter().map(|(kind, bytes)| (*kind, &**bytes)).collect();
    let blobs = service.vault.put_all(id, key, &parts).await?;
    Ok(parts.iter().map(|(kind, _)| *kind).zip(blobs).collect())
}

/// First line of a packed submission: what was asked for, and how long each input is.
#[derive(Serialize, Deserialize)]
struct Header {
    result: String,
    artifacts: bool,
    inputs: Vec<(String, usize)>,
    /// Processes of earlier versions write none.
    #[serde(default)]
    walls: Asked,
}

fn pack(submission: &Submission) -> Result<Vec<u8>, serde_json::Error> {
    let mut packed = serde_json::to_vec(&Header {
        result: submission.result.absolute(),
        artifacts: submission.artifacts,
        walls: submission.walls.clone(),
        inputs: submission
            .inputs
            .iter()
            .map(|(name, bytes)| (name.clone(), bytes.len()))
            .collect(),
    })?;
    packed.push(b'\n');
    for bytes in submission.inputs.values() {
        packed.extend_from_slice(bytes);
    }
    Ok(packed)
}

/// Files for `/inputs`, by name.
type Inputs = BTreeMap<String, Arc<[u8]>>;

fn unpack(packed: &[u8]) -> Result<(Header, Inputs), serde_json::Error> {
    use serde::de::Error as _;
    let end = packed.iter().position(|byte| *byte == b'\n').unwrap_or(packed.len());
    let header: Header = serde_json::from_slice(&packed[..end])?;
    let mut rest = packed.get(end + 1..).unwrap_or_default();
    let mut inputs = Inputs::new();
    for (name, length) in &header.inputs {
        let (bytes, after) = rest
            .split_at_checked(*length)
            .ok_or_else(|| serde_json::Error::custom("the inputs are shorter than they say"))?;
        inputs.insert(name.clone(), Arc::from(bytes));
        rest = after;
    }
    Ok((header, inputs))
}

/// Reads a job's submission back, for the worker that has it.
pub(super) async fn load(
    service: &Service,
    record: &JobRecord,
) -> Result<(Submission, BTreeMap<Stage, EgressView>), ServiceError> {
    let mut kinds = vec![BlobKind::Dockerfile, BlobKind::Submission];
    kinds.extend(
        record
            .blobs
            .contains_key(&BlobKind::Context)
            .then_some(BlobKind::Context),
    );
    let mut blobs = super::read::blobs(service, record, &kinds).await?.into_iter();
    let dockerfile = blobs.next().unwrap_or_default();
    let (header, inputs) = unpack(&blobs.next().unwrap_or_default())?;
    let context_tar = blobs.next().map(Arc::from).unwrap_or_default();
    let submission = Submission {
        dockerfile,
        context_tar,
        inputs,
        result: ResultPath::parse(&header.result).unwrap_or_default(),
        artifacts: header.artifacts,
        labels: record.labels.clone(),
        walls: header.walls,
    };
    Ok((submission, super::read::asked(service, record).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission() -> Submission {
        Submission {
            inputs: BTreeMap::from([
                ("a.csv".to_owned(), Arc::from(&b"1\n2\n"[..])),
                ("b".to_owned(), Arc::from(&b""[..])),
            ]),
            artifacts: true,
            ..Submission::default()
        }
    }

    #[test]
    fn a_packed_submission_reads_back() {
        let (header, inputs) = unpack(&pack(&submission()).unwrap()).unwrap();
        assert_eq!(inputs, submission().inputs);
        assert_eq!((header.result.as_str(), header.artifacts), ("/data/perf.json", true));
    }

    #[test]
    fn a_cut_submission_is_refused() {
        let mut packed = pack(&submission()).unwrap();
        packed.pop();
        assert!(unpack(&packed).is_err());
    }

    #[test]
    fn a_fingerprint_covers_inputs_and_options_and_not_the_correlation_id() {
        let plain = fingerprint(&submission(), &Request::default());
        let mut other = submission();
        other.inputs.insert("b".to_owned(), Arc::from(&b"x"[..]));
        assert_ne!(plain, fingerprint(&other, &Request::default()));
        let correlated = Request {
            correlation_id: "x".to_owned(),
            ..Request::default()
        };
        assert_eq!(plain, fingerprint(&submission(), &correlated));
        let urgent = Request {
            priority: Priority::High,
            ..Request::default()
        };
        assert_ne!(plain, fingerprint(&submission(), &urgent));
    }
}
