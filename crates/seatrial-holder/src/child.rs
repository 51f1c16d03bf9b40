//! Starting one child in a session of its own, and waiting for it while reaping everything else.
//!
//! # Why through ourselves
//! A session is made between fork and exec, where safe Rust has no door. So we run ourselves as
//! `start`, which makes the session, and then becomes the command. It is a fresh process: our
//! memory, with the nonce in it, is never the child's. Its standard input is the pipe on which
//! it tells that exec failed; exec closes the pipe.

use std::{
    ffi::{OsStr, OsString},
    io::{self, PipeReader, Read, Write},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use rustix::{
    io::Errno,
    process::{Pid, WaitOptions},
    thread::{CapabilitySet, remove_capability_from_bounding_set},
};

use crate::{
    deadline::{Deadline, end_others},
    wire::{Broken, decimal, surroundings},
};

/// Where we find ourselves, in every container.
const SELF: &str = "/proc/self/exe";
/// The name of an error is shorter.
const MAX_TOLD: u64 = 32;

/// How a child ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// As a shell would say it.
    pub(crate) code: i32,
    /// The signal that ended it.
    pub(crate) signal: i32,
    /// Why it could not be started.
    pub(crate) start_error: Option<String>,
    pub(crate) wall_us: u128,
    /// Processes that were reaped after it, or after the deadline.
    pub(crate) killed: u64,
    /// The deadline had passed when it ended.
    pub(crate) late: bool,
    /// And it passed because nobody was there any more.
    pub(crate) orphaned: bool,
}

/// What to run, and where its output goes.
pub(crate) struct Job<'a> {
    pub(crate) command: &'a [OsString],
    /// `None`: where the container starts.
    pub(crate) directory: Option<&'a OsStr>,
    /// `None`: the environment of the container.
    pub(crate) environment: Option<Vec<(OsString, OsString)>>,
    /// `None`: the stream of the container.
    pub(crate) stdout: Option<Stdio>,
    /// `None`: the stream of the container.
    pub(crate) stderr: Option<Stdio>,
    /// Who runs it; `None`: whoever we are.
    pub(crate) user: Option<User>,
}

/// Another user than ours, without other groups and without any capability.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// `uid:gid`, of which none is root.
    pub(crate) fn read(text: &OsStr) -> Result<Self, Broken> {
        let parts = text.to_str().and_then(|text| text.split_once(':'));
        // The last one means "as it is" to the kernel, and that is root.
        let ids = 1..u32::MAX;
        let number = |text: &str| decimal(text.as_bytes()).and_then(|number| u32::try_from(number).ok());
        match parts.map(|(uid, gid)| (number(uid), number(gid))) {
            Some((Some(uid), Some(gid))) if ids.contains(&uid) && ids.contains(&gid) => Ok(Self { uid, gid }),
            _ => Err(Broken::Usage("--user is no uid:gid, or is root's".to_owned())),
        }
    }

    /// Has a command start as this user. A change of user takes our capabilities from it; that no file gives it any is up
    /// to the bounding set, which it has from us, and which we do not need.
    fn runs(self, command: &mut Command) -> Result<(), Broken> {
        for one in CapabilitySet::all().iter() {
            match remove_capability_from_bounding_set(one) {
                // The kernel is older than this one.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(surroundings("drop capabilities")(error.into())),
            }
        }
        // As root this empties the list of other groups too.
        command.uid(self.uid).gid(self.gid);
        Ok(())
    }
}

/// Runs it to its end, or to the deadline, and leaves no process behind.
pub(crate) fn run(job: Job<'_>, deadline: &Deadline) -> Result<End, Broken> {
    let began = Instant::now();
    start(job)?.wait(began, deadline)
}

/// A child that runs.
pub(crate) struct Started {
    pid: Pid,
    /// What it tells when exec fails.
    failure: PipeReader,
}

/// Starts it. Nothing ends it before its end is waited for.
pub(crate) fn start(job: Job<'_>) -> Result<Started, Broken> {
    let (failure, report) = io::pipe().map_err(surroundings("make a pipe"))?;
    let mut command = Command::new(SELF);
    command.arg("start");
    if let Some(directory) = job.directory {
        command.arg("--workdir").arg(directory);
    }
    command.arg("--").args(job.command).stdin(report);
    if let Some(environment) = job.environment {
        command.env_clear();
        command.envs(environment);
    }
    if let Some(stdout) = job.stdout {
        command.stdout(stdout);
    }
    if let Some(stderr) = job.stderr {
        command.stderr(stderr);
    }
    if let Some(user) = job.user {
        user.runs(&mut command)?;
    }
    let child = command.spawn().map_err(surroundings("start ourselves"))?;
    // With `command` go our copies of its streams, else nobody ever sees their end.
    Ok(Started {
        pid: Pid::from_child(&child),
        failure,
    })
}

impl Started {
    /// Waits for its end, or for the deadline, and leaves no process behind. What it did counts from `began`.
    pub(crate) fn wait(self, began: Instant, deadline: &Deadline) -> Result<End, Broken> {
        deadline.watch(self.pid);
        let mut told = String::new();
        // A child that was killed before it could tell left nothing.
        let _ = self.failure.take(MAX_TOLD).read_to_string(&mut told);
        let start_error = Some(told).filter(|told| !told.is_empty());
        let Waited {
            code,
            signal,
            late_others,
        } = wait_for(self.pid, deadline)?;
        let wall_us = began.elapsed().as_micros();
        let (late, orphaned) = (deadline.passed(), deadline.orphaned());
        let killed = late_others + end_others(Some(self.pid));
        deadline.unwatch();
        Ok(End {
            code,
            signal,
            start_error,
            wall_us,
            killed,
            late,
            orphaned,
        })
    }
}

