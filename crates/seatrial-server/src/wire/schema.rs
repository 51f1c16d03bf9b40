//! Schemas of what `seatrial-core` and `seatrial-pipeline` send: stand-ins that are never made.
//!
//! A test sends full documents of the real types through these schemas, both ways: a field that is
//! missing here and one that is here only are errors.

use std::collections::BTreeMap;

use utoipa::ToSchema;

mod job;
mod words;

pub use self::{job::*, words::*};

/// The Dockerfile, by digest.
#[derive(ToSchema)]
#[schema(as = Dockerfile)]
pub struct Dockerfile {
    /// SHA-256 of the text.
    #[schema(pattern = "^sha256:[0-9a-f]{64}$")]
    pub digest: String,
    /// Its length.
    pub bytes: u64,
}

/// What the judge said.
#[derive(ToSchema)]
#[schema(as = Analysis)]
pub struct Analysis {
    /// `pass` or `deny`; empty when it is not kept any more.
    pub verdict: String,
    /// All findings, by place.
    pub findings: Vec<Finding>,
    /// How many of each level.
    pub counts: BTreeMap<String, u64>,
    /// Rules that block, each once.
    pub blocking: Vec<String>,
    /// Waived findings, with the waiver's words.
    pub waived: Vec<Waived>,
    /// Waivers that would have covered a finding and have run out, each once.
    pub expired_waivers: Vec<Waived>,
}

/// What the judge says of a text.
#[derive(ToSchema)]
#[schema(as = AnalysisDocument)]
pub struct AnalysisDocument {
    /// SHA-256 of the text.
    #[schema(pattern = "^sha256:[0-9a-f]{64}$")]
    pub digest: String,
    /// Its length.
    pub bytes: u64,
    /// `pass` or `deny`.
    pub verdict: String,
    /// All findings, by place.
    pub findings: Vec<Finding>,
    /// How many of each level.
    pub counts: BTreeMap<String, u64>,
    /// Rules that block, each once.
    pub blocking: Vec<String>,
    /// Waived findings, with the waiver's words.
    pub waived: Vec<Waived>,
    /// Waivers that would have covered a finding and have run out, each once.
    pub expired_waivers: Vec<Waived>,
    /// Why it is denied, in a sentence; null when it passes.
    #[schema(required = true)]
    pub message: Option<String>,
    /// What to do; null when it passes.
    #[schema(required = true)]
    pub remedy: Option<String>,
}

/// One rule at one place.
#[derive(ToSchema)]
#[schema(as = Finding)]
pub struct Finding {
    /// The rule.
    #[schema(examples("ST003"))]
    pub rule: String,
    /// Its level under the policy in force.
    pub level: Level,
    /// 1-based line.
    #[schema(minimum = 1)]
    pub line: u64,
    /// 1-based column, in characters.
    #[schema(minimum = 1)]
    pub column: u64,
    /// From and to, in bytes of the text.
    #[schema(min_items = 2, max_items = 2)]
    pub span: Vec<u64>,
    /// What was seen, here. Holds the submitter's bytes: escape before printing.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The correction, where it is mechanical.
    #[schema(required = false, nullable = false)]
    pub fix: Option<Fix>,
}

/// A correction that keeps what the author meant.
#[derive(ToSchema)]
#[schema(as = Fix)]
pub struct Fix {
    /// What it does.
    pub title: String,
    /// In ascending order, and apart from each other.
    pub edits: Vec<Edit>,
}

/// Text that takes the place of a range.
#[derive(ToSchema)]
#[schema(as = Edit)]
pub struct Edit {
    /// From and to, in bytes of the text.
    #[schema(min_items = 2, max_items = 2)]
    pub span: Vec<u64>,
    /// What comes in its place.
    pub text: String,
}

/// A finding that a waiver of the operator lets pass, or would have.
#[derive(ToSchema)]
#[schema(as = Waived)]
pub struct Waived {
    /// The rule of the finding, the vulnerability's id, or `secret:` and its rule.
    pub rule: String,
    /// 1-based line of the finding.
    pub line: Option<u64>,
    /// The vulnerable package, or the secret's path.
    pub at: Option<String>,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// Until when.
    pub expires: String,
}

/// What the scanner said.
#[derive(ToSchema)]
#[schema(as = Scan)]
pub struct Scan {
    /// Vulnerabilities by severity.
    pub counts: BTreeMap<String, u64>,
    /// Those that block.
    pub blocking: Vec<Vulnerability>,
    /// Secrets found.
    pub secrets: Vec<Secret>,
    /// Vulnerabilities and secrets that would block but for a waiver.
    pub waived: Vec<Waived>,
    /// Waivers that would have covered one and have run out.
    pub expired_waivers: Vec<Waived>,
    /// All vulnerabilities.
    pub vulnerabilities: Vec<Vulnerability>,
    /// What the scanner says of the Dockerfile: informs only.
    pub misconfigurations: Vec<Misconfiguration>,
    /// Operating system.
    #[schema(required = true)]
    pub os: Option<String>,
    /// Packages seen.
    pub packages: u64,
    /// The scanner.
    pub scanner: String,
    /// Its image's id.
    pub scanner_image: String,
    /// Real or fixture.
    pub database_kind: DatabaseKind,
    /// When the database was made.
    #[schema(format = DateTime)]
    pub database_updated_at: String,
    /// SHA-256 of the database file.
    pub database_sha256: String,
    /// When its part for Java archives was made, if it has one.
    #[schema(required = true, format = DateTime)]
    pub java_database_updated_at: Option<String>,
    /// SHA-256 of the SBOM.
    #[schema(required = true)]
    pub sbom_sha256: Option<String>,
}

