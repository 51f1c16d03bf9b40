//! Nobody's wall clock decides.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use seatrial_core::{
    ledger::Ledger as _,
    testing::ledger::{BUDGETS, made, new_job},
};
use seatrial_store::ledger::sqlite::{Clock, SqliteLedger};

/// A process whose wall clock is wrong by some hours.
fn clock(boot: &str, since_boot: Duration, hours: &Arc<AtomicI64>) -> Clock {
    let (started, hours) = (Instant::now(), Arc::clone(hours));
    Clock {
        boot: boot.into(),
        since_boot: Arc::new(move || since_boot + started.elapsed()),
        wall: Arc::new(move || Timestamp::now() + SignedDuration::from_hours(hours.load(Ordering::SeqCst))),
    }
}

fn close(a: Timestamp, b: Timestamp) -> bool {
    a.duration_since(b).abs() < SignedDuration::from_mins(30)
}

#[tokio::test]
async fn a_process_whose_wall_clock_jumps_has_the_time_of_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (right, wrong) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    // They were started at different times after the same boot.
    let first = SqliteLedger::open_with(&path, BUDGETS, clock("b", Duration::from_secs(9), &right)).unwrap();
    wrong.store(5, Ordering::SeqCst);
    let second = SqliteLedger::open_with(&path, BUDGETS, clock("b", Duration::from_secs(9), &wrong)).unwrap();
    for hours in [5, -7, 1_000] {
        wrong.store(hours, Ordering::SeqCst);
        let (a, b) = (first.now().await.unwrap(), second.now().await.unwrap());
        assert!(close(a, b) && close(a, Timestamp::now()));
        assert!(close(made(&second, new_job("a")).await.created_at, a));
    }
}

#[tokio::test]
async fn after_a_reboot_time_goes_on_and_never_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let hours = Arc::new(AtomicI64::new(0));
    let mut last = Timestamp::MIN;
    // The wall clock after each boot: right, late, early (no battery), right.
    for (n, wall) in [0, 3, -4, 0].into_iter().enumerate() {
        hours.store(wall, Ordering::SeqCst);
        let boot = clock(&format!("boot {n}"), Duration::from_secs(60) / (1 + n as u32), &hours);
        let ledger = SqliteLedger::open_with(&path, BUDGETS, boot).unwrap();
        let job = made(&ledger, new_job("a")).await;
        assert!(job.created_at > last, "boot {n}");
        last = job.created_at;
        assert!(ledger.now().await.unwrap() >= last);
        let expected = if n == 0 { 0 } else { 3 };
        assert!(
            close(last, Timestamp::now() + SignedDuration::from_hours(expected)),
            "boot {n}"
        );
    }
}

#[tokio::test]
async fn the_hosts_clock_is_the_wall_clock_at_first() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(&folder.path().join("ledger.db"), BUDGETS).unwrap();
    let now = ledger.now().await.unwrap();
    assert!(close(now, Timestamp::now()));
    assert!(ledger.now().await.unwrap() >= now);
}
