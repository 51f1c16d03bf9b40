//! `make demo`: from a fresh machine to the first result.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    dev::{self, Dev},
    engine::{self, Engine},
    images, packages, sh,
};

/// Engine, images and configuration; builds the product and runs the first example.
///
/// `built` is a binary that exists already; without it one is built with `profile`.
pub(crate) fn run(dev: &Dev, profile: &str, built: Option<&Path>) -> Result<()> {
    let engine = engine_for_demo(dev)?;
    let config = images::prepare(dev, &engine, false)?;
    let mut seatrial = match built {
        Some(path) => {
            let path = path
                .canonicalize()
                .with_context(|| format!("cannot find {}", path.display()))?;
            vec![path.into_os_string()]
        }
        None => {
            sh::run(cargo().args(["build", "--locked", "--package", "seatrial", "--profile", profile]))?;
            let words = [
                "run",
                "--quiet",
                "--locked",
                "--package",
                "seatrial",
                "--profile",
                profile,
                "--",
            ];
            let mut all = vec![cargo().get_program().to_owned()];
            all.extend(words.map(Into::into));
            all
        }
    };
    seatrial.push("--config".into());
    let product = |config: &Path| {
        let mut command = Command::new(&seatrial[0]);
        command.current_dir(dev::workspace()).args(&seatrial[1..]).arg(config);
        command.env_remove("SEATRIAL_CONFIG");
        command
    };
    let database = real_database(dev, &engine, &product)?;
    let mut command = match &database {
        Some(config) => product(config),
        None => product(&config),
    };
    command.arg("run");
    if database.is_none() {
        eprintln!(
            "\n*** FIXTURE *** The scanner's vulnerability database cannot be downloaded here. The demo uses a\n\
             *** FIXTURE *** small one for tests: its verdict says nothing about real vulnerabilities.\n"
        );
        command.arg("--fixture-db");
    }
    sh::run(command.arg("examples/perf/Dockerfile"))
}

/// Our own Engine when it runs, else the machine's, else a new one of our own.
fn engine_for_demo(dev: &Dev) -> Result<Engine> {
    if let Some(engine) = engine::running(dev) {
        return Ok(engine);
    }
    match engine::of_the_machine() {
        Some(engine) => {
            eprintln!("Using the Engine of this machine for the demo: {}", engine.host);
            Ok(engine)
        }
        None => engine::up(dev),
    }
}

/// Where the scanner gets its database by default.
const DATABASE_HOSTS: [&str; 2] = ["mirror.gcr.io", "ghcr.io"];

/// Gets the real database where it can be had, and gives the configuration that uses it. It has a
/// data folder of its own: tests count on none being in force.
fn real_database(dev: &Dev, engine: &Engine, product: &dyn Fn(&Path) -> Command) -> Result<Option<PathBuf>> {
    if !DATABASE_HOSTS.iter().any(|host| images::answers(host)) {
        return Ok(None);
    }
    let config = images::with_real_database(dev, engine)?;
    let imported = if engine.own {
        // The bridge of our Engine leads nowhere, so the product's own `db update` has no way out.
        let folder = dev.folder("database")?;
        let downloaded = sh::run(
            engine
                .docker()
                .args(["run", "--rm", "--network", "host", "--userns", "host", "--volume"])
                .arg(format!("{}:/database", folder.display()))
                .args([
                    images::SCANNER,
                    "image",
                    "--download-db-only",
                    "--cache-dir",
                    "/database",
                ])
                .args(["--no-progress", "--disable-telemetry", "--skip-version-check"]),
        );
        downloaded.and_then(|()| sh::run(product(&config).args(["db", "import"]).arg(folder.join("db"))))
    } else {
        sh::run(product(&config).args(["db", "update"]))
    };
    match imported {
        Ok(()) => Ok(Some(config)),
        Err(error) => {
            eprintln!("The vulnerability database was not downloaded: {error:#}");
            Ok(None)
        }
    }
}

/// A binary of the product: the one that is there, else a new one.
pub(crate) fn binary(built: Option<&Path>, profile: &str) -> Result<PathBuf> {
    if let Some(path) = built {
        return path
            .canonicalize()
            .with_context(|| format!("cannot find {}", path.display()));
    }
    sh::run(cargo().args(["build", "--locked", "--package", "seatrial", "--profile", profile]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| dev::workspace().join("target"), PathBuf::from);
    Ok(target
        .join(if profile == "dev" { "debug" } else { profile })
        .join("seatrial"))
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(dev::workspace());
    command
}

/// Everything that tests need: our own Engine, never another one.
pub(crate) fn setup(dev: &Dev) -> Result<()> {
    use packages::{OPENSSL, PROMTOOL, PYTHON, RABBITMQ, REDIS, SETPRIV};
    let tools = [REDIS, RABBITMQ, OPENSSL, SETPRIV, PROMTOOL, PYTHON];
    packages::need(&tools, "tests of the service")?;
    let engine = engine::up(dev)?;
    if !engine.own {
        bail!("tests run on our own Engine only");
    }
    images::prepare(dev, &engine, false).map(|_| ())
}