/// One vulnerability in one package.
#[derive(ToSchema)]
#[schema(as = Vulnerability)]
pub struct Vulnerability {
    /// Its id.
    #[schema(examples("CVE-2023-45853"))]
    pub id: String,
    /// Package name.
    pub package: String,
    /// Installed version.
    pub installed: String,
    /// First fixed version, when there is one.
    #[schema(required = true)]
    pub fixed: Option<String>,
    /// Severity.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// Where it was found.
    pub target: String,
    /// The base has it, and the image neither shows it nor shows the package in another version.
    pub kept_from_base: bool,
}

/// A secret in the image. The secret itself is never kept.
#[derive(ToSchema)]
#[schema(as = Secret)]
pub struct Secret {
    /// The scanner's rule.
    pub rule: String,
    /// Severity.
    pub severity: Severity,
    /// The file.
    pub path: String,
    /// First line of it.
    pub line: u64,
}

/// What the scanner says of the Dockerfile.
#[derive(ToSchema)]
#[schema(as = Misconfiguration)]
pub struct Misconfiguration {
    /// Its id.
    pub id: String,
    /// Severity.
    pub severity: Severity,
    /// One line.
    pub message: String,
    /// 1-based line of the Dockerfile, when told.
    #[schema(required = true)]
    pub line: Option<u64>,
}

/// The built image.
#[derive(ToSchema)]
#[schema(as = Image)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Layers of the base.
    pub base_layers: u64,
    /// New layers.
    pub new_layers: u64,
    /// Bytes of the new layers, uncompressed.
    pub new_bytes: u64,
    /// The user that it names: by the last `USER`, or by its base. The run has one of its own all the same.
    pub user: String,
    /// Bases.
    pub bases: Vec<Base>,
}

/// One base.
#[derive(ToSchema)]
#[schema(as = Base)]
pub struct Base {
    /// Completed name.
    pub name: String,
    /// Image id.
    pub id: String,
    /// Registry digest, when it came from one.
    #[schema(required = true)]
    pub repo_digest: Option<String>,
    /// The user that it names; empty is root.
    pub user: String,
}

/// What was used. What could not be measured is null, never 0.
#[derive(ToSchema)]
#[schema(as = Usage)]
pub struct Usage {
    /// Wall time, in seconds.
    #[schema(required = true)]
    pub wall_s: Option<f64>,
    /// Processor time, in seconds.
    #[schema(required = true)]
    pub cpu_s: Option<f64>,
    /// Highest memory, in bytes.
    #[schema(required = true)]
    pub memory_peak: Option<u64>,
    /// Out-of-memory kills, of children too.
    #[schema(required = true)]
    pub oom_events: Option<u64>,
    /// Refused forks.
    #[schema(required = true)]
    pub pids_events: Option<u64>,
    /// Bytes in `/data` at exit.
    #[schema(required = true)]
    pub data_bytes: Option<u64>,
    /// Where each value came from.
    pub sources: BTreeMap<String, String>,
}

/// The walls that stood around a build or a run.
#[derive(ToSchema)]
#[schema(as = Walls)]
pub struct Walls {
    /// Engine version.
    pub engine: String,
    /// Runtime of the run.
    pub runtime: String,
    /// Root inside is not root outside.
    pub user_namespace: bool,
    /// Kernel release.
    pub kernel: String,
    /// cgroup version.
    pub cgroup: String,
    /// Network of the guest.
    pub network: String,
    /// System call filter.
    pub seccomp: String,
    /// The AppArmor profile that the probe saw, `unconfined`, or `absent`.
    pub apparmor: String,
    /// Capabilities left.
    pub capabilities: Vec<String>,
    /// The root file system cannot be written.
    pub read_only_root: bool,
    /// The guest cannot gain privileges.
    pub no_new_privileges: bool,
    /// `uid:gid` inside.
    pub user: String,
    /// The strongest level whose walls all stand: `namespaces`, `userns`, `gvisor`, `kata`; null when nothing was
    /// proven.
    #[schema(required = true)]
    pub level: Option<String>,
    /// The walls that stand, by name: `seen` by a probe inside, or only `told` by the Engine.
    pub proven: BTreeMap<String, String>,
}

/// What a stage asked of the egress proxy.
#[derive(ToSchema)]
#[schema(as = Egress)]
pub struct Egress {
    /// In the order in which they ended, at most 1,000.
    pub requests: Vec<EgressRequest>,
    /// How many more there were.
    pub more: u64,
}

