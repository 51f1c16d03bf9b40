//! A damaged record hinders nobody and is forgotten in the end.

use std::time::Duration;

use seatrial_core::{
    ledger::{Claim, Ledger as _, LedgerError},
    record::Move,
    testing::ledger::{BUDGETS, LONG, Rig as _, made, new_job},
};

use super::rig;

#[tokio::test]
async fn a_damaged_record_is_set_aside_by_whoever_meets_it_and_erased_by_retention() {
    let rig = rig().await;
    let ledger = &rig.ledger;
    let mut brief = new_job("a");
    brief.wait = rig.unit();
    brief.labels.insert("team".into(), "blue".into());
    let reaped = made(&**ledger, brief).await.id;
    let claimed = made(&**ledger, new_job("a")).await.id;
    for id in [reaped, claimed] {
        rig.store(id, "not a record".into()).await;
    }
    rig.pass(rig.unit() * 2).await;
    assert_eq!(ledger.overdue(9).await.unwrap(), [reaped]);
    let reaping = ledger.apply(reaped, Move::Reap(BUDGETS)).await;
    assert!(matches!(reaping, Err(LedgerError::Broken { .. })));
    assert!(ledger.overdue(9).await.unwrap().is_empty(), "the reaper meets it once");
    let claim = Claim {
        worker: "ann".into(),
        slots: 5,
        lease: LONG,
    };
    assert!(ledger.claim(&claim).await.unwrap().is_empty());
    let stats = ledger.stats().await.unwrap();
    assert_eq!((stats.waiting.values().sum::<u64>(), stats.running), (0, 0));
    rig.pass(rig.unit()).await;
    let old = ledger.settled_before(Duration::ZERO, 9).await.unwrap();
    assert_eq!(old.len(), 2);
    for id in old {
        assert!(ledger.erase(id).await.unwrap());
        assert_eq!(ledger.get(id).await.unwrap(), None);
    }
    let left: i64 = super::raw(&rig.path())
        .query_row(
            "SELECT (SELECT count(*) FROM news) + (SELECT count(*) FROM labels)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
}
