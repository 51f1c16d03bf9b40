//! Ledgers: the one truth about jobs, in memory or in a file.
//!
//! Each passes the contract in `seatrial_core::testing::ledger`.

pub mod memory;
pub mod sqlite;

mod bell;
mod stored;
