//! The jobs and where to find them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use seatrial_core::{
    digest::Digest,
    id::JobId,
    job::JobState,
    ledger::{Claim, Created, Delivery, DeliveryEnd, Filter, LedgerError, NewJob, Page, Stats, WorkerCard},
    record::{Budgets, JobRecord, Move, Moved, News, Priority, Refusal, SCHEMA},
};

use super::stored;

/// Jobs whose delay ended are given their place in portions of this many.
const PROMOTE: usize = 1_000;
/// A position is counted up to this.
const FAR_BACK: usize = 10_000;

/// All that is remembered. One at a time works on it.
#[derive(Debug)]
pub(super) struct Shelf {
    budgets: Budgets,
    arrivals: u64,
    jobs: BTreeMap<JobId, Job>,
    ready: BTreeSet<(Priority, i64, u64, JobId)>,
    oldest: BTreeMap<Priority, BTreeSet<(Timestamp, JobId)>>,
    delayed: BTreeSet<(Timestamp, u64, JobId)>,
    due: BTreeSet<(Timestamp, JobId)>,
    settled: BTreeSet<(Timestamp, JobId)>,
    waiting: BTreeMap<Priority, u64>,
    running: u64,
    turns: BTreeMap<Priority, Turns>,
    keys: HashMap<(String, String), Key>,
    deliveries: BTreeMap<JobId, (Timestamp, Delivery)>,
    workers: BTreeMap<String, (Timestamp, WorkerCard)>,
    touched: Vec<JobId>,
    work: bool,
}

#[derive(Debug)]
struct Job {
    text: String,
    news: Vec<News>,
    arrival: u64,
    schema: u32,
    key: Option<(String, String)>,
    spot: Spot,
}

