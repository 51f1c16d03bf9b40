//! Wakes those of this process who wait for work or for a job's news.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use seatrial_core::id::JobId;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

/// A wait ends after this without any word: a wake-up that was lost costs so much time at most.
pub(crate) const WHILE: Duration = Duration::from_secs(2);

/// Rings when work may have come, and when a job moved.
#[derive(Debug)]
pub(crate) struct Bell {
    work: watch::Sender<u64>,
    jobs: Mutex<HashMap<JobId, Watched>>,
}

#[derive(Debug)]
struct Watched {
    watchers: usize,
    /// The revision that the watchers know, where a ledger tells it; the inner one is `None` for no job.
    known: Option<Option<i64>>,
    moved: Arc<Notify>,
}

/// What one handle has heard of work.
#[derive(Debug, Default)]
pub(crate) struct Heard(AtomicU64);

impl Default for Bell {
    fn default() -> Self {
        // One ring ahead of a new listener: what came before its first wait counts.
        let (work, _) = watch::channel(1);
        Self {
            work,
            jobs: Mutex::default(),
        }
    }
}

impl Bell {
    /// Work may have come.
    pub(crate) fn ring_work(&self) {
        self.work.send_modify(|rings| *rings += 1);
    }

    /// A job moved.
    pub(crate) fn ring_job(&self, id: JobId) {
        if let Some(watched) = self.jobs().get(&id) {
            watched.moved.notify_waiters();
        }
    }

    /// Returns when [`Self::ring_work`] was called since this listener's last return, or after `patience`.
    pub(crate) async fn work(&self, heard: &Heard, patience: Duration) {
        let mut rings = self.work.subscribe();
        let now = *rings.borrow_and_update();
        if heard.0.fetch_max(now, Ordering::AcqRel) < now {
            return;
        }
        // An error would mean that the bell is gone, and we hold it; time-out is an answer, too.
        let _ = timeout(patience, rings.changed()).await;
        let now = *rings.borrow();
        heard.0.fetch_max(now, Ordering::AcqRel);
    }

    /// Watches a job from now on.
    pub(crate) fn watch(&self, id: JobId) -> Watch<'_> {
        let mut jobs = self.jobs();
        let watched = jobs.entry(id).or_insert_with(|| Watched {
            watchers: 0,
            known: None,
            moved: Arc::default(),
        });
        watched.watchers += 1;
        Watch {
            bell: self,
            id,
            moved: Arc::clone(&watched.moved),
        }
    }

    /// Jobs that are watched, with the revision that is known.
    pub(crate) fn watched(&self) -> Vec<(JobId, Option<i64>)> {
        let jobs = self.jobs();
        let known = jobs.iter().filter_map(|(id, watched)| Some((*id, watched.known?)));
        known.collect()
    }

    /// A job has this revision; rings if watchers know another one.
    pub(crate) fn learn(&self, id: JobId, revision: Option<i64>) {
        if let Some(watched) = self.jobs().get_mut(&id) {
            let known = watched.known.replace(revision);
            if known.is_some_and(|known| known != revision) {
                watched.moved.notify_waiters();
            }
        }
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Watched>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody watches a job.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    bell: &'a Bell,
    id: JobId,
    /// Rings with each move.
    pub(crate) moved: Arc<Notify>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut jobs = self.bell.jobs();
        if let Some(watched) = jobs.get_mut(&self.id) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                jobs.remove(&self.id);
            }
        }
    }
}
