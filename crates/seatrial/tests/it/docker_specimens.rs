//! Hostile Dockerfiles: the suite that `seatrial doctor --attack` has, at one level. All of them must be contained.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{assert_clean, on_engine};

/// The suite on the dev Engine: exit code and document. The default runtime: the Engine may have stronger ones.
fn attack(args: &[&str]) -> (Option<i32>, Value) {
    let output = on_engine()
        .args(["doctor", "--attack", "--fixture-db", "--format", "json"])
        .args(args)
        .env("SEATRIAL__RUN__RUNTIME", "runc")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    (output.status.code(), crate::support::job(&output))
}

#[test]
fn docker_every_specimen_ends_as_it_must_and_leaves_the_host_as_it_was() {
    let only = std::env::var("SPECIMEN").ok();
    let mut args = vec!["--yes", "--minutes", "18", "--ordinary-every", "5"];
    if let Some(only) = &only {
        args.extend(["--only", only]);
    }
    let (code, suite) = attack(&args);
    let specimens = suite["specimens"].as_array().unwrap();
    assert!(
        only.is_some() || specimens.len() >= 100,
        "{} specimens",
        specimens.len()
    );
    assert_eq!(suite["level"], "userns", "{suite:#}");
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
}
