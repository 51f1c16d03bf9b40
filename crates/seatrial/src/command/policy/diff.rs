//! `seatrial policy diff`: which files two policies judge differently, and why.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use seatrial_core::{finding::escape_untrusted, view::AnalysisView};
use seatrial_pipeline::admission::{self, Admitted};
use seatrial_policy::{Composed, Policy};
use serde::Serialize;

use crate::{
    cli::{OutputFormat, policy::DiffArgs},
    command,
    rego::Processes,
};

/// Most files and folders that are looked at.
const MAX_ENTRIES: usize = 200_000;
/// Exit code when a verdict changes.
const CHANGED: u8 = 1;
/// Changes of one file that are shown one by one.
const SHOWN: usize = 20;

/// A value that differs.
#[derive(Serialize)]
struct Setting {
    path: String,
    old: Option<String>,
    new: Option<String>,
}

/// What differs in one file.
#[derive(Serialize)]
struct Difference {
    path: String,
    old: &'static str,
    new: &'static str,
    findings: Vec<Moved>,
}

/// One rule at one line that is weighed differently.
#[derive(Serialize)]
struct Moved {
    rule: String,
    line: usize,
    old: String,
    new: String,
    /// The key that makes the difference.
    why: String,
}

/// Compares two policies on a folder; 1 when a verdict changes.
pub(crate) fn run(args: &DiffArgs) -> Result<u8> {
    let old = load(&args.base, &args.old)?;
    let new = load(&args.base, &args.new)?;
    let settings = settings(&old, &new);
    let files = files(&args.corpus)?;
    let now = Timestamp::now();
    let mut differences = Vec::new();
    let (mut to_deny, mut to_pass) = (0, 0);
    for path in &files {
        // A file that is too large for either is told so by that policy.
        let max = old.policy.limits.dockerfile.max(new.policy.limits.dockerfile);
        let text = command::read_bounded(path, max.as_u64())?;
        let before = admission::admit(&old.policy, &text, now, &Processes);
        let after = admission::admit(&new.policy, &text, now, &Processes);
        let difference = Difference {
            path: path.display().to_string(),
            old: verdict(&before),
            new: verdict(&after),
            findings: moved(&old.policy, &new.policy, &before.analysis, &after.analysis),
        };
        match (difference.old, difference.new) {
            ("pass", "deny") => to_deny += 1,
            ("deny", "pass") => to_pass += 1,
            _ => {}
        }
        if difference.old != difference.new || !difference.findings.is_empty() {
            differences.push(difference);
        }
    }
    match args.format {
        OutputFormat::Json => command::print_json(&serde_json::json!({
            "version": 1,
            "files": files.len(),
            "denied_now": to_deny,
            "passed_now": to_pass,
            "settings": settings,
            "differences": differences,
        }))?,
        OutputFormat::Text => {
            let mut out = String::new();
            for setting in &settings {
                let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
                let _ = writeln!(
                    out,
                    "{}: {} -> {}",
                    setting.path,
                    side(&setting.old),
                    side(&setting.new)
                );
            }
            differences.iter().for_each(|difference| text(&mut out, difference));
            let _ = writeln!(
                out,
                "{} files: {to_deny} newly denied, {to_pass} newly passed, {} differ in findings alone",
                files.len(),
                differences.len() - to_deny - to_pass
            );
            command::print(&out);
        }
    }
    Ok(if to_deny + to_pass == 0 { 0 } else { CHANGED })
}

fn load(base: &[PathBuf], file: &Path) -> Result<Composed> {
    let mut files = base.to_vec();
    if file != Path::new("default") {
        files.push(file.to_owned());
    }
    command::compose(&files)
}

fn verdict(admitted: &Admitted) -> &'static str {
    match admitted.verdict {
        admission::Verdict::Pass(_) => "pass",
        admission::Verdict::Deny(_) => "deny",
    }
}

fn settings(old: &Composed, new: &Composed) -> Vec<Setting> {
    let values = |composed: &Composed| -> BTreeMap<String, String> {
        let pairs = composed
            .origins
            .iter()
            .map(|origin| (origin.path.clone(), origin.value.clone()));
        pairs.collect()
    };
    let (old, new) = (values(old), values(new));
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let setting = |path: &String| Setting {
        path: path.clone(),
        old: old.get(path).cloned(),
        new: new.get(path).cloned(),
    };
    paths
        .into_iter()
        .filter(|path| old.get(*path) != new.get(*path))
        .map(setting)
        .collect()
}

