//! Handing a Dockerfile to a server, and waiting for what becomes of it.

use std::{io::Write as _, process::Stdio, sync::mpsc};

use serde_json::{Value, json};

use crate::{
    client::{PATH, ask, code, err, out},
    fake::{Answer, Fake, ID, event, job},
    support::seatrial,
};

/// The digest of `abc`.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn submit_prints_the_id_and_repeats_itself_safely() {
    let fake = Fake::start(|_, before| match before {
        0 => Answer::problem(503, "unavailable", "The ledger gives no answer.").with("Retry-After", "0"),
        1 => Answer::json(202, &job("queued", &json!({}))).broken(),
        _ => Answer::json(202, &job("queued", &json!({"queue_position": 3}))),
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Dockerfile");
    let input = folder.path().join("answers.csv");
    std::fs::write(&file, "FROM scratch\n").unwrap();
    std::fs::write(&input, "1,2\r\n").unwrap();
    std::fs::create_dir(folder.path().join("context")).unwrap();
    std::fs::write(folder.path().join("context/model.bin"), "weights").unwrap();
    let output = ask(
        &fake,
        &[
            "submit",
            file.to_str().unwrap(),
            "--input",
            input.to_str().unwrap(),
            "--context",
            folder.path().join("context").to_str().unwrap(),
            "--label",
            "team=red",
            "--priority",
            "high",
            "--delay",
            "10s",
            "--correlation-id",
            "mine-1",
        ],
    );
    assert_eq!(
        (code(&output), out(&output)),
        (0, format!("{ID}\n")),
        "{}",
        err(&output)
    );
    let seen = fake.seen();
    assert_eq!(seen.len(), 3);
    for request in &seen {
        assert_eq!(request.line, "POST /v1/jobs");
        assert_eq!(request.header("idempotency-key"), seen[0].header("idempotency-key"));
        assert_eq!(request.header("x-correlation-id"), "mine-1");
        assert_eq!(request.body, seen[0].body);
    }
    assert!(seen[0].header("idempotency-key").len() >= 20);
    assert!(
        seen[0]
            .header("content-type")
            .starts_with("multipart/form-data; boundary=")
    );
    let body = String::from_utf8_lossy(&seen[0].body).into_owned();
    for part in [
        "name=\"dockerfile\"; filename=\"Dockerfile\"",
        "\r\n\r\nFROM scratch\n\r\n",
        "name=\"inputs\"; filename=\"answers.csv\"",
        "\r\n\r\n1,2\r\n\r\n",
        "name=\"context\"",
        "model.bin",
    ] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    let options = body.split("\r\n\r\n").nth(1).unwrap().lines().next().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(options).unwrap(),
        json!({"labels": {"team": "red"}, "priority": "high", "delay": "10s", "result": "/data/perf.json", "artifacts": false})
    );
}

