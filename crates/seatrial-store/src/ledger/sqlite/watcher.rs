//! Notices what other processes wrote, only while somebody waits for it.
//!
//! SQLite has no way to wake another process. A number that it keeps in shared memory says that something
//! was written; to look at it is a few microseconds of work, forty times a second.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::Duration,
};

use rusqlite::Connection;
use seatrial_core::ledger::LedgerError;

use super::{
    clock::Anchored,
    file::{self, Fault},
    queries,
};
use crate::ledger::bell::Bell;

const PERIOD: Duration = Duration::from_millis(25);

/// Looks while anybody waits.
#[derive(Debug)]
pub(super) struct Watcher {
    door: Arc<Door>,
}

#[derive(Debug, Default)]
struct Door {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    people: usize,
    closed: bool,
}

impl Door {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits.
pub(super) struct Waits<'a>(&'a Door);

impl Watcher {
    /// Starts the thread; it ends when this is dropped.
    pub(super) fn start(path: &Path, clock: Anchored, bell: &Arc<Bell>) -> Result<Self, LedgerError> {
        let door = Arc::<Door>::default();
        let look = Look {
            db: file::reader(path)?,
            clock,
            bell: Arc::downgrade(bell),
            version: None,
        };
        let entrance = Arc::clone(&door);
        thread::Builder::new()
            .name("ledger-watcher".into())
            .spawn(move || watch(&entrance, look))
            .map_err(|error| LedgerError::Unfit(format!("no thread can be started: {error}")))?;
        Ok(Self { door })
    }

    /// Has it look until this is dropped.
    pub(super) fn wait(&self) -> Waits<'_> {
        let mut waiting = self.door.waiting();
        waiting.people += 1;
        if waiting.people == 1 {
            self.door.changed.notify_all();
        }
        Waits(&self.door)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting().people -= 1;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.door.waiting().closed = true;
        self.door.changed.notify_all();
    }
}

struct Look {
    db: Connection,
    clock: Anchored,
    bell: Weak<Bell>,
    version: Option<i64>,
}

fn watch(door: &Door, mut look: Look) {
    let mut waiting = door.waiting();
    while !waiting.closed {
        if waiting.people == 0 {
            waiting = door.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        drop(waiting);
        // A fault is seen by those who ask the ledger; a wait ends by itself.
        let _ = look.look();
        waiting = door.waiting();
        if !waiting.closed {
            (waiting, _) = door
                .changed
                .wait_timeout(waiting, PERIOD)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Look {
    fn look(&mut self) -> Result<(), Fault> {
        let Some(bell) = self.bell.upgrade() else {
            return Ok(());
        };
        let read = "PRAGMA data_version";
        let version = self.db.prepare_cached(read)?.query_row([], |row| row.get(0))?;
        if self.version == Some(version) {
            return Ok(());
        }
        for (id, known) in bell.watched() {
            let revision = queries::revision(&self.db, id)?;
            if revision != known {
                bell.learn(id, revision);
            }
        }
        if queries::work_waits(&self.db, self.clock.micros())? {
            bell.ring_work();
        }
        self.version = Some(version);
        Ok(())
    }
}
