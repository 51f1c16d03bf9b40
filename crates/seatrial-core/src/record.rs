//! What a ledger holds of a job, and the one function that moves it.
//!
//! A ledger stores a [`JobRecord`] whole and calls [`JobRecord::on`] inside its compare-and-swap; what it
//! indexes it derives with [`JobRecord::index`]. So every ledger means the same by every move, and nothing
//! of that meaning stands in SQL or in a script.
//!
//! No byte of a guest stands in a record: texts, findings, messages and logs lie sealed in the vault.

mod moves;
mod news;

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    id::{CorrelationId, JobId},
    job::{Event, JobState, Outcome, Stage, Token},
    ledger::NewJob,
    vault::{BlobKind, BlobRef, WrappedKey},
    view::DockerfileView,
};

pub use self::{
    moves::{Batch, Budgets, Kept, Move, Refusal},
    news::{News, NewsBody},
};

/// Version of stored records. Fields may be added within a version: an older process keeps those that it
/// does not know ([`JobRecord::extra`]). A change of meaning raises it, and older processes leave such
/// records alone.
pub const SCHEMA: u32 = 1;

/// Most news kept of one job: beyond it, hints are dropped, and only moves of the job are noted.
pub const MAX_NEWS: u64 = 2_000;

/// Which queue a job waits in. Higher ones go first, always.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before all others.
    High,
    /// Unless asked otherwise.
    #[default]
    Normal,
    /// When nothing else waits.
    Low,
}

impl Priority {
    /// All, the first to go first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];
}

impl fmt::Display for Priority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        })
    }
}

/// What a ledger holds of a job.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct JobRecord {
    /// [`SCHEMA`] of the process that made it.
    pub schema: u32,
    /// Its id.
    pub id: JobId,
    /// Who submitted it, as the front server says; empty where callers are not told apart.
    pub caller: String,
    /// Its queue.
    pub priority: Priority,
    /// Ties logs and events together.
    pub correlation_id: CorrelationId,
    /// W3C trace context of the submission.
    pub traceparent: Option<String>,
    /// The submitter's labels.
    pub labels: BTreeMap<String, String>,
    /// The text, by digest.
    pub dockerfile: DockerfileView,
    /// Its data key.
    pub key: WrappedKey,
    /// What lies in the vault, one of each kind.
    pub blobs: BTreeMap<BlobKind, BlobRef>,
    /// Output of stages, in the vault.
    pub logs: BTreeMap<Stage, LogRef>,
    /// Where to send word of its end.
    pub webhook: Option<String>,
    /// Admission.
    pub created_at: Timestamp,
    /// Not claimed before; moved on by each back-off.
    pub not_before: Timestamp,
    /// Expires when it was not claimed by then; `None` once it was.
    pub expires_at: Option<Timestamp>,
    /// By when it will have ended; retries never extend it.
    pub deadline_at: Timestamp,
    /// First claim.
    pub started_at: Option<Timestamp>,
    /// Settlement.
    pub finished_at: Option<Timestamp>,
    /// Where it is.
    pub state: JobState,
    /// The last stage entered.
    pub stage: Option<Stage>,
    /// The last token given.
    pub token: Token,
    /// Who holds it, or held it last.
    pub worker: Option<String>,
    /// Until when, while it runs.
    pub lease_until: Option<Timestamp>,
    /// How many leases ran out.
    pub losses: u32,
    /// How many tries ended with a fault of ours.
    pub failures: u32,
    /// Somebody asked for its end while it ran.
    pub cancel: bool,
    /// The next news' number.
    pub next_news: u64,
    /// What was heard of the last try that told anything.
    #[serde(default)]
    pub heard: Heard,
    /// Goes up with each change that a user can see.
    pub revision: u64,
    /// Fields of a newer process, kept as they are.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// How many news of a try were heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Heard {
    /// The try's token.
    pub token: u64,
    /// So many.
    pub news: u64,
}

