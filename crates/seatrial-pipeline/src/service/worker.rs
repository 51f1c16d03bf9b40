//! The worker: takes jobs under a lease, never more than it has free slots, and works each to its end.
//!
//! A slot is the room for a try. While vault and ledger take what came out of a good one, its slot is free for the
//! next job; but no more than one job is held beyond the slots, for what came out is held in memory.
//!
//! # Liveness
//! The loop waits for one of a closed set of turns. Each job is a task of its own that beats for its lease; a
//! task that panics stops beating, so its job comes back when the lease runs out.

use std::{borrow::Cow, sync::Arc, time::Duration};

use jiff::Timestamp;
use seatrial_core::{
    dispatch::Ticket,
    finding::escape_untrusted,
    ledger::{Claim, WorkerCard},
    record::JobRecord,
    trace::TraceParent,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tracing::Instrument as _;

use super::Service;
use crate::fault::sentence;

mod abort;
mod asked;
pub mod executor;
mod keep;
mod recorder;
mod trial;

use executor::{Executor, Fitness};
use trial::Parting;

/// What a worker is.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Unique for each process: a name that lives on would speak for the dead.
    pub name: String,
    /// The host, for people.
    pub host: String,
    /// Tries at a time, at least 1.
    pub slots: usize,
    /// How long a job is held without a beat. A worker that dies gives its jobs back after it; a ledger
    /// that is away for longer than 3/5 of it costs the trials under way.
    pub lease: Duration,
    /// How long a draining worker lets its jobs go on before it hands them back.
    pub drain: Duration,
    /// First wait before a job is tried again; doubles with each failure, up to a minute.
    pub back_off: Duration,
}

/// What a worker is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Phase {
    /// Take work.
    #[default]
    Work,
    /// Take no more; finish what is there or hand it back.
    Drain,
    /// Hand back what is there, at once.
    Leave,
}

/// Between two beats of the worker itself, for the registry.
const BEAT: Duration = Duration::from_secs(3);
/// The registry forgets a worker that was silent for so long.
const SILENT: Duration = Duration::from_secs(12);
/// Between two looks at Engine, walls and database.
const CHECK: Duration = Duration::from_secs(30);
/// Longest wait for an answer about fitness: an Engine that does not answer is not fit.
const CHECK_TIME: Duration = Duration::from_secs(20);
/// Shortest and longest rest of a worker after a try that a fault of ours ended: what is broken here would end the
/// next job too, and a broken worker is the quickest to claim.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Longest wait without a look at the ledger, whatever the wake-up calls say.
const LOOK: Duration = Duration::from_secs(2);
/// Longest reason that a probe is told, in characters.
const SHORT: usize = 300;

/// How a job's task ended, and the slot that it still has.
type Parted = (Parting, Option<OwnedSemaphorePermit>);

enum Turn {
    /// Asked to go.
    Phase,
    /// A try is over; its job's task may go on.
    Freed,
    /// A job's task ended.
    Ended(Result<Parted, tokio::task::JoinError>),
    /// Rested enough.
    Rested,
    /// Tell the registry.
    Beat,
    /// Look at the Engine.
    Check,
    /// There may be work; the ticket that says so, where there is a broker.
    Work(Option<Box<dyn Ticket>>),
}