/// How the child ended.
struct Waited {
    code: i32,
    signal: i32,
    /// Others that were reaped before it, when the deadline had passed: all are killed at once then,
    /// and the child is not always the first to be gone.
    late_others: u64,
}

/// Reaps whatever falls to us until it is `child`.
fn wait_for(child: Pid, deadline: &Deadline) -> Result<Waited, Broken> {
    let mut late_others = 0;
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => {
                let signal = status.terminating_signal();
                if let Some(code) = signal.map(|signal| 128 + signal).or(status.exit_status()) {
                    return Ok(Waited {
                        code,
                        signal: signal.unwrap_or(0),
                        late_others,
                    });
                }
            }
            Ok(Some(_)) if deadline.passed() => late_others += 1,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(surroundings("wait for the child")(error.into())),
        }
    }
}

/// The role `start`: becomes the command, or tells why not and returns the code for it.
pub(crate) fn become_command(directory: Option<&OsStr>, command: &[OsString]) -> Result<i32, Broken> {
    let [program, arguments @ ..] = command else {
        return Err(Broken::Usage("start what?".to_owned()));
    };
    let report = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
        .map_err(|error| surroundings("keep the pipe")(error.into()))?;
    let failure = leave_for(directory, program, arguments);
    // Whoever should read it may be gone.
    let _ = std::fs::File::from(report).write_all(failure.name().as_bytes());
    Ok(failure.code())
}

/// Why the command was not started.
enum Failure {
    /// The working directory cannot be entered.
    Directory,
    Program(Errno),
}

impl Failure {
    /// As the report spells it.
    fn name(&self) -> String {
        match self {
            Self::Directory => "chdir".to_owned(),
            Self::Program(error) => errno_name(*error),
        }
    }

    /// As shells and Docker count: not found, or found and not startable.
    fn code(&self) -> i32 {
        match self {
            Self::Program(Errno::NOENT) => 127,
            Self::Program(_) | Self::Directory => 126,
        }
    }
}

/// Returns only when it failed.
fn leave_for(directory: Option<&OsStr>, program: &OsStr, arguments: &[OsString]) -> Failure {
    if let Some(directory) = directory
        && std::env::set_current_dir(directory).is_err()
    {
        return Failure::Directory;
    }
    let path = std::fs::File::open("/dev/null")
        .map_err(|error| errno(&error))
        .and_then(rustix::stdio::dup2_stdin)
        .and_then(|()| rustix::process::setsid())
        .and_then(|_| find(program));
    Failure::Program(match path {
        Ok(path) => errno(&Command::new(path).arg0(program).args(arguments).exec()),
        Err(error) => error,
    })
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Looks a command up as Docker does: `PATH` of the container, unless it has a slash.
fn find(program: &OsStr) -> Result<PathBuf, Errno> {
    if program.as_bytes().contains(&b'/') {
        return startable(Path::new(program)).map(|()| PathBuf::from(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut worst = Errno::NOENT;
    for directory in std::env::split_paths(&path) {
        let candidate = directory.join(program);
        match startable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => worst = error,
        }
    }
    Err(worst)
}

/// What Docker gives to an image that sets none.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What exec would say. The C library would give a file without `#!` to a shell; Docker does not,
/// so neither do we.
fn startable(path: &Path) -> Result<(), Errno> {
    let meta = std::fs::metadata(path).map_err(|error| errno(&error))?;
    if !meta.is_file() {
        return Err(Errno::ACCESS);
    }
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?;
    let mut magic = [0; 20];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut magic));
    match read {
        Ok(read) if !is_program(&magic[..read]) => Err(Errno::NOEXEC),
        // What may be executed need not be readable.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A script, or an ELF file for this machine.
fn is_program(head: &[u8]) -> bool {
    match head {
        [b'#', b'!', ..] => true,
        [0x7f, b'E', b'L', b'F', .., low, high] if head.len() == 20 => {
            MACHINE.is_none_or(|machine| machine == u16::from_le_bytes([*low, *high]))
        }
        _ => false,
    }
}

/// `e_machine` of ourselves; `None` where we do not know it.
const MACHINE: Option<u16> = if cfg!(target_arch = "x86_64") {
    Some(62)
} else if cfg!(target_arch = "aarch64") {
    Some(183)
} else {
    None
};

fn errno_name(error: Errno) -> String {
    let name = match error {
        Errno::NOENT => "enoent",
        Errno::ACCESS => "eacces",
        Errno::PERM => "eperm",
        Errno::NOEXEC => "enoexec",
        Errno::NOTDIR => "enotdir",
        Errno::LOOP => "eloop",
        Errno::NOMEM => "enomem",
        Errno::TOOBIG => "e2big",
        Errno::ISDIR => "eisdir",
        Errno::NAMETOOLONG => "enametoolong",
        Errno::TXTBSY => "etxtbsy",
        Errno::LIBBAD => "elibbad",
        other => return format!("errno{}", other.raw_os_error()),
    };
    name.to_owned()
}
