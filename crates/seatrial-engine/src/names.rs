//! Names, labels and tags of what we make on the Engine.
//!
//! A name tells what an object is, whose it is and for which attempt; so two attempts never share
//! one, and a sweep knows what it may touch. Labels of ours win over those of an image when a
//! container is created; still a sweep asks for the name AND the label.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use seatrial_core::{digest::Digest, id::AttemptId};

/// Which process made it.
pub(crate) const LABEL_INSTANCE: &str = "io.seatrial.instance";
/// Which data directory that process used.
pub(crate) const LABEL_HOST: &str = "io.seatrial.host";
/// What it is for.
pub(crate) const LABEL_KIND: &str = "io.seatrial.kind";
/// Whose job.
pub(crate) const LABEL_JOB: &str = "io.seatrial.job";
/// Which try.
pub(crate) const LABEL_ATTEMPT: &str = "io.seatrial.attempt";
/// Seconds since 1970 after which anybody may remove it.
pub(crate) const LABEL_DEADLINE: &str = "io.seatrial.deadline";
/// Tells something from another thing that had the same name before it.
pub(crate) const LABEL_BIRTH: &str = "io.seatrial.birth";

/// What every name begins with.
pub(crate) const PREFIX: &str = "st-";
/// What every tag of a guest's image begins with.
pub(crate) const JOB_TAG_PREFIX: &str = "seatrial/job-";

/// Who we are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    /// Of the data directory: 8 characters, for ever.
    pub(crate) host: String,
    /// Of this process: 8 characters.
    pub(crate) instance: String,
}

/// What a container or volume is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Builds a guest's image.
    Build,
    /// Fills the store of a base.
    Fill,
    /// Keeps `/data` alive, and that volume itself.
    Data,
    /// The guest.
    Run,
    /// The inputs of a guest.
    Inputs,
    /// Fills a volume of ours.
    Put,
    /// Meets the walls, and the volume that it has for `/data`.
    Probe,
    /// The way out of a stage.
    Egress,
    /// A trusted tool, by its role.
    Tool(&'static str),
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Fill => "fill",
            Self::Data => "data",
            Self::Run => "run",
            Self::Inputs => "in",
            Self::Put => "put",
            Self::Probe => "probe",
            Self::Egress => "egress",
            Self::Tool(role) => role,
        }
    }
}

impl Identity {
    /// A name for something of one attempt. There is one of each kind, except of tools.
    pub(crate) fn name(&self, kind: Kind, attempt: AttemptId) -> String {
        format!("{PREFIX}{}-{}-{attempt}", kind.as_str(), self.instance)
    }

    /// A name for something that may exist many times; unique.
    pub(crate) fn unique_name(&self, kind: Kind) -> String {
        let random = ulid::Ulid::generate().to_string().to_ascii_lowercase();
        format!("{PREFIX}{}-{}-{random}", kind.as_str(), self.instance)
    }

    /// The tag of a guest's image.
    pub(crate) fn job_tag(&self, attempt: AttemptId) -> String {
        format!("{JOB_TAG_PREFIX}{}-{}:{attempt}", self.host, self.instance)
    }

    /// Labels of something that goes with this process, `life` from now at the latest.
    pub(crate) fn labels(&self, kind: Kind, attempt: Option<AttemptId>, life: Duration) -> HashMap<String, String> {
        let deadline = Timestamp::now()
            .as_second()
            .saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
        let mut labels = self.lasting_labels(kind.as_str());
        labels.insert(LABEL_INSTANCE.to_owned(), self.instance.clone());
        labels.insert(LABEL_DEADLINE.to_owned(), deadline.to_string());
        if let Some(attempt) = attempt {
            labels.insert(LABEL_JOB.to_owned(), attempt.job.to_string());
            labels.insert(LABEL_ATTEMPT.to_owned(), attempt.number.to_string());
        }
        labels
    }

    /// Labels of something that outlives this process.
    pub(crate) fn lasting_labels(&self, kind: &str) -> HashMap<String, String> {
        HashMap::from([
            (LABEL_HOST.to_owned(), self.host.clone()),
            (LABEL_KIND.to_owned(), kind.to_owned()),
            (LABEL_BIRTH.to_owned(), ulid::Ulid::generate().to_string()),
        ])
    }
}

/// The image that has nothing but our static binaries.
pub(crate) fn holder_tag(binaries: &Digest) -> String {
    format!("seatrial/holder:{}", binaries.short())
}

/// The volume that brings our static binary into images of others.
pub(crate) fn tools_volume(binary: &Digest) -> String {
    format!("{PREFIX}tools-{}", binary.short())
}

/// A fresh name for the store of a base.
pub(crate) fn base_volume(engine_id: &Digest) -> String {
    let random = ulid::Ulid::generate().to_string().to_ascii_lowercase();
    format!("{PREFIX}base-{}-{}", engine_id.short(), &random[18..])
}

/// The instance in a name of ours: `st-<kind>-<instance>-<rest>`.
pub(crate) fn instance_of(name: &str) -> Option<&str> {
    let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
    let (_kind, instance, _rest) = (parts.next()?, parts.next()?, parts.next()?);
    (instance.len() == 8).then_some(instance)
}

/// The instance in a tag of a guest's image that a process on this host gave.
pub(crate) fn instance_of_tag<'a>(tag: &'a str, who: &Identity) -> Option<&'a str> {
    let rest = tag
        .strip_prefix(JOB_TAG_PREFIX)?
        .strip_prefix(who.host.as_str())?
        .strip_prefix('-')?;
    Some(rest.split_once(':')?.0)
}

/// Which base a store is of, from its name.
pub(crate) fn base_of_volume(name: &str) -> Option<&str> {
    Some(name.strip_prefix(PREFIX)?.strip_prefix("base-")?.split_once('-')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seatrial_core::id::JobId;

    #[test]
    fn names_of_two_tries_differ_and_say_whose_they_are() {
        let who = Identity {
            host: "hhhhhhhh".to_owned(),
            instance: "iiiiiiii".to_owned(),
        };
        let job = JobId::fresh();
        let first = AttemptId { job, number: 1 };
        let second = AttemptId { job, number: 2 };
        assert_ne!(who.name(Kind::Run, first), who.name(Kind::Run, second));
        assert_eq!(who.name(Kind::Run, first), format!("st-run-iiiiiiii-{}-1", job.short()));
        assert_eq!(
            who.job_tag(second),
            format!("seatrial/job-hhhhhhhh-iiiiiiii:{}-2", job.short())
        );
    }
}
