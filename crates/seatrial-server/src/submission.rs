//! What is submitted: JSON, a plain Dockerfile or a form, read into a [`Submission`].
//!
//! Read by hand and not by a derive, so that every place that is wrong is named at once, with a pointer.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use seatrial_core::{finding::escape_untrusted, record::Priority};
use seatrial_pipeline::{case::Submission, result};
use serde_json::{Map, Value};

use crate::{
    body::Meter,
    problem::{Code, Problem, ProblemError},
    state::AppState,
};

mod form;
mod options;

pub(crate) use self::options::{Options, label};

/// Most input files of a submission.
pub(crate) const MAX_INPUTS: usize = 256;
/// Most labels of a submission.
pub(crate) const MAX_LABELS: usize = 64;
/// Largest JSON of options, in bytes: 64 labels of 63 and 256 bytes, a path, an address, each byte escaped.
const MAX_OPTIONS: u64 = 192 << 10;

/// What is asked for.
pub(crate) struct Asked {
    /// What is to be tried.
    pub(crate) submission: Submission,
    /// Its queue.
    pub(crate) priority: Priority,
    /// Not started before this time has passed.
    pub(crate) delay: Duration,
    /// Where to send word of the end.
    pub(crate) webhook: Option<String>,
}

impl Asked {
    fn new(dockerfile: Vec<u8>, options: Options) -> Self {
        Self {
            submission: Submission {
                dockerfile,
                context_tar: Arc::default(),
                inputs: Default::default(),
                result: options.result,
                artifacts: options.artifacts,
                labels: options.labels,
                walls: options.walls,
            },
            priority: options.priority,
            delay: options.delay,
            webhook: options.webhook,
        }
    }
}

/// The kind of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Json,
    Dockerfile,
    Form,
}

fn kind(headers: &HeaderMap, with_form: bool) -> Result<Kind, Problem> {
    let offered = if with_form {
        "application/json, text/x-dockerfile or multipart/form-data"
    } else {
        "application/json or text/x-dockerfile"
    };
    let unsupported = |what: &str| Problem::new(Code::UnsupportedMediaType, format!("{what}; send {offered}."));
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return Err(unsupported("The body is compressed"));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(unsupported("The request does not say what its body is"));
    };
    let essence = value.to_str().unwrap_or_default();
    let essence = essence
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(Kind::Json),
        "text/x-dockerfile" => Ok(Kind::Dockerfile),
        "multipart/form-data" if with_form => Ok(Kind::Form),
        _ => Err(unsupported("The body is of a kind that is not read here")),
    }
}

/// Reads a submission. The meter stands for the memory that it has in use: keep it as long.
pub(crate) async fn read(state: &AppState, headers: &HeaderMap, body: Body) -> Result<(Asked, Meter), Problem> {
    match kind(headers, true)? {
        Kind::Form => form::read(state, headers, body).await,
        Kind::Json => {
            let (bytes, meter) = whole(state, headers, body, Kind::Json).await?;
            let (text, object) = json(&bytes, state)?;
            let options = Options::read(&object, "", &["dockerfile"], state)?;
            Ok((Asked::new(text, options), meter))
        }
        Kind::Dockerfile => {
            let (text, meter) = whole(state, headers, body, Kind::Dockerfile).await?;
            Ok((Asked::new(text, Options::default()), meter))
        }
    }
}

/// Reads a text that is to be judged only.
pub(crate) async fn read_text(state: &AppState, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    match kind(headers, false)? {
        Kind::Json => {
            let (bytes, _) = whole(state, headers, body, Kind::Json).await?;
            let (text, object) = json(&bytes, state)?;
            options::only(&object, &["dockerfile"])?;
            Ok(text)
        }
        Kind::Dockerfile | Kind::Form => Ok(whole(state, headers, body, Kind::Dockerfile).await?.0),
    }
}

async fn whole(state: &AppState, headers: &HeaderMap, body: Body, kind: Kind) -> Result<(Vec<u8>, Meter), Problem> {
    let max = state.limits().dockerfile_bytes;
    let max = match kind {
        // A byte is at most six in JSON: `\u0000`.
        Kind::Json => max.saturating_mul(6).saturating_add(MAX_OPTIONS),
        Kind::Dockerfile | Kind::Form => max,
    };
    let meter = Meter::new(state, headers, max)?;
    let bytes = meter.whole(state, body).await?;
    Ok((bytes, meter))
}

/// The object of a body, and the Dockerfile in it.
fn json(bytes: &[u8], state: &AppState) -> Result<(Vec<u8>, Map<String, Value>), Problem> {
    let object = object(bytes, "")?;
    let text = match object.get("dockerfile") {
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(_) => return Err(invalid("/dockerfile", "the Dockerfile must be a text")),
        None => return Err(invalid("/dockerfile", "the Dockerfile is missing")),
    };
    check_size(&text, state)?;
    Ok((text, object))
}

fn check_size(text: &[u8], state: &AppState) -> Result<(), Problem> {
    let max = state.limits().dockerfile_bytes;
    if text.len() as u64 <= max {
        return Ok(());
    }
    let detail = format!("The Dockerfile has {} bytes; {max} are allowed.", text.len());
    Err(Problem::at(Code::TooLarge, ProblemError::at("/dockerfile", detail)))
}

/// A JSON object, read as strictly as a result: no key stands twice, no nesting is too deep.
fn object(bytes: &[u8], pointer: &str) -> Result<Map<String, Value>, Problem> {
    let value = result::parse(bytes).map_err(|why| {
        let what = if pointer.is_empty() { "The body" } else { "The part" };
        let detail = format!("{what} cannot be read as JSON: {}.", escape_untrusted(&why.to_string()));
        Problem::at(Code::Malformed, ProblemError::at(pointer, detail))
    })?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(invalid(pointer, "it must be a JSON object")),
    }
}

fn invalid(pointer: &str, why: &str) -> Problem {
    Problem::new(
        Code::InvalidSubmission,
        format!("{}: {why}.", if pointer.is_empty() { "body" } else { pointer }),
    )
    .with_errors(vec![ProblemError::at(pointer, why)])
}
