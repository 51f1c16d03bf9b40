//! How long a whole trial takes, beside the same work done by hand with `docker build`,
//! `trivy image` and `docker run`: measured side by side in one run, so that a busy machine is busy
//! for both. [`service`] does the same for the service.

mod report;
pub(crate) mod service;
mod usage;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    demo::cargo,
    dev::{self, Dev},
    engine::{self, Engine},
    images, sh,
};

const DOCKERFILE: &str = "examples/perf/Dockerfile";
/// Of the image that is built by hand.
const TAG: &str = "seatrial-bench/by-hand:1";
/// What a scan by hand may not do: fetch anything.
const OFFLINE: [&str; 8] = [
    "--skip-db-update",
    "--skip-java-db-update",
    "--skip-check-update",
    "--skip-version-check",
    "--offline-scan",
    "--disable-telemetry",
    "--quiet",
    "--format=json",
];

/// Measures `rounds` times and prints a table.
pub(crate) fn run(dev: &Dev, rounds: usize) -> Result<()> {
    let engine = engine::up(dev)?;
    let config = images::prepare(dev, &engine, false)?;
    sh::run(cargo().args(["build", "--locked", "--package", "seatrial", "--profile", "release"]))?;
    let bench = Bench {
        seatrial: release_binary()?,
        folder: tempfile::tempdir_in(dev.folder("cache")?)?,
        engine,
        config,
    };
    bench.prepare(dev)?;
    bench.warm(rounds)?;
    bench.cold()?;
    eprintln!("\nReading and judging, in process:\n");
    sh::run(cargo().args([
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "seatrial-dockerfile",
        "--example",
        "analyze_bench",
    ]))
}

fn release_binary() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| dev::workspace().join("target"), PathBuf::from);
    let binary = target.join("release/seatrial");
    if !binary.is_file() {
        bail!("{} was built but is not there", binary.display());
    }
    Ok(binary)
}

struct Bench {
    seatrial: PathBuf,
    folder: tempfile::TempDir,
    engine: Engine,
    config: PathBuf,
}

/// What one trial took, in seconds: the whole process, and what its job says of the stages.
struct Trial {
    whole: f64,
    job: Value,
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The scanner's program and its database, for the work by hand.
    fn prepare(&self, dev: &Dev) -> Result<()> {
        let id = sh::output(self.engine.docker().args(["create", images::SCANNER]))?;
        let copied = sh::output(
            (self.engine.docker())
                .arg("cp")
                .arg(format!("{}:/usr/local/bin/trivy", id.trim()))
                .arg(self.path("trivy")),
        );
        sh::output(self.engine.docker().args(["rm", id.trim()]))?;
        copied?;
        self.forget_cache()?;
        let database = dev.path("fixture-db");
        for name in ["trivy.db", "metadata.json"] {
            fs::copy(database.join(name), self.path("cache/db").join(name))
                .with_context(|| format!("cannot copy {name} of the fixture database"))?;
        }
        Ok(())
    }

    fn forget_cache(&self) -> Result<()> {
        let _ = fs::remove_dir_all(self.path("cache/fanal")); // not there the first time
        fs::create_dir_all(self.path("cache/db")).context("cannot make the scanner's cache")
    }

