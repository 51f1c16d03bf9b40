//! The API in process, on a ledger and a vault in memory and an Engine that does what a script says. Every
//! answer of every test is held against the API's description.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

// The same ledger that can be away as in the pipeline's tests.
#[expect(dead_code, reason = "nothing ends a job here while the ledger is away")]
#[path = "../../../seatrial-pipeline/tests/it/away.rs"]
mod away;
mod callers;
mod description;
mod edge;
mod forms;
mod jobs;
mod lines;
mod metrics;
mod reading;
mod schema;
mod socket;
mod streams;
mod support;
mod webhooks;
