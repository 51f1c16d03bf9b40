//! The main job, attacks and tests on each Engine that can be had here, and the page that tells how they ended.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{
    demo,
    dev::{self, Dev, Flavour},
    engine::{self, Engine},
    images, sh,
};

/// Attacks whose wall is the Engine's to build: limits, filters, mounts, volumes, names, the end of a container.
const SPECIMENS: [&str; 14] = [
    "background-writer",
    "disk-filler-data",
    "disk-filler-volume",
    "docker-socket-run",
    "endless-run",
    "forged-labels",
    "fork-bomb-build",
    "memory-bomb-run",
    "mknod-build",
    "network-run",
    "proc-writes-run",
    "setuid-chain",
    "unshare-run",
    "volume-everything",
];

/// Tests that say something of an Engine: the main job and its forms, walls, ends, the way out.
const TESTS: &str = "test(/docker_(examples|walls|lifecycle|egress)/)";

/// How something ended, in words for the page.
type End = Result<String, String>;

/// What was found on one Engine.
struct Row {
    name: &'static str,
    /// Version and image store, or why it cannot be had.
    what: End,
    ends: Vec<End>,
}

#[derive(Deserialize)]
struct Doctor {
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    name: String,
    health: String,
}

#[derive(Deserialize)]
struct Suite {
    specimens: Vec<Specimen>,
}

#[derive(Deserialize)]
struct Specimen {
    name: String,
    verdict: String,
}

/// What to do.
pub(crate) struct Asked<'a> {
    /// Names of Engines; none: all.
    pub(crate) only: &'a [String],
    /// A binary that is there already.
    pub(crate) binary: Option<&'a Path>,
    /// Leave the tests out, which take minutes for each.
    pub(crate) no_tests: bool,
    /// Another page than `docs/ENGINES.md`.
    pub(crate) page: Option<PathBuf>,
}

/// Tries each Engine and writes the page. An Engine that cannot be had is told and no failure; one that can be had
/// and fails is.
pub(crate) fn run(dev: &mut Dev, asked: Asked<'_>) -> Result<()> {
    let flavours: Vec<Flavour> = match asked.only {
        [] => Flavour::ALL.to_vec(),
        names => names.iter().map(|name| Flavour::named(name)).collect::<Result<_>>()?,
    };
    let binary = demo::binary(asked.binary, "dev")?;
    let mut rows = Vec::new();
    for flavour in flavours {
        eprintln!("Engine {}", flavour.name());
        dev.engine = flavour;
        let runs_already = engine::running(dev).is_some();
        let row = match engine::up(dev) {
            Ok(engine) => tried(dev, &engine, &binary, asked.no_tests),
            Err(error) => Row {
                name: flavour.name(),
                what: Err(format!("{error:#}")),
                ends: Vec::new(),
            },
        };
        if !runs_already {
            engine::down(dev)?;
        }
        eprintln!("{}", line(&row));
        rows.push(row);
    }
    let page = asked.page.unwrap_or_else(|| dev::workspace().join("docs/ENGINES.md"));
    fs::write(&page, written(&rows)).with_context(|| format!("cannot write {}", page.display()))?;
    eprintln!("{} is written", page.display());
    if rows.iter().any(|row| row.ends.iter().any(Result::is_err)) {
        bail!("not all went well: see {}", page.display());
    }
    Ok(())
}

fn tried(dev: &Dev, engine: &Engine, binary: &Path, no_tests: bool) -> Row {
    let mut row = Row {
        name: dev.engine.name(),
        what: what(engine).map_err(|error| format!("{error:#}")),
        ends: Vec::new(),
    };
    let config = match images::prepare(dev, engine, false) {
        Ok(config) => config,
        Err(error) => {
            row.ends.push(Err(format!("the images cannot be made: {error:#}")));
            return row;
        }
    };
    let product = |args: &[&str]| {
        let mut command = Command::new(binary);
        command.current_dir(dev::workspace()).arg("--config").arg(&config);
        command.args(args).env_remove("SEATRIAL_CONFIG").env("NO_COLOR", "1");
        command
    };
    let mut ends = vec![
        doctor(product(&["doctor", "--format", "json"])),
        job(&product),
        attacks(product(&[
            "doctor",
            "--attack",
            "--yes",
            "--fixture-db",
            "--format",
            "json",
            "--ordinary-every",
            "7",
        ])),
    ];
    ends.push(if no_tests {
        Ok("not asked for".to_owned())
    } else {
        tests(dev)
    });
    ends.push(engine::leftovers(dev).map(|()| "nothing".to_owned()));
    row.ends = ends
        .into_iter()
        .map(|end| end.map_err(|error| format!("{error:#}")))
        .collect();
    row
}

