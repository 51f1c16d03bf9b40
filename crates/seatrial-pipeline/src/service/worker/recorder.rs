//! Writes down what happens in a try: stages and hints into the ledger, output and what was asked of the network into
//! the vault.
//!
//! A try never waits for it. News are gathered and written a few times a second; hints are dropped when too
//! many wait, and a ledger that is away only delays them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use seatrial_core::{
    job::Stage,
    log::BoundedLog,
    progress::{Progress, Watch},
    record::{Batch, JobRecord, LogRef, Move, NewsBody},
    trace::{Fact, Span, SpanKind, TraceParent},
    vault::{BlobKind, BlobRef, VaultError},
};
use tokio::{sync::Notify, time::Instant};

use super::{Service, asked::Asked};
use crate::{
    case::Case,
    service::{ServiceError, metrics::StageEnd, telemetry::Telemetry},
};

/// News that may wait to be written; hints beyond it are dropped.
const WAITING: usize = 256;
/// Between two writes.
const PACE: Duration = Duration::from_millis(200);
/// Parts of one stage's output, until it is over and they become one. Each waits longer than the one before.
const PARTS: usize = 64;
/// A part of this size does not wait.
const PART: usize = 32 << 10;
/// Longest wait for the last news of a try that is over.
pub(super) const LAST_NEWS: Duration = Duration::from_secs(2);

/// Takes progress of one try.
pub(super) struct Recorder {
    waiting: Mutex<Waiting>,
    /// What is in the vault, and the ledger does not know of it yet.
    untold: Mutex<Untold>,
    asked: Asked,
    /// Something worth writing at once.
    urgent: Notify,
    /// The try is over.
    over: Notify,
    telemetry: Telemetry,
    /// The span of the try.
    place: Option<TraceParent>,
    open: Mutex<BTreeMap<Stage, Open>>,
}

/// News that were not written yet.
#[derive(Default)]
struct Waiting {
    /// News of the try before them.
    before: u64,
    bodies: Vec<NewsBody>,
}

#[derive(Clone, Default)]
struct Untold {
    logs: BTreeMap<Stage, LogRef>,
    asked: Option<BlobRef>,
}

/// A stage that goes on.
struct Open {
    begun: Instant,
    span: Option<Box<dyn Span>>,
}

impl Watch for Recorder {
    fn tell(&self, news: Progress) {
        let (body, hint) = match news {
            Progress::StageStarted { stage } => {
                tracing::info!(%stage, "stage started");
                self.begin(stage);
                (NewsBody::StageStarted { stage }, false)
            }
            Progress::StageFinished { stage, millis } => {
                self.end(stage, StageEnd::Finished);
                tracing::info!(%stage, millis, "stage finished");
                (NewsBody::StageFinished { stage, millis }, false)
            }
            Progress::BuildStep { step, of, text } => (NewsBody::BuildStep { step, of, text }, true),
            Progress::Note { text } => (NewsBody::Note { text }, true),
            // Output goes to the vault; the ledger says how much there is.
            Progress::LogLine { .. } => return,
        };
        let mut waiting = self.lock();
        if hint && waiting.bodies.len() >= WAITING {
            return;
        }
        waiting.bodies.push(body);
        drop(waiting);
        self.urgent.notify_one();
    }
}

impl Recorder {
    /// `place` is the try's in its trace.
    pub(super) fn new(telemetry: Telemetry, place: Option<TraceParent>, record: &JobRecord, case: &Case) -> Self {
        Self {
            waiting: Mutex::default(),
            untold: Mutex::default(),
            asked: Asked::new(record, case),
            urgent: Notify::new(),
            over: Notify::new(),
            telemetry,
            place,
            open: Mutex::default(),
        }
    }

    fn begin(&self, stage: Stage) {
        let span = self
            .telemetry
            .begin(|| format!("stage {stage}"), SpanKind::Internal, self.place);
        let begun = Instant::now();
        self.open_stages().insert(stage, Open { begun, span });
    }

