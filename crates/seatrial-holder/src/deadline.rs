//! The dead-man's switch, and the only place that kills.
//!
//! # Why here
//! `kill(-1)` by root on a machine kills the machine. [`kill_others`] therefore asks first whether
//! we are process 1 of our pid namespace, each time, and otherwise touches one group only.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions};

use crate::EXIT_DEADLINE;

/// How long a role may still speak after its deadline.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often the switch kills again: a process may have been between fork and our knowing it.
const STROKE: Duration = Duration::from_millis(50);
/// How long we wait for killed processes to be gone.
const REAP: Duration = Duration::from_secs(3);

/// Shared between the role and its switch.
#[derive(Clone)]
pub(crate) struct Deadline {
    passed: Arc<AtomicBool>,
    /// Nobody is there any more: that is why it passed.
    orphaned: Arc<AtomicBool>,
    /// Process (and group) of the child, 0 for none.
    child: Arc<AtomicI32>,
}

impl Deadline {
    /// Starts to count. `grace` is how long the child has between SIGTERM and SIGKILL.
    pub(crate) fn start(after: Duration, grace: Duration) -> Self {
        let deadline = Self {
            passed: Arc::new(AtomicBool::new(false)),
            orphaned: Arc::new(AtomicBool::new(false)),
            child: Arc::new(AtomicI32::new(0)),
        };
        let switch = deadline.clone();
        thread::spawn(move || {
            thread::sleep(after);
            switch.fire(grace);
        });
        deadline
    }

    /// For roles that need no last words and have no child.
    pub(crate) fn exit_after(after: Option<Duration>) {
        if let Some(after) = after {
            thread::spawn(move || {
                thread::sleep(after);
                std::process::exit(EXIT_DEADLINE);
            });
        }
    }

    pub(crate) fn passed(&self) -> bool {
        self.passed.load(Ordering::SeqCst)
    }

    /// Nobody is there any more who wants the outcome.
    pub(crate) fn orphaned(&self) -> bool {
        self.orphaned.load(Ordering::SeqCst)
    }

    /// Ends everything now, without a polite signal: there is nobody to be polite for. Does not return.
    pub(crate) fn orphan(&self) {
        self.orphaned.store(true, Ordering::SeqCst);
        self.fire(Duration::ZERO);
    }

    /// From now on this child dies at the deadline.
    pub(crate) fn watch(&self, child: Pid) {
        self.child.store(child.as_raw_pid(), Ordering::SeqCst);
    }

    /// The child was reaped: its number may be another's now.
    pub(crate) fn unwatch(&self) {
        self.child.store(0, Ordering::SeqCst);
    }

    fn child(&self) -> Option<Pid> {
        Pid::from_raw(self.child.load(Ordering::SeqCst))
    }

    fn fire(&self, grace: Duration) {
        self.passed.store(true, Ordering::SeqCst);
        if let Some(child) = self.child().filter(|_| !grace.is_zero()) {
            signal_group(child, Signal::TERM);
            let patience = Instant::now() + grace;
            while self.child() == Some(child) && Instant::now() < patience {
                thread::sleep(STROKE);
            }
        }
        let silence = Instant::now() + LAST_WORDS;
        while Instant::now() < silence {
            kill_others(self.child());
            thread::sleep(STROKE);
        }
        std::process::exit(EXIT_DEADLINE);
    }
}

/// Kills every other process of the container; when we are not process 1, only `group`.
/// Says whether there was anything to kill.
pub(crate) fn kill_others(group: Option<Pid>) -> bool {
    if rustix::process::getpid().is_init() {
        // Written as a group: `kill(-1)` is every process that we may signal, but not ourselves.
        return rustix::process::kill_process_group(Pid::INIT, Signal::KILL).is_ok();
    }
    group.is_some_and(|group| signal_group(group, Signal::KILL))
}

/// Signals the child's group, and the child itself, which may not have made its group yet.
fn signal_group(child: Pid, signal: Signal) -> bool {
    if child.is_init() {
        return false; // as a group this would be everything
    }
    let group = rustix::process::kill_process_group(child, signal).is_ok();
    let leader = rustix::process::kill_process(child, signal).is_ok();
    group || leader
}

/// Kills and reaps until nothing is left, for at most three seconds. The number of processes that
/// were reaped.
pub(crate) fn end_others(group: Option<Pid>) -> u64 {
    let patience = Instant::now() + REAP;
    let mut reaped = 0;
    loop {
        let living = kill_others(group);
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => reaped += 1,
                Ok(None) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) if !living => return reaped,
                Err(_) => break,
            }
        }
        if Instant::now() > patience {
            return reaped;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
