//! `/v1/analyses`: the judge alone, at once.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use jiff::Timestamp;
use seatrial_core::finding::escape_untrusted;
use seatrial_pipeline::admission::{self, LeftToTheWorker, Verdict};

use crate::{
    accept, answer,
    caller::Caller,
    problem::{Problem, ProblemDocument},
    sarif,
    state::AppState,
    submission,
    wire::{AnalysisDocument, requests, schema},
};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Judge a Dockerfile without making a job.
///
/// Nothing is built or kept, and no Engine is needed. A text that is not a Dockerfile is denied, with its
/// errors as findings of rule ST040.
#[utoipa::path(
    post,
    path = "/v1/analyses",
    tag = "analyses",
    operation_id = "createAnalysis",
    request_body(content(
        (requests::AnalysisRequest = "application/json"),
        (String = "text/x-dockerfile"),
    )),
    responses(
        (status = 200, description = "What was found; by `Accept`.", content(
            (schema::AnalysisDocument = "application/json"),
            (Object = "application/sarif+json"),
            (String = "text/plain"),
        )),
        (status = 406, description = "There is no such form of it.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 408, description = "The body came too slowly.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "The body is of another kind.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "The body says something that cannot be used.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn create(State(state): State<AppState>, _: Caller, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let form = accept::pick(&parts.headers, &[JSON, sarif::MEDIA_TYPE, TEXT])?;
    let text = submission::read_text(&state, &parts.headers, body).await?;
    let admitted = admission::admit(
        &state.service().settings.policy,
        &text,
        Timestamp::now(),
        &LeftToTheWorker,
    );
    let outcome = match admitted.verdict {
        Verdict::Pass(_) => None,
        Verdict::Deny(outcome) => Some(outcome),
    };
    state.metrics().analysed(outcome.is_none());
    let document = AnalysisDocument {
        digest: admitted.digest,
        bytes: admitted.bytes,
        analysis: admitted.analysis,
        message: outcome.as_ref().map(|outcome| escape_untrusted(&outcome.message)),
        remedy: outcome.and_then(|outcome| outcome.remedy.as_deref().map(escape_untrusted)),
    };
    let mut response = match form {
        sarif::MEDIA_TYPE => sarif::response(&sarif::of_analysis(&document.analysis))?,
        TEXT => answer::bytes_of(StatusCode::OK, TEXT, lines(&document).into()),
        _ => answer::json(StatusCode::OK, &document)?,
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// One finding a line, then how it ends.
fn lines(document: &AnalysisDocument) -> String {
    let mut text = String::new();
    for finding in &document.analysis.findings {
        text.push_str(&format!(
            "Dockerfile:{}:{}: {}[{}]: {}\n",
            finding.line,
            finding.column,
            finding.level,
            finding.rule,
            escape_untrusted(&finding.message)
        ));
    }
    text.push_str(&document.analysis.verdict);
    for part in [&document.message, &document.remedy].into_iter().flatten() {
        text.push_str(": ");
        text.push_str(part);
    }
    text.push('\n');
    text
}
