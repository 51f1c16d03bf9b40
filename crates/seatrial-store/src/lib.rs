//! Everything that remembers: ledgers, dispatch, vaults.

pub mod ledger;
pub mod vault;
