//! How the service does: submissions, status reads, jobs that do nothing from end to end, memory, and whether a
//! job costs the same behind a long queue. Beside a reference stack when there is one, in the same run and
//! with the same driver, so that a busy machine is busy for both.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};

use super::{
    median,
    report::{Depth, Flow, Load, Report},
    usage::{self, Part},
};
use crate::{
    demo,
    fleet::{Product, Redis, Running, free_port, wait_for},
    packages, sh,
};

/// Clients at once.
const CLIENTS: [usize; 3] = [1, 16, 64];
/// A file as small as the queue's own cost.
const DOCKERFILE: &str =
    "FROM debian:bookworm-slim\nRUN echo a > /marker\nCMD [\"sh\", \"-c\", \"echo 1 > /data/perf.json\"]\n";
/// Jobs whose status is read.
const READ: usize = 1_000;
/// Longest wait for jobs to end.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long jobs are taken from a long queue.
const DRAIN: Duration = Duration::from_secs(8);

/// What was asked for.
pub(crate) struct Asked {
    /// How long each load lasts.
    pub(crate) seconds: u64,
    /// How often all of it is done; medians are told.
    pub(crate) rounds: usize,
    /// Jobs of a flow from end to end.
    pub(crate) jobs: usize,
    /// Jobs that wait already, for the growth of a job's cost.
    pub(crate) depths: Vec<u64>,
    /// Where to write a picture.
    pub(crate) picture: Option<PathBuf>,
    /// A folder with a reference stack: `ctl.sh redis|api|worker start`, `ctl.sh all stop`.
    pub(crate) baseline: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// API and worker in one process, on SQLite.
    Sqlite,
    /// API, worker, Redis as ledger, Redis as vault.
    Redis,
    /// The reference stack.
    Baseline,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "seatrial, SQLite",
            Self::Redis => "seatrial, Redis",
            Self::Baseline => "reference",
        }
    }
}

