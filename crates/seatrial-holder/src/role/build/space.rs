//! How full the volumes of a build became.
//!
//! buildah tidies up after a step that failed, so afterwards a volume that was full is empty
//! again. So it is looked at all the time, and the lowest that was seen is told.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::report::Report;

/// A step that finds no room takes longer than this to end.
const PERIOD: Duration = Duration::from_millis(10);

/// Room in one volume.
#[derive(Clone, Copy)]
struct Room {
    free: u64,
    total: u64,
    inodes_free: u64,
}

/// What was seen of one volume: at last, and at the worst.
#[derive(Clone, Copy)]
struct Seen {
    last: Room,
    low: u64,
    inodes_low: u64,
}

/// What was seen of the store and of the output.
pub(super) struct Lowest {
    store: Option<Seen>,
    out: Option<Seen>,
}

/// Looks until it is stopped.
pub(super) struct Watch {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Lowest>,
}

impl Watch {
    pub(super) fn start(store: &Path, out: &Path) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let told = done.clone();
        let volumes: [PathBuf; 2] = [store.to_owned(), out.to_owned()];
        let thread = thread::spawn(move || {
            let mut lowest = Lowest { store: None, out: None };
            loop {
                let last = told.load(Ordering::SeqCst);
                lowest.store = look(lowest.store, &volumes[0]);
                lowest.out = look(lowest.out, &volumes[1]);
                if last {
                    return lowest;
                }
                thread::park_timeout(PERIOD);
            }
        });
        Self { done, thread }
    }

    /// Looks once more, then ends.
    pub(super) fn stop(self) -> Lowest {
        self.done.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
        self.thread.join().unwrap_or(Lowest { store: None, out: None })
    }
}

fn look(before: Option<Seen>, volume: &Path) -> Option<Seen> {
    let Ok(space) = rustix::fs::statvfs(volume) else {
        return before;
    };
    let last = Room {
        free: space.f_bavail.saturating_mul(space.f_frsize),
        total: space.f_blocks.saturating_mul(space.f_frsize),
        inodes_free: space.f_ffree,
    };
    let (low, inodes_low) = match before {
        Some(seen) => (seen.low.min(last.free), seen.inodes_low.min(last.inodes_free)),
        None => (last.free, last.inodes_free),
    };
    Some(Seen { last, low, inodes_low })
}

impl Lowest {
    pub(super) fn tell(&self, report: &mut Report) {
        for (what, seen) in [("store", &self.store), ("out", &self.out)] {
            let mut add = |key: &str, value: fn(&Seen) -> u64| {
                report.add_measured(&format!("{what}_{key}"), seen.as_ref().map(value));
            };
            add("free", |seen| seen.last.free);
            add("total", |seen| seen.last.total);
            add("inodes_free", |seen| seen.last.inodes_free);
            add("low", |seen| seen.low);
            add("inodes_low", |seen| seen.inodes_low);
        }
    }
}
