//! The service: the same trial, asynchronous. What is asked of it goes through [`submit`] and [`read`];
//! a [`worker`] does the work under a lease; [`upkeep`] sees to it that every job ends; [`deliver`] sends word
//! of it.
//!
//! # Liveness
//! Each job has a deadline that was fixed when it was admitted. Whoever holds it renews a lease; a lease
//! that runs out, a wait that is too long and a deadline that passed are seen by the upkeep of any process.

use std::{sync::Arc, time::Duration};

use seatrial_core::{
    dispatch::Dispatch,
    ledger::{Ledger, LedgerError},
    vault::{Vault, VaultError},
};

use self::telemetry::Telemetry;
use crate::case::{COLLECT_TIME, LOAD_TIME, RESOLVE_TIME, Settings};

pub mod deliver;
pub mod end;
pub mod metrics;
pub mod points;
pub mod read;
pub mod submit;
pub mod telemetry;
pub mod upkeep;
pub mod worker;

/// Everything that the use cases need; cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// The one truth.
    pub ledger: Arc<dyn Ledger>,
    /// Guests' bytes.
    pub vault: Arc<dyn Vault>,
    /// Carries tickets, where there is a broker.
    pub dispatch: Option<Arc<dyn Dispatch>>,
    /// What the operator set.
    pub settings: Arc<Settings>,
    /// Bounds of the queue.
    pub queue: QueueLimits,
    /// What this process tells of its work.
    pub telemetry: Telemetry,
}

/// Bounds of the queue and of what is kept.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Jobs that may wait.
    pub max_waiting: u64,
    /// Longest wait.
    pub wait: Duration,
    /// Longest delay that a submitter may ask for.
    pub max_delay: Duration,
    /// How long an idempotency key is remembered.
    pub keep_keys: Duration,
    /// How long a settled job is remembered.
    pub keep_jobs: Duration,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            max_waiting: 100_000,
            wait: Duration::from_secs(60 * 60),
            max_delay: Duration::from_secs(24 * 60 * 60),
            keep_keys: Duration::from_secs(24 * 60 * 60),
            keep_jobs: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl Settings {
    /// Longest time of all tries together: the bounds of all stages, each try anew.
    #[must_use]
    pub fn longest_trial(&self) -> Duration {
        let limits = &self.policy.limits;
        let ours = RESOLVE_TIME + LOAD_TIME + COLLECT_TIME;
        let one_try = limits.build.time + limits.scan.time + limits.run.time + ours;
        one_try * self.attempts.max(1)
    }
}

/// A part of the service gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The ledger's.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The vault's.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What was read from the vault is not what we put there.
    #[error("a document of the job cannot be read")]
    Document(#[from] serde_json::Error),
}

impl ServiceError {
    /// Worth another try.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Ledger(error) => error.is_transient(),
            Self::Vault(error) => error.is_transient(),
            Self::Document(_) => false,
        }
    }
}
