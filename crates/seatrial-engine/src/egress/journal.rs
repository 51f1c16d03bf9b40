//! What the proxy tells of each request: one line of JSON on its standard error.

use seatrial_core::{
    digest::Digest,
    egress::{EgressLog, EgressRow, EgressVerdict},
    finding::escape_untrusted,
};
use serde::Deserialize;

/// Longest line.
const MAX_LINE: usize = 8192;
/// What is kept of a text of the guest's.
const MAX_HOST: usize = 255;
const MAX_METHOD: usize = 32;
const MAX_REASON: usize = 300;

/// Reads the lines.
pub(super) struct Journal {
    seen: EgressLog,
    line: Vec<u8>,
    /// The last line that tells of no request: an error.
    words: String,
}

#[derive(Deserialize)]
struct Line {
    n: u64,
    host: String,
    port: u16,
    method: String,
    bytes_up: u64,
    bytes_down: u64,
    sha256: Option<String>,
    verdict: EgressVerdict,
    reason: Option<String>,
    status: Option<u16>,
}

impl Journal {
    pub(super) fn new(seen: EgressLog) -> Self {
        Self {
            seen,
            line: Vec::new(),
            words: String::new(),
        }
    }

    /// Takes a piece of standard error.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.tell();
                self.line.clear();
            }
        }
    }

    /// `: ` and what it said that was about no request, if it said something.
    pub(super) fn last_words(&self) -> String {
        if self.words.is_empty() {
            return String::new();
        }
        format!(": {}", self.words)
    }

    fn tell(&mut self) {
        match serde_json::from_slice::<Line>(&self.line) {
            Ok(line) => self.seen.add(line.n, row(line)),
            Err(_) => {
                let text = String::from_utf8_lossy(&self.line);
                self.words = escape_untrusted(&cut(text.trim_end(), MAX_REASON));
                tracing::debug!(egress.said = %self.words, "the egress proxy said something");
            }
        }
    }
}

fn row(line: Line) -> EgressRow {
    EgressRow {
        host: cut(&line.host, MAX_HOST),
        port: line.port,
        method: cut(&line.method, MAX_METHOD),
        bytes_up: line.bytes_up,
        bytes_down: line.bytes_down,
        sha256: line
            .sha256
            .and_then(|digits| format!("sha256:{digits}").parse::<Digest>().ok()),
        verdict: line.verdict,
        reason: line
            .reason
            .filter(|reason| !reason.is_empty())
            .map(|reason| cut(&reason, MAX_REASON)),
        // 0: nothing was answered.
        status: line.status.filter(|status| *status != 0),
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_rows_however_they_are_cut() {
        let hash = "ab".repeat(32);
        let all = format!(
            "{{\"n\":1,\"host\":\"a.org\",\"port\":80,\"method\":\"GET\",\"bytes_up\":1,\"bytes_down\":2,\"sha256\":\"{hash}\",\
             \"verdict\":\"allowed\",\"reason\":\"\",\"status\":200}}\n\
             egress: something \u{1b}[31m\n\
             {{\"n\":0,\"host\":\"b.org\",\"port\":25,\"method\":\"CONNECT\",\"bytes_up\":0,\"bytes_down\":0,\"sha256\":null,\
             \"verdict\":\"refused\",\"reason\":\"not listed\",\"status\":0,\"more\":1}}\n{{\"n\":2,\"host\":\"cut"
        );
        for step in [1, 7, 4096] {
            let seen = EgressLog::default();
            let mut journal = Journal::new(seen.clone());
            all.as_bytes().chunks(step).for_each(|piece| journal.take(piece));
            let rows = seen.view().requests;
            assert_eq!(rows.len(), 2);
            assert_eq!(rows[0].sha256.unwrap().to_string(), format!("sha256:{hash}"));
            assert_eq!((rows[0].reason.clone(), rows[0].status), (None, Some(200)));
            assert_eq!(rows[1].verdict, EgressVerdict::Refused);
            assert_eq!((rows[1].reason.as_deref(), rows[1].status), (Some("not listed"), None));
            assert_eq!(journal.last_words(), ": egress: something \\u{1b}[31m");
        }
    }

    #[test]
    fn an_endless_line_is_not_kept() {
        let mut journal = Journal::new(EgressLog::default());
        for _ in 0..100 {
            journal.take(&[b'x'; 4096]);
        }
        assert_eq!(journal.line.len(), MAX_LINE);
        journal.take(b"\n");
        assert_eq!(journal.words.len(), MAX_REASON);
    }
}
