//! What the crate promises as a whole: agreement with BuildKit, rendering, robustness.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod calls;
mod conformance;
mod corpus;
mod fix;
mod lower;
mod pages;
mod robust;
