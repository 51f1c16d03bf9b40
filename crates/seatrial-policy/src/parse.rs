//! Problems and their places in a file, and values that are text in it.
//!
//! The TOML crate places what it refuses itself. What [`crate::validate`] refuses is named by its
//! path of keys, and placed here by walking the document once more: so the policy's own types stay
//! free of positions.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, SpanRelativeTo, civil::Date};
use seatrial_core::finding::Span;
use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
use toml::de::{DeTable, DeValue};

use crate::{Network, compose::Source};

/// A policy that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct PolicyError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file; empty when there is only one and everybody knows which.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// 1-based column, in characters.
    pub column: usize,
    /// Where, in bytes.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: Option<String>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            if !problem.file.is_empty() {
                write!(out, "{}: ", problem.file)?;
            }
            write!(
                out,
                "line {}, column {}: {}",
                problem.line, problem.column, problem.message
            )?;
            if let Some(remedy) = &problem.remedy {
                write!(out, " ({remedy})")?;
            }
        }
        Ok(())
    }
}

/// A key or an index on the way to a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A table's key.
    Key(String),
    /// An array's index.
    Index(usize),
}

/// A problem before it has a place.
#[derive(Debug)]
pub(crate) struct Complaint {
    /// The value that is wrong.
    pub(crate) path: Vec<Step>,
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) remedy: Option<String>,
}

/// What the TOML crate refused, in our words.
pub(crate) fn refused(source: Source<'_>, refusal: &toml::de::Error) -> Problem {
    let span = refusal.span().map_or_else(Span::default, Span::from);
    let message = one_line(refusal.message());
    problem(source, span, message, remedy_for(refusal.message()))
}

/// The span of the deepest part of `path` that the document has, and how deep that is.
pub(crate) fn find(root: &DeTable<'_>, path: &[Step]) -> (Span, usize) {
    let mut span = Span::default();
    let mut depth = 0;
    let mut table = Some(root);
    let mut value: Option<&DeValue<'_>> = None;
    for step in path {
        let next = match (step, table, value) {
            (Step::Key(key), Some(table), _) => table.get(key.as_str()),
            (Step::Index(index), None, Some(DeValue::Array(items))) => items.get(*index),
            _ => None,
        };
        let Some(found) = next else { break };
        span = found.span().into();
        depth += 1;
        table = found.get_ref().as_table();
        value = Some(found.get_ref());
    }
    (span, depth)
}

/// A problem at a place in a file.
pub(crate) fn problem(source: Source<'_>, span: Span, message: String, remedy: Option<String>) -> Problem {
    let before = source.text.get(..span.start).unwrap_or(source.text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    Problem {
        file: source.name.to_owned(),
        line: line(source.text, span),
        column: before[line_start..].chars().count() + 1,
        span,
        message,
        remedy,
    }
}

/// The 1-based line where a span begins.
pub(crate) fn line(text: &str, span: Span) -> usize {
    text.get(..span.start).unwrap_or(text).matches('\n').count() + 1
}

/// `waivers.2.rule` to steps.
pub(crate) fn steps(path: &str) -> Vec<Step> {
    path.split('.')
        .map(|step| step.parse().map_or_else(|_| Step::Key(step.to_owned()), Step::Index))
        .collect()
}

/// Steps to `waivers.2.rule`.
pub(crate) fn words(path: &[Step]) -> String {
    let words: Vec<String> = path
        .iter()
        .map(|step| match step {
            Step::Key(key) => key.clone(),
            Step::Index(index) => index.to_string(),
        })
        .collect();
    words.join(".")
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The TOML crate's own words say what, not what to do.
fn remedy_for(message: &str) -> Option<String> {
    let remedy = if message.contains("missing field `version`") {
        "begin the file with: version = 1"
    } else if message.contains("parsable string") {
        "write a size like 64KiB, 512MiB or 4GiB"
    } else if message.contains("unknown field") {
        "`seatrial policy show` prints every key that exists"
    } else {
        return None;
    };
    Some(remedy.to_owned())
}

/// Reads a network; anything else says why there is nothing else.
pub(crate) fn network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
    let word = String::deserialize(deserializer)?;
    match word.as_str() {
        "none" => Ok(Network::None),
        "egress" => Ok(Network::Egress),
        _ => Err(D::Error::custom(
            "only \"none\" and \"egress\" are possible: a guest's container is never on a network, and reaches what \
             [egress] allows through a proxy alone",
        )),
    }
}

/// Reads a day, quoted or bare.
pub(crate) fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
    let written = match toml::Value::deserialize(deserializer)? {
        toml::Value::String(text) => text,
        toml::Value::Datetime(bare) => bare.to_string(),
        _ => String::new(),
    };
    // jiff would take a date with a time as well and drop the time without a word.
    let day = (written.len() == 10).then(|| written.parse().ok()).flatten();
    day.ok_or_else(|| D::Error::custom("not a day; write it like \"2027-03-31\""))
}

