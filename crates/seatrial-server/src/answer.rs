//! Answers with validators, and what callers prefer.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use seatrial_core::{id::JobId, record::JobRecord, vault::BlobKind};
use seatrial_pipeline::{
    query::{Documents, stored_view},
    service::read,
};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    caller::Caller,
    problem::{Problem, absent},
    state::AppState,
    wire::JobDocument,
};

/// `Prefer`, of RFC 7240.
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A JSON document.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(document).map_err(Problem::internal)?;
    Ok(bytes_of(status, "application/json", bytes.into()))
}

/// Bytes of a media type.
pub(crate) fn bytes_of(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))];
    (status, kind, Body::from(bytes)).into_response()
}

/// A job that the caller may see.
pub(crate) async fn seen(state: &AppState, caller: &Caller, id: JobId) -> Result<JobRecord, Problem> {
    read::record(state.service(), caller.scope(), id)
        .await
        .map_err(|why| absent("job", why))
}

/// Bytes whose room in memory is given back when the last of them is sent.
pub(crate) fn held(bytes: Vec<u8>, room: OwnedSemaphorePermit) -> Bytes {
    struct Held(
        Vec<u8>,
        #[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit,
    );
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Held(bytes, room))
}

/// One of the job's documents, with room for it until it is sent; `what` it is in words.
pub(crate) async fn product(
    state: &AppState,
    record: &JobRecord,
    kind: BlobKind,
    what: &str,
) -> Result<Bytes, Problem> {
    let room = state.answer_room(record.blobs.get(&kind).map_or(0, |blob| blob.bytes))?;
    let bytes = read::product(state.service(), record, kind)
        .await
        .map_err(|why| absent(what, why))?;
    Ok(held(bytes, room))
}

/// A document that the caller may hold already.
pub(crate) fn validated(headers: &HeaderMap, etag: &str, response: impl FnOnce() -> Response) -> Response {
    let mut response = if holds(headers, etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        response()
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// `If-None-Match` names this version.
fn holds(headers: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let ours = opaque(etag);
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value.split(',').any(|tag| tag.trim() == "*" || opaque(tag) == ours)
    })
}

/// How long the caller would wait, cut to what may be asked for.
pub(crate) fn preferred_wait(state: &AppState, headers: &HeaderMap) -> Option<Duration> {
    let wait = headers.get_all(PREFER).iter().find_map(|value| {
        let mut preferences = value.to_str().unwrap_or_default().split(',');
        preferences.find_map(|one| {
            let (name, value) = one.split(';').next()?.split_once('=')?;
            let seconds = value.trim().trim_matches('"').parse::<u32>().ok()?;
            name.trim().eq_ignore_ascii_case("wait").then_some(seconds)
        })
    })?;
    let wait = Duration::from_secs(wait.into()).min(state.config().max_wait);
    (!wait.is_zero()).then_some(wait)
}

/// Waits as the caller prefers for the end of a job. Returns the record as it is then, and what of the
/// preference was kept.
pub(crate) async fn wait(
    state: &AppState,
    headers: &HeaderMap,
    record: JobRecord,
) -> Result<(JobRecord, Option<Duration>), Problem> {
    let Some(patience) = preferred_wait(state, headers) else {
        return Ok((record, None));
    };
    if record.outcome().is_some() {
        return Ok((record, Some(patience)));
    }
    // It holds a connection as long as a stream does. Without a place nobody waits: that is no error.
    let Some(_place) = state.long_place() else {
        return Ok((record, None));
    };
    let now = tokio::select! {
        now = read::settled(state.service(), record.id, patience) => now?,
        () = state.gone() => state.service().ledger.get(record.id).await?,
    };
    Ok((now.unwrap_or(record), Some(patience)))
}

/// A job's document with its validator, and a hint when to ask again while it is open.
pub(crate) async fn job(
    state: &AppState,
    headers: &HeaderMap,
    status: StatusCode,
    record: &JobRecord,
    waited: Option<Duration>,
) -> Result<Response, Problem> {
    told_job(state, headers, status, record, waited, None).await
}

/// The same, with what the vault holds of it, where that is known already.
pub(crate) async fn told_job(
    state: &AppState,
    headers: &HeaderMap,
    status: StatusCode,
    record: &JobRecord,
    waited: Option<Duration>,
    known: Option<Documents>,
) -> Result<Response, Problem> {
    let service = state.service();
    let position = read::position(service, record).await?;
    let delivery = match (&record.webhook, record.outcome()) {
        (Some(_), Some(_)) => service.ledger.delivery(record.id).await?,
        _ => None,
    };
    let version = Version {
        id: record.id,
        revision: record.revision,
        position,
        delivery: delivery.as_ref().map(|delivery| (delivery.tries, delivery.dead)),
    };
    let etag = version.etag();
    // Only a GET asks for a version; what changes something always shows the job.
    let none = HeaderMap::new();
    let asked = if status == StatusCode::OK { headers } else { &none };
    let mut response = if holds(asked, &etag) {
        validated(asked, &etag, || StatusCode::NOT_MODIFIED.into_response())
    } else {
        let bytes = match state.documents().get(&version) {
            Some(bytes) => bytes,
            None => {
                // Who just submitted it has its document now; not one in many is asked for while it is still true.
                let keep = known.is_none();
                let view = match known {
                    Some(known) => stored_view(record, known, position),
                    None => read::view_at(service, record, position).await?,
                };
                let document = JobDocument::new(record, view, delivery);
                let bytes = serde_json::to_vec(&document).map_err(Problem::internal)?;
                if keep {
                    // Without the room that it grew into.
                    let bytes = Bytes::from(bytes.into_boxed_slice());
                    state.documents().put(version, &bytes);
                    bytes
                } else {
                    bytes.into()
                }
            }
        };
        validated(asked, &etag, || bytes_of(status, "application/json", bytes))
    };
    let headers = response.headers_mut();
    if record.outcome().is_none() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after(position)));
    }
    if let Some(applied) = waited.and_then(|wait| HeaderValue::from_str(&format!("wait={}", wait.as_secs())).ok()) {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// Seconds: the farther back in the queue, the later it is worth a look.
fn retry_after(position: Option<u64>) -> u64 {
    match position {
        Some(before) => (1 + before / 100).min(30),
        None => 1,
    }
}

/// What a job's document depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Version {
    id: JobId,
    revision: u64,
    position: Option<u64>,
    delivery: Option<(u32, bool)>,
}

impl Version {
    /// Weak: the same document may be sent in several codings.
    fn etag(&self) -> String {
        use std::fmt::Write as _;
        let mut etag = format!("W/\"r{}", self.revision);
        if let Some(position) = self.position {
            let _ = write!(etag, "-q{position}");
        }
        if let Some((tries, dead)) = self.delivery {
            let _ = write!(etag, "-w{tries}{}", if dead { "x" } else { "" });
        }
        etag.push('"');
        etag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_the_caller_holds_is_not_sent_again() {
        let asked = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            holds(&headers, "W/\"r3-q0\"")
        };
        assert!(asked("W/\"r3-q0\"") && asked("\"r3-q0\"") && asked("\"x\", W/\"r3-q0\"") && asked("*"));
        assert!(!asked("W/\"r3\"") && !asked("r3-q0") && !asked(""));
    }
}
