//! `seatrial policy test`: cases in a folder, each with what is expected of it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use seatrial_core::finding::{Level, escape_untrusted};
use seatrial_pipeline::admission::{self, Admitted};
use seatrial_policy::{KnownRule, Policy, rules_called};
use serde::{Deserialize, Serialize};

use crate::{
    cli::{
        Cli,
        policy::{TestArgs, TestFormat},
    },
    command,
    config::Config,
    rego::Processes,
};

/// Most cases of a folder.
const MAX_CASES: usize = 10_000;
/// Largest `expect.toml`, in bytes.
const MAX_EXPECT: u64 = 1 << 20;
/// Exit code when something is not as expected.
const FAILED: u8 = 1;

/// What a case expects.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Expect {
    verdict: Word,
    #[serde(default)]
    today: Option<String>,
    #[serde(default)]
    must: BTreeMap<String, At>,
    #[serde(default)]
    must_not: BTreeMap<String, At>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
enum Word {
    Pass,
    Deny,
}

/// How a rule is found.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
enum At {
    Any,
    Info,
    Warn,
    Error,
    Blocks,
    Waived,
}

/// What came of a case.
#[derive(Serialize, Debug)]
struct Outcome {
    name: String,
    verdict: &'static str,
    /// What is not as expected; nothing when all is.
    problems: Vec<String>,
}

/// Judges the cases; 1 when one is not as expected.
pub(crate) fn run(cli: &Cli, config: &Config, args: &TestArgs) -> Result<u8> {
    let policy = command::policy(config, &args.policy)?;
    let known = command::known_rules();
    let cases = cases(&args.folder)?;
    let outcomes: Vec<Outcome> = cases
        .iter()
        .map(|folder| case(&policy, &known, folder))
        .collect::<Result<_>>()?;
    let failed = outcomes.iter().filter(|outcome| !outcome.problems.is_empty()).count();
    match args.format {
        TestFormat::Json => command::print_json(&serde_json::json!({
            "version": 1,
            "cases": outcomes.len(),
            "failed": failed,
            "outcomes": outcomes,
        }))?,
        TestFormat::Junit => command::print(&junit(&outcomes, failed)),
        TestFormat::Text => command::print(&text(&outcomes, failed, cli.quiet)),
    }
    Ok(if failed == 0 { 0 } else { FAILED })
}

/// The folders of cases, by name.
fn cases(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read the folder {}", folder.display());
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if !path.is_dir() {
            continue;
        }
        if cases.len() == MAX_CASES {
            bail!("{} has more than {MAX_CASES} cases; split it", folder.display());
        }
        cases.push(path);
    }
    if cases.is_empty() {
        bail!(
            "{} has no cases: a case is a folder with a Dockerfile and an expect.toml; see `seatrial policy test --help`",
            folder.display()
        );
    }
    cases.sort();
    Ok(cases)
}

fn case(policy: &Policy, known: &[KnownRule<'_>], folder: &Path) -> Result<Outcome> {
    let path = folder.join("expect.toml");
    let cannot = || format!("the case {} cannot be used", folder.display());
    let bytes = command::read_bounded(&path, MAX_EXPECT).with_context(cannot)?;
    let expect = String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()))?;
    let expect: Expect = toml::from_str(&expect).with_context(|| format!("{} cannot be used", path.display()))?;
    let text =
        command::read_bounded(&folder.join("Dockerfile"), policy.limits.dockerfile.as_u64()).with_context(cannot)?;
    let now = match &expect.today {
        Some(day) => noon(day).with_context(|| format!("{}: today = \"{}\"", path.display(), day.escape_debug()))?,
        None => Timestamp::now(),
    };
    let admitted = admission::admit(policy, &text, now, &Processes);
    let problems =
        compare(policy, &expect, &admitted, known).with_context(|| format!("{} cannot be used", path.display()))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Outcome {
        name: escape_untrusted(&name),
        verdict: verdict(&admitted),
        problems,
    })
}

fn noon(day: &str) -> Result<Timestamp> {
    // With a time behind it the day would be taken and the time dropped.
    let day: Option<Date> = (day.len() == 10).then(|| day.parse().ok()).flatten();
    let day = day.context("not a day; write it like \"2027-03-31\"")?;
    Ok(TimeZone::UTC.to_timestamp(day.at(12, 0, 0, 0))?)
}

fn verdict(admitted: &Admitted) -> &'static str {
    match admitted.verdict {
        admission::Verdict::Pass(_) => "pass",
        admission::Verdict::Deny(_) => "deny",
    }
}

