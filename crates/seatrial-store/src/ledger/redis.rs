//! The ledger in Redis, for several processes on several machines.
//!
//! A job is one JSON text, opaque to the scripts, beside a number that goes up with each write. A move reads
//! the record and the server's time, calls [`JobRecord::on`], and commits with one generic script that writes
//! only if the number is still the one that was read. So what a move means stands in Rust alone; the scripts
//! know where a job is found: queues, due times, lists.
//!
//! # Durability
//! Redis answers after its append-only file is on disk when `appendfsync` is `always`. [`RedisLedger::connect`]
//! looks and refuses anything weaker, unless told otherwise.
//!
//! # Liveness
//! Every call ends within [`RedisOptions::patience`], twice at most: once to connect, once to be answered.
//! Lost connections come back by themselves, for ever. Every script is bounded by its arguments, so none
//! grows with the queue.

mod check;
mod keys;
mod link;
mod list;
mod outbox;
mod scripts;
mod wake;
mod workers;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use redis::{Client, IntoConnectionInfo as _, Pipeline, TlsCertificates};
use seatrial_core::{
    id::JobId,
    job::JobState,
    ledger::{
        Claim, Created, Delivery, DeliveryEnd, Durability, Filter, Ledger, LedgerError, NewJob, Page, Stats, WorkerCard,
    },
    record::{Budgets, JobRecord, Move, News, Refusal, SCHEMA},
};
use serde::Deserialize;
use tokio::task::JoinSet;

use self::{
    keys::{Keys, caller_mark, idempotency_mark},
    link::{Link, unreachable},
    scripts::{Call, Put},
    wake::{Idle, Watchers},
};
use crate::{server_clock::ServerClock, tls};

/// How long one answer to what time it is counts for new jobs.
const CLOCK_GOOD_FOR: Duration = Duration::from_secs(1);
/// How often a move is tried again because another came first. Each time, another one did move the job.
const RACES: usize = 64;
/// How long picked jobs are kept from others until they are claimed.
const HOLD: Duration = Duration::from_secs(2);
/// How long a job that cannot be read is kept apart.
const SHELVED: Duration = Duration::from_secs(600);
/// For so many claims, others who claim at the same time are expected after one was met.
const RIVALS: u32 = 8;
/// How often one claim picks again in place of jobs that it could not have.
const PICKS: usize = 8;
/// Most jobs that are picked, listed or named at a time.
const MOST: usize = 1_000;

/// How to use a Redis.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// What reaping allows.
    pub budgets: Budgets,
    /// Use it also when it may lose what it acknowledged.
    pub allow_loss: bool,
    /// Use it also when this user may not see how it writes: right for a worker, whose ledger an API
    /// process looked at.
    pub trust_unseen: bool,
    /// What all keys begin with; holds a hash tag, so that all are in one place.
    pub prefix: String,
    /// Certificates to trust with `rediss://`, as a PEM file; the system's when there is none.
    pub tls_ca: Option<PathBuf>,
    /// How long to wait for an answer, and for a connection before it.
    pub patience: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            budgets: Budgets::default(),
            allow_loss: false,
            trust_unseen: false,
            prefix: "{st}".to_owned(),
            tls_ca: None,
            patience: Duration::from_secs(5),
        }
    }
}

/// The ledger in a Redis of version 7 or later.
pub struct RedisLedger {
    link: Arc<Link>,
    keys: Keys,
    budgets: Budgets,
    durability: Durability,
    clock: ServerClock,
    idle: Arc<Idle>,
    watchers: Arc<Watchers>,
    /// How many claims hold jobs before they take them, because others claim too.
    rivals: AtomicU32,
    /// Listeners; they end with the ledger.
    _listeners: JoinSet<()>,
}

