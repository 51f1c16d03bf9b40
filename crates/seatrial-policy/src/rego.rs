//! Checks in Rego that an operator brings along, as Trivy and conftest run them.
//!
//! The policy names the files and holds their texts, so that what was checked is what is shown; it runs nothing. Whoever
//! judges a file has the checks worked out elsewhere, and says here what came of it ([`Checked`]). What was not worked
//! out denies.

use std::{fmt, time::Duration};

use bytesize::ByteSize;
use schemars::JsonSchema;
use seatrial_core::{
    digest::Digest,
    finding::{Finding, Level, Span},
    limits::human_duration,
};
use serde::{Deserialize, Serialize};

use crate::{
    compose::Source,
    parse::{Complaint, Step},
};

/// Most entries of `files` and of `namespaces`.
pub const MAX_ENTRIES: usize = 64;
/// Most files that the entries may come to.
pub const MAX_TEXTS: usize = 256;
/// Most bytes of all files together.
pub const MAX_BYTES: usize = 2 << 20;
/// What the rule of a finding by a check begins with.
pub const PREFIX: &str = "rego:";
/// The rule that says that the checks were not worked out.
pub const FAILED: &str = "rego:failed";
/// The rule that says that they are left to somebody else.
pub const LEFT: &str = "rego:left";

/// Checks in Rego; none by default.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rego {
    /// Files and folders of checks and of what they import, relative to the policy file; in folders those that end
    /// with `.rego`, tests left out. Files of several policies add up.
    pub files: Vec<String>,
    /// Whose checks these are: what they see of a file, and which packages are asked.
    pub form: Form,
    /// The packages that are asked, without `data.`. Empty: each that has a rule `deny`, `violation` or `warn`
    /// (`trivy`), or `main` (`conftest`).
    pub namespaces: Vec<String>,
    /// Longest time for one file, all checks together.
    #[serde(with = "human_duration")]
    #[schemars(schema_with = "seatrial_core::schema::time")]
    pub deadline: Duration,
    /// Most memory for one file, all checks together.
    #[schemars(schema_with = "seatrial_core::schema::size")]
    pub memory: ByteSize,
    /// What the files say; read with the policy.
    #[serde(skip)]
    pub texts: Vec<Text>,
}

/// Whose checks they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Trivy's.
    #[default]
    Trivy,
    /// conftest's.
    Conftest,
}

/// A file of checks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// What messages call it.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl fmt::Debug for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.name, self.digest())
    }
}

impl Text {
    /// The digest of what it says.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }
}

impl Default for Rego {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            form: Form::default(),
            namespaces: Vec::new(),
            deadline: Duration::from_secs(5),
            memory: ByteSize::mib(256),
            texts: Vec::new(),
        }
    }
}

impl Rego {
    /// Whether there is anything to work out.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.files.is_empty()
    }
}

/// What came of the checks on one file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Checked {
    /// Nobody tried: a policy with checks denies then.
    #[default]
    Not,
    /// Somebody else judges the file with them before anything of it is built.
    Left,
    /// They were worked out, and this is what they found.
    Found(Vec<Finding>),
    /// They could not be.
    Failed(String),
}

/// Reads an entry of `files`: which policy file says so, and what. Every file that it comes to.
pub type Reader<'r> = &'r dyn Fn(&str, &str) -> Result<Vec<Text>, String>;

/// Reads what the entries of a policy name.
pub(crate) fn read(rego: &mut Rego, source: Source<'_>, reader: Option<Reader<'_>>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let Some(reader) = reader else { return complaints };
    for (index, entry) in rego.files.iter().enumerate().take(MAX_ENTRIES) {
        match reader(source.name, entry) {
            Ok(texts) => join(&mut rego.texts, texts),
            Err(why) => complaints.push(Complaint {
                path: vec![
                    Step::Key("rego".to_owned()),
                    Step::Key("files".to_owned()),
                    Step::Index(index),
                ],
                message: why,
                remedy: Some("name files and folders as they are seen from the policy file".to_owned()),
            }),
        }
    }
    complaints
}

/// Adds what is not there yet.
pub(crate) fn join<T: PartialEq>(into: &mut Vec<T>, from: Vec<T>) {
    for one in from {
        if !into.contains(&one) {
            into.push(one);
        }
    }
}

/// Why the checks of a policy are not worked out, as a finding that no policy lets pass.
pub(crate) fn failed(why: &str) -> Finding {
    Finding {
        rule: FAILED.into(),
        level: Level::Error,
        message: format!("the operator's checks in Rego cannot be worked out: {why}"),
        remedy: "This is for the operator to correct, in the checks or in [rego] of the policy".into(),
        ..note("")
    }
}

/// That the checks are worked out later.
pub(crate) fn left() -> Finding {
    note("the operator's checks in Rego are not worked out here: the worker does it before anything is built")
}

fn note(message: &str) -> Finding {
    Finding {
        rule: LEFT.into(),
        level: Level::Info,
        line: 1,
        column: 1,
        span: Span::default(),
        message: message.to_owned(),
        remedy: "Nothing is to be done about it".into(),
        fix: None,
    }
}

#[cfg(test)]
mod tests;
