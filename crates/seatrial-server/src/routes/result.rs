//! `/v1/jobs/{id}/result`: the bytes that the guest left.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use seatrial_core::{digest::Digest, vault::BlobKind};
use seatrial_pipeline::service::read;

use crate::{
    answer::validated,
    caller::Caller,
    edge::Exact,
    params::JobPath,
    problem::{Problem, ProblemDocument, absent},
    state::AppState,
};

/// RFC 9530.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Get the result.
///
/// Exactly the bytes that the guest left: one JSON value.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/result",
    tag = "jobs",
    operation_id = "getJobResult",
    params(
        ("id" = String, Path, description = "The job.", pattern = "^job_[0-9A-HJKMNP-TV-Z]{26}$"),
        ("If-None-Match" = Option<String>, Header, description = "Versions that the caller holds."),
    ),
    responses(
        (status = 200, description = "The bytes.", content_type = "application/json", body = serde_json::Value, headers(
            ("Content-Digest" = String, description = "SHA-256 of the bytes, as in RFC 9530."),
            ("ETag" = String, description = "The same digest."),
        )),
        (status = 304, description = "The caller holds them."),
        (status = 404, description = "There is no such job, or it ended without a result; `reason` says how.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The job is not over.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "It is not kept any more.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn result(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let service = state.service();
    let record = read::record(service, caller.scope(), id)
        .await
        .map_err(|why| absent("job", why))?;
    let bytes = read::product(service, &record, BlobKind::Result)
        .await
        .map_err(|why| absent("result", why))?;
    Ok(exact(&headers, HeaderValue::from_static("application/json"), bytes))
}

/// Exact bytes with their digest: never compressed on the way, so that the digest is that of the bytes.
pub(super) fn exact(headers: &HeaderMap, kind: HeaderValue, bytes: Vec<u8>) -> Response {
    let digest = Digest::of(&bytes);
    let mut response = validated(headers, &format!("\"{digest}\""), || {
        ([(header::CONTENT_TYPE, kind)], Body::from(bytes)).into_response()
    });
    let binary = BASE64_STANDARD.encode(digest.as_bytes());
    if let Ok(value) = HeaderValue::from_str(&format!("sha-256=:{binary}:")) {
        response.headers_mut().insert(CONTENT_DIGEST, value);
    }
    response.extensions_mut().insert(Exact);
    response
}
