//! The life of a job: its states, the events that move it, and how it ends.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A part of the walk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Base images become digests; what needs their facts is judged.
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

impl Stage {
    /// All, in the order of the walk.
    pub const ALL: [Self; 5] = [Self::Resolve, Self::Build, Self::Scan, Self::Run, Self::Collect];
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Resolve => "resolve",
            Self::Build => "build",
            Self::Scan => "scan",
            Self::Run => "run",
            Self::Collect => "collect",
        })
    }
}

/// The right to work on a job. Goes up by one at each claim and fences every later write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Token(pub u64);

/// Where a job is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum JobState {
    /// Waiting for a worker; `attempt` is the number that the next try will have.
    Queued {
        /// Number of the next try, from 1.
        attempt: u32,
    },
    /// A worker holds it.
    Running {
        /// Who may write.
        token: Token,
        /// Number of this try.
        attempt: u32,
        /// What it is doing.
        stage: Stage,
    },
    /// Over, for ever.
    Settled(Outcome),
}

/// What happens to a job.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A worker took it.
    Claimed(Token),
    /// The worker went on to a stage.
    Entered(Token, Stage),
    /// The worker ended it.
    Settled(Token, Outcome),
    /// The try is over without an end of the job: a fault of ours, or its lease ran out.
    Released,
    /// The worker gives it back untried: it drains. Uses up no attempt.
    HandedBack(Token),
    /// It ends whoever holds it: past its deadline, or out of tries. Only a reaper says so.
    Overruled(Outcome),
    /// Somebody asked for its end while it waited.
    Cancelled,
    /// It waited longer than the queue allows.
    Expired,
}

/// An event that the state cannot take.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{state:?} cannot take {event:?}")]
pub struct IllegalMove {
    /// Where the job is.
    pub state: JobState,
    /// What was tried.
    pub event: Event,
}

impl JobState {
    /// A job that was just admitted.
    #[must_use]
    pub fn admitted() -> Self {
        Self::Queued { attempt: 1 }
    }

    /// The only place where a job changes state; stores call it inside their compare-and-swap.
    ///
    /// # Errors
    /// [`IllegalMove`]: a settled job takes no event, a stale token moves nothing, stages never
    /// go backwards.
    pub fn on(self, event: Event) -> Result<Self, IllegalMove> {
        use JobState::{Queued, Running, Settled};
        Ok(match (self, event) {
            (Queued { attempt }, Event::Claimed(token)) => Running {
                token,
                attempt,
                stage: Stage::Resolve,
            },
            (Queued { .. }, Event::Cancelled) => Settled(Outcome::cancelled()),
            (Queued { .. }, Event::Expired) => Settled(Outcome::expired()),
            (Running { token, attempt, stage }, Event::Entered(by, next)) if by == token && next >= stage => Running {
                token,
                attempt,
                stage: next,
            },
            (Running { token, .. }, Event::Settled(by, outcome)) if by == token => Settled(outcome),
            (Running { attempt, .. }, Event::Released) => Queued { attempt: attempt + 1 },
            (Running { token, attempt, .. }, Event::HandedBack(by)) if by == token => Queued { attempt },
            (Queued { .. } | Running { .. }, Event::Overruled(outcome)) => Settled(outcome),
            (state, event) => return Err(IllegalMove { state, event }),
        })
    }
}

/// How a job ended: the word that users filter by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// A valid result.
    Succeeded,
    /// The policy said no; findings or vulnerabilities are named.
    Rejected,
    /// The guest's doing.
    Failed,
    /// A time limit ran out.
    TimedOut,
    /// Somebody asked for it.
    Cancelled,
    /// It waited too long.
    Expired,
    /// Ours, or upstream's, after all retries.
    Errored,
}

impl Ending {
    /// The process exit code that stands for it. Documented in the README; 2 is bad usage.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failed => 1,
            Self::Rejected => 3,
            Self::TimedOut => 4,
            Self::Cancelled => 5,
            Self::Errored => 6,
            Self::Expired => 7,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Succeeded => "succeeded",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Errored => "errored",
        })
    }
}

