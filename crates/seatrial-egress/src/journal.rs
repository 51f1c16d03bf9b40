//! One line of JSON for each request that is over, on standard error; of one that reached its host another before,
//! with the same number, so that something is known of it whenever all of this ends.
//!
//! `{"n":…,"host":…,"port":…,"method":…,"bytes_up":…,"bytes_down":…,"sha256":…,"verdict":…,"reason":…,"status":…}`
//!
//! `verdict` is `allowed`, `refused` (a rule, or a limit on the way) or `failed` (the host, or whoever asked, went
//! away). `bytes_up` is all that was sent to the host, heads of requests included. `bytes_down` is all that came
//! through a tunnel, and of plain HTTP the body alone, whose SHA-256 is there when the whole of it was seen.
//! `status` is what was answered, 0 when nothing was. A request that was not understood has an empty host. `n` counts
//! the requests that are served; it is 0 for what is not: no HTTP, or too much.
//!
//! A line has at most 4 KiB and only printable ASCII, whatever was asked for.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{io::AsyncWriteExt as _, sync::mpsc, task::JoinHandle};

use crate::meter::{ENOUGH, Meter};

/// Lines for what is not served. Those of requests that are do not come out of these: else rubbish would hide them.
const SURPLUS_LINES: u64 = 64;
/// Bytes of a host as it is written; a real one has no more.
const LONGEST_HOST: usize = 1024;
/// Bytes of a method.
const LONGEST_METHOD: usize = 128;
/// Bytes of a reason.
const LONGEST_REASON: usize = 1024;

/// Where lines go.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    lines: mpsc::UnboundedSender<String>,
    surplus: Arc<AtomicU64>,
}

/// Opens the journal. The task ends when nobody holds it any more and all is written.
pub(crate) fn open() -> (Journal, JoinHandle<()>) {
    // Unbounded, but two lines for each request that is served, and `surplus`.
    let (lines, mut written) = mpsc::unbounded_channel::<String>();
    let writing = tokio::spawn(async move {
        let mut stderr = tokio::io::stderr();
        while let Some(line) = written.recv().await {
            // Nobody may be listening; the requests go on.
            let _ = stderr.write_all(line.as_bytes()).await;
            let _ = stderr.flush().await;
        }
    });
    let surplus = Arc::new(AtomicU64::new(SURPLUS_LINES));
    (Journal { lines, surplus }, writing)
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Allowed,
    Refused,
    Failed,
}

/// A request. Its line is written when it is dropped, so that there is one whatever happens.
#[derive(Debug)]
pub(crate) struct Record {
    journal: Journal,
    number: u64,
    host: String,
    port: u16,
    method: String,
    meter: Option<Arc<Meter>>,
    body: Option<u64>,
    sha256: Option<[u8; 32]>,
    verdict: Verdict,
    reason: String,
    status: u16,
}

impl Journal {
    /// A request of which nothing is known but its method and its host, as they came.
    pub(crate) fn record(&self, method: &str, host: &str) -> Record {
        Record {
            journal: self.clone(),
            number: 0,
            host: host.to_owned(),
            port: 0,
            method: method.to_owned(),
            meter: None,
            body: None,
            sha256: None,
            verdict: Verdict::Failed,
            reason: "whoever asked went away, or nothing was carried for too long".to_owned(),
            status: 0,
        }
    }
}

impl Record {
    /// It is served, as the so-manieth.
    pub(crate) fn served(&mut self, number: u64) {
        self.number = number;
    }

    /// It reached its host.
    pub(crate) fn begun(&self) {
        let _ = self
            .journal
            .lines
            .send(self.line("it was cut off while it was open; what it carried is not known"));
    }

    pub(crate) fn host(&mut self, host: String, port: u16) {
        self.host = host;
        self.port = port;
    }

    /// Counts with this from now on.
    pub(crate) fn meter(&mut self, meter: Arc<Meter>) {
        self.meter = Some(meter);
    }

    /// Bytes of a plain body so far.
    pub(crate) fn body(&mut self, bytes: u64) {
        self.body = Some(bytes);
    }

    /// What was answered.
    pub(crate) fn status(&mut self, status: u16) {
        self.status = status;
    }

    pub(crate) fn allowed(&mut self, sha256: Option<[u8; 32]>) {
        (self.verdict, self.sha256) = (Verdict::Allowed, sha256);
        self.reason.clear();
    }