/// Output of one stage in the vault.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LogRef {
    /// Parts in order; one when the stage is over.
    pub parts: Vec<BlobRef>,
    /// The stage is over: nothing more comes.
    pub complete: bool,
    /// Bytes that the stage wrote, kept or not.
    pub total: u64,
}

/// A moved job and what is to be told of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Moved {
    /// The record after it.
    pub record: JobRecord,
    /// In order; numbers follow on.
    pub news: Vec<News>,
}

/// Where a ledger finds a job without reading its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Index {
    /// It waits for a claim.
    pub waiting: Option<Waiting>,
    /// When the reaper must look at it at the latest; `None` when it is over.
    pub due_at: Option<Timestamp>,
}

/// How a job waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// In which queue.
    pub priority: Priority,
    /// Not claimed before.
    pub not_before: Timestamp,
    /// It had its turn already, so it goes to the front.
    pub front: bool,
}

impl JobRecord {
    /// Where to find it.
    #[must_use]
    pub fn index(&self, grace: Duration) -> Index {
        match &self.state {
            JobState::Queued { .. } => Index {
                waiting: Some(Waiting {
                    priority: self.priority,
                    not_before: self.not_before,
                    front: self.token.0 > 0,
                }),
                due_at: Some(self.expires_at.map_or(self.deadline_at, |at| at.min(self.deadline_at))),
            },
            JobState::Running { .. } => {
                let late = later(self.deadline_at, grace);
                Index {
                    waiting: None,
                    due_at: Some(self.lease_until.map_or(late, |until| until.min(late))),
                }
            }
            JobState::Settled(_) => Index::default(),
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            JobState::Settled(outcome) => Some(outcome),
            JobState::Queued { .. } | JobState::Running { .. } => None,
        }
    }

    /// It is over, and a worker held it then: that try is in neither count.
    #[must_use]
    pub fn settled_in_a_try(&self) -> bool {
        self.outcome().is_some() && self.token.0 > u64::from(self.losses + self.failures)
    }

