//! What the two processes say to each other: one JSON document each way, both bounded.

use std::{fmt, time::Duration};

use seatrial_core::finding::Level;
use seatrial_policy::rego::{Form, Text};
use serde::{Deserialize, Serialize};

/// Largest request in bytes: the largest Dockerfile, twice in its input and escaped, and the operator's files.
pub const MAX_REQUEST: u64 = 32 << 20;
/// Largest answer in bytes.
pub const MAX_ANSWER: u64 = 4 << 20;
/// Most results of all checks on one file. More of them tell nobody more.
pub const MAX_HITS: usize = 1_000;
/// Longest message of a result, in bytes.
pub const MAX_MESSAGE: usize = 1_024;

/// How much a process may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bounds {
    /// Time, on the wall and of the processor.
    pub deadline: Duration,
    /// Address space in bytes, beside what the program itself takes.
    pub memory: u64,
}

/// What the child is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The operator's files.
    pub texts: Vec<Text>,
    /// Whose input it is.
    pub form: Form,
    /// Which packages are asked; none: those that the form asks by itself.
    pub namespaces: Vec<String>,
    /// What the checks see.
    pub input: serde_json::Value,
}

/// What the child answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Every check was worked out.
    Found(Vec<Hit>),
    /// One of them was not: nothing is known.
    Failed(Failure),
}

/// A result of a check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hit {
    /// The check: its id where it says one, else its package; of `A-Za-z0-9._-` alone.
    pub check: String,
    /// Its title, where it says one.
    pub title: Option<String>,
    /// The file that it stands in.
    pub file: String,
    /// What it says of the Dockerfile. Holds guest bytes: escape before printing.
    pub message: String,
    /// By the name of the rule, and by the check's severity where it says one.
    pub level: Level,
    /// 1-based; 0 when the check does not say.
    pub first_line: usize,
    /// 1-based; 0 when the check does not say.
    pub last_line: usize,
}

/// The checks were not worked out. It is the operator's to correct, not the guest's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub struct Failure {
    /// The file, where one is known.
    pub file: Option<String>,
    /// 1-based line and column in it.
    pub place: Option<(usize, usize)>,
    /// What happened. May hold guest bytes: escape before printing.
    pub why: String,
}

impl Failure {
    /// Something that is wrong with no place in a file.
    pub(crate) fn of(why: impl Into<String>) -> Self {
        Self {
            file: None,
            place: None,
            why: why.into(),
        }
    }

    /// The interpreter's words: a place in a file, the line, and what is wrong with it.
    pub(crate) fn read(words: &str, file: &str) -> Self {
        let place = words.lines().find_map(|line| {
            let mut parts = line.trim_start().strip_prefix("--> ")?.rsplitn(3, ':');
            let column = parts.next()?.parse().ok()?;
            let line = parts.next()?.parse().ok()?;
            Some((parts.next()?.to_owned(), (line, column)))
        });
        let why = words
            .lines()
            .find_map(|line| line.strip_prefix("error: "))
            .or_else(|| words.lines().rfind(|line| !line.trim().is_empty()))
            .unwrap_or("it cannot be worked out");
        let (file, place) = match place {
            Some((name, place)) if !name.is_empty() && !name.starts_with('<') => (name, Some(place)),
            _ => (file.to_owned(), None),
        };
        Self {
            file: Some(file).filter(|file| !file.is_empty()),
            place,
            why: cut(why.trim(), MAX_MESSAGE / 2).to_owned(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.place) {
            (Some(file), Some((line, column))) => write!(out, "{file}, line {line}, column {column}: ")?,
            (Some(file), None) => write!(out, "{file}: ")?,
            (None, _) => {}
        }
        out.write_str(&self.why)
    }
}

/// At most so many bytes of a text.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
