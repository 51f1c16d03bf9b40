//! The job as users see it, put together from the case and its end.

use seatrial_core::{
    finding::escape_untrusted,
    job::{Ending, Outcome, Stage},
    view::{DockerfileView, JobView, StateWord},
};

use crate::case::Case;

/// Lines of log that a job document carries.
const TAIL: usize = 20;

/// The document of a settled job.
#[must_use]
pub fn view(case: &Case, outcome: &Outcome) -> JobView {
    let evidence = case.evidence();
    let mut analysis = case.admitted.analysis.clone();
    if !evidence.late_findings.is_empty() {
        analysis.verdict = "deny";
        for finding in &evidence.late_findings {
            *analysis.counts.entry(finding.level).or_default() += 1;
            if !analysis.blocking.contains(&finding.rule) {
                analysis.blocking.push(finding.rule);
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
    JobView {
        id: case.id,
        state: StateWord::Ended(outcome.ending),
        stage: evidence.stage,
        attempt: evidence.attempts,
        reason: Some(outcome.reason),
        blame: Some(outcome.blame),
        message: Some(escape_untrusted(&outcome.message)),
        remedy: outcome.remedy.as_deref().map(escape_untrusted),
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
        analysis,
        scan: evidence.scan.clone(),
        image: evidence.image.clone(),
        usage: evidence.usage.clone(),
        timings_ms: evidence.timings_ms.clone(),
        walls: evidence.walls.clone(),
        result: evidence.result.clone(),
        artifacts: evidence.artifacts.clone(),
        log_tail,
    }
}
