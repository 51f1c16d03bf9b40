//! The words of Seatrial and the seams between its parts.
//!
//! Everything here is a value or a trait: no file is opened, no socket is dialled, no clock is
//! read except through [`jiff::Timestamp`] values that callers pass in ([`points`], which tests alone switch on, is
//! the one exception). Adapters (`seatrial-engine`,
//! `seatrial-scan`) implement the seams; `seatrial-pipeline` walks a job through them.
//!
//! Reading order: [`id`], [`digest`], [`finding`], [`limits`], [`job`] (the state machine), [`record`]
//! (what a ledger holds of a job, and its one mover), [`view`] (what users see), then the seams
//! [`engine`] (with [`egress`], the way out), [`scanner`], [`ledger`], [`vault`], [`dispatch`], [`trace`].

pub mod digest;
pub mod dispatch;
pub mod egress;
pub mod engine;
pub mod finding;
pub mod id;
pub mod image;
pub mod job;
pub mod ledger;
pub mod limits;
pub mod log;
pub mod oci;
pub mod points;
pub mod progress;
pub mod record;
pub mod scanner;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;
pub mod vault;
pub mod view;
pub mod walls;

/// A boxed error that keeps its chain of sources.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
