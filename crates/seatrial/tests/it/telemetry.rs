//! What processes of the service show to those who watch them: a worker's port, and traces at a collector.

use std::{collections::BTreeMap, net::TcpListener, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value as Fact,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message as _;
use seatrial_store::testing::Certificates;
use serde_json::json;

use crate::{
    fake::{Answer, Fake},
    house::{House, Process, until},
};

const TEXT: &str = "FROM debian:bookworm-slim\nRUN echo unmistakable-marker\nCMD [\"true\"]\n";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const SOON: Duration = Duration::from_secs(20);

/// Where a worker says that it shows how it is.
fn port(worker: &Process) -> String {
    let mut base = None;
    until("the worker says where it listens", SOON, || {
        let lines = worker.lines();
        let line = lines
            .lines()
            .find_map(|line| line.strip_prefix("Seatrial's worker shows "));
        base = line.and_then(|url| url.strip_suffix("/metrics")).map(str::to_owned);
        base.is_some()
    });
    base.unwrap()
}

/// The value of a series on a page.
fn counted(page: &str, series: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{page}"))
        .parse()
        .unwrap()
}

#[test]
fn a_workers_port_shows_what_it_does_and_that_it_drains() {
    let mut house = House::new();
    house.set("SEATRIAL__WORKER__LISTEN", "127.0.0.1:0");
    house.set("SEATRIAL__WORKER__SLOTS", "2");
    let (_api, base) = house.serve("api", &["--no-worker"]);
    let mut worker = house.noop("worker", &["--noop-takes", "1s", "--noop-stages"]);
    let shown = port(&worker);
    assert_eq!(house.get(&format!("{shown}/healthz")), (200, "ok\n".to_owned()));
    until("the worker takes jobs", SOON, || {
        house.get(&format!("{shown}/readyz")) == (200, "it takes jobs\n".to_owned())
    });
    let ids = [1, 2, 3].map(|number| house.submit(&base, &format!("{TEXT}# {number}\n")));
    for id in &ids {
        assert_eq!(house.ended(&base, id, SOON)["state"], "succeeded");
    }
    let mut page = String::new();
    let settled = "seatrial_jobs_settled_total{state=\"succeeded\",reason=\"ok\",blame=\"nobody\"}";
    until("all jobs are counted", SOON, || {
        page = house.get(&format!("{shown}/metrics")).1;
        counted(&page, "seatrial_tries_total{end=\"settled\"}") >= 3.0
    });
    for (series, value) in [
        ("seatrial_jobs_claimed_total{priority=\"normal\"}", 3.0),
        (settled, 3.0),
        (
            "seatrial_stage_duration_seconds_count{stage=\"run\",end=\"finished\"}",
            3.0,
        ),
        ("seatrial_job_queue_wait_seconds_count{priority=\"normal\"}", 3.0),
        ("seatrial_worker_slots", 2.0),
        ("seatrial_worker_fit", 1.0),
    ] {
        assert_eq!(counted(&page, series), value, "{series}\n{page}");
    }
    let took = counted(
        &page,
        "seatrial_stage_duration_seconds_sum{stage=\"run\",end=\"finished\"}",
    );
    assert!((0.3..10.0).contains(&took), "three times a fifth of a second: {took}");
    assert!(
        !page.contains("unmistakable") && !ids.iter().any(|id| page.contains(id)),
        "{page}"
    );

    let last = house.submit(&base, TEXT);
    until("a job runs", SOON, || house.job(&base, &last)["state"] == "running");
    worker.signal("TERM");
    until("it says that it drains", SOON, || {
        // It may be over in between: then the port is closed.
        house.try_get(&format!("{shown}/readyz")) == Some((503, "it drains\n".to_owned()))
    });
    assert_eq!(worker.end(SOON), Some(0), "{}", worker.lines());
    assert_eq!(house.ended(&base, &last, SOON)["state"], "succeeded");
    assert_eq!(house.try_get(&format!("{shown}/healthz")), None);
}

#[test]
fn a_worker_listens_on_nothing_unless_it_is_told_to() {
    let house = House::new();
    let (_api, base) = house.serve("api", &["--no-worker"]);
    let worker = house.noop("worker", &[]);
    let id = house.submit(&base, TEXT);
    assert_eq!(house.ended(&base, &id, SOON)["state"], "succeeded");
    assert_eq!(worker.listens(), Vec::<String>::new());
    // The look can fail: the API does listen.
    assert_eq!(_api.listens().len(), 1);
}

#[test]
fn an_api_with_a_worker_shows_both_on_its_own_port_and_opens_no_other() {
    let mut house = House::new();
    house.set("SEATRIAL__WORKER__LISTEN", "127.0.0.1:0");
    let (serve, base) = house.serve("serve", &["--executor", "noop"]);
    let id = house.submit(&base, TEXT);
    house.ended(&base, &id, SOON);
    let page = house.get(&format!("{base}/metrics")).1;
    assert_eq!(counted(&page, "seatrial_jobs_claimed_total{priority=\"normal\"}"), 1.0);
    assert_eq!(counted(&page, "seatrial_submissions_total{outcome=\"queued\"}"), 1.0);
    assert_eq!(serve.listens().len(), 1);
}

/// A collector that remembers what it was told.
fn collector() -> Fake {
    Fake::start(|_, _| Answer::new(200, "application/x-protobuf", Vec::new()))
}

/// Spans that a collector was told, and the facts about those who told them.
fn told(collector: &Fake) -> (Vec<Span>, Vec<BTreeMap<String, String>>) {
    let (mut spans, mut processes) = (Vec::new(), Vec::new());
    for request in collector.seen() {
        assert_eq!(request.line, "POST /v1/traces");
        assert_eq!(request.header("content-type"), "application/x-protobuf");
        assert!(matches!(
            request.header("authorization"),
            "" | "Basic c29tZW9uZTpodW50ZXIy"
        ));
        let told = ExportTraceServiceRequest::decode(&request.body[..]).unwrap();
        for of_process in told.resource_spans {
            processes.push(facts(&of_process.resource.unwrap().attributes));
            spans.extend(of_process.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans));
        }
    }
    (spans, processes)
}

