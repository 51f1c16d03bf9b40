//! An Engine that hangs, talks nonsense, has a full disk, loses an image or a connection: each job ends in the
//! right state, in time, with a reason and a remedy, and nothing is left.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    docker_points::forget,
    house::House,
    liar::{Liar, Lie, Rule, answer},
    support::{QUICK, assert_clean, dev_config, job, on_engine},
};

const TEXT: &str = "FROM busybox\nRUN echo built > /built\nCMD echo '{\"perf\": 0.5}' > /data/perf.json\n";
const FULL: &str = "{\"message\":\"write /var/lib/docker/tmp/x: no space left on device\"}";
const LOST: &str = "{\"message\":\"No such image: sha256:0000\"}";
/// A start may hang for this long (`HEAVY` of the Engine's client), all else is quicker.
const BOUND: Duration = Duration::from_secs(180);

/// A lie, and how the job ends.
struct Case {
    name: &'static str,
    rule: Rule,
    /// Tries that it may have.
    attempts: u32,
    /// State, reason, number of the last try.
    end: (&'static str, &'static str, u64),
}

fn case(
    name: &'static str,
    (method, path): (&'static str, &[&str]),
    (lie, times): (Lie, usize),
    attempts: u32,
    end: (&'static str, &'static str, u64),
) -> Case {
    Case {
        name,
        rule: Rule::new(method, path, lie, times),
        attempts,
        end,
    }
}

const ALWAYS: usize = usize::MAX;

fn cases() -> Vec<Case> {
    let start: (&str, &[&str]) = ("POST", &["/containers/st-run-", "/start"]);
    let create: (&str, &[&str]) = ("POST", &["/containers/create", "name=st-run-"]);
    let attach_build: (&str, &[&str]) = ("POST", &["/containers/st-build-", "/attach"]);
    let attach_run: (&str, &[&str]) = ("POST", &["/containers/st-run-", "/attach"]);
    let load: (&str, &[&str]) = ("POST", &["/images/load"]);
    let builder: (&str, &[&str]) = ("GET", &["/images/sha256:", "/json"]);
    let info: (&str, &[&str]) = ("GET", &["/info"]);
    let ok = |attempt| ("succeeded", "ok", attempt);
    let errored = |reason, attempt| ("errored", reason, attempt);
    let nonsense = || Lie::Say("\u{1b}[31m<html>\r\n\r\n".to_owned());
    vec![
        case("a start hangs once", start, (Lie::Hang, 1), 2, ok(2)),
        case(
            "a start hangs",
            start,
            (Lie::Hang, ALWAYS),
            1,
            errored("engine_gone", 1),
        ),
        case("no HTTP once", create, (nonsense(), 1), 2, ok(2)),
        case("no HTTP", create, (nonsense(), ALWAYS), 2, errored("engine_gone", 2)),
        case(
            "no JSON",
            info,
            (answer("200 OK", "<html>"), ALWAYS),
            2,
            errored("internal", 1),
        ),
        case(
            "full disk once",
            load,
            (answer("500 Internal Server Error", FULL), 1),
            2,
            ok(2),
        ),
        case(
            "full disk",
            load,
            (answer("500 Internal Server Error", FULL), ALWAYS),
            2,
            errored("engine_refused", 2),
        ),
        case("image lost once", create, (answer("404 Not Found", LOST), 1), 2, ok(2)),
        case(
            "builder lost",
            builder,
            (answer("404 Not Found", LOST), ALWAYS),
            2,
            errored("tool_image", 1),
        ),
        case("load cut", load, (Lie::Cut(20), 1), 2, ok(2)),
        case("build cut", attach_build, (Lie::Cut(300), 1), 2, ok(2)),
        case("run cut", attach_run, (Lie::Cut(200), 1), 2, ok(2)),
    ]
}

fn engine() -> PathBuf {
    let config: toml::Table = std::fs::read_to_string(dev_config()).unwrap().parse().unwrap();
    let host = config["docker"]["host"].as_str().unwrap().to_owned();
    PathBuf::from(host.strip_prefix("unix://").unwrap())
}

/// What is wrong with an end, if anything.
fn judge(case: &Case, liar: &Liar, job: &Value, took: Duration) -> Option<String> {
    let (state, reason, attempt) = case.end;
    let found = (job["state"].as_str(), job["reason"].as_str(), job["attempt"].as_u64());
    let problem = if liar.lies() == 0 {
        "it was never lied to"
    } else if found != (Some(state), Some(reason), Some(attempt)) {
        "another end"
    } else if state == "errored" && (job["blame"] != "platform" || !job["remedy"].is_string()) {
        "no remedy, or somebody else's fault"
    } else if took > BOUND {
        "too late"
    } else {
        return None;
    };
    let keys = ["state", "reason", "attempt", "blame", "message", "remedy"].map(|key| (key, &job[key]));
    Some(format!(
        "{}: {problem}, {} lies, {took:?}: {keys:?}",
        case.name,
        liar.lies()
    ))
}

#[test]
fn docker_a_lying_engine_ends_each_job_in_the_right_state() {
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = folder.path().join("Dockerfile");
    std::fs::write(&dockerfile, TEXT).unwrap();
    let (engine, dockerfile) = (&engine(), &dockerfile);
    // A worker makes more of its Engine than a run does, so it gets some of the lies.
    let of_workers = [
        "a start hangs once",
        "a start hangs",
        "no HTTP once",
        "full disk",
        "build cut",
    ];
    // Side by side: some take a minute in which nothing happens.
    let wrong: Vec<String> = thread::scope(|scope| {
        let runs = cases().into_iter();
        let mut trials: Vec<_> = runs
            .map(|case| scope.spawn(move || as_a_run(&case, engine, dockerfile)))
            .collect();
        let jobs = cases().into_iter().filter(|case| of_workers.contains(&case.name));
        trials.extend(jobs.map(|case| scope.spawn(move || as_a_job(&case, engine))));
        trials.into_iter().filter_map(|trial| trial.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_clean("lies");
}

/// `seatrial run`; what is wrong with its end.
fn as_a_run(case: &Case, engine: &Path, dockerfile: &Path) -> Option<String> {
    let liar = Liar::before(engine.to_owned(), case.rule.clone());
    let begun = Instant::now();
    let output = on_engine()
        .env("SEATRIAL__DOCKER__HOST", &liar.host)
        .env("SEATRIAL__RUN__ATTEMPTS", case.attempts.to_string())
        .args(QUICK)
        .arg(dockerfile)
        .output()
        .unwrap();
    judge(case, &liar, &job(&output), begun.elapsed())
}

/// The same through a worker.
fn as_a_job(case: &Case, engine: &Path) -> Option<String> {
    let liar = Liar::before(engine.to_owned(), case.rule.clone());
    let mut house = House::new();
    house.set("SEATRIAL__DOCKER__HOST", &liar.host);
    house.set("SEATRIAL__RUN__ATTEMPTS", &case.attempts.to_string());
    house.set("SEATRIAL__SCAN__SBOM", "false");
    let (_serve, base) = house.serve("serve", &["--no-worker", "--fixture-db"]);
    let id = house.submit(&base, TEXT);
    let begun = Instant::now();
    let mut worker = house.worker("worker");
    let job = house.ended(&base, &id, BOUND + Duration::from_secs(20));
    let wrong = judge(case, &liar, &job, begun.elapsed());
    worker.signal("TERM");
    assert_eq!(worker.end(Duration::from_secs(60)), Some(0), "{}", worker.lines());
    forget(&house.data());
    wrong.map(|why| format!("through a worker: {why}"))
}
