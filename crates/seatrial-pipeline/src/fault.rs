//! From an error of ours to the end of a job: whose fault it is and what to do. One place.

use seatrial_core::{
    engine::EngineError,
    job::{Blame, Outcome, Reason},
    scanner::ScanError,
};

/// Why the walk ended early.
#[derive(Debug)]
pub enum Stop {
    /// It is over: guest, policy, limit.
    Settled(Box<Outcome>),
    /// Ours; worth another try when transient.
    Host(HostFault),
}

/// A fault of the host or of an upstream.
#[derive(Debug, thiserror::Error)]
pub enum HostFault {
    /// The Engine's.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The scanner's.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

impl From<Outcome> for Stop {
    fn from(outcome: Outcome) -> Self {
        Self::Settled(Box::new(outcome))
    }
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Host(error.into())
    }
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Host(error.into())
    }
}

impl HostFault {
    /// Worth another try without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Engine(error) | Self::Scan(ScanError::Engine(error)) => error.is_transient(),
            Self::Scan(_) => false,
        }
    }

    /// How a job ends with it, when no further try is made.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Engine(error) | Self::Scan(ScanError::Engine(error)) => engine_outcome(error),
            Self::Scan(error) => scan_outcome(error),
        }
    }
}

fn engine_outcome(error: &EngineError) -> Outcome {
    let message = sentence(error);
    match error {
        EngineError::Unreachable(_) => Outcome::errored(Reason::EngineGone, message).with_remedy(
            "Start the Docker Engine, or point docker.host at one; `seatrial doctor` shows what is missing.",
        ),
        EngineError::Slow { .. } => Outcome::errored(Reason::EngineGone, message)
            .with_remedy("Look at the Engine's load and log; submit the job again."),
        EngineError::Refused { .. } => Outcome::errored(Reason::EngineRefused, message)
            .with_remedy("Look at the Engine's log; `seatrial doctor` checks what Seatrial needs of it."),
        EngineError::NoImage { .. } => Outcome::failed(Reason::BaseNotFound, message)
            .with_remedy("Correct the name or the tag in FROM, or have the operator provide the image."),
        EngineError::Registry { .. } => Outcome::errored(Reason::RegistryGone, message)
            .blamed_on(Blame::Upstream)
            .with_remedy(
                "Submit the job again when the registry answers, or load the base image into the Engine beforehand.",
            ),
        EngineError::ToolImage { .. } => Outcome::errored(Reason::ToolImage, message).with_remedy(
            "Set images.builder and images.scanner to images that the Engine holds; `seatrial doctor` lists them.",
        ),
        EngineError::DiskFull { .. } => Outcome::errored(Reason::DiskFull, message)
            .with_remedy("Free disk where the Engine and the data directory lie, run fewer jobs at a time, or lower limits.build.layers."),
        EngineError::WallMissing(_) => Outcome::errored(Reason::WallsTooWeak, message)
            .with_remedy("Use an Engine that can enforce it; `seatrial doctor` says how to switch it on."),
        EngineError::Broken(_) | EngineError::Stumbled(_) | EngineError::Local { .. } => {
            Outcome::errored(Reason::Internal, message)
                .with_remedy("This is a defect of Seatrial or of its host; the log has the details.")
        }
    }
}

fn scan_outcome(error: &ScanError) -> Outcome {
    let message = sentence(error);
    match error {
        ScanError::DatabaseMissing => Outcome::errored(Reason::DatabaseMissing, "Scanner database missing: nothing can be called clean without it.")
            .with_remedy("Get it with `seatrial db update`; without a network, `seatrial db import DIR` takes a folder with trivy.db and metadata.json."),
        ScanError::JavaDatabaseMissing => Outcome::errored(
            Reason::DatabaseMissing,
            "The image or its base holds Java archives, and the scanner's database of them is missing: nothing can be called clean without it.",
        )
        .with_remedy("Set `scan.java = true` and get it with `seatrial db update`; without a network, `seatrial db import DIR` takes it from DIR/java-db."),
        ScanError::TimedOut(_) => Outcome::timed_out(Reason::ScanTime, message)
            .with_remedy("Make the image smaller, or have the operator raise limits.scan.time."),
        ScanError::OutOfMemory(_) => Outcome::failed(Reason::OutOfMemory, message)
            .blamed_on(Blame::Quota)
            .with_remedy("What was not scanned is not clean, so it was not run. Make the image smaller, or have the operator raise limits.scan.memory."),
        ScanError::BaseTooLarge(_) => Outcome::errored(Reason::ScannerFailed, message)
            .with_remedy("Use a smaller base, or have the operator raise scan.base_memory: the whole archive of a base lies in it while it is scanned, once."),
        ScanError::Failed(_) | ScanError::Engine(_) | ScanError::Abandoned | ScanError::Local { .. } => {
            Outcome::errored(Reason::ScannerFailed, message)
                .with_remedy("What was not scanned is not clean, so it was not run. `seatrial doctor` checks the scanner.")
        }
    }
}

/// The error and its sources as one sentence.
pub(crate) fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_database_names_the_command_that_gets_one() {
        let outcome = HostFault::from(ScanError::DatabaseMissing).outcome();
        assert_eq!(outcome.reason, Reason::DatabaseMissing);
        assert!(outcome.message.starts_with("Scanner database missing"));
        assert!(outcome.remedy.unwrap().contains("seatrial db update"));
    }

    #[test]
    fn an_error_and_its_sources_become_one_sentence() {
        let error = EngineError::Unreachable("no such file".into());
        assert_eq!(sentence(&error), "The container engine is unreachable: no such file.");
        assert!(HostFault::from(error).is_transient());
    }

    #[test]
    fn a_base_that_does_not_exist_is_the_guests_fault() {
        let fault = HostFault::from(EngineError::NoImage {
            name: "docker.io/library/nope:1".into(),
        });
        assert_eq!(fault.outcome().blame, Blame::Guest);
    }
}
