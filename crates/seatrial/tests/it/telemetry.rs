//! What processes of the service show to those who watch them.

use std::time::Duration;

use crate::house::{House, Process, until};

const TEXT: &str = "FROM debian:bookworm-slim\nRUN echo unmistakable-marker\nCMD [\"true\"]\n";
const SOON: Duration = Duration::from_secs(20);

/// Where a worker says that it shows how it is.
fn port(worker: &Process) -> String {
    let mut base = None;
    until("the worker says where it listens", SOON, || {
        let lines = worker.lines();
        let line = lines
            .lines()
            .find_map(|line| line.strip_prefix("Seatrial's worker shows "));
        base = line.and_then(|url| url.strip_suffix("/metrics")).map(str::to_owned);
        base.is_some()
    });
    base.unwrap()
}

/// The value of a series on a page.
fn counted(page: &str, series: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{page}"))
        .parse()
        .unwrap()
}

#[test]
fn a_workers_port_shows_what_it_does_and_that_it_drains() {
    let mut house = House::new();
    house.set("SEATRIAL__WORKER__LISTEN", "127.0.0.1:0");
    house.set("SEATRIAL__WORKER__SLOTS", "2");
    let (_api, base) = house.serve("api", &["--no-worker"]);
    let mut worker = house.noop("worker", &["--noop-takes", "1s", "--noop-stages"]);
    let shown = port(&worker);
    assert_eq!(house.get(&format!("{shown}/healthz")), (200, "ok\n".to_owned()));
    until("the worker takes jobs", SOON, || {
        house.get(&format!("{shown}/readyz")) == (200, "it takes jobs\n".to_owned())
    });
    let ids = [1, 2, 3].map(|number| house.submit(&base, &format!("{TEXT}# {number}\n")));
    for id in &ids {
        assert_eq!(house.ended(&base, id, SOON)["state"], "succeeded");
    }
    let mut page = String::new();
    let settled = "seatrial_jobs_settled_total{state=\"succeeded\",reason=\"ok\",blame=\"nobody\"}";
    until("all jobs are counted", SOON, || {
        page = house.get(&format!("{shown}/metrics")).1;
        counted(&page, "seatrial_tries_total{end=\"settled\"}") >= 3.0
    });
    for (series, value) in [
        ("seatrial_jobs_claimed_total{priority=\"normal\"}", 3.0),
        (settled, 3.0),
        (
            "seatrial_stage_duration_seconds_count{stage=\"run\",end=\"finished\"}",
            3.0,
        ),
        ("seatrial_job_queue_wait_seconds_count{priority=\"normal\"}", 3.0),
        ("seatrial_worker_slots", 2.0),
        ("seatrial_worker_fit", 1.0),
    ] {
        assert_eq!(counted(&page, series), value, "{series}\n{page}");
    }
    let took = counted(
        &page,
        "seatrial_stage_duration_seconds_sum{stage=\"run\",end=\"finished\"}",
    );
    assert!((0.3..10.0).contains(&took), "three times a fifth of a second: {took}");
    assert!(
        !page.contains("unmistakable") && !ids.iter().any(|id| page.contains(id)),
        "{page}"
    );

    let last = house.submit(&base, TEXT);
    until("a job runs", SOON, || house.job(&base, &last)["state"] == "running");
    worker.signal("TERM");
    until("it says that it drains", SOON, || {
        // It may be over in between: then the port is closed.
        house.try_get(&format!("{shown}/readyz")) == Some((503, "it drains\n".to_owned()))
    });
    assert_eq!(worker.end(SOON), Some(0), "{}", worker.lines());
    assert_eq!(house.ended(&base, &last, SOON)["state"], "succeeded");
    assert_eq!(house.try_get(&format!("{shown}/healthz")), None);
}

#[test]
fn a_worker_listens_on_nothing_unless_it_is_told_to() {
    let house = House::new();
    let (_api, base) = house.serve("api", &["--no-worker"]);
    let worker = house.noop("worker", &[]);
    let id = house.submit(&base, TEXT);
    assert_eq!(house.ended(&base, &id, SOON)["state"], "succeeded");
    assert_eq!(worker.listens(), Vec::<String>::new());
    // The look can fail: the API does listen.
    assert_eq!(_api.listens().len(), 1);
}

#[test]
fn an_api_with_a_worker_shows_both_on_its_own_port_and_opens_no_other() {
    let mut house = House::new();
    house.set("SEATRIAL__WORKER__LISTEN", "127.0.0.1:0");
    let (serve, base) = house.serve("serve", &["--executor", "noop"]);
    let id = house.submit(&base, TEXT);
    house.ended(&base, &id, SOON);
    let page = house.get(&format!("{base}/metrics")).1;
    assert_eq!(counted(&page, "seatrial_jobs_claimed_total{priority=\"normal\"}"), 1.0);
    assert_eq!(counted(&page, "seatrial_submissions_total{outcome=\"queued\"}"), 1.0);
    assert_eq!(serve.listens().len(), 1);
}
