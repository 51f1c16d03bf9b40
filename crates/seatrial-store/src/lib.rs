//! Everything that remembers: ledgers, dispatch, vaults.

pub mod dispatch;
pub mod ledger;
mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
pub mod vault;
