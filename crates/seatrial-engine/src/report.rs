//! The report with which our PID 1 ends standard error, told apart from what the guest wrote.
//!
//! The line carries a nonce that only PID 1 knows, and nothing can follow it: everybody else is
//! dead by then. What came before it goes to the log as it comes.

use std::collections::HashMap;

use seatrial_core::{engine::Usage, log::LogSink};

/// 32 hex digits that only we and PID 1 of one container know.
#[derive(Clone)]
pub(crate) struct Nonce(String);

impl Nonce {
    /// 128 bits from the system, by way of two ULIDs' random halves.
    pub(crate) fn fresh() -> Self {
        let half = || ulid::Ulid::generate().random() as u64;
        Self(format!("{:016x}{:016x}", half(), half()))
    }

    /// The first line that PID 1 reads.
    pub(crate) fn line(&self) -> Vec<u8> {
        format!("{}\n", self.0).into_bytes()
    }
}

/// Passes standard error on, but for the report.
pub(crate) struct Filter<'a> {
    log: &'a dyn LogSink,
    /// What a report begins with.
    mark: Vec<u8>,
    /// The longest end of what came that may still become a mark; or the report once it began.
    held: Vec<u8>,
    begun: bool,
}

/// A report is one line of our own; more than this is not one.
const MAX_REPORT: usize = 8192;

impl<'a> Filter<'a> {
    pub(crate) fn new(nonce: &Nonce, log: &'a dyn LogSink) -> Self {
        Self {
            log,
            mark: format!("\nST1-REPORT {} ", nonce.0).into_bytes(),
            held: Vec::new(),
            begun: false,
        }
    }

    /// Takes a piece of standard error.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        if self.begun {
            let room = MAX_REPORT.saturating_sub(self.held.len());
            self.held.extend_from_slice(&bytes[..bytes.len().min(room)]);
            return;
        }
        self.held.extend_from_slice(bytes);
        if let Some(at) = find(&self.held, &self.mark) {
            self.log.write(&self.held[..at]);
            self.held.drain(..at + self.mark.len());
            self.held.truncate(MAX_REPORT);
            self.begun = true;
            return;
        }
        let keep = (0..self.mark.len().min(self.held.len() + 1))
            .rev()
            .find(|&len| self.held.ends_with(&self.mark[..len]))
            .unwrap_or(0);
        let pass = self.held.len() - keep;
        if pass > 0 {
            self.log.write(&self.held[..pass]);
            self.held.drain(..pass);
        }
    }

    /// Nothing came for a moment: a line end that was held back is only a line end.
    pub(crate) fn quiet(&mut self) {
        if !self.begun && self.held == b"\n" {
            self.log.write(b"\n");
            self.held.clear();
        }
    }

    /// The stream ended: the report, if there is one.
    pub(crate) fn end(self) -> Option<Report> {
        if !self.begun {
            if !self.held.is_empty() {
                self.log.write(&self.held);
            }
            return None;
        }
        let line = self.held.strip_suffix(b"\n")?;
        let text = std::str::from_utf8(line).ok()?;
        if text.contains('\n') {
            return None;
        }
        let values = text
            .split(' ')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Some(Report { values })
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == first) {
        let at = from + at;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// What PID 1 reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Report {
    values: HashMap<String, String>,
}

