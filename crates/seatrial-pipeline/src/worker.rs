//! Takes a case from its claim to its end. Whatever happens, there is an end: every stage has its
//! bound, every fault its outcome.

use std::time::Duration;

use jiff::Timestamp;
use seatrial_core::{
    engine::Engine,
    id::AttemptId,
    job::{Blame, Ending, Event, Outcome, Reason, Stage, Token},
    progress::Progress,
};
use seatrial_dockerfile::Parsed;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    admission::Verdict,
    case::{Case, Ports, Walk},
    fault::Stop,
    stage::{build, clear, collect, resolve, run, scan},
};

/// Longest wait for the janitor after a job's end.
const TIDY: Duration = Duration::from_secs(20);
/// First wait before a job is tried again; doubles with each try.
const REST: Duration = Duration::from_secs(1);
/// Longest wait between two questions to an Engine that gives no answer.
const ASK: Duration = Duration::from_secs(4);
/// How long an Engine that gives no answer is waited for before the next try: a restart takes seconds, and on a
/// busy host some more.
const COMES_BACK: Duration = Duration::from_secs(60);

/// Works on a case until it is settled. `cancel` ends it at once: what it had started is killed
/// and removed before this returns.
pub async fn work(ports: &Ports, case: &Case, cancel: impl Future<Output = ()>) -> Outcome {
    let mut cancel = std::pin::pin!(cancel);
    if let Verdict::Deny(outcome) = &case.admitted.verdict {
        return settle(case, None, (**outcome).clone());
    }
    case.evidence().started_at = Some(Timestamp::now());
    let left = case.deadline_at.duration_since(Timestamp::now());
    let mut deadline = std::pin::pin!(sleep(left.try_into().unwrap_or_default()));
    let mut number = 0;
    let outcome = loop {
        number += 1;
        let token = Token(u64::from(number));
        case.on(Event::Claimed(token));
        case.evidence().attempts = number;
        let turn = tokio::select! {
            biased;
            () = &mut cancel => Err(Outcome::cancelled().into()),
            () = &mut deadline => Err(late().into()),
            end = attempt(ports, case, number, token) => end,
        };
        match turn {
            Ok(()) => {
                break succeeded();
            }
            Err(Stop::Settled(outcome)) => break *outcome,
            Err(Stop::Host(fault)) if fault.is_transient() && number < case.settings.attempts => {
                tracing::warn!(job.id = %case.id, correlation.id = case.correlation_id.as_str(), attempt = number, error = &fault as &dyn std::error::Error, "a fault of ours; the job is tried again");
                ports.watch.tell(Progress::Note {
                    text: format!("{} Trying again.", fault.outcome().message),
                });
                let rested = async {
                    ports.engine.tidy(TIDY).await;
                    rest(&*ports.engine, number).await;
                };
                tokio::select! {
                    biased;
                    () = &mut cancel => break Outcome::cancelled(),
                    () = &mut deadline => break fault.outcome(),
                    () = rested => case.on(Event::Released),
                }
            }
            Err(Stop::Host(fault)) => {
                tracing::error!(job.id = %case.id, correlation.id = case.correlation_id.as_str(), error = &fault as &dyn std::error::Error, "a fault of ours ended the job");
                break fault.outcome();
            }
        }
    };
    ports.engine.tidy(TIDY).await;
    settle(case, Some(Token(u64::from(number))), outcome)
}

/// Waits before another try, so that an Engine that restarts does not burn all of them: a while, then until it
/// answers, but not for ever.
async fn rest(engine: &dyn Engine, tries: u32) {
    let until = Instant::now() + COMES_BACK;
    let mut pause = REST * 2_u32.saturating_pow(tries.saturating_sub(1).min(3));
    loop {
        sleep(pause).await;
        match timeout_at(until, engine.answers()).await {
            Ok(Err(_)) if Instant::now() + ASK < until => pause = (pause * 2).min(ASK),
            _ => return,
        }
    }
}

