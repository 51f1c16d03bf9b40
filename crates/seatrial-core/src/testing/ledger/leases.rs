//! Who may write, and for how long.

use std::{collections::BTreeMap, time::Duration};

use super::{LONG, Rig, apply, claim, claim_for, claim_one, made, new_job, read, reap, settle, settlement, succeeded};
use crate::{
    job::{JobState, Outcome, Reason, Stage},
    record::{Batch, JobRecord, Kept, LogRef, Move, NewsBody, Refusal},
    vault::{BlobKind, BlobRef},
};

fn renewal(held: &JobRecord, lease: Duration) -> Move {
    Move::Renew {
        token: held.token,
        lease,
    }
}

fn entering(held: &JobRecord, stage: Stage) -> Move {
    Move::Tell {
        token: held.token,
        news: Batch {
            before: 0,
            bodies: vec![NewsBody::StageStarted { stage }],
        },
        logs: BTreeMap::new(),
        asked: None,
    }
}

fn fault(held: &JobRecord, budget: u32, after: Duration) -> Move {
    Move::Fault {
        token: held.token,
        outcome: Outcome::errored(Reason::EngineGone, ""),
        budget,
        after,
        kept: Kept::default(),
    }
}

/// A worker that is not heard of loses its job to the next, with a token that fences it.
pub async fn a_lost_lease_gives_the_job_to_another_with_a_higher_token(rig: &dyn Rig) {
    let ledger = rig.ledger();
    made(&*ledger, new_job("a")).await;
    let first = claim_for(&*ledger, "ann", 1, rig.unit()).await.remove(0);
    rig.pass(rig.unit() * 2).await;
    assert!(claim(&*ledger, 1).await.is_empty(), "nobody has reaped it");
    assert_eq!(ledger.overdue(9).await.unwrap(), [first.id]);
    reap(&*rig.other().await).await;
    let lost = read(&*ledger, first.id).await;
    assert_eq!(lost.state, JobState::Queued { attempt: 2 });
    let second = claim_for(&*rig.other().await, "bob", 1, LONG).await.remove(0);
    assert_eq!(second.id, first.id);
    assert!(second.token > first.token);
    assert_eq!(second.worker.as_deref(), Some("bob"));
}

/// Whatever the first worker still says of a job that is another's now moves nothing.
pub async fn late_writes_are_fenced(rig: &dyn Rig) {
    let ledger = rig.ledger();
    made(&*ledger, new_job("a")).await;
    let late = claim_for(&*ledger, "ann", 1, rig.unit()).await.remove(0);
    rig.pass(rig.unit() * 2).await;
    reap(&*ledger).await;
    let writes = [
        entering(&late, Stage::Build),
        settlement(&late),
        fault(&late, 9, Duration::ZERO),
        Move::HandBack {
            token: late.token,
            after: Duration::ZERO,
        },
        renewal(&late, LONG),
    ];
    let waiting = read(&*ledger, late.id).await;
    for what in writes.clone() {
        assert_eq!(apply(&*ledger, late.id, what).await, Err(Refusal::Fenced));
    }
    assert_eq!(read(&*ledger, late.id).await, waiting);
    let held = claim_one(&*rig.other().await).await;
    let news = ledger.news(late.id, 0, 99).await.unwrap();
    for what in writes {
        assert_eq!(apply(&*ledger, late.id, what).await, Err(Refusal::Fenced));
    }
    assert_eq!(read(&*ledger, late.id).await, held);
    assert_eq!(ledger.news(late.id, 0, 99).await.unwrap(), news);
    settle(&*ledger, &held).await.unwrap();
}

/// A beat in time keeps the job.
pub async fn a_renewed_lease_holds(rig: &dyn Rig) {
    let ledger = rig.ledger();
    made(&*ledger, new_job("a")).await;
    let held = claim_for(&*ledger, "ann", 1, rig.unit() * 2).await.remove(0);
    let renewed = apply(&*ledger, held.id, renewal(&held, LONG)).await.unwrap();
    assert_eq!(renewed.revision, held.revision, "nobody sees a beat");
    rig.pass(rig.unit() * 3).await;
    assert!(reap(&*ledger).await.is_empty());
    settle(&*ledger, &held).await.unwrap();
}