impl Report {
    fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str).filter(|value| *value != "-")
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }

    /// Exit code of the main child.
    pub(crate) fn code(&self) -> Option<i32> {
        self.text("code")?.parse().ok()
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.number(key) == Some(1)
    }

    /// Why the main child could not be started.
    pub(crate) fn start_error(&self) -> Option<&str> {
        self.text("start_error")
    }

    /// What was used, with where each value came from.
    pub(crate) fn usage(&self) -> Usage {
        let seconds = |key| self.number(key).map(|micros| micros as f64 / 1e6);
        let source = |key: &str| match self.text(key) {
            Some("cgroup1") => "cgroup v1, read by our init in the container".to_owned(),
            Some("cgroup2") => "cgroup v2, read by our init in the container".to_owned(),
            Some("proc") => "children that our init reaped".to_owned(),
            Some(other) => other.to_owned(),
            None => "not measured".to_owned(),
        };
        let usage = Usage {
            wall_s: seconds("wall_us"),
            cpu_s: seconds("cpu_us"),
            memory_peak: self.number("mem_peak"),
            oom_events: self.number("oom_kill"),
            pids_events: self.number("pids_max"),
            data_bytes: None,
            sources: std::collections::BTreeMap::new(),
        };
        let mut sources = std::collections::BTreeMap::new();
        sources.insert("wall_s".into(), "our init in the container".to_owned());
        if usage.cpu_s.is_some() {
            sources.insert("cpu_s".into(), source("cpu_src"));
        }
        for (key, measured) in [
            ("memory_peak", usage.memory_peak),
            ("oom_events", usage.oom_events),
            ("pids_events", usage.pids_events),
        ] {
            if measured.is_some() {
                sources.insert(key.into(), source("mem_src"));
            }
        }
        Usage { sources, ..usage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use seatrial_core::log::BoundedLog;

    fn run(nonce: &Nonce, pieces: &[&[u8]]) -> (Vec<u8>, Option<Report>) {
        let log = BoundedLog::new(1 << 20);
        let mut filter = Filter::new(nonce, &log);
        for piece in pieces {
            filter.take(piece);
        }
        let report = filter.end();
        (log.contents(), report)
    }

    #[test]
    fn the_report_is_read_and_not_logged() {
        let nonce = Nonce::fresh();
        let report = format!(
            "\nST1-REPORT {} code=3 signal=0 start_error=- oom_kill=2 mem_peak=-\n",
            nonce.0
        );
        let (log, report) = run(&nonce, &[b"hello\n", report.as_bytes()]);
        assert_eq!(log, b"hello\n");
        let report = report.unwrap();
        assert_eq!(report.code(), Some(3));
        assert_eq!(report.start_error(), None);
        assert_eq!(report.usage().oom_events, Some(2));
        assert_eq!(report.usage().memory_peak, None);
    }

    #[test]
    fn a_report_with_another_nonce_is_only_a_line_of_the_guest() {
        let nonce = Nonce::fresh();
        let forged = format!("\nST1-REPORT {} code=0\n", "0".repeat(32));
        let (log, report) = run(&nonce, &[forged.as_bytes()]);
        assert_eq!(log, forged.as_bytes());
        assert_eq!(report, None);
    }

    #[test]
    fn a_report_that_was_cut_off_is_none() {
        let nonce = Nonce::fresh();
        let cut = format!("\nST1-REPORT {} code=0", nonce.0);
        assert_eq!(run(&nonce, &[cut.as_bytes()]).1, None);
    }

    #[test]
    fn a_report_with_anything_behind_it_is_none() {
        let nonce = Nonce::fresh();
        let report = format!("\nST1-REPORT {} code=0\n", nonce.0);
        for more in ["x", "x\n", &report, "\n"] {
            assert_eq!(run(&nonce, &[report.as_bytes(), more.as_bytes()]).1, None, "{more:?}");
        }
    }

    #[test]
    fn a_line_end_waits_no_longer_than_a_moment() {
        let log = BoundedLog::new(100);
        let mut filter = Filter::new(&Nonce::fresh(), &log);
        filter.take(b"line\n");
        assert_eq!(log.contents(), b"line");
        filter.quiet();
        assert_eq!(log.contents(), b"line\n");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_however_the_stream_is_cut(text in "[\nST1\\-REPORT 0a]{0,200}", cuts in prop::collection::vec(1_usize..20, 0..40)) {
            let nonce = Nonce::fresh();
            let all = format!("{text}\nST1-REPORT {} code=7\n", nonce.0).into_bytes();
            let mut pieces = Vec::new();
            let mut rest = &all[..];
            for cut in cuts {
                let (piece, left) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = left;
            }
            pieces.push(rest);
            let (log, report) = run(&nonce, &pieces);
            prop_assert_eq!(log, text.into_bytes());
            prop_assert_eq!(report.unwrap().code(), Some(7));
        }
    }
}
