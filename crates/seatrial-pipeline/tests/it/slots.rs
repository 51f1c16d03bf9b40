//! How many jobs a worker holds.

use std::time::Duration;

use seatrial_core::{
    job::{Ending, JobState, Reason},
    scanner::ScanError,
};

use crate::service::{House, SLOTS, is_running};

/// A slot is for the try: a ledger that is slow to take its end keeps the worker from the next one no longer, and a
/// ledger that takes none leaves the others to those whose ends it takes.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_being_written_down_leaves_its_slot_to_one_other() {
    let house = House::new();
    house.ledger.away_at_the_end(true);
    let _ann = house.worker("ann");
    let mut ids = Vec::new();
    for _ in 0..SLOTS + 2 {
        ids.push(house.submit().await);
    }
    let last = ids[SLOTS + 1];
    for id in &ids[..=SLOTS] {
        house.until(*id, is_running).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(matches!(house.record(last).await.state, JobState::Queued { .. }));
    house.ledger.away_at_the_end(false);
    for id in ids {
        assert_eq!(house.end(id).await, (Ending::Succeeded, Reason::Ok));
        assert_eq!(house.record(id).await.token.0, 1);
    }
}

/// A worker rests after a fault of ours; whoever writes such an image must not make it.
#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_scanned_within_the_limits_keeps_no_worker_from_the_next_job() {
    let house = House::new();
    house.fake.script().scan_failure = Some(|| ScanError::TimedOut(Duration::from_secs(300)));
    let jobs = [house.submit().await, house.submit().await, house.submit().await];
    let (_ann, _phase) = house.worker("ann");
    let begun = tokio::time::Instant::now();
    for id in jobs {
        assert_eq!(house.end(id).await.0, Ending::TimedOut);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
