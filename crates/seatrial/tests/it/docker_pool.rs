//! Containers that stand ready for the next job of a worker: each is used once, and none outlives it.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    house::{House, Process, until},
    support::{assert_clean, docker, leftovers},
};

const TEXT: &str = "FROM busybox\nCMD echo '{\"perf\": 0.5}' > /data/perf.json\n";

/// Names of the containers of ours that run.
fn running() -> BTreeSet<String> {
    let names = docker(&["ps", "--filter", "name=^st-", "--format", "{{.Names}}"]);
    names.lines().map(str::to_owned).collect()
}

/// Does one job; then waits until a builder, a scanner and a holder of `/data` stand ready and nothing else is left.
/// Whether the job's builder had stood ready, and who does now.
fn one_job(house: &House, base: &str) -> (bool, BTreeSet<String>) {
    let id = house.submit(base, TEXT);
    let job = house.ended(base, &id, Duration::from_secs(120));
    assert_eq!(job["state"], "succeeded", "{job}");
    let report = house.get(&format!("{base}/v1/jobs/{id}/report")).1;
    let mut ready = BTreeSet::new();
    until(
        "three stand ready and nothing else is left",
        Duration::from_secs(60),
        || {
            ready = running();
            // The three containers, and the volume of the holder.
            ready.len() == 3 && leftovers().len() == 4
        },
    );
    for kind in ["st-build-", "st-scan-", "st-data-"] {
        assert!(ready.iter().any(|name| name.starts_with(kind)), "{ready:?}");
    }
    (report.contains("stood ready"), ready)
}

#[test]
fn docker_what_stands_ready_serves_one_job_and_goes_with_its_worker() {
    let mut house = House::new();
    house.set("SEATRIAL__WORKER__POOL", "1");
    house.set("SEATRIAL__WORKER__SLOTS", "1");
    let start = |name: &str| -> (Process, String) { house.serve(name, &["--fixture-db"]) };

    let (mut stopped, base) = start("stopped");
    let (stood_ready, first) = one_job(&house, &base);
    assert!(!stood_ready, "nothing is known before the first job");
    let (stood_ready, second) = one_job(&house, &base);
    assert!(stood_ready);
    assert!(first.is_disjoint(&second), "none is used twice: {first:?} {second:?}");
    stopped.signal("TERM");
    assert_eq!(stopped.end(Duration::from_secs(60)), Some(0), "{}", stopped.lines());
    assert_clean("a worker that was stopped with containers that stood ready");

    let (mut killed, base) = start("killed");
    one_job(&house, &base);
    killed.kill();
    until("they ended by themselves", Duration::from_secs(20), || {
        running().is_empty()
    });
    let mut next = house.worker("next");
    until("the next worker has removed them", Duration::from_secs(60), || {
        leftovers().is_empty()
    });
    next.signal("TERM");
    assert_eq!(next.end(Duration::from_secs(60)), Some(0), "{}", next.lines());
}