/// Works until it is asked to go and nothing is left to do.
pub async fn run(
    service: &Service,
    executor: Arc<dyn Executor>,
    settings: &WorkerSettings,
    mut phase: watch::Receiver<Phase>,
) {
    let mut jobs: JoinSet<Parted> = JoinSet::new();
    let slots = Arc::new(Semaphore::new(settings.slots));
    let mut fitness = look(service, &*executor).await;
    let mut faults = 0_u32;
    let mut rest_until: Option<Instant> = None;
    let mut beat = steady(BEAT);
    let mut check = steady(CHECK);
    check.reset();
    let mut look_now = true;
    let mut ticket: Option<Box<dyn Ticket>> = None;
    let mut draining = false;
    let mut ledger_answers = true;
    let watched = &service.telemetry;
    watched.metrics.fitness(&fitness);
    let started_at = Timestamp::now();
    tracing::info!(worker = %settings.name, slots = settings.slots, unfit = fitness.unfit.as_deref(), "worker started");
    loop {
        let now = *phase.borrow_and_update();
        if now != Phase::Work && !draining {
            draining = true;
            beat.reset_immediately();
            tracing::info!(worker = %settings.name, jobs = jobs.len(), "worker drains");
        }
        watched.standing.set(why_not(&fitness, draining, ledger_answers));
        let idle = slots.available_permits();
        let busy = jobs.len().min(settings.slots);
        watched.metrics.worker(settings.slots, busy, draining);
        if draining && jobs.is_empty() {
            break;
        }
        let free = idle.min((settings.slots + 1).saturating_sub(jobs.len()));
        let takes = now == Phase::Work && free > 0 && fitness.unfit.is_none() && rest_until.is_none();
        if takes && look_now {
            // Never dropped half way: what was claimed for us is ours to work on.
            let claimed = claim(service, settings, free).await;
            look_now = !claimed.is_empty();
            for claimed in claimed {
                // There is one: no more than that were claimed, and nobody else takes any.
                if let Ok(slot) = slots.clone().acquire_owned().await {
                    start(service, &executor, settings, claimed, &phase, slot, &mut jobs);
                }
            }
            if let Some(ticket) = ticket.take() {
                ticket.done().await;
            }
            continue;
        }
        let rested = async {
            match rest_until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let turn = tokio::select! {
            biased;
            _ = phase.changed(), if now != Phase::Leave => Turn::Phase,
            Some(ended) = jobs.join_next() => Turn::Ended(ended),
            _ = slots.acquire(), if idle == 0 => Turn::Freed,
            _ = beat.tick() => Turn::Beat,
            _ = check.tick() => Turn::Check,
            () = rested => Turn::Rested,
            found = wait_for_work(service), if takes => Turn::Work(found),
        };
        match turn {
            Turn::Phase => {}
            Turn::Freed => look_now = true,
            Turn::Work(found) => {
                ticket = found;
                look_now = true;
            }
            Turn::Ended(Ok((Parting::Well, _))) => {
                faults = 0;
                look_now = true;
            }
            Turn::Ended(Ok((Parting::Fault, _slot))) => {
                let rest = (REST.0 * 2_u32.saturating_pow(faults.min(16))).min(REST.1);
                faults += 1;
                rest_until = Some(Instant::now() + rest);
                tracing::warn!(worker = %settings.name, rest_s = rest.as_secs(), "a fault of ours: the worker rests before it takes another job");
                check.reset_immediately();
            }
            Turn::Rested => {
                rest_until = None;
                look_now = true;
            }
            Turn::Ended(Err(error)) => {
                look_now = true;
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a job's task broke; its lease will run out"
                );
            }
            Turn::Check => {
                let found = look(service, &*executor).await;
                if found.unfit != fitness.unfit {
                    // Told at once, to the log and to the registry.
                    match &found.unfit {
                        Some(why) => tracing::warn!(worker = %settings.name, unfit = %why, "the worker takes no jobs"),
                        None => tracing::info!(worker = %settings.name, "the worker takes jobs again"),
                    }
                    look_now = true;
                    beat.reset_immediately();
                }
                // One that is unfit looks often: it is waited for.
                check.reset_after(if found.unfit.is_some() { CHECK / 6 } else { CHECK });
                fitness = found;
                watched.metrics.fitness(&fitness);
            }
            Turn::Beat => {
                let card = card(settings, &fitness, started_at, busy, now != Phase::Work);
                let beat = timeout(BEAT, service.ledger.beat(&card, SILENT)).await;
                ledger_answers = matches!(beat, Ok(Ok(())));
                if let Ok(Err(error)) = beat {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the worker's beat failed");
                }
            }
        }
    }
    // Forgotten after a while in any case.
    let _ = timeout(BEAT, service.ledger.leave(&settings.name)).await;
    tracing::info!(worker = %settings.name, "worker stopped");
}