/// Whose doing an ending is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// Nobody: it succeeded, or somebody asked for the end.
    Nobody,
    /// The author of the Dockerfile.
    Guest,
    /// The operator's policy.
    Policy,
    /// A limit that the operator set.
    Quota,
    /// Seatrial or its Engine.
    Platform,
    /// A registry, a database mirror.
    Upstream,
}

impl fmt::Display for Blame {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Nobody => "nobody",
            Self::Guest => "guest",
            Self::Policy => "policy",
            Self::Quota => "quota",
            Self::Platform => "platform",
            Self::Upstream => "upstream",
        })
    }
}

/// Why a job ended: a stable code for machines. New codes may come; none changes its meaning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The result is there and valid.
    Ok,
    /// The text is not a Dockerfile, or not one that we read.
    Unparsable,
    /// Findings block under the policy.
    FindingsBlock,
    /// Vulnerabilities or secrets block under the policy.
    VulnerabilitiesBlock,
    /// The image hides what is installed in it, so it cannot be called clean.
    Unscannable,
    /// A base image is not in the allow-list, or brings triggers with it.
    BaseRefused,
    /// A base image does not exist.
    BaseNotFound,
    /// A build step failed.
    BuildFailed,
    /// The build wrote more than its store or its layers may hold.
    BuildTooLarge,
    /// What the build produced is not an image that may be loaded.
    ImageRefused,
    /// The build, the scan or the main process of the run was killed for its memory.
    OutOfMemory,
    /// The guest hit its limit of processes and failed.
    TooManyProcesses,
    /// The guest ended with a code that is not 0.
    ExitCode,
    /// The guest cannot be started: no command, no such file, not executable.
    CannotStart,
    /// The guest ended well but left no result.
    NoResult,
    /// The result is there but is not valid.
    InvalidResult,
    /// The build ran out of time.
    BuildTime,
    /// The scan ran out of time.
    ScanTime,
    /// The run ran out of time.
    RunTime,
    /// The job as a whole ran out of time, though no stage did.
    JobTime,
    /// Somebody asked for the end.
    Cancelled,
    /// It waited longer than the queue allows.
    QueueTime,
    /// Workers were lost while they held it, more often than it may be tried.
    WorkersLost,
    /// The vault cannot give back what was submitted.
    VaultFailed,
    /// The Engine cannot be reached or went away.
    EngineGone,
    /// The Engine refused what we asked.
    EngineRefused,
    /// The disk of the host has no room for a trial.
    DiskFull,
    /// The walls are weaker than the policy asks.
    WallsTooWeak,
    /// There is no vulnerability database.
    DatabaseMissing,
    /// The vulnerability database is older than the policy allows.
    DatabaseStale,
    /// The scanner failed; what was not scanned is not clean.
    ScannerFailed,
    /// A needed image of ours is missing or is not the pinned one.
    ToolImage,
    /// The built image is not what was judged.
    BuildMismatch,
    /// The registry of a base image cannot be reached.
    RegistryGone,
    /// A defect of ours.
    Internal,
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(code)) => out.pad(&code),
            _ => Err(fmt::Error),
        }
    }
}

/// The end of a job: what, why, whose doing, in a sentence, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The word.
    pub ending: Ending,
    /// The code.
    pub reason: Reason,
    /// Whose doing.
    pub blame: Blame,
    /// One sentence for a person. May hold guest bytes: escape before printing.
    pub message: String,
    /// What to do about it, if anything can be done.
    pub remedy: Option<String>,
}

impl Outcome {
    /// An outcome without a remedy.
    #[must_use]
    pub fn new(ending: Ending, reason: Reason, blame: Blame, message: impl Into<String>) -> Self {
        Self {
            ending,
            reason,
            blame,
            message: message.into(),
            remedy: None,
        }
    }

