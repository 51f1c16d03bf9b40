//! Why a server did not do what was asked: what happened, whose fault it is, what to do, what it means
//! for the exit code. Words of a server are escaped before they come near a terminal.

use std::{error::Error, fmt::Write as _, io, time::Duration};

use reqwest::{Response, StatusCode, header};
use seatrial_core::{
    finding::{Finding, Level, Span, escape_untrusted},
    job::Ending,
};
use serde::Deserialize;

/// Largest body of an error that is read.
const MAX_PROBLEM: usize = 1 << 20;
/// Most single errors shown of one problem.
const MAX_ERRORS: usize = 20;
/// Longest text of a server that is shown in one piece, in characters.
const MAX_TEXT: usize = 600;

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No answer came, or not a whole one.
    #[error("cannot reach the server at {server}: {why}")]
    Unreachable {
        /// Where, without a password.
        server: String,
        /// The innermost cause.
        why: String,
    },
    /// Somebody answered, but could not show that it is this server.
    #[error("the server at {server} cannot be trusted: {why}")]
    Untrusted {
        /// Where, without a password.
        server: String,
        /// What is wrong with its certificate.
        why: String,
    },
    /// The server said no, in the form that the API promises.
    #[error("{}", .0.sentence())]
    Refused(Box<Problem>),
    /// Somebody answered, but not as the API does.
    #[error("the server at {server} did not answer as Seatrial does: {what}")]
    Foreign {
        /// Where.
        server: String,
        /// The status, when that is what is wrong.
        status: Option<StatusCode>,
        /// What came.
        what: String,
        /// When to ask again, if it said so.
        retry_after: Option<Duration>,
    },
    /// The bytes are not the ones that the server announced.
    #[error("{what} is not what the server announced: the digest is {found}, not {announced}")]
    Corrupt {
        /// What was fetched.
        what: String,
        /// Digest of what came.
        found: String,
        /// Digest that it should have.
        announced: String,
    },
}

/// A refusal, as RFC 9457 and our API write it. Lenient: another version may leave out or add fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    title: String,
    status: u16,
    detail: String,
    /// The kind, for machines.
    pub(crate) code: String,
    correlation_id: String,
    errors: Vec<Place>,
    remedy: Option<String>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    /// The document as it came.
    #[serde(skip)]
    pub(crate) raw: serde_json::Value,
}

/// One place that is wrong.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Place {
    #[serde(alias = "message")]
    detail: String,
    pointer: Option<String>,
    parameter: Option<String>,
    rule: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    span: Option<Span>,
    remedy: Option<String>,
}

impl Failure {
    /// No answer came.
    pub(crate) fn unreachable(server: &str, error: &reqwest::Error) -> Self {
        let server = server.to_owned();
        let cause = innermost(error);
        if let Some(error @ rustls::Error::InvalidCertificate(_)) = cause.downcast_ref() {
            let why = short(&error.to_string());
            return Self::Untrusted { server, why };
        }
        let why = if error.is_timeout() {
            "it did not answer in time".to_owned()
        } else {
            short(&cause.to_string())
        };
        Self::Unreachable { server, why }
    }

    /// An answer that does not say what it should.
    pub(crate) fn foreign(server: &str, what: impl Into<String>) -> Self {
        Self::Foreign {
            server: server.to_owned(),
            status: None,
            what: what.into(),
            retry_after: None,
        }
    }

