//! The service on a ledger and a vault in memory and an Engine that does what a script says. Time is tokio's
//! and paused, so leases and back-offs pass at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use seatrial_core::{
    engine::EngineError,
    id::JobId,
    job::{Ending, JobState, Reason},
    ledger::Ledger,
    record::{Budgets, JobRecord, NewsBody, Priority},
    testing::Fake,
    vault::{BlobKind, VaultError},
};
use seatrial_pipeline::{
    case::{Settings, Submission},
    query::stored_view,
    room::Room,
    service::{
        QueueLimits, Service, end, read,
        submit::{Request, Submitted, submit, submit_and_tell},
        telemetry::Telemetry,
        upkeep,
        worker::{
            self, Phase, WorkerSettings,
            executor::{Executor, Noop, Walker},
        },
    },
};
use seatrial_policy::Policy;
use seatrial_store::{
    ledger::memory::MemoryLedger,
    vault::{BlobName, BlobStore, Sealed, SealedVault, Ttl, Wanted, memory::Memory, ring::KeyRing},
};
use tokio::{sync::watch, task::JoinHandle};

use crate::away::Away;

pub(crate) const DOCKERFILE: &str = "FROM debian:bookworm-slim\nRUN echo unmistakable-marker\nCMD [\"true\"]\n";
const LEASE: Duration = Duration::from_secs(30);

/// A vault that takes its time to give bytes, and takes none while it is away.
struct Difficult {
    inner: Memory,
    read_takes: Duration,
    away: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl BlobStore for Difficult {
    async fn write_all(&self, job: JobId, blobs: Vec<Sealed>) -> Result<(), VaultError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(VaultError::Unreachable {
                action: "write a blob",
                source: "it is away".into(),
            });
        }
        self.inner.write_all(job, blobs).await
    }

    async fn read_all(&self, job: JobId, blobs: &[Wanted]) -> Result<Vec<Option<Vec<u8>>>, VaultError> {
        tokio::time::sleep(self.read_takes).await;
        self.inner.read_all(job, blobs).await
    }

    async fn delete(&self, job: JobId, name: BlobName) -> Result<(), VaultError> {
        self.inner.delete(job, name).await
    }

    async fn erase(&self, job: JobId) -> Result<(), VaultError> {
        self.inner.erase(job).await
    }

    async fn sweep(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, VaultError> {
        self.inner.sweep(age, limit).await
    }

    async fn ping(&self) -> Result<(), VaultError> {
        self.inner.ping().await
    }
}

pub(crate) struct House {
    pub(crate) service: Service,
    pub(crate) ledger: Arc<Away>,
    pub(crate) fake: Fake,
    bytes: Memory,
    ring: Arc<KeyRing>,
}

/// Of each worker.
pub(crate) const SLOTS: usize = 2;

impl House {
    pub(crate) fn new() -> Self {
        let ledger = Arc::new(Away::new(MemoryLedger::new(Budgets::default())));
        let settings = Settings {
            policy: Policy::default(),
            fixture_database: false,
            runtime: None,
            attempts: 2,
            sbom: false,
            config_checks: false,
        };
        let bytes = Memory::new(Ttl::default());
        let ring = Arc::new(KeyRing::generate().unwrap());
        let service = Service {
            ledger: ledger.clone(),
            vault: Arc::new(SealedVault::new(bytes.clone(), ring.clone())),
            dispatch: None,
            settings: Arc::new(settings),
            queue: QueueLimits::default(),
            telemetry: Telemetry::default(),
        };
        let fake = crate::walk::fake();
        Self {
            service,
            ledger,
            fake,
            bytes,
            ring,
        }
    }