/// What a case may speak of: a rule by any of its names, a condition of the policy, a check in Rego by its id.
fn called<'n>(policy: &Policy, known: &[KnownRule<'n>], name: &'n str) -> Result<Vec<&'n str>> {
    if let Some(condition) = name.strip_prefix(seatrial_policy::expressions::PREFIX) {
        let is_known = |one: &seatrial_policy::Expression| one.name == condition;
        if name != seatrial_policy::expressions::FAILED && !policy.expressions.iter().any(is_known) {
            bail!("the policy has no condition {}", condition.escape_debug());
        }
        return Ok(vec![name]);
    }
    // Which checks there are, only the checks themselves know.
    if name.starts_with(seatrial_policy::rego::PREFIX) && policy.rego.is_on() {
        return Ok(vec![name]);
    }
    Ok(rules_called(known, name)?)
}

fn compare(policy: &Policy, expect: &Expect, admitted: &Admitted, known: &[KnownRule<'_>]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let (is, should) = (
        verdict(admitted),
        match expect.verdict {
            Word::Pass => "pass",
            Word::Deny => "deny",
        },
    );
    if is != should {
        let blocking = admitted.analysis.blocking.join(", ");
        let why = if blocking.is_empty() {
            "nothing blocks".to_owned()
        } else {
            format!("{blocking} blocks")
        };
        problems.push(format!("the verdict is {is} and should be {should}: {why}"));
    }
    for (name, at) in &expect.must {
        let rules = called(policy, known, name)?;
        if !rules.iter().any(|rule| found(admitted, rule, *at, false)) {
            problems.push(format!(
                "{name} must be found{}, and is not{}",
                words(*at),
                seen(admitted, &rules)
            ));
        }
    }
    for (name, at) in &expect.must_not {
        let rules = called(policy, known, name)?;
        if rules.iter().any(|rule| found(admitted, rule, *at, true)) {
            problems.push(format!(
                "{name} must not be found{}, and is{}",
                words(*at),
                seen(admitted, &rules)
            ));
        }
    }
    Ok(problems)
}

/// Whether a rule is found so; with `or_above` also at a higher level.
fn found(admitted: &Admitted, rule: &str, at: At, or_above: bool) -> bool {
    let analysis = &admitted.analysis;
    let mut findings = analysis.findings.iter().filter(|finding| finding.rule == rule);
    let level = |level: Level| move |is: Level| if or_above { is >= level } else { is == level };
    match at {
        At::Any => findings.next().is_some(),
        At::Info => findings.any(|finding| level(Level::Info)(finding.level)),
        At::Warn => findings.any(|finding| level(Level::Warn)(finding.level)),
        At::Error => findings.any(|finding| level(Level::Error)(finding.level)),
        At::Blocks => analysis.blocking.iter().any(|blocking| blocking == rule),
        At::Waived => analysis.waived.iter().any(|waived| waived.rule == rule),
    }
}

fn words(at: At) -> &'static str {
    match at {
        At::Any => "",
        At::Info => " at level info",
        At::Warn => " at level warn",
        At::Error => " at level error",
        At::Blocks => " to block",
        At::Waived => " to be waived",
    }
}

/// Where the rules were found, and at which level.
fn seen(admitted: &Admitted, rules: &[&str]) -> String {
    let places: Vec<String> = admitted
        .analysis
        .findings
        .iter()
        .filter(|finding| rules.contains(&&*finding.rule))
        .take(5)
        .map(|finding| format!("{} at line {}: {}", finding.rule, finding.line, finding.level))
        .collect();
    if places.is_empty() {
        String::new()
    } else {
        format!(" ({})", places.join("; "))
    }
}

fn text(outcomes: &[Outcome], failed: usize, quiet: bool) -> String {
    let mut out = String::new();
    for outcome in outcomes {
        match outcome.problems.is_empty() {
            true if quiet => {}
            true => {
                let _ = writeln!(out, "ok     {}: {}", outcome.name, outcome.verdict);
            }
            false => {
                let _ = writeln!(out, "FAILED {}", outcome.name);
            }
        }
        for problem in &outcome.problems {
            let _ = writeln!(out, "       {problem}");
        }
    }
    let _ = writeln!(out, "{} cases, {failed} not as expected", outcomes.len());
    out
}

fn junit(outcomes: &[Outcome], failed: usize) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites tests=\"{0}\" failures=\"{failed}\">\n<testsuite name=\"policy\" tests=\"{0}\" failures=\"{failed}\">",
        outcomes.len()
    );
    for outcome in outcomes {
        let _ = write!(out, "<testcase classname=\"policy\" name=\"{}\"", xml(&outcome.name));
        let _ = match outcome.problems.first() {
            None => writeln!(out, "/>"),
            Some(first) => writeln!(
                out,
                "><failure message=\"{}\">{}</failure></testcase>",
                xml(first),
                xml(&outcome.problems.join("\n"))
            ),
        };
    }
    out.push_str("</testsuite>\n</testsuites>\n");
    out
}

/// Text inside XML; names are escaped before, so no control character is left.
fn xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
