//! The service on a real Engine, a real Redis and a real RabbitMQ: crowds, kills, and nothing left behind.

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

use serde_json::Value;

use crate::{
    house::{House, until},
    support::assert_clean,
};

/// What is handed in, and how it must end.
const KINDS: &[(&str, &str, &str)] = &[
    (
        "FROM busybox\nCMD echo '{\"perf\": 0.5}' > /data/perf.json\n",
        "succeeded",
        "ok",
    ),
    ("FROM busybox\nCMD exit 3\n", "failed", "exit_code"),
    ("FROM busybox\nCMD true\n", "failed", "no_result"),
    ("FROM busybox\nRUN false\nCMD true\n", "failed", "build_failed"),
    (
        "FROM busybox\nRUN --security=insecure true\n",
        "rejected",
        "findings_block",
    ),
    ("FROM nowhere.invalid/x\nCMD true\n", "rejected", "findings_block"),
];

const ENDLESS: &str = "FROM busybox\nCMD echo here; while :; do sleep 1; done\n";

#[test]
fn docker_one_process_runs_a_trial_and_a_cancel_ends_one_within_three_seconds() {
    let house = House::new();
    let (mut serve, base) = house.serve("serve", &["--fixture-db"]);
    let id = house.submit(&base, KINDS[0].0);
    let job = house.ended(&base, &id, Duration::from_secs(120));
    assert_eq!(job["result"]["value"]["perf"], 0.5, "{job}");
    assert_eq!(
        house.get(&format!("{base}/v1/jobs/{id}/result")).1.trim(),
        "{\"perf\": 0.5}"
    );

    let endless = house.submit(&base, ENDLESS);
    until(
        "the guest runs and its output can be read",
        Duration::from_secs(60),
        || {
            house
                .get(&format!("{base}/v1/jobs/{endless}/logs?stage=run"))
                .1
                .contains("here")
        },
    );
    // That it takes 3 s at most is tested where the clock is the test's own (seatrial-pipeline).
    let (status, _) = house.post(&format!("{base}/v1/jobs/{endless}/cancel"), &Value::Null);
    assert!((200..300).contains(&status), "{status}");
    let job = house.ended(&base, &endless, Duration::from_secs(30));
    assert_eq!(job["state"], "cancelled");
    serve.signal("TERM");
    assert_eq!(serve.end(Duration::from_secs(60)), Some(0), "{}", serve.lines());
    assert_clean("a trial and a cancel through the service");
}

/// Jobs that a worker holds.
fn running(house: &House, base: &str) -> Vec<Value> {
    let (_, text) = house.get(&format!("{base}/v1/jobs?state=running&limit=100"));
    let page: Value = serde_json::from_str(&text).unwrap_or_default();
    page["jobs"].as_array().cloned().unwrap_or_default()
}

#[test]
fn docker_a_crowd_on_redis_and_rabbitmq_survives_killed_workers_and_a_restarted_ledger() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut redis, rabbit) = runtime.block_on(async {
        (
            seatrial_store::testing::RedisServer::start().await.unwrap(),
            seatrial_store::testing::RabbitServer::start().await.unwrap(),
        )
    });
    let mut house = House::new();
    house.set("SEATRIAL__LEDGER__URL", &redis.url());
    house.set("SEATRIAL__VAULT__THIS_HOST_ONLY", "true");
    house.set("SEATRIAL__DISPATCH__URL", &rabbit.url());
    house.set("SEATRIAL__WORKER__SLOTS", "2");
    let apis: Vec<_> = ["api-1", "api-2"]
        .map(|name| house.serve(name, &["--no-worker", "--fixture-db"]))
        .into();
    let mut workers: Vec<_> = ["worker-1", "worker-2", "worker-3"]
        .map(|name| house.worker(name))
        .into();
    let bases: Vec<String> = apis.iter().map(|(_, base)| base.clone()).collect();

    // 100 jobs from 20 clients, each with one of either API.
    let house = Arc::new(house);
    let clients: Vec<_> = (0..20)
        .map(|client| {
            let (house, base) = (house.clone(), bases[client % 2].clone());
            thread::spawn(move || {
                (0..5)
                    .map(|number| {
                        // Every second job is judged alone, so that the crowd is a crowd and the test ends.
                        let kind = if number % 2 == 0 {
                            4 + (client + number) % 2
                        } else {
                            (client + number) % 4
                        };
                        let (text, state, reason) = KINDS[kind];
                        let text = format!("{text}# {client} {number}\n");
                        (house.submit(&base, &text), (state, reason))
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let expected: BTreeMap<String, (&str, &str)> =
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    assert_eq!(expected.len(), 100);

    // In each of these stages the worker that is in it is killed, and the ledger once.
    for stage in ["build", "scan", "run"] {
        let mut name = String::new();
        until(&format!("a job is in {stage}"), Duration::from_secs(60), || {
            let running = running(&house, &bases[0]);
            let job = running.iter().find(|job| job["stage"] == stage);
            name = job
                .and_then(|job| job["worker"].as_str())
                .unwrap_or_default()
                .to_owned();
            !name.is_empty()
        });
        let victim = workers.iter().position(|worker| worker.lines().contains(&name));
        let victim = victim.unwrap_or_else(|| panic!("{name} is none of ours"));
        workers[victim].kill();
        workers[victim] = house.worker(&format!("worker-instead-in-{stage}"));
    }
    assert!(!running(&house, &bases[0]).is_empty(), "the ledger goes while jobs run");
    redis.kill();
    runtime.block_on(redis.start_again()).unwrap();

    for (id, (state, reason)) in &expected {
        let job = house.ended(&bases[1], id, Duration::from_secs(300));
        assert_eq!(
            (job["state"].as_str(), job["reason"].as_str()),
            (Some(*state), Some(*reason)),
            "{job}"
        );
    }
    for worker in &mut workers {
        worker.signal("TERM");
    }
    for worker in &mut workers {
        assert_eq!(worker.end(Duration::from_secs(90)), Some(0), "{}", worker.lines());
    }
    // What the killed ones left is swept by a sibling's start or its next look.
    until("the Engine is clean", Duration::from_secs(120), || {
        crate::support::leftovers().is_empty() || {
            let mut sweeper = house.worker("sweeper");
            thread::sleep(Duration::from_secs(3));
            sweeper.signal("TERM");
            sweeper.end(Duration::from_secs(60));
            false
        }
    });
    assert_clean("a crowd through the service");
}
