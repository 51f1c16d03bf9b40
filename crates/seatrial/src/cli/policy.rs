//! What can be asked about policies.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{OutputFormat, client::ServerArgs};

/// About the policy.
#[derive(Subcommand, Debug)]
pub(crate) enum PolicyCommand {
    /// Print the policy in force, with all defaults.
    #[command(after_help = SHOW)]
    Show {
        /// Policy file instead of the configured ones. Several times: a base, then what overrides it.
        #[arg(long, value_name = "FILE")]
        policy: Vec<PathBuf>,
        /// Print the embedded default with its comments: a start for your own.
        #[arg(long, conflicts_with_all = ["policy", "origins"])]
        default: bool,
        /// Print each value with the file and line that it comes from.
        #[arg(long)]
        origins: bool,
    },
    /// Check policy files, the base first; errors point into them, and into the checks in Rego that they name.
    #[command(after_help = CHECK)]
    Check {
        /// The files; together they are one policy.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of a policy file, for editors.
    #[command(after_help = SCHEMA)]
    Schema,
    /// Say why a verdict is what it is, and the smallest change that turns it.
    #[command(after_help = EXPLAIN)]
    Explain(Box<ExplainArgs>),
    /// Judge a folder of cases and say which are not as expected.
    #[command(after_help = TEST)]
    Test(TestArgs),
    /// Say which files of a folder two policies judge differently, and why.
    #[command(after_help = DIFF)]
    Diff(DiffArgs),
}

const SHOW: &str = "\
Examples:
  seatrial policy show --default > policy.toml         a start for your own
  seatrial policy show --policy base.toml --policy team.toml --origins

Several files make one policy: tables merge key by key; waivers, expressions and rego.files append; any other list is replaced by the later file.
What an earlier file names in `locked = [\"walls\", \"vulnerabilities.block\"]` a later one may only make stricter.";

const CHECK: &str = "\
Example:
  seatrial policy check base.toml team.toml

What [rego] names (checks that were written for Trivy or conftest) is compiled and tried on a small file, in a process of
its own: what fails there would deny every file.

Exit codes: 0 the policy can be used, 2 it cannot.";

const SCHEMA: &str = "\
Example:
  seatrial policy schema > policy.schema.json          then, first line of your policy: #:schema ./policy.schema.json

The schema says what a file may look like; `seatrial policy check` also says what its words mean together.";

const EXPLAIN: &str = "\
Examples:
  seatrial policy explain Dockerfile                   what blocks, and what one change would do
  seatrial policy explain job_01J...                   a job of a server, by its document: findings and vulnerabilities
  seatrial run --format json Dockerfile > job.json; seatrial policy explain job.json

Each change is made on a copy and judged again: a way out that is told is one. A job is judged again by the policy
here and at the time when it ended; when the server's policy said otherwise, that is told.

Exit codes: 0 passes, 3 denied, 6 nothing was decided (the database), 2 cannot be explained.";

const TEST: &str = "\
A case is a folder with a Dockerfile and an expect.toml:

  verdict = \"deny\"            # or \"pass\"
  today = \"2027-01-01\"        # optional: the day on which it is judged, for waivers that run out
  [must]                       # rules that must be found, at which level: \"any\", \"info\", \"warn\", \"error\",
  ST003 = \"error\"             # or \"blocks\", \"waived\"
  [must_not]                   # rules that must not be found at that level or above; \"any\": not at all
  \"hadolint:DL3006\" = \"error\"

Example:
  seatrial policy test --policy policy.toml policy-cases/ --format junit > report.xml

Exit codes: 0 all as expected, 1 some are not, 2 the policy or a case cannot be used.";

const DIFF: &str = "\
Examples:
  seatrial policy diff default policy.toml --corpus services/
  seatrial policy diff old.toml new.toml --base company.toml --corpus services/ --format json

OLD or NEW may be the word `default`: the embedded policy. Of the folder all files are read whose names begin or end
with Dockerfile or Containerfile, without following links.

Exit codes: 0 no verdict changes, 1 some do, 2 a policy or the folder cannot be used.";

/// What is explained.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// A Dockerfile (`-` reads it from standard input), a job document, or a job's id.
    pub(crate) subject: String,
    /// Policy file instead of the configured ones. Several times: a base, then what overrides it.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// `text` or `json`.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}

/// Which cases.
#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// The folder of cases.
    pub(crate) folder: PathBuf,
    /// Policy file instead of the configured ones. Several times: a base, then what overrides it.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Vec<PathBuf>,
    /// `text`, `json`, or `junit` for build servers.
    #[arg(long, value_enum, default_value_t = TestFormat::Text)]
    pub(crate) format: TestFormat,
}

/// How the outcome of cases is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum TestFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
    /// JUnit's XML.
    Junit,
}

/// What is compared.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The policy before: a file, or `default`.
    pub(crate) old: PathBuf,
    /// The policy after: a file, or `default`.
    pub(crate) new: PathBuf,
    /// The folder of Dockerfiles.
    #[arg(long, value_name = "DIR")]
    pub(crate) corpus: PathBuf,
    /// A policy file that both override. May be given several times.
    #[arg(long, value_name = "FILE")]
    pub(crate) base: Vec<PathBuf>,
    /// `text` or `json`.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}
