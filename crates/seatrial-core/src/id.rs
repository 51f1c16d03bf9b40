//! Names of jobs, attempts and processes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// A job, for ever: `job_` and a ULID in Crockford's base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId(Ulid);

/// The text is not a job id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job id is 'job_' and 26 characters of base 32, not these {len} bytes")]
pub struct BadJobId {
    /// Length of the refused text, in bytes. The text itself is not repeated: it is hostile.
    pub len: usize,
}

impl JobId {
    /// A fresh id; unique, and later ids sort after earlier ones (millisecond grain).
    #[must_use]
    pub fn fresh() -> Self {
        Self(Ulid::generate())
    }

    /// The 26 characters without the prefix, lower case: the form used in container names.
    #[must_use]
    pub fn short(self) -> String {
        self.0.to_string().to_ascii_lowercase()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "job_{}", self.0)
    }
}

impl FromStr for JobId {
    type Err = BadJobId;
    fn from_str(text: &str) -> Result<Self, BadJobId> {
        let bad = BadJobId { len: text.len() };
        let ulid = text.strip_prefix("job_").ok_or(bad)?;
        Ulid::from_string(ulid)
            .map(Self)
            .map_err(|_| BadJobId { len: text.len() })
    }
}

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One try of a job. Every container, volume and tag of the try carries it in its name, so no
/// two tries ever share an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AttemptId {
    /// The job that is tried.
    pub job: JobId,
    /// 1 for the first try.
    pub number: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.job.short(), self.number)
    }
}

/// A value that ties log lines, events and objects of one request together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CorrelationId(String);

impl CorrelationId {
    /// Accepts 1 to 128 of `A-Za-z0-9._-`; anything else is replaced by a fresh id.
    #[must_use]
    pub fn accept_or_fresh(text: &str) -> Self {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
            return Self(text.to_owned());
        }
        Self(Ulid::generate().to_string())
    }

    /// The text, safe to print.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_reads_back_what_it_prints() {
        let id = JobId::fresh();
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_bad_job_id_is_refused_without_being_repeated() {
        let refusal = "job_\u{1b}[31m".parse::<JobId>().unwrap_err();
        assert!(!refusal.to_string().contains('\u{1b}'));
    }

    #[test]
    fn a_hostile_correlation_id_is_replaced() {
        assert_eq!(CorrelationId::accept_or_fresh("a.b-c_1").as_str(), "a.b-c_1");
        assert_ne!(CorrelationId::accept_or_fresh("a\nb").as_str(), "a\nb");
        assert_ne!(CorrelationId::accept_or_fresh(&"a".repeat(129)).as_str().len(), 129);
    }
}
