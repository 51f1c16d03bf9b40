//! The words of Seatrial and the seams between its parts.
//!
//! Everything here is a value or a trait: no file is opened, no socket is dialled, no clock is
//! read except through [`jiff::Timestamp`] values that callers pass in. Adapters (`seatrial-engine`,
//! `seatrial-scan`) implement the seams; `seatrial-pipeline` walks a job through them.
//!
//! Reading order: [`id`], [`digest`], [`finding`], [`limits`], [`job`] (the state machine),
//! [`view`] (what users see), then the seams [`engine`] and [`scanner`].

pub mod digest;
pub mod engine;
pub mod finding;
pub mod id;
pub mod image;
pub mod job;
pub mod limits;
pub mod log;
pub mod oci;
pub mod progress;
pub mod scanner;
#[cfg(feature = "testing")]
pub mod testing;
pub mod view;

/// A boxed error that keeps its chain of sources.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
