//! The walk on fakes with faults: who is asked what, and how a job ends.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod away;
mod bases;
mod deliver;
mod hand_back;
mod rego;
mod service;
mod slots;
mod telemetry;
mod tries;
mod walk;
