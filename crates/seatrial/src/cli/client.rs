//! What can be asked of a server.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use seatrial_core::{
    id::JobId,
    job::Stage,
    record::Priority,
    walls::{Ask, Place},
};
use url::Url;

use super::{OutputFormat, key_value, wall};

/// Which server.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// The server; a path in it is kept, for servers behind a front server.
    #[arg(
        long,
        env = "SEATRIAL_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        value_parser = server_url,
        hide_env_values = true
    )]
    pub(crate) server: Url,
}

const SUBMIT_EXAMPLES: &str = "\
Examples:
  seatrial submit Dockerfile                            prints the job's id
  seatrial submit Dockerfile --wait                     like `seatrial run`, on the server
  seatrial submit Dockerfile --context . --input answers.csv --label team=red
  seatrial submit Dockerfile --wait --output out/       keeps result, logs, SBOM, files of /data

Without --wait the exit code is 0 when the job was taken, and 3 when the policy refused it at once.
With --wait it is the job's. An interrupt while waiting ends the waiting, not the job: exit code 130.
Sending again after a lost answer is safe: each submission has an idempotency key.";

/// How a job is submitted.
#[derive(Args, Debug)]
#[command(after_help = SUBMIT_EXAMPLES)]
pub(crate) struct SubmitArgs {
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
    /// Keep other files of /data too; --output implies it.
    #[arg(long)]
    pub(crate) artifacts: bool,
    /// A label of the job, kept with it. May be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) labels: Vec<(String, String)>,
    /// Walls that the trial must have: run=gvisor, build=userns, run=own-kernel. May be given several times.
    #[arg(long, value_name = "STAGE=WALL", value_parser = wall)]
    pub(crate) walls: Vec<(Place, Ask)>,
    /// Which queue.
    #[arg(long, value_enum, default_value_t = PriorityWord::Normal)]
    pub(crate) priority: PriorityWord,
    /// Start no earlier than this from now, such as 30s or 10m.
    #[arg(long, value_name = "SPAN", value_parser = seatrial_core::limits::human_duration::parse)]
    pub(crate) delay: Option<std::time::Duration>,
    /// Where the server sends word of the end; the server must allow it. `seatrial status` shows whether it
    /// was taken.
    #[arg(long, value_name = "URL")]
    pub(crate) webhook: Option<Url>,
    /// Ties this job to something of yours in logs and in the job: 1 to 128 of A-Za-z0-9._-
    #[arg(long, value_name = "ID", default_value = "")]
    pub(crate) correlation_id: String,
    /// Your own key: the same key and content give the same job, also from another machine.
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    pub(crate) idempotency_key: Option<String>,
    /// Wait for the end, show what happens, exit with the job's code.
    #[arg(long)]
    pub(crate) wait: bool,
    /// A new or empty folder for result.json, other files of /data, logs, report and SBOM.
    #[arg(long, value_name = "DIR", requires = "wait")]
    pub(crate) output: Option<PathBuf>,
    /// `text` for people, `json` for one job document on standard output.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const STATUS_EXAMPLES: &str = "\
Examples:
  seatrial status job_01K4…                             for people
  seatrial status job_01K4… --format json | jq .state   for machines

The exit code is 0 whatever became of the job; `seatrial wait` exits with the job's.";

/// Which job, and how it is shown.
#[derive(Args, Debug)]
#[command(after_help = STATUS_EXAMPLES)]
pub(crate) struct StatusArgs {
    /// The job.
    pub(crate) id: JobId,
    /// `text` or `json`.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const WAIT_EXAMPLES: &str = "\
Examples:
  seatrial wait job_01K4…                               shows what happens, exits with the job's code
  seatrial wait -q $(cat ids)                           only how each of them ended

With several jobs the exit code is that of the first of them that did not succeed.
An interrupt ends the waiting, not the jobs: exit code 130.";

/// Which jobs, and how their ends are shown.
#[derive(Args, Debug)]
#[command(after_help = WAIT_EXAMPLES)]
pub(crate) struct WaitArgs {
    /// The jobs.
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<JobId>,
    /// `text` for people, `json` for one document a job.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const LOGS_EXAMPLES: &str = "\
Examples:
  seatrial logs job_01K4…                               the job's story: events and output, in order
  seatrial logs job_01K4… --stage run                   the output of a stage, nothing else
  seatrial logs job_01K4… --stage build --follow        as it comes, until the stage is over
  seatrial logs job_01K4… --stage run > run.log         the exact bytes

On a terminal control characters of the guest are shown as \\u{..}; in a file or pipe --stage gives
the bytes as they are.";

/// Which output.
#[derive(Args, Debug)]
#[command(after_help = LOGS_EXAMPLES)]
pub(crate) struct LogsArgs {
    /// The job.
    pub(crate) id: JobId,
    /// Only this stage's output.
    #[arg(long, value_enum)]
    pub(crate) stage: Option<StageWord>,
    /// Go on until the stage, or the job, is over.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Leave out so many bytes at the beginning.
    #[arg(long, value_name = "BYTES", default_value_t = 0, requires = "stage")]
    pub(crate) offset: u64,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const EVENTS_EXAMPLES: &str = "\
Examples:
  seatrial events job_01K4…                             what happened so far
  seatrial events job_01K4… --follow --format json      one document an event, until the job is over";

/// Which events.
#[derive(Args, Debug)]
#[command(after_help = EVENTS_EXAMPLES)]
pub(crate) struct EventsArgs {
    /// The job.
    pub(crate) id: JobId,
    /// Go on until the job is over.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only events after this one.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub(crate) after: u64,
    /// `text` or `json`: one document a line.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const RESULT_EXAMPLES: &str = "\
Examples:
  seatrial result job_01K4… | jq .perf
  seatrial result job_01K4… --output perf.json          a new file

These are the exact bytes that the guest left, checked against the server's digest. When the job ended
without a result the exit code is the job's; while it is not over it is 2.";

/// Whose result, and where to.
#[derive(Args, Debug)]
#[command(after_help = RESULT_EXAMPLES)]
pub(crate) struct ResultArgs {
    /// The job.
    pub(crate) id: JobId,
    /// A new file for it instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const CANCEL_EXAMPLES: &str = "\
Example:
  seatrial cancel job_01K4…

A job that waits is over at once, one that runs within seconds. Asking twice, or for a job that is over,
is no error: it says so, and the exit code is 0.";

/// Which jobs.
#[derive(Args, Debug)]
#[command(after_help = CANCEL_EXAMPLES)]
pub(crate) struct CancelArgs {
    /// The jobs.
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<JobId>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const LIST_EXAMPLES: &str = "\
Examples:
  seatrial list                                         the newest jobs
  seatrial list --state failed --label team=red
  seatrial list --all --format json | jq -r .id         every job, one document a line";

/// Which jobs.
#[derive(Args, Debug)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListArgs {
    /// Only in this state.
    #[arg(long, value_enum)]
    pub(crate) state: Option<ListState>,
    /// Only with this label.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) label: Option<(String, String)>,
    /// Only those admitted since, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<jiff::Timestamp>,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
    /// All of them.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    /// `text` or `json`: one document a line.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const WORKERS_EXAMPLES: &str = "\
Examples:
  seatrial workers                                      who works, how busy, behind which walls
  seatrial workers --format json";

/// How workers are shown.
#[derive(Args, Debug)]
#[command(after_help = WORKERS_EXAMPLES)]
pub(crate) struct WorkersArgs {
    /// `text` or `json`.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const TOP_EXAMPLES: &str = "\
Example:
  seatrial top                                          queue and workers, drawn each second; Ctrl-C ends

Without a terminal it prints once.";

/// What to watch.
#[derive(Args, Debug)]
#[command(after_help = TOP_EXAMPLES)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// A queue, as it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum PriorityWord {
    /// Before all others.
    High,
    /// As usual.
    Normal,
    /// When nothing else waits.
    Low,
}

impl From<PriorityWord> for Priority {
    fn from(word: PriorityWord) -> Self {
        match word {
            PriorityWord::High => Self::High,
            PriorityWord::Normal => Self::Normal,
            PriorityWord::Low => Self::Low,
        }
    }
}

/// A stage that has output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum StageWord {
    /// Base images become digests.
    Resolve,
    /// The image is built.
    Build,
    /// The image is scanned.
    Scan,
    /// The image is run.
    Run,
    /// The result is read.
    Collect,
}

impl From<StageWord> for Stage {
    fn from(word: StageWord) -> Self {
        match word {
            StageWord::Resolve => Self::Resolve,
            StageWord::Build => Self::Build,
            StageWord::Scan => Self::Scan,
            StageWord::Run => Self::Run,
            StageWord::Collect => Self::Collect,
        }
    }
}

/// A state to list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum ListState {
    /// Waiting.
    Queued,
    /// A worker has it.
    Running,
    /// Ended with a result.
    Succeeded,
    /// The policy said no.
    Rejected,
    /// The guest's doing.
    Failed,
    /// A limit of time ran out.
    TimedOut,
    /// Somebody asked for the end.
    Cancelled,
    /// It waited too long.
    Expired,
    /// Ours.
    Errored,
}

impl ListState {
    /// As the API spells it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Errored => "errored",
        }
    }
}

fn server_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; write it as http://HOST:PORT"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("write it as http://HOST:PORT or https://HOST".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a server has no query and no fragment".to_owned());
    }
    Ok(url)
}

fn idempotency_key(text: &str) -> Result<String, String> {
    let printable = |byte: u8| byte.is_ascii_graphic();
    if !(1..=255).contains(&text.len()) || !text.bytes().all(printable) {
        return Err("a key is 1 to 255 printable ASCII characters without blanks".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_http_url_without_a_query() {
        assert!(server_url("http://127.0.0.1:8080").is_ok());
        assert!(server_url("https://ci.example/seatrial/").is_ok());
        for bad in [
            "127.0.0.1:8080",
            "ftp://x",
            "http://x/?a",
            "http://x/#a",
            "",
            "unix:///x",
        ] {
            assert!(server_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn states_are_spelt_as_the_api_spells_them() {
        for word in ListState::value_variants() {
            let spelt = word.to_possible_value().unwrap();
            assert_eq!(spelt.get_name(), word.word());
            assert!(serde_json::from_value::<seatrial_core::view::StateWord>(word.word().into()).is_ok());
        }
    }
}