    /// Reads an answer that is not a success.
    pub(crate) async fn of(server: &str, response: Response) -> Self {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let echoed = text_header(&response, "x-correlation-id");
        let location = text_header(&response, header::LOCATION.as_str());
        let is_json = text_header(&response, header::CONTENT_TYPE.as_str()).contains("json");
        let body = read_at_most(response, MAX_PROBLEM).await;
        let foreign = |what: String| Self::Foreign {
            server: server.to_owned(),
            status: Some(status),
            what,
            retry_after,
        };
        if status.is_redirection() {
            return foreign(format!("{status}, it points to {}", short(&location)));
        }
        let raw: serde_json::Value = match serde_json::from_slice(&body) {
            Ok(raw) if is_json => raw,
            _ => return foreign(format!("{status} without a reason")),
        };
        match Problem::deserialize(&raw) {
            Ok(problem) if !problem.code.is_empty() => Self::Refused(Box::new(Problem {
                status: status.as_u16(),
                correlation_id: Some(problem.correlation_id)
                    .filter(|id| !id.is_empty())
                    .unwrap_or(echoed),
                retry_after,
                raw,
                ..problem
            })),
            _ => foreign(format!("{status} without a code")),
        }
    }

    /// The same call may succeed in a while.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 429 | 502 | 503 | 504),
            Self::Foreign { status, .. } => {
                status.is_some_and(|status| matches!(status.as_u16(), 429 | 502 | 503 | 504))
            }
            Self::Corrupt { .. } | Self::Untrusted { .. } => false,
        }
    }

    /// When the server wants to be asked again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            Self::Foreign { retry_after, .. } => *retry_after,
            Self::Unreachable { .. } | Self::Untrusted { .. } | Self::Corrupt { .. } => None,
        }
    }

    /// The refusal's code, if it is one.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            Self::Unreachable { .. } | Self::Untrusted { .. } | Self::Foreign { .. } | Self::Corrupt { .. } => None,
        }
    }

    /// The status that came, if one did.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            Self::Foreign { status, .. } => status.map(|status| status.as_u16()),
            Self::Unreachable { .. } | Self::Untrusted { .. } | Self::Corrupt { .. } => None,
        }
    }

    /// What the process ends with: 3 when the text is no Dockerfile, 2 when something was asked for that
    /// cannot be, 6 when the server is at fault or away.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(problem) if problem.is_about_the_text() => Ending::Rejected.exit_code(),
            Self::Refused(problem) if (400..=499).contains(&problem.status) && problem.status != 429 => crate::USAGE,
            Self::Foreign {
                status: Some(status), ..
            } if status.is_client_error() && *status != StatusCode::TOO_MANY_REQUESTS => crate::USAGE,
            Self::Refused(_)
            | Self::Foreign { .. }
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Corrupt { .. } => Ending::Errored.exit_code(),
        }
    }

    /// The whole story in lines, for people.
    pub(crate) fn explain(&self) -> String {
        let mut out = format!("error: {self}\n");
        match self {
            Self::Unreachable { .. } => {
                let _ = writeln!(
                    out,
                    "  help: start one with `seatrial serve`, or name another with --server or SEATRIAL_SERVER"
                );
            }
            Self::Untrusted { .. } => {
                let _ = writeln!(
                    out,
                    "  help: SSL_CERT_FILE names a PEM file with the authority that you trust, if it is your own"
                );
            }
            Self::Refused(problem) => problem.explain(&mut out),
            Self::Foreign { status, .. } => {
                let help = match status.map(|status| status.as_u16()) {
                    Some(300..=399) => "name that address with --server, if you trust it",
                    Some(401 | 403) => "a server in front wants to know who you are",
                    Some(429) => "a server in front wants fewer calls; try again later",
                    Some(502..=504) => "a server in front cannot reach Seatrial behind it; try again later",
                    _ => "look whether --server or SEATRIAL_SERVER names a Seatrial",
                };
                let _ = writeln!(out, "  help: {help}");
            }
            Self::Corrupt { .. } => {
                let _ = writeln!(out, "  help: nothing was kept; fetch it again");
            }
        }
        out
    }
}

impl Problem {
    /// The text that was sent is no Dockerfile.
    pub(crate) fn is_about_the_text(&self) -> bool {
        self.status == 422
            && (self.code == "unparsable_dockerfile" || self.errors.iter().any(|place| place.line.is_some()))
    }

