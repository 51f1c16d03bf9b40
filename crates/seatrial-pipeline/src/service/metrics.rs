//! What a process of the service counts beside its HTTP edge.
//!
//! A label is a word of a closed list of ours: an enum that is printed, never a text that somebody brought.
//! So the number of series is bounded, and no byte of a guest can stand on the page.

mod labels;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use seatrial_core::{
    engine::Swept,
    job::{Blame, Ending, Outcome, Reason, Stage, Token},
    record::{JobRecord, Priority},
};

pub use self::labels::Left;
use self::labels::{
    ByArrival, ByDue, ByDuty, ByEnd, ByFault, ByObject, ByOutcome, ByPriority, ByStage, ByWalls, Plain, Word,
};
pub(crate) use self::labels::{Due, Duty, StageEnd};
use super::worker::executor::Fitness;

/// Upper bounds of the time that stages take, in seconds: from an analysis of bytes to the longest build.
const STAGE_BUCKETS: [f64; 13] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 420.0, 900.0,
];
/// Upper bounds of waits in the queue, in seconds: from a claim at once to the longest wait.
const WAIT_BUCKETS: [f64; 13] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0,
];

/// What is counted; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    claimed: Family<ByPriority, Counter>,
    waited: Family<ByPriority, Histogram>,
    settled: Family<ByOutcome, Counter>,
    left: Family<ByEnd, Counter>,
    failed: Family<ByFault, Counter>,
    stages: Family<ByStage, Histogram>,
    leases_lost: Counter,
    reaped: Family<ByDue, Counter>,
    upkeep_failed: Family<ByDuty, Counter>,
    erased: Counter,
    orphans: Counter,
    batches: Family<ByArrival, Counter>,
    slots: Gauge,
    busy: Gauge,
    fit: Gauge,
    draining: Gauge,
    database: Family<Plain, Gauge<f64, AtomicU64>>,
    walls: Family<ByWalls, Gauge>,
    swept: Family<ByObject, Counter>,
    sweeps_failed: Counter,
}

/// Kinds of objects that a sweep removes.
const OBJECTS: [&str; 3] = ["container", "volume", "image"];

impl Default for Counters {
    /// What can be counted is there from the start, as 0: a rate needs a value before the first event.
    fn default() -> Self {
        let counters = Self {
            claimed: Family::default(),
            waited: Family::new_with_constructor(|| Histogram::new(WAIT_BUCKETS)),
            settled: Family::default(),
            left: Family::default(),
            failed: Family::default(),
            stages: Family::new_with_constructor(|| Histogram::new(STAGE_BUCKETS)),
            leases_lost: Counter::default(),
            reaped: Family::default(),
            upkeep_failed: Family::default(),
            erased: Counter::default(),
            orphans: Counter::default(),
            batches: Family::default(),
            slots: Gauge::default(),
            busy: Gauge::default(),
            fit: Gauge::default(),
            draining: Gauge::default(),
            database: Family::default(),
            walls: Family::default(),
            swept: Family::default(),
            sweeps_failed: Counter::default(),
        };
        for priority in Priority::ALL.map(Word) {
            drop(counters.claimed.get_or_create(&ByPriority { priority }));
            drop(counters.waited.get_or_create(&ByPriority { priority }));
        }
        for end in Left::ALL.map(Word) {
            drop(counters.left.get_or_create(&ByEnd { end }));
        }
        for stage in Stage::ALL.map(Word) {
            let end = Word(StageEnd::Finished);
            drop(counters.stages.get_or_create(&ByStage { stage, end }));
        }
        for due in Due::ALL.map(Word) {
            drop(counters.reaped.get_or_create(&ByDue { due }));
        }
        for duty in [Duty::Reap, Duty::Forget].map(Word) {
            drop(counters.upkeep_failed.get_or_create(&ByDuty { duty }));
        }
        for outcome in [true, false].map(arrival) {
            drop(counters.batches.get_or_create(&outcome));
        }
        for kind in OBJECTS.map(Word) {
            drop(counters.swept.get_or_create(&ByObject { kind }));
        }
        // Which of all endings come is not known; the good one and our commonest fault stand for them.
        drop(counters.settled.get_or_create(&ByOutcome {
            state: Word(Ending::Succeeded),
            reason: Word(Reason::Ok),
            blame: Word(Blame::Nobody),
        }));
        drop(counters.failed.get_or_create(&ByFault {
            reason: Word(Reason::EngineGone),
            blame: Word(Blame::Platform),
        }));
        counters
    }
}

fn arrival(arrived: bool) -> ByArrival {
    ByArrival {
        outcome: Word(if arrived { "sent" } else { "failed" }),
    }
}

