//! What is wrong with a text, with a stable code for each kind.

use std::fmt;

use seatrial_core::finding::Span;
use serde::Serialize;

/// Who refuses, and at which step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorLevel {
    /// BuildKit's line parser refuses the file: it yields no instructions.
    Line,
    /// BuildKit reads the lines, and refuses an instruction.
    Instruction,
    /// BuildKit would accept it; we do not.
    Ours,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ParseError {
    /// Stable code.
    #[serde(rename = "code")]
    pub kind: ErrorKind,
    /// Where, in bytes of the file.
    pub span: Span,
    /// 1-based line of `span.start`.
    pub line: usize,
    /// 1-based column of `span.start`, in characters.
    pub column: usize,
    /// What is wrong. May hold guest bytes: escape before printing.
    pub message: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// The kinds of errors. Their serialised names are stable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The file is larger than [`crate::MAX_FILE_BYTES`].
    FileTooLarge,
    /// A physical line is longer than [`crate::MAX_LINE_BYTES`].
    LineTooLong,
    /// More than [`crate::MAX_INSTRUCTIONS`].
    TooManyInstructions,
    /// More than [`crate::MAX_STAGES`].
    TooManyStages,
    /// A NUL byte.
    NulByte,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// A carriage return that is not followed by a line feed.
    LoneCarriageReturn,
    /// Nothing but blanks and comments.
    NoInstructions,
    /// A parser directive twice.
    DuplicateDirective,
    /// `# escape=` with something else than `\` or a backtick.
    InvalidEscape,
    /// A here-document without its end.
    UnterminatedHeredoc,
    /// A here-document's delimiter cannot be read.
    HeredocDelimiter,
    /// A JSON array of something else than strings.
    JsonNotStrings,
    /// `ENV name` or `LABEL name` without a value.
    MissingValue,
    /// A word without `=` in `ENV` or `LABEL`.
    MissingEquals,
    /// No instruction has this name.
    UnknownInstruction,
    /// An instruction before the first `FROM`.
    NoStage,
    /// `FROM` with other than one or three arguments.
    FromArguments,
    /// A stage name that is not allowed.
    StageName,
    /// Too few or too many arguments.
    ArgumentCount,
    /// An empty name in `ENV`, `LABEL` or `ARG`.
    BlankName,
    /// A flag that this instruction does not have.
    UnknownFlag,
    /// A flag twice.
    DuplicateFlag,
    /// A flag's value is missing or not allowed.
    FlagValue,
    /// `RUN --mount` or `--device` cannot be read.
    Mount,
    /// `HEALTHCHECK` of an unknown kind or without a command.
    Healthcheck,
    /// A trigger that `ONBUILD` does not take.
    Onbuild,
    /// `SHELL` without JSON.
    ShellNotJson,
    /// A here-document as the destination of `ADD` or `COPY`.
    HeredocDestination,
    /// An empty path in `VOLUME`.
    EmptyVolume,
}

impl ErrorKind {
    /// Who refuses it.
    #[must_use]
    pub fn level(self) -> ErrorLevel {
        match self {
            Self::FileTooLarge
            | Self::TooManyInstructions
            | Self::TooManyStages
            | Self::NulByte
            | Self::InvalidUtf8
            | Self::LoneCarriageReturn => ErrorLevel::Ours,
            Self::LineTooLong
            | Self::NoInstructions
            | Self::DuplicateDirective
            | Self::InvalidEscape
            | Self::UnterminatedHeredoc
            | Self::HeredocDelimiter
            | Self::JsonNotStrings
            | Self::MissingValue
            | Self::MissingEquals => ErrorLevel::Line,
            Self::UnknownInstruction
            | Self::NoStage
            | Self::FromArguments
            | Self::StageName
            | Self::ArgumentCount
            | Self::BlankName
            | Self::UnknownFlag
            | Self::DuplicateFlag
            | Self::FlagValue
            | Self::Mount
            | Self::Healthcheck
            | Self::Onbuild
            | Self::ShellNotJson
            | Self::HeredocDestination
            | Self::EmptyVolume => ErrorLevel::Instruction,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::FileTooLarge => "keep the Dockerfile below 1 MiB; put data into the build context",
            Self::LineTooLong => "break the line with a continuation or move its content into a file",
            Self::TooManyInstructions => "join RUN steps; at most 1,000 instructions are taken",
            Self::TooManyStages => "use fewer stages; at most 100 are taken",
            Self::NulByte => "remove the NUL byte",
            Self::InvalidUtf8 => "save the file as UTF-8",
            Self::LoneCarriageReturn => "end lines with LF or CRLF",
            Self::NoInstructions => "begin with a FROM instruction",
            Self::DuplicateDirective => "keep one directive of each kind",
            Self::InvalidEscape => "use # escape=\\ or # escape=`",
            Self::UnterminatedHeredoc => "put the delimiter alone on a line after the body",
            Self::HeredocDelimiter => "use a plain word such as EOF as the delimiter",
            Self::JsonNotStrings => "put every element into double quotes",
            Self::MissingValue | Self::MissingEquals => "write name=value; put quotes around values with blanks",
            Self::UnknownInstruction => {
                "check the spelling; a command of a script needs RUN, a continued line a \\ before it"
            }
            Self::NoStage => "put a FROM instruction first; only ARG may stand before it",
            Self::FromArguments => "write FROM image or FROM image AS name",
            Self::StageName => "use lower-case letters, digits, - _ . and begin with a letter",
            Self::ArgumentCount => "see the reference of this instruction for its arguments",
            Self::BlankName => "write a name before the =",
            Self::UnknownFlag => "remove the flag or correct its name",
            Self::DuplicateFlag => "give the flag once",
            Self::FlagValue => "write --name=value with a value that the flag takes",
            Self::Mount => "write comma-separated key=value pairs",
            Self::Healthcheck => "write HEALTHCHECK CMD command or HEALTHCHECK NONE",
            Self::Onbuild => "use an instruction other than FROM, ONBUILD and MAINTAINER as the trigger",
            Self::ShellNotJson => "write SHELL [\"executable\", \"argument\"]",
            Self::HeredocDestination => "put the here-document before the destination",
            Self::EmptyVolume => "write a path",
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}