/// One try of a case, from its claim to its result. Dropping it ends it: what it had started is handed over
/// to the janitor.
///
/// # Errors
/// [`Stop`]: the job's end, or a fault of ours.
pub async fn attempt(ports: &Ports, case: &Case, number: u32, token: Token) -> Result<(), Stop> {
    let parsed = match &case.admitted.verdict {
        Verdict::Deny(outcome) => return Err((**outcome).clone().into()),
        Verdict::Pass(parsed) => parsed,
    };
    let walk = Walk {
        ports,
        case,
        attempt: AttemptId { job: case.id, number },
        token,
    };
    walk_through(&walk, parsed).await
}

/// How a job ends when its walk came to its end.
#[must_use]
pub fn succeeded() -> Outcome {
    Outcome::new(
        Ending::Succeeded,
        Reason::Ok,
        Blame::Nobody,
        "The image was built, scanned and run; its result is valid.",
    )
}

/// Each stage has a bound of its own; what goes on beside them has this one.
pub(crate) fn late() -> Outcome {
    Outcome::timed_out(
        Reason::JobTime,
        "The job was not over at its deadline, though each stage was within its limit.",
    )
    .blamed_on(Blame::Platform)
    .with_remedy("Look at the Engine's load and log; submit the job again.")
}

/// The walk itself: it reads as a sentence. While the builder works, scanner and data volume are started;
/// loading goes on while the scan runs; nothing of an image is executed that was not cleared.
async fn walk_through(walk: &Walk<'_>, parsed: &Parsed) -> Result<(), Stop> {
    let resolved = walk.stage(Stage::Resolve, resolve::resolve(walk, parsed)).await?;
    let (image_out, image_in) = oneshot::channel();
    let (begun, begins) = watch::channel(false);
    // The builder is waited for by all else, so its start has the machine for itself; the others have time enough
    // while its steps run. A build that ends before its first step drops the other end.
    let builder_works = || {
        let mut begins = begins.clone();
        async move { drop(begins.wait_for(|begun| *begun).await) }
    };
    let opening = async {
        builder_works().await;
        Ok(walk
            .ports
            .engine
            .open_data(walk.attempt, &walk.case.settings.policy.limits.run)
            .await?)
    };
    let loading = async {
        let building = walk.stage(Stage::Build, build::build(walk, &resolved, image_out, begun));
        let (built, data) = tokio::try_join!(building, opening)?;
        walk.enter(Stage::Scan);
        let loaded = run::load(walk, &resolved, &built, &*data).await?;
        Ok::<_, Stop>((loaded, data))
    };
    let scanning = scan::scan(walk, &resolved, image_in, builder_works());
    let begun = std::time::Instant::now();
    let ((loaded, data), scanned) = tokio::try_join!(loading, scanning)?;
    let cleared = clear::clear(walk, scanned)?;
    finish_scan_timing(walk, begun);
    let ran = walk.stage(Stage::Run, run::run(walk, cleared, loaded)).await?;
    walk.stage(Stage::Collect, collect::collect(walk, ran, &*data)).await?;
    Ok(())
}

/// The scan overlaps the build, so its own time is what it added after the build's end.
fn finish_scan_timing(walk: &Walk<'_>, begun: std::time::Instant) {
    let built = walk.case.evidence().timings_ms.get(&Stage::Build).copied().unwrap_or(0);
    let both = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let millis = both.saturating_sub(built);
    walk.case.evidence().timings_ms.insert(Stage::Scan, millis);
    walk.ports.watch.tell(Progress::StageFinished {
        stage: Stage::Scan,
        millis,
    });
}

/// A job that was never claimed has no token: it was denied at admission.
fn settle(case: &Case, token: Option<Token>, outcome: Outcome) -> Outcome {
    case.evidence().finished_at = Some(Timestamp::now());
    if let Some(token) = token {
        case.on(Event::Settled(token, outcome.clone()));
    }
    tracing::info!(
        job.id = %case.id, correlation.id = case.correlation_id.as_str(), state = %outcome.ending,
        reason = %outcome.reason, "job settled"
    );
    outcome
}
