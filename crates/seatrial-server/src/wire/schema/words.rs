//! Words: closed lists of strings, and the event that tells them.

use utoipa::ToSchema;

/// `queued`, `running`, or how a job ended.
#[derive(ToSchema, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[schema(as = State)]
#[expect(missing_docs, reason = "documented where the core defines them")]
pub enum State {
    Queued,
    Running,
    Succeeded,
    Rejected,
    Failed,
    TimedOut,
    Cancelled,
    Expired,
    Errored,
}

/// A part of the walk.
#[derive(ToSchema, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[schema(as = Stage)]
#[expect(missing_docs, reason = "documented where the core defines them")]
pub enum Stage {
    Resolve,
    Build,
    Scan,
    Run,
    Collect,
}

/// Whose doing an ending is.
#[derive(ToSchema, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[schema(as = Blame)]
#[expect(missing_docs, reason = "documented where the core defines them")]
pub enum Blame {
    Nobody,
    Guest,
    Policy,
    Quota,
    Platform,
    Upstream,
}

/// Why a job ended. New codes may come; none changes its meaning.
#[derive(ToSchema, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[schema(as = Reason)]
#[expect(missing_docs, reason = "documented where the core defines them")]
pub enum Reason {
    Ok,
    Unparsable,
    FindingsBlock,
    VulnerabilitiesBlock,
    Unscannable,
    BaseRefused,
    BaseNotFound,
    BuildFailed,
    BuildTooLarge,
    ImageRefused,
    OutOfMemory,
    TooManyProcesses,
    ExitCode,
    CannotStart,
    NoResult,
    InvalidResult,
    BuildTime,
    ScanTime,
    RunTime,
    JobTime,
    Cancelled,
    QueueTime,
    WorkersLost,
    EngineGone,
    EngineRefused,
    DiskFull,
    WallsTooWeak,
    DatabaseMissing,
    DatabaseStale,
    ScannerFailed,
    ToolImage,
    BuildMismatch,
    RegistryGone,
    VaultFailed,
    Internal,
}

/// How much a finding weighs.
#[derive(ToSchema, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[schema(as = Level)]
#[expect(missing_docs, reason = "documented where the core defines them")]
pub enum Level {
    Info,
    Warn,
    Error,
}

/// How bad a thing is.
#[derive(ToSchema, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[schema(as = Severity)]
#[expect(missing_docs, reason = "documented where the core defines them")]
pub enum Severity {
    Unknown,
    Low,
    Medium,
    High,
    Critical,
}

/// Real advisories, or made-up ones for demonstrations and tests.
#[derive(ToSchema, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[schema(as = DatabaseKind)]
#[expect(missing_docs, reason = "documented where the core defines them")]
pub enum DatabaseKind {
    Real,
    Fixture,
}

/// Which queue a job waits in.
#[derive(ToSchema, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[schema(as = Priority)]
#[expect(missing_docs, reason = "documented where the core defines them")]
pub enum Priority {
    High,
    Normal,
    Low,
}

/// One event of a stream: the fields of its lines.
#[derive(ToSchema)]
#[schema(as = Event)]
pub struct Event {
    /// The event's number.
    #[schema(pattern = "^[1-9][0-9]*$")]
    pub id: String,
    /// Its kind.
    pub event: NewsKind,
    /// A News document as JSON.
    #[schema(content_media_type = "application/json")]
    pub data: String,
}

