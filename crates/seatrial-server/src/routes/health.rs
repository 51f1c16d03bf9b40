//! For probes and scrapers.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use seatrial_core::ledger::WorkerCard;

use crate::{
    answer,
    metrics::MEDIA_TYPE,
    problem::Problem,
    state::AppState,
    wire::{
        WorkerView,
        about::{Check, Readiness},
    },
};

/// Longest wait for a part of the service: a probe must have an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Say that the process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    operation_id = "getHealth",
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain")),
)]
pub(crate) async fn healthz() -> Response {
    answer::bytes_of(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".into())
}

/// Say whether jobs can be taken and done: the ledger and the vault answer, and a worker is fit.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    operation_id = "getReadiness",
    responses(
        (status = 200, description = "They can.", body = Readiness),
        (status = 503, description = "They cannot; the checks say why.", body = Readiness),
    ),
)]
pub(crate) async fn readyz(State(state): State<AppState>) -> Result<Response, Problem> {
    let service = state.service();
    let (ledger, vault, workers) = tokio::join!(
        in_time(async { service.ledger.now().await.map_err(told).ok() }),
        in_time(async { service.vault.ping().await.map_err(told).ok() }),
        in_time(async { service.ledger.workers().await.map_err(told).ok() }),
    );
    let going = state.goes();
    let checks = vec![
        Check {
            name: "process".to_owned(),
            ok: !going,
            detail: if going { "it is going" } else { "it serves" }.to_owned(),
        },
        answers("ledger", ledger.is_some()),
        answers("vault", vault.is_some()),
        fit(workers),
    ];
    let readiness = Readiness {
        ready: checks.iter().all(|check| check.ok),
        checks,
    };
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut response = answer::json(status, &readiness)?;
    if !readiness.ready {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    Ok(response)
}

async fn in_time<T>(asked: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}

fn told<E: std::error::Error>(error: E) {
    tracing::debug!(error = %error, "a readiness check failed");
}

fn answers(name: &str, ok: bool) -> Check {
    Check {
        name: name.to_owned(),
        ok,
        detail: if ok { "it answers" } else { "it gives no answer" }.to_owned(),
    }
}

/// Whether anybody takes jobs, and if not, why.
fn fit(workers: Option<Vec<WorkerCard>>) -> Check {
    let name = "workers".to_owned();
    let Some(workers) = workers else {
        return Check {
            name,
            ok: false,
            detail: "the ledger does not say".to_owned(),
        };
    };
    let fit = workers.iter().filter(|worker| worker.is_fit()).count();
    let mut detail = format!("{fit} of {} take jobs", workers.len());
    for worker in workers.iter().take(20) {
        match &worker.unfit {
            Some(why) => detail.push_str(&format!("; {}: {why}", worker.name)),
            None if worker.draining => detail.push_str(&format!("; {} is going", worker.name)),
            None => {}
        }
    }
    Check {
        name,
        ok: fit > 0,
        detail,
    }
}

/// Show what this process counts, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    operation_id = "getMetrics",
    responses((status = 200, description = "Prometheus' text format.", body = String, content_type = "text/plain")),
)]
pub(crate) async fn metrics(State(state): State<AppState>) -> Result<Response, Problem> {
    let ledger = &state.service().ledger;
    let seen = in_time(async {
        let (stats, workers) = tokio::try_join!(ledger.stats(), ledger.workers()).ok()?;
        Some((stats, workers.into_iter().map(WorkerView::new).collect::<Vec<_>>()))
    })
    .await;
    let metrics = state.metrics();
    metrics.observe(seen.as_ref().map(|(stats, workers)| (stats, workers.as_slice())));
    let page = metrics.text().map_err(Problem::internal)?;
    Ok(answer::bytes_of(StatusCode::OK, MEDIA_TYPE, page.into()))
}
