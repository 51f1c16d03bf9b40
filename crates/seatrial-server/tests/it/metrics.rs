//! The pages of metrics: what they count, that Prometheus' own judge likes them, that the operators' guide knows
//! each of them, and that no stranger's word is on them.

use std::{
    collections::BTreeSet,
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request, StatusCode},
};
use seatrial_pipeline::service::worker::Phase;
use seatrial_server::{CallerConfig, ServerConfig};
use serde_json::json;
use tower::ServiceExt as _;

use crate::support::{Answer, DOCKERFILE, House, request, with};

const TABLE: &str = include_str!("../../../../docs/OPERATIONS.md");

/// Judges a page as Prometheus does. The tool comes with Debian's package `prometheus`; `make setup` installs it.
fn promtool(page: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|why| panic!("promtool cannot be run ({why}): run `make setup` first"));
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let end = promtool.wait_with_output().unwrap();
    let said = [end.stdout, end.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(end.status.success() && said.is_empty(), "{said}\n{page}");
}

async fn get(router: &Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn worker_page(house: &House) -> Router {
    seatrial_server::probe::router(&house.service.telemetry)
}

/// As in a process with a worker of its own.
fn all_of_it(house: &House) {
    let metrics = &house.service.telemetry.metrics;
    house
        .state
        .metrics()
        .register(|registry| metrics.register_worker(registry));
}

/// The names on a page.
fn names(page: &str) -> BTreeSet<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect()
}

#[tokio::test]
async fn the_metrics_keep_prometheus_conventions() {
    let house = House::new();
    let path = house.submit().await;
    house.get(&path).await;
    house.get("/v1/nothing/x").await;
    let answer = house.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = answer.text();
    for line in [
        "seatrial_http_requests_total{method=\"POST\",route=\"/v1/jobs\",status=\"2xx\"} 1",
        "seatrial_http_requests_total{method=\"GET\",route=\"/v1/jobs/{id}\",status=\"2xx\"} 1",
        "seatrial_http_requests_total{method=\"GET\",route=\"unknown\",status=\"4xx\"} 1",
        "seatrial_queue_jobs_waiting{priority=\"normal\"} 1",
        "seatrial_submissions_total{outcome=\"queued\"} 1",
        "seatrial_workers{fit=\"true\"} 0",
        "seatrial_ledger_up 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    house.ledger.away(true);
    let away = house.get("/metrics").await.text();
    assert!(
        away.contains("seatrial_ledger_up 0") && !away.contains("seatrial_queue_jobs_waiting{"),
        "{away}"
    );
    promtool(&text);
}

#[tokio::test(start_paused = true)]
async fn a_worker_shows_what_it_counts_on_a_page_of_its_own() {
    let house = House::new();
    let (worker, phase) = house.worker("ann");
    let path = house.submit().await;
    house.until(&path, |job| job["state"] == "succeeded").await;
    let router = worker_page(&house);
    let (status, page) = get(&router, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "seatrial_jobs_claimed_total{priority=\"normal\"} 1",
        "seatrial_jobs_settled_total{state=\"succeeded\",reason=\"ok\",blame=\"nobody\"} 1",
        "seatrial_stage_duration_seconds_count{stage=\"run\",end=\"finished\"} 1",
        "seatrial_worker_slots 2",
        "seatrial_build_info{",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    assert!(!page.contains("seatrial_http_"), "{page}");
    promtool(&page);
    assert_eq!(
        get(&router, "/readyz").await,
        (StatusCode::OK, "it takes jobs\n".to_owned())
    );
    assert_eq!(get(&router, "/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    assert_eq!(get(&router, "/v1/jobs").await.0, StatusCode::NOT_FOUND);
    phase.send_replace(Phase::Drain);
    worker.await.unwrap();
    let (status, why) = get(&router, "/readyz").await;
    assert_eq!((status, why.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "it drains\n"));
    assert_eq!(get(&router, "/healthz").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn every_metric_is_in_the_guide_for_operators_and_every_one_there_exists() {
    let house = House::new();
    let (_worker, _phase) = house.worker("ann");
    let path = house.submit().await;
    house.until(&path, |job| job["state"] == "succeeded").await;
    house.get(&format!("{path}/events")).await;
    all_of_it(&house);
    house
        .post_json("/v1/analyses", &[], &json!({"dockerfile": DOCKERFILE}))
        .await;
    // A reader that was dropped is the one thing that does not happen here.
    let page = house.get("/metrics").await.text();
    let mut there = names(&page);
    there.insert("seatrial_streams_dropped_total");
    let told: BTreeSet<&str> = TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("| `seatrial_")?.split('`').next())
        .map(|name| name.split('{').next().unwrap())
        .collect();
    let there: BTreeSet<&str> = there
        .iter()
        .map(|name| name.strip_prefix("seatrial_").unwrap())
        .collect();
    assert_eq!(told, there);
    promtool(&page);
}

#[tokio::test(start_paused = true)]
async fn no_word_of_a_stranger_is_on_a_page() {
    let config = ServerConfig {
        caller: CallerConfig {
            header: Some("x-caller".to_owned()),
            peers: vec!["10.0.0.7".to_owned()],
            operators: Vec::new(),
        },
        ..ServerConfig::default()
    };
    let house = House::with(config, |_, _| {});
    let (_worker, _phase) = house.worker("marker-worker");
    let options = json!({
        "dockerfile": format!("{DOCKERFILE}# marker-text\n"),
        "labels": {"marker-key": "marker\"} 1"},
        "result": "/data/marker-result.json",
    });
    let answer = odd(&house, "POST", "/v1/jobs", options.to_string()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let path = answer.header("location").to_owned();
    let mut over = false;
    for _ in 0..1_000 {
        over = odd(&house, "GET", &path, String::new()).await.json()["finished_at"].is_string();
        if over {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(over, "the job is worked on");
    odd(&house, "GET", "/v1/marker-path?marker-query", String::new()).await;
    odd(&house, "MARKER", "/v1/jobs", String::new()).await;
    let id = path.rsplit('/').next().unwrap();
    all_of_it(&house);
    let api = house.get("/metrics").await.text();
    let (_, worker) = get(&worker_page(&house), "/metrics").await;
    for page in [api, worker] {
        let shown = page.to_lowercase();
        assert!(
            !shown.contains("marker") && !page.contains(id) && !shown.contains("4bf92f35"),
            "{page}"
        );
    }
}

/// A call with odd words wherever a caller may put one.
async fn odd(house: &House, method: &str, path: &str, body: String) -> Answer {
    let headers = [
        ("x-caller", "marker-caller"),
        ("x-correlation-id", "marker-correlation"),
        ("idempotency-key", "marker-key"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("user-agent", "marker-agent"),
        ("content-type", "application/json"),
    ];
    let request = with(request(Method::from_bytes(method.as_bytes()).unwrap(), path), &headers);
    let mut request = request.body(Body::from(body)).unwrap();
    let peer: SocketAddr = "10.0.0.7:4711".parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    house.call(request).await
}
