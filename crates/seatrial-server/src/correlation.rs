//! What ties a request to its job and to a trace that began elsewhere.

use axum::http::{HeaderMap, HeaderName};
use seatrial_core::id::CorrelationId;

/// Taken, replaced or made, and echoed on every answer.
pub(crate) const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The request's id. A header that is not one, or stands twice, is replaced.
pub(crate) fn id(headers: &HeaderMap) -> CorrelationId {
    CorrelationId::accept_or_fresh(single(headers, &CORRELATION).unwrap_or_default())
}

/// The trace that the request continues, when its header is well formed.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = single(headers, &TRACEPARENT)?;
    is_traceparent(text).then(|| text.to_owned())
}

/// W3C Trace Context: version, trace id, parent id, flags; neither id is all zeros.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let not_zero = |part: &str| part.bytes().any(|byte| byte != b'0');
    match text.split('-').collect::<Vec<_>>()[..] {
        ["00", trace, parent, flags] => {
            hex(trace, 32) && not_zero(trace) && hex(parent, 16) && not_zero(parent) && hex(flags, 2)
        }
        // Other versions begin in the same way, and may go on; we could not continue what we do not know.
        _ => false,
    }
}

/// A header's value, when there is exactly one.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_trace_is_continued() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(good));
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
