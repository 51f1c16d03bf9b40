//! The one error type of the edge: RFC 9457 problem details.
//!
//! A handler returns a [`Problem`]; the edge gives it the request's correlation id and path, writes it
//! out, and logs what a caller must not see. Nobody else knows of status codes of errors.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use seatrial_core::{
    BoxError,
    finding::{Finding, Level, Rule, Span, escape_untrusted},
    job::{JobState, Reason},
};
use seatrial_pipeline::service::{ServiceError, read::Absent};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod code;

pub use self::code::Code;

/// Media type of problems.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Most single errors shown in one problem; a hostile file can have thousands.
const MAX_ERRORS: usize = 100;

/// What went wrong, before it is written out.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    errors: Vec<ProblemError>,
    reason: Option<Reason>,
    retry_after: Option<Duration>,
    content_range: Option<String>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// A problem as it is sent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// A page about this kind of problem, relative to this server.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", examples("/docs/problems#no_such_job"))]
    pub kind: String,
    /// The kind in a few words.
    pub title: String,
    /// The status code again.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened here, for people.
    pub detail: String,
    /// Path of the request.
    #[schema(format = "uri-reference")]
    pub instance: String,
    /// The kind, for machines; stable.
    #[schema(value_type = crate::problem::Code)]
    pub code: String,
    /// The same request may succeed later.
    pub retryable: bool,
    /// Ties this answer to the logs.
    pub correlation_id: String,
    /// Why the job ended, where the problem is that it has not what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<Reason>,
    /// Each place that is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemError>,
}

/// One place that is wrong.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ProblemError {
    /// What is wrong with it.
    pub detail: String,
    /// The place in the body: a JSON pointer; parts of a form count as members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Or the parameter of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The rule, when the place is one of the Dockerfile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// 1-based line of the Dockerfile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// 1-based column of the Dockerfile, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// From and to, in bytes of the Dockerfile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<u64>>, min_items = 2, max_items = 2)]
    pub span: Option<Span>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The page about the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri")]
    pub page: Option<String>,
}

impl ProblemError {
    /// Something in the body.
    pub(crate) fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            pointer: Some(pointer.into()),
            ..Self::default()
        }
    }

    /// A parameter of the query.
    pub(crate) fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            parameter: Some(name.into()),
            ..Self::default()
        }
    }

    fn finding(finding: &Finding) -> Self {
        Self {
            detail: escape_untrusted(&finding.message),
            pointer: Some("/dockerfile".to_owned()),
            parameter: None,
            rule: Some(finding.rule.to_string()),
            line: Some(finding.line),
            column: Some(finding.column),
            span: Some(finding.span),
            remedy: (finding.level > Level::Info).then(|| escape_untrusted(&finding.remedy)),
            page: seatrial_dockerfile::rules::find(&finding.rule).map(Rule::page),
        }
    }
}

/// One member of a JSON pointer.
pub(crate) fn escape_pointer(member: &str) -> String {
    escape_untrusted(&member.replace('~', "~0").replace('/', "~1"))
}

