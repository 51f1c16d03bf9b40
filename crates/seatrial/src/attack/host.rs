//! The host before and after an attack: what a guest must not have changed, left or used up.
//!
//! All of it is read from this machine's `/proc` and its disks, and so only when the Engine is here: its socket is
//! asked which process listens. What cannot be looked at is named as not checked, and is not taken for well.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use seatrial_core::{digest::Digest, finding::escape_untrusted};

/// How far the disk's use may be from what it was: records of the Engine's own grow.
pub(crate) const DISK_BOUND: u64 = 16 << 20;
/// How much the daemons' memory may grow by one attack: what a collector of garbage has not given back yet.
pub(crate) const MEMORY_BOUND: u64 = 64 << 20;
/// How much the daemon's log may grow by one attack.
pub(crate) const LOG_BOUND: u64 = 1 << 20;
/// Most entries of a folder tree that are counted: more are a matter of minutes.
const MAX_ENTRIES: usize = 2_000_000;

/// Switches of the kernel with which a guest would get out or harm the host.
const SYSCTLS: [&str; 15] = [
    "kernel/core_pattern",
    "kernel/core_uses_pid",
    "kernel/modprobe",
    "kernel/poweroff_cmd",
    "kernel/sysrq",
    "kernel/panic",
    "kernel/hostname",
    "kernel/domainname",
    "kernel/kptr_restrict",
    "kernel/randomize_va_space",
    "fs/suid_dumpable",
    "fs/protected_symlinks",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "net/ipv4/ip_forward",
];
/// Files of the host that decide who may do what, and what is run.
const FILES: [&str; 7] = [
    "/sys/kernel/uevent_helper",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/ld.so.preload",
    "/etc/crontab",
    "/etc/docker/daemon.json",
];

/// Where to look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Our data folder.
    data_dir: PathBuf,
    /// The Engine's process, when it is on this machine.
    daemon: Option<u32>,
    /// Its containerd.
    containerd: Option<u32>,
    /// The Engine's data root, as that process sees it.
    root: PathBuf,
    /// The Engine's log, when it is a file.
    log: Option<PathBuf>,
    /// The disk of the data root can be counted.
    countable: bool,
}

/// What was seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Seen {
    facts: BTreeMap<&'static str, String>,
    mounts: BTreeSet<String>,
    strays: BTreeSet<String>,
    /// Bytes on disk: the data root, our data folder.
    disk: Option<u64>,
    data: Option<u64>,
    memory: Option<u64>,
    log: Option<u64>,
}

impl Place {
    /// Finds the Engine's process behind its socket. `root` is its data root, as it tells.
    pub(crate) async fn find(socket: Option<&Path>, root: &str, data_dir: &Path) -> Self {
        let mut place = Self {
            data_dir: data_dir.to_owned(),
            root: PathBuf::from(root),
            ..Self::default()
        };
        let Some(socket) = socket else {
            return place;
        };
        let Some(daemon) = listener(socket).await else {
            return place;
        };
        place.daemon = Some(daemon);
        place.containerd = containerd_of(daemon);
        place.log = fs::read_link(format!("/proc/{daemon}/fd/2"))
            .ok()
            .filter(|path| path.is_file());
        place.countable = fs::read_dir(place.outside()).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok()));
        place
    }

    /// What cannot be looked at, in words.
    pub(crate) fn not_checked(&self) -> Vec<String> {
        let all = |what: &str| vec![format!("{what}: the Engine's process is not found on this machine")];
        if self.daemon.is_none() {
            return all("processes, mounts, kernel switches, disk of the data root, memory and log of the daemons");
        }
        let mut missing = Vec::new();
        if !self.countable {
            missing.push(format!("disk of {}: it cannot be read", self.root.display()));
        }
        if self.containerd.is_none() {
            missing.push("memory of containerd: its process is not found".to_owned());
        }
        if self.log.is_none() {
            missing.push("growth of the Engine's log: it is not a file".to_owned());
        }
        missing
    }

    /// The data root, as we see it: the Engine may live in another root.
    fn outside(&self) -> PathBuf {
        let inside = self.root.strip_prefix("/").unwrap_or(&self.root);
        self.daemon.map_or_else(
            || self.root.clone(),
            |daemon| PathBuf::from(format!("/proc/{daemon}/root")).join(inside),
        )
    }
}

