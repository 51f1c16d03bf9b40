//! Hostile Dockerfiles: the suite that `seatrial doctor --attack` has, all of it at one level and a choice of it in
//! gVisor. All of them must be contained.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{assert_clean, on_engine};

/// What gVisor answers in our place, or what a guest meets there that it does not meet elsewhere: its own kernel's
/// calls, files and streams of process 1, signals to it, limits that the Engine puts around gVisor, and a volume that both mount.
const IN_GVISOR: &[&str] = &[
    "egress-direct",
    "egress-streams",
    "endless-run",
    "fork-bomb-run",
    "init-signals-run",
    "init-stopped-run",
    "io-uring-run",
    "kernel-memory-run",
    "keyring-run",
    "limits-of-init",
    "memory-bomb-run",
    "network-run",
    "other-table-run",
    "raw-namespaces-run",
    "result-symlink",
    "socket-families-run",
];

/// The suite on the dev Engine: exit code and document. The runtime is named: the Engine may have stronger ones.
fn attack(runtime: &str, args: &[&str]) -> (Option<i32>, Value) {
    let output = on_engine()
        .args(["doctor", "--attack", "--fixture-db", "--format", "json", "--yes"])
        .args(args)
        .env("SEATRIAL__RUN__RUNTIME", runtime)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    (output.status.code(), crate::support::job(&output))
}

/// Asserts that all were contained at this level and nothing is left; how many there were.
fn all_contained(level: &str, (code, suite): (Option<i32>, Value)) -> usize {
    let specimens = suite["specimens"].as_array().unwrap();
    assert_eq!(suite["level"], level, "{suite:#}");
    assert_eq!(
        suite["not_checked"],
        serde_json::json!([]),
        "all of the host is looked at"
    );
    let wrong: Vec<String> = specimens
        .iter()
        .filter(|specimen| specimen["verdict"] != "contained")
        .map(|specimen| format!("{} {}: {}", specimen["name"], specimen["verdict"], specimen["detail"]))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} specimens are wrong:\n{}",
        wrong.len(),
        specimens.len(),
        wrong.join("\n")
    );
    assert_eq!(code, Some(0));
    assert_clean("the suite");
    specimens.len()
}

#[test]
fn docker_every_specimen_ends_as_it_must_and_leaves_the_host_as_it_was() {
    let only = std::env::var("SPECIMEN").ok();
    let mut args = vec!["--minutes", "18", "--ordinary-every", "10"];
    if let Some(only) = &only {
        args.extend(["--only", only]);
    }
    let count = all_contained("userns", attack("runc", &args));
    assert!(only.is_some() || count >= 105, "{count} specimens");
}

#[test]
fn docker_a_choice_of_specimens_ends_as_it_must_in_gvisor() {
    let mut args = vec!["--minutes", "8", "--ordinary-every", "20"];
    args.extend(IN_GVISOR.iter().flat_map(|name| ["--only", name]));
    let count = all_contained("gvisor", attack("runsc", &args));
    assert_eq!(count, IN_GVISOR.len());
    assert!(count >= 15);
}
