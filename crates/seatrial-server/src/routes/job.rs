//! `/v1/jobs/{id}`: one job.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use seatrial_pipeline::service::end;

use crate::{
    answer,
    caller::Caller,
    params::JobPath,
    problem::{Problem, ProblemDocument, no_such_job},
    state::AppState,
    wire::schema,
};

/// Show a job.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    tag = "jobs",
    operation_id = "getJob",
    params(
        ("id" = String, Path, description = "The job.", pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$"),
        ("If-None-Match" = Option<String>, Header, description = "Versions that the caller holds."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most `request.max_wait_s` of `/v1/limits`, for the end of the job."),
    ),
    responses(
        (status = 200, description = "The job.", body = schema::JobDocument, headers(
            ("ETag" = String, description = "Its version."),
            ("Retry-After" = Option<u64>, description = "Seconds after which a look is worth it, while it is open."),
            ("Preference-Applied" = Option<String>, description = "What of `Prefer` was kept."),
        )),
        (status = 304, description = "The caller holds this version."),
        (status = 404, description = "There is no such job.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = answer::seen(&state, &caller, id).await?;
    let (record, waited) = answer::wait(&state, &headers, record).await?;
    answer::job(&state, &headers, StatusCode::OK, &record, waited).await
}

/// Ask for the end of a job.
///
/// A job that waits ends at once; one that runs is ended by its worker within seconds. Asking again, or
/// for a job that is over, changes nothing.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/cancel",
    tag = "jobs",
    operation_id = "cancelJob",
    params(("id" = String, Path, description = "The job.", pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    responses(
        (status = 202, description = "The job as it is now: over, or with `cancel_requested`.", body = schema::JobDocument),
        (status = 404, description = "There is no such job.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let service = state.service();
    answer::seen(&state, &caller, id).await?;
    let record = end::cancel(service, id).await?.ok_or_else(no_such_job)?;
    answer::job(&state, &headers, StatusCode::ACCEPTED, &record, None).await
}

/// Forget a job, and everything that is kept of it.
///
/// A job that is open is cancelled first: while its worker ends it, the answer is 202, and the same
/// request forgets it afterwards.
#[utoipa::path(
    delete,
    path = "/v1/jobs/{id}",
    tag = "jobs",
    operation_id = "deleteJob",
    params(("id" = String, Path, description = "The job.", pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    responses(
        (status = 202, description = "It is being cancelled. Ask again when it is over.", body = schema::JobDocument, headers(
            ("Retry-After" = u64, description = "Seconds after which to ask again."),
        )),
        (status = 204, description = "It is forgotten."),
        (status = 404, description = "There is no such job.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn erase(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let service = state.service();
    let mut record = answer::seen(&state, &caller, id).await?;
    if record.outcome().is_none() {
        record = end::cancel(service, id).await?.ok_or_else(no_such_job)?;
    }
    if record.outcome().is_none() {
        let mut response = answer::job(&state, &headers, StatusCode::ACCEPTED, &record, None).await?;
        let again = HeaderValue::from(Duration::from_secs(1).as_secs());
        response.headers_mut().insert(header::RETRY_AFTER, again);
        return Ok(response);
    }
    end::erase(service, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
