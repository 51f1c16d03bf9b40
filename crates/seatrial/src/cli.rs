//! The command line: what can be asked, in clap's words.

pub(crate) mod analyze;
pub(crate) mod client;
pub(crate) mod policy;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use seatrial_core::walls::{Ask, Place, UnknownWall};

/// Puts a Dockerfile that nobody trusts through its sea trials.
///
/// Seatrial judges the text, builds the image inside walls, scans it for vulnerabilities, runs it
/// inside walls, and hands back the result with the evidence.
#[derive(Parser, Debug)]
#[command(name = "seatrial", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Configuration file; without it /etc/seatrial/seatrial.toml, then ~/.config/seatrial/seatrial.toml.
    #[arg(long, global = true, env = "SEATRIAL_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// When to colour: NO_COLOR and a missing terminal switch it off too.
    #[arg(long, global = true, value_enum, default_value_t = When::Auto, value_name = "WHEN")]
    pub(crate) color: When,
    /// Say only how it ended.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Say more: once for what Seatrial does, twice for debugging.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  succeeded        nothing blocks
  1  failed           the guest's doing: a build step, an exit code, a missing result
  2                   the command line or the configuration cannot be used
  3  rejected         the policy said no, or the file is not a Dockerfile
  4  timed out        a limit of time ran out
  5  cancelled        somebody asked for the end
  6  errored          our fault or an upstream's: Engine, scanner, database
  7  expired          it waited too long

`doctor --attack` has its own meanings: `seatrial doctor --help`.
`submit --wait` and `wait` exit with the job's code. 6 also says that the server cannot be reached, and
130 that the waiting was interrupted: the job goes on.";

const ATTACK_CODES: &str = "\
Exit codes:
  0  nothing that every job needs is missing; with --attack: all that ran was contained
  1  with --attack: something escaped
  2  with --attack: nobody agreed to the risks, or there is no such specimen
  5  with --attack: interrupted before the end, and nothing had escaped so far
  6  something is missing; with --attack: others are at work, nothing was contained, or --strict and not all ran

A specimen is `contained`, `escaped`, or `not_run`: refused before it could try, a fault, a missing base, a kernel
without the thing that is attacked. What did not run is never called contained.";

