//! One job in the hands of a worker: beats for its lease, ends it in time, settles it.
//!
//! # Liveness
//! Two phases. While the try runs, the lease is fenced by ourselves: without a beat for 3/5 of it the try is
//! ended, before anybody else may claim the job. When the try is over, its containers are gone; from then on a
//! late write harms nobody, so the result is offered until it is taken or refused.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use seatrial_core::{
    id::JobId,
    job::{Blame, Outcome, Reason},
    record::{JobRecord, LogRef, Move, Refusal},
    vault::{BlobKind, BlobRef},
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout},
};

use super::{
    Phase, Service, WorkerSettings,
    executor::Executor,
    recorder::{Recorder, WholeOutput},
};
use crate::{
    admission,
    case::Case,
    fault::{Stop, sentence},
    query,
    service::{ServiceError, submit},
    worker::{late, succeeded},
};

/// Longest wait for the removal of what a try had started.
const TIDY: Duration = Duration::from_secs(10);
/// How long a result is offered to a ledger that is away.
const OFFER: Duration = Duration::from_secs(10 * 60);
/// Between two beats at most: a wish for the job's end is seen with the next one.
const BEAT: Duration = Duration::from_secs(1);

/// A claimed job and what it needs.
pub(super) struct Trial {
    pub(super) service: Service,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) settings: WorkerSettings,
    pub(super) record: JobRecord,
    /// When the claim was sent: the lease is counted from then.
    pub(super) claimed: Instant,
    pub(super) phase: watch::Receiver<Phase>,
}

/// How a try ended.
enum End {
    /// By itself.
    Done(Result<(), Stop>),
    /// Somebody asked for it.
    Cancelled,
    /// Its deadline is over.
    Late,
    /// The worker goes.
    HandBack,
    /// It is not ours any more: nothing is written.
    Lost,
}

enum Turn {
    Done(Result<(), Stop>),
    Beat,
    Late,
    Phase,
}

impl Trial {
    /// Works on the job until it is settled, handed back or lost.
    pub(super) async fn run(self) -> JobId {
        let id = self.record.id;
        tracing::info!(worker = %self.settings.name, losses = self.record.losses, failures = self.record.failures, "job claimed");
        let case = match self.case().await {
            Ok(case) => Arc::new(case),
            Err(error) => {
                self.give_up(&error).await;
                return id;
            }
        };
        let recorder = Arc::new(Recorder::default());
        let end = self.hold(&case, &recorder).await;
        if !matches!(end, End::Done(Ok(()))) {
            self.executor.tidy(TIDY).await;
        }
        let outcome = match end {
            End::Lost => {
                tracing::warn!("the lease is lost; the try was ended and nothing of it is written");
                return id;
            }
            End::HandBack => {
                self.offer(Move::HandBack {
                    token: self.record.token,
                })
                .await;
                return id;
            }
            End::Cancelled => Outcome::cancelled(),
            End::Late => late(),
            End::Done(Ok(())) => succeeded(),
            End::Done(Err(Stop::Settled(outcome))) => *outcome,
            End::Done(Err(Stop::Host(fault))) => {
                let outcome = fault.outcome();
                tracing::warn!(
                    error = &fault as &dyn std::error::Error,
                    transient = fault.is_transient(),
                    "a fault of ours ended the try"
                );
                if fault.is_transient() {
                    self.write_end(&case, &recorder, outcome, true).await;
                    return id;
                }
                outcome
            }
        };
        self.write_end(&case, &recorder, outcome, false).await;
        id
    }

    /// Reads the submission back and judges it once more: this worker's policy counts too.
    async fn case(&self) -> Result<Case, ServiceError> {
        let submission = submit::load(&self.service, &self.record).await?;
        let settings = (*self.service.settings).clone();
        let admitted = admission::admit(&settings.policy, &submission.dockerfile, Timestamp::now());
        Ok(Case::stored(&self.record, submission, admitted, settings))
    }

