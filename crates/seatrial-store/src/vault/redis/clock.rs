//! What time it is at the server, without asking it each time.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// An answer of the server counts for so long; meanwhile this host's time since boot goes on from it. Nobody
/// sets that time, and it goes on while the host sleeps.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// The server's clock as it was told last.
#[derive(Default)]
pub(super) struct Clock(Mutex<Option<Told>>);

#[derive(Clone, Copy)]
struct Told {
    now_ms: u64,
    /// Since boot.
    at: Duration,
}

impl Clock {
    /// Milliseconds since the epoch; `None` when the server must be asked.
    pub(super) fn now(&self) -> Option<u64> {
        let told = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let gone = since_boot().checked_sub(told.at).filter(|gone| *gone < GOOD_FOR)?;
        Some(told.now_ms.saturating_add(u64::try_from(gone.as_millis()).ok()?))
    }

    /// The server said so just now.
    pub(super) fn set(&self, now_ms: u64) {
        let at = since_boot();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Told { now_ms, at });
    }
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