impl Metrics {
    /// Adds what every process of the service counts.
    pub fn register(&self, registry: &mut Registry) {
        let counters = &self.0;
        registry.register(
            "seatrial_jobs_settled",
            "Jobs whose end this process wrote, by how they ended, why, and whose doing it was",
            counters.settled.clone(),
        );
        registry.register(
            "seatrial_leases_lost",
            "Leases that ran out while a worker held a job, as far as this process saw it first",
            counters.leases_lost.clone(),
        );
        registry.register(
            "seatrial_upkeep_reaped",
            "Jobs that this process moved because something was due: a lease, the last lease, a wait, a deadline",
            counters.reaped.clone(),
        );
        registry.register(
            "seatrial_upkeep_failures",
            "Rounds of upkeep that did not come to their end",
            counters.upkeep_failed.clone(),
        );
        registry.register(
            "seatrial_upkeep_jobs_erased",
            "Jobs that were kept long enough and are forgotten",
            counters.erased.clone(),
        );
        registry.register(
            "seatrial_upkeep_orphans_erased",
            "Bytes without a job that were erased, counted by the job that they were of",
            counters.orphans.clone(),
        );
        registry.register(
            "seatrial_trace_batches",
            "Batches of spans, by whether the collector took them",
            counters.batches.clone(),
        );
    }

    /// Adds what only a worker counts.
    pub fn register_worker(&self, registry: &mut Registry) {
        let counters = &self.0;
        registry.register(
            "seatrial_jobs_claimed",
            "Jobs that this worker took",
            counters.claimed.clone(),
        );
        registry.register_with_unit(
            "seatrial_job_queue_wait",
            "How long a job waited for its first claim since it might start",
            Unit::Seconds,
            counters.waited.clone(),
        );
        registry.register(
            "seatrial_tries",
            "Tries that are over, by how the job left the worker",
            counters.left.clone(),
        );
        registry.register(
            "seatrial_tries_failed",
            "Tries that a fault of ours ended and that are made again",
            counters.failed.clone(),
        );
        registry.register_with_unit(
            "seatrial_stage_duration",
            "How long stages took, by whether they came to their end or the try was stopped in them",
            Unit::Seconds,
            counters.stages.clone(),
        );
        registry.register(
            "seatrial_worker_slots",
            "Jobs that this worker holds at most",
            counters.slots.clone(),
        );
        registry.register(
            "seatrial_worker_slots_busy",
            "Jobs that this worker holds",
            counters.busy.clone(),
        );
        registry.register(
            "seatrial_worker_fit",
            "Whether this worker could make a try: 1, or 0 when its Engine, walls or database will not do",
            counters.fit.clone(),
        );
        registry.register(
            "seatrial_worker_draining",
            "Whether this worker was asked to go: 1 or 0",
            counters.draining.clone(),
        );
        registry.register_with_unit(
            "seatrial_worker_database_timestamp",
            "When the vulnerability database was made",
            Unit::Seconds,
            counters.database.clone(),
        );
        registry.register(
            "seatrial_worker_walls_info",
            "What the Engine offers for a run: 1, with the kinds as labels",
            counters.walls.clone(),
        );
        registry.register(
            "seatrial_engine_swept",
            "Objects that dead processes had left on the Engine and that were removed",
            counters.swept.clone(),
        );
        registry.register(
            "seatrial_engine_sweep_failures",
            "Looks for such objects that failed",
            counters.sweeps_failed.clone(),
        );
    }

    /// A worker took a job.
    pub(crate) fn claimed(&self, record: &JobRecord, lease: Duration) {
        let labels = ByPriority {
            priority: Word(record.priority),
        };
        self.0.claimed.get_or_create(&labels).inc();
        // The ledger's clock tells when: its lease began then. A later claim follows a try, not a wait.
        let begun = record.lease_until.and_then(|until| until.checked_sub(lease).ok());
        if record.token == Token(1)
            && let Some(begun) = begun
        {
            let waited = begun.duration_since(record.not_before).as_secs_f64();
            self.0.waited.get_or_create(&labels).observe(waited.max(0.0));
        }
    }

    /// This process wrote the end of a job.
    pub(crate) fn settled(&self, outcome: &Outcome) {
        let labels = ByOutcome {
            state: Word(outcome.ending),
            reason: Word(outcome.reason),
            blame: Word(outcome.blame),
        };
        self.0.settled.get_or_create(&labels).inc();
    }

    /// A job left a worker.
    pub(crate) fn left(&self, end: Left) {
        self.0.left.get_or_create(&ByEnd { end: Word(end) }).inc();
    }

    /// A fault of ours ended a try, and the job waits for another.
    pub(crate) fn failed(&self, fault: &Outcome) {
        let labels = ByFault {
            reason: Word(fault.reason),
            blame: Word(fault.blame),
        };
        self.0.failed.get_or_create(&labels).inc();
    }

