//! `make up`: the whole service on one machine, from packages, without containers, until it is interrupted.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::{
    demo,
    dev::Dev,
    engine,
    fleet::{Product, Rabbit, Redis, wait_for},
    images,
};

/// Where the API listens.
const PORT: u16 = 8080;
/// Workers.
const WORKERS: usize = 2;

/// Starts everything, says where it is, and ends everything at the first interrupt.
pub(crate) fn run(dev: &Dev, built: Option<&Path>, profile: &str) -> Result<()> {
    let stop = interrupted()?;
    dev.create()?;
    let engine = engine::running(dev).map_or_else(|| engine::up(dev), Ok)?;
    let config = images::prepare(dev, &engine, false)?;
    let binary = demo::binary(built, profile)?;
    let folder = dev.folder("up")?;
    let redis = Redis::start(&dev.folder("up/redis")?)?;
    let vault = Redis::start(&dev.folder("up/vault")?)?;
    let rabbit = Rabbit::start(&dev.folder("up/rabbitmq")?)?;
    let keys = folder.join("keys");
    let mut product = Product {
        binary,
        config: Some(config),
        env: [
            ("SEATRIAL__LEDGER__URL", redis.url()),
            ("SEATRIAL__VAULT__URL", vault.url()),
            ("SEATRIAL__VAULT__KEYS", keys.display().to_string()),
            ("SEATRIAL__DISPATCH__URL", rabbit.url()),
            ("SEATRIAL__LOG__LEVEL", "info".to_owned()),
            ("SEATRIAL__LOG__FORMAT", "json".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        logs: folder.clone(),
    };
    if !keys.exists() {
        let mut new = product.command(&["keys", "new"]);
        // A ring that is not there yet cannot be a setting.
        new.env_remove("SEATRIAL__VAULT__URL")
            .env_remove("SEATRIAL__VAULT__KEYS");
        crate::sh::output(new.arg(&keys))?;
    }
    product.env.insert(
        "SEATRIAL__DATA_DIR".to_owned(),
        dev.folder("up/data")?.display().to_string(),
    );
    let mut parts = vec![product.api("api", PORT, &["serve", "--no-worker", "--fixture-db"])?];
    for number in 1..=WORKERS {
        parts.push(product.worker(&format!("worker-{number}"), &["--fixture-db"])?);
    }
    eprintln!(
        "\nSeatrial is up: http://127.0.0.1:{PORT} (documentation: /docs)\n\
         1 API, {WORKERS} workers, ledger {}, vault {}, dispatch {}\n\
         logs in {}\n\n    \
         seatrial submit --wait examples/perf/Dockerfile\n\n\
         Ctrl-C ends all of it; jobs are kept.",
        redis.url(),
        vault.url(),
        rabbit.url(),
        folder.display()
    );
    loop {
        if wait_for(Duration::from_millis(500), || {
            stop.load(std::sync::atomic::Ordering::Relaxed)
        }) {
            break;
        }
        if let Some(dead) = parts
            .iter_mut()
            .find_map(|part| (!part.is_alive()).then(|| part.log.clone()))
        {
            bail!("a process ended by itself; see {}", dead.display());
        }
    }
    eprintln!("Stopping.");
    // Workers first: they hand back what they hold.
    while let Some(mut part) = parts.pop() {
        part.stop(Duration::from_secs(90));
    }
    drop((redis, vault, rabbit));
    Ok(())
}

/// Set by the first SIGINT or SIGTERM.
fn interrupted() -> Result<std::sync::Arc<std::sync::atomic::AtomicBool>> {
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, flag.clone()).context("cannot listen for signals")?;
    }
    Ok(flag)
}