/// Durations that may be days or weeks: a database's age is not counted in hours.
pub(crate) mod days {
    use super::{Deserialize, Deserializer, Duration, Serializer, SignedDuration, SpanRelativeTo};
    use serde::de::Error as _;

    const DAY: u64 = 24 * 60 * 60;

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = duration.as_secs();
        if seconds > 0 && seconds.is_multiple_of(DAY) && duration.subsec_nanos() == 0 {
            return serializer.collect_str(&format_args!("{}d", seconds / DAY));
        }
        seatrial_core::limits::human_duration::serialize(duration, serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<jiff::Span>()
            .ok()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok())
            .and_then(|signed: SignedDuration| Duration::try_from(signed).ok())
            .ok_or_else(|| D::Error::custom("not a duration; write it like 7d, 36h or 1d 12h"))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::Policy;

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn problem(text: &str) -> Problem {
        let mut problems = Policy::parse_knowing(text, now(), &crate::names::tests::known(&["ST003", "ST016"]))
            .unwrap_err()
            .problems;
        assert_eq!(problems.len(), 1, "{problems:#?}");
        problems.remove(0)
    }

    #[test]
    fn the_default_file_says_what_the_default_is() {
        assert_eq!(Policy::parse(crate::DEFAULT_TOML, now()).unwrap(), Policy::default());
    }

    #[test]
    fn a_version_alone_is_the_default() {
        assert_eq!(Policy::parse("version = 1", now()).unwrap(), Policy::default());
    }

    #[test]
    fn an_unknown_key_is_an_error_at_its_place() {
        let problem = problem("version = 1\n\n[bases]\n  alow = []\n");
        assert_eq!((problem.line, problem.column), (4, 3));
        assert!(problem.message.contains("unknown field `alow`"), "{problem:?}");
    }

    #[test]
    fn a_file_without_a_version_is_told_what_to_write() {
        assert_eq!(
            problem("[bases]\n").remedy.as_deref(),
            Some("begin the file with: version = 1")
        );
    }

    #[test]
    fn a_network_is_refused_with_the_reason() {
        let problem = problem("version = 1\n[network]\nbuild = \"host\"\n");
        assert_eq!((problem.line, problem.column), (3, 9));
        assert!(problem.message.contains("never on a network"), "{problem:?}");
    }

    #[test]
    fn a_problem_found_by_meaning_has_the_place_of_the_value() {
        let text = "version = 1\n[limits.build]\nmemory = \"1GiB\"\nstore = \"2GiB\"\n";
        let problem = problem(text);
        assert_eq!(&text[problem.span.range()], "\"2GiB\"");
        assert_eq!((problem.line, problem.column), (4, 9));
    }

    #[test]
    fn a_problem_in_the_second_waiver_is_placed_there() {
        let text = "version = 1\n[[waivers]]\nrule = \"ST003\"\nreason = \"r\"\nowner = \"o\"\nexpires = \"2027-01-01\"\n[[waivers]]\nrule = \"ST999\"\nreason = \"r\"\nowner = \"o\"\nexpires = 2027-01-01\n";
        let problem = problem(text);
        assert_eq!(problem.line, 8);
        assert!(problem.message.contains("ST999"), "{problem:?}");
    }

    #[test]
    fn a_day_is_read_quoted_or_bare_and_nothing_else_is() {
        let with = |expires: &str| {
            let text = format!(
                "version = 1\n[[waivers]]\nrule = \"ST003\"\nreason = \"r\"\nowner = \"o\"\nexpires = {expires}\n"
            );
            Policy::parse(&text, now()).map(|policy| policy.waivers[0].expires)
        };
        let day = jiff::civil::date(2027, 3, 31);
        assert_eq!(with("\"2027-03-31\""), Ok(day));
        assert_eq!(with("2027-03-31"), Ok(day));
        for bad in ["\"2027-02-30\"", "\"soon\"", "20270331", "2027-03-31T10:00:00Z", "\"\""] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_age_may_be_days_and_hours() {
        let with = |age: &str| {
            Policy::parse(
                &format!("version = 1\n[vulnerabilities]\nmax_database_age = \"{age}\"\n"),
                now(),
            )
            .map(|policy| policy.vulnerabilities.max_database_age.as_secs() / 3600)
        };
        assert_eq!(with("36h"), Ok(36));
        assert_eq!(with("2d"), Ok(48));
        assert_eq!(with("1d 12h"), Ok(36));
        for bad in ["7", "-1d", "a week", ""] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let refusal = Policy::parse(
            "version = 1\n[run]\nuser = \"root\"\n[bases]\nallow = [\"x:1\"]\n",
            now(),
        )
        .unwrap_err();
        assert_eq!(refusal.problems.len(), 2, "{refusal}");
    }
}
