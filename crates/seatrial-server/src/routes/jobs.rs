//! `/v1/jobs`: hand one in, list them.

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use seatrial_core::{
    id::{CorrelationId, JobId},
    job::Ending,
    ledger::{Filter, StateFilter},
};
use seatrial_pipeline::service::submit::{self, Submitted};
use tracing::Instrument as _;

use crate::{
    answer,
    caller::Caller,
    correlation,
    edge::{MadeJob, Trace},
    params::Query,
    problem::{Code, Problem, ProblemDocument, ProblemError},
    state::AppState,
    submission,
    wire::{JobList, JobSummary, requests, schema},
};

/// Most jobs on a page.
pub(crate) const MAX_PAGE: usize = 100;
/// Jobs on a page when nobody says how many.
const PAGE: usize = 20;
/// Longest idempotency key.
const MAX_KEY: usize = 255;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");

/// Hand in a Dockerfile.
///
/// When this answers, the job is durable. A Dockerfile that the policy denies is a job too, in state
/// `rejected`; a text that is not a Dockerfile is none.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    tag = "jobs",
    operation_id = "createJob",
    request_body(
        description = "The Dockerfile and what else is asked for.",
        content(
            (requests::JobRequest = "application/json"),
            (String = "text/x-dockerfile"),
            (requests::JobForm = "multipart/form-data"),
        )
    ),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes asking again safe: the same key and submission give the same job.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most `request.max_wait_s` of `/v1/limits`, for the end of the job."),
    ),
    responses(
        (status = 202, description = "The job, durable. It may be over already.", body = schema::JobDocument, headers(
            ("Location" = String, description = "The job's path."),
            ("ETag" = String, description = "Its version."),
            ("Retry-After" = Option<u64>, description = "Seconds after which a look is worth it, while it is open."),
            ("Idempotent-Replay" = Option<String>, description = "`true` when the key was used before: this is the job of then."),
            ("Preference-Applied" = Option<String>, description = "What of `Prefer` was kept."),
        )),
        (status = 408, description = "The body came too slowly.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "The body, or a part of it, is too large.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "The body is of another kind.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "The text is not a Dockerfile, an option cannot be used, or the idempotency key was used for something else.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    Extension(correlation_id): Extension<CorrelationId>,
    Extension(Trace(trace)): Extension<Trace>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    let idempotency_key = idempotency_key(&headers)?;
    let (asked, meter) = submission::read(&state, &headers, body).await?;
    let request = submit::Request {
        caller: caller.name.to_string(),
        priority: asked.priority,
        delay: asked.delay,
        correlation_id: correlation_id.as_str().to_owned(),
        traceparent: trace.map(|place| place.to_string()),
        idempotency_key,
        webhook: asked.webhook,
    };
    // In a task of its own: a caller that goes away in the middle leaves no half-made job behind.
    let service = state.service().clone();
    let submitting = async move {
        let submitted = submit::submit_and_tell(&service, asked.submission, request).await;
        drop(meter);
        submitted
    };
    let (submitted, said) = tokio::spawn(submitting.in_current_span())
        .await
        .map_err(Problem::internal)??;
    let (record, replayed) = match submitted {
        Submitted::New(record) => {
            let rejected = record.outcome().is_some();
            state.metrics().submitted(if rejected { "rejected" } else { "queued" });
            (*record, false)
        }
        Submitted::Existing(record) => {
            state.metrics().submitted("existing");
            (*record, true)
        }
        Submitted::KeyReused => {
            state.metrics().submitted("key_reused");
            return Err(Problem::new(
                Code::IdempotencyKeyReused,
                "The idempotency key stands for another submission.",
            ));
        }
        Submitted::Full { waiting } => {
            state.metrics().submitted("full");
            return Err(Problem::new(
                Code::QueueFull,
                format!("{waiting} jobs wait already; no more are taken at the moment."),
            )
            .retry_after(std::time::Duration::from_secs(30)));
        }
        Submitted::Unparsable { findings, outcome } => {
            state.metrics().submitted("unparsable");
            return Err(Problem::unparsable(&outcome.message, &findings));
        }
    };
    let (record, waited) = answer::wait(&state, &headers, record).await?;
    // After a wait the job is another one.
    let said = said.filter(|_| waited.is_none());
    let mut response = answer::told_job(&state, &headers, StatusCode::ACCEPTED, &record, waited, said).await?;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/jobs/{}", record.id)) {
        headers.insert(header::LOCATION, location);
    }
    if replayed {
        headers.insert(IDEMPOTENT_REPLAY, HeaderValue::from_static("true"));
    }
    response.extensions_mut().insert(MadeJob(record.id));
    Ok(response)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    if !headers.contains_key(IDEMPOTENCY_KEY) {
        return Ok(None);
    }
    let key = correlation::single(headers, &IDEMPOTENCY_KEY).unwrap_or_default();
    let good = (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if good {
        return Ok(Some(key.to_owned()));
    }
    let why = format!("Idempotency-Key must stand once, as 1 to {MAX_KEY} visible ASCII characters.");
    Err(Problem::at(
        Code::Malformed,
        ProblemError::parameter("Idempotency-Key", why),
    ))
}

/// List jobs, newest first.
///
/// Pages stay right while jobs arrive: a cursor points at a job, not at a number.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    tag = "jobs",
    operation_id = "listJobs",
    params(
        ("state" = Option<schema::State>, Query, description = "Only in this state."),
        ("label" = Option<String>, Query, description = "Only with this label, as `key=value`.", pattern = "^[A-Za-z0-9._/-]{1,63}=[^\\x00-\\x1f\\x7f-\\x9f]{0,256}$"),
        ("since" = Option<String>, Query, description = "Only created at or after this time (RFC 3339).", format = DateTime),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before: opaque.", pattern = "^c1_[0-7][0-9A-HJKMNP-TV-Z]{25}$"),
        ("limit" = Option<u32>, Query, description = "How many at most; 20 without it.", minimum = 1, maximum = 100),
    ),
    responses((status = 200, description = "Some jobs.", body = schema::JobList)),
)]
pub(crate) async fn list(State(state): State<AppState>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::parse(&uri, &["state", "label", "since", "cursor", "limit"]);
    let filter = Filter {
        caller: caller.scope().map(str::to_owned),
        state: query.read("state", "a state such as queued, running or succeeded", state_word),
        label: query.read("label", "key=value", |text| {
            let (key, value) = text.split_once('=')?;
            // A value that is too long for a label is one that none has.
            submission::label(key, "").ok()?;
            let plain = value.chars().count() <= 256 && !value.chars().any(char::is_control);
            plain.then_some(())?;
            Some((key.to_owned(), value.to_owned()))
        }),
        since: query.read("since", "a time such as 2026-11-23T12:00:00Z", |text| text.parse().ok()),
        before: query.read("cursor", "the next_cursor of a page", open_cursor),
        limit: query.number("limit", 1, MAX_PAGE).unwrap_or(PAGE),
    };
    query.finish()?;
    let page = state.service().ledger.list(&filter).await?;
    let list = JobList {
        jobs: page.jobs.iter().map(JobSummary::of).collect(),
        next_cursor: page.next.map(cursor),
    };
    answer::json(StatusCode::OK, &list)
}