    fn warm(&self, rounds: usize) -> Result<()> {
        self.by_hand()?;
        self.trial(&self.config, true)?;
        let (mut hand, mut bare, mut full) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}");
            hand.push(self.by_hand()?);
            bare.push(self.trial(&self.config, false)?);
            full.push(self.trial(&self.config, true)?);
        }
        let steps = |step: usize| median(hand.iter().map(|times| times[step]).collect());
        let by_hand = median(hand.iter().map(|times| times.iter().sum()).collect());
        let whole = |trials: &[Trial]| median(trials.iter().map(|trial| trial.whole).collect());
        println!("\nwarm base, cold containers; medians of {rounds} interleaved rounds, in seconds\n");
        println!("| what | s | ratio |\n|---|---|---|");
        println!("| by hand: docker build, trivy image, docker run | {by_hand:.2} | 1.00 |");
        println!(
            "| seatrial run: build, vulnerability and secret scan, load, run | {:.2} | {:.2} |",
            whole(&bare),
            whole(&bare) / by_hand
        );
        println!(
            "| the same with SBOM and config checks | {:.2} | {:.2} |",
            whole(&full),
            whole(&full) / by_hand
        );
        println!(
            "\nby hand: build {:.2}, scan {:.2}, run {:.2}",
            steps(0),
            steps(1),
            steps(2)
        );
        for (name, trials) in [("bare", &bare), ("full", &full)] {
            let stage = |stage: &str| {
                median(
                    (trials.iter())
                        .filter_map(|trial| Some(trial.job["timings_ms"][stage].as_f64()? / 1e3))
                        .collect(),
                )
            };
            let stages = ["resolve", "build", "scan", "run", "collect"].map(|name| (name, stage(name)));
            let rest = whole(trials) - stages.iter().map(|(_, time)| time).sum::<f64>();
            let told: Vec<String> = stages.iter().map(|(name, time)| format!("{name} {time:.2}")).collect();
            println!(
                "{name}: {}, the rest (start, sweep, removal) {rest:.2}",
                told.join(", ")
            );
        }
        Ok(())
    }

    /// The first job on a base: its store is filled and it is scanned. By hand: nothing is cached.
    fn cold(&self) -> Result<()> {
        self.forget_cache()?;
        let hand: f64 = self.by_hand()?.iter().sum();
        let data = self.path("data");
        let text = fs::read_to_string(&self.config).context("cannot read the configuration")?;
        let mut table: toml::Table = text.parse().context("the configuration is not TOML")?;
        table.insert("data_dir".to_owned(), data.display().to_string().into());
        let config = self.path("cold.toml");
        fs::write(&config, table.to_string()).context("cannot write a configuration")?;
        let trial = self.trial(&config, false);
        let removed = self.remove_volumes(&data);
        let whole = trial?.whole;
        removed?;
        println!(
            "\ncold base (the first job of a machine; one measurement): by hand {hand:.2} s, seatrial {whole:.2} s, \
             ratio {:.2}",
            whole / hand
        );
        Ok(())
    }

    fn by_hand(&self) -> Result<[f64; 3]> {
        let dockerfile = fs::File::open(dev::workspace().join(DOCKERFILE)).context("cannot open the example")?;
        let build = timed(
            (self.engine.docker())
                .env("DOCKER_BUILDKIT", "0") // buildx is not everywhere, and has no fewer steps
                .args(["build", "--quiet", "--no-cache", "--network", "none", "--tag", TAG, "-"])
                .stdin(dockerfile),
        )?;
        let scan = timed(
            Command::new(self.path("trivy"))
                .env("DOCKER_HOST", &self.engine.host)
                .args(["image", "--scanners", "vuln,secret", "--cache-dir"])
                .arg(self.path("cache"))
                .args(OFFLINE)
                .arg(TAG),
        )?;
        let run = timed((self.engine.docker()).args([
            "run",
            "--rm",
            "--network",
            "none",
            "--tmpfs",
            "/data:mode=1777",
            TAG,
        ]))?;
        sh::output(self.engine.docker().args(["image", "rm", TAG]))?;
        Ok([build, scan, run])
    }

    fn trial(&self, config: &Path, full: bool) -> Result<Trial> {
        let mut command = Command::new(&self.seatrial);
        command
            .current_dir(dev::workspace())
            .env_remove("SEATRIAL_CONFIG")
            .arg("--config")
            .arg(config)
            .args(["run", "--fixture-db", "--format", "json", DOCKERFILE])
            .stderr(Stdio::null());
        if !full {
            command.args(["--no-sbom", "--no-config-checks"]);
        }
        let begun = Instant::now();
        let output = sh::attempt(&mut command)?;
        let whole = begun.elapsed().as_secs_f64();
        let job: Value = serde_json::from_slice(&output.stdout).context("the trial gave no job")?;
        if job["state"] != "succeeded" {
            bail!("the trial ended as {}: {}", job["state"], job["message"]);
        }
        Ok(Trial { whole, job })
    }

    /// Volumes of one data folder, by the label that they carry.
    fn remove_volumes(&self, data: &Path) -> Result<()> {
        let host = fs::read_to_string(data.join("host-id")).context("cannot read the id of the data folder")?;
        let filter = format!("label=io.seatrial.host={}", host.trim());
        let names = sh::output((self.engine.docker()).args(["volume", "ls", "--quiet", "--filter", &filter]))?;
        for name in names.lines() {
            sh::output(self.engine.docker().args(["volume", "rm", name]))?;
        }
        Ok(())
    }
}

fn timed(command: &mut Command) -> Result<f64> {
    let begun = Instant::now();
    let output = sh::attempt(command)?;
    let time = begun.elapsed().as_secs_f64();
    if !output.status.success() {
        bail!("{} failed:\n{}", sh::shown(command), sh::tail(&output.stderr));
    }
    Ok(time)
}

/// The middle of the values; 0 for none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
