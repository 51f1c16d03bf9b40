//! What is done to the processes and servers, drawn from a seed.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::{Bench, LEASE, TAKES, Under};
use crate::fleet::Running;

/// How often what was done.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) kills: u64,
    pub(crate) stops: u64,
    pub(crate) clock_jumps: u64,
    pub(crate) servers: u64,
    pub(crate) full_disks: u64,
}

/// The product's processes.
pub(crate) struct Fleet {
    api: Running,
    workers: Vec<Running>,
}

impl Fleet {
    /// One API process and some workers.
    pub(crate) fn start(bench: &Bench, workers: usize) -> Result<Self> {
        let api = api(bench)?;
        let workers = (0..workers)
            .map(|number| worker(bench, number, None))
            .collect::<Result<_>>()?;
        Ok(Self { api, workers })
    }

    /// Everybody who was killed comes back, with a right clock.
    pub(crate) fn heal(&mut self, bench: &Bench) -> Result<()> {
        if !self.api.is_alive() {
            self.api = api(bench)?;
        }
        for (number, process) in self.workers.iter_mut().enumerate() {
            if !process.is_alive() {
                *process = worker(bench, number, None)?;
            }
        }
        Ok(())
    }

    /// Lines of all logs that hold this.
    pub(crate) fn lines_with(&self, bench: &Bench, text: &str) -> Result<u64> {
        let mut found = 0;
        for entry in fs::read_dir(&bench.product.logs)
            .context("cannot list the logs")?
            .flatten()
        {
            if entry.path().extension().is_some_and(|kind| kind == "log") {
                let log = fs::read(entry.path()).context("cannot read a log")?;
                let lines = String::from_utf8_lossy(&log);
                found += lines.lines().filter(|line| line.contains(text)).count() as u64;
            }
        }
        Ok(found)
    }
}

fn api(bench: &Bench) -> Result<Running> {
    bench.product.api("api", bench.port, &["serve", "--no-worker"])
}

fn worker(bench: &Bench, number: usize, clock: Option<&str>) -> Result<Running> {
    let name = format!("worker-{number}");
    let args = ["--executor", "noop", "--noop-takes", TAKES, "--noop-stages"];
    let Some(clock) = clock else {
        return bench.product.worker(&name, &args);
    };
    let mut real = bench.product.clone();
    real.binary = crate::sh::find("faketime").context("faketime is missing")?;
    let binary = bench.product.binary.display().to_string();
    let mut command = real.command(&["-f", clock, &binary, "worker"]);
    // Leases and time-outs of the process itself count on a clock that never jumps, as on a real host.
    command
        .args(args)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    Running::start(command, real.logs.join(format!("{name}.log")))
}

/// Does one thing after another until time is over.
pub(crate) fn rage(bench: &mut Bench, fleet: &mut Fleet, time: Duration, seed: u64) -> Result<Counts> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut counts = Counts::default();
    let until = Instant::now() + time;
    let mut turn = 0;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(dice.u64(100..900)));
        let number = dice.usize(..fleet.workers.len());
        turn += 1;
        // The rare and slow ones come surely, in a short storm too.
        match turn % 12 {
            3 => {
                fleet.workers[number].kill();
                let clock = if dice.bool() { "+1h" } else { "-1h" };
                fleet.workers[number] = worker(bench, number, Some(clock))?;
                counts.clock_jumps += 1;
            }
            5 => {
                fleet.api.kill();
                fleet.api = api(bench)?;
                counts.kills += 1;
            }
            7 => counts.servers += servers(bench, &mut dice)?,
            9 if bench.disk.is_some() => {
                let full = bench.disk.as_ref().map(super::SmallDisk::fill);
                std::thread::sleep(LEASE / 2);
                drop(full);
                counts.full_disks += 1;
            }
            1 | 11 => {
                fleet.workers[number].signal(Signal::STOP)?;
                std::thread::sleep(LEASE + LEASE / 2);
                fleet.workers[number].signal(Signal::CONT)?;
                counts.stops += 1;
            }
            _ => {
                fleet.workers[number].kill();
                fleet.workers[number] = worker(bench, number, None)?;
                counts.kills += 1;
            }
        }
    }
    Ok(counts)
}

/// Hurts a server; returns how many were hurt.
fn servers(bench: &mut Bench, dice: &mut fastrand::Rng) -> Result<u64> {
    match (bench.under, dice.u8(0..3)) {
        (Under::Sqlite, _) => Ok(0),
        (Under::Rabbitmq, 0) => {
            if let Some(rabbit) = &mut bench.rabbit {
                rabbit.crash_and_restart()?;
            }
            Ok(1)
        }
        (Under::Redis | Under::Rabbitmq, 1) => {
            if let Some(redis) = &bench.redis {
                redis.process.signal(Signal::STOP)?;
                std::thread::sleep(LEASE);
                redis.process.signal(Signal::CONT)?;
            }
            Ok(1)
        }
        (Under::Redis | Under::Rabbitmq, _) => {
            if let Some(redis) = &mut bench.redis {
                redis.crash_and_restart(Duration::from_millis(dice.u64(100..1500)))?;
            }
            Ok(1)
        }
    }
}
