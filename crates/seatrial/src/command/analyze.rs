//! `seatrial analyze`: the judge alone.

mod document;
mod files;
mod fixes;

use std::{borrow::Cow, path::Path};

use anyhow::{Result, bail};
use jiff::Timestamp;
use seatrial_core::{
    digest::Digest,
    finding::{Finding, Level, escape_untrusted},
    job::{Ending, Outcome},
    view::AnalysisView,
};
use seatrial_pipeline::admission::{self, Verdict};
use seatrial_policy::Policy;
use seatrial_server::sarif;

use crate::{
    cli::{
        Cli,
        analyze::{AnalyzeArgs, AnalyzeFormat},
    },
    config::Config,
    rego::Processes,
    show,
};

/// Most text that a report keeps until it is written.
const MAX_KEPT: usize = 256 << 20;

/// A file and what was found in it.
#[derive(Clone)]
struct Judged {
    /// As it was named, with `/`; not yet escaped.
    path: String,
    text: Vec<u8>,
    /// Of the text; of one that is too large, only the beginning was read.
    digest: Option<Digest>,
    analysis: AnalysisView,
    /// Why it does not pass.
    denial: Option<Outcome>,
}

impl Judged {
    fn of(policy: &Policy, path: String, text: Vec<u8>) -> Self {
        let admitted = admission::admit(policy, &text, Timestamp::now(), &Processes);
        let is_whole = text.len() as u64 <= policy.limits.dockerfile.as_u64();
        Self {
            path,
            text,
            digest: is_whole.then_some(admitted.digest),
            analysis: admitted.analysis,
            denial: match admitted.verdict {
                Verdict::Pass(_) => None,
                Verdict::Deny(outcome) => Some(*outcome),
            },
        }
    }

    fn denied(&self) -> bool {
        self.denial.is_some()
    }

    /// What was found and no waiver lets pass.
    fn findings(&self) -> Cow<'_, [Finding]> {
        self.analysis.open()
    }
}

/// What was found in all files.
#[derive(Default)]
struct Tally {
    files: usize,
    denied: usize,
    errors: usize,
    warnings: usize,
    notes: usize,
    /// Of files and findings that `--exit-code` or the policy counts, whether there is one.
    counts: bool,
}

/// Judges files; 3 when something blocks in any of them.
pub(crate) fn run(cli: &Cli, config: &Config, args: &AnalyzeArgs) -> Result<u8> {
    if args.schema {
        super::print(&document::schema());
        return Ok(0);
    }
    let policy = super::policy(config, &args.policy)?;
    let files = files::gather(&args.files)?;
    if !files.left_out.is_empty() && !cli.quiet {
        tracing::warn!(
            files = files.left_out.len(),
            first = %files.left_out[0].display(),
            "not judged, since .gitignore names them or they lie in hidden folders; name them to have them judged"
        );
    }
    let files = files.found;
    let prints_text = args.fix && files.iter().any(|file| file == Path::new("-"));
    let shows = !(args.diff || prints_text);
    // A report is one document of all files; the other forms need no more than one file at a time.
    let mut report = args.format.is_report().then(Vec::new);
    let mut tally = Tally::default();
    let mut kept = 0;
    for path in &files {
        let mut file = judge(&policy, path)?;
        if args.fix || args.diff {
            file = fixes::mend(&policy, path, file, args)?;
        }
        tally.add(&file, args);
        match &mut report {
            Some(files) if shows => {
                if args.format != AnalyzeFormat::Sarif {
                    file.text = Vec::new();
                }
                kept += file.text.len();
                if kept > MAX_KEPT {
                    bail!(
                        "the files have more than {MAX_KEPT} bytes together\n  help: name fewer, or take a form that tells them one by one: text, line, github"
                    );
                }
                files.push(file);
            }
            None if shows => print_file(cli, args.format, &file),
            _ => {}
        }
    }
    if let Some(judged) = report.filter(|_| shows) {
        print_report(args.format, &judged)?;
    } else if shows && args.format == AnalyzeFormat::Text && tally.files > 1 {
        super::print(&total(&tally));
    }
    Ok(if tally.counts { Ending::Rejected.exit_code() } else { 0 })
}