/// Why no job would be taken now, for probes. A worker whose slots are all busy does take jobs.
fn why_not(fitness: &Fitness, draining: bool, ledger_answers: bool) -> Option<Cow<'static, str>> {
    if draining {
        return Some(Cow::Borrowed("it drains"));
    }
    if let Some(unfit) = &fitness.unfit {
        let short: String = escape_untrusted(unfit).chars().take(SHORT).collect();
        return Some(Cow::Owned(short));
    }
    (!ledger_answers).then_some(Cow::Borrowed("the ledger gives no answer"))
}

fn steady(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits for a sign of work, and not for ever: a sign may be lost.
async fn wait_for_work(service: &Service) -> Option<Box<dyn Ticket>> {
    let Some(dispatch) = &service.dispatch else {
        let _ = timeout(LOOK, service.ledger.work_may_wait()).await;
        return None;
    };
    match timeout(LOOK, dispatch.take()).await {
        Ok(Ok(ticket)) => Some(ticket),
        Ok(Err(error)) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no ticket could be taken; the ledger is looked at"
            );
            tokio::time::sleep(LOOK).await;
            None
        }
        Err(_) => None,
    }
}

/// Gives a job a task of its own.
fn start(
    service: &Service,
    executor: &Arc<dyn Executor>,
    settings: &WorkerSettings,
    (record, claimed): (JobRecord, Instant),
    phase: &watch::Receiver<Phase>,
    slot: OwnedSemaphorePermit,
    jobs: &mut JoinSet<Parted>,
) {
    service.telemetry.metrics.claimed(&record, settings.lease);
    let parent: Option<TraceParent> = record.traceparent.as_deref().and_then(|text| text.parse().ok());
    // Of the highest level, so that what is said within has it whatever else is filtered.
    let span = tracing::error_span!(
        "job", job.id = %record.id, correlation.id = record.correlation_id.as_str(), attempt = record.token.0,
        trace_id = parent.map(|parent| parent.trace()),
    );
    let trial = trial::Trial {
        service: service.clone(),
        executor: executor.clone(),
        settings: settings.clone(),
        record,
        parent,
        claimed,
        phase: phase.clone(),
    };
    jobs.spawn(async move { trial.run(slot).await }.instrument(span));
}

async fn claim(service: &Service, settings: &WorkerSettings, slots: usize) -> Vec<(JobRecord, Instant)> {
    let claim = Claim {
        worker: settings.name.clone(),
        slots,
        lease: settings.lease,
    };
    let sent = Instant::now();
    match service.ledger.claim(&claim).await {
        Ok(records) => records.into_iter().map(|record| (record, sent)).collect(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no work could be claimed");
            Vec::new()
        }
    }
}

/// Whether a try could be made here now: the executor says so, and the vault answers.
async fn look(service: &Service, executor: &dyn Executor) -> Fitness {
    let fitness = timeout(CHECK_TIME, executor.fitness());
    let vault = timeout(CHECK_TIME, service.vault.ping());
    let (fitness, vault) = tokio::join!(fitness, vault);
    let mut fitness = fitness.unwrap_or_else(|_| Fitness {
        unfit: Some("The Engine gave no answer.".to_owned()),
        ..Fitness::default()
    });
    match vault {
        Ok(Ok(())) => {}
        Ok(Err(error)) => drop(fitness.unfit.get_or_insert_with(|| sentence(&error))),
        Err(_) => drop(
            fitness
                .unfit
                .get_or_insert_with(|| "The vault gave no answer.".to_owned()),
        ),
    }
    fitness
}

fn card(
    settings: &WorkerSettings,
    fitness: &Fitness,
    started_at: Timestamp,
    busy: usize,
    draining: bool,
) -> WorkerCard {
    WorkerCard {
        name: settings.name.clone(),
        host: settings.host.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        slots: settings.slots,
        busy,
        draining,
        unfit: fitness.unfit.clone(),
        build_walls: fitness.build_walls.clone(),
        walls: fitness.walls.clone(),
        database_updated_at: fitness.database_updated_at,
        started_at,
        seen_at: None,
    }
}
