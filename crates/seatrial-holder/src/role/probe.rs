//! `probe`: says what a process in this container meets. It judges nothing: whoever asked compares.
//!
//! Everything that it tries is harmless where it succeeds, also outside of a container: it opens files without
//! reading or writing them, makes sockets that talk to nobody and a file that it removes, and asks for mounts and
//! devices at a place that is not there: a filter answers before the kernel sees that.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, StatVfsMountFlags, makedev, mknodat},
    io::Errno,
    mount::{MountFlags, mount},
    net::{AddressFamily, SocketType, socket},
    thread::UnshareFlags,
};

use crate::{
    args::Args,
    wire::{Broken, surroundings},
};

/// The longest value.
const MAX_VALUE: usize = 512;

/// Files through which a kernel is steered: opened for writing.
const STEERING: [(&str, &str); 4] = [
    ("core_pattern", "/proc/sys/kernel/core_pattern"),
    ("modprobe", "/proc/sys/kernel/modprobe"),
    ("sysrq", "/proc/sysrq-trigger"),
    ("uevent_helper", "/sys/kernel/uevent_helper"),
];
/// Files that show a kernel's memory: opened for reading.
const MEMORY: [(&str, &str); 3] = [("mem", "/dev/mem"), ("kmem", "/dev/kmem"), ("port", "/dev/port")];

pub(super) fn run(args: &Args) -> Result<i32, Broken> {
    let mut lines = Lines::default();
    standing(&mut lines);
    limits(&mut lines);
    for folder in &args.operands {
        let total = rustix::fs::statvfs(Path::new(folder)).map(|found| found.f_blocks * found.f_frsize);
        let value = total.map_or_else(|_| "-".to_owned(), |bytes| bytes.to_string());
        lines.put(&format!("size:{}", folder.to_string_lossy()), &value);
    }
    attempts(&mut lines);
    std::io::stdout()
        .write_all(lines.0.as_bytes())
        .map_err(surroundings("answer"))?;
    Ok(0)
}

/// Who we are and what stands around us.
fn standing(lines: &mut Lines) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (key, name) in [
        ("uid", "Uid"),
        ("cap_eff", "CapEff"),
        ("cap_prm", "CapPrm"),
        ("cap_inh", "CapInh"),
        ("cap_bnd", "CapBnd"),
        ("cap_amb", "CapAmb"),
        ("no_new_privs", "NoNewPrivs"),
        ("seccomp", "Seccomp"),
    ] {
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.put(
            key,
            value.and_then(|value| value.split_whitespace().next()).unwrap_or("-"),
        );
    }
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let words: Vec<&str> = map.lines().next().unwrap_or_default().split_whitespace().collect();
    lines.put("uid_map", &words.join(":"));
    // gVisor has no file with the release alone.
    let version = fs::read_to_string("/proc/version").unwrap_or_default();
    lines.put("kernel", version.split_whitespace().nth(2).unwrap_or("-"));
    let root = rustix::fs::statvfs("/").map(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY));
    lines.put("root_flag", if root == Ok(true) { "ro" } else { "rw" });
    lines.put_file("apparmor", "/proc/self/attr/current");
    let devices = fs::read_to_string("/proc/self/net/dev").or_else(|_| fs::read_to_string("/proc/net/dev"));
    let names: Vec<&str> = devices
        .as_deref()
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim())
        .collect();
    lines.put(
        "interfaces",
        &if devices.is_ok() {
            names.join(",")
        } else {
            "-".to_owned()
        },
    );
}

/// Bounds of the control group that the container sees as its own.
fn limits(lines: &mut Lines) {
    let root = Path::new("/sys/fs/cgroup");
    for (key, places) in [
        ("memory", ["memory.max", "memory/memory.limit_in_bytes"]),
        ("pids", ["pids.max", "pids/pids.max"]),
        ("cpu_quota", ["cpu.max", "cpu/cpu.cfs_quota_us"]),
        ("cpu_period", ["cpu.max", "cpu/cpu.cfs_period_us"]),
    ] {
        let text = places
            .iter()
            .find_map(|place| fs::read_to_string(root.join(place)).ok());
        // The new file has quota and period in one line.
        let index = usize::from(key == "cpu_period" && root.join("cpu.max").exists());
        let word = text.as_deref().and_then(|text| text.split_whitespace().nth(index));
        lines.put(key, word.unwrap_or("-"));
    }
}

/// Nothing is here.
const NOWHERE: &str = "/.seatrial-nowhere/x";

/// What is tried: `0` when it went well, else the kernel's number of the error.
fn attempts(lines: &mut Lines) {
    let own = Path::new("/.seatrial-probe");
    lines.tried("root", tried(OpenOptions::new().write(true).create_new(true).open(own)));
    let _ = fs::remove_file(own); // it was refused, as it should be
    for (name, path) in STEERING {
        lines.tried(name, tried(OpenOptions::new().write(true).open(path)));
    }
    for (name, path) in MEMORY {
        lines.tried(name, tried(OpenOptions::new().read(true).open(path)));
    }
    // Of the kernel's memory as a file, one byte is asked for: a masked file opens and is empty.
    let kcore = fs::File::open("/proc/kcore").and_then(|mut file| {
        let read = std::io::Read::read(&mut file, &mut [0; 1])?;
        if read == 0 { Err(Errno::NODATA.into()) } else { Ok(()) }
    });
    lines.tried("kcore", tried(kcore));
    for (name, family) in [("packet", 17), ("alg", 38), ("vsock", 40)] {
        let made = socket(AddressFamily::from_raw(family), SocketType::DGRAM, None);
        lines.tried(name, made.map(drop));
    }
    let device = mknodat(CWD, NOWHERE, FileType::CharacterDevice, Mode::RUSR, makedev(1, 1));
    lines.tried("mknod", device);
    let mounted = mount("none", NOWHERE, "tmpfs", MountFlags::empty(), None::<&std::ffi::CStr>);
    lines.tried("mount", mounted);
    // Last of all: it changes who we are.
    #[expect(
        deprecated,
        reason = "the other one is unsafe; this process has one thread and nothing to lose"
    )]
    lines.tried("userns", rustix::thread::unshare(UnshareFlags::NEWUSER));
}

fn tried<T>(result: std::io::Result<T>) -> Result<(), Errno> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}

/// `key=value`, a line each.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn put(&mut self, key: &str, value: &str) {
        let value: String = value.chars().take(MAX_VALUE).flat_map(char::escape_default).collect();
        let value = if value.is_empty() { "-" } else { &value };
        let _ = writeln!(self.0, "{key}={value}"); // into memory
    }

    fn put_file(&mut self, key: &str, path: &str) {
        let text = fs::read(path).unwrap_or_default();
        self.put(key, String::from_utf8_lossy(&text).trim_end_matches(['\0', '\n']));
    }

    fn tried(&mut self, key: &str, result: Result<(), Errno>) {
        let number = result.err().map_or(0, Errno::raw_os_error);
        self.put(&format!("try:{key}"), &number.to_string());
    }
}
