//! What a worker tells of its work: counts, spans, and whether it takes jobs.

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{Arc, Mutex},
    time::Duration,
};

use prometheus_client::{encoding::prometheus_text, registry::Registry};
use seatrial_core::{
    engine::{EngineError, RunExit},
    job::{Ending, Reason, Stage},
    ledger::Ledger as _,
    trace::{Fact, Span, SpanKind, TraceParent, Tracer},
};
use seatrial_pipeline::service::{
    end,
    submit::{Request, Submitted},
    worker::Phase,
};

use crate::service::{House, is_running};

/// A span that is over.
#[derive(Clone, Debug)]
struct Told {
    name: String,
    kind: SpanKind,
    parent: Option<TraceParent>,
    place: TraceParent,
    facts: BTreeMap<&'static str, String>,
    failed: bool,
}

#[derive(Clone, Default)]
struct Spans(Arc<Mutex<(u64, Vec<Told>)>>);

struct Going {
    told: Told,
    into: Spans,
}

impl Tracer for Spans {
    fn begin(&self, name: String, kind: SpanKind, parent: Option<TraceParent>) -> Box<dyn Span> {
        let mut all = self.0.lock().unwrap();
        all.0 += 1;
        let place = TraceParent {
            trace_id: parent.map_or(NonZero::<u128>::MAX, |parent| parent.trace_id),
            span_id: NonZero::new(all.0).unwrap(),
            flags: 1,
        };
        let facts = BTreeMap::new();
        Box::new(Going {
            told: Told {
                name,
                kind,
                parent,
                place,
                facts,
                failed: false,
            },
            into: self.clone(),
        })
    }
}

impl Span for Going {
    fn place(&self) -> Option<TraceParent> {
        Some(self.told.place)
    }

    fn note(&mut self, key: &'static str, fact: Fact<'_>) {
        let value = match fact {
            Fact::Word(word) => word.to_owned(),
            Fact::Number(number) => number.to_string(),
        };
        self.told.facts.insert(key, value);
    }

    fn fail(&mut self) {
        self.told.failed = true;
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.into.0.lock().unwrap().1.push(self.told.clone());
    }
}

impl Spans {
    fn named(&self, name: &str) -> Vec<Told> {
        let all = self.0.lock().unwrap();
        all.1.iter().filter(|told| told.name == name).cloned().collect()
    }
}