/// When to colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum When {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What can be asked.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// The whole trial: judge, build, scan, run, and print the result with the evidence.
    Run(Box<RunArgs>),
    /// The service: API and worker in one process, on a data folder; no other server is needed.
    Serve(ServeArgs),
    /// A worker alone: takes jobs from the ledger, listens on nothing unless `worker.listen` is set.
    Worker(WorkerArgs),
    /// Key rings of the vault, and secrets that sign webhooks.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Hand a Dockerfile to a server and print the job's id.
    Submit(Box<client::SubmitArgs>),
    /// Say where a job is, or how it ended.
    Status(client::StatusArgs),
    /// Wait for jobs and exit as they ended.
    Wait(client::WaitArgs),
    /// Show what a job's stages wrote, or its whole story.
    Logs(client::LogsArgs),
    /// Show what happened to a job.
    Events(client::EventsArgs),
    /// Fetch a job's result: the exact bytes.
    Result(client::ResultArgs),
    /// Ask for a job's end.
    Cancel(client::CancelArgs),
    /// List jobs, the newest first.
    List(client::ListArgs),
    /// List the workers of a server.
    Workers(client::WorkersArgs),
    /// Watch queue and workers.
    Top(client::TopArgs),
    /// Judge Dockerfiles without building anything: no Engine is needed.
    #[command(after_help = analyze::EXAMPLES)]
    Analyze(analyze::AnalyzeArgs),
    /// The judge in an editor: a language server on standard input and output.
    Lsp(LspArgs),
    /// Show how a Dockerfile is read, instruction by instruction.
    Parse(ParseArgs),
    /// List the rules.
    Rules(RulesArgs),
    /// What is allowed here: show, check, explain, test and compare policies.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// The scanner's vulnerability database.
    #[command(subcommand)]
    Db(DbCommand),
    /// Check this machine: Engine, walls, images, database, disk; and say what to do. With --attack: attack it.
    #[command(after_help = ATTACK_CODES)]
    Doctor(DoctorArgs),
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Works checks in Rego out for another process of ours.
    #[command(name = seatrial_rego::child::WORD, hide = true)]
    RegoChild {
        /// Time, in milliseconds.
        millis: u64,
        /// Memory, in bytes.
        memory: u64,
    },
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// How a trial is asked for.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The Dockerfile; `-` reads it from standard input.
    pub(crate) dockerfile: PathBuf,
    /// Build context: what COPY and ADD may take files from. `.dockerignore` in it is respected.
    #[arg(long, value_name = "DIR")]
    pub(crate) context: Option<PathBuf>,
    /// A file for the guest, read-only at /inputs/NAME. May be given several times.
    #[arg(long = "input", value_name = "FILE")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Where the guest leaves its result.
    #[arg(long, value_name = "PATH", default_value = "/data/perf.json")]
    pub(crate) result: String,
    /// A new or empty folder for result.json, other files of /data, logs, report and SBOM.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Policy file instead of the configured ones. Several times: a base, then what overrides it.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Vec<PathBuf>,
    /// Accept the fixture database: it says nothing about real vulnerabilities.
    #[arg(long)]
    pub(crate) fixture_db: bool,
    /// Container runtime of the run, by name, instead of the strongest one found.
    #[arg(long, value_name = "NAME")]
    pub(crate) runtime: Option<String>,
    /// Walls that the trial must have: run=gvisor, build=userns, run=own-kernel. May be given several times.
    #[arg(long, value_name = "STAGE=WALL", value_parser = wall)]
    pub(crate) walls: Vec<(Place, Ask)>,
    /// Do not make an SBOM.
    #[arg(long)]
    pub(crate) no_sbom: bool,
    /// Do not let the scanner judge the Dockerfile too.
    #[arg(long)]
    pub(crate) no_config_checks: bool,
    /// A label of the job, kept with it. May be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) labels: Vec<(String, String)>,
    /// Ties this trial to something of yours in logs and in the job: 1 to 128 of A-Za-z0-9._-
    #[arg(long, value_name = "ID", default_value = "")]
    pub(crate) correlation_id: String,
    /// `text` for people, `json` for one job document on standard output.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}

