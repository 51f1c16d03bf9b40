//! `seatrial policy explain`: why, and what would change it.

use std::{borrow::Cow, fmt::Write as _, path::Path};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use seatrial_core::{
    digest::Digest,
    finding::{Finding, escape_untrusted},
    id::JobId,
    job::{Blame, Ending},
    scanner::{Database, DatabaseKind, ScanReport},
    view::{JobView, ScanView, StateWord},
};
use seatrial_dockerfile::rules;
use seatrial_pipeline::admission;
use seatrial_policy::{
    Checked, Policy,
    explain::{Explanation, Flip, Subject, explain},
};
use serde_json::json;

use crate::{
    cli::{Cli, OutputFormat, policy::ExplainArgs},
    client,
    command::{self, remote},
    config::Config,
    rego::Processes,
};

/// Largest document of a job that is read, in bytes.
const MAX_DOCUMENT: u64 = 64 << 20;
/// Most things of a kind that are shown one by one; JSON has all of them.
const SHOWN: usize = 20;

/// Explains a Dockerfile or a job; exits as its verdict.
pub(crate) async fn run(cli: &Cli, config: &Config, args: &ExplainArgs) -> Result<u8> {
    let policy = command::policy(config, &args.policy)?;
    let path = Path::new(&args.subject);
    if let (Ok(id), false) = (args.subject.parse::<JobId>(), path.exists()) {
        let client = remote::client(cli, &args.server, "")?;
        let job = client::job(&client, id).await?;
        return of_job(&policy, &job.view, args.format);
    }
    let bytes = command::read_bounded(path, MAX_DOCUMENT)?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        let job: JobView = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} begins like JSON and is not the document of a job, as `seatrial run --format json` and `seatrial \
                 status --format json` print it",
                path.display()
            )
        })?;
        return of_job(&policy, &job, args.format);
    }
    of_file(&policy, &args.subject, &bytes, args.format)
}

fn of_file(policy: &Policy, name: &str, text: &[u8], format: OutputFormat) -> Result<u8> {
    let max = policy.limits.dockerfile.as_u64();
    if text.len() as u64 > max {
        bail!(
            "{name} has {} bytes and limits.dockerfile allows {max}: it is denied unread; make it smaller, or have the \
             operator raise the limit",
            text.len()
        );
    }
    let parsed = seatrial_dockerfile::parse(text);
    let (mut findings, mut facts) = admission::look(policy, text, &parsed, &Processes);
    if let Checked::Found(found) = &mut facts.checked {
        // Changes are tried on findings: those of the operator's checks are like any other here.
        findings.append(found);
    }
    let subject = Subject {
        findings,
        facts: Some(facts),
        scan: None,
    };
    let explanation = explain(policy, &subject, Timestamp::now());
    match format {
        OutputFormat::Json => command::print_json(&json!({
            "version": 1,
            "subject": {"kind": "dockerfile", "name": name},
            "explanation": explanation,
        }))?,
        OutputFormat::Text => command::print(&text_of(name, &explanation)),
    }
    Ok(code(&explanation))
}

fn of_job(policy: &Policy, job: &JobView, format: OutputFormat) -> Result<u8> {
    let at = job.finished_at.unwrap_or_else(Timestamp::now);
    let subject = Subject {
        findings: at_their_own_levels(&job.analysis.findings),
        // What expressions said is among the document's findings.
        facts: None,
        scan: job.scan.as_ref().map(report),
    };
    let explanation = explain(policy, &subject, at);
    let notes = notes(job, &explanation);
    match format {
        OutputFormat::Json => command::print_json(&json!({
            "version": 1,
            "subject": {
                "kind": "job",
                "name": job.id,
                "state": job.state,
                "reason": job.reason,
                "blame": job.blame,
                "message": job.message,
                "remedy": job.remedy,
            },
            "judged_at": at,
            "notes": notes,
            "explanation": explanation,
        }))?,
        OutputFormat::Text => {
            let mut out = String::new();
            let message = job.message.as_deref().unwrap_or("it is not over");
            let _ = writeln!(out, "{}: {}", job.id, escape_untrusted(message));
            if let Some(remedy) = &job.remedy {
                let _ = writeln!(out, "  help: {}", escape_untrusted(remedy));
            }
            for note in notes {
                let _ = writeln!(out, "  note: {note}");
            }
            out.push_str(&text_of(&job.id.to_string(), &explanation));
            command::print(&out);
        }
    }
    Ok(code(&explanation))
}

/// What the document says beside what the policy here makes of it.
fn notes(job: &JobView, explanation: &Explanation) -> Vec<String> {
    let mut notes = Vec::new();
    let was = match job.state {
        StateWord::Ended(Ending::Rejected) => "deny",
        StateWord::Ended(Ending::Succeeded | Ending::Failed) => "pass",
        StateWord::Ended(_) | StateWord::Open(_) => "",
    };
    if let (StateWord::Ended(ending), Some(blame)) = (job.state, job.blame)
        && !matches!(ending, Ending::Succeeded | Ending::Rejected)
        && blame != Blame::Policy
    {
        notes.push(format!(
            "it ended as {}, which no policy decided; what follows is what the policy says of it",
            ending.to_string().replace('_', " ")
        ));
    }
    if was == "deny" && explanation.verdict == "pass" {
        notes.push(
            "the policy here lets pass what the job's findings and report show: it was judged by another one, or for \
             something that only the build showed"
                .to_owned(),
        );
    }
    if was == "pass" && explanation.verdict != "pass" {
        notes.push("the job was let pass by another policy than the one here".to_owned());
    }
    if job.scan.is_none() {
        notes.push("it was not scanned: nothing is known of vulnerabilities".to_owned());
    }
    notes
}

