//! `seatrial doctor --attack`: the attacks that Seatrial was tested with, on the operator's own Engine.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, IsTerminal as _, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use seatrial_core::{engine::Engine as _, job::Ending, scanner::DatabaseKind};
use seatrial_pipeline::case::Settings;
use seatrial_policy::Policy;
use seatrial_scan::{Trivy, TrivySettings};
use tokio::sync::watch;

use crate::{
    attack::{
        host::Place,
        report::Row,
        specimen::{self, Specimen},
        suite::{self, Asked, Unfit, World},
    },
    cli::{Cli, DoctorArgs, DoctorFormat},
    config::Config,
};

const RISKS: &str = "\
This attacks the Engine on purpose, with hostile Dockerfiles, each behind the walls that jobs have.
  - They fill memory, fork, burn processors and fill disks up to the limits of their policies.
  - A wall that does not stand lets them out: onto this machine, and as its root where the Engine has no user namespaces.
  - What they may harm is found out afterwards, not prevented by this.
It wants a machine without other work: whatever else changes meanwhile on the Engine reads as an escape.";

/// Attacks, and says what held. The exit code is 1 when something escaped.
pub(crate) async fn run(cli: &Cli, config: &Config, args: &DoctorArgs) -> Result<u8> {
    let specimens = chosen(&args.only)?;
    say(RISKS);
    if !args.yes {
        consent(specimens.len())?;
    }
    let asked = Asked {
        specimens,
        until: Instant::now() + Duration::from_secs(60 * u64::from(args.minutes)),
        ordinary_every: args.ordinary_every,
    };
    let stop = interrupts();
    let world = match world(config, args).await {
        Ok(world) => world,
        Err(error) => return Ok(unfit(&error)),
    };
    let progress = |row: &Row| {
        if !cli.quiet {
            let _ = writeln!(anstream::stderr(), "{}", row.line());
        }
    };
    let suite = suite::run(&world, &asked, &stop, &progress).await;
    world.engine.tidy(Duration::from_secs(20)).await;
    let suite = match suite {
        Ok(suite) => suite,
        Err(error) if *stop.borrow() => {
            say(&format!("interrupted: {error:#}"));
            return Ok(Ending::Cancelled.exit_code());
        }
        Err(error) => return Ok(unfit(&error)),
    };
    match args.format {
        DoctorFormat::Text => super::print(&suite.text()),
        DoctorFormat::Json => super::print_json(&suite.document())?,
        DoctorFormat::Sarif => super::print_json(&suite.sarif())?,
    }
    Ok(suite.exit_code(args.strict, *stop.borrow()))
}

/// Nothing was tried: says why, and what to do.
fn unfit(error: &anyhow::Error) -> u8 {
    say(&format!("error: {error:#}"));
    say(match error.downcast_ref::<Unfit>() {
        Some(Unfit::Busy(_)) => {
            "  help: Wait for the jobs and stop `seatrial serve` and `seatrial worker`, then try again."
        }
        _ => "  help: `seatrial doctor` says what is missing. Without a real database use --fixture-db.",
    });
    Ending::Errored.exit_code()
}

fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

fn chosen(only: &[String]) -> Result<Vec<Specimen>> {
    let mut all = specimen::all()?;
    if only.is_empty() {
        return Ok(all);
    }
    let known: BTreeSet<&str> = all.iter().map(|specimen| specimen.name).collect();
    if let Some(unknown) = only.iter().find(|name| !known.contains(name.as_str())) {
        let names: Vec<&str> = known.into_iter().collect();
        bail!(
            "there is no specimen '{}'; there are {}",
            unknown.escape_debug(),
            names.join(", ")
        );
    }
    all.retain(|specimen| only.iter().any(|name| name == specimen.name));
    Ok(all)
}

/// Asks on a terminal; without one, nobody can have agreed.
fn consent(count: usize) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask on; --yes says that you have read the risks");
    }
    let _ = write!(anstream::stderr(), "Try {count} attacks on it now? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was tried");
    }
    Ok(())
}

async fn world(config: &Config, args: &DoctorArgs) -> Result<World> {
    let engine = Arc::new(super::engine(config).await?);
    let facts = engine.probe().await?;
    let kind = if args.fixture_db {
        DatabaseKind::Fixture
    } else {
        DatabaseKind::Real
    };
    super::run::fixture(config, &engine, kind).await?;
    let policy = Policy::default();
    let scanner = Trivy::new(
        engine.clone(),
        TrivySettings {
            data_dir: config.data_dir.clone(),
            database: kind,
            max_layers: policy.limits.build.layers.as_u64(),
            base_memory: config.scan.base_memory,
        },
    );
    let settings = Settings {
        policy,
        fixture_database: args.fixture_db,
        runtime: config.run.runtime.clone(),
        attempts: config.run.attempts,
        sbom: false,
        config_checks: false,
    };
    let place = Place::find(engine.socket().as_deref(), &facts.root_dir, &config.data_dir).await;
    Ok(World {
        engine,
        scanner: Arc::new(scanner),
        settings,
        place,
    })
}

/// Becomes true at the first interrupt: the trial under way is ended, its containers are removed, and what was
/// found so far is told.
fn interrupts() -> watch::Receiver<bool> {
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        super::run::interrupted().await;
        let _ = tell.send(true);
        // Kept, so that who waits does not take our going for silence.
        tell.closed().await;
    });
    told
}