    /// Runs the try as long as we hold the lease and nobody wants its end.
    async fn hold(&self, case: &Arc<Case>, recorder: &Arc<Recorder>) -> End {
        // In tasks of their own: a ledger that is slow to answer a beat does not stop the try.
        let mut work = Abort(tokio::spawn({
            let (executor, case, watch) = (self.executor.clone(), case.clone(), recorder.clone());
            let token = self.record.token;
            async move { executor.attempt(&case, token, watch).await }
        }));
        let _writing = Abort(tokio::spawn({
            let (service, record, case, recorder) = (
                self.service.clone(),
                self.record.clone(),
                case.clone(),
                recorder.clone(),
            );
            async move { recorder.write(&service, &record, &case).await }
        }));
        let fence = self.settings.lease * 3 / 5;
        let mut until = self.claimed + fence;
        let deadline = sleep(self.left());
        let mut deadline = std::pin::pin!(deadline);
        let mut phase = self.phase.clone();
        let mut hand_back_at = None;
        // The claim was the first beat: a short job has no other.
        let beat = BEAT.min(self.settings.lease / 5);
        let mut pulse = interval_at(self.claimed + beat, beat);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = *phase.borrow_and_update();
            match now {
                Phase::Work => {}
                Phase::Drain => {
                    hand_back_at.get_or_insert_with(|| Instant::now() + self.settings.drain);
                }
                Phase::Leave => return work.end(End::HandBack).await,
            }
            let drained = async {
                match hand_back_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let turn = tokio::select! {
                biased;
                done = &mut work.0 => Turn::Done(done.unwrap_or_else(|error| Err(broken(&error).into()))),
                _ = phase.changed() => Turn::Phase,
                () = &mut deadline => Turn::Late,
                () = drained => return work.end(End::HandBack).await,
                _ = pulse.tick() => Turn::Beat,
            };
            match turn {
                Turn::Done(result) => return End::Done(result),
                Turn::Late => return work.end(End::Late).await,
                Turn::Phase => {}
                Turn::Beat => {
                    let asked = Instant::now();
                    let renew = Move::Renew {
                        token: self.record.token,
                        lease: self.settings.lease,
                    };
                    let patience = until.saturating_duration_since(asked).max(Duration::from_millis(1));
                    match timeout(patience, self.service.ledger.apply(self.record.id, renew)).await {
                        Ok(Ok(Ok(record))) if record.cancel => return work.end(End::Cancelled).await,
                        // Counted from the question: nobody may claim before the lease that it asked for.
                        Ok(Ok(Ok(_))) => until = asked + fence,
                        Ok(Ok(Err(refusal))) => {
                            tracing::warn!(%refusal, "the lease was not renewed");
                            return work.end(End::Lost).await;
                        }
                        _ if Instant::now() >= until => {
                            tracing::warn!(
                                "no beat for 3/5 of the lease: the try is ended before somebody else claims the job"
                            );
                            return work.end(End::Lost).await;
                        }
                        Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "a beat failed"),
                        Err(_) => {}
                    }
                }
            }
        }
    }

    /// What is left until the deadline, by the ledger's clock: the lease tells what time it was there.
    fn left(&self) -> Duration {
        let Some(now) = self
            .record
            .lease_until
            .and_then(|until| until.checked_sub(self.settings.lease).ok())
        else {
            return Duration::ZERO;
        };
        self.record
            .deadline_at
            .duration_since(now)
            .try_into()
            .unwrap_or_default()
    }

    /// Puts everything into the vault, then ends the job or the try.
    async fn write_end(&self, case: &Case, recorder: &Recorder, outcome: Outcome, again: bool) {
        tracing::info!(state = %outcome.ending, reason = %outcome.reason, again, "try ended");
        recorder.flush(&self.service, &self.record, BTreeMap::new()).await;
        let keep = self.keep(case, &outcome);
        let beat = BEAT.min(self.settings.lease / 5);
        let mut pulse = interval_at(Instant::now() + beat, beat);
        let mut keep = std::pin::pin!(keep);
        let (blobs, logs) = loop {
            tokio::select! {
                biased;
                kept = &mut keep => match kept {
                    Some(kept) => break kept,
                    None => return,
                },
                _ = pulse.tick() => {
                    let renew = Move::Renew { token: self.record.token, lease: self.settings.lease };
                    if let Ok(Ok(Err(refusal))) = timeout(BEAT, self.service.ledger.apply(self.record.id, renew)).await {
                        tracing::warn!(%refusal, "the job is not ours any more; its result is dropped");
                        return;
                    }
                }
            }
        };
        let outcome = outcome.clone().without_words();
        let token = self.record.token;
        self.offer(if again {
            Move::Fault {
                token,
                outcome,
                budget: self.service.settings.attempts,
                after: self.back_off(),
                blobs,
            }
        } else {
            Move::Settle {
                token,
                outcome,
                blobs,
                logs,
            }
        })
        .await;
    }

    fn back_off(&self) -> Duration {
        let doubled = self.settings.back_off * 2_u32.saturating_pow(self.record.failures.min(16));
        doubled.min(Duration::from_secs(60))
    }

    /// Puts report, result and output into the vault, as often as it takes. `None` when the vault stays away.
    async fn keep(
        &self,
        case: &Case,
        outcome: &Outcome,
    ) -> Option<(BTreeMap<BlobKind, BlobRef>, BTreeMap<seatrial_core::job::Stage, LogRef>)> {
        let until = Instant::now() + OFFER;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.put_all(case, outcome).await {
                Ok(kept) => return Some(kept),
                Err(error) if error.is_transient() && Instant::now() < until => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the end was not put into the vault; tried again"
                    );
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the end could not be put into the vault; the job comes back"
                    );
                    return None;
                }
            }
        }
    }

    async fn put_all(
        &self,
        case: &Case,
        outcome: &Outcome,
    ) -> Result<(BTreeMap<BlobKind, BlobRef>, BTreeMap<seatrial_core::job::Stage, LogRef>), ServiceError> {
        let (id, key) = (self.record.id, &self.record.key);
        let mut report = query::report(case, outcome);
        let (result, sbom, artifacts) = {
            let evidence = case.evidence();
            (
                evidence.result_bytes.clone(),
                evidence.sbom.clone(),
                evidence.artifact_bytes.clone(),
            )
        };
        // The report names the artifacts' blobs, so they come before it; all else goes together.
        if !artifacts.is_empty() {
            let parts: Vec<(BlobKind, &[u8])> =
                artifacts.values().map(|bytes| (BlobKind::Artifact, &**bytes)).collect();
            let blobs = self.service.vault.put_all(id, key, &parts).await?;
            report.artifact_blobs = artifacts.keys().cloned().zip(blobs).collect();
        }
        let report = serde_json::to_vec(&report)?;
        let mut parts: Vec<(BlobKind, &[u8])> = vec![(BlobKind::Report, &report)];
        parts.extend(result.as_ref().map(|bytes| (BlobKind::Result, &**bytes)));
        parts.extend(sbom.as_ref().map(|bytes| (BlobKind::Sbom, &**bytes)));
        let products = parts.len();
        let output = WholeOutput::of(case);
        parts.extend(output.parts());
        let mut put = self.service.vault.put_all(id, key, &parts).await?;
        let logs = output.kept(put.split_off(products));
        let blobs = parts.iter().map(|(kind, _)| *kind).zip(put).collect();
        Ok((blobs, logs))
    }

    /// Offers a move until the ledger takes or refuses it.
    async fn offer(&self, what: Move) {
        let until = Instant::now() + OFFER;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.service.ledger.apply(self.record.id, what.clone()).await {
                Ok(Ok(record)) => {
                    if let Some(outcome) = record.outcome() {
                        tracing::info!(state = %outcome.ending, reason = %outcome.reason, "job settled");
                    }
                    return;
                }
                // After a lost answer the same move is refused: it was taken the first time.
                Ok(Err(refusal @ (Refusal::Settled | Refusal::Fenced))) => {
                    tracing::warn!(%refusal, "the job's end was refused: it was written already, or the job is another's");
                    return;
                }
                Ok(Err(refusal)) => {
                    tracing::error!(%refusal, "the job's end was refused");
                    return;
                }
                Err(error)
                    if error.is_transient() && Instant::now() < until && *self.phase.borrow() != Phase::Leave =>
                {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the job's end was not written; tried again"
                    );
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the job's end was not written; it comes back when its lease runs out"
                    );
                    return;
                }
            }
        }
    }

    /// The submission cannot be read: tried again when the vault is away, else the job ends with it.
    async fn give_up(&self, error: &ServiceError) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "the submission cannot be read from the vault"
        );
        // No byte of a guest is in an error of vault or ledger: its words may stand in the record.
        let outcome = Outcome::errored(Reason::VaultFailed, sentence(error))
            .with_remedy("The operator looks at the vault and its key ring; submit the job again.");
        let token = self.record.token;
        self.offer(if error.is_transient() {
            Move::Fault {
                token,
                outcome,
                budget: self.service.settings.attempts.max(3),
                after: self.back_off(),
                blobs: BTreeMap::new(),
            }
        } else {
            Move::Settle {
                token,
                outcome,
                blobs: BTreeMap::new(),
                logs: BTreeMap::new(),
            }
        })
        .await;
    }
}

/// A task that ends when this is dropped.
struct Abort<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Abort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Abort<T> {
    /// Ends the task and waits until it is dropped: what it had started is with the janitor then.
    async fn end(&mut self, end: End) -> End {
        self.0.abort();
        let _ = (&mut self.0).await;
        end
    }
}

fn broken(error: &tokio::task::JoinError) -> Outcome {
    tracing::error!(error = error as &dyn std::error::Error, "the try broke");
    Outcome::errored(Reason::Internal, "A defect of Seatrial ended the try.")
        .blamed_on(Blame::Platform)
        .with_remedy("Please report it; the worker's log has the details.")
}
