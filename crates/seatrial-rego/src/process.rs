//! Asking the child, and ending it.

use std::{
    io::{self, Read, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    child::{AT, WORD},
    wire::{Answer, Bounds, Failure, Hit, MAX_ANSWER, MAX_REQUEST, Request, cut},
};

/// Where this very program is, also after another one took its name.
const OURSELVES: &str = "/proc/self/exe";
/// How much is kept of the end of what the child says about itself.
const TAIL: usize = 4 << 10;
/// How often a child is asked whether it is gone when it has answered.
const GLANCE: Duration = Duration::from_millis(1);
/// How long a host is left alone that can start no process.
const MOMENT: Duration = Duration::from_millis(50);

/// Works checks out in a process of its own, and waits for it: not for a thread on which others wait.
///
/// # Errors
/// Anything but results: no start, no answer in time, an end before the answer, rubbish, a check that fails.
pub fn ask(request: &Request, bounds: Bounds) -> Result<Vec<Hit>, Failure> {
    ask_program(OURSELVES, request, bounds)
}

fn ask_program(program: &str, request: &Request, bounds: Bounds) -> Result<Vec<Hit>, Failure> {
    let until = Instant::now() + bounds.deadline;
    let bytes = serde_json::to_vec(request).map_err(|why| Failure::of(format!("it cannot be asked: {why}")))?;
    if bytes.len() as u64 > MAX_REQUEST {
        return Err(Failure::of(format!(
            "checks and file have more than {MAX_REQUEST} bytes together"
        )));
    }
    let mut command = Command::new(program);
    command
        .arg(WORD)
        .arg(bounds.deadline.as_millis().to_string())
        .arg(bounds.memory.to_string())
        .env_clear()
        // The allocator would take a large piece before anybody can bound it.
        .env("MIMALLOC_ARENA_RESERVE", "0")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = start(&mut command, until)
        .map_err(|why| Failure::of(format!("the process for the checks cannot be started: {why}")))?;
    let ended = converse(&mut child, bytes, until);
    // Dead already when it went well; nobody of ours is left behind in any case.
    let _ = child.kill();
    let status = child.wait();
    ended.and_then(|said| understood(said, status, bounds))
}

/// A host that has no process or memory to spare may have some in a moment: that is no fault of the checks.
fn start(command: &mut Command, until: Instant) -> io::Result<Child> {
    loop {
        match command.spawn() {
            Err(why)
                if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory)
                    && Instant::now() < until =>
            {
                thread::sleep(MOMENT);
            }
            child => return child,
        }
    }
}

/// What the child wrote.
struct Said {
    out: Vec<u8>,
    tail: Vec<u8>,
    /// It was gone, or done, before the deadline.
    in_time: bool,
}

fn converse(child: &mut Child, request: Vec<u8>, until: Instant) -> Result<Said, Failure> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Failure::of("the process for the checks has no pipes"));
    };
    let cannot = |why: io::Error| Failure::of(format!("nobody can listen to the checks: {why}"));
    // Each ends when the child is gone, which is seen to in any case. A child that does not read is no fault by itself.
    thread::Builder::new()
        .spawn(move || {
            let _ = stdin.write_all(&request);
        })
        .map_err(cannot)?;
    let (done, answered) = mpsc::channel();
    thread::Builder::new()
        .spawn(move || {
            let mut out = Vec::new();
            let _ = stdout.take(MAX_ANSWER + 1).read_to_end(&mut out);
            let _ = done.send(out);
        })
        .map_err(cannot)?;
    let (closed, told) = mpsc::channel();
    thread::Builder::new()
        .spawn(move || {
            let _ = closed.send(tail(stderr));
        })
        .map_err(cannot)?;
    let left = || until.saturating_duration_since(Instant::now());
    let out = answered.recv_timeout(left());
    let mut in_time = out.is_ok();
    while in_time && matches!(child.try_wait(), Ok(None)) {
        // A full answer ends here too: its child still waits for somebody to read the rest.
        in_time = !left().is_zero() && out.as_ref().is_ok_and(|out| out.len() as u64 <= MAX_ANSWER);
        thread::sleep(GLANCE.min(left()));
    }
    let _ = child.kill();
    Ok(Said {
        out: out.unwrap_or_default(),
        tail: told.recv_timeout(Duration::from_secs(1)).unwrap_or_default(),
        in_time,
    })
}

/// Reads to the end and keeps the last of it.
fn tail(mut from: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; TAIL];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        kept.extend_from_slice(buffer.get(..read).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(TAIL));
    }
    kept
}

