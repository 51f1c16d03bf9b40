//! What `seatrial analyze` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use seatrial_core::finding::Level;

/// After `--help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  seatrial analyze Dockerfile
  seatrial analyze services/ --format sarif > findings.sarif
  seatrial analyze --diff Dockerfile      show the corrections
  seatrial analyze --fix Dockerfile       make them
  git show HEAD:Dockerfile | seatrial analyze - --exit-code warn

In a directory, files named Dockerfile, Containerfile, Dockerfile.*, Containerfile.*, *.Dockerfile and *.Containerfile are
judged; what .gitignore excludes and hidden folders are left out, and links are not followed.

Exit codes: 0 nothing blocks, 3 something does, 2 wrong use, also of a file that cannot be read.";

/// How files are judged.
#[derive(Args, Debug)]
pub(crate) struct AnalyzeArgs {
    /// Dockerfiles, or directories to look for them in; `-` reads one from standard input.
    #[arg(required_unless_present = "schema")]
    pub(crate) files: Vec<PathBuf>,
    /// Policy file instead of the configured ones. Several times: a base, then what overrides it.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Vec<PathBuf>,
    /// How findings are shown.
    #[arg(long, value_enum, default_value_t = AnalyzeFormat::Text)]
    pub(crate) format: AnalyzeFormat,
    /// Exit with 3 when a finding has this level or a worse one, whatever the policy lets pass.
    ///
    /// Without it the policy decides.
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub(crate) exit_code: Option<Threshold>,
    /// Write the corrections into the files; of standard input, print the corrected text.
    #[arg(long)]
    pub(crate) fix: bool,
    /// Show the corrections as a diff instead of the findings. Changes nothing without --fix.
    #[arg(long)]
    pub(crate) diff: bool,
    /// Print the JSON Schema of `--format json`, and nothing else.
    #[arg(long, exclusive = true)]
    pub(crate) schema: bool,
}

/// From which level on the exit code tells of findings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Threshold {
    /// Any finding.
    Info,
    /// Warnings and errors.
    Warn,
    /// Errors.
    Error,
    /// Never.
    Never,
}

impl Threshold {
    /// The least level that counts.
    pub(crate) fn level(self) -> Option<Level> {
        match self {
            Self::Info => Some(Level::Info),
            Self::Warn => Some(Level::Warn),
            Self::Error => Some(Level::Error),
            Self::Never => None,
        }
    }
}

/// How findings are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum AnalyzeFormat {
    /// Source line, underline, remedy.
    Text,
    /// One finding a line.
    Line,
    /// For machines.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations of a GitHub workflow.
    Github,
    /// GitLab's code quality report.
    Gitlab,
    /// Checkstyle's XML.
    Checkstyle,
}

impl AnalyzeFormat {
    /// Whether it is one document of all files.
    pub(crate) fn is_report(self) -> bool {
        matches!(self, Self::Json | Self::Sarif | Self::Gitlab | Self::Checkstyle)
    }
}
