//! The process that works the checks out.
//!
//! Before it reads a byte it gives up what it does not need, by limits that the kernel keeps: files, processes,
//! descriptors, and more memory and time than it was allowed. What it is given comes on standard input, what it answers
//! goes to standard output; on standard error it says where it is.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, Signal, setrlimit};

use crate::{
    judge,
    wire::{Answer, Bounds, Failure, MAX_REQUEST, Request},
};

/// The word by which our binary is this process.
pub const WORD: &str = "rego-child";

/// Its stack grows no further: a function that calls itself ends here.
const STACK: u64 = 8 << 20;

/// Bounds this process, answers one request and returns the exit code.
///
/// # Errors
/// A limit cannot be set, or nobody can be answered.
pub fn run(bounds: Bounds) -> io::Result<()> {
    bind(bounds)?;
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_REQUEST + 1).read_to_end(&mut bytes)?;
    let answer = match serde_json::from_slice::<Request>(&bytes) {
        Ok(request) => {
            drop(bytes);
            let mut tell = |place: &str| {
                let _ = writeln!(io::stderr(), "{AT}{place}");
            };
            match judge::judge(request, &mut tell) {
                Ok(hits) => Answer::Found(hits),
                Err(failure) => Answer::Failed(failure),
            }
        }
        Err(why) => Answer::Failed(Failure::of(format!("the request cannot be read: {why}"))),
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &answer)?;
    out.flush()
}

/// What a line about the place begins with.
pub(crate) const AT: &str = "at ";

/// The address space that this program has before it does anything, in bytes.
fn taken() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kibibytes: Option<u64> = size.and_then(|size| size.trim().strip_suffix("kB")?.trim().parse().ok());
    let kibibytes = kibibytes.ok_or_else(|| io::Error::other("the kernel does not say how large this process is"))?;
    Ok(kibibytes.saturating_mul(1024))
}

fn bind(bounds: Bounds) -> io::Result<()> {
    // Whoever asked is gone: so are we.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    // A large program is no reason to give its checks less.
    let memory = bounds.memory.saturating_add(taken()?);
    let seconds = bounds.deadline.saturating_add(Duration::from_millis(999)).as_secs();
    for (resource, most) in [
        (Resource::As, memory),
        (Resource::Cpu, seconds),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Stack, STACK),
        // None on processes: it would forbid the thread for text that lies deep as well. Nothing here starts one, and
        // without a descriptor there is nothing to start.
        (Resource::Nofile, 3),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)?;
    }
    Ok(())
}
