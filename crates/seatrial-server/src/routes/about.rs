//! About this installation: workers, queue, limits, policy, version.

use axum::{extract::State, http::StatusCode, response::Response};
use seatrial_core::record::SCHEMA;

use crate::{
    answer,
    caller::Caller,
    problem::Problem,
    state::AppState,
    wire::{
        VersionDocument, WorkerList, WorkerView,
        about::{LimitsDocument, PolicyDocument},
        schema,
    },
};

/// List workers that live.
#[utoipa::path(
    get,
    path = "/v1/workers",
    tag = "about",
    operation_id = "listWorkers",
    responses((status = 200, description = "The workers.", body = schema::WorkerList)),
)]
pub(crate) async fn workers(State(state): State<AppState>, _: Caller) -> Result<Response, Problem> {
    let cards = state.service().ledger.workers().await?;
    let list = WorkerList {
        workers: cards.into_iter().map(WorkerView::new).collect(),
    };
    answer::json(StatusCode::OK, &list)
}

/// Show how the queue stands.
#[utoipa::path(
    get,
    path = "/v1/queue",
    tag = "about",
    operation_id = "getQueue",
    responses((status = 200, description = "The queue.", body = schema::Queue)),
)]
pub(crate) async fn queue(State(state): State<AppState>, _: Caller) -> Result<Response, Problem> {
    let stats = state.service().ledger.stats().await?;
    answer::json(StatusCode::OK, &stats)
}

/// Show what is allowed here.
#[utoipa::path(
    get,
    path = "/v1/limits",
    tag = "about",
    operation_id = "getLimits",
    responses((status = 200, description = "The limits.", body = LimitsDocument)),
)]
pub(crate) async fn limits(State(state): State<AppState>, _: Caller) -> Result<Response, Problem> {
    answer::json(StatusCode::OK, state.limits())
}

/// Show the policy in force.
#[utoipa::path(
    get,
    path = "/v1/policy",
    tag = "about",
    operation_id = "getPolicy",
    responses((status = 200, description = "The policy.", body = PolicyDocument)),
)]
pub(crate) async fn policy(State(state): State<AppState>, _: Caller) -> Result<Response, Problem> {
    answer::json(StatusCode::OK, state.policy())
}

/// Show what this process is.
#[utoipa::path(
    get,
    path = "/v1/version",
    tag = "about",
    operation_id = "getVersion",
    responses((status = 200, description = "The version.", body = schema::Version)),
)]
pub(crate) async fn version(State(state): State<AppState>, _: Caller) -> Result<Response, Problem> {
    let ledger = state.service().ledger.durability();
    let document = VersionDocument {
        version: env!("CARGO_PKG_VERSION"),
        api: "v1",
        schema: SCHEMA,
        // A process refuses to start on a ledger that may lose jobs, unless it was told that it may.
        allow_loss: !ledger.durable,
        ledger,
    };
    answer::json(StatusCode::OK, &document)
}
