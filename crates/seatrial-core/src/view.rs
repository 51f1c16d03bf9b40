//! The job as users see it: the document of the API and of `seatrial run --format json`.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    egress::EgressView,
    engine::Usage,
    finding::{Finding, Level, Severity},
    id::{CorrelationId, JobId},
    job::{Blame, Ending, Reason, Stage},
    scanner::{DatabaseKind, Misconfiguration, Secret, Vulnerability},
    vault::BlobRef,
    walls::Walls,
};

/// `queued`, `running` or how it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StateWord {
    /// Not yet over.
    Open(Open),
    /// Over.
    Ended(Ending),
}

/// The two states of a job that is not over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Open {
    /// Waiting.
    Queued,
    /// A worker has it.
    Running,
}

/// The job document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobView {
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
    /// One sentence.
    pub message: Option<String>,
    /// What to do.
    pub remedy: Option<String>,
    /// Jobs before it; `None` when it does not wait.
    pub queue_position: Option<u64>,
    /// Admission.
    pub created_at: Timestamp,
    /// First claim.
    pub started_at: Option<Timestamp>,
    /// Settlement.
    pub finished_at: Option<Timestamp>,
    /// By when it will have ended, fixed at admission: the worker ends it then.
    pub deadline_at: Timestamp,
    /// Ties logs and events together.
    pub correlation_id: CorrelationId,
    /// The submitter's labels.
    pub labels: BTreeMap<String, String>,
    /// The text, by digest.
    pub dockerfile: DockerfileView,
    /// What the judge said.
    pub analysis: AnalysisView,
    /// What the scanner said; `None` when it did not get that far.
    pub scan: Option<ScanView>,
    /// The built image; `None` when none was built.
    pub image: Option<ImageView>,
    /// What each stage used.
    pub usage: BTreeMap<Stage, Usage>,
    /// How long each stage took, in milliseconds.
    pub timings_ms: BTreeMap<Stage, u64>,
    /// Walls that stood around the build; `None` when nothing was built.
    #[serde(default)]
    pub build_walls: Option<Walls>,
    /// Walls that stood around the run; `None` when nothing ran.
    pub walls: Option<Walls>,
    /// What was asked of the egress proxy, by stage; nothing for stages without one.
    #[serde(default)]
    pub egress: BTreeMap<Stage, EgressView>,
    /// The result, parsed when it is JSON.
    pub result: Option<ResultView>,
    /// Other files of `/data`.
    pub artifacts: Vec<ArtifactView>,
    /// The last lines of the stage that ended it, escaped.
    pub log_tail: Vec<String>,
}

/// What became of a job, whole: lies sealed in the vault when it is over, for it holds guest bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// One sentence.
    pub message: String,
    /// What to do.
    pub remedy: Option<String>,
    /// What the judge said.
    pub analysis: AnalysisView,
    /// What the scanner said; `None` when it did not get that far.
    pub scan: Option<ScanView>,
    /// The built image; `None` when none was built.
    pub image: Option<ImageView>,
    /// What each stage used.
    pub usage: BTreeMap<Stage, Usage>,
    /// How long each stage took, in milliseconds.
    pub timings_ms: BTreeMap<Stage, u64>,
    /// Walls that stood around the build; `None` when nothing was built.
    #[serde(default)]
    pub build_walls: Option<Walls>,
    /// Walls that stood around the run; `None` when nothing ran.
    pub walls: Option<Walls>,
    /// What was asked of the egress proxy, by stage; nothing for stages without one.
    #[serde(default)]
    pub egress: BTreeMap<Stage, EgressView>,
    /// The result, parsed when it is JSON.
    pub result: Option<ResultView>,
    /// Other files of `/data`.
    pub artifacts: Vec<ArtifactView>,
    /// Where their bytes are, by name.
    #[serde(default)]
    pub artifact_blobs: BTreeMap<String, BlobRef>,
    /// The last lines of the stage that ended it, escaped.
    pub log_tail: Vec<String>,
}

/// The Dockerfile, by digest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DockerfileView {
    /// SHA-256 of the text.
    pub digest: Digest,
    /// Its length.
    pub bytes: usize,
}

/// What the judge said.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AnalysisView {
    /// `pass` or `deny`.
    pub verdict: Cow<'static, str>,
    /// All findings, by place.
    pub findings: Vec<Finding>,
    /// How many of each level.
    pub counts: BTreeMap<Level, usize>,
    /// Rules that block, each once.
    pub blocking: Vec<Cow<'static, str>>,
    /// Waived findings, with the waiver's words.
    pub waived: Vec<WaivedView>,
    /// Waivers that would have covered a finding and have run out, each once; `rule` as the operator wrote it.
    #[serde(default)]
    pub expired_waivers: Vec<WaivedView>,
}

