//! Everything that remembers: ledgers, dispatch, vaults.

pub mod dispatch;
pub mod ledger;
pub mod private_file;
mod server_clock;
mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
pub mod vault;