/// A document has levels as that job's policy weighed them; this policy begins with the rules' own.
fn at_their_own_levels(findings: &[Finding]) -> Vec<Finding> {
    let own = |finding: &Finding| {
        let level = rules::rules()
            .find(|rule| rule.id == finding.rule)
            .map(|rule| rule.level);
        Finding {
            level: level.unwrap_or(finding.level),
            ..finding.clone()
        }
    };
    findings.iter().map(own).collect()
}

/// The report, as far as a document keeps it.
fn report(scan: &ScanView) -> (Cow<'static, ScanReport>, bool) {
    let report = ScanReport {
        image: Digest::of(b""),
        scanner: scan.scanner.clone(),
        scanner_image: scan.scanner_image.clone(),
        database: Database {
            kind: scan.database_kind,
            updated_at: scan.database_updated_at,
            sha256: scan.database_sha256.clone(),
            volume: String::new(),
            java: None,
        },
        os: scan.os.clone(),
        packages: scan.packages,
        vulnerabilities: scan.vulnerabilities.clone(),
        secrets: scan.secrets.clone(),
        sbom: None,
    };
    // A job with a fixture was allowed to use it.
    (Cow::Owned(report), scan.database_kind == DatabaseKind::Fixture)
}

fn code(explanation: &Explanation) -> u8 {
    match explanation.verdict {
        "pass" => 0,
        "deny" => Ending::Rejected.exit_code(),
        _ => Ending::Errored.exit_code(),
    }
}

fn text_of(name: &str, explanation: &Explanation) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}: {}", escape_untrusted(name), explanation.verdict);
    for blocker in explanation.blocking.iter().take(SHOWN) {
        let [place, message, remedy] =
            [&blocker.place, &blocker.message, &blocker.remedy].map(|text| escape_untrusted(text));
        let rule = escape_untrusted(&blocker.rule);
        let _ = writeln!(out, "  blocks {rule}, {place}: {message}");
        let _ = writeln!(out, "         because {}; {remedy}", blocker.because);
    }
    more(&mut out, explanation.blocking.len());
    for waived in explanation.waived.iter().take(SHOWN) {
        let [rule, place, owner, reason] = [&waived.rule, &waived.place, &waived.waiver.owner, &waived.waiver.reason]
            .map(|text| escape_untrusted(text));
        let _ = writeln!(
            out,
            "  waived {rule}, {place}: by {owner} until {}: {reason}",
            waived.waiver.expires
        );
    }
    more(&mut out, explanation.waived.len());
    for waiver in &explanation.expired {
        let [rule, owner] = [&waiver.rule, &waiver.owner].map(|text| escape_untrusted(text));
        let _ = writeln!(out, "  ended  the waiver of {rule} by {owner}, on {}", waiver.expires);
    }
    if let Some(day) = &explanation.turns_on {
        let _ = writeln!(out, "  until  {day}: then it is denied, for a waiver has run out");
    }
    if !explanation.changes.is_empty() {
        let _ = writeln!(out, "  one change alone:");
    }
    for tried in explanation.changes.iter().take(SHOWN) {
        let effect = match (tried.turns, tried.still_blocking) {
            (true, 0) => "it passes".to_owned(),
            (true, _) => "it is denied".to_owned(),
            (false, left) => format!("{left} of {} still block", explanation.blocking.len()),
        };
        let _ = writeln!(out, "    {}: {effect}", escape_untrusted(&tried.text));
    }
    more(&mut out, explanation.changes.len());
    flips(&mut out, explanation);
    out
}

fn flips(out: &mut String, explanation: &Explanation) {
    let Some(smallest) = &explanation.smallest else {
        let _ = match explanation.verdict {
            "pass" => writeln!(out, "  nothing was found that a stricter policy could deny"),
            "deny" => writeln!(out, "  no change that is known makes it pass"),
            _ => Ok(()),
        };
        return;
    };
    flip(out, "smallest change", smallest);
    for (who, other) in [
        ("in the file alone", &explanation.by_author),
        ("in the policy alone", &explanation.by_operator),
    ] {
        match other {
            Some(other) if other != smallest => flip(out, who, other),
            None if explanation.verdict == "deny" => {
                let conditions = explanation
                    .blocking
                    .iter()
                    .any(|blocker| blocker.rule.starts_with(seatrial_policy::expressions::PREFIX));
                let _ = match conditions {
                    // What would satisfy a condition is not worked out.
                    true => writeln!(
                        out,
                        "  {who}: not searched, for a condition of the operator's own blocks"
                    ),
                    false => writeln!(out, "  {who}: nothing makes it pass"),
                };
            }
            _ => {}
        }
    }
}

fn flip(out: &mut String, title: &str, flip: &Flip) {
    let count = flip.changes.len();
    let all = if count == 1 {
        String::new()
    } else {
        format!(", all {count}")
    };
    let _ = writeln!(out, "  {title} (by the {}{all}), then {}:", flip.by, flip.to);
    for text in flip.text.iter().take(SHOWN) {
        let _ = writeln!(out, "    {}", escape_untrusted(text));
    }
    more(out, count);
}

fn more(out: &mut String, count: usize) {
    if count > SHOWN {
        let _ = writeln!(out, "    … and {} more; --format json shows them all", count - SHOWN);
    }
}
