//! What an API process counts. Labels come from closed lists: never from a request's own words.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, prometheus_text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};
use seatrial_core::{ledger::Stats, record::Priority};
use seatrial_pipeline::service::deliver::End;

use crate::wire::WorkerView;

/// Media type of the metrics page.
pub(crate) const MEDIA_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Upper bounds of request times, in seconds.
const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// A page of metrics, in Prometheus' text format; cheap to clone.
#[derive(Clone, Debug)]
pub struct Page(Arc<Mutex<Registry>>);

impl Default for Page {
    fn default() -> Self {
        let page = Self(Arc::default());
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        page.register(|registry| registry.register("seatrial_build", "What runs here", build));
        page
    }
}

impl Page {
    /// Adds metrics of a part of this process.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The page's text.
    ///
    /// # Errors
    /// A metric cannot be written.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

/// Counters of a process.
#[derive(Clone)]
pub struct Metrics {
    page: Page,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram>,
    bytes: Family<RouteLabels, Counter>,
    in_flight: Gauge,
    submissions: Family<SubmissionLabels, Counter>,
    analyses: Family<VerdictLabels, Counter>,
    streams: Family<StreamLabels, Gauge>,
    dropped: Family<StreamLabels, Counter>,
    waiting: Family<PriorityLabels, Gauge>,
    oldest: Family<PriorityLabels, Gauge<f64, AtomicU64>>,
    running: Gauge,
    workers: Family<FitLabels, Gauge>,
    ledger_up: Gauge,
    webhooks: Family<DeliveryLabels, Counter>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct SubmissionLabels {
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StreamLabels {
    kind: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct PriorityLabels {
    priority: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct FitLabels {
    fit: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct DeliveryLabels {
    outcome: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            page: Page::default(),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            bytes: Family::default(),
            in_flight: Gauge::default(),
            submissions: Family::default(),
            analyses: Family::default(),
            streams: Family::default(),
            dropped: Family::default(),
            waiting: Family::default(),
            oldest: Family::default(),
            running: Gauge::default(),
            workers: Family::default(),
            ledger_up: Gauge::default(),
            webhooks: Family::default(),
        };
        metrics.page.register(|registry| metrics.add_to(registry));
        metrics
    }

    fn add_to(&self, registry: &mut Registry) {
        registry.register(
            "seatrial_http_requests",
            "Answered requests, by route and class of status",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "seatrial_http_request_duration",
            "Time from the head of a request to the last byte of its answer, streams left out",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register_with_unit(
            "seatrial_http_response",
            "Bytes of answers",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "seatrial_http_requests_in_flight",
            "Requests whose answer is not yet sent whole",
            self.in_flight.clone(),
        );
        registry.register(
            "seatrial_submissions",
            "Submissions that this process took, by what became of them at once",
            self.submissions.clone(),
        );
        registry.register(
            "seatrial_analyses",
            "Texts that were judged without a job",
            self.analyses.clone(),
        );
        registry.register(
            "seatrial_streams_open",
            "Event streams and followed logs that are open",
            self.streams.clone(),
        );
        registry.register(
            "seatrial_streams_dropped",
            "Streams that were ended because their reader did not read",
            self.dropped.clone(),
        );
        registry.register(
            "seatrial_queue_jobs_waiting",
            "Jobs that wait, as the ledger says",
            self.waiting.clone(),
        );
        registry.register_with_unit(
            "seatrial_queue_oldest_wait",
            "How long the first job of a queue has waited, as the ledger says",
            Unit::Seconds,
            self.oldest.clone(),
        );
        registry.register(
            "seatrial_jobs_running",
            "Jobs that workers hold, as the ledger says",
            self.running.clone(),
        );
        registry.register(
            "seatrial_workers",
            "Workers that live, by whether they take jobs",
            self.workers.clone(),
        );
        registry.register(
            "seatrial_ledger_up",
            "Whether the ledger answered when this page was made",
            self.ledger_up.clone(),
        );
        registry.register(
            "seatrial_webhook_deliveries",
            "Tries of this process to send word of a job's end, by what became of the delivery",
            self.webhooks.clone(),
        );
    }

    /// Adds metrics of another part of this process.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        self.page.register(add);
    }

    /// The page, in Prometheus' text format.
    ///
    /// # Errors
    /// A metric that was registered elsewhere cannot be written.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        self.page.text()
    }

    pub(crate) fn begin(&self) {
        self.in_flight.inc();
    }

    /// `took` is `None` for a stream, whose length says nothing.
    pub(crate) fn end(&self, method: &Method, route: &str, status: StatusCode, sent: u64, took: Option<Duration>) {
        self.in_flight.dec();
        let of_route = RouteLabels {
            method: known(method),
            route: route.to_owned(),
        };
        if let Some(took) = took {
            self.seconds.get_or_create(&of_route).observe(took.as_secs_f64());
        }
        self.bytes.get_or_create(&of_route).inc_by(sent);
        self.requests
            .get_or_create(&RequestLabels {
                method: of_route.method,
                route: of_route.route,
                status: class(status),
            })
            .inc();
    }

    pub(crate) fn submitted(&self, outcome: &'static str) {
        self.submissions.get_or_create(&SubmissionLabels { outcome }).inc();
    }

    pub(crate) fn analysed(&self, pass: bool) {
        let verdict = if pass { "pass" } else { "deny" };
        self.analyses.get_or_create(&VerdictLabels { verdict }).inc();
    }

    /// Counts a stream while the guard lives.
    pub(crate) fn stream(&self, kind: &'static str) -> OpenStream {
        let gauge = self.streams.get_or_create(&StreamLabels { kind }).clone();
        gauge.inc();
        OpenStream(gauge)
    }

    pub(crate) fn stream_dropped(&self, kind: &'static str) {
        self.dropped.get_or_create(&StreamLabels { kind }).inc();
    }

    pub(crate) fn delivery(&self, end: End) {
        let outcome = end.word();
        self.webhooks.get_or_create(&DeliveryLabels { outcome }).inc();
    }

    /// What the ledger said when the page was asked for; `None` when it did not answer.
    pub(crate) fn observe(&self, seen: Option<(&Stats, &[WorkerView])>) {
        self.ledger_up.set(i64::from(seen.is_some()));
        let Some((stats, workers)) = seen else {
            // Old values would look like fresh ones.
            self.waiting.clear();
            self.oldest.clear();
            self.workers.clear();
            self.running.set(0);
            return;
        };
        for priority in Priority::ALL {
            let labels = PriorityLabels {
                priority: priority.to_string(),
            };
            let waiting = stats.waiting.get(&priority).copied().unwrap_or(0);
            self.waiting
                .get_or_create(&labels)
                .set(i64::try_from(waiting).unwrap_or(i64::MAX));
            self.oldest
                .get_or_create(&labels)
                .set(stats.oldest_s.get(&priority).copied().unwrap_or(0.0));
        }
        self.running.set(i64::try_from(stats.running).unwrap_or(i64::MAX));
        for (fit, word) in [(true, "true"), (false, "false")] {
            let number = workers.iter().filter(|worker| worker.fit == fit).count();
            self.workers
                .get_or_create(&FitLabels { fit: word })
                .set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
}

/// Counts a stream while it lives.
pub(crate) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
