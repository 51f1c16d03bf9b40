//! `cargo xtask chaos`: the queue under a storm, with real processes and real servers.
//!
//! Workers do nothing but wait, so hundreds of jobs go through in minutes; everything around them is real:
//! the product's own processes, Redis with its file, RabbitMQ, a small disk. When the storm is over, each job
//! that was acknowledged is looked at, and each piece of its history.

mod check;
mod storm;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{
    demo,
    fleet::{Product, Rabbit, Redis, free_port},
    packages, sh,
};

use check::{Client, Submitter};

/// Which parts stand under the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Under {
    /// One file.
    Sqlite,
    /// Redis, which also tells workers that there is work.
    Redis,
    /// Redis, with RabbitMQ as dispatcher.
    Rabbitmq,
}

/// What was asked for.
pub(crate) struct Asked {
    /// Under what.
    pub(crate) under: Vec<Under>,
    /// How long the storm lasts, in seconds, under each.
    pub(crate) seconds: u64,
    /// Workers.
    pub(crate) workers: usize,
    /// What the storm does is drawn from this.
    pub(crate) seed: u64,
}

/// A lease, short so that many run out.
const LEASE: Duration = Duration::from_secs(2);
/// How long a job takes.
const TAKES: &str = "200ms";
/// Every job must be over so long after the storm: a lost lease, its back-off, and the jobs that wait.
const BOUND: Duration = Duration::from_secs(60);

/// What one storm showed.
pub(crate) struct Row {
    under: Under,
    storm: storm::Counts,
    check: check::Counts,
    settled_after: Duration,
}

/// Runs a storm under each, prints a table, fails when a promise was broken.
pub(crate) fn run(built: Option<&Path>, profile: &str, asked: &Asked) -> Result<()> {
    packages::need(&[packages::REDIS, packages::FAKETIME], "chaos")?;
    let binary = demo::binary(built, profile)?;
    let mut rows = Vec::new();
    for under in &asked.under {
        eprintln!("storm under {under:?}, {} s, seed {}", asked.seconds, asked.seed);
        rows.push(storm_under(&binary, *under, asked)?);
    }
    table(&rows);
    let broken: u64 = rows.iter().map(|row| row.check.broken()).sum();
    if broken > 0 {
        bail!("{broken} promises were broken");
    }
    Ok(())
}

/// The parts under test.
pub(crate) struct Bench {
    pub(crate) under: Under,
    pub(crate) redis: Option<Redis>,
    pub(crate) rabbit: Option<Rabbit>,
    pub(crate) product: Product,
    pub(crate) port: u16,
    /// A small disk of its own, for SQLite.
    pub(crate) disk: Option<SmallDisk>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn set_up(binary: &Path, under: Under) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("seatrial-chaos-")
            .tempdir()
            .context("cannot make a folder")?;
        let path = folder.path();
        let redis = match under {
            Under::Sqlite => None,
            Under::Redis | Under::Rabbitmq => Some(Redis::start(&path.join("redis"))?),
        };
        let rabbit = match under {
            Under::Rabbitmq => Some(Rabbit::start(&path.join("rabbitmq"))?),
            Under::Sqlite | Under::Redis => None,
        };
        let disk = match under {
            Under::Sqlite => Some(SmallDisk::mount(&path.join("data"))?),
            Under::Redis | Under::Rabbitmq => None,
        };
        let mut env = vec![
            ("SEATRIAL__DATA_DIR", path.join("data").display().to_string()),
            ("SEATRIAL__WORKER__LEASE", format!("{}s", LEASE.as_secs())),
            ("SEATRIAL__WORKER__SLOTS", "4".to_owned()),
            ("SEATRIAL__QUEUE__MAX_LOSSES", "50".to_owned()),
            ("SEATRIAL__VAULT__THIS_HOST_ONLY", "true".to_owned()),
            ("SEATRIAL__LOG__LEVEL", "info".to_owned()),
            ("SEATRIAL__LOG__FORMAT", "json".to_owned()),
        ];
        env.extend(redis.as_ref().map(|redis| ("SEATRIAL__LEDGER__URL", redis.url())));
        env.extend(rabbit.as_ref().map(|rabbit| ("SEATRIAL__DISPATCH__URL", rabbit.url())));
        Ok(Self {
            under,
            redis,
            rabbit,
            product: Product {
                binary: binary.to_owned(),
                config: None,
                env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                logs: path.to_owned(),
            },
            port: free_port()?,
            disk,
            _folder: folder,
        })
    }
}

