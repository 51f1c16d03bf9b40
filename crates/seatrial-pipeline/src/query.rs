//! The job as users see it: put together from a case and its end, or from a stored record.

use std::collections::BTreeMap;

use seatrial_core::{
    egress::EgressView,
    finding::escape_untrusted,
    job::{Ending, JobState, Outcome, Stage},
    record::JobRecord,
    view::{AnalysisView, DockerfileView, JobView, Open, Report, StateWord},
};

use crate::case::Case;

/// Lines of log that a job document carries.
const TAIL: usize = 20;

/// What became of a case, whole.
#[must_use]
pub fn report(case: &Case, outcome: &Outcome) -> Report {
    let evidence = case.evidence();
    let mut analysis = case.admitted.analysis.clone();
    if !evidence.late_findings.is_empty() {
        analysis.verdict = "deny".into();
        for finding in &evidence.late_findings {
            *analysis.counts.entry(finding.level).or_default() += 1;
            if !analysis.blocking.contains(&finding.rule) {
                analysis.blocking.push(finding.rule.clone());
            }
            analysis.findings.push(finding.clone());
        }
        analysis.findings.sort_by_key(|finding| finding.span);
    }
    // The log of the stage that ended it; a run that went well shows nothing.
    let ended_in = evidence
        .stage
        .map(|stage| if stage == Stage::Collect { Stage::Run } else { stage });
    let log_tail = match (outcome.ending, ended_in.and_then(|stage| evidence.logs.get(&stage))) {
        (Ending::Succeeded, _) | (_, None) => Vec::new(),
        (_, Some(log)) => log.last_lines(TAIL).iter().map(|line| escape_untrusted(line)).collect(),
    };
    Report {
        message: escape_untrusted(&outcome.message),
        remedy: outcome.remedy.as_deref().map(escape_untrusted),
        analysis,
        scan: evidence.scan.clone(),
        image: evidence.image.clone(),
        usage: evidence.usage.clone(),
        timings_ms: evidence.timings_ms.clone(),
        build_walls: evidence.build_walls.clone(),
        walls: evidence.walls.clone(),
        egress: evidence.asked(),
        result: evidence.result.clone(),
        artifacts: evidence.artifacts.clone(),
        artifact_blobs: BTreeMap::new(),
        log_tail,
    }
}

/// The document of a settled case.
#[must_use]
pub fn view(case: &Case, outcome: &Outcome) -> JobView {
    let report = report(case, outcome);
    let evidence = case.evidence();
    JobView {
        id: case.id,
        state: StateWord::Ended(outcome.ending),
        stage: evidence.stage,
        attempt: evidence.attempts,
        reason: Some(outcome.reason),
        blame: Some(outcome.blame),
        message: Some(report.message),
        remedy: report.remedy,
        queue_position: None,
        created_at: case.created_at,
        started_at: evidence.started_at,
        finished_at: evidence.finished_at,
        deadline_at: case.deadline_at,
        correlation_id: case.correlation_id.clone(),
        labels: case.submission.labels.clone(),
        dockerfile: DockerfileView {
            digest: case.admitted.digest,
            bytes: case.admitted.bytes,
        },
        analysis: report.analysis,
        scan: report.scan,
        image: report.image,
        usage: report.usage,
        timings_ms: report.timings_ms,
        build_walls: report.build_walls,
        walls: report.walls,
        egress: report.egress,
        result: report.result,
        artifacts: report.artifacts,
        log_tail: report.log_tail,
    }
}

/// What the vault holds of a stored job's documents, as far as it could be read.
#[derive(Clone, Debug)]
pub enum Documents {
    /// It is over.
    Report(Box<Report>),
    /// It is not over, or ended before a worker could write a report: what was said of its text, and what its stages
    /// asked of the network so far.
    Admission(Box<AnalysisView>, BTreeMap<Stage, EgressView>),
    /// Their time to live is over.
    Gone,
}

/// The document of a stored job.
#[must_use]
pub fn stored_view(record: &JobRecord, documents: Documents, queue_position: Option<u64>) -> JobView {
    let (state, attempt) = match &record.state {
        // The number of tries made so far; the first has not begun.
        JobState::Queued { attempt } => (StateWord::Open(Open::Queued), attempt.saturating_sub(1)),
        JobState::Running { attempt, .. } => (StateWord::Open(Open::Running), *attempt),
        JobState::Settled(outcome) => (
            StateWord::Ended(outcome.ending),
            record.losses + record.failures + u32::from(record.settled_in_a_try()),
        ),
    };
    let outcome = record.outcome();
    let mut report = match documents {
        Documents::Report(report) => *report,
        Documents::Admission(analysis, egress) => Report {
            analysis: *analysis,
            egress,
            ..Report::default()
        },
        Documents::Gone => Report::default(),
    };
    // A reaper's end has its words in the record: it knows nothing of the guest.
    if let Some(outcome) = outcome.filter(|outcome| !outcome.message.is_empty()) {
        report.message = outcome.message.clone();
        report.remedy = outcome.remedy.clone();
    }
    JobView {
        id: record.id,
        state,
        stage: record.stage,
        attempt,
        reason: outcome.map(|outcome| outcome.reason),
        blame: outcome.map(|outcome| outcome.blame),
        message: outcome.map(|_| report.message),
        remedy: report.remedy,
        queue_position,
        created_at: record.created_at,
        started_at: record.started_at,
        finished_at: record.finished_at,
        deadline_at: record.deadline_at,
        correlation_id: record.correlation_id.clone(),
        labels: record.labels.clone(),
        dockerfile: record.dockerfile.clone(),
        analysis: report.analysis,
        scan: report.scan,
        image: report.image,
        usage: report.usage,
        timings_ms: report.timings_ms,
        build_walls: report.build_walls,
        walls: report.walls,
        egress: report.egress,
        result: report.result,
        artifacts: report.artifacts,
        log_tail: report.log_tail,
    }
}
