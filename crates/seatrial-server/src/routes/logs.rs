//! `/v1/jobs/{id}/logs`: output of the stages, by range or as it comes.

use std::{future::poll_fn, task::Poll};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use seatrial_core::{finding::escape_untrusted, id::JobId, job::Stage, record::JobRecord};
use seatrial_pipeline::service::read::{self, LogPiece};
use tokio::time::Instant;

use crate::{
    caller::Caller,
    edge::IsStream,
    params::{JobPath, MAX_NUMBER, Query},
    problem::{Code, Problem, ProblemDocument, absent},
    state::AppState,
    stream::{self, Over, Reader, Turn},
    wire::schema,
};

mod range;

const NEXT_OFFSET: HeaderName = HeaderName::from_static("x-next-offset");
const LOG_COMPLETE: HeaderName = HeaderName::from_static("x-log-complete");
const LOG_STAGE: HeaderName = HeaderName::from_static("x-log-stage");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Most bytes of one answer, and of one piece of a followed log.
const MAX_PIECE: u64 = 1 << 20;

/// What is asked for.
struct Asked {
    stage: Option<Stage>,
    offset: u64,
    limit: u64,
    follow: bool,
    escape: bool,
}

/// Read the output of a stage.
///
/// Offsets count in what is kept. While a stage runs, what is kept only grows; when it is over and was too
/// long, its middle is cut out and the cut is marked. The bytes are the guest's: `escape=true` makes control
/// characters visible.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/logs",
    tag = "jobs",
    operation_id = "getJobLogs",
    params(
        ("id" = String, Path, description = "The job.", pattern = "^job_[0-7][0-9A-HJKMNP-TV-Z]{25}$"),
        ("stage" = Option<schema::Stage>, Query, description = "Which stage; the last one with output without it."),
        ("offset" = Option<u64>, Query, description = "First byte.", minimum = 0),
        ("limit" = Option<u64>, Query, description = "Most bytes; 1 MiB without it.", minimum = 1, maximum = 1_048_576),
        ("follow" = Option<bool>, Query, description = "Go on until the stage is over. The answer is then a stream."),
        ("escape" = Option<bool>, Query, description = "Make control characters visible."),
        ("Range" = Option<String>, Header, description = "`bytes=…`, instead of offset and limit."),
    ),
    responses(
        (status = 200, description = "Output.", body = String, content_type = "text/plain", headers(
            ("X-Log-Stage" = Option<String>, description = "Of which stage."),
            ("X-Next-Offset" = Option<u64>, description = "Where to go on reading."),
            ("X-Log-Complete" = Option<bool>, description = "Nothing comes after that."),
        )),
        (status = 206, description = "The range.", body = String, content_type = "text/plain", headers(
            ("Content-Range" = String, description = "Which bytes, of how many."),
        )),
        (status = 404, description = "There is no such job.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "It is not kept any more.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 416, description = "There is no such range.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn logs(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let asked = asked(&uri)?;
    let record = crate::answer::seen(&state, &caller, id).await?;
    if asked.follow {
        return follow(&state, id, asked);
    }
    let Some(stage) = asked.stage.or_else(|| last_stage(&record)) else {
        let nothing = LogPiece {
            complete: record.outcome().is_some(),
            ..LogPiece::default()
        };
        return Ok(whole(nothing, None, asked.escape));
    };
    let kept: u64 = record
        .logs
        .get(&stage)
        .map_or(0, |log| log.parts.iter().map(|part| part.bytes).sum());
    let wanted = range::of(&headers);
    let Some(wanted) = wanted else {
        let piece = piece(&state, &record, stage, asked.offset, asked.limit).await?;
        return Ok(whole(piece, Some(stage), asked.escape));
    };
    let Some((first, last)) = wanted.within(kept) else {
        let detail = format!("{kept} bytes are kept of this log.");
        return Err(Problem::new(Code::RangeNotSatisfiable, detail).of_length(Some(kept)));
    };
    let piece = piece(&state, &record, stage, first, (last - first + 1).min(MAX_PIECE)).await?;
    let end = first + piece.bytes.len() as u64;
    if end == first {
        let detail = "The log changed while it was read; ask again.";
        return Err(Problem::new(Code::RangeNotSatisfiable, detail).of_length(None));
    }
    let mut response = whole(piece, Some(stage), false);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    if let Ok(range) = HeaderValue::from_str(&format!("bytes {first}-{}/{kept}", end - 1)) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    Ok(response)
}

fn asked(uri: &Uri) -> Result<Asked, Problem> {
    let mut query = Query::parse(uri, &["stage", "offset", "limit", "follow", "escape"]);
    let asked = Asked {
        stage: query.read("stage", "resolve, build, scan, run or collect", |text| {
            use Stage::{Build, Collect, Resolve, Run, Scan};
            [Resolve, Build, Scan, Run, Collect]
                .into_iter()
                .find(|stage| stage.to_string() == text)
        }),
        offset: query.number("offset", 0, MAX_NUMBER).unwrap_or(0),
        limit: query.number("limit", 1, MAX_PIECE).unwrap_or(MAX_PIECE),
        follow: query.flag("follow"),
        escape: query.flag("escape"),
    };
    query.finish()?;
    Ok(asked)
}

fn last_stage(record: &JobRecord) -> Option<Stage> {
    record.logs.keys().next_back().copied()
}

async fn piece(state: &AppState, record: &JobRecord, stage: Stage, offset: u64, max: u64) -> Result<LogPiece, Problem> {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    read::log(state.service(), record, stage, offset, max)
        .await
        .map_err(|why| absent("log", why))
}

fn whole(mut piece: LogPiece, stage: Option<Stage>, escape: bool) -> Response {
    let bytes = if escape {
        escaped(&mut piece).into()
    } else {
        Bytes::from(piece.bytes)
    };
    let mut response = ([(header::CONTENT_TYPE, TEXT)], Body::from(bytes)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(NEXT_OFFSET, HeaderValue::from(piece.next));
    let complete = if piece.complete { "true" } else { "false" };
    headers.insert(LOG_COMPLETE, HeaderValue::from_static(complete));
    if let Some(stage) = stage.and_then(|stage| HeaderValue::from_str(&stage.to_string()).ok()) {
        headers.insert(LOG_STAGE, stage);
    }
    response
}

/// The piece with control characters made visible, line by line. A character that is cut at its end is
/// left for the next piece.
fn escaped(piece: &mut LogPiece) -> String {
    let cut = cut_character(&piece.bytes);
    if !piece.complete && cut < piece.bytes.len() {
        piece.next -= (piece.bytes.len() - cut) as u64;
        piece.bytes.truncate(cut);
    }
    let text = String::from_utf8_lossy(&piece.bytes);
    let mut safe = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => {
                safe.push_str(&escape_untrusted(line));
                safe.push('\n');
            }
            None => safe.push_str(&escape_untrusted(line)),
        }
    }
    safe
}

