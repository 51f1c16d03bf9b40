//! `seatrial analyze`: the judge alone.

use anyhow::Result;
use jiff::Timestamp;
use seatrial_core::job::Ending;
use seatrial_pipeline::admission;

use crate::{
    cli::{AnalyzeArgs, AnalyzeFormat, Cli},
    config::Config,
    show,
};

/// Judges files; 3 when something blocks in any of them.
pub(crate) fn run(cli: &Cli, config: &Config, args: &AnalyzeArgs) -> Result<u8> {
    let policy = super::policy(config, args.policy.as_deref())?;
    let mut judged = Vec::new();
    for path in &args.files {
        let text = super::read_bounded(path, policy.limits.dockerfile.as_u64())?;
        let admitted = admission::admit(&policy, &text, Timestamp::now());
        judged.push((path.display().to_string(), text, admitted));
    }
    let denied = judged
        .iter()
        .any(|(_, _, admitted)| matches!(admitted.verdict, admission::Verdict::Deny(_)));
    match args.format {
        AnalyzeFormat::Json => {
            let files: Vec<_> = judged.iter().map(|(path, _, admitted)| {
                serde_json::json!({
                    "path": path,
                    "verdict": if matches!(admitted.verdict, admission::Verdict::Deny(_)) { "deny" } else { "pass" },
                    "digest": admitted.digest,
                    "findings": admitted.analysis.findings,
                    "blocking": admitted.analysis.blocking,
                    "waived": admitted.analysis.waived,
                })
            }).collect();
            super::print_json(&serde_json::json!({"version": 1, "files": files}))?;
        }
        AnalyzeFormat::Line => {
            for (path, _, admitted) in &judged {
                for finding in &admitted.analysis.findings {
                    super::print(&show::findings::line(path, finding));
                }
            }
        }
        AnalyzeFormat::Text => {
            for (path, text, admitted) in &judged {
                if !cli.quiet {
                    let findings = show::findings::text(path, text, &admitted.analysis.findings);
                    if !findings.is_empty() {
                        super::print(&findings);
                    }
                }
                super::print(&summary(path, admitted));
            }
        }
    }
    Ok(if denied { Ending::Rejected.exit_code() } else { 0 })
}

fn summary(path: &str, admitted: &admission::Admitted) -> String {
    let path = seatrial_core::finding::escape_untrusted(path);
    let found = admitted.analysis.findings.len();
    match &admitted.verdict {
        admission::Verdict::Pass(_) if found == 0 => format!("{path}: pass, nothing found"),
        admission::Verdict::Pass(_) => format!("{path}: pass, {found} finding(s) that do not block"),
        admission::Verdict::Deny(outcome) => {
            let help = outcome
                .remedy
                .as_deref()
                .map(|remedy| format!("\n  help: {remedy}"))
                .unwrap_or_default();
            let message = seatrial_core::finding::escape_untrusted(&outcome.message);
            format!(
                "{path}: deny. {message}{}",
                seatrial_core::finding::escape_untrusted(&help).replacen("\\n", "\n", 1)
            )
        }
    }
}
