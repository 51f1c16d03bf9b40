//! Text -> admitted, or settled at once as rejected. Needs no Engine and no network.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use seatrial_core::{
    digest::Digest,
    finding::Finding,
    job::{Blame, Outcome, Reason},
    view::{AnalysisView, WaivedView},
};
use seatrial_dockerfile::{Parsed, rules};
use seatrial_policy::{self as policy, Judgement, Policy};

use crate::case::Case;

/// The rule of text that does not parse.
pub const UNPARSABLE: &str = "ST040";

/// What admission found.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// SHA-256 of the text.
    pub digest: Digest,
    /// Its length.
    pub bytes: usize,
    /// All findings, as the policy weighs them.
    pub analysis: AnalysisView,
    /// Whether it may go on.
    pub verdict: Verdict,
}

/// Whether a text may go on.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It may; this is what was read.
    Pass(Box<Parsed>),
    /// It may not.
    Deny(Box<Outcome>),
}

/// Judges a text.
#[must_use]
pub fn admit(policy: &Policy, text: &[u8], now: Timestamp) -> Admitted {
    let digest = Digest::of(text);
    let bytes = text.len();
    let max = policy.limits.dockerfile.as_u64();
    if bytes as u64 > max {
        let outcome = Outcome::rejected(
            Reason::Unparsable,
            format!("The Dockerfile has {bytes} bytes; {max} are allowed."),
        )
        .with_remedy("Make it smaller: put programs into the build context and COPY them.");
        let analysis = AnalysisView {
            verdict: "deny".into(),
            ..AnalysisView::default()
        };
        return Admitted {
            digest,
            bytes,
            analysis,
            verdict: Verdict::Deny(Box::new(outcome)),
        };
    }
    let parsed = seatrial_dockerfile::parse(text);
    let allowed = |name: &str| policy.base_allowed(name);
    let findings = rules::analyze(text, &parsed, &rules::Context { allowed: &allowed });
    let unparsable = !parsed.errors.is_empty();
    let judgement = policy::judge(policy, &findings, now);
    let analysis = view(&judgement);
    let verdict = match judgement.verdict {
        policy::Verdict::Pass if !unparsable => Verdict::Pass(Box::new(parsed)),
        // Text that we cannot read goes nowhere, whatever a policy makes of the rule's level.
        policy::Verdict::Pass | policy::Verdict::Deny => Verdict::Deny(Box::new(denial(&judgement, unparsable))),
    };
    Admitted {
        digest,
        bytes,
        analysis,
        verdict,
    }
}

/// Judges findings that only the resolve stage could make, and adds them to the evidence.
#[must_use]
pub fn reject(case: &Case, findings: Vec<Finding>) -> Outcome {
    let rules: BTreeSet<&str> = findings.iter().map(|finding| &*finding.rule).collect();
    let first = findings
        .first()
        .map(|finding| format!(" Line {}: {}.", finding.line, finding.message.trim_end_matches('.')))
        .unwrap_or_default();
    let remedy = findings.first().map(|finding| finding.remedy.to_string());
    let outcome = Outcome::rejected(
        Reason::FindingsBlock,
        format!(
            "{} finding(s) block: {}.{first}",
            findings.len(),
            rules.iter().copied().collect::<Vec<_>>().join(", ")
        ),
    );
    case.evidence().late_findings.extend(findings);
    match remedy {
        Some(remedy) => outcome.with_remedy(remedy),
        None => outcome,
    }
}

fn denial(judgement: &Judgement, unparsable: bool) -> Outcome {
    if unparsable {
        let errors: Vec<&Finding> = judgement
            .findings
            .iter()
            .filter(|finding| finding.rule == UNPARSABLE)
            .collect();
        let first = errors
            .first()
            .map(|finding| format!(": line {}, {}", finding.line, finding.message.trim_end_matches('.')))
            .unwrap_or_default();
        return Outcome::rejected(
            Reason::Unparsable,
            format!(
                "The file cannot be read as a Dockerfile ({} error(s)){first}.",
                errors.len()
            ),
        )
        .blamed_on(Blame::Guest)
        .with_remedy("Correct the places that are shown; `docker build --check` reads files in the same way.");
    }
    let rules: BTreeSet<&str> = judgement
        .blocking
        .iter()
        .map(|blocked| &*blocked.finding.rule)
        .collect();
    let places: Vec<String> = judgement
        .blocking
        .iter()
        .take(5)
        .map(|blocked| format!("{} at line {}", blocked.finding.rule, blocked.finding.line))
        .collect();
    let more = judgement.blocking.len().saturating_sub(places.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let remedy = judgement
        .blocking
        .first()
        .map_or_else(String::new, |blocked| blocked.what_would_change_it.clone());
    Outcome::rejected(
        Reason::FindingsBlock,
        format!(
            "{} finding(s) of {} rule(s) block: {}{more}.",
            judgement.blocking.len(),
            rules.len(),
            places.join(", ")
        ),
    )
    .with_remedy(remedy)
}

/// The analysis as users see it.
#[must_use]
pub fn view(judgement: &Judgement) -> AnalysisView {
    let mut counts = BTreeMap::new();
    for finding in &judgement.findings {
        *counts.entry(finding.level).or_default() += 1;
    }
    let blocking: BTreeSet<_> = judgement
        .blocking
        .iter()
        .map(|blocked| blocked.finding.rule.clone())
        .collect();
    AnalysisView {
        verdict: match judgement.verdict {
            policy::Verdict::Pass => "pass".into(),
            policy::Verdict::Deny => "deny".into(),
        },
        findings: judgement.findings.clone(),
        counts,
        blocking: blocking.into_iter().collect(),
        waived: judgement
            .waived
            .iter()
            .map(|(finding, waiver)| WaivedView {
                rule: finding.rule.to_string(),
                reason: waiver.reason.clone(),
                owner: waiver.owner.clone(),
                expires: waiver.expires.to_string(),
            })
            .collect(),
    }
}
