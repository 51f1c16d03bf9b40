//! The life line: standard input stays open for as long as somebody wants the outcome.
//!
//! # Why
//! Whoever started us may be killed, and nobody may come after it. The kernel then closes its end of
//! the stream, the Engine closes ours, and what runs here for nobody ends within a second instead of
//! at its limit. The limit stands all the same: a connection over a network may never be seen to end.

use std::{
    io::{self, BufRead, Read},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use crate::{
    EXIT_DEADLINE,
    deadline::Deadline,
    egress::Tunnel,
    wire::{Broken, surroundings},
};

/// A thread that only reads needs no more.
const STACK: usize = 64 << 10;

/// Reads what is left of standard input, frames for `tunnel` if there is one, and ends everything at its
/// end. Whoever holds the lock of standard input must have given it back.
pub(crate) fn hold(deadline: &Deadline, tunnel: Option<&Tunnel>) -> Result<(), Broken> {
    let (deadline, tunnel) = (deadline.clone(), tunnel.cloned());
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            let mut input = io::stdin().lock();
            if let Some(tunnel) = tunnel {
                tunnel.read(&mut input);
            }
            wait_for_end(&mut input);
            deadline.orphan();
        })
        .map(drop)
        .map_err(surroundings("watch standard input"))
}

/// Waits for the first byte of standard input, or its end, at most for `idle`: whoever stands ready for a job that
/// is not there yet has no limit of a job yet. Its end is for the role to judge.
pub(crate) fn wait_for_job(idle: Option<Duration>) -> Result<(), Broken> {
    let Some(idle) = idle else {
        return Ok(());
    };
    let (come, watch) = mpsc::channel::<()>();
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            if watch.recv_timeout(idle) == Err(RecvTimeoutError::Timeout) {
                std::process::exit(EXIT_DEADLINE);
            }
        })
        .map_err(surroundings("watch standard input"))?;
    io::stdin()
        .lock()
        .fill_buf()
        .map_err(surroundings("read standard input"))?;
    drop(come);
    Ok(())
}

/// There is nothing more to be told, so what comes is thrown away.
fn wait_for_end(input: &mut impl Read) {
    let mut chunk = [0; 4096];
    loop {
        match input.read(&mut chunk) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
}
