//! One file for each group of endpoints.

use axum::{Router, http::Uri, routing::get};

use crate::{
    problem::{Code, Problem},
    state::AppState,
};

pub(crate) mod about;
pub(crate) mod analyses;
pub(crate) mod artifacts;
pub(crate) mod docs;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod logs;
pub(crate) mod report;
pub(crate) mod result;

/// All endpoints, without what surrounds them.
pub(crate) fn all() -> Router<AppState> {
    Router::new()
        .route("/v1/jobs", get(jobs::list).post(jobs::create))
        .route("/v1/analyses", axum::routing::post(analyses::create))
        .route("/v1/jobs/{id}", get(job::show).delete(job::erase))
        .route("/v1/jobs/{id}/cancel", axum::routing::post(job::cancel))
        .route("/v1/jobs/{id}/events", get(events::events))
        .route("/v1/jobs/{id}/logs", get(logs::logs))
        .route("/v1/jobs/{id}/result", get(result::result))
        .route("/v1/jobs/{id}/artifacts", get(artifacts::list))
        .route("/v1/jobs/{id}/artifacts/{name}", get(artifacts::one))
        .route("/v1/jobs/{id}/report", get(report::report))
        .route("/v1/jobs/{id}/sbom", get(report::sbom))
        .route("/v1/workers", get(about::workers))
        .route("/v1/queue", get(about::queue))
        .route("/v1/limits", get(about::limits))
        .route("/v1/policy", get(about::policy))
        .route("/v1/version", get(about::version))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(docs::openapi))
        .route("/docs", get(docs::index))
        .route("/docs/", get(docs::page))
        .route("/docs/problems", get(docs::problems))
        .route("/docs/{*rest}", get(docs::page))
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_here)
}

async fn nothing_here() -> Problem {
    Problem::new(Code::NotFound, "No endpoint has this path. /docs lists them.")
}

async fn not_here(_: Uri) -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        "This path does not know this method; the header Allow lists those that it knows.",
    )
}
