//! `init`: process 1 of a guest.
//!
//! The guest writes to the container's own streams, without us in between. What it cannot write is
//! our report: the nonce never leaves our memory while it lives. With a tunnel it has standard error for
//! both of its streams, and standard output is ours.

use std::{os::fd::AsFd, time::Duration};

use rustix::fs::{Gid, Uid};

use crate::{
    EXIT_DEADLINE,
    args::Args,
    child::{self, Job, User},
    deadline::Deadline,
    egress::Tunnel,
    life,
    report::Report,
    wire::{Broken, nonce, surroundings},
};

pub(super) const OPTIONS: &[&str] = &[
    "--deadline-s",
    "--idle-s",
    "--grace-s",
    "--workdir",
    "--egress",
    "--user",
];

/// The container's streams are ours, and the guest, who is another, opens its own anew by `/dev/stdout`.
fn lend(user: User, and_stdout: bool) {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    // A guest that cannot open them can write to them all the same.
    if and_stdout {
        let _ = rustix::fs::fchown(rustix::stdio::stdout(), Some(uid), Some(gid));
    }
    let _ = rustix::fs::fchown(rustix::stdio::stderr(), Some(uid), Some(gid));
}

pub(super) fn run(args: &Args) -> Result<i32, Broken> {
    if args.operands.is_empty() {
        return Err(Broken::Usage("init what?".to_owned()));
    }
    let grace = Duration::from_secs(args.number("--grace-s", 60)?.unwrap_or(2));
    // While its image is scanned a guest's container stands ready with us alone in it.
    life::wait_for_job(args.idle()?)?;
    let deadline = Deadline::start(args.required_deadline()?, grace);
    let user = args.text("--user").map(User::read).transpose()?;
    let nonce = nonce(&mut std::io::stdin().lock())?;
    let tunnel = Tunnel::asked(args)?.map(|(tunnel, _)| tunnel);
    life::hold(&deadline, tunnel.as_ref())?;
    // Frames go where the guest cannot write.
    let stdout = match tunnel {
        Some(_) => Some(
            std::io::stderr()
                .as_fd()
                .try_clone_to_owned()
                .map_err(surroundings("keep standard error"))?,
        ),
        None => None,
    };
    let job = Job {
        command: &args.operands,
        directory: args.text("--workdir"),
        environment: None,
        stdout: stdout.map(Into::into),
        stderr: None,
        user,
    };
    if let Some(user) = user {
        lend(user, job.stdout.is_none());
    }
    let end = child::run(job, &deadline)?;
    Report::of(&nonce, &end).send()?;
    Ok(if end.late { EXIT_DEADLINE } else { end.code })
}
