//! A worker is killed at each point of its work (`seatrial_core::points`). Another one starts, the job ends as if
//! nothing had happened, every event is told once, and nothing is left on the Engine.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;

use crate::{
    house::{House, until},
    support::{docker, leftovers},
};

/// Long enough for a beat, for news and for output while it runs.
const TEXT: &str =
    "FROM busybox\nRUN echo built > /built\nCMD echo here; sleep 1; echo '{\"perf\": 0.5}' > /data/perf.json\n";
const STAGES: [&str; 5] = ["resolve", "build", "scan", "run", "collect"];
/// Workers that die side by side: most of the time they wait for leases.
const ABREAST: usize = 4;
/// Days in which each moment has its turn.
const PARTS: usize = 6;

/// A moment to die: the nth time that a point is passed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Moment {
    point: String,
    nth: u64,
    /// In a data folder in which nothing was done before.
    fresh: bool,
}

#[test]
fn docker_a_worker_may_die_at_any_point_and_its_job_ends_well() {
    let began = Instant::now();
    let shared = tempfile::tempdir().unwrap();
    let first = passed(shared.path());
    let second = passed(shared.path());
    eprintln!(
        "{} points, {} of them each time, {:?}",
        first.len(),
        second.len(),
        began.elapsed()
    );
    for part in ["engine/", "walk/", "ledger/", "vault/"] {
        assert!(second.keys().any(|point| point.starts_with(part)), "{part}: {second:?}");
    }
    let part = part();
    let moments = moments(&first, &second, part.is_none());
    let all = moments.len();
    let mut chosen: Vec<Moment> = (moments.into_iter().enumerate())
        .filter(|(number, _)| part.is_none_or(|part| number % PARTS == part))
        .map(|(_, moment)| moment)
        .collect();
    // The slow ones begin first: they are taken from the end.
    chosen.sort_by_key(|moment| moment.fresh);
    eprintln!("{} of {all} moments (part: {part:?} of {PARTS})", chosen.len());
    let (left, wrong) = (Mutex::new(chosen.clone()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..ABREAST {
            scope.spawn(|| {
                while let Some(moment) = next(&left) {
                    let began = Instant::now();
                    let end = die_at(&moment, shared.path());
                    eprintln!("{:>6.1?} {moment:?}: {end:?}", began.elapsed());
                    if let Err(why) = end {
                        lock(&wrong).push(format!("{moment:?}: {why}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), chosen.len());
    // What the last one left is swept by whoever starts next.
    let house = house(Some(shared.path()));
    let mut sweeper = house.worker("sweeper");
    until("nothing is left", Duration::from_secs(60), || leftovers().is_empty());
    sweeper.signal("TERM");
    sweeper.end(Duration::from_secs(60));
    forget(shared.path());
    eprintln!("{:?} in all", began.elapsed());
}

fn next(left: &Mutex<Vec<Moment>>) -> Option<Moment> {
    lock(left).pop()
}

/// The whole list takes minutes, so each day has its part, and `SEATRIAL_PART` (0 to 5, or `all`) names one.
fn part() -> Option<usize> {
    match std::env::var("SEATRIAL_PART").as_deref() {
        Ok("all") => None,
        Ok(number) => Some(number.parse().unwrap()),
        Err(_) => {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            Some((since.as_secs() / (24 * 60 * 60)) as usize % PARTS)
        }
    }
}

/// What a worker passes on its way through one job.
fn passed(data: &Path) -> BTreeMap<String, u64> {
    let house = house(Some(data));
    let list = house.folder.path().join("points");
    let (_serve, base) = house.serve("serve", &["--no-worker", "--fixture-db"]);
    let id = house.submit(&base, TEXT);
    let mut worker = house.worker_told("lister", &[("SEATRIAL_POINTS", list.to_str().unwrap())]);
    let job = house.ended(&base, &id, Duration::from_secs(120));
    assert_eq!(job["state"], "succeeded", "{job}\n{}", worker.lines());
    worker.signal("TERM");
    assert_eq!(worker.end(Duration::from_secs(60)), Some(0), "{}", worker.lines());
    let mut counts = BTreeMap::new();
    for line in std::fs::read_to_string(&list).unwrap().lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}

/// The first passing of each point; where all are wanted, each passing of what is done for several containers.
/// What a data folder sees once needs a fresh one.
fn moments(first: &BTreeMap<String, u64>, second: &BTreeMap<String, u64>, all: bool) -> Vec<Moment> {
    let mut moments = Vec::new();
    for (point, count) in first {
        let again = second.get(point).copied();
        let each = all
            && ["create", "attach to", "start"]
                .iter()
                .any(|verb| point.starts_with(&format!("engine/{verb} a container/")));
        let count = if each { again.unwrap_or(*count) } else { 1 };
        moments.extend((1..=count).map(|nth| Moment {
            fresh: again.is_none(),
            point: point.clone(),
            nth,
        }));
    }
    moments
}

/// One life and one death.
fn die_at(moment: &Moment, shared: &Path) -> Result<(), String> {
    let house = house((!moment.fresh).then_some(shared));
    let (_serve, base) = house.serve("serve", &["--no-worker", "--fixture-db"]);
    let id = house.submit(&base, TEXT);
    let when = format!("{}#{}", moment.point, moment.nth);
    let mut victim = house.worker_told("victim", &[("SEATRIAL_DIE_AT", &when)]);
    let mut asked = false;
    until("the worker is dead, or has ended", Duration::from_secs(120), || {
        if !asked && house.job(&base, &id)["finished_at"].is_string() {
            // Some points are passed when it goes.
            victim.signal("TERM");
            asked = true;
        }
        victim.has_ended()
    });
    match victim.end(Duration::from_secs(1)) {
        None => {}
        // How often it is passed is not the same each time.
        Some(0) if moment.nth > 1 => {}
        Some(code) => return Err(format!("it did not die there: {code}\n{}", victim.lines())),
    }
    let mut other = house.worker("other");
    let job = house.ended(&base, &id, Duration::from_secs(120));
    if (job["state"].as_str(), &job["result"]["value"]["perf"]) != (Some("succeeded"), &0.5.into()) {
        return Err(format!("{job:#}\n{}\n{}", victim.lines(), other.lines()));
    }
    told_once(&house.get(&format!("{base}/v1/jobs/{id}/events")).1)?;
    if moment.fresh {
        // Nobody else sweeps there.
        until("the dead one's things are gone", Duration::from_secs(60), || {
            of_folder(&house.data()).is_empty()
        });
    }
    // Not before it listens for the signal.
    until("the other worker works", Duration::from_secs(60), || {
        other.lines().contains("worker started")
    });
    other.signal("TERM");
    if other.end(Duration::from_secs(60)) != Some(0) {
        return Err(format!("the other worker: {}", other.lines()));
    }
    if moment.fresh {
        forget(&house.data());
    }
    Ok(())
}

/// Events have numbers without gaps, stages are told once in each try, and there is one end.
fn told_once(stream: &str) -> Result<(), String> {
    let events: Vec<Value> = stream
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .collect();
    let wrong = |what: &str| Err(format!("{what}: {stream}"));
    if !events
        .iter()
        .map(|event| event["seq"].as_u64())
        .eq((1..=events.len() as u64).map(Some))
    {
        return wrong("a gap or a double");
    }
    let is = |event: &Value, kind: &str| event["event"] == kind;
    let count = |events: &[Value], kind: &str| events.iter().filter(|event| is(event, kind)).count();
    if count(&events, "settled") != 1 || !events.last().is_some_and(|event| is(event, "settled")) {
        return wrong("not one end");
    }
    if count(&events, "claimed") > 2 || count(&events, "claimed") != count(&events, "lost") + 1 {
        return wrong("claims and losses");
    }
    let mut tries = events.split(|event| is(event, "claimed"));
    for one in tries.clone() {
        for stage in STAGES {
            for kind in ["stage_started", "stage_finished"] {
                let told = one.iter().filter(|event| is(event, kind) && event["stage"] == stage);
                if told.count() > 1 {
                    return wrong("a stage was told twice in one try");
                }
            }
        }
    }
    let last = tries.next_back().unwrap_or_default();
    if (count(last, "stage_started"), count(last, "stage_finished")) != (STAGES.len(), STAGES.len()) {
        return wrong("the last try lacks a stage");
    }
    Ok(())
}

/// A ledger of its own for each death, on the data folder of all or, for what is done once in each, a fresh one.
fn house(data: Option<&Path>) -> House {
    let mut house = House::new();
    if let Some(data) = data {
        let ledger = format!("sqlite:{}", house.folder.path().join("ledger.db").display());
        house.set("SEATRIAL__DATA_DIR", data.to_str().unwrap());
        house.set("SEATRIAL__LEDGER__URL", &ledger);
    }
    house.set("SEATRIAL__WORKER__LEASE", "3s");
    house.set("SEATRIAL__WORKER__SLOTS", "1");
    house.set("SEATRIAL__SCAN__SBOM", "false");
    house
}

/// Containers of a data folder.
fn of_folder(data: &Path) -> String {
    docker(&["ps", "--all", "--quiet", "--filter", &label(data)])
}

fn label(data: &Path) -> String {
    let host = std::fs::read_to_string(data.join("host-id")).unwrap();
    format!("label=io.seatrial.host={}", host.trim())
}

/// Removes the lasting volumes of a data folder that goes with its test.
pub(crate) fn forget(data: &Path) {
    let volumes = docker(&["volume", "ls", "--quiet", "--filter", &label(data)]);
    // Tools are everybody's.
    let volumes: Vec<&str> = (volumes.lines())
        .filter(|name| {
            ["st-base-", "st-scan-", "st-db-"]
                .iter()
                .any(|kind| name.starts_with(kind))
        })
        .collect();
    if !volumes.is_empty() {
        docker(&[&["volume", "rm"], volumes.as_slice()].concat());
    }
}

fn lock<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
