//! Writes down what happens in a try: stages and hints into the ledger, output into the vault.
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
    record::{JobRecord, LogRef, Move, NewsBody},
    vault::{BlobKind, BlobRef, VaultError},
};
use tokio::{sync::Notify, time::Instant};

use super::Service;
use crate::case::Case;

/// News that may wait to be written; hints beyond it are dropped.
const WAITING: usize = 256;
/// Between two writes.
const PACE: Duration = Duration::from_millis(200);
/// Parts of one stage's output, until it is over and they become one. Each waits longer than the one before.
const PARTS: usize = 64;
/// A part of this size does not wait.
const PART: usize = 32 << 10;

/// Takes progress of one try.
#[derive(Default)]
pub(super) struct Recorder {
    waiting: Mutex<Vec<NewsBody>>,
    /// Something worth writing at once.
    urgent: Notify,
}

impl Watch for Recorder {
    fn tell(&self, news: Progress) {
        let (body, hint) = match news {
            Progress::StageStarted { stage } => {
                tracing::info!(%stage, "stage started");
                (NewsBody::StageStarted { stage }, false)
            }
            Progress::StageFinished { stage, millis } => {
                tracing::info!(%stage, millis, "stage finished");
                (NewsBody::StageFinished { stage, millis }, false)
            }
            Progress::BuildStep { step, of, text } => (NewsBody::BuildStep { step, of, text }, true),
            Progress::Note { text } => (NewsBody::Note { text }, true),
            // Output goes to the vault; the ledger says how much there is.
            Progress::LogLine { .. } => return,
        };
        let mut waiting = self.lock();
        if hint && waiting.len() >= WAITING {
            return;
        }
        waiting.push(body);
        drop(waiting);
        self.urgent.notify_one();
    }
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Vec<NewsBody>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes until it is dropped. A refusal is not looked at: the lease's own beat notices it.
    pub(super) async fn write(&self, service: &Service, record: &JobRecord, case: &Case) {
        let mut output = Output::default();
        loop {
            let _ = tokio::time::timeout(PACE * 5, self.urgent.notified()).await;
            tokio::time::sleep(PACE).await;
            let logs = match output.put(service, record, case).await {
                Ok(logs) => logs,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "output was not put into the vault; tried again"
                    );
                    BTreeMap::new()
                }
            };
            self.flush(service, record, logs).await;
        }
    }

    /// Writes what waits; what could not be written waits on.
    pub(super) async fn flush(&self, service: &Service, record: &JobRecord, logs: BTreeMap<Stage, LogRef>) {
        let bodies = std::mem::take(&mut *self.lock());
        if bodies.is_empty() && logs.is_empty() {
            return;
        }
        let mut news: Vec<NewsBody> = bodies.iter().filter_map(|body| sealed(service, record, body)).collect();
        news.extend(logs.iter().map(|(stage, log)| NewsBody::Log {
            stage: *stage,
            total: log.total,
        }));
        let tell = Move::Tell {
            token: record.token,
            news,
            logs,
        };
        if let Err(error) = service.ledger.apply(record.id, tell).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "news were not written; tried again"
            );
            let mut waiting = self.lock();
            let since = std::mem::replace(&mut *waiting, bodies);
            waiting.extend(since);
        }
    }
}

/// The words of hints may quote the guest. One that cannot be sealed is left out.
fn sealed(service: &Service, record: &JobRecord, body: &NewsBody) -> Option<NewsBody> {
    let seal = |text: &str| service.vault.seal_text(record.id, &record.key, text).ok();
    Some(match body {
        NewsBody::BuildStep { step, of, text } => NewsBody::BuildStep {
            step: *step,
            of: *of,
            text: seal(text)?,
        },
        NewsBody::Note { text } => NewsBody::Note { text: seal(text)? },
        other => other.clone(),
    })
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
    /// Puts what is new, and returns the logs that have changed.
    async fn put(
        &mut self,
        service: &Service,
        record: &JobRecord,
        case: &Case,
    ) -> Result<BTreeMap<Stage, LogRef>, VaultError> {
        let logs: Vec<(Stage, Arc<BoundedLog>)> = case
            .evidence()
            .logs
            .iter()
            .map(|(stage, log)| (*stage, log.clone()))
            .collect();
        let mut changed = BTreeMap::new();
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
            changed.insert(stage, known.log.clone());
        }
        Ok(changed)
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
