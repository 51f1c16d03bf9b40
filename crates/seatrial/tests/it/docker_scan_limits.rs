//! What does not fit into the scanner's memory: whose doing it is, and which setting helps.

use serde_json::Value;

use crate::support::{first_trial, folder};

fn trial(text: &str, policy: &str, base_memory: &str) -> Value {
    let place = folder(&[("Dockerfile", text), ("policy.toml", policy)]);
    let policy = place.path().join("policy.toml");
    let args = ["--policy", policy.to_str().unwrap()];
    first_trial(place.path(), &args, &[("SEATRIAL__SCAN__BASE_MEMORY", base_memory)])
}

fn told(job: &Value) -> [&str; 3] {
    ["state", "reason", "blame"].map(|key| job[key].as_str().unwrap())
}

#[test]
fn docker_an_image_or_base_that_is_too_large_to_be_scanned_is_not_run_and_names_the_setting() {
    let end = "CMD echo '{\"perf\": 1}' > /data/perf.json\n";
    let small_scanner = "version = 1\n[limits.build]\nlayers = \"8MiB\"\n[limits.scan]\nmemory = \"16MiB\"\n";
    let image = trial(&format!("FROM busybox\nRUN echo 1 > /1\n{end}"), small_scanner, "4GiB");
    assert_eq!(told(&image), ["failed", "out_of_memory", "quota"], "{image:#}");
    assert!(image["remedy"].as_str().unwrap().contains("limits.scan.memory"));

    let base = trial(&format!("FROM debian:bookworm-slim\n{end}"), "version = 1\n", "64MiB");
    assert_eq!(told(&base), ["errored", "scanner_failed", "platform"], "{base:#}");
    assert!(base["remedy"].as_str().unwrap().contains("scan.base_memory"));
    assert!(base["walls"].is_null() && image["walls"].is_null(), "nothing ran");
}