fn understood(said: Said, status: io::Result<ExitStatus>, bounds: Bounds) -> Result<Vec<Hit>, Failure> {
    let tail = String::from_utf8_lossy(&said.tail);
    let place = tail.lines().rev().find_map(|line| line.strip_prefix(AT));
    let failed = |why: String| Failure {
        file: place.map(|place| cut(place, 256).to_owned()),
        place: None,
        why,
    };
    if said.out.len() as u64 > MAX_ANSWER {
        return Err(failed(format!("the checks answer with more than {MAX_ANSWER} bytes")));
    }
    if !said.in_time {
        let millis = bounds.deadline.as_millis();
        return Err(failed(format!(
            "the checks did not end within {millis} ms (rego.deadline)"
        )));
    }
    let status = status.map_err(|why| failed(format!("the process for the checks was lost: {why}")))?;
    if !status.success() {
        return Err(failed(end(status, &tail, bounds)));
    }
    match serde_json::from_slice(&said.out) {
        Ok(Answer::Found(hits)) => Ok(hits),
        Ok(Answer::Failed(failure)) => Err(failure),
        Err(_) => Err(failed(
            "the process for the checks gave no answer that can be read".to_owned(),
        )),
    }
}

/// How it ended, in words.
fn end(status: ExitStatus, tail: &str, bounds: Bounds) -> String {
    const XCPU: i32 = 24;
    const KILL: i32 = 9;
    const SEGV: i32 = 11;
    const DEEP: &str = "a function calls itself without end, or something is nested too deeply";
    if tail.contains("memory allocation of") {
        return format!(
            "the checks need more than {} bytes of memory (rego.memory)",
            bounds.memory
        );
    }
    if tail.contains("has overflowed its stack") {
        return DEEP.to_owned();
    }
    match status.signal() {
        Some(SEGV) => DEEP.to_owned(),
        Some(XCPU | KILL) => format!(
            "the checks used up {} ms of the processor (rego.deadline), or somebody killed them",
            bounds.deadline.as_millis()
        ),
        _ => {
            let last = tail
                .lines()
                .rev()
                .find(|line| !line.starts_with(AT) && !line.trim().is_empty());
            format!(
                "the process for the checks ended by {status}: {}",
                cut(last.unwrap_or("it said nothing"), 200)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seatrial_policy::rego::Form;

    fn request() -> Request {
        Request {
            texts: Vec::new(),
            form: Form::Trivy,
            namespaces: Vec::new(),
            input: serde_json::Value::from("x".repeat(1 << 20)),
        }
    }

    /// So long that only a child which never ends meets it, on the busiest host.
    const LONG: Duration = Duration::from_mins(2);
    const SHORT: Duration = Duration::from_millis(300);

    fn within(deadline: Duration) -> Bounds {
        Bounds {
            deadline,
            memory: 1 << 30,
        }
    }

    fn told(program: &str, deadline: Duration) -> String {
        ask_program(program, &request(), within(deadline))
            .unwrap_err()
            .to_string()
    }

    fn script(text: &str) -> (tempfile::TempDir, String) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fake");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        let name = path.display().to_string();
        (folder, name)
    }

    #[test]
    fn whatever_a_child_does_but_answer_is_a_failure_with_a_reason() {
        assert!(told("/nonexistent/program", LONG).contains("cannot be started"));
        for (text, deadline, part) in [
            ("exit 0", LONG, "no answer that can be read"),
            ("echo rubbish", LONG, "no answer that can be read"),
            ("echo broken >&2; exit 3", LONG, "broken"),
            ("while :; do :; done", SHORT, "did not end within 300 ms"),
            ("exec 1>&-; while :; do :; done", SHORT, "did not end within 300 ms"),
            ("yes", LONG, "more than 4194304 bytes"),
            (
                "echo '{\"found\":[]}'; kill -24 $$",
                LONG,
                "used up 120000 ms of the processor",
            ),
        ] {
            let (_folder, program) = script(text);
            // `yes` and its like need a path, and a child has no environment: the shell brings a default.
            let why = told(&program, deadline);
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn the_check_at_which_the_time_ran_out_is_named() {
        let said = Said {
            out: Vec::new(),
            tail: b"at a.rego\nat b.rego\n".to_vec(),
            in_time: false,
        };
        let why = understood(said, Ok(ExitStatus::from_raw(9)), within(SHORT)).unwrap_err();
        assert!(
            why.to_string().contains("b.rego: the checks did not end within 300 ms"),
            "{why}"
        );
    }

    #[test]
    fn a_good_answer_is_taken_also_from_one_who_read_nothing() {
        let (_folder, program) = script("echo '{\"found\":[]}'");
        assert_eq!(ask_program(&program, &request(), within(LONG)), Ok(Vec::new()));
    }
}
