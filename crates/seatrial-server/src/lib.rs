//! The HTTP edge: what `docs/openapi.json` describes, on the use cases of `seatrial_pipeline::service`.
//!
//! [`router`] is the whole API without a socket; [`serve()`] puts it on one. A call goes through
//! `edge` (correlation, caller, log line, problems), compression, and the handler of its
//! route. Handlers call use cases and nothing else; only [`problem`] knows status codes of errors.
//! [`webhook`] is the other direction: word of a job's end, sent to whoever asked for it.
//!
//! # Liveness
//! Every request has an end: its head and body have time limits, a reader that does not read is dropped,
//! a wait is bounded, and a stream ends with its job, its reader or the process.

mod accept;
mod answer;
mod body;
mod caller;
mod config;
mod context;
mod correlation;
mod documents;
mod edge;
pub mod metrics;
pub mod openapi;
mod params;
pub mod probe;
pub mod problem;
mod routes;
pub mod sarif;
mod serve;
mod state;
mod stream;
mod submission;
pub mod webhook;
pub mod wire;

use axum::{
    Router,
    body::HttpBody,
    http::{HeaderName, Method, Response, header},
    middleware,
};
use tower_http::{
    compression::{CompressionLayer, Predicate},
    cors::{AllowOrigin, CorsLayer},
};

pub use self::{
    config::{BadConfig, CallerConfig, SecretText, ServerConfig, WebhookConfig},
    serve::serve,
    state::AppState,
};

/// Smaller answers are not worth compressing.
const WORTH_COMPRESSING: u64 = 1024;

/// The whole API, without a socket.
pub fn router(state: AppState) -> Router {
    let compression = CompressionLayer::new()
        .gzip(true)
        .zstd(true)
        .quality(tower_http::CompressionLevel::Fastest)
        .compress_when(WorthCompressing);
    let around = middleware::from_fn_with_state(state.clone(), edge::edge);
    let mut routes = routes::all().layer(compression);
    if let Some(cors) = cors(&state) {
        routes = routes.layer(cors);
    }
    routes.layer(around).with_state(state)
}

/// Exact bytes keep their digest, and a stream must not wait in a compressor.
#[derive(Clone, Copy)]
struct WorthCompressing;

impl Predicate for WorthCompressing {
    fn should_compress<B: HttpBody>(&self, response: &Response<B>) -> bool {
        let extensions = response.extensions();
        let as_it_is = extensions.get::<edge::Exact>().is_some() || extensions.get::<edge::IsStream>().is_some();
        let short = response
            .body()
            .size_hint()
            .upper()
            .is_some_and(|bytes| bytes < WORTH_COMPRESSING);
        !as_it_is && !short
    }
}

/// Off without origins: a browser then lets no page of another origin read an answer.
fn cors(state: &AppState) -> Option<CorsLayer> {
    let origins = &state.settings().origins;
    if origins.is_empty() {
        return None;
    }
    let own = [
        "idempotency-key",
        "prefer",
        "x-correlation-id",
        "traceparent",
        "last-event-id",
    ];
    let requests = own.map(HeaderName::from_static).into_iter().chain([
        header::CONTENT_TYPE,
        header::ACCEPT,
        header::IF_NONE_MATCH,
        header::RANGE,
    ]);
    let shown = [
        "x-correlation-id",
        "x-next-offset",
        "x-log-complete",
        "x-log-stage",
        "content-digest",
        "repr-digest",
        "idempotent-replay",
        "preference-applied",
    ];
    let answers = shown.map(HeaderName::from_static).into_iter().chain([
        header::LOCATION,
        header::ETAG,
        header::RETRY_AFTER,
        header::CONTENT_RANGE,
        header::LINK,
    ]);
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
        .allow_headers(requests.collect::<Vec<_>>())
        .expose_headers(answers.collect::<Vec<_>>());
    Some(layer)
}
