//! One job in the hands of a worker: beats for its lease, ends it in time, settles it.
//!
//! # Liveness
//! Two phases. While the try runs, the lease is fenced by ourselves: without a beat for 3/5 of it the try is
//! ended, before anybody else may claim the job. When the try is over, its containers are gone; from then on a
//! late write harms nobody, so the result is offered until it is taken or refused.

use std::{sync::Arc, time::Duration};

use seatrial_core::{
    job::{Blame, Ending, Outcome, Reason},
    record::{JobRecord, Kept, Move, Refusal},
    trace::{Fact, SpanKind, TraceParent},
    vault::VaultError,
    walls::Walled,
};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout},
};
use tracing::Instrument as _;

use super::{
    Phase, Service, WorkerSettings,
    abort::Abort,
    executor::Executor,
    look,
    recorder::{LAST_NEWS, Recorder},
};
use crate::{
    admission,
    case::Case,
    fault::{Stop, sentence},
    service::{ServiceError, metrics::Left, submit},
    stage::walls,
    worker::{late, succeeded},
};

/// Longest wait for the removal of what a try had started.
const TIDY: Duration = Duration::from_secs(10);
/// How long a result is offered to a ledger that is away.
pub(super) const OFFER: Duration = Duration::from_secs(10 * 60);
/// Between two beats at most: a wish for the job's end is seen with the next one.
const BEAT: Duration = Duration::from_secs(1);
/// Shortest and longest time that a job which is for another worker is left to others.
const WAY_CLEAR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Failures that a job may have while the workers that tried it turn out to be unfit, or cannot reach or read
/// the vault: with back-off, more than three minutes in which a fit worker can take it. Not without end: the job
/// may be what breaks them.
const UNFIT_BUDGET: u32 = 8;

/// A claimed job and what it needs.
pub(super) struct Trial {
    pub(super) service: Service,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) settings: WorkerSettings,
    pub(super) record: JobRecord,
    /// The trace that the submission belongs to.
    pub(super) parent: Option<TraceParent>,
    /// When the claim was sent: the lease is counted from then.
    pub(super) claimed: Instant,
    pub(super) phase: watch::Receiver<Phase>,
}

/// How a worker and a job parted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parting {
    /// In order.
    Well,
    /// A fault of ours ended the try: the worker may be the cause of it, and must not take the next job at once.
    Fault,
}

/// How a piece of work on a held job ended.
enum End<T> {
    /// By itself.
    Done(T),
    /// A defect of ours.
    Broke,
    /// Somebody asked for it.
    Cancelled,
    /// Its deadline is over.
    Late,
    /// The worker goes.
    HandBack,
    /// It is not ours any more: nothing is written.
    Lost,
    /// The ledger was away for too long, so it may not be ours any more: nothing is written.
    Fenced,
}

/// How the job left us, and what was said of the try.
struct Leave {
    how: Left,
    outcome: Option<Outcome>,
}

impl From<Left> for Leave {
    fn from(how: Left) -> Self {
        Self { how, outcome: None }
    }
}

enum Turn<T> {
    Done(T),
    Beat,
    Late,
    Phase,
}

impl Trial {
    /// Works on the job until it is settled, handed back or lost. The slot is free as soon as a good try is over;
    /// after any other it is returned: the worker decides what is next.
    pub(super) async fn run(self, slot: OwnedSemaphorePermit) -> (Parting, Option<OwnedSemaphorePermit>) {
        let telemetry = &self.service.telemetry;
        let mut span = telemetry.begin(|| "job".to_owned(), SpanKind::Consumer, self.parent);
        let place = span.as_ref().and_then(|span| span.place()).or(self.parent);
        let mut slot = Some(slot);
        let (leave, parting) = self.work(place, &mut slot).await;
        telemetry.metrics.left(leave.how);
        if let Some(span) = &mut span {
            span.note("job.id", Fact::Word(&self.record.id.to_string()));
            span.note("correlation.id", Fact::Word(self.record.correlation_id.as_str()));
            span.note(
                "job.attempt",
                Fact::Number(i64::try_from(self.record.token.0).unwrap_or(i64::MAX)),
            );
            span.note("job.end", Fact::Word(&leave.how.to_string()));
            if let Some(outcome) = &leave.outcome {
                // The codes alone: the words may quote the guest.
                span.note("job.state", Fact::Word(&outcome.ending.to_string()));
                span.note("job.reason", Fact::Word(&outcome.reason.to_string()));
                span.note("job.blame", Fact::Word(&outcome.blame.to_string()));
            }
            if is_ours(&leave) {
                span.fail();
            }
        }
        (parting, slot)
    }