fn facts(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> BTreeMap<String, String> {
    attributes
        .iter()
        .map(|fact| {
            let value = match fact.value.clone().and_then(|value| value.value) {
                Some(Fact::StringValue(text)) => text,
                Some(Fact::IntValue(number)) => number.to_string(),
                other => format!("{other:?}"),
            };
            (fact.key.clone(), value)
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Submits within a trace; the job's id.
fn submit_traced(base: &str, traceparent: &str) -> String {
    let answer = reqwest::blocking::Client::new()
        .post(format!("{base}/v1/jobs"))
        .header("content-type", "application/json")
        .header("x-correlation-id", "c-1")
        .header("traceparent", traceparent)
        .body(json!({"dockerfile": TEXT, "labels": {"odd": "unmistakable-label"}}).to_string())
        .send()
        .unwrap();
    assert_eq!(answer.status(), 202);
    let job: serde_json::Value = serde_json::from_str(&answer.text().unwrap()).unwrap();
    job["id"].as_str().unwrap().to_owned()
}

#[test]
fn one_trace_goes_from_the_caller_through_the_queue_to_the_stages() {
    let mut house = House::new();
    let collector = collector();
    let with_password = collector.url.replace("://", "://someone:hunter2@");
    house.set("SEATRIAL__TELEMETRY__OTLP__ENDPOINT", &with_password);
    // API and worker apart: the trace goes through the ledger.
    let (mut api, base) = house.serve("api", &["--no-worker"]);
    let mut worker = house.noop("worker", &["--noop-stages"]);
    let id = submit_traced(&base, &format!("00-{TRACE}-{PARENT}-01"));
    house.ended(&base, &id, SOON);
    for process in [&mut worker, &mut api] {
        process.signal("TERM");
        assert_eq!(process.end(SOON), Some(0), "{}", process.lines());
    }
    let (spans, processes) = told(&collector);
    let ours: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
    let one = |name: &str| {
        let found: Vec<&&Span> = ours.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name}: {ours:#?}");
        *found[0]
    };
    let request = one("POST /v1/jobs");
    assert_eq!(hex(&request.parent_span_id), PARENT);
    assert_eq!(request.kind, SpanKind::Server as i32);
    let of_request = facts(&request.attributes);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/jobs"),
        ("http.response.status_code", "202"),
        ("correlation.id", "c-1"),
        ("job.id", &id),
    ] {
        assert_eq!(of_request[key], value, "{of_request:?}");
    }
    let job = one("job");
    assert_eq!(job.parent_span_id, request.span_id);
    assert_eq!(job.kind, SpanKind::Consumer as i32);
    let of_job = facts(&job.attributes);
    for (key, value) in [
        ("job.id", id.as_str()),
        ("job.attempt", "1"),
        ("job.state", "succeeded"),
        ("job.reason", "ok"),
        ("job.blame", "nobody"),
        ("job.end", "settled"),
    ] {
        assert_eq!(of_job[key], value, "{of_job:?}");
    }
    for stage in ["resolve", "build", "scan", "run", "collect"] {
        let span = one(&format!("stage {stage}"));
        assert_eq!(span.parent_span_id, job.span_id, "{stage}");
        assert!(span.start_time_unix_nano >= job.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= job.end_time_unix_nano);
    }
    assert_eq!(ours.len(), 7, "{ours:#?}");
    // Calls without a trace began their own.
    assert!(
        spans
            .iter()
            .any(|span| span.name == "GET /v1/jobs/{id}" && hex(&span.trace_id) != TRACE)
    );
    for process in &processes {
        assert_eq!(process["service.name"], "seatrial");
        assert_eq!(process["service.version"], env!("CARGO_PKG_VERSION"));
    }
    let mut instances: Vec<&str> = processes
        .iter()
        .map(|process| process["service.instance.id"].as_str())
        .collect();
    instances.sort_unstable();
    instances.dedup();
    assert_eq!(instances.len(), 2, "{instances:?}");
    assert_ne!(collector.seen()[0].header("authorization"), "");
    let bytes: Vec<u8> = collector.seen().into_iter().flat_map(|request| request.body).collect();
    assert!(!bytes.windows(12).any(|part| part == b"unmistakable"));
    // The worker's lines know the trace too.
    let line = worker
        .lines()
        .lines()
        .find(|line| line.contains("job settled"))
        .unwrap()
        .to_owned();
    assert!(line.contains(&format!("\"trace_id\":\"{TRACE}\"")), "{line}");
}

#[test]
fn a_trace_that_its_caller_does_not_record_is_not_told() {
    let mut house = House::new();
    let collector = collector();
    house.set("SEATRIAL__TELEMETRY__OTLP__ENDPOINT", &collector.url);
    house.set("SEATRIAL__TELEMETRY__OTLP__SAMPLE", "0");
    let (mut serve, base) = house.serve("serve", &["--executor", "noop"]);
    let quiet = submit_traced(&base, &format!("00-{TRACE}-{PARENT}-00"));
    house.ended(&base, &quiet, SOON);
    let recorded = submit_traced(&base, &format!("00-{}-{PARENT}-01", "a".repeat(32)));
    house.ended(&base, &recorded, SOON);
    serve.signal("TERM");
    assert_eq!(serve.end(SOON), Some(0), "{}", serve.lines());
    let (spans, _) = told(&collector);
    let mut names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["POST /v1/jobs", "job"]);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == "a".repeat(32)));
}