    pub(crate) async fn submit(&self) -> JobId {
        match self.try_submit(Request::default()).await {
            Submitted::New(record) => record.id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn try_submit(&self, request: Request) -> Submitted {
        let submission = Submission {
            dockerfile: DOCKERFILE.as_bytes().to_vec(),
            ..Submission::default()
        };
        submit(&self.service, submission, request).await.unwrap()
    }

    /// A worker, and what asks it to go.
    pub(crate) fn worker(&self, name: &str) -> (JoinHandle<()>, watch::Sender<Phase>) {
        let walker = Walker {
            engine: Arc::new(self.fake.clone()),
            scanner: Arc::new(self.fake.clone()),
            settings: self.service.settings.clone(),
            room: Room::default(),
            checks: Arc::new(seatrial_pipeline::admission::NoChecks),
        };
        self.works(name, Arc::new(walker))
    }

    pub(crate) fn works(&self, name: &str, executor: Arc<dyn Executor>) -> (JoinHandle<()>, watch::Sender<Phase>) {
        let (phase, asked) = watch::channel(Phase::Work);
        let settings = WorkerSettings {
            name: name.to_owned(),
            host: "here".to_owned(),
            slots: SLOTS,
            lease: LEASE,
            drain: Duration::from_secs(5),
            back_off: Duration::from_secs(1),
        };
        let service = self.service.clone();
        let task = tokio::spawn(async move { worker::run(&service, executor, &settings, asked).await });
        (task, phase)
    }

    pub(crate) fn upkeep(&self) -> JoinHandle<()> {
        let service = self.service.clone();
        tokio::spawn(async move { upkeep::reap_always(&service).await })
    }

    pub(crate) async fn record(&self, id: JobId) -> JobRecord {
        self.ledger.get(id).await.unwrap().unwrap()
    }

    /// The job once it is so; time passes meanwhile.
    pub(crate) async fn until(&self, id: JobId, is_so: impl Fn(&JobRecord) -> bool) -> JobRecord {
        for _ in 0..100_000 {
            if let Ok(Some(record)) = self.ledger.get(id).await
                && is_so(&record)
            {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it never was so: {:?}", self.record(id).await);
    }

    pub(crate) async fn end(&self, id: JobId) -> (Ending, Reason) {
        let record = self.until(id, |record| record.outcome().is_some()).await;
        let outcome = record.outcome().unwrap();
        (outcome.ending, outcome.reason)
    }

    pub(crate) async fn events(&self, id: JobId) -> Vec<NewsBody> {
        let record = self.record(id).await;
        let news = read::news(&self.service, &record, 0, 1000).await.unwrap();
        news.into_iter().map(|news| news.body).collect()
    }
}

pub(crate) fn is_running(record: &JobRecord) -> bool {
    matches!(record.state, JobState::Running { .. })
}

#[tokio::test(start_paused = true)]
async fn a_submitted_job_is_worked_to_its_end_and_its_result_can_be_read() {
    let house = House::new();
    let _worker = house.worker("ann");
    let id = house.submit().await;
    assert_eq!(house.end(id).await, (Ending::Succeeded, Reason::Ok));
    let record = house.record(id).await;
    let view = read::view(&house.service, &record).await.unwrap();
    assert_eq!(view.result.unwrap().value["perf"], 0.99);
    let bytes = read::product(&house.service, &record, BlobKind::Result).await.unwrap();
    assert_eq!(bytes, br#"{"perf": 0.99}"#);
    let events = house.events(id).await;
    assert!(matches!(events.first(), Some(NewsBody::Queued { attempt: 1 })));
    assert!(matches!(
        events.last(),
        Some(NewsBody::Settled {
            state: Ending::Succeeded,
            ..
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn no_byte_of_the_dockerfile_is_in_the_ledger() {
    let house = House::new();
    let _worker = house.worker("ann");
    let id = house.submit().await;
    house.end(id).await;
    let record = serde_json::to_string(&house.record(id).await).unwrap();
    let news = serde_json::to_string(&house.ledger.news(id, 0, 1000).await.unwrap()).unwrap();
    assert!(!record.contains("unmistakable"), "{record}");
    assert!(!news.contains("unmistakable"), "{news}");
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_worker_dies_is_tried_again_by_another() {
    let house = House::new();
    house.fake.script().build_hangs = true;
    let _upkeep = house.upkeep();
    let (ann, _phase) = house.worker("ann");
    let id = house.submit().await;
    house.until(id, is_running).await;
    ann.abort();
    house.fake.script().build_hangs = false;
    let _bob = house.worker("bob");
    assert_eq!(house.end(id).await, (Ending::Succeeded, Reason::Ok));
    let record = house.record(id).await;
    assert_eq!((record.losses, record.failures, record.token.0), (1, 0, 2));
    assert!(
        house
            .events(id)
            .await
            .contains(&NewsBody::Lost { worker: "ann".into() })
    );
}

#[tokio::test(start_paused = true)]
async fn a_running_job_is_cancelled_within_three_seconds() {
    let house = House::new();
    house.fake.script().build_hangs = true;
    let _worker = house.worker("ann");
    let id = house.submit().await;
    house.until(id, is_running).await;
    let asked = tokio::time::Instant::now();
    house
        .ledger
        .apply(id, seatrial_core::record::Move::Cancel)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(house.end(id).await, (Ending::Cancelled, Reason::Cancelled));
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_draining_worker_hands_back_what_it_cannot_finish_and_uses_up_no_attempt() {
    let house = House::new();
    house.fake.script().build_hangs = true;
    let (ann, phase) = house.worker("ann");
    let id = house.submit().await;
    house.until(id, is_running).await;
    phase.send_replace(Phase::Drain);
    ann.await.unwrap();
    let record = house.record(id).await;
    assert_eq!(record.state, JobState::Queued { attempt: 1 });
    assert_eq!((record.losses, record.failures), (0, 0));
    assert!(house.ledger.workers().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_draining_worker_finishes_what_it_can_and_takes_nothing_new() {
    let house = House::new();
    house.fake.script().build_takes = Duration::from_secs(3);
    let (ann, phase) = house.worker("ann");
    let id = house.submit().await;
    house.until(id, is_running).await;
    phase.send_replace(Phase::Drain);
    let late = house.submit().await;
    ann.await.unwrap();
    assert_eq!(house.end(id).await.0, Ending::Succeeded);
    assert_eq!(house.record(late).await.state, JobState::Queued { attempt: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_beat_ends_its_try_before_the_lease_is_over() {
    let house = House::new();
    house.fake.script().build_hangs = true;
    let (_ann, phase) = house.worker("ann");
    let id = house.submit().await;
    house.until(id, is_running).await;
    let since = tokio::time::Instant::now();
    house.ledger.away(true);
    // The try's containers are gone when the worker can leave: it has nothing any more.
    while house.fake.script().asked.iter().all(|asked| !asked.starts_with("tidy")) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        since.elapsed() <= LEASE * 3 / 5 + Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );
    house.ledger.away(false);
    drop(phase);
}

#[tokio::test(start_paused = true)]
async fn a_result_outlives_a_ledger_that_is_away_when_the_job_ends() {
    let house = House::new();
    house.ledger.away_at_the_end(true);
    let _ann = house.worker("ann");
    let id = house.submit().await;
    house.until(id, is_running).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(is_running(&house.record(id).await));
    house.ledger.away_at_the_end(false);
    assert_eq!(house.end(id).await, (Ending::Succeeded, Reason::Ok));
    assert_eq!(house.record(id).await.token.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_ours_is_tried_again_and_ends_the_job_when_it_stays() {
    let house = House::new();
    for _ in 0..2 {
        let gone = EngineError::Unreachable("gone".into());
        house.fake.script().build_errors.push_back(gone);
    }
    let _ann = house.worker("ann");
    let id = house.submit().await;
    assert_eq!(house.end(id).await, (Ending::Errored, Reason::EngineGone));
    let record = house.record(id).await;
    assert_eq!((record.failures, record.losses), (2, 0));
    let view = read::view(&house.service, &record).await.unwrap();
    assert_eq!(view.attempt, 2);
    assert!(view.message.unwrap().contains("unreachable"));
}

#[tokio::test(start_paused = true)]
async fn a_guests_fault_is_not_tried_again() {
    let house = House::new();
    house.fake.script().exit = Some(seatrial_core::engine::RunExit::Code(3));
    let _ann = house.worker("ann");
    let id = house.submit().await;
    assert_eq!(house.end(id).await, (Ending::Failed, Reason::ExitCode));
    assert_eq!(house.record(id).await.token.0, 1);
}

#[tokio::test(start_paused = true)]
async fn an_unfit_worker_takes_nothing_and_says_why() {
    let house = House::new();
    house.fake.script().no_database = true;
    let _ann = house.worker("ann");
    let id = house.submit().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!is_running(&house.record(id).await));
    let workers = house.ledger.workers().await.unwrap();
    assert!(workers[0].unfit.as_ref().unwrap().contains("database"), "{workers:?}");
    house.fake.script().no_database = false;
    assert_eq!(house.end(id).await, (Ending::Succeeded, Reason::Ok));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_nobody_takes_expires() {
    let house = House::new();
    let _upkeep = house.upkeep();
    let id = house.submit().await;
    assert_eq!(house.end(id).await, (Ending::Expired, Reason::QueueTime));
}

#[tokio::test(start_paused = true)]
async fn asking_again_with_the_same_key_gives_the_same_job_and_leaves_no_bytes_behind() {
    let house = House::new();
    let request = Request {
        idempotency_key: Some("k".to_owned()),
        ..Request::default()
    };
    let Submitted::New(first) = house.try_submit(request.clone()).await else {
        panic!("not new")
    };
    let Submitted::Existing(second) = house.try_submit(request.clone()).await else {
        panic!("not the same")
    };
    assert_eq!(first.id, second.id);
    let other = Request {
        priority: Priority::High,
        ..request
    };
    assert!(matches!(house.try_submit(other).await, Submitted::KeyReused));
    let kept = house.service.vault.sweep(Duration::ZERO, 10).await.unwrap();
    assert_eq!(kept, [first.id]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_leaves_no_bytes_behind() {
    let mut house = House::new();
    house.service.queue.max_waiting = 1;
    house.submit().await;
    assert!(matches!(
        house.try_submit(Request::default()).await,
        Submitted::Full { waiting: 1 }
    ));
    let kept = house.service.vault.sweep(Duration::ZERO, 10).await.unwrap();
    assert_eq!(kept.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_bytes_no_worker_finds_is_tried_for_minutes_and_never_built() {
    let house = House::new();
    let id = house.submit().await;
    let record = house.record(id).await;
    house
        .service
        .vault
        .delete(id, &record.blobs[&BlobKind::Dockerfile])
        .await
        .unwrap();
    let _ann = house.worker("ann");
    let begun = tokio::time::Instant::now();
    assert_eq!(house.end(id).await, (Ending::Errored, Reason::VaultFailed));
    assert!(begun.elapsed() > Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(!house.fake.was_asked("build"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_rests_after_a_fault_of_ours_before_it_takes_the_next_job() {
    let house = House::new();
    house.fake.script().build_errors = (0..2).map(|_| EngineError::Unreachable("gone".into())).collect();
    let jobs = [house.submit().await, house.submit().await];
    let (_ann, _phase) = house.worker("ann");
    let begun = tokio::time::Instant::now();
    for id in jobs {
        assert_eq!(house.end(id).await.0, Ending::Succeeded);
    }
    // Both slots met a broken Engine at once; the next claim came after a rest, and found it well.
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    let failures = house.record(jobs[0]).await.failures + house.record(jobs[1]).await.failures;
    assert_eq!(failures, 2);
}

#[tokio::test(start_paused = true)]
async fn a_submission_that_takes_longer_than_a_lease_to_load_loses_no_lease() {
    let mut house = House::new();
    let slow = Difficult {
        inner: house.bytes.clone(),
        read_takes: LEASE * 2,
        away: Arc::default(),
    };
    house.service.vault = Arc::new(SealedVault::new(slow, house.ring.clone()));
    let id = house.submit().await;
    let _upkeep = house.upkeep();
    let (_ann, _phase) = house.worker("ann");
    assert_eq!(house.end(id).await.0, Ending::Succeeded);
    assert_eq!(house.record(id).await.losses, 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_wish_to_go_is_granted_at_once_though_the_vault_is_away() {
    let mut house = House::new();
    let away = Arc::new(AtomicBool::new(false));
    let store = Difficult {
        inner: house.bytes.clone(),
        read_takes: Duration::ZERO,
        away: away.clone(),
    };
    house.service.vault = Arc::new(SealedVault::new(store, house.ring.clone()));
    let id = house.submit().await;
    away.store(true, Ordering::Relaxed);
    let (ann, phase) = house.worker("ann");
    house
        .until(id, |record| record.stage == Some(seatrial_core::job::Stage::Collect))
        .await;
    phase.send_replace(Phase::Drain);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = tokio::time::Instant::now();
    phase.send_replace(Phase::Leave);
    ann.await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn old_jobs_and_bytes_without_a_job_are_forgotten() {
    let house = House::new();
    let _ann = house.worker("ann");
    let id = house.submit().await;
    house.end(id).await;
    let orphan = JobId::fresh();
    let key = house.service.vault.new_key(orphan).unwrap();
    house
        .service
        .vault
        .put(orphan, &key, BlobKind::Dockerfile, b"x")
        .await
        .unwrap();
    let mut service = house.service.clone();
    service.queue.keep_jobs = Duration::from_secs(60);
    tokio::time::sleep(Duration::from_secs(61)).await;
    house.bytes.age(Duration::from_secs(3 * 3600));
    upkeep::forget(&service).await.unwrap();
    assert_eq!(house.ledger.get(id).await.unwrap(), None);
    assert_eq!(house.service.vault.sweep(Duration::ZERO, 10).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn old_jobs_are_forgotten_however_many_there_are_and_however_many_cannot_be() {
    let house = House::new();
    let mut jobs = Vec::new();
    for n in 0..450 {
        let id = house.submit().await;
        end::cancel(&house.service, id).await.unwrap();
        if n < 200 {
            house.ledger.damage(id);
        } else {
            jobs.push(id);
        }
    }
    let mut service = house.service.clone();
    service.queue.keep_jobs = Duration::from_secs(60);
    tokio::time::sleep(Duration::from_secs(61)).await;
    let young = house.submit().await;
    upkeep::forget(&service).await.unwrap();
    for id in jobs {
        assert_eq!(house.ledger.get(id).await.unwrap(), None);
    }
    assert!(house.ledger.get(young).await.unwrap().is_some());
    assert_eq!(house.service.vault.sweep(Duration::ZERO, 10).await.unwrap(), [young]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_over_at_once_needs_no_beat_and_one_that_lasts_has_them() {
    let house = House::new();
    let _ann = house.works("ann", Arc::new(Noop::default()));
    let id = house.submit().await;
    house.end(id).await;
    assert_eq!(house.ledger.beats(), 0);

    let house = House::new();
    let takes = Duration::from_secs(5);
    let noop = Noop {
        takes,
        ..Noop::default()
    };
    let _ann = house.works("ann", Arc::new(noop));
    let id = house.submit().await;
    house.end(id).await;
    assert!(house.ledger.beats() >= 4, "{}", house.ledger.beats());
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_a_submission_is_what_can_be_read_of_it() {
    let house = House::new();
    let submission = Submission {
        dockerfile: DOCKERFILE.as_bytes().to_vec(),
        ..Submission::default()
    };
    let told = submit_and_tell(&house.service, submission, Request::default()).await;
    let (Submitted::New(record), Some(said)) = told.unwrap() else {
        panic!("not new")
    };
    let read = read::view(&house.service, &record).await.unwrap();
    let told = stored_view(&record, said, Some(0));
    assert_eq!(serde_json::to_value(read).unwrap(), serde_json::to_value(told).unwrap());
}