    /// The guest failed.
    #[must_use]
    pub fn failed(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Ending::Failed, reason, Blame::Guest, message)
    }

    /// The policy said no.
    #[must_use]
    pub fn rejected(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Ending::Rejected, reason, Blame::Policy, message)
    }

    /// A limit of time ran out.
    #[must_use]
    pub fn timed_out(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Ending::TimedOut, reason, Blame::Quota, message)
    }

    /// Our own fault.
    #[must_use]
    pub fn errored(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Ending::Errored, reason, Blame::Platform, message)
    }

    /// Somebody asked for it.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(
            Ending::Cancelled,
            Reason::Cancelled,
            Blame::Nobody,
            "The job was cancelled.",
        )
    }

    /// It waited too long.
    #[must_use]
    pub fn expired() -> Self {
        Self::new(
            Ending::Expired,
            Reason::QueueTime,
            Blame::Platform,
            "The job waited longer than the queue allows.",
        )
        .with_remedy("Submit it again when fewer jobs wait, or raise the queue limit.")
    }

    /// A worker was lost again and again while it held this job.
    #[must_use]
    pub fn poison(losses: u32) -> Self {
        Self::errored(
            Reason::WorkersLost,
            format!("{losses} workers were lost while they held this job; it is not tried again."),
        )
        .with_remedy("The job's events name the workers; their hosts' logs say why they ended.")
    }

    /// Its deadline passed, and no worker ended it.
    #[must_use]
    pub fn overdue() -> Self {
        Self::timed_out(Reason::JobTime, "The job was not over at its deadline.")
            .blamed_on(Blame::Platform)
            .with_remedy("Look at the workers' load and logs; submit the job again.")
    }

    /// The codes without the words: what a ledger may hold. The words may quote the guest, so they
    /// stand in the sealed report.
    #[must_use]
    pub fn without_words(mut self) -> Self {
        self.message.clear();
        self.remedy = None;
        self
    }

    /// The same with a remedy.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same with another blame.
    #[must_use]
    pub fn blamed_on(mut self, blame: Blame) -> Self {
        self.blame = blame;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> JobState {
        JobState::admitted().on(Event::Claimed(Token(7))).unwrap()
    }

    #[test]
    fn a_settled_job_takes_no_event() {
        let settled = running().on(Event::Settled(Token(7), Outcome::cancelled())).unwrap();
        for event in [
            Event::Claimed(Token(8)),
            Event::Released,
            Event::Cancelled,
            Event::Expired,
            Event::Entered(Token(7), Stage::Run),
            Event::Settled(Token(7), Outcome::expired()),
        ] {
            assert!(settled.clone().on(event).is_err());
        }
    }

    #[test]
    fn a_stale_token_moves_nothing() {
        assert!(running().on(Event::Settled(Token(6), Outcome::cancelled())).is_err());
        assert!(running().on(Event::Entered(Token(8), Stage::Build)).is_err());
    }

    #[test]
    fn stages_never_go_backwards() {
        let run = running().on(Event::Entered(Token(7), Stage::Run)).unwrap();
        assert!(run.on(Event::Entered(Token(7), Stage::Build)).is_err());
    }

    #[test]
    fn a_released_job_waits_for_its_next_attempt() {
        assert_eq!(running().on(Event::Released).unwrap(), JobState::Queued { attempt: 2 });
    }

    #[test]
    fn every_ending_has_its_own_exit_code_and_none_is_the_code_of_bad_usage() {
        use Ending::*;
        let mut codes: Vec<u8> = [Succeeded, Rejected, Failed, TimedOut, Cancelled, Expired, Errored]
            .map(Ending::exit_code)
            .to_vec();
        codes.sort_unstable();
        assert_eq!(codes, [0, 1, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn reason_codes_print_as_they_are_serialised() {
        assert_eq!(Reason::OutOfMemory.to_string(), "out_of_memory");
    }
}