fn state_word(word: &str) -> Option<StateFilter> {
    use Ending::{Cancelled, Errored, Expired, Failed, Rejected, Succeeded, TimedOut};
    match word {
        "queued" => Some(StateFilter::Queued),
        "running" => Some(StateFilter::Running),
        _ => [Succeeded, Rejected, Failed, TimedOut, Cancelled, Expired, Errored]
            .into_iter()
            .find(|ending| ending.to_string() == word)
            .map(StateFilter::Ended),
    }
}

/// Opaque, so that its meaning may change.
fn cursor(before: JobId) -> String {
    format!("c1_{}", before.to_string().trim_start_matches("job_"))
}

fn open_cursor(text: &str) -> Option<JobId> {
    let before = format!("job_{}", text.strip_prefix("c1_")?).parse().ok()?;
    // One text for each cursor.
    (cursor(before) == text).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        let id = JobId::fresh();
        assert_eq!(open_cursor(&cursor(id)), Some(id));
        for bad in [
            "",
            "x",
            "c1_",
            &id.to_string(),
            &cursor(id)[1..],
            &cursor(id).to_lowercase(),
        ] {
            assert_eq!(open_cursor(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_ending_can_be_filtered_by() {
        assert_eq!(state_word("timed_out"), Some(StateFilter::Ended(Ending::TimedOut)));
        assert_eq!(state_word("queued"), Some(StateFilter::Queued));
        assert_eq!(state_word("Queued"), None);
    }
}
