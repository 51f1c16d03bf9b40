//! Levels of walls on a real Engine: proven, asked for, refused.

use serde_json::json;

use crate::support::{assert_clean, docker, has_user_namespaces, on_engine, run};

const PERF: &str = "examples/perf/Dockerfile";

/// What every level of a run has, but for the filter.
const COMMON: [&str; 9] = [
    "cpu-bound",
    "kernel-files",
    "memory-bound",
    "no-capabilities",
    "no-network",
    "no-new-privileges",
    "pids-bound",
    "read-only-root",
    "store-bound",
];

/// The level of a build here, and of a run by runc.
fn level() -> &'static str {
    if has_user_namespaces() { "userns" } else { "namespaces" }
}

#[test]
fn docker_walls_of_build_and_run_are_met_by_a_probe_and_told_one_by_one() {
    let (code, job) = run(&[PERF]);
    assert_eq!(code, 0, "{job}");
    for (walls, own) in [("build_walls", &COMMON[..]), ("walls", &COMMON)] {
        let found = &job[walls];
        assert_eq!(found["level"], level(), "{found}");
        let mapped = has_user_namespaces().then_some("user-namespace");
        for wall in own.iter().chain(&["seccomp"]).copied().chain(mapped) {
            if walls == "build_walls" && wall == "no-capabilities" {
                continue; // A builder changes owners of files.
            }
            assert_eq!(found["proven"][wall], "seen", "{walls}: {wall}: {found}");
        }
    }
    assert!(job["walls"]["proven"].get("own-kernel").is_none());
    assert_clean("a run");
}

#[test]
fn docker_a_run_that_must_be_in_gvisor_is_and_gives_the_same_result() {
    let (code, job) = run(&["--runtime", "runsc", "--walls", "run=gvisor", PERF]);
    assert_eq!(code, 0, "{job}");
    assert_eq!(job["result"]["value"], json!({"perf": 0.99}));
    let (build, run) = (&job["build_walls"], &job["walls"]);
    assert_eq!((&build["level"], &run["level"]), (&json!(level()), &json!("gvisor")));
    assert_eq!(run["proven"]["own-kernel"], "seen", "{run}");
    assert_eq!(run["proven"]["memory-bound"], "told", "{run}");
    // Our Engine's gVisor takes our profile besides.
    assert_eq!(run["proven"]["seccomp"], "seen", "{run}");
    assert_clean("a run in gVisor");
}

#[test]
fn docker_a_job_that_asks_for_more_walls_than_there_are_is_not_built() {
    let (code, job) = run(&["--walls", "run=gvisor", PERF]);
    assert_eq!(code, 6, "{job}");
    assert_eq!(job["reason"], "walls_too_weak");
    assert_eq!(job["blame"], "platform", "{job}");
    let message = job["message"].as_str().unwrap();
    assert!(
        message.contains("gvisor for the run (own-kernel was not met)"),
        "{message}"
    );
    assert!(job["image"].is_null() && job["build_walls"].is_null());
    assert_clean("a refusal");
}

#[test]
fn docker_a_runtime_that_cannot_start_is_told_and_nothing_is_run() {
    let (code, job) = run(&["--runtime", "no-such-runtime", PERF]);
    assert_eq!(code, 6, "{job}");
    let message = job["message"].as_str().unwrap();
    assert!(message.contains("no-such-runtime"), "{message}");
    assert_clean("a missing runtime");
}

#[test]
fn docker_the_doctor_says_which_walls_were_met() {
    let output = on_engine().args(["doctor", "--format", "json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let check = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {report}"))
            .clone()
    };
    for name in ["walls: build", "walls: run in runc"] {
        let health = if has_user_namespaces() { "ok" } else { "weak" };
        assert_eq!(check(name)["health"], health, "{report}");
        let detail = check(name)["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(&format!("level {}", level())), "{report}");
    }
    assert!(
        docker(&["ps", "--all", "--format", "{{.Names}}"])
            .lines()
            .all(|name| !name.starts_with("st-probe-"))
    );
}
