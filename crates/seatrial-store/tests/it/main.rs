//! Contracts, on each store.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod memory;
mod rabbitmq;
mod redis;
mod sqlite;