/// The Engine in its own words.
fn what(engine: &Engine) -> Result<String> {
    let parts = "{{range .Server.Components}}{{if ne .Name \"docker-init\"}}{{.Name}} {{.Version}}, {{end}}{{end}}\
                 API {{.Server.APIVersion}}";
    let store = "{{.Driver}}, cgroup {{.CgroupVersion}}";
    let parts = sh::output(engine.docker().args(["version", "--format", parts]))?;
    let store = sh::output(engine.docker().args(["info", "--format", store]))?;
    Ok(format!("{}; {}", parts.trim(), store.trim()))
}

/// Which checks are not well. A database is missing on purpose: only the fixture is there.
fn doctor(mut command: Command) -> Result<String> {
    let output = sh::attempt(&mut command)?;
    let told: Doctor = serde_json::from_slice(&output.stdout).context("the doctor told nothing")?;
    let names = |health: &str| -> Vec<&str> {
        let found = told.checks.iter().filter(|check| check.health == health);
        found.map(|check| check.name.as_str()).collect()
    };
    let (missing, weak) = (names("missing"), names("weak"));
    if missing.iter().any(|name| !name.contains("database")) {
        bail!("missing: {}", missing.join(", "));
    }
    Ok(format!("weak: {}", weak.join(", ")))
}

/// The first job brings what the Engine lacks; the second one is what it takes.
fn job(product: &dyn Fn(&[&str]) -> Command) -> Result<String> {
    let mut took = Duration::ZERO;
    for _ in 0..2 {
        let began = Instant::now();
        let said = sh::output(&mut product(&["run", "--fixture-db", "examples/perf/Dockerfile"]))?;
        took = began.elapsed();
        if !said.contains("0.99") {
            bail!("the job ended with {}", said.trim());
        }
    }
    Ok(format!("{:.1} s", took.as_secs_f64()))
}

fn attacks(mut command: Command) -> Result<String> {
    for name in SPECIMENS {
        command.args(["--only", name]);
    }
    let output = sh::attempt(&mut command)?;
    let suite: Suite = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the suite told nothing:\n{}", sh::tail(&output.stderr)))?;
    let loose = suite.specimens.iter().filter(|row| row.verdict != "contained");
    let loose: Vec<String> = loose.map(|row| format!("{} {}", row.name, row.verdict)).collect();
    match loose.as_slice() {
        [] => Ok(format!("{} contained", suite.specimens.len())),
        _ => bail!("{} tried; {}", suite.specimens.len(), loose.join(", ")),
    }
}

fn tests(dev: &Dev) -> Result<String> {
    let output = sh::attempt(
        demo::cargo()
            .args(["nextest", "run", "--workspace", "--locked", "--no-fail-fast"])
            .args(["--status-level", "fail", "-E", TESTS])
            .env("SEATRIAL_ENGINE", dev.engine.name()),
    )?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = said.lines().find_map(|line| line.split_once(" tests run: "));
    let summary = summary.map_or("no summary", |(_, rest)| rest.trim());
    if !output.status.success() {
        let failed = said.lines().filter(|line| line.trim_start().starts_with("FAIL"));
        let mut names: Vec<&str> = failed.filter_map(|line| line.split_whitespace().last()).collect();
        names.sort_unstable();
        names.dedup();
        bail!("{summary}: {}", names.join(", "));
    }
    Ok(summary.to_owned())
}

/// The page.
fn written(rows: &[Row]) -> String {
    let mut out = format!(
        "# Engines\n\n\
         Written by `make engines` on {}; do not edit. What differs between them, and what is known by document only: \
         `docs/OPERATIONS.md`. The main job is `examples/perf` with everything warm, a debug build; attacks are {} \
         specimens whose wall is the Engine's to build; tests are those of examples, walls, ends and the way out.\n\n\
         | Engine | what it is | doctor | main job | attacks | tests | left behind |\n|---|---|---|---|---|---|---|\n",
        jiff::Timestamp::now().strftime("%F"),
        SPECIMENS.len()
    );
    for row in rows {
        let _ = writeln!(out, "{}", line(row));
    }
    out
}

fn line(row: &Row) -> String {
    let mut out = format!("| {} |", row.name);
    for end in std::iter::once(&row.what).chain(&row.ends) {
        let _ = match end {
            Ok(text) => write!(out, " {} |", cell(text)),
            Err(text) => write!(out, " **not**: {} |", cell(text)),
        };
    }
    out
}

/// One line that Markdown takes for text.
fn cell(text: &str) -> String {
    let short: String = text.chars().take(600).collect();
    short
        .replace('|', "\\|")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
