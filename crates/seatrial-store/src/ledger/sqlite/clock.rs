//! The ledger's clock: the host's time since it was booted, and an anchor that stands in the file.
//!
//! All processes of a host see the same time since boot, and nobody can set it, so a process whose wall
//! clock jumps ends no lease. The first process after a boot anchors it at the wall clock, but never
//! before the last time that the file has seen.

use std::{fmt, fs, sync::Arc, time::Duration};

use jiff::Timestamp;
use seatrial_core::ledger::LedgerError;

use crate::server_clock;

/// Where time comes from. Made by [`Clock::of_host`]; tests make their own.
#[derive(Clone)]
pub struct Clock {
    /// Names this boot of the host, so that an anchor of another one is not used.
    pub boot: String,
    /// Time since it was booted; never goes back, the same for all processes.
    pub since_boot: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// The wall clock, asked once a boot.
    pub wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Clock {
    /// This host's.
    ///
    /// # Errors
    /// [`LedgerError::Unfit`] without `/proc`.
    pub fn of_host() -> Result<Self, LedgerError> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(|error| LedgerError::Unfit(format!("the id of this boot cannot be read: {error}")))?;
        // A container may have a time of its own since boot; then it needs an anchor of its own.
        let space = fs::read_link("/proc/self/ns/time").unwrap_or_default();
        Ok(Self {
            boot: format!("{} {}", boot.trim(), space.display()),
            since_boot: Arc::new(server_clock::since_boot),
            wall: Arc::new(Timestamp::now),
        })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Clock")
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

/// A clock with its anchor.
#[derive(Clone, Debug)]
pub(super) struct Anchored {
    clock: Clock,
    /// Microseconds from boot to the epoch.
    offset: i64,
}

impl Anchored {
    /// At an anchor that stands in the file.
    pub(super) fn at(clock: Clock, offset: i64) -> Self {
        Self { clock, offset }
    }

    /// Microseconds since the epoch.
    pub(super) fn micros(&self) -> i64 {
        since_boot(&self.clock).saturating_add(self.offset)
    }
}

/// The anchor to write for a boot without one: the wall clock, but not before what the file has seen.
pub(super) fn anchor(clock: &Clock, seen: i64) -> i64 {
    (clock.wall)().as_microsecond().max(seen) - since_boot(clock)
}

fn since_boot(clock: &Clock) -> i64 {
    i64::try_from((clock.since_boot)().as_micros()).unwrap_or(i64::MAX / 2)
}

/// A time as the file has it; a fraction of a microsecond counts as a whole one, so nothing is found early.
pub(super) fn column(at: Timestamp) -> i64 {
    let micros = at.as_microsecond();
    micros + i64::from(at.as_nanosecond() > i128::from(micros) * 1_000)
}

/// A time of the file.
pub(super) fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

/// Saturating: the far future is as good as any.
pub(super) fn later(micros: i64, by: Duration) -> i64 {
    micros.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
}
