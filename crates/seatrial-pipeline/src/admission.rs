//! Text -> admitted, or settled at once as rejected. Needs no Engine and no network.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use seatrial_core::{
    digest::Digest,
    finding::{Finding, Level, Span},
    job::{Blame, Outcome, Reason},
    view::{AnalysisView, WaivedView},
};
use seatrial_dockerfile::{Parsed, rules};
use seatrial_policy::{self as policy, Checked, Facts, Judgement, Policy, Rego, Waiver};

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

/// Works the operator's checks in Rego out, or says who does. Blocks until it knows.
pub trait Checks: Send + Sync {
    /// What the checks of a policy say of a file that can be read.
    fn check(&self, rego: &Rego, parsed: &Parsed) -> Checked;
}

/// Leaves the checks to the worker, which judges each job once more before it builds anything: who takes submissions
/// starts no process for them.
#[derive(Clone, Copy, Debug)]
pub struct LeftToTheWorker;

impl Checks for LeftToTheWorker {
    fn check(&self, _: &Rego, _: &Parsed) -> Checked {
        Checked::Left
    }
}

/// Works nothing out: a policy with checks denies.
#[derive(Clone, Copy, Debug)]
pub struct NoChecks;

impl Checks for NoChecks {
    fn check(&self, _: &Rego, _: &Parsed) -> Checked {
        Checked::Not
    }
}

/// Judges a text. With checks in the policy this may take as long as its `rego.deadline` says.
#[must_use]
pub fn admit(policy: &Policy, text: &[u8], now: Timestamp, checks: &dyn Checks) -> Admitted {
    let digest = Digest::of(text);
    let bytes = text.len();
    let max = policy.limits.dockerfile.as_u64();
    if bytes as u64 > max {
        const REMEDY: &str = "Make it smaller: put programs into the build context and COPY them.";
        let message = format!("The Dockerfile has more than {max} bytes.");
        let analysis = AnalysisView {
            verdict: "deny".into(),
            findings: vec![Finding {
                rule: UNPARSABLE.into(),
                level: Level::Error,
                line: 1,
                column: 1,
                span: Span::new(0, 0),
                message: message.clone(),
                remedy: REMEDY.into(),
                fix: None,
            }],
            counts: BTreeMap::from([(Level::Error, 1)]),
            blocking: vec![UNPARSABLE.into()],
            ..AnalysisView::default()
        };
        let outcome = Outcome::rejected(Reason::Unparsable, message).with_remedy(REMEDY);
        return Admitted {
            digest,
            bytes,
            analysis,
            verdict: Verdict::Deny(Box::new(outcome)),
        };
    }
    let parsed = seatrial_dockerfile::parse(text);
    let (findings, facts) = look(policy, text, &parsed, checks);
    let unparsable = !parsed.errors.is_empty();
    let judgement = policy::judge_with(policy, &findings, Some(&facts), now);
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

/// The same, now, for whoever has others waiting on its thread: checks wait on another one for their process.
pub async fn admit_aside(policy: &Policy, text: &[u8], checks: Arc<dyn Checks>) -> Admitted {
    let now = Timestamp::now();
    if !policy.rego.is_on() {
        return admit(policy, text, now, &*checks);
    }
    let (policy, text) = (policy.clone(), text.to_vec());
    match tokio::task::spawn_blocking(move || admit(&policy, &text, now, &*checks)).await {
        Ok(admitted) => admitted,
        Err(broken) => match broken.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and we with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// What the rules find, what the operator's expressions look at, and what came of the checks.
#[must_use]
pub fn look(policy: &Policy, text: &[u8], parsed: &Parsed, checks: &dyn Checks) -> (Vec<Finding>, Facts) {
    // The rules ask about each base by its completed name, with variables put in.
    let bases = RefCell::new(BTreeSet::new());
    let allowed = |name: &str| {
        bases.borrow_mut().insert(name.to_owned());
        policy.base_allowed(name)
    };
    let context = rules::Context {
        allowed: &allowed,
        pinned: policy.bases.require_digest,
    };
    let findings = rules::analyze(text, parsed, &context);
    let mut facts = Facts {
        bytes: text.len() as u64,
        bases: bases.into_inner().into_iter().collect(),
        ..Facts::default()
    };
    if policy.rego.is_on() {
        facts.checked = match parsed.errors.is_empty() {
            true => checks.check(&policy.rego, parsed),
            // It is denied in any case, and what could be read of it is no file.
            false => Checked::Found(Vec::new()),
        };
    }
    if policy.expressions.is_empty() {
        return (findings, facts);
    }
    for instruction in &parsed.dockerfile.instructions {
        *facts
            .counts
            .entry(instruction.keyword.as_str().to_ascii_lowercase())
            .or_default() += 1;
    }
    facts.labels = rules::labels(parsed);
    (findings, facts)
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
                line: Some(finding.line),
                ..of_waiver(&finding.rule, waiver)
            })
            .collect(),
        expired_waivers: judgement
            .expired_waivers
            .iter()
            .map(|waiver| of_waiver(&waiver.rule, waiver))
            .collect(),
    }
}

/// A waiver's words.
pub(crate) fn of_waiver(rule: &str, waiver: &Waiver) -> WaivedView {
    WaivedView {
        rule: rule.to_owned(),
        line: None,
        at: None,
        reason: waiver.reason.clone(),
        owner: waiver.owner.clone(),
        expires: waiver.expires.to_string(),
    }
}