/// Where a job is found.
#[derive(Clone, Copy, Debug, Default)]
struct Spot {
    queue: Option<Queue>,
    running: bool,
    due_at: Option<Timestamp>,
    settled_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Queue {
    priority: Priority,
    created_at: Timestamp,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Its rank among those that are ready.
    Ranked(i64),
    Delayed(Timestamp),
}

/// Start-time fair queueing of one priority.
#[derive(Debug, Default)]
struct Turns {
    /// The rank that was claimed last.
    now: i64,
    /// Each caller's last rank.
    last: HashMap<String, i64>,
    prune_at: usize,
}

#[derive(Debug)]
struct Key {
    job: JobId,
    fingerprint: Digest,
    until: Timestamp,
}

impl Turns {
    /// A rank: one turn behind the caller's last job, or behind the job that was claimed last. In steps of
    /// two, so that a job that had its turn already fits in before all others.
    fn next(&mut self, caller: &str, front: bool) -> i64 {
        if front {
            return self.now - 1;
        }
        let now = self.now;
        if self.last.len() >= self.prune_at {
            self.last.retain(|_, last| *last > now);
            self.prune_at = 2 * self.last.len() + 1_000;
        }
        let last = self.last.entry(caller.to_owned()).or_insert(now);
        *last = now.max(*last) + 2;
        *last
    }
}

impl Shelf {
    pub(super) fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            arrivals: 0,
            jobs: BTreeMap::new(),
            ready: BTreeSet::new(),
            oldest: BTreeMap::new(),
            delayed: BTreeSet::new(),
            due: BTreeSet::new(),
            settled: BTreeSet::new(),
            waiting: BTreeMap::new(),
            running: 0,
            turns: BTreeMap::new(),
            keys: HashMap::new(),
            deliveries: BTreeMap::new(),
            workers: BTreeMap::new(),
            touched: Vec::new(),
            work: false,
        }
    }

    /// Which jobs changed since the last call, and whether work came.
    pub(super) fn take_touched(&mut self) -> (Vec<JobId>, bool) {
        (std::mem::take(&mut self.touched), std::mem::take(&mut self.work))
    }

    pub(super) fn text(&self, id: JobId) -> Option<String> {
        self.jobs.get(&id).map(|job| job.text.clone())
    }

    pub(super) fn put_text(&mut self, id: JobId, text: String) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.schema = stored::schema_of(&text).unwrap_or(job.schema);
            job.text = text;
        }
    }

    pub(super) fn create(&mut self, job: NewJob, now: Timestamp) -> Result<Created, LedgerError> {
        if let Some(record) = self.get(job.id)? {
            return Ok(Created::Existing(Box::new(record)));
        }
        let key = job
            .idempotency
            .clone()
            .map(|asked| ((job.caller.clone(), asked.key.clone()), asked));
        if let Some((key, asked)) = &key
            && let Some(known) = self.keys.get(key)
            && known.until > now
        {
            if known.fingerprint != asked.fingerprint {
                return Ok(Created::KeyReused);
            }
            if let Some(record) = self.get(known.job)? {
                return Ok(Created::Existing(Box::new(record)));
            }
        }
        let waiting = self.waiting.values().sum();
        if job.outcome.is_none() && waiting >= job.max_waiting {
            return Ok(Created::Full { waiting });
        }
        let id = job.id;
        let (record, news) = job.begin(now);
        let text = stored::encode(&record)?;
        self.arrivals += 1;
        let job = Job {
            text: String::new(),
            news: Vec::new(),
            arrival: self.arrivals,
            schema: SCHEMA,
            key: key.as_ref().map(|(key, _)| key.clone()),
            spot: Spot::default(),
        };
        self.jobs.insert(id, job);
        if let Some((key, asked)) = key {
            let known = Key {
                job: id,
                fingerprint: asked.fingerprint,
                until: later(now, asked.keep),
            };
            self.keys.insert(key, known);
        }
        let moved = Moved { record, news };
        Ok(Created::New(Box::new(self.put(moved, text, now))))
    }

    pub(super) fn get(&self, id: JobId) -> Result<Option<JobRecord>, LedgerError> {
        self.jobs.get(&id).map(|job| stored::decode(id, &job.text)).transpose()
    }

    pub(super) fn list(&self, filter: &Filter) -> Page {
        let mut page = Page::default();
        let before = match filter.before {
            Some(id) => self.jobs.range(..id),
            None => self.jobs.range(..),
        };
        // What cannot be read is its own job's fault, not the list's.
        let found = before.rev().filter_map(|(id, job)| stored::decode(*id, &job.text).ok());
        for record in found.filter(|record| filter.takes(record)) {
            if page.jobs.len() == filter.limit {
                page.next = page.jobs.last().map(|job: &JobRecord| job.id);
                break;
            }
            page.jobs.push(record);
        }
        page
    }

    pub(super) fn position(&self, id: JobId) -> Option<u64> {
        let job = self.jobs.get(&id)?;
        let queue = job.spot.queue?;
        let Place::Ranked(rank) = queue.place else {
            return None;
        };
        let before = self.ready.range(..(queue.priority, rank, job.arrival, id));
        Some(before.take(FAR_BACK).count() as u64)
    }

    pub(super) fn apply(
        &mut self,
        id: JobId,
        what: Move,
        now: Timestamp,
    ) -> Result<Result<JobRecord, Refusal>, LedgerError> {
        let Some(record) = self.get(id)? else {
            return Ok(Err(Refusal::Unknown));
        };
        let moved = match record.on(what, now) {
            Ok(moved) => moved,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let text = stored::encode(&moved.record)?;
        Ok(Ok(self.put(moved, text, now)))
    }

    pub(super) fn claim(&mut self, claim: &Claim, now: Timestamp) -> Result<Vec<JobRecord>, LedgerError> {
        self.promote(now);
        let mut claimed = Vec::new();
        let mut last = None;
        while claimed.len() < claim.slots {
            let next = match last {
                Some(last) => self.ready.range((Bound::Excluded(last), Bound::Unbounded)).next(),
                None => self.ready.first(),
            };
            let Some(next) = next.copied() else {
                break;
            };
            last = Some(next);
            let (.., id) = next;
            let take = Move::Claim {
                worker: claim.worker.clone(),
                lease: claim.lease,
            };
            match self.apply(id, take, now) {
                Ok(Ok(record)) => claimed.push(record),
                // Too late for it: its end is due.
                Ok(Err(_)) => {
                    let _ = self.apply(id, Move::Reap(self.budgets), now)?;
                }
                Err(LedgerError::Newer { .. } | LedgerError::Broken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(claimed)
    }

    pub(super) fn overdue(&self, now: Timestamp, limit: usize) -> Vec<JobId> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id);
        due.filter(|id| self.jobs.get(id).is_some_and(|job| job.schema <= SCHEMA))
            .take(limit)
            .collect()
    }

    pub(super) fn news(&self, id: JobId, after: u64, limit: usize) -> Vec<News> {
        let news = self.jobs.get(&id).map(|job| job.news.as_slice()).unwrap_or_default();
        news.iter()
            .filter(|news| news.seq > after)
            .take(limit)
            .cloned()
            .collect()
    }

    /// When the next delay ends.
    pub(super) fn next_delayed(&self) -> Option<Timestamp> {
        self.delayed.first().map(|(at, ..)| *at)
    }

    pub(super) fn stats(&self, now: Timestamp) -> Stats {
        let ages = self.oldest.iter().filter_map(|(priority, ready)| {
            let (since, _) = ready.first()?;
            Some((*priority, now.duration_since(*since).as_secs_f64()))
        });
        Stats {
            waiting: Priority::ALL
                .map(|priority| (priority, self.waiting.get(&priority).copied().unwrap_or(0)))
                .into(),
            oldest_s: ages.collect(),
            running: self.running,
        }
    }

    pub(super) fn beat(&mut self, card: &WorkerCard, keep: Duration, now: Timestamp) {
        self.workers.retain(|_, (until, _)| *until > now);
        let card = WorkerCard {
            seen_at: Some(now),
            ..card.clone()
        };
        self.workers.insert(card.name.clone(), (later(now, keep), card));
    }

    pub(super) fn leave(&mut self, worker: &str) {
        self.workers.remove(worker);
    }

    pub(super) fn workers(&self, now: Timestamp) -> Vec<WorkerCard> {
        let live = self.workers.values().filter(|(until, _)| *until > now);
        live.map(|(_, card)| card.clone()).collect()
    }

    pub(super) fn deliveries(&mut self, limit: usize, hold: Duration, now: Timestamp) -> Vec<Delivery> {
        let due = self.deliveries.values_mut();
        due.filter(|(at, delivery)| !delivery.dead && *at <= now)
            .take(limit)
            .map(|(at, delivery)| {
                *at = later(now, hold);
                delivery.clone()
            })
            .collect()
    }

    pub(super) fn delivered(&mut self, job: JobId, end: DeliveryEnd, now: Timestamp) {
        let Some((at, delivery)) = self.deliveries.get_mut(&job) else {
            return;
        };
        match end {
            DeliveryEnd::Done => {
                self.deliveries.remove(&job);
            }
            DeliveryEnd::Again { after, error } => {
                *at = later(now, after);
                delivery.tries += 1;
                delivery.last_error = Some(error);
            }
            DeliveryEnd::Dead { error } => {
                delivery.dead = true;
                delivery.tries += 1;
                delivery.last_error = Some(error);
            }
        }
    }

    pub(super) fn delivery(&self, job: JobId) -> Option<Delivery> {
        self.deliveries.get(&job).map(|(_, delivery)| delivery.clone())
    }

    pub(super) fn erase(&mut self, id: JobId) -> Result<bool, LedgerError> {
        match self.get(id)? {
            Some(record) if record.outcome().is_some() => {}
            _ => return Ok(false),
        }
        self.deliveries.remove(&id);
        if let Some(job) = self.jobs.remove(&id) {
            self.unplace(id, job.arrival, job.spot);
            if let Some(key) = job.key
                && self.keys.get(&key).is_some_and(|known| known.job == id)
            {
                self.keys.remove(&key);
            }
        }
        self.touched.push(id);
        Ok(true)
    }

    pub(super) fn settled_before(&self, now: Timestamp, age: Duration, limit: usize) -> Vec<JobId> {
        let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        let before = now.saturating_sub(age).unwrap_or(Timestamp::MIN);
        let old = self.settled.iter().take_while(|(at, _)| *at <= before);
        old.map(|(_, id)| *id)
            .filter(|id| self.jobs.get(id).is_some_and(|job| job.schema <= SCHEMA))
            .take(limit)
            .collect()
    }

    /// Gives those whose delay is over their place behind those who wait.
    pub(super) fn promote(&mut self, now: Timestamp) {
        let over = self.delayed.iter().take_while(|(at, ..)| *at <= now).take(PROMOTE);
        for (_, arrival, id) in over.copied().collect::<Vec<_>>() {
            let Some(job) = self.jobs.get(&id) else {
                continue;
            };
            let Ok(record) = stored::decode(id, &job.text) else {
                continue;
            };
            let spot = job.spot;
            self.unplace(id, arrival, spot);
            self.place(&record, arrival, now);
        }
    }

    /// Stores a changed record and finds it its place.
    fn put(&mut self, moved: Moved, text: String, now: Timestamp) -> JobRecord {
        let Moved { record, news } = moved;
        let id = record.id;
        let Some(job) = self.jobs.get_mut(&id) else {
            return record;
        };
        job.text = text;
        job.news.extend(news);
        let (arrival, before) = (job.arrival, job.spot);
        self.touched.push(id);
        let claimed = match before.queue {
            Some(Queue {
                priority,
                place: Place::Ranked(rank),
                ..
            }) if matches!(record.state, JobState::Running { .. }) => Some((priority, rank)),
            _ => None,
        };
        if let Some((priority, rank)) = claimed {
            let turns = self.turns.entry(priority).or_default();
            turns.now = turns.now.max(rank);
        }
        if before.settled_at.is_none() && record.outcome().is_some() && record.webhook.is_some() {
            let delivery = Delivery {
                job: id,
                tries: 0,
                dead: false,
                last_error: None,
            };
            self.deliveries.insert(id, (now, delivery));
        }
        if before.queue.is_some() && matches!(record.state, JobState::Queued { .. }) {
            return record; // it keeps its place
        }
        self.unplace(id, arrival, before);
        self.place(&record, arrival, now);
        record
    }

    fn place(&mut self, record: &JobRecord, arrival: u64, now: Timestamp) {
        let id = record.id;
        let index = record.index(self.budgets.grace);
        let queue = index.waiting.map(|waiting| {
            let place = if waiting.not_before > now {
                self.delayed.insert((waiting.not_before, arrival, id));
                Place::Delayed(waiting.not_before)
            } else {
                let turns = self.turns.entry(waiting.priority).or_default();
                let rank = turns.next(&record.caller, waiting.front);
                self.ready.insert((waiting.priority, rank, arrival, id));
                let oldest = self.oldest.entry(waiting.priority).or_default();
                oldest.insert((record.created_at, id));
                Place::Ranked(rank)
            };
            self.work = true;
            *self.waiting.entry(waiting.priority).or_default() += 1;
            Queue {
                priority: waiting.priority,
                created_at: record.created_at,
                place,
            }
        });
        let spot = Spot {
            queue,
            running: matches!(record.state, JobState::Running { .. }),
            due_at: index.due_at,
            settled_at: record.finished_at,
        };
        self.running += u64::from(spot.running);
        self.due.extend(spot.due_at.map(|at| (at, id)));
        self.settled.extend(spot.settled_at.map(|at| (at, id)));
        if let Some(job) = self.jobs.get_mut(&id) {
            job.spot = spot;
        }
    }

    fn unplace(&mut self, id: JobId, arrival: u64, spot: Spot) {
        if let Some(queue) = spot.queue {
            match queue.place {
                Place::Ranked(rank) => {
                    self.ready.remove(&(queue.priority, rank, arrival, id));
                    if let Some(oldest) = self.oldest.get_mut(&queue.priority) {
                        oldest.remove(&(queue.created_at, id));
                    }
                }
                Place::Delayed(at) => {
                    self.delayed.remove(&(at, arrival, id));
                }
            }
            let waiting = self.waiting.entry(queue.priority).or_default();
            *waiting = waiting.saturating_sub(1);
        }
        self.running -= u64::from(spot.running);
        if let Some(at) = spot.due_at {
            self.due.remove(&(at, id));
        }
        if let Some(at) = spot.settled_at {
            self.settled.remove(&(at, id));
        }
    }
}

/// Saturating: the far future is as good as any.
fn later(from: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    from.saturating_add(by).unwrap_or(Timestamp::MAX)
}
