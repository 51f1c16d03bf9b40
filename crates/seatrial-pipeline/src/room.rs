//! The disk that trials may fill. Each says beforehand how much, so that a crowd of them does not fill a host's.

use std::sync::{Arc, Mutex, PoisonError};

use seatrial_core::engine::EngineError;
use seatrial_policy::Policy;

/// Bytes that are left to the host whatever trials want.
pub const KEPT: u64 = 1 << 30;

/// Bytes that one trial may fill: its layers lie in our spool, in the archive that the Engine unpacks, and unpacked.
/// What else it writes is memory.
#[must_use]
pub fn need(policy: &Policy) -> u64 {
    policy.limits.build.layers.as_u64().saturating_mul(3)
}

/// What the trials of this process were promised. Those of other processes show in what is free.
#[derive(Clone, Default, Debug)]
pub struct Room(Arc<Mutex<u64>>);

impl Room {
    /// Promises `need` of what is `free` until the promise is dropped. What a trial has filled already is counted
    /// twice meanwhile: rather too few side by side than a full disk.
    ///
    /// # Errors
    /// [`EngineError::DiskFull`] when that and what was promised before would leave less than [`KEPT`].
    pub fn promise(&self, need: u64, free: u64) -> Result<Promise, EngineError> {
        let mut promised = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = free.saturating_sub(KEPT).saturating_sub(*promised);
        if left < need {
            return Err(EngineError::DiskFull { left, need });
        }
        *promised += need;
        Ok(Promise {
            room: self.clone(),
            bytes: need,
        })
    }
}

/// Room on the disk, until this is dropped.
#[derive(Debug)]
pub struct Promise {
    room: Room,
    bytes: u64,
}

impl Drop for Promise {
    fn drop(&mut self) {
        *self.room.0.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_promised_is_not_promised_twice_and_comes_back() {
        let room = Room::default();
        let free = KEPT + 10;
        let first = room.promise(6, free).unwrap();
        let refused = room.clone().promise(6, free).unwrap_err();
        assert!(
            matches!(refused, EngineError::DiskFull { left: 4, need: 6 }),
            "{refused}"
        );
        assert!(refused.is_transient(), "the next try, or another worker, may have it");
        drop(first);
        assert!(room.promise(10, free).is_ok());
        assert!(room.promise(1, KEPT).is_err(), "the host keeps some");
    }
}
