//! Interrupts, kills and crowds: nothing is left behind, nobody is harmed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::house::until;
use crate::support::{QUICK, assert_clean, docker, job, leftovers, on_engine, run};

/// An endless run, up to the point where its guest runs.
fn endless(folder: &tempfile::TempDir) -> Child {
    endless_in(
        folder,
        "run",
        "FROM busybox\nCMD echo here; while :; do sleep 1; done\n",
        "2m",
    )
}

/// The same in any stage, once it says "here".
fn endless_in(folder: &tempfile::TempDir, stage: &str, text: &str, limit: &str) -> Child {
    let policy = format!("version = 1\n[limits.build]\ntime = \"{limit}\"\n[limits.run]\ntime = \"{limit}\"\n");
    started(folder, &policy, &[], stage, text, "here")
}

/// Kills a worker once its guest has said something; the proxies that ran then.
pub(crate) fn killed_when_it_says(policy: &str, stage: &str, text: &str, says: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut child = started(&folder, policy, &[], stage, text, says);
    let proxies = docker(&["ps", "--quiet", "--filter", "name=^st-egress-"]);
    signal(&child, "KILL");
    child.wait().unwrap();
    proxies
}

/// A job on its way, up to the point where its guest has said something.
fn started(folder: &tempfile::TempDir, rules: &str, args: &[&str], stage: &str, text: &str, says: &str) -> Child {
    let dockerfile = folder.path().join("Dockerfile");
    std::fs::write(&dockerfile, text).unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, rules).unwrap();
    let mut child = on_engine()
        .args(QUICK)
        .args(args)
        .arg("--policy")
        .arg(&policy)
        .arg(&dockerfile)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let here = format!("{stage} | {says}");
    assert!(lines.any(|line| line.unwrap().contains(&here)), "the guest runs");
    std::thread::spawn(move || lines.for_each(drop)); // keep the pipe open and empty
    child
}

fn signal(child: &Child, name: &str) {
    assert!(
        Command::new("kill")
            .arg(format!("-{name}"))
            .arg(child.id().to_string())
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn docker_an_interrupt_ends_in_order_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let child = endless(&folder);
    signal(&child, "INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(job(&output)["state"], "cancelled");
    assert_clean("an interrupted run");
}

#[test]
fn docker_a_killed_process_is_swept_by_the_next_and_a_living_one_is_not() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut dead = endless(&folder);
    let living = endless(&other);
    // Before the kill: what the dead one left ends by itself within seconds.
    let before = docker(&["ps", "--quiet"]).lines().count();
    signal(&dead, "KILL");
    dead.wait().unwrap();
    let (code, _) = run(&["examples/perf/Dockerfile"]);
    assert_eq!(code, 0);
    let after = docker(&["ps", "--quiet"]).lines().count();
    assert!(
        after < before && after > 0,
        "{after} of {before} containers are left: the living one's"
    );
    signal(&living, "INT");
    assert_eq!(
        living.wait_with_output().unwrap().status.code(),
        Some(5),
        "the living one was not harmed"
    );
    assert_clean("a kill and a sweep");
}

/// The life line: nobody is there any more, and nobody comes. What runs ends by itself, long before its limit.
#[test]
fn docker_what_a_killed_process_had_started_ends_in_seconds_though_nobody_comes() {
    for (stage, text) in [
        (
            "run",
            "FROM busybox\nCMD trap '' TERM INT; echo here; while :; do sleep 1; done\n",
        ),
        (
            "build",
            "FROM busybox\nRUN trap '' TERM INT; echo here; while :; do sleep 1; done\nCMD true\n",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = endless_in(&folder, stage, text, "10m");
        let running = || docker(&["ps", "--quiet", "--filter", "name=^st-"]);
        assert!(!running().is_empty(), "its containers run");
        signal(&child, "KILL");
        child.wait().unwrap();
        until(
            &format!("nothing of the endless {stage} runs"),
            // A tenth of its limit: seconds where the host is not busy.
            Duration::from_secs(60),
            || running().is_empty(),
        );
    }
    let (code, _) = run(&["examples/perf/Dockerfile"]);
    assert_eq!(code, 0);
    assert_clean("two deaths and a sweep");
}

/// The switch in process 1 is out of a guest's reach, also in gVisor, to which process 1 is like others.
#[test]
fn docker_a_guest_that_would_stop_process_1_ends_at_its_limit_though_no_worker_is_there() {
    for runtime in ["runc", "runsc"] {
        let folder = tempfile::tempdir().unwrap();
        let policy = "version = 1\n[limits.run]\ntime = \"5s\"\n";
        let text = "FROM busybox\nCMD trap '' TERM INT; kill -STOP 1 2>/dev/null; kill -TSTP 1 2>/dev/null; echo here; while :; do sleep 1; done\n";
        let mut child = started(&folder, policy, &["--runtime", runtime], "run", text, "here");
        // Stopped, not killed: its end of the life line stays open, and it does nothing any more.
        signal(&child, "STOP");
        until(&format!("nothing runs in {runtime}"), Duration::from_secs(60), || {
            docker(&["ps", "--quiet", "--filter", "name=^st-run-"]).is_empty()
        });
        signal(&child, "CONT");
        signal(&child, "KILL");
        child.wait().unwrap();
    }
    let (code, _) = run(&["examples/perf/Dockerfile"]);
    assert_eq!(code, 0);
    assert_clean("two guests without a worker, and a sweep");
}

#[test]
fn docker_a_second_interrupt_leaves_at_once_and_the_next_start_sweeps() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = endless(&folder);
    signal(&child, "INT");
    // The second may come before or after the orderly end: both leave with the same code.
    let _ = Command::new("kill").arg("-INT").arg(child.id().to_string()).status();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let (code, _) = run(&["examples/perf/Dockerfile"]);
    assert_eq!(code, 0);
    assert_clean("a second interrupt and a sweep");
}

#[test]
fn docker_ten_side_by_side_never_collide_even_when_one_is_killed() {
    let (code, _) = run(&["examples/perf/Dockerfile"]);
    assert_eq!(code, 0);
    let mut crowd: Vec<Child> = (0..10)
        .map(|_| {
            on_engine()
                .args([
                    "run",
                    "--fixture-db",
                    "--format",
                    "json",
                    "--no-sbom",
                    "--no-config-checks",
                    "examples/perf/Dockerfile",
                ])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    while leftovers().is_empty() {
        assert!(Instant::now() < deadline, "no container appeared");
        std::thread::yield_now();
    }
    let mut killed = crowd.pop().unwrap();
    signal(&killed, "KILL");
    killed.wait().unwrap();
    for child in crowd {
        let output = child.wait_with_output().unwrap();
        let job = job(&output);
        assert_eq!(
            (output.status.code(), &job["result"]["value"]["perf"]),
            (Some(0), &0.99.into()),
            "{job:#}"
        );
    }
    let (code, _) = run(&["examples/perf/Dockerfile"]);
    assert_eq!(code, 0);
    assert_clean("a crowd of ten with one killed");
}