impl RedisLedger {
    /// Connects, and looks whether what this Redis acknowledges lasts. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`LedgerError::Unfit`] says which setting to change; [`LedgerError::Newer`] when a newer Seatrial
    /// made this ledger; [`LedgerError::Unreachable`] without an answer or without a certificate to trust.
    pub async fn connect(url: &str, options: RedisOptions) -> Result<Self, LedgerError> {
        let keys = Keys::new(&options.prefix).ok_or_else(|| {
            LedgerError::Unfit("the prefix of its keys must hold a tag in braces, such as '{st}'".to_owned())
        })?;
        let client = client(url, &options)?;
        let link = Arc::new(Link::new(client, options.patience));
        let durability = check::durability(&link, &options).await?;
        check::schema(&link, &keys).await?;
        let idle = Arc::new(Idle::default());
        let watchers = Arc::new(Watchers::default());
        let mut listeners = JoinSet::new();
        let pushed = wake::with_push(link.client()).map_err(|error| unreachable("take its address", error))?;
        listeners.spawn(Arc::clone(&watchers).listen(pushed, keys.name("moved")));
        listeners.spawn({
            let (idle, client, list) = (Arc::clone(&idle), link.client().clone(), keys.name("wake"));
            async move { idle.listen(client, list).await }
        });
        Ok(Self {
            link,
            keys,
            budgets: options.budgets,
            durability,
            clock: ServerClock::new(CLOCK_GOOD_FOR),
            idle,
            watchers,
            rivals: AtomicU32::new(0),
            _listeners: listeners,
        })
    }

    /// A record, the number that it has, and the server's time.
    async fn read(
        &self,
        action: &'static str,
        id: JobId,
    ) -> Result<(Option<(JobRecord, u64)>, Timestamp), LedgerError> {
        let mut pipe = Pipeline::new();
        pipe.cmd("TIME");
        pipe.cmd("HMGET").arg(self.keys.job(id)).arg("record").arg("cas");
        let (time, (record, cas)): ((i64, i64), (Option<String>, Option<u64>)) = self.link.pipe(action, &pipe).await?;
        let now = timestamp(time)?;
        let Some((text, cas)) = record.zip(cas) else {
            return Ok((None, now));
        };
        Ok((Some((record_of(&id.to_string(), &text)?, cas)), now))
    }

    /// The server's time, as it was told a moment ago and went on since. Good for the birth of a job, to which
    /// nobody has a right yet; what takes or gives a right asks.
    async fn lately(&self) -> Result<Timestamp, LedgerError> {
        match self.clock.micros() {
            Some(micros) => timestamp((0, micros)),
            None => {
                let now = self.now().await?;
                self.clock.set(now.as_microsecond());
                Ok(now)
            }
        }
    }

    /// Writes moved jobs; says of each whether it was written, or another move came first.
    async fn commit(&self, action: &'static str, puts: &[Put], now: Timestamp) -> Result<Vec<bool>, LedgerError> {
        if puts.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = Call::new(&scripts::COMMIT, &self.keys).arg(puts.len());
        for put in puts {
            call = put
                .add_to(call, self.budgets.grace, now)
                .map_err(|error| broken(&put.record.id.to_string(), error))?;
        }
        self.link.call(action, &call).await
    }

    /// Picks and claims; also says how many were seen.
    ///
    /// A claim writes once, and each write waits for the disk. Only where several claim at the same time, jobs
    /// are held first: otherwise all would see the same ones, and all but one go away with nothing.
    async fn pick(&self, claim: &Claim, slots: usize, hold: bool) -> Result<(Vec<JobRecord>, usize), LedgerError> {
        const ACTION: &str = "give work";
        let call = Call::new(&scripts::PICK, &self.keys)
            .arg(slots)
            .arg(if hold { HOLD.as_micros() } else { 0 })
            .arg(SCHEMA);
        let (now, again, picked): (i64, i64, Vec<(String, u64, String)>) = self.link.call(ACTION, &call).await?;
        let wait = u64::try_from(again.saturating_sub(now)).unwrap_or(0);
        self.idle
            .look_again_in((again > 0).then(|| Duration::from_micros(wait)));
        let (at, count) = (timestamp((0, now))?, picked.len());
        let mut puts = Vec::with_capacity(count);
        for (id, cas, text) in picked {
            match record_of(&id, &text) {
                Ok(record) => puts.push(self.claimed(record, cas, claim, at)),
                // Then it is seen again, and held.
                Err(_) if !hold => {}
                Err(error) => {
                    tracing::error!(job.id = id, error = %error, "a job that waits cannot be read");
                    self.shelve(&id, now).await?;
                }
            }
        }
        let written = self.commit(ACTION, &puts, at).await?;
        let taken = puts.into_iter().zip(written).filter(|(put, written)| {
            let running = matches!(put.record.state, JobState::Running { .. });
            *written && running && put.tell
        });
        Ok((taken.map(|(put, _)| put.record).collect(), count))
    }

