//! `/v1/jobs/{id}/report` and `/sbom`: the evidence.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use seatrial_core::{digest::Digest, vault::BlobKind};
use seatrial_pipeline::service::read;

use crate::{
    accept,
    answer::{self, bytes_of, validated},
    caller::Caller,
    params::JobPath,
    problem::{Problem, ProblemDocument, absent},
    sarif,
    state::AppState,
    wire::schema,
};

const JSON: &str = "application/json";
const CYCLONEDX: &str = "application/vnd.cyclonedx+json";

/// Get the report: what became of the job, whole.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/report",
    tag = "jobs",
    operation_id = "getJobReport",
    params(("id" = String, Path, description = "The job.", pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    responses(
        (status = 200, description = "The report; by `Accept`.", content(
            (schema::Report = "application/json"),
            (Object = "application/sarif+json"),
        )),
        (status = 304, description = "The caller holds it."),
        (status = 404, description = "There is no such job, or it ended without a report.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 406, description = "There is no such form of it.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The job is not over.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "It is not kept any more.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn report(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let form = accept::pick(&headers, &[JSON, sarif::MEDIA_TYPE])?;
    let service = state.service();
    let record = answer::seen(&state, &caller, id).await?;
    let room = state.answer_room(record.blobs.get(&BlobKind::Report).map_or(0, |blob| blob.bytes))?;
    let report = read::report(service, &record)
        .await
        .map_err(|why| absent("report", why))?;
    let (kind, value) = if form == sarif::MEDIA_TYPE {
        (sarif::MEDIA_TYPE, sarif::of_report(&report))
    } else {
        let mut value = serde_json::to_value(&report).map_err(Problem::internal)?;
        if let Some(object) = value.as_object_mut() {
            // Names of our own in the vault say nothing to anybody else.
            object.shift_remove("artifact_blobs");
        }
        (JSON, value)
    };
    let bytes = serde_json::to_vec(&value).map_err(Problem::internal)?;
    let etag = format!("W/\"{}\"", Digest::of(&bytes).short());
    let bytes = answer::held(bytes, room);
    let mut response = validated(&headers, &etag, || bytes_of(StatusCode::OK, kind, bytes));
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Get the SBOM: what is in the image.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/sbom",
    tag = "jobs",
    operation_id = "getJobSbom",
    params(("id" = String, Path, description = "The job.", pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    responses(
        (status = 200, description = "CycloneDX, as the scanner wrote it.", content_type = "application/vnd.cyclonedx+json", body = Object),
        (status = 304, description = "The caller holds it."),
        (status = 404, description = "There is no such job, or it has no SBOM.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The job is not over.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "It is not kept any more.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn sbom(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = answer::seen(&state, &caller, id).await?;
    let bytes = answer::product(&state, &record, BlobKind::Sbom, "SBOM").await?;
    let etag = format!("W/\"{}\"", Digest::of(&bytes).short());
    Ok(validated(&headers, &etag, || {
        bytes_of(StatusCode::OK, CYCLONEDX, bytes)
    }))
}
