//! How long a whole trial takes, beside the same work done by hand with `docker build`,
//! `trivy image` and `docker run`: measured side by side in one run, so that a busy machine is busy
//! for both. [`service`] does the same for the service.

pub(crate) mod judge;
mod picture;
mod report;
pub(crate) mod service;
mod usage;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    demo::{self, cargo},
    dev::{self, Dev},
    engine::{self, Engine},
    fleet::{Product, Running, free_port, wait_for},
    images, sh,
    specimens::{LEVELS, Level},
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
/// The steps of the work by hand. The last two stand in for `scan` where the image is saved to a file first.
const STEPS: [&str; 5] = ["build", "scan", "run", "save", "scan of the file"];

/// The ways through the product, as the table names them.
const BARE: &str = "seatrial run: build, vulnerability and secret scan, load, run";
const FULL: &str = "seatrial run with SBOM and config checks";
const POOLED: &str = "a job through the service, containers stand ready";

/// The scanner's caches by hand: of the Engine's images, and of files.
const CACHES: [&str; 2] = ["cache", "cache-of-files"];

/// What is measured.
pub(crate) struct Asked {
    /// How often.
    pub(crate) rounds: usize,
    /// Names of levels; the one of the Engine that is picked when empty.
    pub(crate) levels: Vec<String>,
    /// Through the service too, with and without a pool.
    pub(crate) pool: bool,
}

/// Measures and prints tables.
pub(crate) fn run(dev: &mut Dev, built: Option<&Path>, asked: &Asked) -> Result<()> {
    let picked = |level: &&Level| match asked.levels.as_slice() {
        [] => level.engine == dev.engine && level.runtime == "runc",
        names => names.iter().any(|name| name == level.name),
    };
    let levels: Vec<&Level> = LEVELS.iter().filter(picked).collect();
    if let Some(unknown) = (asked.levels.iter()).find(|name| LEVELS.iter().all(|level| level.name != **name)) {
        let known: Vec<&str> = LEVELS.iter().map(|level| level.name).collect();
        bail!("there is no level {unknown}; there are {}", known.join(", "));
    }
    let seatrial = demo::binary(built, "release")?;
    for level in levels {
        dev.engine = level.engine;
        let engine = engine::up(dev)?;
        let config = images::prepare(dev, &engine, false)?;
        let bench = Bench {
            seatrial: seatrial.clone(),
            folder: tempfile::tempdir_in(dev.folder("cache")?)?,
            engine,
            config,
            runtime: level.runtime,
        };
        bench.prepare(dev)?;
        println!("\n## Level {}", level.name);
        bench.warm(asked)?;
        bench.cold()?;
    }
    if built.is_some() {
        return Ok(());
    }
    in_process()
}

