//! `init`: process 1 of a guest.
//!
//! The guest writes to the container's own streams, without us in between. What it cannot write is
//! our report: the nonce never leaves our memory while it lives.

use std::time::Duration;

use crate::{
    EXIT_DEADLINE,
    args::Args,
    child::{self, Job},
    deadline::Deadline,
    life,
    report::Report,
    wire::{Broken, nonce},
};

pub(super) const OPTIONS: &[&str] = &["--deadline-s", "--grace-s", "--workdir"];

pub(super) fn run(args: &Args) -> Result<i32, Broken> {
    if args.operands.is_empty() {
        return Err(Broken::Usage("init what?".to_owned()));
    }
    let grace = Duration::from_secs(args.number("--grace-s", 60)?.unwrap_or(2));
    let deadline = Deadline::start(args.required_deadline()?, grace);
    let nonce = nonce(&mut std::io::stdin().lock())?;
    life::hold(&deadline)?;
    let job = Job {
        command: &args.operands,
        directory: args.text("--workdir"),
        environment: None,
        stdout: None,
        stderr: None,
    };
    let end = child::run(job, &deadline)?;
    Report::of(&nonce, &end).send()?;
    Ok(if end.late { EXIT_DEADLINE } else { end.code })
}