/// Reads `run=gvisor`.
fn wall(text: &str) -> Result<(Place, Ask), String> {
    let (place, word) = text
        .split_once('=')
        .ok_or("write it as STAGE=WALL, such as run=gvisor")?;
    let place = match place {
        "build" => Place::Build,
        "run" => Place::Run,
        _ => return Err("the stage is build or run".to_owned()),
    };
    word.parse()
        .map(|ask| (place, ask))
        .map_err(|error: UnknownWall| error.to_string())
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    if key.is_empty() || key.len() > 63 || !key.bytes().all(plain) {
        return Err("a key is 1 to 63 of A-Za-z0-9._-/".to_owned());
    }
    if value.len() > 256 || value.chars().any(char::is_control) {
        return Err("a value is at most 256 bytes without control characters".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// How to serve.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Take submissions only: workers run elsewhere. No Docker is needed then.
    #[arg(long)]
    pub(crate) no_worker: bool,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
}

/// How to work.
#[derive(Args, Debug)]
pub(crate) struct WorkerArgs {
    /// Policy file instead of the configured ones. Several times: a base, then what overrides it.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Vec<PathBuf>,
    /// Accept the fixture database: it says nothing about real vulnerabilities.
    #[arg(long)]
    pub(crate) fixture_db: bool,
    /// What does a try; `noop` measures the queue alone.
    #[arg(long, value_enum, default_value_t = ExecutorKind::Walk, hide = true)]
    pub(crate) executor: ExecutorKind,
    /// How long a `noop` try takes.
    #[arg(long, value_parser = seatrial_core::limits::human_duration::parse, default_value = "0s", hide = true)]
    pub(crate) noop_takes: std::time::Duration,
    /// A `noop` try tells its stages too.
    #[arg(long, hide = true)]
    pub(crate) noop_stages: bool,
}

/// What does a try.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ExecutorKind {
    /// The trial.
    Walk,
    /// Nothing.
    Noop,
}

/// About key rings.
#[derive(Subcommand, Debug)]
pub(crate) enum KeysCommand {
    /// Make a key ring with one key. Every process of the service needs a copy of it.
    New {
        /// The file; must not be there yet.
        file: PathBuf,
    },
    /// Add a key that seals from now on; the others still open what they sealed.
    Rotate {
        /// The file.
        file: PathBuf,
    },
    /// Remove a key. What it sealed cannot be opened any more.
    Retire {
        /// The file.
        file: PathBuf,
        /// The key's id.
        id: String,
    },
    /// List the ids of the keys.
    List {
        /// The file.
        file: PathBuf,
    },
    /// Make a file with a secret that signs webhooks. Every API process and every receiver needs the secret.
    Webhook {
        /// The file; must not be there yet.
        file: PathBuf,
    },
}

/// What an editor starts.
#[derive(Args, Debug)]
pub(crate) struct LspArgs {
    /// Policy file instead of the configured ones. Several times: a base, then what overrides it.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Vec<PathBuf>,
}

/// How a file is shown.
#[derive(Args, Debug)]
pub(crate) struct ParseArgs {
    /// The Dockerfile; `-` reads it from standard input.
    pub(crate) file: PathBuf,
    /// `text` is the canonical rendering, `json` lists the instructions.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}

/// Which rules.
#[derive(Args, Debug)]
pub(crate) struct RulesArgs {
    /// Only this rule, with its reason and remedy.
    pub(crate) id: Option<String>,
    /// `text` or `json`.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}

/// How a machine is checked.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// `text`, `json`, or with --attack `sarif`.
    #[arg(long, value_enum, default_value_t = DoctorFormat::Text)]
    pub(crate) format: DoctorFormat,
    /// Run the attacks that Seatrial was tested with on this Engine: hostile Dockerfiles behind the walls of jobs.
    ///
    /// They fill memory, fork, and fill the disks of their own limits. It wants a machine without other work, says its
    /// risks first, and refuses while jobs run.
    #[arg(long)]
    pub(crate) attack: bool,
    /// Only this specimen. May be given several times.
    #[arg(long, value_name = "NAME", requires = "attack")]
    pub(crate) only: Vec<String>,
    /// Begin nothing after so many minutes; the rest is told as not run.
    #[arg(long, value_name = "N", default_value_t = 30, requires = "attack", value_parser = clap::value_parser!(u32).range(1..=1440))]
    pub(crate) minutes: u32,
    /// The risks are known: do not ask.
    #[arg(long, requires = "attack")]
    pub(crate) yes: bool,
    /// Exit with 6 when a specimen did not run.
    #[arg(long, requires = "attack")]
    pub(crate) strict: bool,
    /// Use the fixture database: it says nothing about real vulnerabilities, and the attacks need none.
    #[arg(long, requires = "attack")]
    pub(crate) fixture_db: bool,
    /// After how many specimens an ordinary job must succeed; it must after each that was not contained.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "attack", hide = true)]
    pub(crate) ordinary_every: usize,
}

impl DoctorArgs {
    /// Without an attack.
    pub(crate) fn plain(&self) -> anyhow::Result<FormatArgs> {
        let format = match self.format {
            DoctorFormat::Text => OutputFormat::Text,
            DoctorFormat::Json => OutputFormat::Json,
            DoctorFormat::Sarif => anyhow::bail!("--format sarif goes with --attack"),
        };
        Ok(FormatArgs { format })
    }
}

/// How what the doctor found is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum DoctorFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

/// Only a format.
#[derive(Args, Debug)]
pub(crate) struct FormatArgs {
    /// `text` or `json`.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}

/// For people or for machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// About the database.
#[derive(Subcommand, Debug)]
pub(crate) enum DbCommand {
    /// Download the scanner's database: the only step of Seatrial's that uses a network. With `scan.java = true` also the
    /// one of Java archives.
    Update,
    /// Take a folder with trivy.db and metadata.json (and java-db/, if it is there), or a cache folder of the scanner's, for
    /// machines without a network.
    Import {
        /// The folder.
        folder: PathBuf,
        /// It is a fixture: says nothing about real vulnerabilities, used with `run --fixture-db` only.
        #[arg(long)]
        fixture: bool,
    },
    /// Say which database is in force and how old it is.
    Status(FormatArgs),
}

/// About the configuration.
#[derive(Subcommand, Debug)]
pub(crate) enum ConfigCommand {
    /// Print what is in force: defaults, file and environment together.
    Show,
}
