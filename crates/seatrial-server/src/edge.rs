//! What surrounds every call: correlation, caller, headers, problems written out, one line of log.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use axum::{
    body::{Body, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use seatrial_core::{
    finding::escape_untrusted,
    id::{CorrelationId, JobId},
    trace::{Fact, Span, SpanKind, TraceParent},
};
use tracing::Instrument as _;

use crate::{
    caller::{self, Caller},
    correlation::{self, CORRELATION, single},
    problem::{Code, Problem},
    routes::result::CONTENT_DIGEST,
    state::AppState,
};

/// The route of what no route knows.
const UNKNOWN: &str = "unknown";

/// Paths that show nothing of any job, and that probes and scrapers ask without a caller.
const OPEN: [&str; 8] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/",
    "/docs/problems",
    "/docs/{*rest}",
];

/// Put into a response by a handler that made a job: for the log.
#[derive(Clone, Copy)]
pub(crate) struct MadeJob(pub(crate) JobId);

/// Put into a request: where its trace goes on.
#[derive(Clone, Copy)]
pub(crate) struct Trace(pub(crate) Option<TraceParent>);

/// Put into a response that goes on for as long as a job does.
#[derive(Clone, Copy)]
pub(crate) struct IsStream;

/// Put into a response whose bytes must arrive as they are.
#[derive(Clone, Copy)]
pub(crate) struct Exact;

/// Around every call.
pub(crate) async fn edge(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = correlation::id(request.headers());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let path = request.uri().path().to_owned();
    let parent = correlation::traceparent(request.headers());
    let traced =
        state
            .service()
            .telemetry
            .begin(|| span_name(request.method(), route.as_ref()), SpanKind::Server, parent);
    let place = traced.as_ref().and_then(|span| span.place()).or(parent);
    let mut call = Call {
        begun,
        method: request.method().clone(),
        job: job_of(route.as_ref(), &path),
        route,
        correlation: id.clone(),
        caller: None,
        status: StatusCode::OK,
        sent: 0,
        stream: false,
        traced,
        place,
        state: state.clone(),
    };
    state.metrics().begin();
    // Of the highest level, so that what is said within has it whatever else is filtered.
    let span = tracing::error_span!(
        "call",
        correlation.id = id.as_str(),
        trace_id = place.map(|place| place.trace())
    );
    let mut response = async {
        match enter(&state, &request, call.route()) {
            Ok(caller) => {
                call.caller = caller.clone().map(|caller| caller.name);
                if let Some(caller) = caller {
                    request.extensions_mut().insert(caller);
                }
                request.extensions_mut().insert(id.clone());
                request.extensions_mut().insert(Trace(place));
                next.run(request).await
            }
            Err(problem) => problem.into_response(),
        }
    }
    .instrument(span.clone())
    .await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        span.in_scope(|| log(&problem, call.route()));
        // A HEAD has no body, and the length that its GET would have.
        problem.write(&mut response, id.as_str(), &path);
        if call.method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
    }
    if call.method == Method::HEAD {
        response.headers_mut().remove(CONTENT_DIGEST);
    }
    decorate(&mut response, &id);
    call.status = response.status();
    call.stream = response.extensions().get::<IsStream>().is_some();
    if let Some(MadeJob(job)) = response.extensions().get() {
        call.job = Some(*job);
    }
    response.map(|body| Body::new(Counted { body, call }))
}

/// Who calls, where that matters; refuses pages of other origins.
fn enter(state: &AppState, request: &Request, route: &str) -> Result<Option<Caller>, Problem> {
    known_host(state, request)?;
    same_origin(state, request)?;
    if OPEN.contains(&route) {
        return Ok(None);
    }
    caller::of(state.settings(), request).map(Some)
}

/// A browser that was led here by a stranger's name says so in `Host`: to it, our answers are that stranger's own.
fn known_host(state: &AppState, request: &Request) -> Result<(), Problem> {
    let hosts = &state.settings().hosts;
    let is_known = |host: &HeaderValue| {
        let host = host.to_str().unwrap_or_default();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    // No browser leaves it out.
    if hosts.is_empty() || request.headers().get_all(header::HOST).iter().all(is_known) {
        return Ok(());
    }
    Err(Problem::new(
        Code::HostRefused,
        "This API is not known by the name in `Host`.",
    ))
}

/// A browser sends simple requests of any page to any server, and says whose page it is. Reads are
/// protected by the browser itself; what changes something is refused here.
fn same_origin(state: &AppState, request: &Request) -> Result<(), Problem> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let headers = request.headers();
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let host = single(headers, &header::HOST).unwrap_or_default();
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let ours = authority.is_some_and(|(_, authority)| authority == host);
    if ours || state.settings().origins.contains(origin) {
        return Ok(());
    }
    Err(Problem::new(
        Code::OriginRefused,
        "A page of another origin sent this; its origin is not listed here.",
    ))
}

