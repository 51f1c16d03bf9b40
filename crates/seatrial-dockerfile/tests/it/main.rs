//! What the crate promises as a whole: agreement with BuildKit, rendering, robustness.

mod corpus;
mod lower;
mod robust;
