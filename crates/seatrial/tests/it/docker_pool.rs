//! What stands ready for the next job of a worker: each is used once, and none outlives it.

use std::{collections::BTreeSet, ffi::OsString, path::Path, time::Duration};

use crate::{
    house::{House, Process, until},
    support::{assert_clean, docker, leftovers},
};

const TEXT: &str = "FROM busybox\nCMD echo '{\"perf\": 0.5}' > /data/perf.json\n";

/// What stands ready after a job, as the log names it.
const KINDS: [&str; 4] = ["build", "data", "load", "scan"];

/// Names of the containers of ours that run.
fn running() -> BTreeSet<String> {
    let names = docker(&["ps", "--filter", "name=^st-", "--format", "{{.Names}}"]);
    names.lines().map(str::to_owned).collect()
}

/// Loads that have begun: an Engine with the old image store has a folder for each.
fn loads() -> usize {
    let tmp = Path::new(docker(&["info", "--format", "{{.DockerRootDir}}"]).trim()).join("tmp");
    let folders = std::fs::read_dir(tmp).into_iter().flatten().flatten();
    let of_a_load = |name: OsString| name.to_string_lossy().starts_with("docker-import-");
    folders.filter(|folder| of_a_load(folder.file_name())).count()
}

/// Does one job; then waits until a builder, a scanner, a holder of `/data` and a load stand ready and nothing else is
/// left. What of the job had stood ready, by the worker's log, and which containers do now.
fn one_job(house: &House, (worker, base): &(Process, String)) -> (Vec<String>, BTreeSet<String>) {
    let before = worker.lines().len();
    let id = house.submit(base, TEXT);
    let job = house.ended(base, &id, Duration::from_secs(120));
    assert_eq!(job["state"], "succeeded", "{job}");
    let report = house.get(&format!("{base}/v1/jobs/{id}/report")).1;
    let said = |what: &str| {
        let lines = worker.lines()[before..].to_owned();
        let kinds = lines.lines().filter(|line| line.contains(what)).filter_map(kind);
        let mut kinds: Vec<String> = kinds.collect();
        kinds.sort();
        kinds
    };
    let has_folders = !docker(&["info", "--format", "{{.DriverStatus}}"]).contains("containerd");
    let mut ready = BTreeSet::new();
    until(
        "three stand ready and nothing else is left",
        Duration::from_secs(60),
        || {
            ready = running();
            // The three containers, the volume of the holder, and the builder's with its terminals.
            ready.len() == 3
                && leftovers().len() == 5
                && said("one stands ready") == KINDS
                && (loads() == 1 || !has_folders)
        },
    );
    for kind in ["st-build-", "st-scan-", "st-data-"] {
        assert!(ready.iter().any(|name| name.starts_with(kind)), "{ready:?}");
    }
    let used = said("one that stood ready is used");
    assert_eq!(report.contains("stood ready"), used.contains(&KINDS[0].to_owned()));
    (used, ready)
}

/// Of what a line of the log speaks.
fn kind(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(line["kind"].as_str()?.to_owned())
}

#[test]
fn docker_what_stands_ready_serves_one_job_and_goes_with_its_worker() {
    let mut house = House::new();
    house.set("SEATRIAL__WORKER__POOL", "1");
    house.set("SEATRIAL__WORKER__SLOTS", "1");
    house.set("SEATRIAL__LOG__LEVEL", "info,seatrial_engine::pool=debug");
    let start = |name: &str| -> (Process, String) { house.serve(name, &["--fixture-db"]) };

    let mut stopped = start("stopped");
    let (used, first) = one_job(&house, &stopped);
    assert!(used.is_empty(), "nothing is known before the first job: {used:?}");
    let (used, second) = one_job(&house, &stopped);
    assert_eq!(used, KINDS);
    assert!(first.is_disjoint(&second), "none is used twice: {first:?} {second:?}");
    stopped.0.signal("TERM");
    assert_eq!(stopped.0.end(Duration::from_secs(60)), Some(0), "{}", stopped.0.lines());
    assert_clean("a worker that was stopped with containers that stood ready");
    until("no load is left", Duration::from_secs(20), || loads() == 0);

    let mut killed = start("killed");
    one_job(&house, &killed);
    killed.0.kill();
    until("they ended by themselves", Duration::from_secs(20), || {
        running().is_empty() && loads() == 0
    });
    let mut next = house.worker("next");
    until("the next worker has removed them", Duration::from_secs(60), || {
        leftovers().is_empty()
    });
    next.signal("TERM");
    assert_eq!(next.end(Duration::from_secs(60)), Some(0), "{}", next.lines());
}
