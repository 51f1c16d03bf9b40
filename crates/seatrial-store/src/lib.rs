//! Everything that remembers: ledgers, dispatch, vaults.