impl House {
    /// The value of a series; 0 when it is not there.
    fn counted(&self, series: &str) -> f64 {
        let page = self.page();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    fn page(&self) -> String {
        let mut registry = Registry::default();
        self.service.telemetry.metrics.register(&mut registry);
        self.service.telemetry.metrics.register_worker(&mut registry);
        let mut page = String::new();
        prometheus_text::encode(&mut page, &registry).unwrap();
        page
    }

    fn spans(&mut self) -> Spans {
        let spans = Spans::default();
        self.service.telemetry.tracer = Some(Arc::new(spans.clone()));
        spans
    }
}

/// Looks until it is so; time passes meanwhile, and not for ever.
async fn so(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it never was so");
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_jobs_is_counted_once() {
    let house = House::new();
    let (_ann, _phase) = house.worker("ann");
    let good = house.submit().await;
    house.end(good).await;
    house.fake.script().exit = Some(RunExit::Code(3));
    let bad = house.submit().await;
    house.end(bad).await;
    let gone = EngineError::Unreachable("gone".into());
    house.fake.script().exit = None;
    house.fake.script().build_errors.push_back(gone);
    let again = house.submit().await;
    assert_eq!(house.end(again).await, (Ending::Succeeded, Reason::Ok));
    for (series, value) in [
        ("seatrial_jobs_claimed_total{priority=\"normal\"}", 4.0),
        ("seatrial_job_queue_wait_seconds_count{priority=\"normal\"}", 3.0),
        (
            "seatrial_jobs_settled_total{state=\"succeeded\",reason=\"ok\",blame=\"nobody\"}",
            2.0,
        ),
        (
            "seatrial_jobs_settled_total{state=\"failed\",reason=\"exit_code\",blame=\"guest\"}",
            1.0,
        ),
        ("seatrial_tries_total{end=\"settled\"}", 3.0),
        ("seatrial_tries_total{end=\"retried\"}", 1.0),
        ("seatrial_tries_total{end=\"lost\"}", 0.0),
        (
            "seatrial_tries_failed_total{reason=\"engine_gone\",blame=\"platform\"}",
            1.0,
        ),
        (
            "seatrial_stage_duration_seconds_count{stage=\"build\",end=\"finished\"}",
            3.0,
        ),
        (
            "seatrial_stage_duration_seconds_count{stage=\"build\",end=\"stopped\"}",
            1.0,
        ),
        (
            "seatrial_stage_duration_seconds_count{stage=\"run\",end=\"stopped\"}",
            1.0,
        ),
        (
            "seatrial_stage_duration_seconds_count{stage=\"collect\",end=\"finished\"}",
            2.0,
        ),
        ("seatrial_worker_slots", 2.0),
        ("seatrial_worker_fit", 1.0),
        ("seatrial_leases_lost_total", 0.0),
    ] {
        assert_eq!(house.counted(series), value, "{series}\n{}", house.page());
    }
    assert!(house.counted("seatrial_worker_database_timestamp_seconds") > 0.0);
    assert!(house.page().contains("seatrial_worker_walls_info{"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_worker_is_counted_by_the_reaper() {
    let house = House::new();
    house.fake.script().build_hangs = true;
    let _upkeep = house.upkeep();
    let (ann, _phase) = house.worker("ann");
    let id = house.submit().await;
    house.until(id, is_running).await;
    ann.abort();
    house.until(id, |record| record.losses == 1).await;
    assert_eq!(house.counted("seatrial_leases_lost_total"), 1.0);
    assert_eq!(house.counted("seatrial_upkeep_reaped_total{due=\"lease\"}"), 1.0);
    assert_eq!(house.counted("seatrial_upkeep_reaped_total{due=\"deadline\"}"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_and_ends_is_counted_by_whoever_ended_it() {
    let house = House::new();
    let cancelled = house.submit().await;
    end::cancel(&house.service, cancelled).await.unwrap();
    end::cancel(&house.service, cancelled).await.unwrap();
    let line = "seatrial_jobs_settled_total{state=\"cancelled\",reason=\"cancelled\",blame=\"nobody\"}";
    assert_eq!(house.counted(line), 1.0);
    let _upkeep = house.upkeep();
    let late = house.submit().await;
    house.end(late).await;
    assert_eq!(house.counted("seatrial_upkeep_reaped_total{due=\"wait\"}"), 1.0);
    let line = "seatrial_jobs_settled_total{state=\"expired\",reason=\"queue_time\",blame=\"platform\"}";
    assert_eq!(house.counted(line), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_fences_itself_counts_it_and_says_that_the_ledger_is_away() {
    let house = House::new();
    house.fake.script().build_hangs = true;
    let (_ann, _phase) = house.worker("ann");
    let id = house.submit().await;
    house.until(id, is_running).await;
    assert_eq!(house.service.telemetry.standing.why_not(), None);
    house.ledger.away(true);
    so(async || house.counted("seatrial_tries_total{end=\"fenced\"}") > 0.0).await;
    assert_eq!(house.counted("seatrial_tries_total{end=\"fenced\"}"), 1.0);
    let why_not = house.service.telemetry.standing.why_not();
    assert_eq!(why_not.as_deref(), Some("the ledger gives no answer"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_says_why_it_takes_no_jobs() {
    let house = House::new();
    let standing = house.service.telemetry.standing.clone();
    assert_eq!(standing.why_not().as_deref(), Some("it starts"));
    house.fake.script().build_hangs = true;
    let (ann, phase) = house.worker("ann");
    let id = house.submit().await;
    house.until(id, is_running).await;
    assert_eq!(standing.why_not(), None);
    assert_eq!(house.counted("seatrial_worker_slots_busy"), 1.0);
    phase.send_replace(Phase::Drain);
    so(async || standing.why_not().is_some()).await;
    assert_eq!(standing.why_not().as_deref(), Some("it drains"));
    assert!(!ann.is_finished(), "its job goes on");
    assert_eq!(house.counted("seatrial_worker_draining"), 1.0);
    ann.await.unwrap();
    assert_eq!(house.counted("seatrial_tries_total{end=\"handed_back\"}"), 1.0);

    let unfit = House::new();
    unfit.fake.script().no_database = true;
    let (_bob, _phase) = unfit.worker("bob");
    so(async || !unfit.ledger.workers().await.unwrap().is_empty()).await;
    let why_not = unfit.service.telemetry.standing.why_not().unwrap();
    assert!(why_not.contains("database"), "{why_not}");
    assert_eq!(unfit.counted("seatrial_worker_fit"), 0.0);
}

/// What people read in the list of workers is what their jobs will get.
#[tokio::test(start_paused = true)]
async fn a_worker_names_the_runtime_that_its_runs_will_have() {
    let mut workers_on = Vec::new();
    for (runtimes, named) in [(vec![], "runc"), (vec!["runsc".to_owned()], "runsc")] {
        let house = House::new();
        house.fake.script().runtimes = runtimes;
        workers_on.push(house.worker("ann"));
        so(async || !house.ledger.workers().await.unwrap().is_empty()).await;
        let workers = house.ledger.workers().await.unwrap();
        assert_eq!(workers[0].walls.as_ref().unwrap().runtime, named);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_goes_on_through_the_queue_into_the_stages() {
    let mut house = House::new();
    let spans = house.spans();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = Request {
        traceparent: Some(parent.to_owned()),
        correlation_id: "c-1".to_owned(),
        ..Request::default()
    };
    let Submitted::New(record) = house.try_submit(request).await else {
        panic!("not new")
    };
    let (ann, phase) = house.worker("ann");
    house.end(record.id).await;
    phase.send_replace(Phase::Drain);
    ann.await.unwrap();
    let [job] = &spans.named("job")[..] else {
        panic!("not one job: {spans:?}", spans = spans.0)
    };
    assert_eq!(job.parent.unwrap().to_string(), parent);
    assert_eq!((job.kind, job.failed), (SpanKind::Consumer, false));
    let facts = BTreeMap::from([
        ("job.id", record.id.to_string()),
        ("correlation.id", "c-1".to_owned()),
        ("job.attempt", "1".to_owned()),
        ("job.end", "settled".to_owned()),
        ("job.state", "succeeded".to_owned()),
        ("job.reason", "ok".to_owned()),
        ("job.blame", "nobody".to_owned()),
    ]);
    assert_eq!(job.facts, facts);
    for stage in Stage::ALL {
        let [told] = &spans.named(&format!("stage {stage}"))[..] else {
            panic!("not one {stage}: {spans:?}", spans = spans.0)
        };
        assert_eq!(told.parent, Some(job.place));
        assert_eq!(told.facts["stage.end"], "finished");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_was_stopped_ends_its_span_with_the_try() {
    let mut house = House::new();
    let spans = house.spans();
    house
        .fake
        .script()
        .build_errors
        .push_back(EngineError::Unreachable("gone".into()));
    let (ann, phase) = house.worker("ann");
    let id = house.submit().await;
    house.end(id).await;
    phase.send_replace(Phase::Drain);
    ann.await.unwrap();
    let jobs = spans.named("job");
    assert_eq!(jobs.iter().map(|job| job.failed).collect::<Vec<_>>(), [true, false]);
    assert_eq!(jobs[0].facts["job.end"], "retried");
    let builds = spans.named("stage build");
    assert_eq!(builds[0].facts["stage.end"], "stopped");
    assert_eq!(builds[0].parent, Some(jobs[0].place));
    assert_eq!(builds[1].facts["stage.end"], "finished");
}