    /// A stage is over.
    pub(crate) fn stage(&self, stage: Stage, end: StageEnd, took: Duration) {
        let labels = ByStage {
            stage: Word(stage),
            end: Word(end),
        };
        self.0.stages.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The reaper moved a job.
    pub(crate) fn reaped(&self, record: &JobRecord) {
        let due = Due::of(record);
        self.0.reaped.get_or_create(&ByDue { due: Word(due) }).inc();
        if matches!(due, Due::Lease | Due::LastLease) {
            self.0.leases_lost.inc();
        }
        if let Some(outcome) = record.outcome() {
            self.settled(outcome);
        }
    }

    pub(crate) fn upkeep_failed(&self, duty: Duty) {
        self.0.upkeep_failed.get_or_create(&ByDuty { duty: Word(duty) }).inc();
    }

    pub(crate) fn erased(&self) {
        self.0.erased.inc();
    }

    pub(crate) fn orphan_erased(&self) {
        self.0.orphans.inc();
    }

    /// A batch of spans was sent to the collector, or was not.
    pub fn traced(&self, arrived: bool) {
        self.0.batches.get_or_create(&arrival(arrived)).inc();
    }

    /// What a worker is.
    pub(crate) fn worker(&self, slots: usize, busy: usize, draining: bool) {
        let counters = &self.0;
        counters.slots.set(i64::try_from(slots).unwrap_or(i64::MAX));
        counters.busy.set(i64::try_from(busy).unwrap_or(i64::MAX));
        counters.draining.set(i64::from(draining));
    }

    /// What a worker's Engine and database are.
    pub(crate) fn fitness(&self, fitness: &Fitness) {
        let counters = &self.0;
        counters.fit.set(i64::from(fitness.unfit.is_none()));
        counters.database.clear();
        if let Some(made) = fitness.database_updated_at {
            let at = made.as_duration().as_secs_f64();
            counters.database.get_or_create(&Plain).set(at);
        }
        counters.walls.clear();
        if let Some(walls) = &fitness.walls {
            let labels = ByWalls {
                runtime: Word(kind_of(&walls.runtime)),
                user_namespace: Word(walls.user_namespace),
                cgroup: Word(match walls.cgroup.as_str() {
                    "1" => "1",
                    "2" => "2",
                    _ => "other",
                }),
            };
            counters.walls.get_or_create(&labels).set(1);
        }
    }

    /// A look for what dead processes left on the Engine is over; `None` when it failed.
    pub fn swept(&self, swept: Option<Swept>) {
        let Some(swept) = swept else {
            self.0.sweeps_failed.inc();
            return;
        };
        for (kind, number) in OBJECTS.into_iter().zip([swept.containers, swept.volumes, swept.images]) {
            let number = u64::try_from(number).unwrap_or(u64::MAX);
            self.0
                .swept
                .get_or_create(&ByObject { kind: Word(kind) })
                .inc_by(number);
        }
    }
}

/// A runtime may have any name; its kind is one of a few.
fn kind_of(runtime: &str) -> &'static str {
    let holds = |part: &str| runtime.contains(part);
    match () {
        () if holds("kata") => "kata",
        () if holds("runsc") || holds("gvisor") => "gvisor",
        () if holds("crun") => "crun",
        () if holds("runc") => "runc",
        () => "other",
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use prometheus_client::encoding::prometheus_text;
    use seatrial_core::walls::Walls;

    use super::*;

    fn page(metrics: &Metrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        metrics.register_worker(&mut registry);
        let mut page = String::new();
        prometheus_text::encode(&mut page, &registry).unwrap();
        page
    }

    #[test]
    fn words_of_an_outcome_do_not_become_labels() {
        let metrics = Metrics::default();
        metrics.settled(&Outcome::failed(Reason::ExitCode, "unmistakable-marker").with_remedy("unmistakable-marker"));
        metrics.failed(&Outcome::errored(Reason::RegistryGone, "unmistakable-marker"));
        let page = page(&metrics);
        assert!(
            page.contains("seatrial_jobs_settled_total{state=\"failed\",reason=\"exit_code\",blame=\"guest\"} 1"),
            "{page}"
        );
        assert!(!page.contains("unmistakable-marker"), "{page}");
    }

    #[test]
    fn names_of_an_engine_do_not_become_labels() {
        let metrics = Metrics::default();
        let walls = Walls {
            runtime: "my-own\"} 7\nrunsc-custom".to_owned(),
            cgroup: "unmistakable-marker".to_owned(),
            ..Walls::default()
        };
        metrics.fitness(&Fitness {
            walls: Some(walls),
            ..Fitness::default()
        });
        let text = page(&metrics);
        let line = "seatrial_worker_walls_info{runtime=\"gvisor\",user_namespace=\"false\",cgroup=\"other\"} 1";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("seatrial_worker_database_timestamp_seconds"), "{text}");
        metrics.fitness(&Fitness {
            database_updated_at: Some(Timestamp::from_second(1_700_000_000).unwrap()),
            ..Fitness::default()
        });
        let text = page(&metrics);
        assert!(!text.contains("walls_info{"), "{text}");
        assert!(
            text.contains("\nseatrial_worker_database_timestamp_seconds 1700000000"),
            "{text}"
        );
    }
}
