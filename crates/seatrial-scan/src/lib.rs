//! The scanner as a container: Trivy, its database, its reports.
//!
//! Trivy is run as untrusted code: no network, no capabilities, no socket, memory and time
//! bounded, its database on a read-only volume. It reads the image from standard input, straight
//! from the builder's checked output. What it says is believed only when it is a report about
//! this very image: same id, same diffIDs, and the system of its base.
//! "No answer" and "clean" are different types.

pub mod database;
mod report;
mod slot;
mod trivy;

pub use report::ReportError;
pub use trivy::{Trivy, TrivySettings};
