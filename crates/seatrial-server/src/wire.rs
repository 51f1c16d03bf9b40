//! What goes over the wire: documents that the API answers with. What it takes is in
//! [`crate::submission`].
//!
//! Types of `seatrial-core` are sent as they are; their schemas stand in [`schema`], for core knows
//! nothing of OpenAPI. A test sends full documents through the schemas.

use std::collections::BTreeMap;

use jiff::Timestamp;
use seatrial_core::{
    digest::Digest,
    id::{CorrelationId, JobId},
    job::{Blame, Reason, Stage},
    ledger::{Delivery, Durability, WorkerCard},
    record::{JobRecord, Priority},
    view::{AnalysisView, ArtifactView, DockerfileView, JobView, StateWord},
};
use seatrial_pipeline::query::{Documents, stored_view};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub mod about;
pub mod requests;
pub mod schema;

/// A job, whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobDocument {
    /// What is known of it.
    #[serde(flatten)]
    pub view: JobView,
    /// What only a stored job has.
    #[serde(flatten)]
    pub stored: Stored,
    /// Where its call back stands.
    pub webhook: Option<WebhookView>,
    /// Where to go from here.
    pub links: Links,
}

/// What only a stored job has.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// Its queue.
    pub priority: Priority,
    /// Who submitted it; empty where callers are not told apart.
    pub caller: String,
    /// Not started before.
    pub not_before: Timestamp,
    /// Ends when no worker took it by then; null once one did.
    pub expires_at: Option<Timestamp>,
    /// Who works on it, or did last.
    pub worker: Option<String>,
    /// Somebody asked for its end.
    pub cancel_requested: bool,
    /// Workers lost while they held it.
    pub losses: u32,
    /// Tries that ended with a fault of ours.
    pub failures: u32,
    /// Number of the last event.
    pub last_event: u64,
}

/// A job in a list: without what lies in the vault.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct JobSummary {
    /// Its id.
    pub id: JobId,
    /// Its state.
    pub state: StateWord,
    /// The stage it is in, or ended in.
    pub stage: Option<Stage>,
    /// The try, from 1; 0 when none was made.
    pub attempt: u32,
    /// Why it ended.
    pub reason: Option<Reason>,
    /// Whose doing.
    pub blame: Option<Blame>,
    /// Admission.
    pub created_at: Timestamp,
    /// First claim.
    pub started_at: Option<Timestamp>,
    /// Settlement.
    pub finished_at: Option<Timestamp>,
    /// By when it will have ended.
    pub deadline_at: Timestamp,
    /// Ties logs and events together.
    pub correlation_id: CorrelationId,
    /// The submitter's labels.
    pub labels: BTreeMap<String, String>,
    /// The text, by digest.
    pub dockerfile: DockerfileView,
    /// What only a stored job has.
    #[serde(flatten)]
    pub stored: Stored,
    /// Where to go from here.
    pub links: Links,
}

/// Some jobs, newest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobSummary>,
    /// Give it as `cursor` for the next page; null at the end.
    pub next_cursor: Option<String>,
}

/// Paths, relative to this server; null where there is nothing yet or nothing any more.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Links {
    /// The job.
    #[serde(rename = "self")]
    pub this: String,
    /// What happens to it, as it happens.
    pub events: String,
    /// Output of its stages.
    pub logs: String,
    /// Asks for its end.
    pub cancel: String,
    /// The result's bytes.
    pub result: Option<String>,
    /// Other files of `/data`.
    pub artifacts: Option<String>,
    /// What became of it, whole.
    pub report: Option<String>,
    /// What is in the image.
    pub sbom: Option<String>,
}

/// Where a call back stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    /// Where to.
    pub url: String,
    /// `waiting` for the end of the job, `due`, `delivered`, or `dead`: given up.
    pub state: WebhookState,
    /// Tries that failed; 0 again when it was taken.
    pub tries: u32,
    /// What the last failed try said.
    pub last_error: Option<String>,
}

/// Where a call back stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WebhookState {
    /// The job is not over.
    Waiting,
    /// It is sent, again and again until somebody takes it.
    Due,
    /// Taken.
    Delivered,
    /// Given up.
    Dead,
}

