//! Sends word of jobs' ends: takes what is due from the outbox, hands it to a [`Sender`], notes how it went.
//!
//! Any number of processes may do it at once: who takes a delivery has it alone for longer than a try lasts.
//! A process that dies between sending and noting sends again, so a receiver gets each word at least once.
//!
//! # Liveness
//! Every try has a time limit, and so has noting its end; a delivery that was not noted comes back when its
//! hold is over. The number of tries is bounded: then the delivery is dead, and stays for people to see.

use std::{pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use seatrial_core::{
    id::JobId,
    job::Outcome,
    ledger::{Delivery, DeliveryEnd, LedgerError},
    record::JobRecord,
};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::Service;

/// Between two looks into the outbox.
const LOOK: Duration = Duration::from_millis(500);
/// The same after the ledger gave no answer.
const AWAY: Duration = Duration::from_secs(3);
/// Longest pause that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the end of a try is offered to a ledger that does not take it.
const NOTE_TIME: Duration = Duration::from_secs(3);
/// Between two offers.
const NOTE_PAUSE: Duration = Duration::from_millis(250);
/// A delivery is held for so much longer than a try may last: reading the record, noting the end.
const HOLD_MORE: Duration = Duration::from_secs(5);

/// How word is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliverSettings {
    /// Tries at a time, at least 1.
    pub slots: usize,
    /// Longest try.
    pub try_time: Duration,
    /// Pauses before the second try, the third, and so on. When the try after the last pause fails, the
    /// delivery is dead.
    pub pauses: Vec<Duration>,
}

/// What is to be said to whom.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// The job.
    pub record: &'a JobRecord,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// Where to.
    pub url: &'a str,
}

/// Carries a letter. A future that is dropped may have delivered it.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Tries once.
    async fn send(&self, letter: Letter<'_>) -> Answer;
    /// Where an address leads, for the log: without what may be secret in it, safe to print.
    fn place(&self, url: &str) -> String;
    /// Counts a try.
    fn count(&self, end: End);
}

/// What a try came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// What the receiver answered, if it did.
    pub status: Option<u16>,
    /// What that means.
    pub verdict: Verdict,
}

/// What an answer means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The receiver has it.
    Taken,
    /// Another try may go better.
    Failed {
        /// One word of a closed list, for the log.
        kind: &'static str,
        /// For people; holds no byte of the answer.
        error: String,
        /// The pause that the receiver asked for.
        after: Option<Duration>,
    },
    /// No other try can go better.
    Refused {
        /// One word of a closed list, for the log.
        kind: &'static str,
        /// For people; holds no byte of the answer.
        error: String,
    },
}

/// What becomes of a delivery after a try.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// It was taken.
    Delivered,
    /// It is tried again.
    Again,
    /// It was given up.
    Dead,
}

impl End {
    /// As a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Again => "again",
            Self::Dead => "dead",
        }
    }
}

enum Turn {
    /// The process goes.
    Go,
    /// A try ended.
    Ended(Result<(), JoinError>),
    /// Something may be due.
    Look,
}

/// Sends until `going` is ready, then once more what is due by then; every try is bounded, so it ends soon after.
pub async fn run(
    service: &Service,
    sender: Arc<dyn Sender>,
    settings: &DeliverSettings,
    going: impl Future<Output = ()>,
) {
    let mut going = pin!(going);
    let mut tries: JoinSet<()> = JoinSet::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut more = false;
    loop {
        let free = settings.slots.max(1).saturating_sub(tries.len());
        let turn = tokio::select! {
            biased;
            () = &mut going => Turn::Go,
            Some(ended) = tries.join_next() => Turn::Ended(ended),
            _ = look.tick(), if free > 0 => Turn::Look,
        };
        match turn {
            Turn::Go => {
                // The last jobs of a worker in this process ended a moment ago.
                if free > 0 {
                    let _ = begin(service, &sender, settings, free, &mut tries).await;
                }
                break;
            }
            Turn::Ended(ended) => {
                report(ended);
                if more {
                    look.reset_immediately();
                }
            }
            Turn::Look => match begin(service, &sender, settings, free, &mut tries).await {
                Ok(begun) => more = begun >= free,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the outbox could not be looked at"
                    );
                    look.reset_after(AWAY);
                }
            },
        }
    }
    while let Some(ended) = tries.join_next().await {
        report(ended);
    }
}

/// Begins tries of what is due; how many.
async fn begin(
    service: &Service,
    sender: &Arc<dyn Sender>,
    settings: &DeliverSettings,
    free: usize,
    tries: &mut JoinSet<()>,
) -> Result<usize, LedgerError> {
    let hold = settings.try_time + HOLD_MORE;
    let due = service.ledger.deliveries(free, hold).await?;
    let begun = due.len();
    for delivery in due {
        let (service, sender, settings) = (service.clone(), sender.clone(), settings.clone());
        tries.spawn(async move { deliver(&service, &*sender, &settings, &delivery).await });
    }
    Ok(begun)
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a delivery's task broke; it is tried again when its hold is over"
        );
    }
}