/// Looks at all. `containers` are ids of those that ran: no process may be in their control groups any more.
/// Takes as long as counting the files of two folders does; blocks.
pub(crate) fn look(place: &Place, containers: &BTreeSet<String>) -> Seen {
    let mut seen = Seen {
        data: used(&place.data_dir),
        ..Seen::default()
    };
    let Some(daemon) = place.daemon else {
        return seen;
    };
    for name in SYSCTLS {
        seen.facts.insert(name, read(&format!("/proc/sys/{name}")));
    }
    for path in FILES {
        let bytes = fs::read(path).unwrap_or_default();
        seen.facts.insert(path, Digest::of(&bytes).short());
    }
    let root = place.root.display().to_string();
    seen.mounts = mounts_below(&read(&format!("/proc/{daemon}/mountinfo")), &root);
    seen.strays = strays(containers, &root);
    seen.disk = place.countable.then(|| used(&place.outside())).flatten();
    let daemons = [Some(daemon), place.containerd];
    seen.memory = daemons.into_iter().flatten().map(resident).sum();
    seen.log = place
        .log
        .as_deref()
        .and_then(|path| Some(fs::metadata(path).ok()?.len()));
    seen
}

impl Seen {
    /// What `later` has that it must not have.
    pub(crate) fn changes(&self, later: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for (name, before) in &self.facts {
            let after = later.facts.get(name).map_or("", String::as_str);
            if before != after {
                changes.push(format!(
                    "{name} was '{}' and is '{}'",
                    escape_untrusted(before),
                    escape_untrusted(after)
                ));
            }
        }
        changes.extend(
            later
                .strays
                .difference(&self.strays)
                .map(|who| format!("{who} lives on")),
        );
        changes.extend(
            later
                .mounts
                .difference(&self.mounts)
                .map(|path| format!("{} is still mounted", escape_untrusted(path))),
        );
        for (what, before, after) in [
            ("the Engine's data root", self.disk, later.disk),
            ("the data folder", self.data, later.data),
        ] {
            if let (Some(before), Some(after)) = (before, after)
                && before.abs_diff(after) > DISK_BOUND
            {
                changes.push(format!("{what} had {before} bytes on disk and has {after}"));
            }
        }
        for (what, before, after, bound) in [
            ("the daemons' memory", self.memory, later.memory, MEMORY_BOUND),
            ("the Engine's log", self.log, later.log, LOG_BOUND),
        ] {
            if let (Some(before), Some(after)) = (before, after)
                && after.saturating_sub(before) > bound
            {
                changes.push(format!("{what} grew from {before} to {after} bytes"));
            }
        }
        changes
    }