/// How each rule at each line is weighed: `error`, `waived`, `error, blocks`.
fn weights<'a>(policy: &Policy, analysis: &'a AnalysisView) -> BTreeMap<(&'a str, usize), Vec<String>> {
    let mut weights: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for finding in &analysis.findings {
        let rule = &*finding.rule;
        let fixed = seatrial_policy::is_fixed_rule(rule);
        let blocks = fixed || (finding.level >= policy.analysis.block && analysis.blocking.contains(&finding.rule));
        let mut waivers = analysis.waived.iter();
        let waived = waivers.any(|waived| waived.rule == rule && waived.line == Some(finding.line));
        let how = match (waived, blocks) {
            (true, _) => format!("{}, waived", finding.level),
            (false, true) => format!("{}, blocks", finding.level),
            (false, false) => finding.level.to_string(),
        };
        weights.entry((rule, finding.line)).or_default().push(how);
    }
    weights
}

/// The rule about bases that are not allowed.
const BASE_RULE: &str = "ST015";

fn moved(old: &Policy, new: &Policy, before: &AnalysisView, after: &AnalysisView) -> Vec<Moved> {
    let (was, is) = (weights(old, before), weights(new, after));
    let places: BTreeSet<_> = was.keys().chain(is.keys()).copied().collect();
    let mut moved = Vec::new();
    for place in places {
        let side = |weights: &BTreeMap<_, Vec<String>>| {
            weights
                .get(&place)
                .map_or_else(|| "not found".to_owned(), |all| all.join(" and "))
        };
        let (before, after) = (side(&was), side(&is));
        if before == after {
            continue;
        }
        let (rule, line) = place;
        let level = |policy: &Policy| policy.analysis.levels.get(rule).copied();
        let why = if level(old) != level(new) {
            format!("analysis.levels.{rule}")
        } else if before.contains("waived") != after.contains("waived") {
            "waivers".to_owned()
        } else if rule.starts_with(seatrial_policy::rego::PREFIX) {
            "rego".to_owned()
        } else if rule.starts_with(seatrial_policy::expressions::PREFIX) {
            "expressions".to_owned()
        } else if old.limits.dockerfile != new.limits.dockerfile
            && [before.as_str(), after.as_str()].contains(&"not found")
            && rule != BASE_RULE
        {
            // A file that is too large is not read at all.
            "limits.dockerfile".to_owned()
        } else if rule == BASE_RULE && (before == "not found" || after == "not found") {
            if old.bases.require_digest == new.bases.require_digest {
                "bases.allow".to_owned()
            } else {
                "bases.require_digest".to_owned()
            }
        } else {
            "analysis.block".to_owned()
        };
        moved.push(Moved {
            rule: rule.to_owned(),
            line,
            old: before,
            new: after,
            why,
        });
    }
    moved
}

fn text(out: &mut String, difference: &Difference) {
    let path = escape_untrusted(&difference.path);
    let _ = match difference.old == difference.new {
        true => writeln!(out, "{path}: still {}", difference.new),
        false => writeln!(out, "{path}: {} -> {}", difference.old, difference.new),
    };
    for moved in difference.findings.iter().take(SHOWN) {
        let _ = writeln!(
            out,
            "  {} at line {}: {} -> {} ({})",
            escape_untrusted(&moved.rule),
            moved.line,
            moved.old,
            moved.new,
            moved.why
        );
    }
    if difference.findings.len() > SHOWN {
        let _ = writeln!(
            out,
            "  … and {} more; --format json shows them all",
            difference.findings.len() - SHOWN
        );
    }
}

/// The Dockerfiles below a folder, by name. No link is followed, and the folders wait in a list: depth costs nothing.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(folder) = open.pop() {
        let cannot = || format!("cannot read the folder {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            seen += 1;
            if seen > MAX_ENTRIES {
                bail!("the folder has more than {MAX_ENTRIES} entries; name a smaller one");
            }
            let kind = entry.file_type().with_context(cannot)?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && is_dockerfile(&entry.file_name().to_string_lossy()) {
                found.push(entry.path());
            }
        }
    }
    if found.is_empty() {
        bail!(
            "{} holds no file whose name begins or ends with Dockerfile or Containerfile",
            folder.display()
        );
    }
    found.sort();
    Ok(found)
}

fn is_dockerfile(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["dockerfile", "containerfile"]
        .iter()
        .any(|word| name.starts_with(word) || name.ends_with(word))
        && !name.ends_with(".dockerignore")
}
