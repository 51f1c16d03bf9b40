//! The life line: standard input stays open for as long as somebody wants the outcome.
//!
//! # Why
//! Whoever started us may be killed, and nobody may come after it. The kernel then closes its end of
//! the stream, the Engine closes ours, and what runs here for nobody ends within a second instead of
//! at its limit. The limit stands all the same: a connection over a network may never be seen to end.

use std::{
    io::{self, Read},
    thread,
};

use crate::{
    deadline::Deadline,
    wire::{Broken, surroundings},
};

/// A thread that only reads needs no more.
const STACK: usize = 64 << 10;

/// Reads what is left of standard input, and ends everything at its end. Whoever holds the lock of
/// standard input must have given it back.
pub(crate) fn hold(deadline: &Deadline) -> Result<(), Broken> {
    let deadline = deadline.clone();
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            wait_for_end();
            deadline.orphan();
        })
        .map(drop)
        .map_err(surroundings("watch standard input"))
}

/// There is nothing more to be told, so what comes is thrown away.
fn wait_for_end() {
    let mut input = io::stdin().lock();
    let mut chunk = [0; 4096];
    loop {
        match input.read(&mut chunk) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
}
