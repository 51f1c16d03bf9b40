//! Everything that remembers: ledgers, dispatch, vaults.

pub mod ledger;