    async fn work(&self, place: Option<TraceParent>, slot: &mut Option<OwnedSemaphorePermit>) -> (Leave, Parting) {
        tracing::info!(worker = %self.settings.name, losses = self.record.losses, failures = self.record.failures, "job claimed");
        let mut hold = Hold {
            until: self.claimed + self.fence(),
            deadline: self.claimed + self.left(),
            hand_back_at: None,
        };
        let well = |leave| (leave, Parting::Well);
        let case = match self.hold(&mut hold, self.case()).await {
            End::Done(Ok(case)) => Arc::new(case),
            End::Done(Err(error)) => return (self.give_up(&error).await, Parting::Fault),
            End::Lost => return well(lost(Left::Lost)),
            End::Fenced => return well(lost(Left::Fenced)),
            End::HandBack => return well(self.hand_back(Duration::ZERO).await),
            End::Cancelled => return well(self.settle_unread(Outcome::cancelled()).await),
            End::Broke => return well(self.settle_unread(broken()).await),
            End::Late => return well(self.settle_unread(late()).await),
        };
        let recorder = Arc::new(Recorder::new(
            self.service.telemetry.clone(),
            place,
            &self.record,
            &case,
        ));
        let mut writing = Abort(tokio::spawn({
            let (service, record) = (self.service.clone(), self.record.clone());
            let (case, recorder) = (case.clone(), recorder.clone());
            async move { recorder.write(&service, &record, &case).await }.in_current_span()
        }));
        let attempt = {
            let (executor, case, watch) = (self.executor.clone(), case.clone(), recorder.clone());
            let token = self.record.token;
            async move { executor.attempt(&case, token, watch).await }
        };
        let end = self.hold(&mut hold, attempt).await;
        recorder.close();
        match end {
            End::Done(Ok(())) => {}
            End::Lost | End::Fenced => self.executor.tidy(TIDY).await,
            _ => self.tidy().await,
        }
        if timeout(LAST_NEWS, &mut writing.0).await.is_err() {
            writing.end(()).await;
        }
        let outcome = match end {
            End::Lost => return well(lost(Left::Lost)),
            End::Fenced => return well(lost(Left::Fenced)),
            End::HandBack => {
                recorder.hand_over(&self.service, &self.record, &case).await;
                return well(self.hand_back(Duration::ZERO).await);
            }
            End::Cancelled => Outcome::cancelled(),
            End::Late => late(),
            End::Broke => broken(),
            End::Done(Ok(())) => succeeded(),
            End::Done(Err(Stop::Settled(outcome))) if self.is_for_another(&case, &outcome).await => {
                tracing::info!(missing = %outcome.message, "another worker has the walls that the job asks for");
                recorder.hand_over(&self.service, &self.record, &case).await;
                return well(self.hand_back(self.way_clear()).await);
            }
            End::Done(Err(Stop::Settled(outcome))) => *outcome,
            // Room comes back when another trial ends, here or on another disk: no reason to use up a try.
            End::Done(Err(Stop::Host(fault))) if fault.outcome().reason == Reason::DiskFull => {
                tracing::warn!(%fault, "the disk has no room for the trial");
                recorder.hand_over(&self.service, &self.record, &case).await;
                return (self.hand_back(self.way_clear()).await, Parting::Fault);
            }
            End::Done(Err(Stop::Host(fault))) => {
                let outcome = fault.outcome();
                tracing::warn!(
                    error = &fault as &dyn std::error::Error,
                    transient = fault.is_transient(),
                    "a fault of ours ended the try"
                );
                let again = if fault.is_transient() {
                    let unfit = look(&self.service, &*self.executor).await.unfit.is_some();
                    Some(self.budget(unfit))
                } else {
                    None
                };
                return (self.write_end(&case, &recorder, outcome, again).await, Parting::Fault);
            }
        };
        drop(slot.take());
        well(self.write_end(&case, &recorder, outcome, None).await)
    }

