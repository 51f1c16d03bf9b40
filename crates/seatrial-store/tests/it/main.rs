//! Stores against their contracts, and what is particular to each of them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a test says what it could not check")]

mod memory;
mod rabbitmq;
mod redis;
mod sqlite;
mod vault;
