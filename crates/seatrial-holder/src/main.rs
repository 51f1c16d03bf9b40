//! One small static binary that is process 1 in every container of ours: it keeps `/data` alive and
//! reads it, writes inputs, starts guests, drives the builder and the scanner.
//!
//! `PROTOCOL.md` beside this crate says what each role is told and what it answers.
//!
//! # Why it depends on nothing
//! It runs beside untrusted processes, in images without a libc. So it is static, has no
//! configuration, and knows no crate of ours; the engine embeds it and knows its sha256.
//!
//! # Liveness
//! Each role ends: by the end of its input ([`life`] where a child runs), by the end of its child, or
//! by its deadline ([`deadline`]), also when nobody is attached to the container any more.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod args;
mod wire;

mod beneath;
mod child;
mod deadline;
mod egress;
mod life;
mod measure;
mod report;
mod role;
mod spool;

use std::io::Write;

use wire::Broken;

/// Wrong arguments.
const EXIT_USAGE: i32 = 2;
/// The input broke the protocol.
const EXIT_PROTOCOL: i32 = 96;
/// The surroundings cannot be used.
const EXIT_SURROUNDINGS: i32 = 97;
/// The deadline ended it.
const EXIT_DEADLINE: i32 = 124;

fn main() {
    harden();
    let code = match role::run(std::env::args_os().skip(1)) {
        Ok(code) => code,
        Err(broken) => {
            complain(&broken.to_string());
            match broken {
                Broken::Usage(_) => EXIT_USAGE,
                Broken::Protocol(_) => EXIT_PROTOCOL,
                Broken::Surroundings(_) => EXIT_SURROUNDINGS,
                Broken::Deadline => EXIT_DEADLINE,
            }
        }
    };
    std::process::exit(code);
}

/// Before anything else: nobody of the same user may trace us or read our memory (the nonce), and
/// no child gains privileges from a file. A kernel that knows neither is older than containers.
fn harden() {
    let hidden = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let humble = rustix::thread::set_no_new_privs(true);
    if hidden.is_err() || humble.is_err() {
        complain("prctl is refused");
        std::process::exit(EXIT_SURROUNDINGS);
    }
}

fn complain(text: &str) {
    // Nobody may be listening, and there is nowhere else to say it.
    let _ = writeln!(std::io::stderr(), "holder: {text}");
}
