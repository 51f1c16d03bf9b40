//! The use cases: admission, the walk of a job through its stages, and the job as users see it.
//!
//! Knows no Engine, no scanner and no file: only the seams of `seatrial-core`. A walk reads as a
//! sentence ([`worker`]); why it may end early is one type ([`fault::Stop`]).

pub mod admission;
pub mod case;
pub mod fault;
pub mod query;
pub mod result;
pub mod room;
pub mod service;
pub mod stage;
pub mod worker;
