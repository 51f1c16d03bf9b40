//! The three checked-in seccomp profiles: that they parse, and what must never be in them.

use std::collections::BTreeSet;

use serde_json::Value;

const PROFILES: [&str; 3] = ["builder", "build-step", "guest"];

/// Nothing of ours ever needs these, and each has been a way out of a container.
const NEVER: &[&str] = &[
    "acct",
    "add_key",
    "adjtimex",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "clone3",
    "create_module",
    "delete_module",
    "fanotify_init",
    "fanotify_mark",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_kernel_syms",
    "get_mempolicy",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mbind",
    "memfd_secret",
    "migrate_pages",
    "modify_ldt",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pidfd_getfd",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "query_module",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "set_mempolicy",
    "setns",
    "settimeofday",
    "socketcall",
    "stime",
    "swapoff",
    "swapon",
    "syslog",
    "sysfs",
    "uselib",
    "userfaultfd",
    "ustat",
    "vhangup",
    "vm86",
    "vmsplice",
];

/// What only buildah itself may do, never a step of a build nor a run.
const BUILDAH_ONLY: &[&str] = &[
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "unshare",
    "sethostname",
    "setdomainname",
];

/// A sample of what ordinary programs cannot do without.
const ALWAYS: &[&str] = &[
    "accept4",
    "clock_nanosleep",
    "clone",
    "close_range",
    "copy_file_range",
    "epoll_pwait2",
    "eventfd2",
    "execve",
    "faccessat2",
    "fchmodat2",
    "futex",
    "futex_waitv",
    "getrandom",
    "inotify_add_watch",
    "kill",
    "madvise",
    "membarrier",
    "memfd_create",
    "mknodat",
    "mmap",
    "openat2",
    "pidfd_open",
    "pidfd_send_signal",
    "prlimit64",
    "rseq",
    "rt_sigreturn",
    "sched_getaffinity",
    "socket",
    "socketpair",
    "statx",
    "timerfd_create",
    "vfork",
    "wait4",
];

fn profile(name: &str) -> Value {
    // That of steps comes with the holder, the others are the engine's.
    let folder = if name == "build-step" {
        ""
    } else {
        "../seatrial-engine/seccomp/"
    };
    let path = format!("{}/{folder}{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn rules(profile: &Value) -> Vec<&Value> {
    profile["syscalls"].as_array().unwrap().iter().collect()
}

fn names(rule: &Value) -> Vec<&str> {
    let names = rule["names"].as_array().unwrap().iter();
    names.map(|name| name.as_str().unwrap()).collect()
}

fn allowed(profile: &Value) -> BTreeSet<&str> {
    let rules = rules(profile).into_iter();
    let allowing = rules.filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
    allowing.flat_map(names).collect()
}

/// Rules that allow `name`.
fn allowing<'a>(profile: &'a Value, name: &str) -> Vec<&'a Value> {
    let rules = rules(profile).into_iter();
    let rules = rules.filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
    rules.filter(|rule| names(rule).contains(&name)).collect()
}

#[test]
fn a_profile_refuses_what_it_does_not_name() {
    for name in PROFILES {
        let profile = profile(name);
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO", "{name}");
        for machine in profile["archMap"].as_array().unwrap() {
            let others = machine["subArchitectures"].as_array().unwrap();
            assert!(others.is_empty(), "a second system call table");
        }
    }
}

#[test]
fn every_rule_says_why_and_is_of_a_known_kind() {
    for name in PROFILES {
        let profile = profile(name);
        let mut kinds: BTreeSet<(&str, bool)> = BTreeSet::new();
        for rule in rules(&profile) {
            assert!(rule["comment"].as_str().unwrap().len() > 12, "{name}: {rule}");
            let action = rule["action"].as_str().unwrap();
            let absent = rule["errnoRet"] == 38;
            let audit = rule["errnoRet"] == 93 && names(rule) == ["socket"];
            let many = rule["errnoRet"] == 24 && names(rule) == ["inotify_init", "inotify_init1"];
            // The only call that is answered as if it had been done.
            let sealed = name == "builder"
                && rule["errnoRet"] == 0
                && names(rule) == ["fcntl"]
                && rule["args"]
                    == serde_json::json!([
                        {"index": 1, "value": 1033, "op": "SCMP_CMP_EQ"},
                        {"index": 2, "value": 15, "op": "SCMP_CMP_EQ"}
                    ]);
            assert!(matches!(
                (action, absent || audit || many || sealed),
                ("SCMP_ACT_ALLOW", false) | ("SCMP_ACT_ERRNO", true)
            ));
            assert!(rule.get("includes").is_none() && rule.get("excludes").is_none());
            for call in names(rule) {
                kinds.insert((call, absent));
            }
        }
        for call in allowed(&profile) {
            assert!(!kinds.contains(&(call, true)), "{name}: {call} is both");
        }
    }
}

