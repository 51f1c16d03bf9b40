//! Logs of guests and tools: bounded in bytes, the first and the last half kept, the cut marked.

use std::{collections::VecDeque, sync::Mutex};

/// Where guest output goes. Never blocks and never grows without bound.
pub trait LogSink: Send + Sync {
    /// Takes bytes as they came; they are hostile.
    fn write(&self, bytes: &[u8]);
}

/// Keeps the first and the last half of what it is given.
#[derive(Debug)]
pub struct BoundedLog {
    half: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

impl BoundedLog {
    /// Keeps at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            half: limit / 2,
            kept: Mutex::default(),
        }
    }

    /// All bytes that were written, kept or not.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// Bytes of the first half from an offset on: they only grow, so they can be told while more comes.
    #[must_use]
    pub fn head_after(&self, offset: usize) -> Vec<u8> {
        self.lock().head.get(offset..).unwrap_or_default().to_vec()
    }

    /// What is kept, with a mark where bytes were left out.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        let kept = self.lock();
        let mut all = kept.head.clone();
        let left_out = kept.total - kept.head.len() as u64 - kept.tail.len() as u64;
        if left_out > 0 {
            all.extend_from_slice(format!("\n[seatrial: {left_out} bytes left out here]\n").as_bytes());
        }
        all.extend(&kept.tail);
        all
    }

    /// The last `lines` lines as text, invalid UTF-8 replaced. Still hostile: escape before printing.
    #[must_use]
    pub fn last_lines(&self, lines: usize) -> Vec<String> {
        let contents = self.contents();
        let text = String::from_utf8_lossy(&contents);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..]
            .iter()
            .map(|line| (*line).to_owned())
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl LogSink for BoundedLog {
    fn write(&self, bytes: &[u8]) {
        let mut kept = self.lock();
        kept.total += bytes.len() as u64;
        let room = self.half.saturating_sub(kept.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        kept.head.extend_from_slice(head);
        let rest = &rest[rest.len().saturating_sub(self.half)..];
        let overflow = (kept.tail.len() + rest.len()).saturating_sub(self.half);
        kept.tail.drain(..overflow);
        kept.tail.extend(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_log_is_kept_whole() {
        let log = BoundedLog::new(100);
        log.write(b"one\n");
        log.write(b"two\n");
        assert_eq!(log.contents(), b"one\ntwo\n");
        assert_eq!(log.last_lines(1), ["two"]);
    }

    #[test]
    fn a_long_log_keeps_both_ends_and_says_how_much_is_missing() {
        let log = BoundedLog::new(8);
        for chunk in [&b"abcdef"[..], b"ghijkl", b"mnop"] {
            log.write(chunk);
        }
        assert_eq!(log.contents(), b"abcd\n[seatrial: 8 bytes left out here]\nmnop");
        assert_eq!(log.total(), 16);
    }

    #[test]
    fn one_huge_write_does_not_outgrow_the_bound() {
        let log = BoundedLog::new(8);
        log.write(&[b'x'; 1000]);
        assert_eq!(
            log.contents().iter().filter(|b| **b == b'x').count(),
            8 + "bytes left out here".matches('x').count()
        );
    }
}