/// One try, from the record to the noted end.
async fn deliver(service: &Service, sender: &dyn Sender, settings: &DeliverSettings, delivery: &Delivery) {
    let job = delivery.job;
    let record = match service.ledger.get(job).await {
        Ok(Some(record)) => record,
        // It was erased meanwhile: there is nothing to tell.
        Ok(None) => return note(service, job, DeliveryEnd::Done).await,
        Err(error @ LedgerError::Broken { .. }) => {
            tracing::error!(job.id = %job, error = &error as &dyn std::error::Error, "no word of a job can be sent");
            let error = "the job's record cannot be read".to_owned();
            return note(service, job, DeliveryEnd::Dead { error }).await;
        }
        // It comes back when its hold is over: for a process that knows the schema, or when the ledger answers.
        Err(error) => {
            tracing::warn!(job.id = %job, error = &error as &dyn std::error::Error, "a delivery waits for its record");
            return;
        }
    };
    let (Some(url), Some(outcome)) = (&record.webhook, record.outcome()) else {
        tracing::error!(job.id = %job, "a delivery without an address or an end is dropped");
        return note(service, job, DeliveryEnd::Done).await;
    };
    let letter = Letter {
        record: &record,
        outcome,
        url,
    };
    let begun = Instant::now();
    let answer = match timeout(settings.try_time, sender.send(letter)).await {
        Ok(answer) => answer,
        Err(_) => Answer {
            status: None,
            verdict: Verdict::Failed {
                kind: "time",
                error: format!("no answer within {} s", settings.try_time.as_secs_f64()),
                after: None,
            },
        },
    };
    let took = begun.elapsed();
    let number = delivery.tries.saturating_add(1);
    let kind = match &answer.verdict {
        Verdict::Taken => None,
        Verdict::Failed { kind, .. } | Verdict::Refused { kind, .. } => Some(*kind),
    };
    let (end, noted) = judge(answer.verdict, number, &settings.pauses, spread());
    sender.count(end);
    tracing::info!(
        job.id = %job,
        correlation.id = record.correlation_id.as_str(),
        host = sender.place(url),
        try_number = number,
        status = answer.status,
        error = kind,
        end = end.word(),
        ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "webhook"
    );
    note(service, job, noted).await;
}

/// What becomes of a delivery whose try of this number, counted from 1, came to this.
fn judge(verdict: Verdict, number: u32, pauses: &[Duration], spread: u32) -> (End, DeliveryEnd) {
    let (error, asked) = match verdict {
        Verdict::Taken => return (End::Delivered, DeliveryEnd::Done),
        Verdict::Refused { error, .. } => return (End::Dead, DeliveryEnd::Dead { error }),
        Verdict::Failed { error, after, .. } => (error, after),
    };
    let next = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(pause) = pauses.get(next) else {
        let error = format!("{error}; given up after {number} tries");
        return (End::Dead, DeliveryEnd::Dead { error });
    };
    let jittered = pause.saturating_add(*pause / 5 * spread / 256);
    let after = jittered.max(asked.unwrap_or_default().min(LONGEST_ASKED));
    (End::Again, DeliveryEnd::Again { after, error })
}

/// 0 to 255: up to a fifth longer, so that what failed together does not come back together.
fn spread() -> u32 {
    Timestamp::now().subsec_nanosecond().unsigned_abs() % 256
}

/// Writes how it went. What is not written is tried again.
async fn note(service: &Service, job: JobId, end: DeliveryEnd) {
    let until = Instant::now() + NOTE_TIME;
    loop {
        let error = match tokio::time::timeout_at(until, service.ledger.delivered(job, end.clone())).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let again = error.as_ref().is_some_and(LedgerError::is_transient) && Instant::now() + NOTE_PAUSE < until;
        if !again {
            tracing::warn!(
                job.id = %job,
                error = error.as_ref().map(|error| error as &dyn std::error::Error),
                "the end of a delivery's try was not noted; it is sent again"
            );
            return;
        }
        sleep(NOTE_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn failed(after: Option<Duration>) -> Verdict {
        Verdict::Failed {
            kind: "status",
            error: "503".to_owned(),
            after,
        }
    }

    fn pause(number: u32, asked: Option<Duration>, spread: u32) -> Option<Duration> {
        match judge(failed(asked), number, &[S * 5, S * 300], spread) {
            (End::Again, DeliveryEnd::Again { after, .. }) => Some(after),
            (End::Dead, DeliveryEnd::Dead { .. }) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_try_that_fails_is_followed_by_the_next_pause_of_the_schedule() {
        assert_eq!(
            [1, 2, 3, u32::MAX].map(|number| pause(number, None, 0)),
            [Some(S * 5), Some(S * 300), None, None]
        );
    }

    #[test]
    fn a_pause_is_up_to_a_fifth_longer() {
        let longest = pause(1, None, 255).unwrap();
        assert!(longest > S * 59 / 10 && longest < S * 6, "{longest:?}");
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_pause_within_a_day_and_not_for_a_shorter_one() {
        assert_eq!(pause(1, Some(S * 60), 0), Some(S * 60));
        assert_eq!(pause(1, Some(S), 0), Some(S * 5));
        assert_eq!(pause(1, Some(S * 1_000_000), 0), Some(LONGEST_ASKED));
    }

    #[test]
    fn a_refusal_ends_it_whatever_the_schedule_says() {
        let gone = Verdict::Refused {
            kind: "gone",
            error: "410".to_owned(),
        };
        let dead = DeliveryEnd::Dead {
            error: "410".to_owned(),
        };
        assert_eq!(judge(gone, 1, &[S], 0), (End::Dead, dead));
    }
}