    /// The places in the text as findings, to be shown like those of the judge.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.errors
            .iter()
            .filter_map(|place| {
                let line = place.line?;
                Some(Finding {
                    rule: place
                        .rule
                        .clone()
                        .map_or_else(|| escape_untrusted(&self.code), |rule| escape_untrusted(&rule))
                        .into(),
                    level: Level::Error,
                    line,
                    column: place.column.unwrap_or(1),
                    span: place.span.unwrap_or_default(),
                    message: place.detail.clone(),
                    remedy: place.remedy.clone().unwrap_or_default().into(),
                    fix: None,
                })
            })
            .collect()
    }

    /// What it is, without the places.
    pub(crate) fn in_short(&self) -> String {
        let mut out = format!("error: {}\n", self.sentence());
        if !self.correlation_id.is_empty() {
            let _ = writeln!(out, "  correlation id: {}", short(&self.correlation_id));
        }
        out
    }

    fn sentence(&self) -> String {
        let words = [&self.detail, &self.title].into_iter().find(|words| !words.is_empty());
        let words = words.map_or_else(|| "the server gives no reason".to_owned(), |words| short(words));
        format!(
            "{} ({}, {})",
            words.trim_end_matches('.'),
            short(&self.code),
            self.status
        )
    }

    fn explain(&self, out: &mut String) {
        for place in self.errors.iter().take(MAX_ERRORS) {
            let at = match (place.line, &place.parameter, &place.pointer) {
                (Some(line), _, _) => format!("line {line}, column {}", place.column.unwrap_or(1)),
                (None, Some(parameter), _) => format!("parameter {}", short(parameter)),
                (None, None, Some(pointer)) => short(pointer),
                (None, None, None) => "-".to_owned(),
            };
            let _ = writeln!(out, "  at {at}: {}", short(&place.detail));
            if let Some(remedy) = &place.remedy {
                let _ = writeln!(out, "     {}", short(remedy));
            }
        }
        if self.errors.len() > MAX_ERRORS {
            let _ = writeln!(out, "  and {} more", self.errors.len() - MAX_ERRORS);
        }
        let _ = writeln!(out, "  fault: {}", self.whose());
        let help = self
            .remedy
            .as_deref()
            .map(short)
            .or_else(|| self.help().map(str::to_owned));
        if let Some(help) = help {
            let _ = writeln!(out, "  help: {help}");
        }
        if let Some(after) = self.retry_after {
            let _ = writeln!(out, "  the server wants to be asked again in {} s", after.as_secs());
        }
        if !self.correlation_id.is_empty() {
            let _ = writeln!(out, "  correlation id: {}", short(&self.correlation_id));
        }
    }

    fn whose(&self) -> &'static str {
        match self.status {
            429 => "nobody's: too many calls at the moment",
            404 | 409 | 410 => "nobody's: it is not there",
            400..=499 => "the request's",
            503 => "the server's: too much to do, or a part of it is away; it may pass",
            _ => "the server's, not the request's",
        }
    }

    fn help(&self) -> Option<&'static str> {
        Some(match self.code.as_str() {
            "no_such_job" => "`seatrial list` shows the jobs; another server is named with --server or SEATRIAL_SERVER",
            "not_ready" => "`seatrial wait ID` waits for the end",
            "not_produced" => "`seatrial status ID` says how the job ended and why",
            "gone" => "submit the Dockerfile again",
            "not_found" => "the server may be older than this client, or --server has a wrong path",
            "too_large" => "leave files out with .dockerignore; the server's operator sets the limits",
            "unparsable_dockerfile" => "`seatrial analyze FILE` shows the places",
            "webhooks_off" => "leave --webhook out and use `seatrial wait ID`",
            "idempotency_key_reused" => "leave --idempotency-key out, or take a fresh one",
            "caller_unknown" => "send the request through the server in front",
            "queue_full" | "busy" | "unavailable" => "try again later",
            "internal" => "give the correlation id to the server's operator",
            _ => return None,
        })
    }
}

