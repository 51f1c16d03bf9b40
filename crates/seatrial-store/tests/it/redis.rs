//! The contract of ledgers on a real Redis, and what only this ledger promises.

mod acl;
mod contract;
mod faults;
mod fit;