    /// Waits for the removal of what the try had started, and beats meanwhile: it may take longer than the lease.
    async fn tidy(&self) {
        let beat = BEAT.min(self.settings.lease / 5);
        let mut pulse = interval_at(Instant::now() + beat, beat);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tidy = self.executor.tidy(TIDY);
        loop {
            tokio::select! {
                biased;
                () = &mut tidy => return,
                _ = pulse.tick() => {
                    let (token, lease) = (self.record.token, self.settings.lease);
                    // What comes of it is seen by whoever writes the end.
                    let renew = Move::Renew { token, lease };
                    let _ = timeout(BEAT, self.service.ledger.apply(self.record.id, renew)).await;
                }
            }
        }
    }

    /// Reads the submission back and judges it once more: this worker's policy counts too.
    fn case(&self) -> impl Future<Output = Result<Case, ServiceError>> + Send + 'static {
        let (service, record, checks) = (self.service.clone(), self.record.clone(), self.executor.checks());
        async move {
            let (submission, asked) = submit::load(&service, &record).await?;
            let settings = (*service.settings).clone();
            let admitted = admission::admit_aside(&settings.policy, &submission.dockerfile, checks).await;
            Ok(Case::stored(&record, submission, admitted, settings, asked))
        }
    }

    /// Failures that the job may have.
    fn budget(&self, unfit: bool) -> u32 {
        let attempts = self.service.settings.attempts;
        if unfit { attempts.max(UNFIT_BUDGET) } else { attempts }
    }

    /// Whether the try ended for want of walls that another worker offers.
    async fn is_for_another(&self, case: &Case, outcome: &Outcome) -> bool {
        if outcome.reason != Reason::WallsTooWeak {
            return false;
        }
        // A ledger that is away knows of nobody: the job ends, and says why.
        let workers = self.service.ledger.workers().await.unwrap_or_default();
        workers
            .into_iter()
            .filter(|card| card.name != self.settings.name && card.is_fit())
            .filter_map(|card| card.build_walls.zip(card.walls))
            .any(|(build, run)| {
                let walls = Walled { build, run };
                walls::missing(&case.settings.policy, &case.submission.walls, &walls).is_empty()
            })
    }

    /// How long we leave a job to others that is not for us: longer with each claim, for all of them may be busy.
    fn way_clear(&self) -> Duration {
        let doubled =
            WAY_CLEAR.0 * 2_u32.saturating_pow(u32::try_from(self.record.token.0).unwrap_or(16).clamp(1, 16) - 1);
        doubled.min(WAY_CLEAR.1)
    }

    async fn hand_back(&self, after: Duration) -> Leave {
        let token = self.record.token;
        self.offer(Move::HandBack { token, after }).await.into()
    }

    /// Ends a job of which nothing was read: there is nothing to keep.
    async fn settle_unread(&self, outcome: Outcome) -> Leave {
        let what = Move::Settle {
            token: self.record.token,
            outcome: outcome.clone().without_words(),
            kept: Kept::default(),
        };
        self.offer_end(what, outcome).await
    }

    /// Without a beat for so long, a try is ended.
    fn fence(&self) -> Duration {
        self.settings.lease * 3 / 5
    }

    /// Does a piece of work as long as we hold the lease and nobody wants the job's end.
    async fn hold<T: Send + 'static>(&self, hold: &mut Hold, work: impl Future<Output = T> + Send + 'static) -> End<T> {
        // In a task of its own: a ledger that is slow to answer a beat does not stop the work.
        let mut work = Abort(tokio::spawn(work.in_current_span()));
        let mut phase = self.phase.clone();
        // The claim was the first beat: a short job has no other.
        let beat = BEAT.min(self.settings.lease / 5);
        let mut pulse = interval_at(self.claimed + beat, beat);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = *phase.borrow_and_update();
            match now {
                Phase::Work => {}
                Phase::Drain => {
                    hold.hand_back_at
                        .get_or_insert_with(|| Instant::now() + self.settings.drain);
                }
                Phase::Leave => return work.end(End::HandBack).await,
            }
            let hand_back_at = hold.hand_back_at;
            let drained = async {
                match hand_back_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let turn = tokio::select! {
                biased;
                done = &mut work.0 => match done {
                    Ok(done) => Turn::Done(done),
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "the try broke");
                        return End::Broke;
                    }
                },
                _ = phase.changed() => Turn::Phase,
                () = sleep_until(hold.deadline) => Turn::Late,
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
                    let patience = hold
                        .until
                        .saturating_duration_since(asked)
                        .max(Duration::from_millis(1));
                    match timeout(patience, self.service.ledger.apply(self.record.id, renew)).await {
                        Ok(Ok(Ok(record))) if record.cancel => return work.end(End::Cancelled).await,
                        // Counted from the question: nobody may claim before the lease that it asked for.
                        Ok(Ok(Ok(_))) => hold.until = asked + self.fence(),
                        Ok(Ok(Err(refusal))) => {
                            tracing::warn!(%refusal, "the lease was not renewed");
                            return work.end(End::Lost).await;
                        }
                        _ if Instant::now() >= hold.until => {
                            tracing::warn!(
                                "no beat for 3/5 of the lease: the try is ended before somebody else claims the job"
                            );
                            return work.end(End::Fenced).await;
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

    /// Puts everything into the vault, then ends the job; or the try alone, while the job's failures are fewer
    /// than `again`.
    async fn write_end(&self, case: &Case, recorder: &Recorder, outcome: Outcome, again: Option<u32>) -> Leave {
        tracing::info!(state = %outcome.ending, reason = %outcome.reason, blame = %outcome.blame, again = again.is_some(), "try ended");
        let keep = self.keep(case, &outcome, again.is_some());
        let beat = BEAT.min(self.settings.lease / 5);
        let mut pulse = interval_at(Instant::now() + beat, beat);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut keep = std::pin::pin!(keep);
        let mut kept = loop {
            tokio::select! {
                biased;
                kept = &mut keep => match kept {
                    Some(kept) => break kept,
                    None => {
                        self.flush(recorder).await;
                        return Left::Unwritten.into();
                    }
                },
                _ = pulse.tick() => {
                    // The vault takes its time: what happened is not kept back for it.
                    self.flush(recorder).await;
                    let renew = Move::Renew { token: self.record.token, lease: self.settings.lease };
                    if let Ok(Ok(Err(refusal))) = timeout(BEAT, self.service.ledger.apply(self.record.id, renew)).await {
                        tracing::warn!(%refusal, "the job is not ours any more; its result is dropped");
                        return Left::Lost.into();
                    }
                }
            }
        };
        kept.news = recorder.rest(&self.service, &self.record);
        let outcome = outcome.clone().without_words();
        let token = self.record.token;
        let what = match again {
            Some(budget) => Move::Fault {
                token,
                outcome: outcome.clone(),
                budget,
                after: self.back_off(),
                kept,
            },
            None => Move::Settle {
                token,
                outcome: outcome.clone(),
                kept,
            },
        };
        self.offer_end(what, outcome).await
    }

    /// Writes what happened, if the ledger takes it soon.
    async fn flush(&self, recorder: &Recorder) {
        let _ = timeout(LAST_NEWS, recorder.flush(&self.service, &self.record)).await;
    }

    /// Offers a move that ends the job or the try with this outcome.
    async fn offer_end(&self, what: Move, outcome: Outcome) -> Leave {
        let how = self.offer(what).await;
        if how == Left::Retried {
            self.service.telemetry.metrics.failed(&outcome);
        }
        Leave {
            how,
            outcome: Some(outcome),
        }
    }

    fn back_off(&self) -> Duration {
        let doubled = self.settings.back_off * 2_u32.saturating_pow(self.record.failures.min(16));
        doubled.min(Duration::from_secs(60))
    }

    /// Offers a move until the ledger takes or refuses it.
    async fn offer(&self, what: Move) -> Left {
        let until = Instant::now() + OFFER;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.service.ledger.apply(self.record.id, what.clone()).await {
                Ok(Ok(record)) => {
                    let ms = u64::try_from(self.claimed.elapsed().as_millis()).unwrap_or(u64::MAX);
                    if let Some(outcome) = record.outcome() {
                        self.service.telemetry.metrics.settled(outcome);
                        tracing::info!(state = %outcome.ending, reason = %outcome.reason, blame = %outcome.blame, ms, "job settled");
                        return Left::Settled;
                    }
                    let how = match what {
                        Move::HandBack { .. } => Left::HandedBack,
                        _ => Left::Retried,
                    };
                    tracing::info!(end = %how, ms, failures = record.failures, "job waits again");
                    return how;
                }
                // After a lost answer the same move is refused: it was taken the first time.
                Ok(Err(refusal @ (Refusal::Settled | Refusal::Fenced))) => {
                    tracing::warn!(%refusal, "the job's end was refused: it was written already, or the job is another's");
                    return Left::Lost;
                }
                Ok(Err(refusal)) => {
                    tracing::error!(%refusal, "the job's end was refused");
                    return Left::Lost;
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
                    return Left::Unwritten;
                }
            }
        }
    }

    /// The submission cannot be read. Bytes that were changed end the job; everything else may be this worker's
    /// own fault (a vault that is away or another one, a ring without the key), so another one may try.
    async fn give_up(&self, error: &ServiceError) -> Leave {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "the submission cannot be read from the vault"
        );
        // No byte of a guest is in an error of vault or ledger: its words may stand in the record.
        let outcome = Outcome::errored(Reason::VaultFailed, sentence(error))
            .with_remedy("The operator looks at the vault and its key ring; submit the job again.");
        let token = self.record.token;
        let kept = Kept::default();
        let hopeless = matches!(
            error,
            ServiceError::Document(_) | ServiceError::Vault(VaultError::Tampered { .. })
        );
        let what = if hopeless {
            Move::Settle {
                token,
                outcome: outcome.clone(),
                kept,
            }
        } else {
            Move::Fault {
                token,
                outcome: outcome.clone(),
                budget: self.budget(true),
                after: self.back_off(),
                kept,
            }
        };
        self.offer_end(what, outcome).await
    }
}

/// Whether the span of a try shows a fault of ours.
fn is_ours(leave: &Leave) -> bool {
    match leave.how {
        Left::Settled => leave
            .outcome
            .as_ref()
            .is_some_and(|outcome| outcome.ending == Ending::Errored),
        Left::HandedBack => false,
        Left::Retried | Left::Fenced | Left::Lost | Left::Unwritten => true,
    }
}

/// What bounds our hold of a job.
struct Hold {
    /// The try is ended unless a beat was answered before.
    until: Instant,
    /// The job's own.
    deadline: Instant,
    /// When a draining worker gives it back.
    hand_back_at: Option<Instant>,
}

fn lost(how: Left) -> Leave {
    tracing::warn!("the lease is lost; the try was ended and nothing of it is written");
    how.into()
}

fn broken() -> Outcome {
    Outcome::errored(Reason::Internal, "A defect of Seatrial ended the try.")
        .blamed_on(Blame::Platform)
        .with_remedy("Please report it; the worker's log has the details.")
}
