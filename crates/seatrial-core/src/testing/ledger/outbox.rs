//! Word of a job's end leaves from an outbox that is written with the end.

use std::{collections::BTreeSet, time::Duration};

use super::{BUDGETS, LONG, Rig, apply, claim_for, claim_one, made, new_job, reap, settle};
use crate::{
    job::{Outcome, Reason},
    ledger::{Delivery, DeliveryEnd, NewJob},
    record::{Move, Refusal},
};

fn hooked(caller: &str) -> NewJob {
    NewJob {
        webhook: Some("https://example.org/hook".into()),
        ..new_job(caller)
    }
}

/// There is word to send from the settlement on, not before, and only where somebody asked for it.
pub async fn a_delivery_is_written_with_the_settlement(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let job = made(&*ledger, hooked("a")).await;
    let held = claim_one(&*ledger).await;
    assert_eq!(ledger.delivery(job.id).await.unwrap(), None);
    settle(&*ledger, &held).await.unwrap();
    let expected = Delivery {
        job: job.id,
        tries: 0,
        dead: false,
        last_error: None,
    };
    assert_eq!(
        rig.other().await.delivery(job.id).await.unwrap(),
        Some(expected.clone())
    );
    assert_eq!(ledger.deliveries(9, LONG).await.unwrap(), [expected]);
    made(&*ledger, new_job("a")).await;
    let quiet = claim_one(&*ledger).await;
    settle(&*ledger, &quiet).await.unwrap();
    assert_eq!(ledger.delivery(quiet.id).await.unwrap(), None);
}

/// A cancel, a reaper and a refusal at admission end jobs too.
pub async fn every_kind_of_end_writes_a_delivery(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let cancelled = made(&*ledger, hooked("a")).await;
    apply(&*ledger, cancelled.id, Move::Cancel).await.unwrap();
    let mut impatient = hooked("a");
    impatient.wait = rig.unit();
    let expired = made(&*ledger, impatient).await;
    rig.pass(rig.unit() * 2).await;
    reap(&*ledger).await;
    let mut refused = hooked("a");
    refused.outcome = Some(Outcome::rejected(Reason::FindingsBlock, ""));
    let refused = made(&*ledger, refused).await;
    let poison = made(&*ledger, hooked("a")).await;
    for _ in 0..=BUDGETS.losses {
        claim_for(&*ledger, "ann", 1, rig.unit()).await;
        rig.pass(rig.unit() * 2).await;
        reap(&*ledger).await;
    }
    let due = ledger.deliveries(9, LONG).await.unwrap();
    let due: BTreeSet<_> = due.into_iter().map(|delivery| delivery.job).collect();
    assert_eq!(due, BTreeSet::from([cancelled.id, expired.id, refused.id, poison.id]));
}

/// Who takes a delivery has it for a while; then another gets it.
pub async fn a_delivery_is_held_by_one(rig: &dyn Rig) {
    let ledger = rig.ledger();
    for _ in 0..3 {
        let job = made(&*ledger, hooked("a")).await;
        apply(&*ledger, job.id, Move::Cancel).await.unwrap();
    }
    let other = rig.other().await;
    let hold = rig.unit() * 2;
    let (mine, theirs) = tokio::join!(ledger.deliveries(2, hold), other.deliveries(2, hold));
    let (mine, theirs) = (mine.unwrap(), theirs.unwrap());
    assert!(mine.len() <= 2 && theirs.len() <= 2);
    let all: BTreeSet<_> = mine.iter().chain(&theirs).map(|delivery| delivery.job).collect();
    assert_eq!((all.len(), mine.len() + theirs.len()), (3, 3), "each once");
    assert!(ledger.deliveries(9, hold).await.unwrap().is_empty());
    rig.pass(rig.unit() * 3).await;
    assert_eq!(other.deliveries(9, hold).await.unwrap().len(), 3);
}

/// A delivery is tried until it is taken or given up; one that was given up is kept for people.
pub async fn a_failed_delivery_is_tried_again_and_a_dead_one_stays_visible(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let taken = made(&*ledger, hooked("a")).await.id;
    let dead = made(&*ledger, hooked("a")).await.id;
    for id in [taken, dead] {
        apply(&*ledger, id, Move::Cancel).await.unwrap();
    }
    assert_eq!(ledger.deliveries(9, LONG).await.unwrap().len(), 2);
    let again = |after| DeliveryEnd::Again {
        after,
        error: "503".into(),
    };
    ledger.delivered(taken, again(rig.unit() * 2)).await.unwrap();
    let given_up = DeliveryEnd::Dead { error: "410".into() };
    ledger.delivered(dead, given_up).await.unwrap();
    assert!(ledger.deliveries(9, LONG).await.unwrap().is_empty(), "it backs off");
    rig.pass(rig.unit() * 3).await;
    let due = rig.other().await.deliveries(9, LONG).await.unwrap();
    let expected = Delivery {
        job: taken,
        tries: 1,
        dead: false,
        last_error: Some("503".into()),
    };
    assert_eq!(due, [expected]);
    ledger.delivered(taken, DeliveryEnd::Done).await.unwrap();
    assert_eq!(ledger.delivery(taken).await.unwrap(), None);
    let visible = ledger.delivery(dead).await.unwrap().unwrap();
    assert!(visible.dead);
    assert_eq!((visible.tries, visible.last_error.as_deref()), (1, Some("410")));
    // Word that comes twice, or of a job that is forgotten, is nobody's fault.
    ledger.delivered(taken, again(Duration::ZERO)).await.unwrap();
    assert!(ledger.deliveries(9, LONG).await.unwrap().is_empty());
}

/// A worker that lost its job sends no word of it.
pub async fn a_refused_settlement_writes_no_delivery(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let job = made(&*ledger, hooked("a")).await;
    let late = claim_for(&*ledger, "ann", 1, rig.unit()).await.remove(0);
    rig.pass(rig.unit() * 2).await;
    reap(&*ledger).await;
    assert_eq!(settle(&*ledger, &late).await, Err(Refusal::Fenced));
    assert_eq!(ledger.delivery(job.id).await.unwrap(), None);
    assert!(ledger.deliveries(9, LONG).await.unwrap().is_empty());
}