    /// The only place where a stored job moves. `now` is the ledger's clock.
    ///
    /// # Errors
    /// [`Refusal`]: the record stays as it is.
    pub fn on(&self, what: Move, now: Timestamp) -> Result<Moved, Refusal> {
        if self.outcome().is_some() {
            return Err(Refusal::Settled);
        }
        let mut next = Draft::of(self, now);
        match what {
            Move::Claim { worker, lease } => {
                let JobState::Queued { attempt } = self.state else {
                    return Err(Refusal::NotWaiting);
                };
                if self.not_before > now || self.deadline_at <= now {
                    return Err(Refusal::NotWaiting);
                }
                let token = Token(self.token.0 + 1);
                next.turn(Event::Claimed(token))?;
                next.record.token = token;
                next.record.lease_until = Some(later(now, lease));
                next.record.expires_at = None;
                next.record.stage = None;
                next.record.logs.clear();
                next.record.started_at.get_or_insert(now);
                next.record.worker = Some(worker.clone());
                next.tell(NewsBody::Claimed { worker, attempt });
            }
            Move::Renew { token, lease } => {
                next.held(token)?;
                next.record.lease_until = Some(later(now, lease));
                return Ok(Moved {
                    record: next.record,
                    news: Vec::new(),
                });
            }
            Move::Tell {
                token,
                news,
                logs,
                asked,
            } => {
                next.held(token)?;
                next.hear(token, news);
                next.record.blobs.extend(asked.map(|blob| (BlobKind::Egress, blob)));
                for (stage, log) in logs {
                    let total = log.total;
                    if next.record.logs.get(&stage) != Some(&log) {
                        next.record.logs.insert(stage, log);
                        next.tell(NewsBody::Log { stage, total });
                    }
                }
            }
            Move::Settle { token, outcome, kept } => {
                next.held(token)?;
                next.hear(token, kept.news);
                next.record.blobs.extend(kept.blobs);
                next.record.logs.extend(kept.logs);
                next.turn(Event::Settled(token, outcome))?;
            }
            Move::Fault {
                token,
                outcome,
                budget,
                after,
                kept,
            } => {
                next.held(token)?;
                next.hear(token, kept.news);
                next.record.logs.extend(kept.logs);
                next.record.failures += 1;
                let again_at = later(now, after);
                let over = next.record.failures >= budget || again_at >= self.deadline_at;
                next.tell(NewsBody::Faulted {
                    reason: outcome.reason,
                    again_at: (!over).then_some(again_at),
                });
                if over || self.cancel {
                    next.record.blobs.extend(kept.blobs);
                    let outcome = if self.cancel { Outcome::cancelled() } else { outcome };
                    next.turn(Event::Settled(token, outcome))?;
                } else {
                    // The report of the try that ends the job tells it.
                    let of_all_tries = kept.blobs.into_iter().filter(|(kind, _)| *kind == BlobKind::Egress);
                    next.record.blobs.extend(of_all_tries);
                    next.record.not_before = again_at;
                    next.turn(Event::Released)?;
                }
            }
            Move::HandBack { token, after } => {
                next.held(token)?;
                if !after.is_zero() {
                    next.record.not_before = later(now, after);
                }
                next.tell(NewsBody::HandedBack {
                    worker: self.worker.clone().unwrap_or_default(),
                });
                next.turn(if self.cancel {
                    Event::Settled(token, Outcome::cancelled())
                } else {
                    Event::HandedBack(token)
                })?;
            }
            Move::Cancel => match self.state {
                JobState::Running { .. } if self.cancel => return Ok(next.unchanged()),
                JobState::Running { .. } => {
                    next.record.cancel = true;
                    next.tell(NewsBody::CancelRequested);
                }
                JobState::Queued { .. } | JobState::Settled(_) => next.turn(Event::Cancelled)?,
            },
            Move::Reap(budgets) => next.reap(budgets)?,
        }
        Ok(next.done())
    }
}

/// The record of a new job and its first news, at the ledger's time.
pub(crate) fn begin(job: NewJob, now: Timestamp) -> (JobRecord, Vec<News>) {
    let not_before = later(now, job.delay);
    let record = JobRecord {
        schema: SCHEMA,
        id: job.id,
        caller: job.caller,
        priority: job.priority,
        correlation_id: job.correlation_id,
        traceparent: job.traceparent,
        labels: job.labels,
        dockerfile: job.dockerfile,
        key: job.key,
        blobs: job.blobs,
        logs: BTreeMap::new(),
        webhook: job.webhook,
        created_at: now,
        not_before,
        expires_at: Some(later(not_before, job.wait)),
        deadline_at: later(now, job.life),
        started_at: None,
        finished_at: None,
        state: JobState::admitted(),
        stage: None,
        token: Token(0),
        worker: None,
        lease_until: None,
        losses: 0,
        failures: 0,
        cancel: false,
        next_news: 1,
        heard: Heard::default(),
        revision: 1,
        extra: serde_json::Map::new(),
    };
    let mut draft = Draft {
        record,
        news: Vec::new(),
        now,
    };
    match job.outcome {
        // Never queued: nobody can claim it in between.
        Some(outcome) => draft.enter(JobState::Settled(outcome)),
        None => draft.tell(NewsBody::Queued { attempt: 1 }),
    }
    (draft.record, draft.news)
}

/// A record while it is moved.
struct Draft {
    record: JobRecord,
    news: Vec<News>,
    now: Timestamp,
}

impl Draft {
    fn of(record: &JobRecord, now: Timestamp) -> Self {
        Self {
            record: record.clone(),
            news: Vec::new(),
            now,
        }
    }

