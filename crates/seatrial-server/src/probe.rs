//! A small page for those who watch a worker that has no API: that it lives, whether it takes jobs, and what
//! it counts. It shows nothing of any job.
//!
//! # Liveness
//! Every answer is made of what is in memory; connections are few and have time limits.

use std::{io, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use seatrial_pipeline::service::telemetry::{Standing, Telemetry};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    metrics::{MEDIA_TYPE, Page},
    serve::{Bounds, serve_router},
};

/// A scraper or two, a probe or two.
const BOUNDS: Bounds = Bounds {
    connections: 32,
    head_time: Duration::from_secs(5),
    write_time: Duration::from_secs(5),
    drain_time: Duration::from_secs(1),
};

const TEXT: &str = "text/plain; charset=utf-8";

#[derive(Clone)]
struct Watched {
    standing: Standing,
    page: Page,
}

/// Serves `/healthz`, `/readyz` and `/metrics` of a worker until `shutdown` is ready.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(listener: TcpListener, telemetry: &Telemetry, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let going = watch::Sender::new(false);
    serve_router(listener, router(telemetry), BOUNDS, &going, shutdown).await
}

/// The page without a socket.
pub fn router(telemetry: &Telemetry) -> Router {
    let page = Page::default();
    page.register(|registry| {
        telemetry.metrics.register(registry);
        telemetry.metrics.register_worker(registry);
    });
    let standing = telemetry.standing.clone();
    Router::new()
        .route("/healthz", get(async || said(StatusCode::OK, TEXT, "ok\n".to_owned())))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(async || {
            said(
                StatusCode::NOT_FOUND,
                TEXT,
                "Here are /healthz, /readyz and /metrics.\n".to_owned(),
            )
        })
        .with_state(Watched { standing, page })
}

async fn readyz(State(watched): State<Watched>) -> Response {
    match watched.standing.why_not() {
        None => said(StatusCode::OK, TEXT, "it takes jobs\n".to_owned()),
        Some(why) => said(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
    }
}

async fn metrics(State(watched): State<Watched>) -> Response {
    match watched.page.text() {
        Ok(page) => said(StatusCode::OK, MEDIA_TYPE, page),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the metrics cannot be written"
            );
            said(StatusCode::INTERNAL_SERVER_ERROR, TEXT, String::new())
        }
    }
}

fn said(status: StatusCode, kind: &'static str, text: String) -> Response {
    let headers: [(HeaderName, &'static str); 3] = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, text).into_response()
}
