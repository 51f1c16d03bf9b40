//! Every kind of problem: its code, its status, what it means and what to do.

use serde::Serialize;
use utoipa::ToSchema;

/// Kinds of problems. Codes are stable; new ones may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProblemCode)]
#[expect(missing_docs, reason = "the table below says what each means")]
pub enum Code {
    Malformed,
    BadParameter,
    CallerUnknown,
    OriginRefused,
    NotFound,
    NoSuchJob,
    NotProduced,
    MethodNotAllowed,
    NotAcceptable,
    BodyTooSlow,
    NotReady,
    Gone,
    TooLarge,
    UnsupportedMediaType,
    RangeNotSatisfiable,
    HostRefused,
    InvalidSubmission,
    UnparsableDockerfile,
    WebhooksOff,
    IdempotencyKeyReused,
    Internal,
    QueueFull,
    Busy,
    Unavailable,
}

/// What is fixed for a kind of problem.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The code.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// In a few words.
    pub title: &'static str,
    /// The same request may succeed later.
    pub retryable: bool,
    /// What it means and what to do, for the page of problems.
    pub help: &'static str,
}

impl Code {
    /// All kinds, by status.
    pub const ALL: [Self; 24] = [
        Self::Malformed,
        Self::BadParameter,
        Self::CallerUnknown,
        Self::OriginRefused,
        Self::NotFound,
        Self::NoSuchJob,
        Self::NotProduced,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::BodyTooSlow,
        Self::NotReady,
        Self::Gone,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::RangeNotSatisfiable,
        Self::HostRefused,
        Self::InvalidSubmission,
        Self::UnparsableDockerfile,
        Self::WebhooksOff,
        Self::IdempotencyKeyReused,
        Self::Internal,
        Self::QueueFull,
        Self::Busy,
        Self::Unavailable,
    ];

    /// What is fixed for it.
    #[must_use]
    pub fn facts(self) -> Facts {
        let (code, status, retryable, title, help) = match self {
            Self::Malformed => (
                "malformed",
                400,
                false,
                "The request cannot be read",
                "The body is not valid JSON (the detail has line and column), not a valid form, or a header is not well formed.",
            ),
            Self::BadParameter => (
                "bad_parameter",
                400,
                false,
                "A parameter cannot be used",
                "A parameter of the query is not known, stands twice, or has a value that it cannot have; `errors` names each.",
            ),
            Self::CallerUnknown => (
                "caller_unknown",
                403,
                false,
                "Nobody says who calls",
                "Callers are told apart here: requests must come through the server in front, which names the caller.",
            ),
            Self::OriginRefused => (
                "origin_refused",
                403,
                false,
                "Pages of this origin may not call",
                "A browser sent this for a page of another origin. The operator lists allowed ones in `server.cors_origins`.",
            ),
            Self::NotFound => (
                "not_found",
                404,
                false,
                "There is nothing here",
                "No endpoint has this path; `/docs` lists them.",
            ),
            Self::NoSuchJob => (
                "no_such_job",
                404,
                false,
                "There is no such job",
                "The id is wrong, the job was erased, or it belongs to another caller.",
            ),
            Self::NotProduced => (
                "not_produced",
                404,
                false,
                "The job has none",
                "The job is over and did not produce what was asked for; `reason` says how it ended.",
            ),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                405,
                false,
                "This cannot be done here",
                "The path exists but does not know the method; the header `Allow` lists those that it knows.",
            ),
            Self::NotAcceptable => (
                "not_acceptable",
                406,
                false,
                "There is no such form of it",
                "None of the media types in `Accept` can be had here; the detail lists those that can.",
            ),
            Self::BodyTooSlow => (
                "body_too_slow",
                408,
                true,
                "The body came too slowly",
                "The body must arrive whole within a time that `GET /v1/limits` shows.",
            ),
            Self::NotReady => (
                "not_ready",
                409,
                true,
                "The job is not over",
                "What was asked for exists when the job is over. Wait for it: `Prefer: wait`, or its events.",
            ),
            Self::Gone => (
                "gone",
                410,
                false,
                "It is not kept any more",
                "The job had it; the time for which it is kept is over.",
            ),
            Self::TooLarge => (
                "too_large",
                413,
                false,
                "It is too large",
                "A body or a part of it is larger than `GET /v1/limits` allows.",
            ),
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                415,
                false,
                "The body is of another kind",
                "The header `Content-Type` must name one of the kinds that the endpoint reads; the detail lists them.",
            ),
            Self::RangeNotSatisfiable => (
                "range_not_satisfiable",
                416,
                false,
                "There is no such range",
                "The range begins behind the end; `Content-Range` has the length.",
            ),
            Self::HostRefused => (
                "host_refused",
                421,
                false,
                "This API has another name",
                "The name in `Host` is not one of `server.hosts`, which keeps pages of other names out. The operator lists the names under which clients and servers in front ask for it.",
            ),
            Self::InvalidSubmission => (
                "invalid_submission",
                422,
                false,
                "What was submitted cannot be used",
                "The body can be read but says something that cannot be done; `errors` points at each place.",
            ),
            Self::UnparsableDockerfile => (
                "unparsable_dockerfile",
                422,
                false,
                "The text is not a Dockerfile",
                "`errors` has every place with line, column and span. No job was made.",
            ),
            Self::WebhooksOff => (
                "webhooks_off",
                422,
                false,
                "Nobody is called back here",
                "The operator did not switch webhooks on. Wait for the job, or follow its events.",
            ),
            Self::IdempotencyKeyReused => (
                "idempotency_key_reused",
                422,
                false,
                "The idempotency key was used for something else",
                "The key stands for another submission. Take a fresh key for each submission.",
            ),
            Self::Internal => (
                "internal",
                500,
                false,
                "Something went wrong here",
                "A defect of ours. The correlation id finds it in the server's log.",
            ),
            Self::QueueFull => (
                "queue_full",
                503,
                true,
                "Too many jobs wait",
                "The queue takes no more at the moment. `Retry-After` says when to try again.",
            ),
            Self::Busy => (
                "busy",
                503,
                true,
                "This process is busy",
                "It holds as many open streams or as large bodies as it may. `Retry-After` says when to try again.",
            ),
            Self::Unavailable => (
                "unavailable",
                503,
                true,
                "A part of the service gives no answer",
                "The ledger or the vault cannot be reached. Asking again is safe; give submissions an idempotency key.",
            ),
        };
        Facts {
            code,
            status,
            title,
            retryable,
            help,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_has_its_own_code_which_is_the_one_in_the_schema() {
        let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.facts().code).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.facts().code);
        }
    }
}
