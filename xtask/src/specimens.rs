//! The attacks at every level that can be had here, and the page that tells how they ended.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{
    demo,
    dev::{self, Dev, Flavour},
    engine, images, sh,
};

/// The levels: which Engine of ours, and which runtime of the run.
pub(crate) const LEVELS: &[Level] = &[
    Level {
        name: "namespaces",
        engine: Flavour::Plain,
        runtime: "runc",
    },
    Level {
        name: "userns",
        engine: Flavour::Userns,
        runtime: "runc",
    },
    Level {
        name: "gvisor",
        engine: Flavour::Userns,
        runtime: "runsc",
    },
];

/// What is repeated at another level where there is no time for all: those where the wall that is gone would have held
/// too, and quick ones.
const CHOICE: &[&str] = &[
    "egress-streams",
    "host-administration-run",
    "init-signals-run",
    "kernel-memory-build",
    "kernel-memory-run",
    "keyring-run",
    "kill-everything-build",
    "limits-of-init",
    "mknod-build",
    "mount-api-run",
    "proc-writes-build",
    "proc-writes-run",
    "ptrace-others-run",
    "raw-namespaces-build",
    "unshare-build",
];

/// Minutes that a level may take.
const MINUTES: &str = "40";

pub(crate) struct Level {
    pub(crate) name: &'static str,
    pub(crate) engine: Flavour,
    pub(crate) runtime: &'static str,
}

/// What the binary tells of one level; what is not used here is left out.
#[derive(Deserialize)]
struct Suite {
    level: String,
    engine: Told,
    started_at: String,
    took_s: f64,
    not_checked: Vec<String>,
    daemons_memory: (Option<u64>, Option<u64>),
    specimens: Vec<Row>,
}

#[derive(Deserialize)]
struct Told {
    version: String,
    kernel: String,
    runc: String,
    storage_driver: String,
    cgroup: String,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    why: String,
    verdict: String,
    detail: Option<String>,
    state: Option<String>,
    reason: Option<String>,
    took_s: f64,
}

/// Runs the suite at each level that is asked for (all, when none is) and writes the page.
///
/// `told` are documents of `seatrial doctor --attack --format json` that are there already: their levels are not run.
pub(crate) fn run(
    dev: &mut Dev,
    only: &[String],
    told: &[PathBuf],
    binary: Option<&Path>,
    page: Option<PathBuf>,
) -> Result<()> {
    check(only)?;
    let all = only.is_empty() && told.is_empty();
    let told: Vec<Suite> = told.iter().map(|path| read(path)).collect::<Result<_>>()?;
    let mut told: BTreeMap<String, Suite> = told.into_iter().map(|suite| (suite.level.clone(), suite)).collect();
    let mut suites = Vec::new();
    let mut missing = Vec::new();
    for level in LEVELS {
        if let Some(suite) = told.remove(level.name) {
            suites.push((level, suite));
            continue;
        }
        if !all && !only.iter().any(|name| name == level.name) {
            missing.push(format!("{} (not asked for)", level.name));
            continue;
        }
        eprintln!("level {}", level.name);
        match demo::binary(binary, "dev").and_then(|binary| attack(dev, level, &binary, &[])) {
            Ok(suite) => suites.push((level, suite)),
            Err(error) => {
                eprintln!("level {} cannot be had here: {error:#}", level.name);
                missing.push(format!("{}: {error:#}", level.name));
            }
        }
    }
    if suites.is_empty() {
        bail!("no level could be had");
    }
    let page = page.unwrap_or_else(|| dev::workspace().join("docs/SPECIMENS.md"));
    fs::write(&page, written(&suites, &missing)).with_context(|| format!("cannot write {}", page.display()))?;
    eprintln!("{} is written", page.display());
    let escaped = |(_, suite): &(&Level, Suite)| suite.specimens.iter().any(|row| row.verdict == "escaped");
    if suites.iter().any(escaped) {
        bail!("something escaped: see {}", page.display());
    }
    Ok(())
}

/// Runs a choice of specimens at each level that is asked for: all must be contained, and every level must be there.
/// An Engine that was started for it is stopped afterwards.
pub(crate) fn choice(dev: &mut Dev, levels: &[String], binary: Option<&Path>) -> Result<()> {
    check(levels)?;
    let binary = demo::binary(binary, "dev")?;
    for level in LEVELS {
        if !levels.is_empty() && levels.iter().all(|name| name != level.name) {
            continue;
        }
        dev.engine = level.engine;
        let was_up = engine::running(dev).is_some();
        let suite = attack(dev, level, &binary, CHOICE);
        if !was_up {
            engine::down(dev)?;
        }
        let suite = suite.with_context(|| format!("level {}", level.name))?;
        let wrong: Vec<&Row> = suite
            .specimens
            .iter()
            .filter(|row| row.verdict != "contained")
            .collect();
        eprintln!(
            "level {}: {} of {} contained, in {:.0} s",
            level.name,
            suite.specimens.len() - wrong.len(),
            suite.specimens.len(),
            suite.took_s
        );
        if let Some(row) = wrong.first() {
            let detail = row.detail.as_deref().unwrap_or_default();
            bail!("{} at {}: {}: {detail}", row.name, level.name, row.verdict);
        }
    }
    Ok(())
}

