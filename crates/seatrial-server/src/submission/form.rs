//! A submission as `multipart/form-data`: `dockerfile`, `context`, `inputs` (many), `options`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    extract::{
        DefaultBodyLimit, FromRequest as _, Multipart, Request,
        multipart::{Field, MultipartError},
    },
    http::{HeaderMap, header},
};
use seatrial_core::finding::escape_untrusted;
use seatrial_pipeline::result::is_artifact_name;

use super::{Asked, MAX_INPUTS, MAX_OPTIONS, Options, check_size, object};
use crate::{
    body::{Meter, in_time},
    context,
    problem::{Code, Problem, ProblemError, escape_pointer},
    state::AppState,
};

/// Bytes that a part may have around its content.
const PART_OVERHEAD: u64 = 1024;

/// The parts as they were sent.
#[derive(Default)]
struct Parts {
    dockerfile: Option<Vec<u8>>,
    context: Option<Vec<u8>>,
    inputs: BTreeMap<String, Arc<[u8]>>,
    inputs_bytes: u64,
    options: Option<Vec<u8>>,
}

pub(super) async fn read(state: &AppState, headers: &HeaderMap, body: Body) -> Result<(Asked, Meter), Problem> {
    let limits = state.limits();
    let overhead = (MAX_INPUTS as u64 + 4) * PART_OVERHEAD;
    let max = limits.dockerfile_bytes + limits.context_bytes + limits.inputs_bytes + MAX_OPTIONS + overhead;
    let meter = Meter::new(state, headers, max)?;
    let read = async {
        let mut form = open(headers, &meter, body).await?;
        let mut parts = Parts::default();
        while let Some(field) = form.next_field().await.map_err(|why| malformed(&meter, &why))? {
            take(state, &meter, &mut parts, field).await?;
        }
        Ok(parts)
    };
    let parts = in_time(state, read).await?;
    let Some(dockerfile) = parts.dockerfile else {
        return Err(wrong("/dockerfile", "the part with the Dockerfile is missing"));
    };
    check_size(&dockerfile, state)?;
    let options = match parts.options {
        Some(bytes) => Options::read(&object(&bytes, "/options")?, "/options", &[], state)?,
        None => Options::default(),
    };
    let mut asked = Asked::new(dockerfile, options);
    asked.submission.inputs = parts.inputs;
    if let Some(tar) = parts.context {
        let max = limits.context_bytes;
        // Tens of megabytes are checked and copied: what that takes is held as long as the body.
        meter.take_copies(tar.len())?;
        let rewritten = tokio::task::spawn_blocking(move || context::rewrite(&tar, max)).await;
        asked.submission.context_tar = match rewritten {
            Ok(Ok(tar)) => tar.into(),
            Ok(Err(bad)) => return Err(Problem::at(bad.code(), ProblemError::at("/context", bad.to_string()))),
            Err(error) => return Err(Problem::internal(error)),
        };
    }
    Ok((asked, meter))
}

async fn open(headers: &HeaderMap, meter: &Meter, body: Body) -> Result<Multipart, Problem> {
    let mut request = Request::new(Body::from_stream(meter.measure(body)));
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        request.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    // The meter bounds the body; the extractor's own default would be far below our limits.
    DefaultBodyLimit::disable().apply(&mut request);
    Multipart::from_request(request, &()).await.map_err(|why| {
        Problem::new(
            Code::Malformed,
            format!("The form cannot be read: {}.", why.body_text()),
        )
    })
}

/// Takes one part.
async fn take(state: &AppState, meter: &Meter, parts: &mut Parts, field: Field<'_>) -> Result<(), Problem> {
    let limits = state.limits();
    let name = field.name().unwrap_or_default().to_owned();
    match name.as_str() {
        "dockerfile" if parts.dockerfile.is_none() => {
            parts.dockerfile = Some(bytes(meter, field, limits.dockerfile_bytes, "/dockerfile").await?);
        }
        "context" if parts.context.is_none() => {
            parts.context = Some(bytes(meter, field, limits.context_bytes, "/context").await?);
        }
        "options" if parts.options.is_none() => {
            parts.options = Some(bytes(meter, field, MAX_OPTIONS, "/options").await?);
        }
        "inputs" => {
            let file = field.file_name().unwrap_or_default().to_owned();
            let short: String = file.chars().take(128).collect();
            let place = format!("/inputs/{}", escape_pointer(&short));
            if !is_artifact_name(file.as_bytes()) {
                return Err(wrong(
                    &place,
                    "an input's file name is 1 to 128 of A-Za-z0-9._-, the first neither a dot nor a dash",
                ));
            }
            if parts.inputs.contains_key(&file) {
                return Err(wrong(&place, "two inputs have this name"));
            }
            if parts.inputs.len() == MAX_INPUTS {
                return Err(wrong("/inputs", "there are more input files than are allowed"));
            }
            let room = limits.inputs_bytes - parts.inputs_bytes;
            let input = bytes(meter, field, room, &place).await?;
            parts.inputs_bytes += input.len() as u64;
            parts.inputs.insert(file, input.into());
        }
        "dockerfile" | "context" | "options" => {
            return Err(wrong(&format!("/{name}"), "this part stands twice"));
        }
        _ => {
            let short: String = name.chars().take(64).collect();
            let place = format!("/{}", escape_pointer(&short));
            return Err(wrong(
                &place,
                "there is no such part; send dockerfile, context, inputs, options",
            ));
        }
    }
    Ok(())
}

/// A part's content, at most `max` bytes.
async fn bytes(meter: &Meter, mut field: Field<'_>, max: u64, pointer: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|why| malformed(meter, &why))? {
        if (bytes.len() + piece.len()) as u64 > max {
            let detail = format!("The part is larger than the {max} bytes that are allowed or left for it.");
            return Err(Problem::at(Code::TooLarge, ProblemError::at(pointer, detail)));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn malformed(meter: &Meter, why: &MultipartError) -> Problem {
    meter.cut().unwrap_or_else(|| {
        let detail = escape_untrusted(&why.body_text());
        Problem::new(Code::Malformed, format!("The form cannot be read: {detail}."))
    })
}

fn wrong(pointer: &str, why: &str) -> Problem {
    Problem::new(Code::InvalidSubmission, format!("{pointer}: {why}."))
        .with_errors(vec![ProblemError::at(pointer, why)])
}
