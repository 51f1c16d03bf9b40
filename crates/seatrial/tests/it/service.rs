//! The service without an Engine: tries that do nothing, everything else real.

use std::time::Duration;

use serde_json::json;

use crate::house::{House, any_file_holds};

const TEXT: &str = "FROM debian:bookworm-slim\nRUN echo unmistakable-marker\nCMD [\"true\"]\n";

#[test]
fn one_process_on_a_folder_takes_and_ends_jobs() {
    let house = House::new();
    let (_serve, base) = house.serve("serve", &["--executor", "noop"]);
    let id = house.submit(&base, TEXT);
    let job = house.ended(&base, &id, Duration::from_secs(20));
    assert_eq!(job["state"], "succeeded", "{job}");
}

#[test]
fn no_byte_of_a_dockerfile_is_on_disk_or_in_a_log() {
    let house = House::new();
    let (serve, base) = house.serve("serve", &["--executor", "noop"]);
    let id = house.submit(&base, TEXT);
    let job = house.ended(&base, &id, Duration::from_secs(20));
    // It is found where it is not sealed, so the look can fail.
    std::fs::write(house.folder.path().join("probe"), "x unmistakable-marker y").unwrap();
    assert!(any_file_holds(house.folder.path(), b"unmistakable-marker"));
    assert!(!any_file_holds(&house.data(), b"unmistakable-marker"), "{job}");
    assert!(!serve.lines().contains("unmistakable-marker"));
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let house = House::new();
    let (mut serve, base) = house.serve("serve", &["--no-worker"]);
    let ids: Vec<String> = (0..20)
        .map(|number| house.submit(&base, &format!("{TEXT}# {number}\n")))
        .collect();
    serve.kill();
    let (_again, base) = house.serve("again", &["--executor", "noop"]);
    for id in ids {
        assert_eq!(house.ended(&base, &id, Duration::from_secs(30))["state"], "succeeded");
    }
}

#[test]
fn sigterm_ends_the_process_in_order_while_a_stream_is_open() {
    let house = House::new();
    let (mut serve, base) = house.serve("serve", &["--no-worker"]);
    let id = house.submit(&base, TEXT);
    let events = format!("{base}/v1/jobs/{id}/events");
    let (open, opened) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let answer = reqwest::blocking::get(events).unwrap();
        open.send(()).unwrap();
        answer.text().unwrap()
    });
    opened.recv_timeout(Duration::from_secs(10)).unwrap();
    serve.signal("TERM");
    assert_eq!(serve.end(Duration::from_secs(20)), Some(0), "{}", serve.lines());
    // Whole events, then an orderly end.
    let told = reader.join().unwrap();
    assert!(told.contains("event: queued") && told.ends_with("\n\n"), "{told}");
}

#[test]
fn a_correlation_id_goes_from_the_request_to_job_and_logs() {
    let house = House::new();
    let (serve, base) = house.serve("serve", &["--executor", "noop"]);
    let answer = reqwest::blocking::Client::new()
        .post(format!("{base}/v1/jobs"))
        .header("content-type", "application/json")
        .header("x-correlation-id", "trace-me-1")
        .body(json!({"dockerfile": TEXT}).to_string())
        .send()
        .unwrap();
    assert_eq!(answer.headers()["x-correlation-id"], "trace-me-1");
    let job: serde_json::Value = serde_json::from_str(&answer.text().unwrap()).unwrap();
    assert_eq!(job["correlation_id"], "trace-me-1");
    house.ended(&base, job["id"].as_str().unwrap(), Duration::from_secs(20));
    let lines = serve.lines();
    let of_it = lines.lines().filter(|line| line.contains("trace-me-1")).count();
    assert!(of_it >= 3, "request, claim and end: {lines}");
}

#[test]
fn the_client_submits_waits_and_ends_with_the_jobs_exit_code() {
    let house = House::new();
    let (_serve, base) = house.serve("serve", &["--executor", "noop"]);
    let good = house
        .client(&base)
        .args(["submit", "--wait", "examples/perf/Dockerfile"])
        .output()
        .unwrap();
    assert_eq!(good.status.code(), Some(0), "{}", String::from_utf8_lossy(&good.stderr));
    let folder = tempfile::tempdir().unwrap();
    let denied = folder.path().join("Dockerfile");
    std::fs::write(&denied, "FROM debian:bookworm-slim\nRUN --security=insecure true\n").unwrap();
    let bad = house
        .client(&base)
        .args(["submit", "--wait"])
        .arg(&denied)
        .output()
        .unwrap();
    assert_eq!(bad.status.code(), Some(3), "{}", String::from_utf8_lossy(&bad.stderr));
    let list = house.client(&base).arg("list").output().unwrap();
    let listed = String::from_utf8(list.stdout).unwrap();
    assert!(listed.contains("succeeded") && listed.contains("rejected"), "{listed}");
}

#[test]
fn a_server_that_is_not_there_is_said_so_with_its_own_exit_code() {
    let house = House::new();
    let output = house
        .client("http://127.0.0.1:1")
        .args(["status", "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"])
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(6),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
