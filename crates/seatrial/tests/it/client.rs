//! The client of a server: the real binary against a server that answers as each test says.

use std::{net::TcpListener, process::Output};

use serde_json::{Value, json};

use crate::{
    fake::{Answer, Fake, ID, event, job},
    support::seatrial,
};

pub(crate) const PATH: &str = "/v1/jobs/job_01KAZ0000000000000000000AB";

pub(crate) fn ask(fake: &Fake, args: &[&str]) -> Output {
    seatrial()
        .env("SEATRIAL_SERVER", &fake.url)
        .args(args)
        .output()
        .unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_server_that_is_not_there_is_6_with_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let output = seatrial().args(["list", "--server", &url]).output().unwrap();
    assert_eq!(code(&output), 6, "{}", err(&output));
    let told = err(&output);
    assert!(
        told.contains(&format!("error: cannot reach the server at {url}: Connection refused")),
        "{told}"
    );
    assert!(told.contains("help: start one with `seatrial serve`"), "{told}");
    assert!(told.contains("trying again"), "{told}");
}

#[test]
fn a_bad_job_id_is_refused_before_anything_is_asked() {
    let fake = Fake::start(|_, _| Answer::json(200, &json!({})));
    for args in [["status", "nonsense"], ["cancel", "job_"], ["logs", "../../etc"]] {
        let output = ask(&fake, &args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(
            err(&output).contains("a job id is 'job_' and 26 characters"),
            "{}",
            err(&output)
        );
    }
    assert!(fake.seen().is_empty());
}

#[test]
fn a_refusal_is_told_with_code_fault_help_and_correlation_id() {
    let fake = Fake::start(|_, _| Answer::problem(404, "no_such_job", "There is no such job, or it is not yours."));
    let output = ask(&fake, &["status", ID]);
    assert_eq!(code(&output), 2);
    let told = err(&output);
    assert!(
        told.starts_with("error: There is no such job, or it is not yours (no_such_job, 404)\n"),
        "{told}"
    );
    for word in ["fault: ", "help: `seatrial list`", "correlation id: corr-7"] {
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn a_stranger_that_answers_is_told_apart_from_a_seatrial() {
    let fake = Fake::start(|request, _| match request.line.as_str() {
        "GET /v1/workers" => Answer::new(200, "text/html", "<html>"),
        "GET /v1/queue" => Answer::new(301, "text/html", "").with("Location", "http://evil.example/"),
        _ => Answer::new(401, "text/html", "<html>"),
    });
    let output = ask(&fake, &["workers"]);
    assert_eq!(code(&output), 6);
    assert!(
        err(&output).contains("did not answer as Seatrial does"),
        "{}",
        err(&output)
    );
    let output = ask(&fake, &["top"]);
    assert!(
        err(&output).contains("it points to http://evil.example/"),
        "{}",
        err(&output)
    );
    let output = ask(&fake, &["status", ID]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("wants to know who you are"), "{}", err(&output));
}

/// A job that builds and fails, told over a connection that breaks in the middle.
fn failing(line: &str, last_event_id: &str) -> Answer {
    let started = event(3, "stage_started", &json!({"stage": "build"}));
    let first = [
        event(1, "queued", &json!({"attempt": 1})),
        event(2, "claimed", &json!({"worker": "w-1", "attempt": 1})),
        started.clone(),
        event(4, "log", &json!({"stage": "build", "total": 8})),
    ];
    let second = [
        started,
        ": heart-beat\n\n".to_owned(),
        event(5, "invented_later", &json!({"x": 1})),
        event(6, "build_step", &json!({"step": 1, "of": 2, "text": "RUN \u{1b}[2J"})),
        event(
            7,
            "settled",
            &json!({"state": "failed", "reason": "build_failed", "blame": "guest"}),
        ),
    ];
    let over = json!({
        "stage": "build", "attempt": 1, "reason": "build_failed", "blame": "guest", "last_event": 7,
        "message": "Step 1 failed.\u{1b}[31m", "remedy": "Look at the log.", "log_tail": ["boom\u{7}"],
    });
    let path = line.strip_prefix("GET ").unwrap().strip_prefix(PATH).unwrap();
    match (path, last_event_id) {
        ("", _) => Answer::json(200, &job("failed", &over)),
        ("/events", "") => Answer::events(&format!("retry: 1\n\n{}", first.concat())).broken(),
        ("/events", "4") => Answer::events(&second.concat()),
        ("/logs?stage=build&offset=0", _) => {
            Answer::new(200, "text/plain", "one\ntwo\u{1b}]0;x\u{7}\n").with("X-Log-Complete", "true")
        }
        other => Answer::problem(404, "not_found", &format!("{other:?}")),
    }
}

#[test]
fn waiting_survives_a_lost_connection_and_tells_nothing_twice() {
    let fake = Fake::start(|request, _| failing(&request.line, request.header("last-event-id")));
    let output = ask(&fake, &["wait", ID]);
    assert_eq!(code(&output), 1, "{}", err(&output));
    let told = err(&output);
    let lines: Vec<&str> = told.lines().map(|line| line.split_once("s ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "queued",
            "try 1 on worker w-1",
            "build ...",
            "build: step 1 of 2: RUN \\u{1b}[2J",
            "build | one",
            "build | two\\u{1b}]0;x\\u{7}",
        ]
    );
    let shown = out(&output);
    assert!(
        shown.contains("failed (build_failed, the Dockerfile's doing): Step 1 failed.\\u{1b}[31m"),
        "{shown}"
    );
    assert!(shown.contains("  | boom\\u{7}"), "{shown}");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown:?}");
}

#[test]
fn waiting_for_several_ends_with_the_first_that_did_not_succeed() {
    let ids = [1, 2, 3].map(|number| format!("job_01KAZ{number:021}"));
    let [first, second, _] = ids.clone();
    let fake = Fake::start(move |request, _| {
        if request.line.ends_with("/events") {
            return Answer::new(204, "text/plain", "");
        }
        let id = request.line.split_once("jobs/").unwrap().1;
        let state = match id {
            id if id == first => "succeeded",
            id if id == second => "timed_out",
            _ => "failed",
        };
        Answer::json(
            200,
            &job(
                state,
                &json!({"id": id, "reason": "ok", "blame": "guest", "message": "M."}),
            ),
        )
    });
    let output = ask(&fake, &["wait", "--quiet", &ids[0], &ids[1], &ids[2]]);
    assert_eq!((code(&output), err(&output)), (4, String::new()));
    let shown = out(&output);
    let endings: Vec<&str> = shown.lines().filter(|line| line.contains("M.")).collect();
    assert_eq!(endings.len(), 3, "{shown}");
}

#[test]
fn events_are_resumed_and_kept_as_they_came() {
    let fake = Fake::start(|request, _| failing(&request.line, request.header("last-event-id")));
    let output = ask(&fake, &["events", ID, "--format", "json"]);
    let events: Vec<Value> = out(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!((code(&output), numbers), (0, (1..=7).collect()));
    assert_eq!(events[4]["x"], 1);
    let output = ask(&fake, &["events", ID, "--after", "4"]);
    assert!(
        out(&output).ends_with("7  2026-11-26 10:00:01.250Z  over: failed (build_failed)\n"),
        "{}",
        out(&output)
    );
}

#[test]
fn events_without_follow_end_where_the_job_is() {
    let fake = Fake::start(|request, _| match request.line.ends_with("/events") {
        true => Answer::events(&event(1, "queued", &json!({"attempt": 1}))).held(),
        false => Answer::json(200, &job("queued", &json!({"last_event": 1}))),
    });
    let output = ask(&fake, &["events", ID]);
    assert_eq!((code(&output), out(&output).lines().count()), (0, 1));
}

#[test]
fn a_story_has_events_and_output_in_order() {
    let fake = Fake::start(|request, _| failing(&request.line, request.header("last-event-id")));
    let output = ask(&fake, &["logs", ID]);
    let shown = out(&output);
    let lines: Vec<&str> = shown.lines().map(|line| line[13..].trim_start()).collect();
    assert_eq!(code(&output), 0);
    assert_eq!(
        lines[lines.len() - 3..],
        [
            "build | one",
            "build | two\\u{1b}]0;x\\u{7}",
            "over: failed (build_failed)"
        ]
    );
}

#[test]
fn a_followed_log_goes_on_where_it_broke() {
    let fake = Fake::start(
        |request, _| match request.line.strip_prefix("GET ").unwrap().strip_prefix(PATH).unwrap() {
            "/logs?stage=run&offset=0&follow=true" => Answer::new(200, "text/plain", "\u{1b}one\n").broken(),
            "/logs?stage=run&offset=5&follow=true" => Answer::new(200, "text/plain", "two\n"),
            "/logs?stage=run&offset=9" => Answer::new(200, "text/plain", "").with("X-Log-Complete", "true"),
            other => Answer::problem(404, "not_found", other),
        },
    );
    let output = ask(&fake, &["logs", ID, "--stage", "run", "--follow"]);
    // In a pipe the bytes are the guest's.
    assert_eq!(
        (code(&output), out(&output)),
        (0, "\u{1b}one\ntwo\n".to_owned()),
        "{}",
        err(&output)
    );
}

#[test]
fn a_result_is_the_exact_bytes_or_nothing() {
    let fake = Fake::start(|request, before| {
        let good = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:"; // of abc
        match (request.line.ends_with("/result"), before) {
            (true, 0 | 1) => Answer::new(200, "application/json", "abc").with("Content-Digest", good),
            (true, 2) => Answer::new(200, "application/json", "abd").with("Content-Digest", good),
            (true, 3) => Answer::problem(409, "not_ready", "The job is running."),
            (true, _) => Answer::problem(404, "not_produced", "The job ended as timed_out."),
            (false, _) => Answer::json(200, &job("timed_out", &json!({"reason": "run_time", "blame": "quota"}))),
        }
    });
    let output = ask(&fake, &["result", ID]);
    assert_eq!((code(&output), out(&output)), (0, "abc".to_owned()), "{}", err(&output));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("perf.json");
    let output = ask(&fake, &["result", ID, "--output", file.to_str().unwrap()]);
    assert_eq!(
        (code(&output), std::fs::read_to_string(&file).unwrap()),
        (0, "abc".to_owned())
    );
    let output = ask(&fake, &["result", ID]);
    assert_eq!((code(&output), out(&output)), (6, String::new()));
    assert!(
        err(&output).contains("is not what the server announced"),
        "{}",
        err(&output)
    );
    let output = ask(&fake, &["result", ID]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("`seatrial wait ID`"), "{}", err(&output));
    assert_eq!(code(&ask(&fake, &["result", ID])), 4);
}

#[test]
fn a_list_goes_from_page_to_page() {
    let fake = Fake::start(|request, _| {
        let jobs = json!([
            {"id": ID, "state": "running", "stage": "build", "created_at": "2026-11-26T10:00:00Z", "labels": {"a": "b"}},
        ]);
        match request.line.contains("cursor=next") {
            false => Answer::json(200, &json!({"jobs": jobs, "next_cursor": "next"})),
            true => Answer::json(200, &json!({"jobs": jobs, "next_cursor": null})),
        }
    });
    let output = ask(&fake, &["list", "--all", "--state", "timed_out", "--label", "a=b c"]);
    assert_eq!(
        (code(&output), out(&output).lines().count()),
        (0, 3),
        "{}",
        err(&output)
    );
    assert!(
        out(&output)
            .lines()
            .nth(1)
            .unwrap()
            .starts_with(&format!("{ID}  running     build")),
        "{}",
        out(&output)
    );
    assert_eq!(
        fake.lines(),
        [
            "GET /v1/jobs?state=timed_out&label=a%3Db+c&limit=100",
            "GET /v1/jobs?state=timed_out&label=a%3Db+c&cursor=next&limit=100"
        ]
    );
    let output = ask(&fake, &["list", "--limit", "1", "--format", "json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&out(&output)).unwrap()["labels"]["a"],
        "b"
    );
}

#[test]
fn workers_and_queue_are_shown_and_top_prints_once_without_a_terminal() {
    let fake = Fake::start(|request, _| match request.line.as_str() {
        "GET /v1/queue" => Answer::json(
            200,
            &json!({"waiting": {"high": 0, "normal": 12}, "oldest_s": {"normal": 95.0}, "running": 2}),
        ),
        _ => {
            let card = json!({
                "name": "w-1", "host": "h", "version": "0.1.0", "slots": 4, "busy": 2, "draining": false,
                "unfit": "no database\u{1b}", "walls": null, "database_updated_at": null,
                "started_at": "2026-11-26T10:00:00Z", "seen_at": "2026-11-26T10:00:00Z", "fit": false,
            });
            Answer::json(200, &json!({"workers": [card]}))
        }
    });
    let output = ask(&fake, &["top"]);
    let shown = out(&output);
    assert_eq!(code(&output), 0, "{}", err(&output));
    for word in [
        "12 waiting, 2 running; 0 of 1 workers fit, 4 slots",
        "95 s",
        "w-1",
        "2/4",
        "unfit: no database\\u{1b}",
    ] {
        assert!(shown.contains(word), "{word} is not in\n{shown}");
    }
    let output = ask(&fake, &["workers", "--format", "json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&out(&output)).unwrap()["workers"][0]["host"],
        "h"
    );
}

#[test]
fn cancel_says_what_became_of_the_wish() {
    let fake = Fake::start(|_, before| {
        let states = ["cancelled", "running", "succeeded"];
        Answer::json(202, &job(states[before], &json!({})))
    });
    let answers = ["cancelled", "ends within seconds", "was over: succeeded"];
    for answer in answers {
        let output = ask(&fake, &["cancel", ID]);
        assert_eq!((code(&output), out(&output)), (0, format!("{ID} {answer}\n")));
    }
    assert_eq!(fake.lines()[0], format!("POST {PATH}/cancel"));
}

#[test]
fn status_is_0_whatever_became_of_the_job() {
    let fake = Fake::start(|_, before| match before {
        0 => Answer::json(200, &job("queued", &json!({"queue_position": 4, "labels": {"a": "b"}}))),
        1 => Answer::json(
            200,
            &job("running", &json!({"stage": "scan", "attempt": 2, "worker": "w-9"})),
        ),
        _ => Answer::json(
            200,
            &job(
                "errored",
                &json!({"reason": "internal", "blame": "platform", "message": "Oh."}),
            ),
        ),
    });
    let expected = [
        "queued\n  queue  4 before it\n",
        "running, scan, try 2, worker w-9\n",
        "errored (internal, our fault",
    ];
    for words in expected {
        let output = ask(&fake, &["status", ID]);
        assert_eq!(code(&output), 0, "{}", err(&output));
        assert!(out(&output).contains(words), "{}", out(&output));
    }
}

#[test]
fn the_help_of_each_command_has_an_example() {
    for command in [
        "submit", "status", "wait", "logs", "events", "result", "cancel", "list", "workers", "top",
    ] {
        let output = seatrial().args([command, "--help"]).output().unwrap();
        let help = out(&output);
        assert!(
            help.contains("Example") && help.contains(&format!("  seatrial {command}")),
            "{help}"
        );
        assert!(
            help.contains("--server <URL>") && help.contains("[env: SEATRIAL_SERVER"),
            "{help}"
        );
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    }
}