    /// The token holds the job.
    fn held(&self, token: Token) -> Result<(), Refusal> {
        match self.record.state {
            JobState::Running { token: held, .. } if held == token => Ok(()),
            _ => Err(Refusal::Fenced),
        }
    }

    /// Moves the state, and tells of an end or a new wait.
    fn turn(&mut self, event: Event) -> Result<(), Refusal> {
        let state = self.record.state.clone().on(event).map_err(|_| Refusal::Fenced)?;
        self.enter(state);
        Ok(())
    }

    fn enter(&mut self, state: JobState) {
        match &state {
            JobState::Queued { attempt } => {
                self.record.lease_until = None;
                let body = NewsBody::Queued { attempt: *attempt };
                self.tell(body);
            }
            JobState::Running { .. } => {}
            JobState::Settled(outcome) => {
                self.record.lease_until = None;
                self.record.finished_at = Some(self.now);
                let body = NewsBody::Settled {
                    state: outcome.ending,
                    reason: outcome.reason,
                    blame: outcome.blame,
                };
                self.tell(body);
            }
        }
        self.record.state = state;
    }

    /// News of the try under way, without those that were heard before.
    fn hear(&mut self, token: Token, news: Batch) {
        let known = match self.record.heard {
            Heard { token: of, news } if of == token.0 => news,
            _ => 0,
        };
        let upto = news.before.saturating_add(news.bodies.len() as u64);
        let again = usize::try_from(known.saturating_sub(news.before)).unwrap_or(usize::MAX);
        for body in news.bodies.into_iter().skip(again) {
            if let NewsBody::StageStarted { stage } = body {
                // None that lies behind: the end of a try must not fail because its story is odd.
                if self.turn(Event::Entered(token, stage)).is_err() {
                    continue;
                }
                self.record.stage = Some(stage);
            }
            self.tell(body);
        }
        self.record.heard = Heard {
            token: token.0,
            news: known.max(upto),
        };
    }

    fn tell(&mut self, body: NewsBody) {
        let hint = matches!(
            body,
            NewsBody::BuildStep { .. } | NewsBody::Note { .. } | NewsBody::Log { .. }
        );
        if hint && self.record.next_news > MAX_NEWS {
            return;
        }
        self.news.push(News {
            seq: self.record.next_news,
            at: self.now,
            body,
        });
        self.record.next_news += 1;
    }

    fn reap(&mut self, budgets: Budgets) -> Result<(), Refusal> {
        let now = self.now;
        match self.record.state {
            JobState::Queued { .. } => {
                if self.record.deadline_at <= now {
                    return self.turn(Event::Overruled(Outcome::overdue()));
                }
                if self.record.expires_at.is_some_and(|at| at <= now) {
                    return self.turn(Event::Expired);
                }
                Err(Refusal::NotDue)
            }
            JobState::Running { .. } => {
                if later(self.record.deadline_at, budgets.grace) <= now {
                    return self.turn(Event::Overruled(Outcome::overdue()));
                }
                if self.record.lease_until.is_some_and(|until| until > now) {
                    return Err(Refusal::NotDue);
                }
                self.record.losses += 1;
                self.tell(NewsBody::Lost {
                    worker: self.record.worker.clone().unwrap_or_default(),
                });
                if self.record.cancel {
                    return self.turn(Event::Overruled(Outcome::cancelled()));
                }
                if self.record.losses > budgets.losses {
                    return self.turn(Event::Overruled(Outcome::poison(self.record.losses)));
                }
                self.turn(Event::Released)
            }
            JobState::Settled(_) => Err(Refusal::Settled),
        }
    }

    fn unchanged(self) -> Moved {
        Moved {
            record: self.record,
            news: Vec::new(),
        }
    }

    fn done(mut self) -> Moved {
        self.record.revision += 1;
        Moved {
            record: self.record,
            news: self.news,
        }
    }
}

/// Saturating: the far future is as good as any.
fn later(from: Timestamp, by: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(by)
        .ok()
        .and_then(|by| from.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
