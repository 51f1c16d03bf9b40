//! What is left of a try that did not end the job.

use std::{sync::Arc, time::Duration};

use seatrial_core::{
    engine::EngineError,
    id::JobId,
    job::{Ending, Stage},
    ledger::Ledger,
    record::{JobRecord, Move},
    vault::{BlobKind, BlobRef, VaultError},
};
use seatrial_pipeline::service::{read, worker::Phase};
use seatrial_policy::Network;

use crate::service::House;

#[tokio::test(start_paused = true)]
async fn what_each_try_asked_of_the_network_is_told_in_the_end() {
    // Whoever forgets how to end a worker has one that never rests.
    let mut workers = Vec::new();
    for faults in [1, 2] {
        let house = online();
        for _ in 0..faults {
            let gone = EngineError::Unreachable("gone".into());
            house.fake.script().build_errors.push_back(gone);
        }
        workers.push(house.worker("ann"));
        let id = house.submit().await;
        let ending = if faults == 1 {
            Ending::Succeeded
        } else {
            Ending::Errored
        };
        assert_eq!(house.end(id).await.0, ending);
        assert_eq!(hosts(&house, id).await, ["try-1.example", "try-2.example"]);
    }
}

fn online() -> House {
    let mut house = House::new();
    let mut settings = (*house.service.settings).clone();
    settings.policy.network.build = Network::Egress;
    house.service.settings = Arc::new(settings);
    house
}

async fn hosts(house: &House, id: JobId) -> Vec<String> {
    let view = read::view(&house.service, &house.record(id).await).await.unwrap();
    let requests = view.egress.get(&Stage::Build).map(|asked| asked.requests.as_slice());
    requests
        .unwrap_or_default()
        .iter()
        .map(|row| row.host.clone())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_worker_had_seen_asked_of_the_network_is_told_at_once_and_in_the_end() {
    let house = online();
    house.fake.script().build_hangs = true;
    let _upkeep = house.upkeep();
    let (ann, _phase) = house.worker("ann");
    let id = house.submit().await;
    let is_told = |record: &JobRecord| record.blobs.contains_key(&BlobKind::Egress);
    let first = house.until(id, is_told).await.blobs[&BlobKind::Egress].clone();
    assert_eq!(hosts(&house, id).await, ["try-1.example"], "while it runs");
    ann.abort();
    let (bob, _phase) = house.worker("bob");
    let is_told_anew = |of: &BlobRef, record: &JobRecord| record.token.0 == 2 && record.blobs[&BlobKind::Egress] != *of;
    let record = house.until(id, |record| is_told_anew(&first, record)).await;
    assert_eq!(hosts(&house, id).await, ["try-1.example", "try-2.example"]);
    let second = record.blobs[&BlobKind::Egress].clone();
    let get = async |blob| house.service.vault.get(id, &record.key, BlobKind::Egress, blob).await;
    get(&first)
        .await
        .expect("whoever read the record a moment ago finds what it names");
    house.fake.script().asks_again.notify_one();
    house.until(id, |record| is_told_anew(&second, record)).await;
    let both = ["try-1.example", "try-2.example", "again.example"];
    assert_eq!(hosts(&house, id).await, both);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        matches!(get(&first).await, Err(VaultError::Missing { .. })),
        "and not all that ever were are kept"
    );
    bob.abort();
    // It ends without a report of a worker.
    house.ledger.apply(id, Move::Cancel).await.unwrap().unwrap();
    let record = house.until(id, |record| record.outcome().is_some()).await;
    assert!(!record.blobs.contains_key(&BlobKind::Report));
    assert_eq!(hosts(&house, id).await, both);
}

#[tokio::test(start_paused = true)]
async fn what_a_try_asked_of_the_network_until_it_was_handed_back_is_told() {
    let house = online();
    house.fake.script().build_hangs = true;
    let (ann, phase) = house.worker("ann");
    let id = house.submit().await;
    let is_told = |record: &JobRecord| record.blobs.contains_key(&BlobKind::Egress);
    house.until(id, is_told).await;
    house.fake.script().asks_again.notify_one();
    // No time passes until it has asked, and none until the worker goes: what it asked waits to be written.
    tokio::task::yield_now().await;
    phase.send_replace(Phase::Leave);
    ann.await.unwrap();
    assert_eq!(hosts(&house, id).await, ["try-1.example", "again.example"]);
}