/// Times reading and judging without a process around it.
fn in_process() -> Result<()> {
    println!("\nReading and judging, in process:\n");
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

struct Bench {
    seatrial: PathBuf,
    folder: tempfile::TempDir,
    engine: Engine,
    config: PathBuf,
    /// The runtime of the run in our trials; by hand it is the Engine's own.
    runtime: &'static str,
}

/// What one trial took, in seconds: the whole process, and what its job says of the stages.
struct Trial {
    whole: f64,
    job: Value,
}

/// A service of one process, and a client's way to it.
struct Service {
    product: Product,
    url: String,
    data: PathBuf,
    process: Running,
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
        for cache in CACHES {
            for name in ["trivy.db", "metadata.json"] {
                fs::copy(database.join(name), self.path(cache).join("db").join(name))
                    .with_context(|| format!("cannot copy {name} of the fixture database"))?;
            }
        }
        Ok(())
    }

    fn forget_cache(&self) -> Result<()> {
        for cache in CACHES.map(|cache| self.path(cache)) {
            let _ = fs::remove_dir_all(cache.join("fanal")); // not there the first time
            fs::create_dir_all(cache.join("db")).context("cannot make the scanner's cache")?;
        }
        Ok(())
    }

    fn warm(&self, asked: &Asked) -> Result<()> {
        self.by_hand()?;
        self.trial(&self.config, true)?;
        let services = match asked.pool {
            true => vec![self.service("a job through the service", 0)?, self.service(POOLED, 1)?],
            false => Vec::new(),
        };
        let mut hand = Vec::new();
        let mut trials: BTreeMap<&str, Vec<Trial>> = BTreeMap::new();
        for round in 1..=asked.rounds {
            eprintln!("round {round} of {}", asked.rounds);
            hand.push(self.by_hand()?);
            for (name, full) in [(BARE, false), (FULL, true)] {
                trials.entry(name).or_default().push(self.trial(&self.config, full)?);
            }
            for (name, service) in &services {
                let trial = self.through(service)?;
                let ready = trial.job.to_string().contains("stood ready");
                if ready != (*name == POOLED) {
                    bail!("{name}: the builder stood ready: {ready}");
                }
                trials.entry(name).or_default().push(trial);
            }
        }
        for (_, mut service) in services {
            let ended = service.process.stop(Duration::from_secs(60));
            self.remove_volumes(&service.data)?;
            if !ended {
                bail!("a service did not end; see {}", service.process.log.display());
            }
        }
        self.print(asked.rounds, &hand, &trials);
        Ok(())
    }

    fn print(&self, rounds: usize, hand: &[[f64; 5]], trials: &BTreeMap<&str, Vec<Trial>>) {
        let by_hand = |steps: &[usize]| {
            median(
                hand.iter()
                    .map(|times| steps.iter().map(|step| times[*step]).sum())
                    .collect(),
            )
        };
        let (plain, saved) = (by_hand(&[0, 1, 2]), by_hand(&[0, 3, 4, 2]));
        println!("\nwarm base; medians of {rounds} interleaved rounds, in seconds\n");
        println!("| what | s | of the work by hand | with docker save |\n|---|---|---|---|");
        println!("| by hand: docker build, trivy image, docker run | {plain:.2} | 1.00 | |");
        println!("| by hand: docker build, docker save, trivy image --input, docker run | {saved:.2} | | 1.00 |");
        for (name, trials) in trials {
            let whole = median(trials.iter().map(|trial| trial.whole).collect());
            println!("| {name} | {whole:.2} | {:.2} | {:.2} |", whole / plain, whole / saved);
        }
        let steps: Vec<String> = (STEPS.iter().enumerate())
            .map(|(step, name)| format!("{name} {:.2}", by_hand(&[step])))
            .collect();
        println!("\nby hand: {}", steps.join(", "));
        for (name, trials) in trials {
            let stage = |stage: &str| {
                median(
                    (trials.iter())
                        .filter_map(|trial| Some(trial.job["timings_ms"][stage].as_f64()? / 1e3))
                        .collect(),
                )
            };
            let stages = ["resolve", "build", "scan", "run", "collect"].map(|name| (name, stage(name)));
            let whole = median(trials.iter().map(|trial| trial.whole).collect());
            let rest = whole - stages.iter().map(|(_, time)| time).sum::<f64>();
            let told: Vec<String> = stages.iter().map(|(name, time)| format!("{name} {time:.2}")).collect();
            println!("{name}: {}, the rest {rest:.2}", told.join(", "));
        }
    }

    /// Starts a service with a worker and lets it do two jobs: the first fills stores, the second what stands ready.
    fn service(&self, name: &'static str, pool: usize) -> Result<(&'static str, Service)> {
        let data = self.path(&format!("pool-{pool}"));
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let env = [
            ("SEATRIAL__DATA_DIR", data.display().to_string()),
            ("SEATRIAL__WORKER__POOL", pool.to_string()),
            ("SEATRIAL__WORKER__SLOTS", "1".to_owned()),
            ("SEATRIAL__SCAN__SBOM", "false".to_owned()),
            ("SEATRIAL__SCAN__CONFIG_CHECKS", "false".to_owned()),
            ("SEATRIAL__RUN__RUNTIME", self.runtime.to_owned()),
        ];
        let product = Product {
            binary: self.seatrial.clone(),
            config: Some(self.config.clone()),
            env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            logs: self.folder.path().to_owned(),
        };
        let process = product.api(&format!("pool-{pool}"), port, &["serve", "--fixture-db"])?;
        let service = Service {
            product,
            url,
            data,
            process,
        };
        for _ in 0..2 {
            self.through(&service)?;
        }
        Ok((name, service))
    }

    /// One job, as a client sees it; then waits until its containers are gone and what is made ready is there.
    fn through(&self, service: &Service) -> Result<Trial> {
        let mut command = service
            .product
            .command(&["submit", "--wait", "--format", "json", DOCKERFILE]);
        command
            .current_dir(dev::workspace())
            .env("SEATRIAL_SERVER", &service.url)
            .stderr(Stdio::null());
        let trial = succeeded(&mut command)?;
        let pool = service.product.env.get("SEATRIAL__WORKER__POOL").map(String::as_str);
        let wanted = if pool == Some("0") { 0 } else { 3 };
        let host = fs::read_to_string(service.data.join("host-id")).context("cannot read the id of a data folder")?;
        let filter = format!("label=io.seatrial.host={}", host.trim());
        let settled = wait_for(Duration::from_secs(30), || {
            let list = ["ps", "--all", "--filter", &filter, "--format", "{{.Names}} {{.Status}}"];
            let names = sh::output(self.engine.docker().args(list)).unwrap_or_default();
            let ready = |kind: &str| names.lines().filter(|line| line.contains(kind)).count() == 1;
            names.lines().count() == wanted
                && (wanted == 0 || ["st-build-", "st-scan-", "st-data-"].into_iter().all(ready))
        });
        if !settled {
            bail!(
                "the Engine did not come to rest after a job; see {}",
                service.process.log.display()
            );
        }
        Ok(trial)
    }

    /// The first job on a base: its store is filled and it is scanned. By hand: nothing is cached.
    fn cold(&self) -> Result<()> {
        self.forget_cache()?;
        let hand: f64 = self.by_hand()?[..3].iter().sum();
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

    fn by_hand(&self) -> Result<[f64; 5]> {
        let dockerfile = fs::File::open(dev::workspace().join(DOCKERFILE)).context("cannot open the example")?;
        let build = timed(
            (self.engine.docker())
                .env("DOCKER_BUILDKIT", "0") // buildx is not everywhere, and has no fewer steps
                .args(["build", "--quiet", "--no-cache", "--network", "none", "--tag", TAG, "-"])
                .stdin(dockerfile),
        )?;
        // With caches of their own: neither finds the new layer in its own.
        let file = self.path("saved.tar");
        let save = timed(self.engine.docker().args(["save", "--output"]).arg(&file).arg(TAG))?;
        let scan_file = timed(self.trivy("cache-of-files").arg("--input").arg(&file))?;
        fs::remove_file(&file).context("cannot remove a saved image")?;
        let scan = timed(self.trivy("cache").env("DOCKER_HOST", &self.engine.host).arg(TAG))?;
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
        Ok([build, scan, run, save, scan_file])
    }

    fn trivy(&self, cache: &str) -> Command {
        let mut command = Command::new(self.path("trivy"));
        command
            .args(["image", "--scanners", "vuln,secret", "--cache-dir"])
            .arg(self.path(cache))
            .args(OFFLINE);
        command
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
        command.env("SEATRIAL__RUN__RUNTIME", self.runtime);
        succeeded(&mut command)
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

/// Runs a trial whose job must succeed.
fn succeeded(command: &mut Command) -> Result<Trial> {
    let begun = Instant::now();
    let output = sh::attempt(command)?;
    let whole = begun.elapsed().as_secs_f64();
    let job: Value = serde_json::from_slice(&output.stdout).context("the trial gave no job")?;
    if job["state"] != "succeeded" {
        bail!("the trial ended as {}: {}", job["state"], job["message"]);
    }
    Ok(Trial { whole, job })
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