/// Logs what the caller does not see, once.
fn log(problem: &Problem, route: &str) {
    let code = problem.code().facts().code;
    match problem.source() {
        Some(error) if problem.code() == Code::Internal => tracing::error!(route, code, error, "a call failed"),
        Some(error) => tracing::warn!(route, code, error, "a call failed"),
        None => {}
    }
}

fn decorate(response: &mut Response, id: &CorrelationId) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(CORRELATION, id);
    }
    let always: [(HeaderName, &'static str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; sandbox",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in always {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// The job in a path, as far as it is one: nothing else of a path is logged.
fn job_of(route: Option<&MatchedPath>, path: &str) -> Option<JobId> {
    let route = route?.as_str();
    let rest = path
        .strip_prefix("/v1/jobs/")
        .filter(|_| route.starts_with("/v1/jobs/{id}"))?;
    rest.split('/').next()?.parse().ok()
}

/// A call, until its answer was sent.
struct Call {
    state: AppState,
    begun: Instant,
    method: Method,
    route: Option<MatchedPath>,
    correlation: CorrelationId,
    caller: Option<std::sync::Arc<str>>,
    job: Option<JobId>,
    status: StatusCode,
    sent: u64,
    stream: bool,
    /// Where traces are told; ends with the call.
    traced: Option<Box<dyn Span>>,
    /// The call's place in its trace.
    place: Option<TraceParent>,
}

impl Call {
    fn route(&self) -> &str {
        self.route.as_ref().map_or(UNKNOWN, MatchedPath::as_str)
    }

    /// Tells the span what the call was: nothing of it is a stranger's word.
    fn describe(&mut self) {
        let Some(span) = &mut self.traced else {
            return;
        };
        span.note("http.request.method", Fact::Word(traced_method(&self.method)));
        if let Some(route) = &self.route {
            span.note("http.route", Fact::Word(route.as_str()));
        }
        let status = self.status.as_u16();
        span.note("http.response.status_code", Fact::Number(i64::from(status)));
        span.note("correlation.id", Fact::Word(self.correlation.as_str()));
        if let Some(job) = &self.job {
            span.note("job.id", Fact::Word(&job.to_string()));
        }
        if self.status.is_server_error() {
            span.fail();
        }
    }
}

/// A method may be any word; this is what OpenTelemetry calls the others.
fn traced_method(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::DELETE | Method::OPTIONS | Method::PUT => method.as_str(),
        _ => "_OTHER",
    }
}

fn span_name(method: &Method, route: Option<&MatchedPath>) -> String {
    let method = match traced_method(method) {
        "_OTHER" => "HTTP",
        known => known,
    };
    route.map_or_else(|| method.to_owned(), |route| format!("{method} {}", route.as_str()))
}

/// The one line of a call, when its answer was sent or given up.
impl Drop for Call {
    fn drop(&mut self) {
        self.describe();
        let took = self.begun.elapsed();
        let of_request = (!self.stream).then_some(took);
        let metrics = self.state.metrics();
        metrics.end(&self.method, self.route(), self.status, self.sent, of_request);
        let method = match self.method {
            // A method may be any word.
            Method::GET | Method::HEAD | Method::POST | Method::DELETE | Method::OPTIONS | Method::PUT => {
                self.method.as_str()
            }
            _ => "other",
        };
        tracing::info!(
            method,
            route = self.route(),
            status = self.status.as_u16(),
            bytes = self.sent,
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            correlation.id = self.correlation.as_str(),
            caller = self
                .caller
                .as_deref()
                .filter(|name| !name.is_empty())
                .map(escape_untrusted),
            job.id = self.job.map(tracing::field::display),
            trace_id = self.place.map(|place| place.trace()),
            "call"
        );
    }
}

/// A body that counts what is sent of it.
struct Counted {
    body: Body,
    call: Call,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.call.sent += data.len() as u64;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