    pub(crate) fn refused(&mut self, reason: &str) {
        (self.verdict, self.reason) = (Verdict::Refused, reason.to_owned());
    }

    /// The limit of bytes if that was it, else what went wrong.
    pub(crate) fn stopped(&mut self, reason: &str) {
        if self.meter.as_ref().is_some_and(|meter| meter.is_over()) {
            self.refused(ENOUGH);
        } else {
            (self.verdict, self.reason) = (Verdict::Failed, reason.to_owned());
        }
    }

    fn line(&self, reason: &str) -> String {
        let verdict = match self.verdict {
            Verdict::Allowed => "allowed",
            Verdict::Refused => "refused",
            Verdict::Failed => "failed",
        };
        let up = self.meter.as_ref().map_or(0, |meter| meter.up());
        let down = self.meter.as_ref().map_or(0, |meter| meter.down());
        let mut line = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            line,
            r#"{{"n":{},"host":"{}","port":{},"method":"{}","bytes_up":{up},"bytes_down":{},"sha256":"#,
            self.number,
            escaped(&self.host, LONGEST_HOST),
            self.port,
            escaped(&self.method, LONGEST_METHOD),
            self.body.unwrap_or(down),
        );
        match self.sha256 {
            None => line.push_str("null"),
            Some(sha256) => {
                line.push('"');
                for byte in sha256 {
                    let _ = write!(line, "{byte:02x}");
                }
                line.push('"');
            }
        }
        let reason = escaped(reason, LONGEST_REASON);
        let status = self.status;
        let _ = writeln!(
            line,
            r#","verdict":"{verdict}","reason":"{reason}","status":{status}}}"#
        );
        line
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let surplus = &self.journal.surplus;
        let take = || surplus.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        if self.number > 0 || take().is_ok() {
            let _ = self.journal.lines.send(self.line(&self.reason));
        }
    }
}

/// The beginning of a text, as at most so many bytes of the inside of a JSON string in printable ASCII.
fn escaped(text: &str, most: usize) -> String {
    let mut out = String::new();
    for character in text.chars() {
        let before = out.len();
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
        if out.len() > most {
            out.truncate(before);
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(host: &str, method: &str, reason: &str) -> String {
        let (lines, _) = mpsc::unbounded_channel();
        let surplus = Arc::new(AtomicU64::new(0));
        let mut record = Journal { lines, surplus }.record(method, host);
        record.served(u64::MAX);
        record.line(reason)
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_of_bounded_json_whatever_it_says(host in ".{0,400}", method in ".{0,400}", reason in ".{0,400}") {
            let line = line(&host, &method, &reason);
            prop_assert!(line.len() <= 4096);
            let inside = line.strip_suffix('\n').unwrap();
            prop_assert!(inside.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let read: serde_json::Value = serde_json::from_str(inside).unwrap();
            for (key, said) in [("host", &host), ("method", &method), ("reason", &reason)] {
                let kept = read[key].as_str().unwrap();
                prop_assert!(said.starts_with(kept));
                // What is short enough in its longest spelling is all there.
                prop_assert!(kept.len() == said.len() || said.chars().count() > LONGEST_METHOD / 12);
            }
        }
    }

    #[test]
    fn the_longest_line_fits() {
        let worst = "\u{10ffff}".repeat(1000);
        assert!(line(&worst, &worst, &worst).len() <= 4096);
    }

    #[tokio::test]
    async fn what_is_not_served_has_few_lines_and_takes_none_from_what_is() {
        let (lines, mut written) = mpsc::unbounded_channel();
        let surplus = Arc::new(AtomicU64::new(3));
        let journal = Journal { lines, surplus };
        for _ in 0..10 {
            drop(journal.record("GET", "rubbish"));
        }
        let mut served = journal.record("GET", "served");
        served.served(1);
        served.begun();
        drop((served, journal));
        let mut told = Vec::new();
        while let Some(line) = written.recv().await {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            told.push((line["n"].as_u64().unwrap(), line["host"].as_str().unwrap().to_owned()));
        }
        let told: Vec<_> = told.iter().map(|(n, host)| (*n, &**host)).collect();
        assert_eq!(
            told,
            [
                (0, "rubbish"),
                (0, "rubbish"),
                (0, "rubbish"),
                (1, "served"),
                (1, "served")
            ]
        );
    }
}