    fn end(&self, stage: Stage, end: StageEnd) -> Option<Duration> {
        let Open { begun, mut span } = self.open_stages().remove(&stage)?;
        let took = begun.elapsed();
        self.telemetry.metrics.stage(stage, end, took);
        if let Some(span) = &mut span {
            span.note("job.stage", Fact::Word(&stage.to_string()));
            span.note("stage.end", Fact::Word(&end.to_string()));
        }
        Some(took)
    }

    /// The try is over: what goes on still was stopped with it, and [`Recorder::write`] returns after what it is at.
    pub(super) fn close(&self) {
        self.over.notify_one();
        let open: Vec<Stage> = self.open_stages().keys().copied().collect();
        for stage in open {
            if let Some(took) = self.end(stage, StageEnd::Stopped) {
                let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                tracing::info!(%stage, millis, "stage stopped");
            }
        }
    }

    fn open_stages(&self) -> MutexGuard<'_, BTreeMap<Stage, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes until the end. A refusal is not looked at: the lease's own beat notices it.
    pub(super) async fn write(&self, service: &Service, record: &JobRecord, case: &Case) {
        let mut output = Output::default();
        loop {
            let pause = async {
                let _ = tokio::time::timeout(PACE * 5, self.urgent.notified()).await;
                tokio::time::sleep(PACE).await;
            };
            tokio::select! {
                biased;
                () = self.over.notified() => return,
                () = pause => {}
            }
            let put = async {
                output.put(service, record, case, self).await?;
                self.put_asked(service, record, case, false).await
            };
            if let Err(error) = put.await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "output was not put into the vault; tried again"
                );
            }
            self.flush(service, record).await;
        }
    }

    async fn put_asked(
        &self,
        service: &Service,
        record: &JobRecord,
        case: &Case,
        now: bool,
    ) -> Result<(), ServiceError> {
        if let Some(blob) = self.asked.put(service, record, case, now).await? {
            self.untold().asked = Some(blob);
        }
        Ok(())
    }

    /// The job goes to another worker: what happened and what was asked of the network until now is told, if vault and
    /// ledger take it soon.
    pub(super) async fn hand_over(&self, service: &Service, record: &JobRecord, case: &Case) {
        let put = self.put_asked(service, record, case, true);
        if let Ok(Err(error)) = tokio::time::timeout(LAST_NEWS, put).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what the try asked of the network last was not kept"
            );
        }
        let _ = tokio::time::timeout(LAST_NEWS, self.flush(service, record)).await;
    }

    /// What waits, to be told now. What is told again later counts once.
    pub(super) fn rest(&self, service: &Service, record: &JobRecord) -> Batch {
        let waiting = self.lock();
        let sealed = |body| sealed(service, record, body);
        Batch {
            before: waiting.before,
            bodies: waiting.bodies.iter().map(sealed).collect(),
        }
    }

    /// Writes what waits; what could not be written waits on, also when this is dropped half way.
    pub(super) async fn flush(&self, service: &Service, record: &JobRecord) {
        let news = self.rest(service, record);
        let untold = self.untold().clone();
        if news.bodies.is_empty() && untold.logs.is_empty() && untold.asked.is_none() {
            return;
        }
        let (before, count) = (news.before, news.bodies.len());
        let tell = Move::Tell {
            token: record.token,
            news,
            logs: untold.logs.clone(),
            asked: untold.asked.clone(),
        };
        match service.ledger.apply(record.id, tell).await {
            Ok(answer) => {
                self.told(before, count, &untold);
                if let (Ok(_), Some(asked)) = (answer, untold.asked) {
                    self.asked.told(service, record, asked).await;
                }
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "news were not written; tried again"
            ),
        }
    }

    /// So many news behind those, and these blobs, wait no more.
    fn told(&self, before: u64, count: usize, told: &Untold) {
        let mut waiting = self.lock();
        // News are only ever added behind these, and these are written by one at a time.
        if waiting.before == before {
            waiting.before += count as u64;
            waiting.bodies.drain(..count);
        }
        drop(waiting);
        let mut untold = self.untold();
        untold.logs.retain(|stage, log| told.logs.get(stage) != Some(log));
        untold.asked.take_if(|blob| Some(&*blob) == told.asked.as_ref());
    }
}