    /// The jobs that a set names. What is no job's id is removed from it: nothing of ours writes such a thing, and
    /// left in front it would keep all the others from being seen.
    async fn ids(&self, set: &str, names: Vec<String>) -> Vec<JobId> {
        let mut ids = Vec::with_capacity(names.len());
        let mut spoilt = Vec::new();
        for name in names {
            match name.parse() {
                Ok(id) => ids.push(id),
                Err(_) => spoilt.push(name),
            }
        }
        if !spoilt.is_empty() {
            tracing::error!(set, entries = spoilt.len(), "entries that are no job's id are removed");
            let mut pipe = Pipeline::new();
            pipe.cmd("ZREM").arg(self.keys.name(set)).arg(&spoilt);
            let removed: Result<(u64,), LedgerError> = self.link.pipe("remove spoilt entries", &pipe).await;
            if let Err(error) = removed {
                tracing::warn!(error = &error as &dyn std::error::Error, "spoilt entries stay");
            }
        }
        ids
    }

    /// Keeps a job that cannot be read from being picked again soon.
    async fn shelve(&self, id: &str, now: i64) -> Result<(), LedgerError> {
        let until = now.saturating_add(i64::try_from(SHELVED.as_micros()).unwrap_or(i64::MAX));
        let mut pipe = Pipeline::new();
        pipe.cmd("ZADD")
            .arg(self.keys.name("picked"))
            .arg("XX")
            .arg(until)
            .arg(id);
        let _: (u8,) = self.link.pipe("put a job aside", &pipe).await?;
        Ok(())
    }

    /// What a picked job becomes: claimed, or ended if its time is over, or put where it belongs.
    fn claimed(&self, record: JobRecord, cas: u64, claim: &Claim, now: Timestamp) -> Put {
        let take = Move::Claim {
            worker: claim.worker.clone(),
            lease: claim.lease,
        };
        let moved = record
            .on(take, now)
            .or_else(|_| record.on(Move::Reap(self.budgets), now));
        match moved {
            Ok(moved) => Put {
                cas,
                tell: true,
                ends: moved.record.outcome().is_some(),
                record: moved.record,
                news: moved.news,
            },
            Err(_) => Put {
                cas,
                tell: false,
                ends: false,
                record,
                news: Vec::new(),
            },
        }
    }
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn create(&self, job: NewJob) -> Result<Created, LedgerError> {
        const ACTION: &str = "remember the job";
        let now = self.lately().await?;
        let key = job.idempotency.clone();
        let most = job.max_waiting;
        let (record, news) = job.begin(now);
        let call = Call::new(&scripts::CREATE, &self.keys);
        let call = match &key {
            Some(key) => call
                .arg(idempotency_mark(&record.caller, key))
                .arg(key.fingerprint.to_string())
                .arg(key.keep.as_millis().clamp(1, 1 << 50)),
            None => call.arg("").arg("").arg(0),
        };
        let listed = if caller_mark(&record.caller).is_empty() {
            "0"
        } else {
            "1"
        };
        let call = call.arg(most).arg(listed);
        let put = Put {
            cas: 0,
            tell: true,
            ends: record.outcome().is_some(),
            record,
            news,
        };
        let call = put
            .add_to(call, self.budgets.grace, now)
            .map_err(|error| broken(&put.record.id.to_string(), error))?;
        let answer: Vec<String> = self.link.call(ACTION, &call).await?;
        let mut answer = answer.into_iter();
        match (answer.next().as_deref(), answer.next()) {
            (Some("new"), _) => Ok(Created::New(Box::new(put.record))),
            (Some("existing"), Some(text)) => Ok(Created::Existing(Box::new(record_of("a job", &text)?))),
            (Some("reused"), _) => Ok(Created::KeyReused),
            (Some("full"), Some(waiting)) => Ok(Created::Full {
                waiting: waiting.parse().map_err(|error| broken("the queue's length", error))?,
            }),
            _ => Err(unreachable(ACTION, "an answer that nobody knows")),
        }
    }