/// Where a character that goes on behind the end begins; the length when none does.
fn cut_character(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    let begins = bytes[from..].iter().rposition(|byte| *byte >= 0xc0).map(|at| from + at);
    match begins {
        Some(at) => match std::str::from_utf8(&bytes[at..]) {
            // More could still make it a character, and it is not all there is.
            Err(error) if error.error_len().is_none() && at > 0 => at,
            _ => bytes.len(),
        },
        None => bytes.len(),
    }
}

fn follow(state: &AppState, id: JobId, asked: Asked) -> Result<Response, Problem> {
    let teller = state.clone();
    let body = stream::start(state, "logs", move |reader| async move {
        let _ = tell(&teller, id, asked, reader).await;
    })?;
    let headers = [
        (header::CONTENT_TYPE, TEXT),
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    let mut response = (headers, body).into_response();
    response.extensions_mut().insert(IsStream);
    Ok(response)
}

/// Tells a stage's output until it is complete.
async fn tell(state: &AppState, id: JobId, asked: Asked, mut reader: Reader) -> Result<(), Over> {
    let service = state.service();
    let mut offset = asked.offset;
    let mut token = None;
    loop {
        let mut moved = service.ledger.moved(id);
        let at_once = poll_fn(|context| Poll::Ready(moved.as_mut().poll(context).is_ready())).await;
        let Ok(Some(record)) = service.ledger.get(id).await else {
            return Err(Over);
        };
        if token.is_some_and(|token| token != record.token) && offset > 0 {
            reader
                .send("\n[seatrial: this try ended; the output of the next one follows]\n")
                .await?;
            offset = 0;
        }
        token = Some(record.token);
        let stage = asked.stage.or_else(|| last_stage(&record));
        let mut more = false;
        let mut complete = record.outcome().is_some();
        if let Some(stage) = stage {
            let mut piece = piece(state, &record, stage, offset, asked.limit)
                .await
                .map_err(|_| Over)?;
            let text = if asked.escape {
                escaped(&mut piece).into_bytes()
            } else {
                piece.bytes
            };
            complete = piece.complete;
            more = piece.next > offset;
            offset = piece.next;
            if !text.is_empty() {
                reader.send(text).await?;
            }
        }
        if complete {
            return Ok(());
        }
        if more || at_once {
            tokio::task::yield_now().await;
            continue;
        }
        // Nothing is said while nothing comes: a log has no place for a heart-beat.
        match reader.wait(moved, Instant::now() + state.config().heart_beat).await? {
            Turn::Came(()) | Turn::Silent => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &[u8], complete: bool) -> LogPiece {
        LogPiece {
            bytes: bytes.to_vec(),
            next: 100,
            complete,
        }
    }

    #[test]
    fn escaping_keeps_lines_and_shows_what_drives_a_terminal() {
        let mut one = piece(b"a\x1b[2J\r\nb\tc\n", true);
        assert_eq!(escaped(&mut one), "a\\u{1b}[2J\\r\nb\\tc\n");
    }

    #[test]
    fn a_character_that_is_cut_is_left_for_the_next_piece() {
        let text = "xä€".as_bytes();
        for cut in 1..=2 {
            let mut one = piece(&text[..text.len() - cut], false);
            assert_eq!(escaped(&mut one), "xä");
            assert_eq!(one.next, 100 - (3 - cut as u64));
        }
        let mut last = piece(&text[..text.len() - 1], true);
        assert_eq!(escaped(&mut last), "xä\u{fffd}");
        assert_eq!(last.next, 100);
        let mut odd = piece(b"x\xff", false);
        assert_eq!(escaped(&mut odd), "x\u{fffd}");
    }
}