fn storm_under(binary: &Path, under: Under, asked: &Asked) -> Result<Row> {
    let mut bench = Bench::set_up(binary, under)?;
    let mut fleet = storm::Fleet::start(&bench, asked.workers)?;
    let over = Arc::new(AtomicBool::new(false));
    let submitter = Submitter::start(bench.port, over.clone());
    let storm = storm::rage(&mut bench, &mut fleet, Duration::from_secs(asked.seconds), asked.seed);
    over.store(true, Ordering::Relaxed);
    let submitted = submitter.join()?;
    let storm = storm?;
    fleet.heal(&bench)?;
    let calm = Instant::now();
    let check = check::all(&Client::new(bench.port), &submitted, BOUND)?;
    let settled_after = calm.elapsed();
    let fenced = fleet.lines_with(&bench, "is dropped")?
        + fleet.lines_with(&bench, "was refused")?
        + fleet.lines_with(&bench, "lease is lost")?;
    if check.broken() > 0 {
        // For whoever looks into it.
        let kept = std::env::temp_dir().join(format!("seatrial-chaos-{under:?}-{}", asked.seed));
        sh::run(sh::command("cp").arg("-a").arg(&bench.product.logs).arg(&kept))?;
        eprintln!("logs are kept in {}", kept.display());
    }
    drop(fleet);
    Ok(Row {
        under,
        storm,
        check: check::Counts { fenced, ..check },
        settled_after,
    })
}

/// A file system of a few MiB that a test can fill.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Result<Self> {
        std::fs::create_dir_all(at).with_context(|| format!("cannot make {}", at.display()))?;
        sh::run(
            sh::command("mount")
                .args(["-t", "tmpfs", "-o", "size=128m,mode=0700", "seatrial-chaos"])
                .arg(at),
        )
        .context("a small disk needs root")?;
        Ok(Self(at.to_owned()))
    }

    /// Fills it to the last byte, and empties it again when the value is dropped.
    pub(crate) fn fill(&self) -> Full {
        let path = self.0.join("filler");
        // Ends with "no space left", as it should.
        let _ = std::fs::File::create(&path).and_then(|mut file| std::io::copy(&mut std::io::repeat(0), &mut file));
        Full(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = sh::attempt(sh::command("umount").arg("--lazy").arg(&self.0));
    }
}

/// A full disk.
pub(crate) struct Full(PathBuf);

impl Drop for Full {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn table(rows: &[Row]) {
    println!(
        "\n{:<9} {:>6} {:>6} {:>5} {:>6} {:>7} {:>6} {:>7} {:>6} {:>6} {:>5} {:>7} {:>8} {:>9}",
        "under",
        "jobs",
        "kills",
        "stops",
        "clock",
        "servers",
        "full",
        "losses",
        "fenced",
        "lost",
        "twice",
        "history",
        "not over",
        "calm, s"
    );
    for row in rows {
        println!(
            "{:<9} {:>6} {:>6} {:>5} {:>6} {:>7} {:>6} {:>7} {:>6} {:>6} {:>5} {:>7} {:>8} {:>9.1}",
            format!("{:?}", row.under).to_lowercase(),
            row.check.jobs,
            row.storm.kills,
            row.storm.stops,
            row.storm.clock_jumps,
            row.storm.servers,
            row.storm.full_disks,
            row.check.losses,
            row.check.fenced,
            row.check.lost,
            row.check.twice,
            row.check.bad_history,
            row.check.not_over,
            row.settled_after.as_secs_f64()
        );
    }
    println!(
        "\njobs: acknowledged. kills: SIGKILL of a worker or an API. stops: SIGSTOP for longer than a lease. clock: workers\n\
         started with a wall clock an hour off. servers: Redis or RabbitMQ killed and restarted, or paused. losses: leases\n\
         that ran out. fenced: late writes refused and trials ended by themselves. Promises, each must be 0: lost (an\n\
         acknowledged job is not there), twice (settled more than once), history (numbers of its events have a gap), not\n\
         over (not terminal {} s after the storm, or not as it should be).",
        BOUND.as_secs()
    );
}