impl AnalysisView {
    /// Each finding, with the waiver that lets it pass. Where a rule found several things in a line and a waiver takes
    /// not all of them, none of them counts as waived: nobody could say which.
    pub fn weighed(&self) -> impl Iterator<Item = (&Finding, Option<&WaivedView>)> {
        let mut at: BTreeMap<(&str, usize), (usize, Option<&WaivedView>)> = BTreeMap::new();
        if !self.waived.is_empty() {
            for finding in &self.findings {
                at.entry((&finding.rule, finding.line)).or_default().0 += 1;
            }
            for waived in &self.waived {
                let place = waived.line.and_then(|line| at.get_mut(&(&*waived.rule, line)));
                if let Some((left, by)) = place {
                    *left = left.saturating_sub(1);
                    *by = Some(waived);
                }
            }
        }
        self.findings.iter().map(move |finding| {
            let place = at.get(&(&*finding.rule, finding.line));
            (finding, place.and_then(|(left, by)| by.filter(|_| *left == 0)))
        })
    }

    /// The findings that no waiver lets pass.
    #[must_use]
    pub fn open(&self) -> Cow<'_, [Finding]> {
        if self.waived.is_empty() {
            return Cow::Borrowed(&self.findings);
        }
        let open = self.weighed().filter(|(_, waiver)| waiver.is_none());
        open.map(|(finding, _)| finding.clone()).collect()
    }
}

/// What a waiver of the operator lets pass, or would have.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WaivedView {
    /// The rule of the finding, the vulnerability's id, or `secret:` and its rule.
    pub rule: String,
    /// 1-based line of the finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The vulnerable package, or the secret's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// Until when.
    pub expires: String,
}

/// What the scanner said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScanView {
    /// Vulnerabilities by severity.
    pub counts: BTreeMap<Severity, usize>,
    /// Those that block.
    pub blocking: Vec<Vulnerability>,
    /// Secrets found; each blocks unless the policy says otherwise.
    pub secrets: Vec<Secret>,
    /// Vulnerabilities and secrets that would block but for a waiver, with its words.
    #[serde(default)]
    pub waived: Vec<WaivedView>,
    /// Waivers that would have covered one and have run out, each once; `rule` as the operator wrote it.
    #[serde(default)]
    pub expired_waivers: Vec<WaivedView>,
    /// All vulnerabilities.
    pub vulnerabilities: Vec<Vulnerability>,
    /// What the scanner says of the Dockerfile: informs only.
    pub misconfigurations: Vec<Misconfiguration>,
    /// Operating system.
    pub os: Option<String>,
    /// Packages seen.
    pub packages: usize,
    /// The scanner.
    pub scanner: String,
    /// Its image's id.
    pub scanner_image: String,
    /// Real or fixture.
    pub database_kind: DatabaseKind,
    /// When the database was made.
    pub database_updated_at: Timestamp,
    /// SHA-256 of the database file.
    pub database_sha256: String,
    /// When its part for Java archives was made, if it has one.
    #[serde(default)]
    pub java_database_updated_at: Option<Timestamp>,
    /// SHA-256 of the SBOM.
    pub sbom_sha256: Option<Digest>,
}

/// The built image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageView {
    /// Its id.
    pub id: Digest,
    /// Layers of the base.
    pub base_layers: usize,
    /// New layers.
    pub new_layers: usize,
    /// Bytes of the new layers, uncompressed.
    pub new_bytes: u64,
    /// The user that it names: by the last `USER`, or by its base. The run has one of its own all the same.
    #[serde(default)]
    pub user: String,
    /// Bases, by completed name and id.
    pub bases: Vec<BaseView>,
}

/// One base.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BaseView {
    /// Completed name.
    pub name: String,
    /// Image id.
    pub id: Digest,
    /// Registry digest, when it came from one.
    pub repo_digest: Option<String>,
    /// The user that it names; empty is root.
    #[serde(default)]
    pub user: String,
}

/// The result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResultView {
    /// Path in the guest.
    pub path: String,
    /// The value.
    pub value: serde_json::Value,
    /// SHA-256 of the exact bytes.
    pub sha256: Digest,
    /// Their number.
    pub bytes: usize,
}

/// Another file of `/data`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ArtifactView {
    /// Its name, escaped.
    pub name: String,
    /// Its size, when it was read.
    pub bytes: Option<u64>,
    /// SHA-256 of its bytes, when they were read.
    pub sha256: Option<Digest>,
    /// Why it was not written, when it was not.
    pub skipped: Option<String>,
}