impl Tally {
    fn add(&mut self, file: &Judged, args: &AnalyzeArgs) {
        self.files += 1;
        self.denied += usize::from(file.denied());
        for finding in file.findings().iter() {
            *match finding.level {
                Level::Error => &mut self.errors,
                Level::Warn => &mut self.warnings,
                Level::Info => &mut self.notes,
            } += 1;
        }
        self.counts |= match args.exit_code {
            None => file.denied(),
            Some(threshold) => threshold.level().is_some_and(|least| worst(file) >= Some(least)),
        };
    }
}

fn judge(policy: &Policy, path: &Path) -> Result<Judged> {
    let text = super::read_bounded(path, policy.limits.dockerfile.as_u64())?;
    Ok(Judged::of(policy, path.display().to_string(), text))
}

fn worst(file: &Judged) -> Option<Level> {
    file.findings().iter().map(|finding| finding.level).max()
}

/// Of forms that tell files one by one.
fn print_file(cli: &Cli, format: AnalyzeFormat, file: &Judged) {
    let mut out = String::new();
    match format {
        AnalyzeFormat::Github => {
            for finding in file.findings().iter() {
                out.push_str(&show::reports::github(relative(&file.path), &file.text, finding));
                out.push('\n');
            }
        }
        AnalyzeFormat::Line => {
            for finding in file.findings().iter() {
                out.push_str(&show::findings::line(&file.path, finding));
                out.push('\n');
            }
        }
        AnalyzeFormat::Text => {
            if !cli.quiet && !file.findings().is_empty() {
                out.push_str(&show::findings::text(&file.path, &file.text, &file.findings()));
            }
            out.push_str(&summary(file));
            out.push('\n');
            for waiver in &file.analysis.expired_waivers {
                out.push_str(&super::policy::ran_out(waiver));
                out.push('\n');
            }
        }
        AnalyzeFormat::Json | AnalyzeFormat::Sarif | AnalyzeFormat::Gitlab | AnalyzeFormat::Checkstyle => {}
    }
    if !out.is_empty() {
        super::print(&out);
    }
}

/// Of forms that are one document.
fn print_report(format: AnalyzeFormat, judged: &[Judged]) -> Result<()> {
    match format {
        AnalyzeFormat::Json => super::print_json(&document::of(judged)),
        AnalyzeFormat::Sarif => super::print_json(&sarif::of_files(judged.iter().map(|file| sarif::Judged {
            path: relative(&file.path),
            text: Some(&file.text),
            analysis: &file.analysis,
        }))),
        AnalyzeFormat::Gitlab => super::print_json(&show::reports::gitlab(by_path(judged))),
        AnalyzeFormat::Checkstyle => {
            super::print(&show::reports::checkstyle(by_path(judged)));
            Ok(())
        }
        AnalyzeFormat::Github | AnalyzeFormat::Line | AnalyzeFormat::Text => Ok(()),
    }
}

fn by_path(judged: &[Judged]) -> impl Iterator<Item = (&str, Cow<'_, [Finding]>)> {
    judged.iter().map(|file| (relative(&file.path), file.findings()))
}

/// Reports name files from the root of a repository: `./a` is `a`.
fn relative(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

fn total(tally: &Tally) -> String {
    let Tally {
        files,
        denied,
        errors,
        warnings,
        notes,
        ..
    } = tally;
    format!("{files} files, {denied} denied: {errors} error(s), {warnings} warning(s), {notes} note(s)")
}

fn summary(file: &Judged) -> String {
    let path = escape_untrusted(&file.path);
    let found = file.findings().len();
    let waived = match file.analysis.findings.len() - found {
        0 => String::new(),
        waived => format!(", {waived} waived"),
    };
    match &file.denial {
        None if found == 0 => format!("{path}: pass, nothing found{waived}"),
        None => format!("{path}: pass, {found} finding(s) that do not block{waived}"),
        Some(outcome) => {
            let message = escape_untrusted(&outcome.message);
            let help = outcome.remedy.as_deref().map(escape_untrusted);
            let help = help.map(|help| format!("\n  help: {help}")).unwrap_or_default();
            format!("{path}: deny. {message}{help}")
        }
    }
}