/// Files of `/data`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ArtifactList {
    /// The files, by name.
    pub artifacts: Vec<Artifact>,
}

/// A file of `/data`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Artifact {
    /// What it is.
    #[serde(flatten)]
    pub view: ArtifactView,
    /// Where its bytes are; null when they were not kept.
    pub href: Option<String>,
}

/// What the judge says of a text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AnalysisDocument {
    /// SHA-256 of the text.
    pub digest: Digest,
    /// Its length.
    pub bytes: usize,
    /// What was found.
    #[serde(flatten)]
    pub analysis: AnalysisView,
    /// Why it is denied, in a sentence; null when it passes.
    pub message: Option<String>,
    /// What to do; null when it passes.
    pub remedy: Option<String>,
}

/// Workers that live.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkerList {
    /// By name.
    pub workers: Vec<WorkerView>,
}

/// A worker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkerView {
    /// What it says of itself.
    #[serde(flatten)]
    pub card: WorkerCard,
    /// It takes jobs.
    pub fit: bool,
}

impl WorkerView {
    /// Of a card.
    #[must_use]
    pub fn new(card: WorkerCard) -> Self {
        let fit = card.is_fit();
        Self { card, fit }
    }
}

impl Stored {
    /// Of a record.
    #[must_use]
    pub fn of(record: &JobRecord) -> Self {
        Self {
            priority: record.priority,
            caller: record.caller.clone(),
            not_before: record.not_before,
            expires_at: record.expires_at,
            worker: record.worker.clone(),
            cancel_requested: record.cancel,
            losses: record.losses,
            failures: record.failures,
            last_event: record.next_news.saturating_sub(1),
        }
    }
}

impl Links {
    /// Of a record.
    #[must_use]
    pub fn of(record: &JobRecord) -> Self {
        use seatrial_core::vault::BlobKind::{Report, Result, Sbom};
        let this = format!("/v1/jobs/{}", record.id);
        let when = |kind, part: &str| record.blobs.contains_key(&kind).then(|| format!("{this}/{part}"));
        Self {
            events: format!("{this}/events"),
            logs: format!("{this}/logs"),
            cancel: format!("{this}/cancel"),
            result: when(Result, "result"),
            artifacts: when(Report, "artifacts"),
            report: when(Report, "report"),
            sbom: when(Sbom, "sbom"),
            this,
        }
    }
}

impl JobDocument {
    /// Of a record, its view and the delivery that is due or dead.
    #[must_use]
    pub fn new(record: &JobRecord, view: JobView, delivery: Option<Delivery>) -> Self {
        let over = record.outcome().is_some();
        let webhook = record.webhook.clone().map(|url| match delivery {
            Some(delivery) => WebhookView {
                url,
                state: if delivery.dead {
                    WebhookState::Dead
                } else {
                    WebhookState::Due
                },
                tries: delivery.tries,
                last_error: delivery.last_error,
            },
            None => WebhookView {
                url,
                state: if over {
                    WebhookState::Delivered
                } else {
                    WebhookState::Waiting
                },
                tries: 0,
                last_error: None,
            },
        });
        Self {
            view,
            stored: Stored::of(record),
            webhook,
            links: Links::of(record),
        }
    }
}

impl JobSummary {
    /// Of a record.
    #[must_use]
    pub fn of(record: &JobRecord) -> Self {
        let view = stored_view(record, Documents::Gone, None);
        Self {
            id: view.id,
            state: view.state,
            stage: view.stage,
            attempt: view.attempt,
            reason: view.reason,
            blame: view.blame,
            created_at: view.created_at,
            started_at: view.started_at,
            finished_at: view.finished_at,
            deadline_at: view.deadline_at,
            correlation_id: view.correlation_id,
            labels: view.labels,
            dockerfile: view.dockerfile,
            stored: Stored::of(record),
            links: Links::of(record),
        }
    }
}

/// What a process is.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct VersionDocument {
    /// Of this process.
    pub version: &'static str,
    /// Of the API.
    pub api: &'static str,
    /// Of stored records.
    pub schema: u32,
    /// What an acknowledgement is worth.
    pub ledger: Durability,
    /// Losing acknowledged jobs is allowed here.
    pub allow_loss: bool,
}