/// Measures, prints tables, and returns what it saw.
pub(crate) fn run(built: Option<&Path>, asked: &Asked) -> Result<()> {
    packages::need(&[packages::REDIS, packages::WRK], "the benchmark")?;
    let binary = demo::binary(built, "release")?;
    let mut sides = vec![Side::Sqlite, Side::Redis];
    sides.extend(asked.baseline.as_ref().map(|_| Side::Baseline));
    let mut report = Report::default();
    for round in 1..=asked.rounds {
        for side in &sides {
            eprintln!("round {round} of {}: {}", asked.rounds, side.name());
            measure(&binary, *side, asked, &mut report)?;
        }
        // The other way round next time, so that none always follows the same one.
        sides.reverse();
    }
    for side in [Side::Sqlite, Side::Redis] {
        if !asked.depths.is_empty() {
            eprintln!("long queues: {}", side.name());
            deep(&binary, side, asked, &mut report)?;
        }
    }
    report.print(asked.rounds, asked.seconds);
    if let Some(path) = &asked.picture {
        fs::write(path, report.picture()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure(binary: &Path, side: Side, asked: &Asked, report: &mut Report) -> Result<()> {
    let seconds = asked.seconds;
    let mut stack = Stack::start(binary, side, asked)?;
    for clients in CLIENTS {
        let seen = stack.load(clients, seconds, None)?;
        report.loads.push(Load {
            side,
            what: "submit",
            clients,
            seen,
        });
    }
    drop(stack);
    stack = Stack::start(binary, side, asked)?;
    stack.work()?;
    // Connections are made and processes warm.
    stack.flow(200, 4)?;
    report.flows.push((side, stack.flow(asked.jobs, 16)?));
    let ids = stack.flow_ids(READ)?;
    let list = stack.folder.path().join("ids");
    fs::write(&list, ids.join("\n")).context("cannot write the list of jobs")?;
    for clients in CLIENTS {
        let seen = stack.load(clients, seconds, Some(&list))?;
        report.loads.push(Load {
            side,
            what: "read",
            clients,
            seen,
        });
    }
    report.latencies.push((side, stack.latencies(300)?));
    report.memory.push((side, usage::memory(&stack.parts())?));
    Ok(())
}

fn deep(binary: &Path, side: Side, asked: &Asked, report: &mut Report) -> Result<()> {
    let mut stack = Stack::start(binary, side, asked)?;
    for &depth in &asked.depths {
        stack.fill(depth)?;
        let submit = stack.load(16, asked.seconds, None)?;
        let memory = usage::memory(&stack.parts())?;
        let (settled, cpu_us) = stack.drain()?;
        report.depths.push(Depth {
            side,
            depth,
            submit,
            settled_per_s: settled,
            settle_cpu_us: cpu_us,
            memory,
        });
    }
    Ok(())
}

/// The processes of one side, in a folder of their own.
struct Stack {
    side: Side,
    product: Product,
    port: u16,
    agent: ureq::Agent,
    running: Vec<(String, Running)>,
    redis: Vec<(String, Redis)>,
    baseline: Option<Baseline>,
    folder: tempfile::TempDir,
}

impl Stack {
    /// Without a worker.
    fn start(binary: &Path, side: Side, asked: &Asked) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("seatrial-bench-")
            .tempdir()
            .context("cannot make a folder")?;
        let path = folder.path();
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .into();
        let mut stack = Self {
            side,
            product: Product {
                binary: binary.to_owned(),
                config: None,
                env: [
                    ("SEATRIAL__DATA_DIR", path.join("data").display().to_string()),
                    ("SEATRIAL__QUEUE__MAX_WAITING", "2000000".to_owned()),
                    ("SEATRIAL__LOG__LEVEL", "info".to_owned()),
                    ("SEATRIAL__LOG__FORMAT", "json".to_owned()),
                ]
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
                logs: path.to_owned(),
            },
            port: free_port()?,
            agent,
            running: Vec::new(),
            redis: Vec::new(),
            baseline: None,
            folder,
        };
        match side {
            Side::Baseline => {
                let folder = asked.baseline.as_deref().context("there is no reference stack")?;
                stack.port = 8410;
                stack.baseline = Some(Baseline::start(folder)?);
                let port = stack.port;
                if !wait_for(Duration::from_secs(30), || {
                    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
                }) {
                    bail!("the reference stack does not answer on port {port}");
                }
            }
            Side::Redis => {
                for name in ["ledger", "vault"] {
                    let redis = Redis::start(&stack.folder.path().join(name))?;
                    stack.set(&format!("SEATRIAL__{}__URL", name.to_uppercase()), redis.url());
                    stack.redis.push((format!("redis ({name})"), redis));
                }
                let keys = stack.folder.path().join("keys");
                let mut new = Command::new(binary);
                sh::output(new.args(["keys", "new"]).arg(&keys))?;
                stack.set("SEATRIAL__VAULT__KEYS", keys.display().to_string());
                stack.api(&["serve", "--no-worker"])?;
            }
            Side::Sqlite => stack.api(&["serve", "--no-worker"])?,
        }
        Ok(stack)
    }

    fn set(&mut self, name: &str, value: String) {
        self.product.env.insert(name.to_owned(), value);
    }

    fn api(&mut self, args: &[&str]) -> Result<()> {
        let process = self.product.api("api", self.port, args)?;
        self.running.push(("api".to_owned(), process));
        Ok(())
    }

    /// Starts the worker: in the API's process where the side has one process only.
    fn work(&mut self) -> Result<()> {
        match self.side {
            Side::Sqlite => {
                self.idle();
                self.api(&["serve", "--executor", "noop"])
            }
            Side::Redis => {
                let process = self.product.worker("worker", &["--executor", "noop"])?;
                self.running.push(("worker".to_owned(), process));
                Ok(())
            }
            Side::Baseline => self.baseline.as_ref().context("no reference stack")?.part("worker"),
        }
    }

    /// Ends the worker.
    fn idle(&mut self) {
        let last = self.running.pop();
        if let Some((_, mut process)) = last {
            process.stop(Duration::from_secs(30));
        }
    }

    fn parts(&self) -> Vec<Part> {
        let ours = self.running.iter().map(|(name, process)| (name.clone(), process.id()));
        let redis = self
            .redis
            .iter()
            .map(|(name, redis)| (name.clone(), redis.process.id()));
        let reference = self.baseline.iter().flat_map(Baseline::pids);
        ours.chain(redis)
            .chain(reference)
            .map(|(name, pid)| Part { name, pid })
            .collect()
    }

    fn url(&self, path: &str) -> String {
        let prefix = if self.side == Side::Baseline { "" } else { "/v1" };
        format!("http://127.0.0.1:{}{prefix}{path}", self.port)
    }

    /// A closed loop of so many clients: submissions, or reads of the jobs in a list.
    fn load(&self, clients: usize, seconds: u64, ids: Option<&Path>) -> Result<Seen> {
        let path = if ids.is_some() { "/jobs/{id}" } else { "/jobs" };
        let url = self.url(path);
        let (_, target) = url
            .trim_start_matches("http://")
            .split_once('/')
            .context("a URL has a path")?;
        let mut wrk = sh::command("wrk");
        wrk.args([
            "-t",
            "1",
            "--timeout",
            "10s",
            "-c",
            &clients.to_string(),
            "-d",
            &format!("{seconds}s"),
            "-s",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bench/load.lua"))
        .arg(format!("http://127.0.0.1:{}", self.port))
        .env("TARGET", format!("/{target}"))
        .env("BODY", json!({"dockerfile": DOCKERFILE}).to_string());
        if let Some(ids) = ids {
            wrk.env("IDS", ids);
        }
        let watch = Watch::begin(self.parts())?;
        let text = sh::output(&mut wrk)?;
        let (cpu_s, machine) = watch.end()?;
        let (_, row) = text.rsplit_once("JSON ").with_context(|| format!("wrk said: {text}"))?;
        let row: Value = serde_json::from_str(row.trim()).context("wrk's figures cannot be read")?;
        let number = |name: &str| row[name].as_f64().unwrap_or(f64::NAN);
        let requests = number("requests");
        Ok(Seen {
            per_s: requests / number("seconds"),
            p50_ms: number("p50_ms"),
            p99_ms: number("p99_ms"),
            errors: number("errors"),
            cpu_us: cpu_s / requests * 1e6,
            machine,
        })
    }

    /// Submits from several clients and waits until all jobs are over; their ids.
    fn submit_all(&self, count: usize, clients: usize) -> Result<Vec<String>> {
        let left = AtomicUsize::new(count);
        let submit = || -> Result<Vec<String>> {
            let mut ids = Vec::new();
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
            {
                ids.push(self.submit()?);
            }
            Ok(ids)
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..clients).map(|_| scope.spawn(submit)).collect();
            let mut all = Vec::new();
            for client in clients {
                all.extend(client.join().map_err(|_| anyhow!("a client broke"))??);
            }
            Ok(all)
        })
    }

    fn submit(&self) -> Result<String> {
        let mut answer = self
            .agent
            .post(self.url("/jobs"))
            .send_json(json!({"dockerfile": DOCKERFILE}))?;
        let job: Value = answer.body_mut().read_json()?;
        Ok(job["id"].as_str().context("the answer has no id")?.to_owned())
    }

    /// The job's document, when it ended well; `None` while it goes on.
    fn over(&self, id: &str) -> Result<Option<Value>> {
        let mut answer = self.agent.get(self.url(&format!("/jobs/{id}"))).call()?;
        let job: Value = answer.body_mut().read_json()?;
        let state = if self.side == Side::Baseline {
            &job["status"]
        } else {
            &job["state"]
        };
        match state.as_str() {
            Some("succeeded" | "SUCCESS") => Ok(Some(job)),
            Some("queued" | "running" | "PENDING" | "STARTED" | "RETRY") => Ok(None),
            _ => bail!("job {id} ended as {state}"),
        }
    }

    fn wait(&self, id: &str, pause: Duration) -> Result<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(job) = self.over(id)? {
                return Ok(job);
            }
            if Instant::now() > until {
                bail!("job {id} is not over after {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(pause);
        }
    }

    fn flow_ids(&self, count: usize) -> Result<Vec<String>> {
        let ids = self.submit_all(count, 16)?;
        // Order of their ends is not that of their submission.
        for id in &ids {
            self.wait(id, Duration::from_millis(20))?;
        }
        Ok(ids)
    }

    /// From the first submission to the last job's end.
    fn flow(&self, count: usize, clients: usize) -> Result<Flow> {
        let watch = Watch::begin(self.parts())?;
        let begun = Instant::now();
        let ids = self.submit_all(count, clients)?;
        let submitted_s = begun.elapsed().as_secs_f64();
        for id in ids.iter().rev().take(16 * clients) {
            self.wait(id, Duration::from_millis(20))?;
        }
        let done_s = begun.elapsed().as_secs_f64();
        let (cpu_s, machine) = watch.end()?;
        for id in &ids {
            self.wait(id, Duration::from_millis(20))?;
        }
        Ok(Flow {
            per_s: count as f64 / done_s,
            submitted_s,
            cpu_us: cpu_s / count as f64 * 1e6,
            machine,
        })
    }

    /// One job at a time on an idle system, in milliseconds: from the request to the end seen by tight polling,
    /// and from the job's birth to its start as its document says, where it says that.
    fn latencies(&self, count: usize) -> Result<Latencies> {
        let (mut done, mut start) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let begun = Instant::now();
            let id = self.submit()?;
            let job = self.wait(&id, Duration::from_micros(500))?;
            done.push(begun.elapsed().as_secs_f64() * 1e3);
            let time = |name: &str| job[name].as_str()?.parse::<jiff::Timestamp>().ok();
            if let (Some(created), Some(started)) = (time("created_at"), time("started_at")) {
                start.push(started.duration_since(created).as_secs_f64() * 1e3);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        done.sort_by(f64::total_cmp);
        Ok(Latencies {
            done_p50_ms: median(done.clone()),
            done_p99_ms: done[done.len() * 99 / 100],
            start_p50_ms: (!start.is_empty()).then(|| median(start)),
        })
    }

    /// What the metrics page says of jobs that wait.
    fn waiting(&self) -> Result<u64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let page = self.agent.get(url).call()?.body_mut().read_to_string()?;
        let lines = page
            .lines()
            .filter(|line| line.starts_with("seatrial_queue_jobs_waiting{"));
        let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(numbers.sum::<f64>() as u64)
    }

    fn fill(&self, depth: u64) -> Result<()> {
        loop {
            let waiting = self.waiting()?;
            if waiting >= depth {
                return Ok(());
            }
            eprintln!("  {waiting} of {depth} wait");
            self.load(64, 20, None)?;
        }
    }

    /// Jobs a second that a worker settles while many wait, and processor time of each, in microseconds.
    fn drain(&mut self) -> Result<(f64, f64)> {
        let before = self.waiting()?;
        self.work()?;
        // The worker has looked, claimed and settled.
        if !wait_for(Duration::from_secs(30), || {
            self.waiting().is_ok_and(|now| now + 200 < before)
        }) {
            bail!("no job was taken");
        }
        let watch = Watch::begin(self.parts())?;
        let (from, begun) = (self.waiting()?, Instant::now());
        std::thread::sleep(DRAIN);
        let (to, took) = (self.waiting()?, begun.elapsed().as_secs_f64());
        let (cpu_s, _) = watch.end()?;
        self.idle();
        if self.side == Side::Sqlite {
            self.api(&["serve", "--no-worker"])?;
        }
        let settled = from.saturating_sub(to) as f64;
        Ok((settled / took, cpu_s / settled * 1e6))
    }
}

/// What a load showed.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) errors: f64,
    /// Processor time of all parts for one request, in microseconds.
    pub(crate) cpu_us: f64,
    /// How busy the machine was, from 0 to 1.
    pub(crate) machine: f64,
}

/// See [`Stack::latencies`].
#[derive(Clone)]
pub(crate) struct Latencies {
    pub(crate) done_p50_ms: f64,
    pub(crate) done_p99_ms: f64,
    pub(crate) start_p50_ms: Option<f64>,
}

/// Processor time between two moments.
struct Watch {
    parts: Vec<Part>,
    cpu: f64,
    machine: (f64, f64),
}

impl Watch {
    fn begin(parts: Vec<Part>) -> Result<Self> {
        Ok(Self {
            cpu: usage::cpu(&parts)?.values().sum(),
            machine: usage::machine()?,
            parts,
        })
    }

    /// Seconds of all parts, and how busy the machine was.
    fn end(self) -> Result<(f64, f64)> {
        let cpu: f64 = usage::cpu(&self.parts)?.values().sum();
        let (busy, all) = usage::machine()?;
        Ok((cpu - self.cpu, (busy - self.machine.0) / (all - self.machine.1)))
    }
}

/// The reference stack, ended when it is dropped.
struct Baseline {
    folder: PathBuf,
}

impl Baseline {
    fn start(folder: &Path) -> Result<Self> {
        let started = Self {
            folder: folder.to_owned(),
        };
        let _ = fs::remove_dir_all(home().join("redis"));
        started.part("redis")?;
        // What is acknowledged is on disk, as on our side.
        sh::output(sh::command("redis-cli").args(["-p", "6410", "config", "set", "appendfsync", "always"]))?;
        started.part("api")?;
        Ok(started)
    }

    fn part(&self, name: &str) -> Result<()> {
        sh::run(&mut self.ctl(&[name, "start"]))
    }

    fn ctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.folder.join("ctl.sh"));
        command.args(args).env("BASELINE_EXECUTOR", "noop");
        command
    }

    fn pids(&self) -> Vec<(String, u32)> {
        let pid = |name: &str| {
            fs::read_to_string(home().join(format!("run/{name}.pid")))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        ["api", "worker", "redis"]
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), pid(name)?)))
            .collect()
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        if let Err(error) = sh::run(&mut self.ctl(&["all", "stop"])) {
            eprintln!("the reference stack did not stop: {error:#}");
        }
    }
}

/// Where the reference stack keeps what it writes.
fn home() -> PathBuf {
    std::env::var_os("BASELINE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".seatrial-baseline"),
        PathBuf::from,
    )
}
