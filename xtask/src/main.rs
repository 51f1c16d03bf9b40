//! What a developer needs around the product: an Engine, images, a database, checks of the house rules.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool talks to its terminal"
)]

mod bench;
mod chaos;
mod demo;
mod dev;
mod engine;
mod engines;
mod fixture;
mod fleet;
mod fuzz;
mod images;
mod layers;
mod packages;
mod schemathesis;
mod sh;
mod specimens;
mod up;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
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
    /// Everything that tests need: our own Engine, images, a fixture database, the configuration.
    Setup,
    /// Set up what is missing, build the product and run the first example.
    Demo {
        /// Cargo profile to build with.
        #[arg(long, default_value = "release")]
        profile: String,
        /// A binary that is there already, instead of building one.
        #[arg(long, value_name = "FILE")]
        seatrial: Option<PathBuf>,
    },
    /// Our own Docker Engine, apart from any other of the machine. SEATRIAL_ENGINE names which one: userns (the
    /// default); plain, without user namespaces; deb13 and forky, from the packages of Debian 13 and of the next
    /// release; forky-store, with containerd's image store. All have gVisor's runtime, runsc.
    #[command(subcommand)]
    Engine(EngineTask),
    /// Put the images that development needs on our Engine: pulled, else made from packages.
    Images {
        /// Pull or make them again, also those that are there.
        #[arg(long)]
        fresh: bool,
    },
    /// Write a small vulnerability database in the scanner's format, for tests.
    FixtureDb {
        /// The folder for `trivy.db` and `metadata.json`.
        folder: PathBuf,
    },
    /// Time a whole trial beside docker build, trivy image and docker run by hand; then the judge.
    Bench {
        /// How often each is measured.
        #[arg(long, default_value_t = 7)]
        rounds: usize,
        /// Only this level of walls: namespaces, userns, gvisor. May be given several times; userns unless given.
        #[arg(long, value_name = "NAME")]
        level: Vec<String>,
        /// Also through the service, with and without containers that stand ready.
        #[arg(long)]
        pool: bool,
        /// A binary that is there already, instead of building one.
        #[arg(long, value_name = "FILE")]
        seatrial: Option<PathBuf>,
    },
    /// How the service does: submissions, status reads, jobs from end to end, memory, long queues.
    BenchService {
        /// How long each load lasts, in seconds.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// How often all of it is done; medians are told.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Jobs of a flow from end to end.
        #[arg(long, default_value_t = 5000)]
        jobs: usize,
        /// Lengths of the queue for the cost of a job behind it; none: not measured.
        #[arg(long, value_delimiter = ',')]
        depths: Vec<u64>,
        /// A reference stack to measure beside it: a folder with `ctl.sh`.
        #[arg(long, value_name = "FOLDER")]
        baseline: Option<PathBuf>,
        /// Write a picture of the figures.
        #[arg(long, value_name = "SVG")]
        picture: Option<PathBuf>,
        /// A binary that is there already, instead of building one.
        #[arg(long, value_name = "FILE")]
        seatrial: Option<PathBuf>,
    },
    /// The judge beside hadolint and Trivy's Dockerfile checks: a file, many files, memory; then in process.
    BenchJudge {
        /// A folder of Dockerfiles.
        #[arg(long, value_name = "FOLDER", default_value = "../shared/corpus/files")]
        corpus: PathBuf,
        /// How often each is measured.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Write a picture of the figures.
        #[arg(long, value_name = "FILE")]
        picture: Option<PathBuf>,
        /// A binary that is there already, instead of building one.
        #[arg(long, value_name = "FILE")]
        seatrial: Option<PathBuf>,
    },
    /// The judge under made-up texts, for so many minutes; new ones stay in fuzz/corpus/.
    Fuzz {
        /// In all.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
    },
    /// The whole service on this machine until it is interrupted: API, workers, Redis, RabbitMQ.
    Up {
        /// Cargo profile to build with.
        #[arg(long, default_value = "release")]
        profile: String,
        /// A binary that is there already, instead of building one.
        #[arg(long, value_name = "FILE")]
        seatrial: Option<PathBuf>,
    },
    /// The queue under a storm of killed and stopped processes and servers; prints a table.
    Chaos {
        /// How long each storm lasts.
        #[arg(long, default_value_t = 0.5)]
        minutes: f64,
        /// Under what; all when empty.
        #[arg(long, value_enum)]
        under: Vec<chaos::Under>,
        /// Workers.
        #[arg(long, default_value_t = 4)]
        workers: usize,
        /// The same seed does the same things.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Cargo profile to build with.
        #[arg(long, default_value = "dev")]
        profile: String,
        /// A binary that is there already, instead of building one.
        #[arg(long, value_name = "FILE")]
        seatrial: Option<PathBuf>,
    },
    /// Ask a live server whatever the API's description allows, and forbids; fails when an answer is not as described.
    Schemathesis {
        /// Requests for each operation and phase.
        #[arg(long, default_value_t = 50)]
        examples: u32,
        /// The same seed asks the same.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Cargo profile to build with.
        #[arg(long, default_value = "dev")]
        profile: String,
        /// A binary that is there already, instead of building one.
        #[arg(long, value_name = "FILE")]
        seatrial: Option<PathBuf>,
    },
    /// The attacks at every level that can be had here; writes docs/SPECIMENS.md. Takes minutes for each level.
    Specimens {
        /// Only this level: namespaces, userns, gvisor. May be given several times.
        #[arg(long, value_name = "NAME")]
        level: Vec<String>,
        /// Only a choice of them, of which all must be contained; no page is written.
        #[arg(long, conflicts_with_all = ["told", "page"])]
        choice: bool,
        /// A document of `seatrial doctor --attack --format json` that is there already: its level is not run.
        #[arg(long, value_name = "FILE")]
        told: Vec<PathBuf>,
        /// Another page than docs/SPECIMENS.md.
        #[arg(long, value_name = "FILE")]
        page: Option<PathBuf>,
        /// A binary that is there already, instead of building one.
        #[arg(long, value_name = "FILE")]
        seatrial: Option<PathBuf>,
    },
    /// The main job, some attacks and tests on each Engine that can be had here; writes docs/ENGINES.md.
    Engines {
        /// Only this Engine: userns, plain, deb13, forky, forky-store. May be given several times.
        #[arg(long, value_name = "NAME")]
        engine: Vec<String>,
        /// Leave out the tests, which take minutes for each Engine.
        #[arg(long)]
        no_tests: bool,
        /// Another page than docs/ENGINES.md.
        #[arg(long, value_name = "FILE")]
        page: Option<PathBuf>,
        /// A binary that is there already, instead of building one.
        #[arg(long, value_name = "FILE")]
        seatrial: Option<PathBuf>,
    },
    /// Check the house rules: arrows between crates, long files, a reason for each dependency.
    Layers,
    /// Stop our Engines and remove the dev folder.
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
    /// Fail when a job left containers, volumes, networks or images on it.
    Leftovers,
}

