//! A job in its three sizes: whole, in a list, and what became of it.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::{
    Analysis, ArtifactView, Blame, Dockerfile, Egress, Image, JobResult, Priority, Reason, Scan, Stage, State, Usage,
    Walls,
};

/// A job, whole.
#[derive(ToSchema)]
#[schema(as = JobDocument)]
pub struct JobDocument {
    /// Its id.
    #[schema(
        pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$",
        examples("job_01K8ZC9Q4M7W6V5T3R2P1N0HGF")
    )]
    pub id: String,
    /// `queued`, `running`, or how it ended.
    pub state: State,
    /// The stage it is in, or ended in.
    #[schema(required = true)]
    pub stage: Option<Stage>,
    /// The try, from 1; 0 when none was made.
    pub attempt: u32,
    /// Why it ended.
    #[schema(required = true)]
    pub reason: Option<Reason>,
    /// Whose doing.
    #[schema(required = true)]
    pub blame: Option<Blame>,
    /// One sentence about the end.
    #[schema(required = true)]
    pub message: Option<String>,
    /// What to do.
    #[schema(required = true)]
    pub remedy: Option<String>,
    /// Jobs before it, counted up to 10,000; null when it does not wait.
    #[schema(required = true)]
    pub queue_position: Option<u64>,
    /// Admission.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// First claim.
    #[schema(required = true, format = DateTime)]
    pub started_at: Option<String>,
    /// Settlement.
    #[schema(required = true, format = DateTime)]
    pub finished_at: Option<String>,
    /// By when it will have ended, fixed at admission.
    #[schema(format = DateTime)]
    pub deadline_at: String,
    /// Ties logs and events together.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,128}$")]
    pub correlation_id: String,
    /// The submitter's labels.
    pub labels: BTreeMap<String, String>,
    /// The text, by digest.
    pub dockerfile: Dockerfile,
    /// What the judge said.
    pub analysis: Analysis,
    /// What the scanner said; null when it did not get that far.
    #[schema(required = true)]
    pub scan: Option<Scan>,
    /// The built image; null when none was built.
    #[schema(required = true)]
    pub image: Option<Image>,
    /// What each stage used, by stage.
    pub usage: BTreeMap<String, Usage>,
    /// How long each stage took, in milliseconds, by stage.
    pub timings_ms: BTreeMap<String, u64>,
    /// Walls that stood around the build; null when nothing was built.
    #[schema(required = true)]
    pub build_walls: Option<Walls>,
    /// Walls that stood around the run; null when nothing ran.
    #[schema(required = true)]
    pub walls: Option<Walls>,
    /// What was asked of the egress proxy, by stage; nothing for stages without one.
    pub egress: BTreeMap<String, Egress>,
    /// The result; null when there is none.
    #[schema(required = true)]
    pub result: Option<JobResult>,
    /// Other files of `/data`.
    pub artifacts: Vec<ArtifactView>,
    /// The last lines of the stage that ended it, escaped.
    pub log_tail: Vec<String>,
    /// Its queue.
    pub priority: Priority,
    /// Who submitted it; empty where callers are not told apart.
    pub caller: String,
    /// Not started before.
    #[schema(format = DateTime)]
    pub not_before: String,
    /// Ends when no worker took it by then; null once one did.
    #[schema(required = true, format = DateTime)]
    pub expires_at: Option<String>,
    /// Who works on it, or did last.
    #[schema(required = true)]
    pub worker: Option<String>,
    /// Somebody asked for its end.
    pub cancel_requested: bool,
    /// Workers lost while they held it.
    pub losses: u32,
    /// Tries that ended with a fault of ours.
    pub failures: u32,
    /// Number of the last event.
    pub last_event: u64,
    /// Where its call back stands; null when none was asked for.
    #[schema(required = true)]
    pub webhook: Option<crate::wire::WebhookView>,
    /// Where to go from here.
    pub links: crate::wire::Links,
}

/// A job in a list: without what only `GET /v1/jobs/{id}` knows.
#[derive(ToSchema)]
#[schema(as = JobSummary)]
pub struct JobSummary {
    /// Its id.
    #[schema(pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    pub id: String,
    /// `queued`, `running`, or how it ended.
    pub state: State,
    /// The stage it is in, or ended in.
    #[schema(required = true)]
    pub stage: Option<Stage>,
    /// The try, from 1; 0 when none was made.
    pub attempt: u32,
    /// Why it ended.
    #[schema(required = true)]
    pub reason: Option<Reason>,
    /// Whose doing.
    #[schema(required = true)]
    pub blame: Option<Blame>,
    /// Admission.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// First claim.
    #[schema(required = true, format = DateTime)]
    pub started_at: Option<String>,
    /// Settlement.
    #[schema(required = true, format = DateTime)]
    pub finished_at: Option<String>,
    /// By when it will have ended.
    #[schema(format = DateTime)]
    pub deadline_at: String,
    /// Ties logs and events together.
    pub correlation_id: String,
    /// The submitter's labels.
    pub labels: BTreeMap<String, String>,
    /// The text, by digest.
    pub dockerfile: Dockerfile,
    /// Its queue.
    pub priority: Priority,
    /// Who submitted it; empty where callers are not told apart.
    pub caller: String,
    /// Not started before.
    #[schema(format = DateTime)]
    pub not_before: String,
    /// Ends when no worker took it by then; null once one did.
    #[schema(required = true, format = DateTime)]
    pub expires_at: Option<String>,
    /// Who works on it, or did last.
    #[schema(required = true)]
    pub worker: Option<String>,
    /// Somebody asked for its end.
    pub cancel_requested: bool,
    /// Workers lost while they held it.
    pub losses: u32,
    /// Tries that ended with a fault of ours.
    pub failures: u32,
    /// Number of the last event.
    pub last_event: u64,
    /// Where to go from here.
    pub links: crate::wire::Links,
}

/// Some jobs, newest first.
#[derive(ToSchema)]
#[schema(as = JobList)]
pub struct JobList {
    /// The jobs; may be fewer than asked for though more follow.
    pub jobs: Vec<JobSummary>,
    /// Give it as `cursor` for the next page; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// What became of a job, whole.
#[derive(ToSchema)]
#[schema(as = Report)]
pub struct Report {
    /// One sentence.
    pub message: String,
    /// What to do.
    #[schema(required = true)]
    pub remedy: Option<String>,
    /// What the judge said.
    pub analysis: Analysis,
    /// What the scanner said; null when it did not get that far.
    #[schema(required = true)]
    pub scan: Option<Scan>,
    /// The built image; null when none was built.
    #[schema(required = true)]
    pub image: Option<Image>,
    /// What each stage used, by stage.
    pub usage: BTreeMap<String, Usage>,
    /// How long each stage took, in milliseconds, by stage.
    pub timings_ms: BTreeMap<String, u64>,
    /// Walls that stood around the build; null when nothing was built.
    #[schema(required = true)]
    pub build_walls: Option<Walls>,
    /// Walls that stood around the run; null when nothing ran.
    #[schema(required = true)]
    pub walls: Option<Walls>,
    /// What was asked of the egress proxy, by stage; nothing for stages without one.
    pub egress: BTreeMap<String, Egress>,
    /// The result; null when there is none.
    #[schema(required = true)]
    pub result: Option<JobResult>,
    /// Other files of `/data`.
    pub artifacts: Vec<ArtifactView>,
    /// The last lines of the stage that ended it, escaped.
    pub log_tail: Vec<String>,
}
