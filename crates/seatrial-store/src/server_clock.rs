//! What time it is at a server, without asking it each time.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// A server's clock as it was told last: this host's time since boot goes on from there. Nobody sets that time,
/// and it goes on while the host sleeps. It is behind the server by the way of the answer, never ahead but for
/// what the server's clock was slowed down since.
pub(crate) struct ServerClock {
    good_for: Duration,
    told: Mutex<Option<Told>>,
}

#[derive(Clone, Copy)]
struct Told {
    micros: i64,
    /// Since boot.
    at: Duration,
}

impl ServerClock {
    /// `good_for`: how long an answer counts.
    pub(crate) fn new(good_for: Duration) -> Self {
        Self {
            good_for,
            told: Mutex::default(),
        }
    }

    /// Microseconds since the epoch; `None` when the server must be asked.
    pub(crate) fn micros(&self) -> Option<i64> {
        let told = (*self.told.lock().unwrap_or_else(PoisonError::into_inner))?;
        let gone = since_boot().checked_sub(told.at).filter(|gone| *gone < self.good_for)?;
        Some(told.micros.saturating_add(i64::try_from(gone.as_micros()).ok()?))
    }

    /// The server said so just now.
    pub(crate) fn set(&self, micros: i64) {
        let at = since_boot();
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(Told { micros, at });
    }
}

/// This host's time since boot: nobody sets it, and it goes on while the host sleeps.
pub(crate) fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_its_time_and_goes_on_meanwhile() {
        let clock = ServerClock::new(Duration::from_secs(60));
        assert_eq!(clock.micros(), None);
        clock.set(1_000_000);
        let first = clock.micros().unwrap();
        assert!(first >= 1_000_000);
        while clock.micros().unwrap() == first {
            std::hint::spin_loop();
        }
        let stale = ServerClock::new(Duration::ZERO);
        stale.set(1_000_000);
        assert_eq!(stale.micros(), None);
    }
}