/// Where a chain of causes begins. An I/O error gives out the source of what it holds instead of what it
/// holds, so that is looked at first.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    loop {
        let held = cause.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        cause = match (held, cause.source()) {
            (Some(held), _) => held,
            (None, Some(source)) => source,
            (None, None) => return cause,
        };
    }
}

/// Seconds, or nothing: a date would need the server's clock to be right.
fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn text_header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// What came before an error or the bound is as good as all of it here.
async fn read_at_most(mut response: Response, max: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(max - body.len())]);
        if body.len() == max {
            break;
        }
    }
    body
}

/// Words of a stranger: escaped, and not too many.
pub(crate) fn short(text: &str) -> String {
    let mut bounded: String = text.chars().take(MAX_TEXT).collect();
    if bounded.len() < text.len() {
        bounded.push('…');
    }
    escape_untrusted(&bounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, document: serde_json::Value) -> Failure {
        Failure::Refused(Box::new(Problem {
            status,
            ..serde_json::from_value(document).unwrap()
        }))
    }

    #[test]
    fn a_refusal_says_what_whose_fault_what_to_do_and_the_correlation_id() {
        let failure = refused(
            404,
            serde_json::json!({
                "type": "/docs/problems#no_such_job", "title": "There is no such job", "status": 404,
                "detail": "There is no such job, or it is not yours.", "code": "no_such_job", "retryable": false,
                "correlation_id": "abc-1", "later": {"field": 1},
            }),
        );
        assert_eq!(
            failure.explain(),
            "error: There is no such job, or it is not yours (no_such_job, 404)\n  \
             fault: nobody's: it is not there\n  \
             help: `seatrial list` shows the jobs; another server is named with --server or SEATRIAL_SERVER\n  \
             correlation id: abc-1\n"
        );
        assert_eq!((failure.exit_code(), failure.may_pass()), (2, false));
    }

    #[test]
    fn each_place_of_a_refusal_is_named() {
        let failure = refused(
            422,
            serde_json::json!({"code": "invalid_submission", "detail": "No.", "errors": [
                {"pointer": "/options/labels", "detail": "too many"},
                {"parameter": "limit", "message": "too large", "remedy": "at most 100"},
            ]}),
        );
        let told = failure.explain();
        assert!(told.contains("  at /options/labels: too many\n"), "{told}");
        assert!(
            told.contains("  at parameter limit: too large\n     at most 100\n"),
            "{told}"
        );
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn a_hostile_server_cannot_drive_the_terminal() {
        let evil = "\u{1b}]0;x\u{7}\n".repeat(2000);
        let failure = refused(
            500,
            serde_json::json!({
                "code": evil, "detail": evil, "correlation_id": evil, "remedy": evil,
                "errors": [{"detail": evil, "pointer": evil, "remedy": evil}],
            }),
        );
        let told = failure.explain();
        assert!(
            told.chars()
                .all(|character| character == '\n' || !character.is_control())
        );
        assert!(told.lines().count() < 10 && told.len() < 100_000, "{}", told.len());
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, passes, exit) in [
            (400, false, 2),
            (409, false, 2),
            (422, false, 2),
            (429, true, 6),
            (500, false, 6),
            (503, true, 6),
        ] {
            let failure = refused(status, serde_json::json!({"code": "x"}));
            assert_eq!((failure.may_pass(), failure.exit_code()), (passes, exit), "{status}");
        }
    }

    #[test]
    fn a_text_that_is_no_dockerfile_becomes_findings() {
        let failure = refused(
            422,
            serde_json::json!({"code": "unparsable_dockerfile", "errors": [
                {"detail": "unknown instruction", "rule": "C40", "line": 2, "column": 1, "span": [13, 17]},
                {"detail": "no place"},
            ]}),
        );
        assert_eq!(failure.exit_code(), 3);
        let Failure::Refused(problem) = failure else { panic!() };
        let findings = problem.findings();
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].line, findings[0].span, &*findings[0].rule),
            (2, Span::new(13, 17), "C40")
        );
    }
}
