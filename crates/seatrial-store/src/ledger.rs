//! Ledgers: the one truth about jobs, in memory, in a file or in Redis.
//!
//! Each passes the contract in `seatrial_core::testing::ledger`.

pub mod memory;
pub mod redis;
pub mod sqlite;

mod bell;
mod stored;
