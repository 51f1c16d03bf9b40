//! `/v1/jobs/{id}/events`: what happens to a job, as it happens.

use std::{future::poll_fn, task::Poll};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use seatrial_core::record::{JobRecord, News, NewsBody};
use seatrial_pipeline::service::{ServiceError, read};
use tokio::time::Instant;

use crate::{
    caller::Caller,
    correlation::single,
    edge::IsStream,
    params::{JobPath, MAX_NUMBER, Query},
    problem::{Code, Problem, ProblemDocument, ProblemError},
    state::AppState,
    stream::{self, Over, Reader, Turn},
    wire::schema,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EVENT_STREAM: &str = "text/event-stream";

/// News read at a time.
const BATCH: usize = 100;

/// Follow a job.
///
/// Server-Sent Events: `id` is the event's number, `event` its kind, `data` the event as JSON. The stream
/// ends after `settled`. A reader that is cut off resumes with `Last-Event-ID`; one that does not read is
/// cut off.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    tag = "jobs",
    operation_id = "followJob",
    params(
        ("id" = String, Path, description = "The job.", pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$"),
        ("after" = Option<u64>, Query, description = "Only events after this number. `Last-Event-ID` overrules it.", minimum = 0),
        ("Last-Event-ID" = Option<u64>, Header, description = "The last event that the caller has seen."),
    ),
    responses(
        (status = 200, description = "Events. The schema is that of each; its `data` is a News document.", body = schema::Event, content_type = "text/event-stream"),
        (status = 204, description = "The job is over and nothing comes after that event: do not reconnect."),
        (status = 404, description = "There is no such job.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn events(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let after = after(&headers, &uri)?;
    let record = crate::answer::seen(&state, &caller, id).await?;
    // A number that was not given yet would make us wait for what comes after the end.
    let after = after.min(record.next_news - 1);
    if record.outcome().is_some() && after + 1 >= record.next_news {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let teller = state.clone();
    let body = stream::start(&state, "events", move |reader| async move {
        // However it ends, the reader resumes where it was.
        let _ = tell(&teller, record, after, reader).await;
    })?;
    Ok(answer(body))
}

fn after(headers: &HeaderMap, uri: &Uri) -> Result<u64, Problem> {
    let mut query = Query::parse(uri, &["after"]);
    let after = query.number("after", 0, MAX_NUMBER);
    query.finish()?;
    if !headers.contains_key(LAST_EVENT_ID) {
        return Ok(after.unwrap_or(0));
    }
    let last = single(headers, &LAST_EVENT_ID).unwrap_or_default();
    last.parse().ok().filter(|last| *last <= MAX_NUMBER).ok_or_else(|| {
        let why = "Last-Event-ID must be the number of an event.";
        Problem::at(Code::Malformed, ProblemError::parameter("Last-Event-ID", why))
    })
}

fn answer(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would collect events before it passes them on.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    let mut response = (headers, body).into_response();
    response.extensions_mut().insert(IsStream);
    response
}

/// Tells everything after a number until the job is over.
async fn tell(state: &AppState, record: JobRecord, mut after: u64, mut reader: Reader) -> Result<(), Over> {
    let service = state.service();
    let silence = state.config().heart_beat;
    reader.send("retry: 2000\n\n").await?;
    // A look that finds nothing is no sign of life for the reader: the ledger wakes us now and then.
    let mut silent_until = Instant::now() + silence;
    loop {
        let mut moved = service.ledger.moved(record.id);
        // Polled once before the look: it listens from then on, and a move in between is not missed.
        let at_once = poll_fn(|context| Poll::Ready(moved.as_mut().poll(context).is_ready())).await;
        let news = read::news(service, &record, after, BATCH).await.map_err(gave_up)?;
        let full = news.len() == BATCH;
        for one in &news {
            after = one.seq;
            reader.send(frame(one).ok_or(Over)?).await?;
            silent_until = Instant::now() + silence;
            if matches!(one.body, NewsBody::Settled { .. }) {
                return Ok(());
            }
        }
        if full || at_once {
            tokio::task::yield_now().await;
            continue;
        }
        match reader.wait(moved, silent_until).await? {
            Turn::Came(()) => {}
            Turn::Silent => {
                reader.send(": heart-beat\n\n").await?;
                silent_until = Instant::now() + silence;
                // Forgotten meanwhile: nothing will come any more.
                if service.ledger.get(record.id).await.is_ok_and(|record| record.is_none()) {
                    return Ok(());
                }
            }
        }
    }
}

fn gave_up(error: ServiceError) -> Over {
    tracing::warn!(error = &error as &dyn std::error::Error, "an event stream was given up");
    Over
}

/// One event. JSON has no line breaks of its own, so that `data` is one line.
fn frame(news: &News) -> Option<String> {
    let data = serde_json::to_value(news).ok()?;
    let event = data.get("event")?.as_str()?.to_owned();
    Some(format!("id: {}\nevent: {event}\ndata: {data}\n\n", news.seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_data_whatever_the_guest_wrote() {
        let news = News {
            seq: 7,
            at: jiff::Timestamp::UNIX_EPOCH,
            body: NewsBody::Note {
                text: "a\n\ndata: forged\r\nid: 9".to_owned(),
            },
        };
        assert_eq!(
            frame(&news).unwrap(),
            "id: 7\nevent: note\ndata: {\"seq\":7,\"at\":\"1970-01-01T00:00:00Z\",\"event\":\"note\",\"text\":\"a\\n\\ndata: forged\\r\\nid: 9\"}\n\n"
        );
    }
}