impl Problem {
    /// Of this kind; `detail` is a sentence for the caller.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            reason: None,
            retry_after: None,
            content_range: None,
            source: None,
        }
    }

    /// With the places that are wrong.
    pub(crate) fn with_errors(mut self, mut errors: Vec<ProblemError>) -> Self {
        if errors.len() > MAX_ERRORS {
            let more = errors.len() - MAX_ERRORS;
            errors.truncate(MAX_ERRORS);
            self.detail = format!("{} ({more} more errors are not shown.)", self.detail);
        }
        self.errors = errors;
        self
    }

    /// With one place that is wrong, which says it all.
    pub(crate) fn at(code: Code, error: ProblemError) -> Self {
        Self::new(code, error.detail.clone()).with_errors(vec![error])
    }

    /// Asking again after this time makes sense.
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// With the length of what a range was asked of; `None` when it is not known.
    pub(crate) fn of_length(mut self, length: Option<u64>) -> Self {
        self.content_range = Some(length.map_or_else(|| "bytes */*".to_owned(), |length| format!("bytes */{length}")));
        self
    }

    /// A defect of ours: the caller learns nothing, the log has the chain.
    pub(crate) fn internal(source: impl Into<BoxError>) -> Self {
        let mut problem = Self::new(
            Code::Internal,
            "Something went wrong here. The correlation id finds it in the server's log.",
        );
        problem.source = Some(Arc::from(source.into()));
        problem
    }

    /// The text is not a Dockerfile.
    pub(crate) fn unparsable(message: &str, findings: &[Finding]) -> Self {
        Self::new(Code::UnparsableDockerfile, escape_untrusted(message))
            .with_errors(findings.iter().map(ProblemError::finding).collect())
    }

    /// Its kind.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// What the log must have: the chain of causes of a fault of ours.
    pub(crate) fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }

    /// As it is sent.
    pub(crate) fn document(&self, correlation_id: &str, path: &str) -> ProblemDocument {
        let facts = self.code.facts();
        ProblemDocument {
            kind: format!("/docs/problems#{}", facts.code),
            title: facts.title.to_owned(),
            status: facts.status,
            detail: self.detail.clone(),
            instance: path.to_owned(),
            code: facts.code.to_owned(),
            retryable: facts.retryable,
            correlation_id: correlation_id.to_owned(),
            reason: self.reason,
            errors: self.errors.clone(),
        }
    }

    /// Writes the body into a response that [`IntoResponse`] made.
    pub(crate) fn write(&self, response: &mut Response, correlation_id: &str, path: &str) {
        let document = self.document(correlation_id, path);
        let bytes = serde_json::to_vec(&document).unwrap_or_default();
        let length = HeaderValue::from(bytes.len());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CONTENT_LENGTH, length);
        *response.body_mut() = Body::from(bytes);
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.code.facts().code)
    }
}

/// Without a body: the edge, which knows the request, writes it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let facts = self.code.facts();
        let status = StatusCode::from_u16(facts.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if let Some(range) = self.content_range.as_deref().and_then(|range| range.parse().ok()) {
            headers.insert(header::CONTENT_RANGE, range);
        }
        if status == StatusCode::REQUEST_TIMEOUT {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// How long to wait before asking a service again that gave no answer.
const AGAIN: Duration = Duration::from_secs(5);

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        if !error.is_transient() {
            return Self::internal(error);
        }
        let detail = match &error {
            ServiceError::Ledger(_) => "The ledger gives no answer at the moment. Asking again is safe.",
            ServiceError::Vault(_) => "The vault gives no answer at the moment. Asking again is safe.",
            ServiceError::Document(_) => "A document cannot be read at the moment.",
        };
        let mut problem = Self::new(Code::Unavailable, detail).retry_after(AGAIN);
        problem.source = Some(Arc::new(error));
        problem
    }
}

impl From<seatrial_core::ledger::LedgerError> for Problem {
    fn from(error: seatrial_core::ledger::LedgerError) -> Self {
        ServiceError::from(error).into()
    }
}

/// `what` of a job cannot be had.
pub(crate) fn absent(what: &str, why: Absent) -> Problem {
    match why {
        Absent::NoJob => no_such_job(),
        Absent::NotReady(record) => {
            let state = match record.state {
                JobState::Running { .. } => "running",
                JobState::Queued { .. } | JobState::Settled(_) => "queued",
            };
            Problem::new(
                Code::NotReady,
                format!("The job is {state}: it has no {what} before it is over."),
            )
            .retry_after(Duration::from_secs(1))
        }
        Absent::None(record) => {
            let outcome = record.outcome();
            let how = outcome.map_or_else(
                || "The job is not over".to_owned(),
                |outcome| format!("The job ended as {} ({})", outcome.ending, outcome.reason),
            );
            let mut problem = Problem::new(Code::NotProduced, format!("{how}: it has no such {what}."));
            problem.reason = outcome.map(|outcome| outcome.reason);
            problem
        }
        Absent::Expired => Problem::new(Code::Gone, format!("The job had a {what}; it is not kept any more.")),
        Absent::Failed(error) => error.into(),
    }
}

/// No such job, or somebody else's: nobody learns which.
pub(crate) fn no_such_job() -> Problem {
    Problem::new(Code::NoSuchJob, "There is no such job, or it is not yours.")
}