    async fn get(&self, id: JobId) -> Result<Option<JobRecord>, LedgerError> {
        let mut pipe = Pipeline::new();
        pipe.cmd("HGET").arg(self.keys.job(id)).arg("record");
        let (text,): (Option<String>,) = self.link.pipe("show the job", &pipe).await?;
        text.map(|text| record_of(&id.to_string(), &text)).transpose()
    }

    async fn list(&self, filter: &Filter) -> Result<Page, LedgerError> {
        list::list(&self.link, &self.keys, filter).await
    }

    async fn position(&self, id: JobId) -> Result<Option<u64>, LedgerError> {
        list::position(&self.link, &self.keys, id).await
    }

    async fn apply(&self, id: JobId, what: Move) -> Result<Result<JobRecord, Refusal>, LedgerError> {
        const ACTION: &str = "move the job";
        for _ in 0..RACES {
            let (found, now) = self.read(ACTION, id).await?;
            let Some((record, cas)) = found else {
                return Ok(Err(Refusal::Unknown));
            };
            let moved = match record.on(what.clone(), now) {
                Ok(moved) => moved,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if moved.news.is_empty() && moved.record == record {
                return Ok(Ok(record));
            }
            let put = Put {
                cas,
                tell: moved.record.revision != record.revision,
                ends: moved.record.outcome().is_some(),
                record: moved.record,
                news: moved.news,
            };
            if self.commit(ACTION, std::slice::from_ref(&put), now).await? == [true] {
                return Ok(Ok(put.record));
            }
        }
        Err(unreachable(ACTION, "others moved it again and again"))
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<JobRecord>, LedgerError> {
        if claim.slots == 0 {
            return Ok(Vec::new());
        }
        let mut taken = Vec::new();
        // Again only when something that was seen was not for us: another had it, it ended, it cannot be read.
        for _ in 0..PICKS {
            let wanted = claim.slots.min(MOST) - taken.len();
            let hold = self.rivals.load(Ordering::Relaxed) > 0;
            let (claimed, seen) = self.pick(claim, wanted, hold).await?;
            let missed = claimed.len() < seen;
            taken.extend(claimed);
            if !missed {
                break;
            }
            self.rivals.store(RIVALS, Ordering::Relaxed);
        }
        // After some claims, look whether the rivals are still there.
        let _ = self
            .rivals
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        Ok(taken)
    }

    async fn overdue(&self, limit: usize) -> Result<Vec<JobId>, LedgerError> {
        let call = Call::new(&scripts::OVERDUE, &self.keys)
            .arg(limit.min(MOST))
            .arg(SCHEMA);
        let names = self.link.call("name overdue jobs", &call).await?;
        Ok(self.ids("due", names).await)
    }

    async fn news(&self, id: JobId, after: u64, limit: usize) -> Result<Vec<News>, LedgerError> {
        let Some(last) = limit.checked_sub(1) else {
            return Ok(Vec::new());
        };
        // News are numbered from 1 without gaps, so a number is a place.
        let first = i64::try_from(after).unwrap_or(i64::MAX);
        let last = first.saturating_add(i64::try_from(last.min(MOST)).unwrap_or(0));
        let mut pipe = Pipeline::new();
        pipe.cmd("LRANGE").arg(self.keys.news(id)).arg(first).arg(last);
        let (texts,): (Vec<String>,) = self.link.pipe("tell what happened", &pipe).await?;
        let parsed = texts.iter().map(|text| serde_json::from_str(text));
        parsed
            .collect::<Result<_, _>>()
            .map_err(|error| broken(&format!("news of {id}"), error))
    }

    async fn moved(&self, id: JobId) {
        self.watchers.wait(id).await;
    }

    async fn work_may_wait(&self) {
        self.idle.wait().await;
    }

    async fn stats(&self) -> Result<Stats, LedgerError> {
        list::stats(&self.link, &self.keys).await
    }

    async fn beat(&self, card: &WorkerCard, keep: Duration) -> Result<(), LedgerError> {
        let now = self.now().await?;
        workers::beat(&self.link, &self.keys, card, keep, now).await
    }

    async fn leave(&self, worker: &str) -> Result<(), LedgerError> {
        workers::leave(&self.link, &self.keys, worker).await
    }

    async fn workers(&self) -> Result<Vec<WorkerCard>, LedgerError> {
        let now = self.now().await?;
        workers::workers(&self.link, &self.keys, now).await
    }

    async fn deliveries(&self, limit: usize, hold: Duration) -> Result<Vec<Delivery>, LedgerError> {
        outbox::deliveries(&self.link, &self.keys, limit.min(MOST), hold).await
    }

    async fn delivered(&self, job: JobId, end: DeliveryEnd) -> Result<(), LedgerError> {
        outbox::delivered(&self.link, &self.keys, job, &end).await
    }

    async fn delivery(&self, job: JobId) -> Result<Option<Delivery>, LedgerError> {
        outbox::delivery(&self.link, &self.keys, job).await
    }

    async fn erase(&self, id: JobId) -> Result<bool, LedgerError> {
        const ACTION: &str = "forget the job";
        let (found, _) = self.read(ACTION, id).await?;
        let Some((record, cas)) = found else {
            return Ok(false);
        };
        if record.outcome().is_none() {
            return Ok(false);
        }
        // A settled job moves no more: only another erasure can come first.
        let call = Call::new(&scripts::ERASE, &self.keys).arg(id.to_string()).arg(cas);
        self.link.call(ACTION, &call).await
    }

    async fn settled_before(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, LedgerError> {
        let now = self.now().await?;
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let mut pipe = Pipeline::new();
        pipe.cmd("ZRANGE")
            .arg(self.keys.name("settled"))
            .arg("-inf")
            .arg(format!("({}", now.as_microsecond().saturating_sub(age)))
            .arg("BYSCORE")
            .arg("LIMIT")
            .arg(0)
            .arg(limit.min(MOST));
        let (names,): (Vec<String>,) = self.link.pipe("name old jobs", &pipe).await?;
        Ok(self.ids("settled", names).await)
    }

    fn durability(&self) -> Durability {
        self.durability.clone()
    }

    async fn now(&self) -> Result<Timestamp, LedgerError> {
        let mut pipe = Pipeline::new();
        pipe.cmd("TIME");
        let (time,): ((i64, i64),) = self.link.pipe("tell the time", &pipe).await?;
        timestamp(time)
    }

    fn budgets(&self) -> Budgets {
        self.budgets
    }
}

fn client(url: &str, options: &RedisOptions) -> Result<Client, LedgerError> {
    // No part of the address is repeated: it may hold a password.
    let bad = |error: redis::RedisError| LedgerError::Unfit(format!("its address is not one of a Redis: {error}"));
    let info = url.into_connection_info().map_err(bad)?;
    if matches!(info.addr(), redis::ConnectionAddr::TcpTls { insecure: true, .. }) {
        return Err(LedgerError::Unfit(
            "its address asks not to verify the certificate; name the issuer's certificate instead (tls_ca)".to_owned(),
        ));
    }
    // No greeting that users of the access list may not send.
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    let info = info.set_redis_settings(settings);
    tls::use_ring();
    let Some(path) = &options.tls_ca else {
        return Client::open(info).map_err(bad);
    };
    let pem = tls::read_ca(path).map_err(|error| LedgerError::Unfit(error.to_string()))?;
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(pem),
    };
    Client::build_with_tls(info, certificates).map_err(bad)
}

/// The server's time, in seconds and microseconds.
fn timestamp((seconds, micros): (i64, i64)) -> Result<Timestamp, LedgerError> {
    Timestamp::from_microsecond(seconds.saturating_mul(1_000_000).saturating_add(micros))
        .map_err(|error| broken("the server's time", error))
}

/// A stored record, if it is one that we may touch.
fn record_of(what: &str, text: &str) -> Result<JobRecord, LedgerError> {
    /// The one field that all schemas have.
    #[derive(Deserialize)]
    struct Of {
        schema: u32,
    }
    let newer = |schema| LedgerError::Newer {
        what: what.to_owned(),
        schema,
    };
    match serde_json::from_str::<JobRecord>(text) {
        Ok(record) if record.schema > SCHEMA => Err(newer(record.schema)),
        Ok(record) => Ok(record),
        // A newer one may have words that we do not know.
        Err(error) => match serde_json::from_str::<Of>(text) {
            Ok(of) if of.schema > SCHEMA => Err(newer(of.schema)),
            _ => Err(broken(what, error)),
        },
    }
}

fn broken(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> LedgerError {
    LedgerError::Broken {
        what: what.to_owned(),
        source: Box::new(source),
    }
}
