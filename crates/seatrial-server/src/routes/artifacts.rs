//! `/v1/jobs/{id}/artifacts`: other files of `/data`.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use seatrial_pipeline::{result::is_artifact_name, service::read};

use super::result::exact;
use crate::{
    answer,
    caller::Caller,
    params::{JobPath, NamedPath},
    problem::{Code, Problem, ProblemDocument, absent},
    state::AppState,
    wire::{Artifact, ArtifactList, schema},
};

/// List other files that the guest left.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/artifacts",
    tag = "jobs",
    operation_id = "listJobArtifacts",
    params(("id" = String, Path, description = "The job.", pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    responses(
        (status = 200, description = "The files.", body = schema::ArtifactList),
        (status = 404, description = "There is no such job, or it ended before there could be files.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The job is not over.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "It is not kept any more.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
) -> Result<Response, Problem> {
    let service = state.service();
    let record = answer::seen(&state, &caller, id).await?;
    let report = read::report(service, &record)
        .await
        .map_err(|why| absent("list of artifacts", why))?;
    let blobs = report.artifact_blobs;
    let artifacts = report.artifacts.into_iter().map(|view| Artifact {
        href: blobs
            .contains_key(&view.name)
            .then(|| format!("/v1/jobs/{id}/artifacts/{}", view.name)),
        view,
    });
    let list = ArtifactList {
        artifacts: artifacts.collect(),
    };
    answer::json(StatusCode::OK, &list)
}

/// Get one of them.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/artifacts/{name}",
    tag = "jobs",
    operation_id = "getJobArtifact",
    params(
        ("id" = String, Path, description = "The job.", pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$"),
        ("name" = String, Path, description = "The file.", pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"),
    ),
    responses(
        (status = 200, description = "Its bytes.", content_type = "application/octet-stream", body = String, headers(
            ("Content-Digest" = String, description = "SHA-256 of the bytes, as in RFC 9530."),
            ("Content-Disposition" = String, description = "A file to be kept, never shown."),
        )),
        (status = 304, description = "The caller holds them."),
        (status = 404, description = "There is no such job or file.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The job is not over.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "It is not kept any more.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn one(
    State(state): State<AppState>,
    caller: Caller,
    NamedPath(id, name): NamedPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let service = state.service();
    let record = answer::seen(&state, &caller, id).await?;
    if !is_artifact_name(name.as_bytes()) {
        return Err(Problem::new(Code::NotProduced, "No artifact has such a name."));
    }
    let blob = read::artifact_ref(service, &record, &name)
        .await
        .map_err(|why| absent("artifact", why))?;
    let room = state.answer_room(blob.bytes)?;
    let bytes = read::artifact(service, &record, &blob)
        .await
        .map_err(|why| absent("artifact", why))?;
    let bytes = answer::held(bytes, room);
    let mut response = exact(&headers, HeaderValue::from_static("application/octet-stream"), bytes);
    // The name is plain: it needs no quoting, and no browser shows what it names.
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}