/// One request. Texts are the guest's.
#[derive(ToSchema)]
#[schema(as = EgressRequest)]
pub struct EgressRequest {
    /// Which host was asked for, by name.
    pub host: String,
    /// At which port.
    pub port: u16,
    /// `GET`, `CONNECT` and so on.
    pub method: String,
    /// Bytes that were sent to it.
    pub bytes_up: u64,
    /// Bytes that came from it.
    pub bytes_down: u64,
    /// SHA-256 of a body that came in plain text; null where nobody could see it.
    #[schema(required = true, pattern = "^sha256:[0-9a-f]{64}$")]
    pub sha256: Option<String>,
    /// `allowed`, `refused`, or `failed` when it was allowed and broke off.
    #[schema(pattern = "^(allowed|refused|failed)$")]
    pub verdict: String,
    /// Why, when it was refused or broke off.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// Status of the answer.
    #[schema(required = true)]
    pub status: Option<u16>,
}

/// The result.
#[derive(ToSchema)]
#[schema(as = Result)]
pub struct JobResult {
    /// Path in the guest.
    pub path: String,
    /// The value: any JSON.
    #[schema(value_type = Value)]
    pub value: (),
    /// SHA-256 of the exact bytes.
    #[schema(pattern = "^sha256:[0-9a-f]{64}$")]
    pub sha256: String,
    /// Their number.
    pub bytes: u64,
}

/// Another file of `/data`.
#[derive(ToSchema)]
#[schema(as = ArtifactView)]
pub struct ArtifactView {
    /// Its name, escaped.
    pub name: String,
    /// Its size, when it was read.
    #[schema(required = true)]
    pub bytes: Option<u64>,
    /// SHA-256 of its bytes, when they were read.
    #[schema(required = true)]
    pub sha256: Option<String>,
    /// Why it was not kept, when it was not.
    #[schema(required = true)]
    pub skipped: Option<String>,
}

/// Another file of `/data`, and where its bytes are.
#[derive(ToSchema)]
#[schema(as = Artifact)]
pub struct Artifact {
    /// Its name, escaped.
    pub name: String,
    /// Its size, when it was read.
    #[schema(required = true)]
    pub bytes: Option<u64>,
    /// SHA-256 of its bytes, when they were read.
    #[schema(required = true)]
    pub sha256: Option<String>,
    /// Why it was not kept, when it was not.
    #[schema(required = true)]
    pub skipped: Option<String>,
    /// Where its bytes are; null when they were not kept.
    #[schema(required = true)]
    pub href: Option<String>,
}

/// Files of `/data`.
#[derive(ToSchema)]
#[schema(as = ArtifactList)]
pub struct ArtifactList {
    /// The files, by name.
    pub artifacts: Vec<Artifact>,
}

/// A worker.
#[derive(ToSchema)]
#[schema(as = Worker)]
pub struct Worker {
    /// Its name: unique for each process.
    pub name: String,
    /// Its host, by name.
    pub host: String,
    /// Seatrial's version.
    pub version: String,
    /// Jobs at a time.
    pub slots: u64,
    /// Jobs it holds.
    pub busy: u64,
    /// Takes no more jobs: it is going.
    pub draining: bool,
    /// Why it does not claim; null when it does.
    #[schema(required = true)]
    pub unfit: Option<String>,
    /// Walls that it tested, around a build.
    #[schema(required = true)]
    pub build_walls: Option<Walls>,
    /// The same around a run.
    #[schema(required = true)]
    pub walls: Option<Walls>,
    /// When its vulnerability database was made.
    #[schema(required = true, format = DateTime)]
    pub database_updated_at: Option<String>,
    /// When it started, by its own clock.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// Last beat, by the ledger's clock.
    #[schema(required = true, format = DateTime)]
    pub seen_at: Option<String>,
    /// It takes jobs.
    pub fit: bool,
}

/// Workers that live.
#[derive(ToSchema)]
#[schema(as = WorkerList)]
pub struct WorkerList {
    /// By name.
    pub workers: Vec<Worker>,
}

/// How the queue stands.
#[derive(ToSchema)]
#[schema(as = Queue)]
pub struct Queue {
    /// Jobs that wait, by priority; delayed ones count.
    pub waiting: BTreeMap<String, u64>,
    /// How long the first of each priority has waited, in seconds.
    pub oldest_s: BTreeMap<String, f64>,
    /// Jobs that are held by workers.
    pub running: u64,
}

/// What an acknowledgement is worth.
#[derive(ToSchema)]
#[schema(as = Durability)]
pub struct Durability {
    /// `memory`, `sqlite`, `redis`.
    pub kind: String,
    /// An acknowledged job survives the loss of the process and of power.
    pub durable: bool,
    /// What it rests on.
    pub how: String,
}

/// What this process is.
#[derive(ToSchema)]
#[schema(as = Version)]
pub struct Version {
    /// Of this process.
    pub version: String,
    /// Of the API.
    pub api: String,
    /// Of stored records.
    pub schema: u32,
    /// What an acknowledgement is worth.
    pub ledger: Durability,
    /// Losing acknowledged jobs is allowed here.
    pub allow_loss: bool,
}