/// Something that happened to a job: the `data` of an event, whose `id` is `seq` and whose `event` is `event`.
#[derive(ToSchema)]
#[schema(as = News)]
pub struct News {
    /// From 1, without gaps.
    #[schema(minimum = 1)]
    pub seq: u64,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What. Each kind has its own further fields.
    pub event: NewsKind,
    /// The try (`queued`, `claimed`).
    pub attempt: Option<u32>,
    /// The worker (`claimed`, `lost`, `handed_back`).
    pub worker: Option<String>,
    /// The stage (`stage_started`, `stage_finished`, `log`).
    pub stage: Option<Stage>,
    /// How long it took (`stage_finished`).
    pub millis: Option<u64>,
    /// The step (`build_step`).
    pub step: Option<u64>,
    /// Of how many (`build_step`).
    pub of: Option<u64>,
    /// Holds the submitter's bytes (`build_step`, `note`): escape before printing.
    pub text: Option<String>,
    /// Bytes that the stage wrote so far (`log`).
    pub total: Option<u64>,
    /// Why (`faulted`, `settled`).
    pub reason: Option<Reason>,
    /// When it is tried again (`faulted`).
    #[schema(format = DateTime)]
    pub again_at: Option<String>,
    /// How it ended (`settled`).
    pub state: Option<State>,
    /// Whose doing (`settled`).
    pub blame: Option<Blame>,
}

/// Kinds of events.
#[derive(ToSchema, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[schema(as = NewsKind)]
#[expect(missing_docs, reason = "documented where the core defines them")]
pub enum NewsKind {
    Queued,
    Claimed,
    StageStarted,
    StageFinished,
    BuildStep,
    Note,
    Log,
    Lost,
    Faulted,
    HandedBack,
    CancelRequested,
    Settled,
}

#[cfg(test)]
mod tests {
    use seatrial_core::{finding, job, record, scanner};
    use serde_json::{json, to_value};

    use super::*;

    /// Does not compile when the core gets a word that is missing here.
    macro_rules! same_words {
        ($name:ident: $core:path => $ours:ident { $($word:ident),* $(,)? }) => {
            #[test]
            fn $name() {
                use $core as Core;
                let ours = |core: Core| match core { $(Core::$word => $ours::$word),* };
                for core in [$(Core::$word),*] {
                    assert_eq!(to_value(core).unwrap(), to_value(ours(core)).unwrap());
                }
            }
        };
    }

    same_words!(stages_are_the_cores: job::Stage => Stage { Resolve, Build, Scan, Run, Collect });
    same_words!(blames_are_the_cores: job::Blame => Blame { Nobody, Guest, Policy, Quota, Platform, Upstream });
    same_words!(endings_are_the_cores: job::Ending => State {
        Succeeded, Rejected, Failed, TimedOut, Cancelled, Expired, Errored
    });
    same_words!(levels_are_the_cores: finding::Level => Level { Info, Warn, Error });
    same_words!(severities_are_the_cores: finding::Severity => Severity { Unknown, Low, Medium, High, Critical });
    same_words!(kinds_of_databases_are_the_cores: scanner::DatabaseKind => DatabaseKind { Real, Fixture });
    same_words!(priorities_are_the_cores: record::Priority => Priority { High, Normal, Low });
    same_words!(reasons_are_the_cores: job::Reason => Reason {
        Ok, Unparsable, FindingsBlock, VulnerabilitiesBlock, Unscannable, BaseRefused, BaseNotFound, BuildFailed,
        BuildTooLarge, ImageRefused, OutOfMemory, TooManyProcesses, ExitCode, CannotStart, NoResult, InvalidResult,
        BuildTime, ScanTime, RunTime, JobTime, Cancelled, QueueTime, WorkersLost, EngineGone, EngineRefused,
        DiskFull, WallsTooWeak, DatabaseMissing, DatabaseStale, ScannerFailed, ToolImage, BuildMismatch, RegistryGone, VaultFailed,
        Internal
    });

    #[test]
    fn open_states_are_the_cores() {
        use seatrial_core::view::{Open, StateWord};
        assert_eq!(to_value(StateWord::Open(Open::Queued)).unwrap(), json!("queued"));
        assert_eq!(to_value(State::Queued).unwrap(), json!("queued"));
        assert_eq!(
            to_value(StateWord::Open(Open::Running)).unwrap(),
            to_value(State::Running).unwrap()
        );
    }
}