    /// Resident memory of the daemons, where it is known.
    pub(crate) fn memory(&self) -> Option<u64> {
        self.memory
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}

/// The process that listens on a socket, if it is a Docker Engine. A manager of services may listen in its place:
/// then the only Engine of the machine is it.
async fn listener(socket: &Path) -> Option<u32> {
    let connection = tokio::net::UnixStream::connect(socket).await.ok()?;
    let peer = u32::try_from(connection.peer_cred().ok()?.pid()?).ok()?;
    if name_of(peer) == "dockerd" {
        return Some(peer);
    }
    let mut engines = processes().filter(|pid| name_of(*pid) == "dockerd");
    match (engines.next(), engines.next()) {
        (Some(only), None) if peer == 1 => Some(only),
        _ => None,
    }
}

/// A child of the Engine's, else the only one of the machine.
fn containerd_of(daemon: u32) -> Option<u32> {
    let all: Vec<u32> = processes().filter(|pid| name_of(*pid) == "containerd").collect();
    let parent = |pid: u32| field(&read(&format!("/proc/{pid}/status")), "PPid:");
    let child = all.iter().copied().find(|pid| parent(*pid) == Some(u64::from(daemon)));
    child.or_else(|| (all.len() == 1).then(|| all[0]))
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn name_of(pid: u32) -> String {
    read(&format!("/proc/{pid}/comm"))
}

fn resident(pid: u32) -> Option<u64> {
    Some(field(&read(&format!("/proc/{pid}/status")), "VmRSS:")? * 1024)
}

/// The number behind a key in a text of `/proc`.
fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processes of containers that are no more: in the control group of one that ran, or in a process namespace of
/// their own with files of the Engine's.
fn strays(containers: &BTreeSet<String>, root: &str) -> BTreeSet<String> {
    let own = fs::read_link("/proc/self/ns/pid").ok();
    let is_stray = |pid: u32| {
        let groups = read(&format!("/proc/{pid}/cgroup"));
        if containers.iter().any(|id| groups.contains(id.as_str())) {
            return true;
        }
        let space = fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        space.is_some() && space != own && names_root(&read(&format!("/proc/{pid}/mountinfo")), root)
    };
    processes()
        .filter(|pid| is_stray(*pid))
        .map(|pid| format!("process {pid} ({})", escape_untrusted(&name_of(pid))))
        .collect()
}

fn names_root(mountinfo: &str, root: &str) -> bool {
    mountinfo.contains(&format!("{}/", root.trim_end_matches('/')))
}

/// Points of mounts below a folder.
fn mounts_below(mountinfo: &str, root: &str) -> BTreeSet<String> {
    let below = format!("{}/", root.trim_end_matches('/'));
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .filter(|point| point.starts_with(&below))
        .map(str::to_owned)
        .collect()
}

/// Bytes that a folder has on its disk, what is mounted in it left out. `None` when it cannot be read or has too many
/// entries to be counted.
fn used(folder: &Path) -> Option<u64> {
    let disk = fs::metadata(folder).ok()?.dev();
    let mut waiting = vec![folder.to_owned()];
    let (mut bytes, mut entries) = (0_u64, 0_usize);
    while let Some(folder) = waiting.pop() {
        // A folder may go while it is looked at.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            entries += 1;
            if entries > MAX_ENTRIES {
                return None;
            }
            let Ok(meta) = entry.metadata() else {
                continue;
            };
            if meta.dev() != disk {
                continue;
            }
            bytes = bytes.saturating_add(meta.blocks().saturating_mul(512));
            if meta.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            facts: BTreeMap::from([("kernel/core_pattern", "core".to_owned())]),
            disk: Some(100 << 20),
            data: Some(1 << 20),
            memory: Some(90 << 20),
            log: Some(0),
            ..Seen::default()
        }
    }

    #[test]
    fn a_host_as_it_was_has_no_changes_and_small_growth_is_none() {
        let mut later = seen();
        assert!(seen().changes(&later).is_empty());
        later.disk = Some(110 << 20);
        later.memory = Some(150 << 20);
        later.log = Some(1 << 20);
        assert!(seen().changes(&later).is_empty());
    }

    #[test]
    fn each_thing_that_a_guest_left_is_named() {
        let mut later = seen();
        later.facts.insert("kernel/core_pattern", "|/tmp/x\u{1b}".to_owned());
        later.mounts.insert("/var/lib/docker/overlay2/x/merged".to_owned());
        later.strays.insert("process 7 (sh)".to_owned());
        later.disk = Some(117 << 20);
        later.data = Some(18 << 20);
        later.memory = Some(155 << 20);
        later.log = Some(2 << 20);
        let changes = seen().changes(&later);
        assert_eq!(changes.len(), 7, "{changes:?}");
        assert_eq!(changes[0], "kernel/core_pattern was 'core' and is '|/tmp/x\\u{1b}'");
        assert_eq!(changes[1], "process 7 (sh) lives on");
    }

    #[test]
    fn what_is_unknown_is_no_change_and_is_named_as_not_checked() {
        assert!(Seen::default().changes(&seen()).is_empty());
        let place = Place::default();
        assert!(place.not_checked()[0].contains("not found on this machine"));
    }

    #[test]
    fn mounts_of_the_engine_are_told_from_others() {
        let text = "36 35 98:0 / /var/lib/docker/overlay2/a/merged rw - overlay overlay rw,upperdir=/var/lib/docker/overlay2/a/diff\n\
                    37 35 98:0 / /var/lib/dockers rw - ext4 /dev/x rw";
        assert_eq!(
            mounts_below(text, "/var/lib/docker"),
            BTreeSet::from(["/var/lib/docker/overlay2/a/merged".to_owned()])
        );
        assert!(names_root(text, "/var/lib/docker/"));
        assert!(!names_root(text, "/srv/docker"));
    }

    #[test]
    fn a_folder_is_as_large_as_what_lies_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let before = used(folder.path()).unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/file"), vec![1; 100_000]).unwrap();
        fs::File::create(folder.path().join("sparse"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        let grown = used(folder.path()).unwrap() - before;
        assert!((100_000..300_000).contains(&grown), "{grown}");
    }

    #[test]
    fn numbers_are_read_out_of_proc() {
        assert_eq!(field("Name:\tx\nVmRSS:\t    1234 kB\n", "VmRSS:"), Some(1234));
        assert!(resident(std::process::id()).unwrap() > 0);
        assert_eq!(field("", "VmRSS:"), None);
    }
}
