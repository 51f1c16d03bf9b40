//! The binary as a process: what it is told, what it answers, what it leaves behind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bench;

mod build;
mod egress;
mod hold;
mod init;
mod put;
mod scan;
mod seccomp;