/// A job that had its turn does not queue again, and a drain is no try.
pub async fn a_job_handed_back_goes_first_and_keeps_its_attempt(rig: &dyn Rig) {
    let ledger = rig.ledger();
    for _ in 0..3 {
        made(&*ledger, new_job("a")).await;
    }
    let held = claim_one(&*ledger).await;
    made(&*ledger, new_job("b")).await;
    apply(
        &*ledger,
        held.id,
        Move::HandBack {
            token: held.token,
            after: Duration::ZERO,
        },
    )
    .await
    .unwrap();
    assert_eq!(ledger.position(held.id).await.unwrap(), Some(0));
    let again = claim_one(&*ledger).await;
    assert_eq!(again.id, held.id);
    assert!(again.token > held.token);
    let JobState::Running { attempt, .. } = again.state else {
        panic!("{again:?}");
    };
    assert_eq!(attempt, 1);
    assert_eq!(claim(&*ledger, 9).await.len(), 3);
    // By a worker that will not do: others have time to be the first.
    let (token, after) = (again.token, rig.unit() * 2);
    apply(&*ledger, again.id, Move::HandBack { token, after })
        .await
        .unwrap();
    assert!(claim(&*ledger, 1).await.is_empty());
    rig.pass(rig.unit() * 3).await;
    assert_eq!(claim_one(&*ledger).await.id, again.id);
}

/// A fault of ours is tried again after its back-off, until the budget is used up.
pub async fn a_fault_is_tried_again_after_its_back_off(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let job = made(&*ledger, new_job("a")).await;
    let held = claim_one(&*ledger).await;
    let waiting = apply(&*ledger, job.id, fault(&held, 2, rig.unit() * 2)).await.unwrap();
    assert_eq!(waiting.failures, 1);
    assert_eq!(waiting.state, JobState::Queued { attempt: 2 });
    assert!(claim(&*ledger, 1).await.is_empty(), "it backs off");
    rig.pass(rig.unit() * 3).await;
    let held = claim_one(&*ledger).await;
    let over = apply(&*ledger, job.id, fault(&held, 2, rig.unit())).await.unwrap();
    assert_eq!(over.outcome().unwrap().reason, Reason::EngineGone);
    rig.pass(rig.unit() * 2).await;
    assert!(claim(&*ledger, 1).await.is_empty());
}

/// What the worker put into the vault is named by the record, in the same step.
pub async fn a_settlement_keeps_what_the_worker_stored(rig: &dyn Rig) {
    let ledger = rig.ledger();
    made(&*ledger, new_job("a")).await;
    let held = claim_one(&*ledger).await;
    apply(&*ledger, held.id, entering(&held, Stage::Build)).await.unwrap();
    let blob = BlobRef {
        name: "01ARZ3NDEKTSV4RRFFQ69G5FAV".into(),
        bytes: 5,
    };
    let log = LogRef {
        parts: vec![blob.clone()],
        complete: true,
        total: 5,
    };
    let what = Move::Settle {
        token: held.token,
        outcome: succeeded(),
        kept: Kept {
            news: Batch {
                before: 1,
                bodies: vec![NewsBody::StageFinished {
                    stage: Stage::Build,
                    millis: 7,
                }],
            },
            blobs: BTreeMap::from([(BlobKind::Result, blob.clone())]),
            logs: BTreeMap::from([(Stage::Build, log.clone())]),
        },
    };
    let over = apply(&*ledger, held.id, what).await.unwrap();
    let told = ledger.news(held.id, 0, 100).await.unwrap();
    let last: Vec<&NewsBody> = told.iter().rev().take(2).map(|news| &news.body).collect();
    assert!(
        matches!(
            last[..],
            [NewsBody::Settled { .. }, NewsBody::StageFinished { millis: 7, .. }]
        ),
        "{told:?}"
    );
    assert_eq!(over.outcome(), Some(&succeeded()));
    assert_eq!(over.stage, Some(Stage::Build));
    assert_eq!(over.blobs.get(&BlobKind::Result), Some(&blob));
    assert_eq!(over.logs.get(&Stage::Build), Some(&log));
    assert_eq!(read(&*rig.other().await, held.id).await, over);
}

/// A claim of one job by its id is a claim like any other.
pub async fn two_workers_cannot_claim_one_job_by_its_id(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let job = made(&*ledger, new_job("a")).await;
    let by = |worker: &str| Move::Claim {
        worker: worker.to_owned(),
        lease: LONG,
    };
    let other = rig.other().await;
    let (ann, bob) = tokio::join!(apply(&*ledger, job.id, by("ann")), apply(&*other, job.id, by("bob")));
    assert_eq!([&ann, &bob].into_iter().flatten().count(), 1);
    assert!([ann, bob].contains(&Err(Refusal::NotWaiting)));
    assert!(claim(&*ledger, 1).await.is_empty());
    assert_eq!(ledger.stats().await.unwrap().running, 1);
}
