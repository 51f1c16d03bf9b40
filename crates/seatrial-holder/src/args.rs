//! Arguments: `--name value` options first, then operands. Strict, for only we write them.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    time::Duration,
};

use crate::wire::{Broken, decimal};

/// The longest deadline, in seconds: a week, for a holder outlives every stage of its job.
const MAX_DEADLINE_S: u64 = 7 * 86_400;

/// What stands behind the name of the role.
pub(crate) struct Args {
    options: Vec<(String, OsString)>,
    /// Operands, or everything after `--`.
    pub(crate) operands: Vec<OsString>,
}

impl Args {
    /// `known` are the options that take a value; there are no others.
    pub(crate) fn parse(raw: impl Iterator<Item = OsString>, known: &[&str]) -> Result<Self, Broken> {
        let mut raw = raw.peekable();
        let mut options: Vec<(String, OsString)> = Vec::new();
        while let Some(next) = raw.next_if(|next| next.as_bytes().starts_with(b"--")) {
            if next == "--" {
                break;
            }
            let name = next
                .to_str()
                .filter(|name| known.contains(name))
                .ok_or_else(|| usage(&next, "is no option of this role"))?;
            if options.iter().any(|(given, _)| given == name) {
                return Err(usage(&next, "is given twice"));
            }
            let value = raw.next().ok_or_else(|| usage(&next, "needs a value"))?;
            options.push((name.to_owned(), value));
        }
        Ok(Self {
            options,
            operands: raw.collect(),
        })
    }

    pub(crate) fn text(&self, name: &str) -> Option<&OsStr> {
        let found = self.options.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_os_str())
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    pub(crate) fn number(&self, name: &str, max: u64) -> Result<Option<u64>, Broken> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        match decimal(value.as_bytes()) {
            Some(number) if number <= max => Ok(Some(number)),
            _ => Err(usage(value, &format!("is no number for {name}"))),
        }
    }

    /// `--deadline-s`, when it is given.
    pub(crate) fn deadline(&self) -> Result<Option<Duration>, Broken> {
        match self.number("--deadline-s", MAX_DEADLINE_S)? {
            Some(0) => Err(Broken::Usage("--deadline-s 0 leaves no time".to_owned())),
            seconds => Ok(seconds.map(Duration::from_secs)),
        }
    }

    /// `--deadline-s`, which must be given.
    pub(crate) fn required_deadline(&self) -> Result<Duration, Broken> {
        self.deadline()?
            .ok_or_else(|| Broken::Usage("--deadline-s is missing".to_owned()))
    }

    /// `--idle-s`, when it is given.
    pub(crate) fn idle(&self) -> Result<Option<Duration>, Broken> {
        let seconds = self.number("--idle-s", MAX_DEADLINE_S)?;
        Ok(seconds.map(Duration::from_secs))
    }

    /// At most one operand, a directory.
    pub(crate) fn directory(&self) -> Result<Option<PathBuf>, Broken> {
        match self.operands.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(PathBuf::from(one))),
            [_, more, ..] => Err(usage(more, "is one operand too many")),
        }
    }
}

fn usage(what: &OsStr, problem: &str) -> Broken {
    Broken::Usage(format!("{} {problem}", what.as_bytes().escape_ascii()))
}