fn check(levels: &[String]) -> Result<()> {
    if let Some(unknown) = levels
        .iter()
        .find(|name| LEVELS.iter().all(|level| level.name != **name))
    {
        let known: Vec<&str> = LEVELS.iter().map(|level| level.name).collect();
        bail!("there is no level {unknown}; there are {}", known.join(", "));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Suite> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no document of an attack", path.display()))
}

fn attack(dev: &mut Dev, level: &Level, binary: &Path, only: &[&str]) -> Result<Suite> {
    dev.engine = level.engine;
    let engine = engine::up(dev)?;
    let config = if only.is_empty() {
        images::prepare(dev, &engine, false)?
    } else {
        images::prepare_without_test_bases(dev, &engine)?
    };
    let mut command = sh::command(&binary.display().to_string());
    command
        .arg("--config")
        .arg(config)
        .args(["doctor", "--attack", "--yes", "--fixture-db", "--format", "json"])
        .args(["--minutes", MINUTES, "--ordinary-every", "5"])
        .args(only.iter().flat_map(|name| ["--only", *name]))
        .env("SEATRIAL__RUN__RUNTIME", level.runtime)
        .stderr(Stdio::inherit());
    let output = command.output().context("the binary cannot be started")?;
    let suite: Suite = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the suite told nothing ({})", output.status))?;
    if suite.level != level.name {
        bail!("the run stood behind the walls of the level {}", suite.level);
    }
    Ok(suite)
}

/// The page.
fn written(suites: &[(&Level, Suite)], missing: &[String]) -> String {
    let mut out = String::from(
        "# Specimens, level by level\n\n\
         Written by `make specimens`; do not edit. A specimen is `contained` when the attack met its wall, `escaped` \
         when anything happened that must not, on the host too, and `not run` when nothing was tried: then it says \
         nothing. What each wall is for: `docs/SECURITY-MODEL.md`.\n\n",
    );
    for (level, suite) in suites {
        let count = |verdict: &str| suite.specimens.iter().filter(|row| row.verdict == verdict).count();
        let day = suite.started_at.split('T').next().unwrap_or_default();
        let memory = match suite.daemons_memory {
            (Some(before), Some(after)) => format!("{} MiB before, {} MiB after", before >> 20, after >> 20),
            _ => "not known".to_owned(),
        };
        let _ = writeln!(
            out,
            "- **{}**, {day}: {} contained, {} escaped, {} not run, in {:.0} s. Engine {}, run by {}, {}, kernel {}, \
             {}, cgroup {}. Memory of the daemons: {memory}. Not checked: {}.",
            level.name,
            count("contained"),
            count("escaped"),
            count("not_run"),
            suite.took_s,
            suite.engine.version,
            level.runtime,
            suite.engine.runc,
            suite.engine.kernel,
            suite.engine.storage_driver,
            suite.engine.cgroup,
            if suite.not_checked.is_empty() {
                "nothing".to_owned()
            } else {
                suite.not_checked.join("; ")
            },
        );
    }
    for level in missing {
        let _ = writeln!(out, "- Not run: {level}");
    }
    out.push_str("\n| specimen |");
    let heads = suites.iter().map(|(level, _)| level.name);
    for name in heads {
        let _ = write!(out, " {name} |");
    }
    out.push_str(" how it ended | s |\n|---|");
    for _ in suites {
        out.push_str("---|");
    }
    out.push_str("---|---|\n");
    // One place for each level: a document that was there already may be older than a specimen.
    let mut rows: BTreeMap<&str, Vec<Option<&Row>>> = BTreeMap::new();
    for (index, (_, suite)) in suites.iter().enumerate() {
        for row in &suite.specimens {
            rows.entry(&row.name).or_insert_with(|| vec![None; suites.len()])[index] = Some(row);
        }
    }
    let mut notes = String::new();
    for (name, found) in &rows {
        let _ = write!(out, "| {name} |");
        for row in found {
            let _ = write!(
                out,
                " {} |",
                row.map_or("-".to_owned(), |row| row.verdict.replace('_', " "))
            );
        }
        let ends: Vec<String> = found
            .iter()
            .flatten()
            .map(|row| match (&row.state, &row.reason) {
                (Some(state), Some(reason)) => format!("{state}: {reason}"),
                _ => "-".to_owned(),
            })
            .collect();
        let same = ends.iter().all(|end| *end == ends[0]);
        let times: Vec<String> = found
            .iter()
            .map(|row| row.map_or("-".to_owned(), |row| format!("{:.1}", row.took_s)))
            .collect();
        let _ = writeln!(
            out,
            " {} | {} |",
            if same { ends[0].clone() } else { ends.join(", ") },
            times.join(", ")
        );
        for (row, (level, _)) in found.iter().zip(suites) {
            if let Some(detail) = row.and_then(|row| row.detail.as_deref()) {
                let _ = writeln!(notes, "- {name} at {}: {}", level.name, cell(detail));
            }
        }
    }
    out.push_str("\n## What each is for\n\n");
    for (name, found) in &rows {
        if let Some(row) = found.iter().flatten().next_back() {
            let _ = writeln!(out, "- **{name}**: {}", row.why);
        }
    }
    if !notes.is_empty() {
        let _ = write!(out, "\n## What was not contained, and why\n\n{notes}");
    }
    out
}

/// A verdict quotes guests, escaped already; Markdown must not read it.
fn cell(text: &str) -> String {
    let short: String = text.chars().take(400).collect();
    format!("`{}`", short.replace('`', "'"))
}
