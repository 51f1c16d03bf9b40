//! The trailer on standard error that nobody but us can write: it carries the nonce, and it is
//! written after every other process of the container is gone.

use std::{
    fmt::{Display, Write as _},
    io::Write as _,
};

use crate::{
    child::End,
    measure::{self, Sourced},
    wire::{Broken, surroundings},
};

/// Collects `key=value` pairs.
pub(crate) struct Report {
    text: String,
}

impl Report {
    /// Measures the container and says how its child ended.
    pub(crate) fn of(nonce: &str, end: &End) -> Self {
        let used = measure::container();
        let mut report = Self {
            text: format!("\nST1-REPORT {nonce}"),
        };
        report.add("code", end.code);
        report.add("signal", end.signal);
        report.add("start_error", end.start_error.as_deref().unwrap_or("-"));
        report.add("deadline", u8::from(end.late));
        report.add("orphaned", u8::from(end.orphaned));
        report.add("wall_us", end.wall_us);
        report.add_sourced("cpu_us", "cpu_src", used.cpu_us);
        report.add_sourced("mem_peak", "mem_src", used.memory_peak);
        report.add_measured("oom_kill", used.oom_kill);
        report.add_measured("pids_max", used.pids_max);
        report.add_measured("pids_peak", used.pids_peak);
        report.add("killed", end.killed);
        report
    }

    pub(crate) fn add(&mut self, key: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, " {key}={value}");
    }

    /// Absent is `-`, never 0.
    pub(crate) fn add_measured(&mut self, key: &str, value: Option<u64>) {
        match value {
            Some(value) => self.add(key, value),
            None => self.add(key, "-"),
        }
    }

    fn add_sourced(&mut self, key: &str, source: &str, value: Option<Sourced>) {
        self.add_measured(key, value.map(|(value, _)| value));
        self.add(source, value.map_or("-", |(_, source)| source));
    }

    /// The last thing that a role writes.
    pub(crate) fn send(mut self) -> Result<(), Broken> {
        self.text.push('\n');
        let mut stderr = std::io::stderr().lock();
        stderr
            .write_all(self.text.as_bytes())
            .and_then(|()| stderr.flush())
            .map_err(surroundings("report"))
    }
}