/// Jobs end and the process goes, whatever the collector does; it is said once.
fn goes_on_without(collector: &str) {
    let mut house = House::new();
    house.set("SEATRIAL__TELEMETRY__OTLP__ENDPOINT", collector);
    house.set("SEATRIAL__TELEMETRY__OTLP__TIMEOUT", "1s");
    let (mut serve, base) = house.serve("serve", &["--executor", "noop"]);
    until("several batches failed", Duration::from_secs(60), || {
        let id = house.submit(&base, TEXT);
        assert_eq!(house.ended(&base, &id, SOON)["state"], "succeeded");
        batches(&house, &base, "failed") >= 3.0
    });
    serve.signal("TERM");
    let asked = std::time::Instant::now();
    assert_eq!(serve.end(SOON), Some(0), "{}", serve.lines());
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    let said = serve
        .lines()
        .lines()
        .filter(|line| line.contains("the collector takes no spans"))
        .count();
    assert_eq!(said, 1, "{}", serve.lines());
    assert!(!serve.lines().contains("hunter2"), "{}", serve.lines());
}

/// How many batches of spans came to this end.
fn batches(house: &House, base: &str, outcome: &str) -> f64 {
    let page = house.get(&format!("{base}/metrics")).1;
    counted(&page, &format!("seatrial_trace_batches_total{{outcome=\"{outcome}\"}}"))
}

#[test]
fn a_collector_behind_tls_must_have_a_certificate_that_is_vouched_for() {
    let mut house = House::new();
    let certificates = Certificates::make(&house.folder.path().join("certificates")).unwrap();
    let collector = Fake::start_tls(&certificates, |_, _| {
        Answer::new(200, "application/x-protobuf", Vec::new())
    });
    house.set("SEATRIAL__TELEMETRY__OTLP__ENDPOINT", &collector.url);
    let (strange, base) = house.serve("strange", &["--no-worker"]);
    until("a batch was not sent", SOON, || batches(&house, &base, "failed") >= 1.0);
    assert_eq!(batches(&house, &base, "sent"), 0.0);
    assert_eq!(collector.lines(), [""; 0]);
    drop(strange);
    house.set("SEATRIAL__TELEMETRY__OTLP__TLS_CA", certificates.ca.to_str().unwrap());
    let (_vouched, base) = house.serve("vouched", &["--no-worker"]);
    until("a batch was sent", SOON, || batches(&house, &base, "sent") >= 1.0);
    let (spans, _) = told(&collector);
    assert!(spans.iter().any(|span| span.name == "GET /metrics"), "{spans:#?}");
}

#[test]
fn a_collector_that_is_not_there_stops_nothing() {
    // A port that nobody has: it was given back.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    goes_on_without(&format!("http://someone:hunter2@{address}"));
}

#[test]
fn a_collector_that_hangs_stops_nothing() {
    // Connections are made by the kernel; nobody takes them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    goes_on_without(&format!("http://{}", listener.local_addr().unwrap()));
}
