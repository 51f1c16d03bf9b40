//! What ties a request to its job and to a trace that began elsewhere.

use axum::http::{HeaderMap, HeaderName};
use seatrial_core::{id::CorrelationId, trace::TraceParent};

/// Taken, replaced or made, and echoed on every answer.
pub(crate) const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The request's id. A header that is not one, or stands twice, is replaced.
pub(crate) fn id(headers: &HeaderMap) -> CorrelationId {
    CorrelationId::accept_or_fresh(single(headers, &CORRELATION).unwrap_or_default())
}

/// The trace that the request continues, when its header is well formed.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    single(headers, &TRACEPARENT)?.parse().ok()
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
