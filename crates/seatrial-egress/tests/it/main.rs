//! The real binary, driven by frames, against hosts and a name server on the loopback.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

mod frames;
mod hosts;
mod limits;
mod names;
mod requests;
