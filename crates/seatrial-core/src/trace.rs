//! Traces that begin elsewhere and go on here: W3C Trace Context, and the seam to whoever exports spans.

use std::{fmt, num::NonZero, str::FromStr};

/// A place in a trace: the header `traceparent` of W3C Trace Context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceParent {
    /// The whole trace.
    pub trace_id: NonZero<u128>,
    /// The span that is the parent of what comes next.
    pub span_id: NonZero<u64>,
    /// Bit 0: the trace is recorded.
    pub flags: u8,
}

/// Not a `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a traceparent of W3C Trace Context")]
pub struct BadTraceParent;

/// `00-` with trace id, span id and flags.
const LENGTH: usize = 55;
/// The trace is recorded.
const SAMPLED: u8 = 1;

impl TraceParent {
    /// The trace's id as everybody writes it.
    #[must_use]
    pub fn trace(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// Whether the caller records this trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl FromStr for TraceParent {
    type Err = BadTraceParent;

    fn from_str(text: &str) -> Result<Self, BadTraceParent> {
        let parse = || {
            // Before any cut: a letter of several bytes must not be split.
            let head = text.get(..LENGTH).filter(|head| head.is_ascii())?;
            let rest = &text[LENGTH..];
            let [version, trace_id, span_id, flags] = head.split('-').collect::<Vec<_>>()[..] else {
                return None;
            };
            let version = u8::try_from(hex(version, 2)?).ok()?;
            let flags = u8::try_from(hex(flags, 2)?).ok()?;
            let flags = match version {
                0 if rest.is_empty() => flags,
                // A later version begins in the same way; of its flags we know one.
                1..=254 if rest.is_empty() || rest.starts_with('-') => flags & SAMPLED,
                _ => return None,
            };
            Some(Self {
                trace_id: NonZero::new(hex(trace_id, 32)?)?,
                span_id: NonZero::new(u64::try_from(hex(span_id, 16)?).ok()?)?,
                flags,
            })
        };
        parse().ok_or(BadTraceParent)
    }
}

/// Lower-case digits only, and exactly so many.
fn hex(text: &str, length: usize) -> Option<u128> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_hex = text.len() == length && text.bytes().all(lower);
    is_hex.then(|| u128::from_str_radix(text, 16).ok())?
}

impl fmt::Display for TraceParent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id, self.span_id, self.flags
        )
    }
}

/// Which side of a call a span is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanKind {
    /// Answers a request.
    Server,
    /// Takes from a queue.
    Consumer,
    /// Within a process.
    Internal,
}

/// A fact about a span. No byte of a guest may be one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fact<'a> {
    /// A word of ours, or an id that was checked.
    Word(&'a str),
    /// A number.
    Number(i64),
}

/// Begins spans that are sent to a collector. Must return quickly, and never waits for the collector.
pub trait Tracer: Send + Sync {
    /// Begins one. Without a parent it begins a trace.
    fn begin(&self, name: String, kind: SpanKind, parent: Option<TraceParent>) -> Box<dyn Span>;
}

/// A span. It ends when it is dropped.
pub trait Span: Send + Sync {
    /// Its place, for what goes on under it; `None` when traces are not told any more.
    fn place(&self) -> Option<TraceParent>;
    /// Adds a fact.
    fn note(&mut self, key: &'static str, fact: Fact<'_>);
    /// What it stands for went wrong, and it is our fault.
    fn fail(&mut self);
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_prints_as_it_was_read() {
        let parsed: TraceParent = GOOD.parse().unwrap();
        assert_eq!(parsed.to_string(), GOOD);
        assert_eq!(parsed.trace(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(parsed.is_sampled());
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-what-the-future-holds";
        assert_eq!(later.parse::<TraceParent>().unwrap().to_string(), GOOD);
    }

    #[test]
    fn what_is_not_a_traceparent_is_refused() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473+-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b-701",
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(BadTraceParent), "{bad}");
        }
    }
}
