//! A job that the worker which took it cannot do, and another one, or the same one later, can.

use std::{sync::Arc, time::Duration};

use seatrial_core::{
    id::JobId,
    job::{Ending, Reason},
    ledger::Ledger as _,
    record::NewsBody,
    walls::Asked,
};
use seatrial_pipeline::{
    case::Submission,
    room::{self, Room},
    service::{
        submit::{Request, Submitted, submit},
        worker::executor::Walker,
    },
};

use crate::service::{DOCKERFILE, House, SLOTS};

/// Hands in a job that asks for a kernel of its own.
async fn demanding(house: &House) -> JobId {
    let submission = Submission {
        dockerfile: DOCKERFILE.as_bytes().to_vec(),
        walls: Asked {
            run: ["gvisor".parse().unwrap()].into(),
            ..Asked::default()
        },
        ..Submission::default()
    };
    match submit(&house.service, submission, Request::default()).await.unwrap() {
        Submitted::New(record) => record.id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_asks_for_more_walls_than_its_worker_has_goes_to_one_that_has_them() {
    let house = House::new();
    // Busy at first, so the other one takes the job.
    let strong = crate::walk::fake();
    strong.script().runtimes = vec!["runsc".to_owned()];
    strong.script().build_takes = Duration::from_secs(20);
    let engine = Arc::new(strong.clone());
    let walker = Walker {
        engine: engine.clone(),
        scanner: engine,
        settings: house.service.settings.clone(),
        room: Room::default(),
        checks: Arc::new(seatrial_pipeline::admission::NoChecks),
    };
    let (_able, able) = house.works("able", Arc::new(walker));
    for _ in 0..SLOTS {
        let id = house.submit().await;
        house.until(id, |record| record.worker.is_some()).await;
    }
    let (_weak, weak) = house.worker("weak");
    while house.ledger.workers().await.unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let id = demanding(&house).await;
    assert_eq!(house.end(id).await, (Ending::Succeeded, Reason::Ok));
    let record = house.record(id).await;
    assert_eq!(
        (record.worker.as_deref(), record.failures, record.losses),
        (Some("able"), 0, 0)
    );
    let handed_back = NewsBody::HandedBack {
        worker: "weak".to_owned(),
    };
    assert!(house.events(id).await.contains(&handed_back));
    drop((able, weak));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_asks_for_walls_that_no_worker_has_ends_and_says_so() {
    let house = House::new();
    let (_weak, weak) = house.worker("weak");
    let (_too, too) = house.worker("weak too");
    let id = demanding(&house).await;
    assert_eq!(house.end(id).await, (Ending::Errored, Reason::WallsTooWeak));
    let outcome = house.record(id).await.outcome().cloned().unwrap();
    assert_eq!(outcome.reason, Reason::WallsTooWeak);
    drop((weak, too));
}

#[tokio::test(start_paused = true)]
async fn a_job_for_which_the_disk_has_no_room_yet_waits_and_uses_up_no_try() {
    let house = House::new();
    house.fake.script().free_disk = Some(room::KEPT + room::need(&house.service.settings.policy));
    house.fake.script().build_takes = Duration::from_secs(20);
    let (_worker, phase) = house.worker("ann");
    let jobs = [house.submit().await, house.submit().await];
    let mut handed_back = 0;
    for id in jobs {
        assert_eq!(house.end(id).await, (Ending::Succeeded, Reason::Ok));
        assert_eq!(house.record(id).await.failures, 0);
        let told = house.events(id).await;
        let back = |news: &&NewsBody| matches!(news, NewsBody::HandedBack { .. });
        handed_back += told.iter().filter(back).count();
    }
    assert!(handed_back > 0, "there was room for one at a time");
    drop(phase);
}