/// The words of hints may quote the guest. One that cannot be sealed is told without them.
fn sealed(service: &Service, record: &JobRecord, body: &NewsBody) -> NewsBody {
    let seal = |text: &str| {
        service
            .vault
            .seal_text(record.id, &record.key, text)
            .unwrap_or_default()
    };
    match body {
        NewsBody::BuildStep { step, of, text } => NewsBody::BuildStep {
            step: *step,
            of: *of,
            text: seal(text),
        },
        NewsBody::Note { text } => NewsBody::Note { text: seal(text) },
        other => other.clone(),
    }
}

/// Output in parts while a stage runs: the first half of what is kept only grows.
#[derive(Default)]
struct Output {
    stages: BTreeMap<Stage, Put>,
}

/// What was put of one stage.
#[derive(Default)]
struct Put {
    log: LogRef,
    bytes: usize,
    last: Option<Instant>,
}

impl Output {
    /// Puts what is new; the recorder tells of it.
    async fn put(
        &mut self,
        service: &Service,
        record: &JobRecord,
        case: &Case,
        recorder: &Recorder,
    ) -> Result<(), VaultError> {
        let logs: Vec<(Stage, Arc<BoundedLog>)> = case
            .evidence()
            .logs
            .iter()
            .map(|(stage, log)| (*stage, log.clone()))
            .collect();
        for (stage, log) in logs {
            let known = self.stages.entry(stage).or_default();
            let fresh = log.head_after(known.bytes);
            let parts = known.log.parts.len();
            let patience = PACE * (1 + u32::try_from(parts).unwrap_or(u32::MAX) / 4);
            let due = known.last.is_none_or(|last| last.elapsed() >= patience) || fresh.len() >= PART;
            if fresh.is_empty() || !due || parts >= PARTS {
                continue;
            }
            let part = service.vault.put(record.id, &record.key, BlobKind::Log, &fresh).await?;
            known.bytes += fresh.len();
            known.last = Some(Instant::now());
            known.log.parts.push(part);
            known.log.total = log.total();
            recorder.untold().logs.insert(stage, known.log.clone());
        }
        Ok(())
    }
}

/// Each stage's whole output, to be put as one part each.
pub(super) struct WholeOutput(Vec<(Stage, u64, Vec<u8>)>);

impl WholeOutput {
    pub(super) fn of(case: &Case) -> Self {
        let all = case.evidence();
        let whole = all
            .logs
            .iter()
            .map(|(stage, log)| (*stage, log.total(), log.contents()));
        Self(whole.collect())
    }

    /// What to put; a stage without output has none.
    pub(super) fn parts(&self) -> impl Iterator<Item = (BlobKind, &[u8])> {
        let some = self.0.iter().filter(|(.., contents)| !contents.is_empty());
        some.map(|(.., contents)| (BlobKind::Log, &**contents))
    }

    /// What the record says, once the parts are kept as these blobs.
    pub(super) fn kept(&self, blobs: Vec<BlobRef>) -> BTreeMap<Stage, LogRef> {
        let mut blobs = blobs.into_iter();
        let mut log = |(stage, total, contents): &(Stage, u64, Vec<u8>)| {
            let log = LogRef {
                parts: if contents.is_empty() { None } else { blobs.next() }
                    .into_iter()
                    .collect(),
                complete: true,
                total: *total,
            };
            (*stage, log)
        };
        self.0.iter().map(&mut log).collect()
    }
}
