//! What a developer needs around the product: an Engine, images, a database, checks of the house rules.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool talks to its terminal"
)]

mod dev;
mod engine;
mod fixture;
mod packages;
mod sh;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use dev::Dev;

/// Tasks around the workspace. Everything made lies in $SEATRIAL_DEV_DIR or ~/.cache/seatrial-dev.
#[derive(Parser)]
#[command(name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Our own Docker Engine, apart from any other of the machine.
    #[command(subcommand)]
    Engine(EngineTask),
    /// Write a small vulnerability database in the scanner's format, for tests.
    FixtureDb {
        /// The folder for `trivy.db` and `metadata.json`.
        folder: PathBuf,
    },
    /// Stop our Engine and remove the dev folder.
    Clean,
}

#[derive(Subcommand)]
enum EngineTask {
    /// Start it, or do nothing when it runs.
    Up,
    /// Remove its containers and stop it.
    Down,
    /// Say what runs.
    Status,
}

fn main() -> Result<()> {
    let dev = Dev::locate();
    match Cli::parse().task {
        Task::Engine(EngineTask::Up) => engine::up(&dev?).map(|_| ()),
        Task::Engine(EngineTask::Down) => engine::down(&dev?),
        Task::Engine(EngineTask::Status) => engine::status(&dev?),
        Task::FixtureDb { folder } => fixture::write(&folder),
        Task::Clean => {
            let dev = dev?;
            engine::down(&dev)?;
            engine::remove_data(&dev)?;
            dev.remove()
        }
    }
}