fn main() -> Result<()> {
    let dev = Dev::locate();
    match Cli::parse().task {
        Task::Setup => demo::setup(&dev?),
        Task::Demo { profile, seatrial } => demo::run(&dev?, &profile, seatrial.as_deref()),
        Task::Engine(EngineTask::Up) => engine::up(&dev?).map(|_| ()),
        Task::Engine(EngineTask::Down) => engine::down(&dev?),
        Task::Engine(EngineTask::Status) => engine::status(&dev?),
        Task::Engine(EngineTask::Leftovers) => engine::leftovers(&dev?),
        Task::Images { fresh } => {
            let dev = dev?;
            let engine = engine::running(&dev).context("our Engine is down; `cargo xtask engine up` starts it")?;
            images::prepare(&dev, &engine, fresh).map(|_| ())
        }
        Task::FixtureDb { folder } => fixture::write(&folder),
        Task::Bench {
            rounds,
            level,
            pool,
            seatrial,
        } => {
            let asked = bench::Asked {
                rounds: rounds.max(1),
                levels: level,
                pool,
            };
            bench::run(&mut dev?, seatrial.as_deref(), &asked)
        }
        Task::BenchService {
            seconds,
            rounds,
            jobs,
            depths,
            baseline,
            picture,
            seatrial,
        } => {
            let asked = bench::service::Asked {
                seconds: seconds.clamp(1, 600),
                rounds: rounds.clamp(1, 100),
                jobs: jobs.max(1),
                depths,
                baseline,
                picture,
            };
            bench::service::run(seatrial.as_deref(), &asked)
        }
        Task::BenchJudge {
            corpus,
            rounds,
            picture,
            seatrial,
        } => {
            let asked = bench::judge::Asked {
                corpus,
                rounds: rounds.clamp(1, 100),
                picture,
            };
            bench::judge::run(&dev?, seatrial.as_deref(), &asked)
        }
        Task::Fuzz { minutes } => fuzz::run(minutes.clamp(0.1, 600.0)),
        Task::Up { profile, seatrial } => up::run(&dev?, seatrial.as_deref(), &profile),
        Task::Chaos {
            minutes,
            mut under,
            workers,
            seed,
            profile,
            seatrial,
        } => {
            if under.is_empty() {
                under = vec![chaos::Under::Sqlite, chaos::Under::Redis, chaos::Under::Rabbitmq];
            }
            let asked = chaos::Asked {
                under,
                seconds: (minutes * 60.0).clamp(5.0, 86_400.0) as u64,
                workers: workers.clamp(1, 32),
                seed,
            };
            chaos::run(seatrial.as_deref(), &profile, &asked)
        }
        Task::Schemathesis {
            examples,
            seed,
            profile,
            seatrial,
        } => schemathesis::run(&dev?, seatrial.as_deref(), &profile, examples.max(1), seed),
        Task::Specimens {
            level,
            choice,
            told,
            page,
            seatrial,
        } => {
            if choice {
                specimens::choice(&mut dev?, &level, seatrial.as_deref())
            } else {
                specimens::run(&mut dev?, &level, &told, seatrial.as_deref(), page)
            }
        }
        Task::Engines {
            engine,
            no_tests,
            page,
            seatrial,
        } => {
            let asked = engines::Asked {
                only: &engine,
                binary: seatrial.as_deref(),
                no_tests,
                page,
            };
            engines::run(&mut dev?, asked)
        }
        Task::Layers => layers::check(),
        Task::Clean => {
            let mut dev = dev?;
            dev.check_is_ours()?;
            for flavour in dev::Flavour::ALL {
                dev.engine = flavour;
                engine::down(&dev)?;
                engine::remove_data(&dev)?;
            }
            dev.remove()
        }
    }
}
