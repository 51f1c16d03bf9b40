//! Findings and rules for people: plain functions from values to text.
//!
//! The text carries terminal styles; the caller prints it through `anstream`, which takes them
//! away where nobody wants them. Everything of the guest's is escaped here, once, so that no
//! Dockerfile can drive the terminal of whoever reads about it.

pub(crate) mod findings;
pub(crate) mod news;
pub(crate) mod reports;
pub(crate) mod rules;
pub(crate) mod table;
