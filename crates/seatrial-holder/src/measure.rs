//! What the container used, from the control group that it can see of itself.
//!
//! # Invariant
//! A value that cannot be measured is absent, never 0. The files are the kernel's, mounted
//! read-only by the Engine; a runtime that shows none (gVisor) leaves the values absent.

use std::{fs, path::Path};

/// A number and where it came from.
pub(crate) type Sourced = (u64, &'static str);

/// What could be measured.
#[derive(Default, Debug)]
pub(crate) struct Measures {
    pub(crate) cpu_us: Option<Sourced>,
    pub(crate) memory_peak: Option<Sourced>,
    pub(crate) oom_kill: Option<u64>,
    pub(crate) pids_max: Option<u64>,
    pub(crate) pids_peak: Option<u64>,
}

/// Reads everything, after the other processes are gone.
pub(crate) fn container() -> Measures {
    let root = Path::new("/sys/fs/cgroup");
    let mut measures = cgroup2(root);
    let old = cgroup1(root);
    measures.cpu_us = measures.cpu_us.or(old.cpu_us).or_else(reaped_children);
    measures.memory_peak = measures.memory_peak.or(old.memory_peak);
    measures.oom_kill = measures.oom_kill.or(old.oom_kill);
    measures.pids_max = measures.pids_max.or(old.pids_max);
    measures
}

fn cgroup2(root: &Path) -> Measures {
    Measures {
        cpu_us: keyed(&root.join("cpu.stat"), "usage_usec").map(|us| (us, "cgroup2")),
        memory_peak: number(&root.join("memory.peak")).map(|bytes| (bytes, "cgroup2")),
        oom_kill: keyed(&root.join("memory.events"), "oom_kill"),
        pids_max: keyed(&root.join("pids.events"), "max"),
        pids_peak: number(&root.join("pids.peak")),
    }
}

fn cgroup1(root: &Path) -> Measures {
    let memory = root.join("memory");
    Measures {
        cpu_us: number(&root.join("cpuacct/cpuacct.usage")).map(|ns| (ns / 1000, "cgroup1")),
        memory_peak: number(&memory.join("memory.max_usage_in_bytes")).map(|bytes| (bytes, "cgroup1")),
        oom_kill: keyed(&memory.join("memory.oom_control"), "oom_kill"),
        pids_max: keyed(&root.join("pids/pids.events"), "max"),
        pids_peak: None,
    }
}

/// Processor time of children that were waited for, by us or below us: `cutime` and `cstime`.
fn reaped_children() -> Option<Sourced> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may hold anything; fields count from after it.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: u64 = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    // USER_HZ is 100 on every machine that Linux still runs on.
    Some((ticks * 10_000, "proc"))
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let mut values = lines.filter(|(name, _)| *name == key);
    values.next()?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_absent() {
        let empty = tempfile::tempdir().unwrap();
        let measures = cgroup2(empty.path());
        assert!(measures.cpu_us.is_none() && measures.oom_kill.is_none());
        assert!(cgroup1(empty.path()).memory_peak.is_none());
    }

    #[test]
    fn both_layouts_are_read() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("cpu.stat", "usage_usec 1234\nuser_usec 1000\n");
        put("memory.events", "low 0\noom 2\noom_kill 3\noom_group_kill 0\n");
        put("memory.peak", "4096\n");
        put("pids.events", "max 7\n");
        let new = cgroup2(root.path());
        assert_eq!(new.cpu_us, Some((1234, "cgroup2")));
        assert_eq!((new.oom_kill, new.pids_max), (Some(3), Some(7)));
        put(
            "memory/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        );
        put("memory/memory.max_usage_in_bytes", "8192\n");
        put("cpuacct/cpuacct.usage", "5000000\n");
        let old = cgroup1(root.path());
        assert_eq!(old.cpu_us, Some((5000, "cgroup1")));
        assert_eq!(old.memory_peak, Some((8192, "cgroup1")));
        assert_eq!(old.oom_kill, Some(2));
    }

    #[test]
    fn reaped_children_are_counted() {
        assert!(reaped_children().is_some());
    }
}
