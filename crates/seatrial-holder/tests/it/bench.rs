//! Starting the binary, alone or as process 1 of a pid namespace of its own.
//!
//! Only in such a namespace is it allowed to kill everything; outside it kills one group, which is
//! a test too ([`crate::init`]).

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    thread,
};

pub(crate) const HOLDER: &str = env!("CARGO_BIN_EXE_seatrial-holder");
pub(crate) const NONCE: &str = "00112233445566778899aabbccddeeff";

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// A value of the report, which must be the last line of standard error.
    pub(crate) fn report(&self, key: &str) -> String {
        let last = self.stderr.lines().last().unwrap_or_default();
        let pairs = last
            .strip_prefix(&format!("ST1-REPORT {NONCE} "))
            .unwrap_or_else(|| panic!("no report: {:?} {:?}", self.code, self.stderr));
        let mut values = pairs.split(' ').filter_map(|pair| pair.split_once('='));
        let found = values.find(|(name, _)| *name == key);
        found.unwrap_or_else(|| panic!("no {key} in {pairs}")).1.to_owned()
    }

    pub(crate) fn has_report(&self) -> bool {
        self.stderr.contains("ST1-REPORT")
    }
}

pub(crate) fn holder() -> Command {
    Command::new(HOLDER)
}

/// As process 1 of a namespace with its own `/proc`.
pub(crate) fn holder_as_init() -> Command {
    let mut command = Command::new("unshare");
    let is_root = rustix::process::getuid().is_root();
    command.args(if is_root {
        &[][..]
    } else {
        &["--user", "--map-root-user"]
    });
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--", HOLDER]);
    command
}

/// Writes all of it, and ends the input.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Ran {
    give(command, input, false, || {})
}

/// Writes all of it, and keeps the input open until the end: the life line.
pub(crate) fn feed_and_stay(command: &mut Command, input: &[u8]) -> Ran {
    give(command, input, true, || {})
}

/// The same, once `ready` has returned.
pub(crate) fn feed_when(command: &mut Command, input: &[u8], ready: impl FnOnce() + Send + 'static) -> Ran {
    give(command, input, true, ready)
}

fn give(command: &mut Command, input: &[u8], stay: bool, ready: impl FnOnce() + Send + 'static) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = thread::spawn(move || {
        ready();
        let _ = stdin.write_all(&input); // it may refuse before it has read everything
        stay.then_some(stdin)
    });
    let output = child.wait_with_output().unwrap();
    drop(feeder.join().unwrap());
    Ran::of(output)
}

/// Runs a shell script as a guest of `init`.
pub(crate) fn guest(init: &mut Command, options: &[&str], script: &str) -> Ran {
    init.arg("init").args(options).args(["--", "sh", "-c", script]);
    feed_and_stay(init, format!("{NONCE}\n").as_bytes())
}

/// Cuts `ST1 <tag> <len>` frames.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(char, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let header = std::str::from_utf8(&bytes[..end]).unwrap();
        let fields: Vec<&str> = header.split(' ').collect();
        let ["ST1", tag, number] = fields.as_slice() else {
            panic!("no frame: {header}");
        };
        bytes = &bytes[end + 1..];
        let number: usize = number.parse().unwrap();
        let size = if *tag == "X" { 0 } else { number };
        let text = if *tag == "X" {
            number.to_string().into_bytes()
        } else {
            bytes[..size].to_vec()
        };
        frames.push((tag.chars().next().unwrap(), text));
        bytes = &bytes[size..];
    }
    frames
}