#[test]
fn a_text_that_is_no_dockerfile_is_3_and_shown_with_its_place() {
    let fake = Fake::start(|_, _| {
        let document = json!({
            "code": "unparsable_dockerfile", "status": 422, "detail": "The text is not a Dockerfile.",
            "correlation_id": "corr-7", "errors": [{
                "detail": "there is no instruction 'FORM'", "pointer": "/dockerfile", "rule": "ST000", "line": 1,
                "column": 1, "span": [0, 4], "remedy": "Write FROM.",
            }],
        });
        Answer::new(422, "application/problem+json", document.to_string())
    });
    let mut child = seatrial()
        .env("SEATRIAL_SERVER", &fake.url)
        .args(["submit", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"FORM scratch\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 3);
    let shown = out(&output);
    assert!(
        shown.contains("error[ST000]: there is no instruction 'FORM'"),
        "{shown}"
    );
    assert!(shown.contains("1 | FORM scratch\n  | ^^^^\n"), "{shown}");
    assert!(err(&output).contains("unparsable_dockerfile, 422"), "{}", err(&output));
    assert!(err(&output).contains("correlation id: corr-7"), "{}", err(&output));
}

#[test]
fn a_job_that_the_policy_refuses_at_once_is_3() {
    let fake = Fake::start(|_, _| {
        let refused = json!({"reason": "findings_block", "blame": "policy", "message": "No.", "remedy": "Do."});
        Answer::json(202, &job("rejected", &refused))
    });
    let output = ask(&fake, &["submit", "examples/perf/Dockerfile"]);
    assert_eq!((code(&output), out(&output)), (3, format!("{ID}\n")));
    assert!(
        err(&output).contains("rejected (findings_block, the policy's decision): No."),
        "{}",
        err(&output)
    );
}

#[test]
fn an_interrupt_ends_the_waiting_and_not_the_job() {
    let (asked, was_asked) = mpsc::channel();
    let asked = std::sync::Mutex::new(asked);
    let fake = Fake::start(move |request, _| {
        if request.line.ends_with("/events") {
            asked.lock().unwrap().send(()).unwrap();
            return Answer::events(": beat\n\n").held();
        }
        Answer::json(202, &job("queued", &json!({})))
    });
    let child = seatrial()
        .args(["submit", "examples/perf/Dockerfile", "--wait", "--server", &fake.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    was_asked.recv().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 130);
    assert!(
        err(&output).contains(&format!("`seatrial cancel {ID}` ends it")),
        "{}",
        err(&output)
    );
    assert!(!fake.lines().iter().any(|line| line.contains("cancel")));
}

#[test]
fn submit_wait_ends_like_run_and_keeps_the_output() {
    let fake = Fake::start(|request, _| {
        let result = b"{\"perf\": 0.5}";
        let path = request.line.split_once(' ').unwrap().1;
        let done = json!({
            "stage": "collect", "attempt": 1, "reason": "ok", "blame": "nobody", "message": "Done.",
            "result": {
                "path": "/data/perf.json", "value": {"perf": 0.5}, "bytes": 13,
                "sha256": seatrial_core::digest::Digest::of(result),
            },
            "artifacts": [
                {"name": "model.bin", "bytes": 3, "sha256": format!("sha256:{ABC}"), "skipped": null},
                {"name": "huge", "bytes": null, "sha256": null, "skipped": "too large"},
            ],
        });
        let done = job("succeeded", &done);
        match path.strip_prefix(PATH).unwrap_or(path) {
            "/v1/jobs" => Answer::json(202, &job("queued", &json!({}))),
            "/events" => Answer::events(&event(
                1,
                "settled",
                &json!({"state": "succeeded", "reason": "ok", "blame": "nobody"}),
            )),
            "" => Answer::json(200, &done),
            "/result" => Answer::new(200, "application/json", &result[..]),
            "/artifacts/model.bin" => Answer::new(200, "application/octet-stream", "abc"),
            "/logs?stage=build&offset=0" => Answer::new(200, "text/plain", "a".repeat(10)),
            "/logs?stage=build&offset=10" => Answer::new(200, "text/plain", "b").with("X-Log-Complete", "true"),
            "/logs?stage=run&offset=0" => Answer::new(200, "text/plain", "").with("X-Log-Complete", "true"),
            other => Answer::problem(404, "not_found", other),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("out");
    let output = ask(
        &fake,
        &[
            "submit",
            "examples/perf/Dockerfile",
            "--wait",
            "--output",
            folder.to_str().unwrap(),
        ],
    );
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).ends_with("{\"perf\":0.5}\n"), "{}", out(&output));
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read("result.json"), "{\"perf\": 0.5}");
    assert_eq!(read("artifacts/model.bin"), "abc");
    assert_eq!(read("build.log"), "aaaaaaaaaab");
    assert!(read("job.json").contains("\"a_later_field\": 1"));
    assert!(!folder.join("artifacts/huge").exists());
    let body = String::from_utf8_lossy(&fake.seen()[0].body).into_owned();
    assert!(body.contains("\"artifacts\":true"), "{body}");
}

#[test]
fn a_file_name_of_a_hostile_server_writes_nothing_elsewhere() {
    let fake = Fake::start(|request, _| {
        let evil = json!({"name": "../evil", "bytes": 3, "sha256": format!("sha256:{ABC}"), "skipped": null});
        let done = json!({"reason": "ok", "blame": "nobody", "message": "Done.", "artifacts": [evil]});
        match request.line.ends_with("/events") {
            true => Answer::new(204, "text/plain", ""),
            false => Answer::json(202, &job("succeeded", &done)),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    let output = ask(
        &fake,
        &[
            "submit",
            "examples/perf/Dockerfile",
            "--wait",
            "--output",
            target.to_str().unwrap(),
        ],
    );
    assert_eq!(code(&output), 6, "{}", err(&output));
    assert!(
        err(&output).contains("it names a file that no job can leave"),
        "{}",
        err(&output)
    );
    assert!(!folder.path().join("evil").exists());
}