#[test]
fn no_profile_allows_a_way_out() {
    for name in PROFILES {
        let profile = profile(name);
        let allowed = allowed(&profile);
        for call in NEVER {
            assert!(!allowed.contains(call), "{name} allows {call}");
        }
    }
}

#[test]
fn only_the_builder_may_mount_and_make_namespaces() {
    let outer = profile("builder");
    for name in ["build-step", "guest"] {
        let profile = profile(name);
        let allowed = allowed(&profile);
        for call in BUILDAH_ONLY {
            assert!(!allowed.contains(call), "{name} allows {call}");
        }
        let clones = allowing(&profile, "clone");
        let [clone] = clones.as_slice() else {
            panic!("{name}: {clones:?}");
        };
        assert_eq!(
            clone["args"],
            serde_json::json!([
                {"index": 0, "value": 0x7E02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
            ])
        );
    }
    let (outer, guest) = (allowed(&outer), profile("guest"));
    assert!(outer.contains("mount") && outer.contains("unshare"));
    assert!(!allowed(&guest).contains("chroot"));
}

#[test]
fn clone3_is_absent_rather_than_refused() {
    for name in PROFILES {
        let profile = profile(name);
        let absent = rules(&profile)
            .into_iter()
            .any(|rule| rule["errnoRet"] == 38 && names(rule).contains(&"clone3"));
        assert!(absent, "{name}: the C libraries fall back on ENOSYS only");
    }
}

#[test]
fn sockets_are_chosen_by_equality() {
    for name in PROFILES {
        let profile = profile(name);
        let mut families = BTreeSet::new();
        for rule in allowing(&profile, "socket") {
            let args = rule["args"].as_array().unwrap();
            let family = args.iter().find(|arg| arg["index"] == 0).unwrap();
            assert_eq!(family["op"], "SCMP_CMP_EQ", "{name}");
            let family = family["value"].as_u64().unwrap();
            let protocol = args.iter().any(|arg| arg["index"] == 2);
            assert!(family == 1 || protocol, "{name}: family {family} with any protocol");
            families.insert(family);
        }
        // AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: no AF_ALG (38), AF_VSOCK (40), AF_PACKET (17).
        assert_eq!(families, BTreeSet::from([1, 2, 10, 16]), "{name}");
    }
}

#[test]
fn personality_cannot_switch_protections_off() {
    for name in PROFILES {
        let profile = profile(name);
        let values: BTreeSet<u64> = allowing(&profile, "personality")
            .into_iter()
            .map(|rule| rule["args"][0]["value"].as_u64().unwrap())
            .collect();
        assert_eq!(values, BTreeSet::from([0, 0xffff_ffff]), "{name}");
    }
}

#[test]
fn limits_are_set_on_oneself_only() {
    for name in PROFILES {
        let profile = profile(name);
        let rules = allowing(&profile, "prlimit64");
        let [rule] = rules.as_slice() else {
            panic!("{name}: {rules:?}");
        };
        let oneself = serde_json::json!([{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]);
        assert_eq!(rule["args"], oneself, "{name}");
    }
}

#[test]
fn ordinary_programs_find_what_they_need() {
    for name in PROFILES {
        let profile = profile(name);
        let allowed = allowed(&profile);
        for call in ALWAYS {
            assert!(allowed.contains(call), "{name} lacks {call}");
        }
    }
}

#[test]
fn what_a_step_may_do_buildah_may_do() {
    // Filters add up: a call that only the inner profile allows would be refused all the same.
    let (inner, outer) = (profile("build-step"), profile("builder"));
    let outer = allowed(&outer);
    for call in allowed(&inner) {
        assert!(outer.contains(call), "{call}");
    }
}
