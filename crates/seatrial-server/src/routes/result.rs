//! `/v1/jobs/{id}/result`: the bytes that the guest left.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use seatrial_core::{digest::Digest, vault::BlobKind};

use crate::{
    answer::{self, validated},
    caller::Caller,
    edge::Exact,
    params::JobPath,
    problem::{Problem, ProblemDocument},
    state::AppState,
};

/// RFC 9530.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Get the result.
///
/// Exactly the bytes that the guest left: one JSON value.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/result",
    tag = "jobs",
    operation_id = "getJobResult",
    params(
        ("id" = String, Path, description = "The job.", pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$"),
        ("If-None-Match" = Option<String>, Header, description = "Versions that the caller holds."),
    ),
    responses(
        (status = 200, description = "The bytes.", content_type = "application/json", body = serde_json::Value, headers(
            ("Content-Digest" = String, description = "SHA-256 of the bytes, as in RFC 9530."),
            ("Repr-Digest" = String, description = "The same; also where the answer does not hold the bytes."),
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
    let record = answer::seen(&state, &caller, id).await?;
    let bytes = answer::product(&state, &record, BlobKind::Result, "result").await?;
    Ok(exact(&headers, HeaderValue::from_static("application/json"), bytes))
}

/// Exact bytes with their digest: never compressed on the way, so that the digest is that of the bytes.
///
/// `Content-Digest` is about what this very answer holds, so an answer without the bytes has none;
/// `Repr-Digest` is about the bytes, wherever they are.
pub(super) fn exact(headers: &HeaderMap, kind: HeaderValue, bytes: Bytes) -> Response {
    let digest = Digest::of(&bytes);
    let binary = BASE64_STANDARD.encode(digest.as_bytes());
    let value = HeaderValue::from_str(&format!("sha-256=:{binary}:")).ok();
    let mut response = validated(headers, &format!("\"{digest}\""), || {
        let mut response = ([(header::CONTENT_TYPE, kind)], Body::from(bytes)).into_response();
        if let Some(value) = value.clone() {
            response.headers_mut().insert(CONTENT_DIGEST, value);
        }
        response
    });
    if let Some(value) = value {
        response.headers_mut().insert(REPR_DIGEST, value);
    }
    response.extensions_mut().insert(Exact);
    response
}
