//! Every job ends, once, and is forgotten when asked.

use super::{BUDGETS, Rig, apply, claim, claim_for, claim_one, made, new_job, read, reap, settle, settlement};
use crate::{
    digest::Digest,
    id::JobId,
    job::{Ending, JobState, Reason, Token},
    ledger::{Created, Filter, Idempotency},
    record::{Move, NewsBody, Refusal},
};

/// A job that waits ends at once, delayed or not.
pub async fn a_waiting_job_is_cancelled_at_once(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let waiting = made(&*ledger, new_job("a")).await;
    let mut delayed = new_job("a");
    delayed.delay = rig.unit();
    let delayed = made(&*ledger, delayed).await;
    for id in [waiting.id, delayed.id] {
        let over = apply(&*ledger, id, Move::Cancel).await.unwrap();
        assert_eq!(over.outcome().unwrap().ending, Ending::Cancelled);
        assert_eq!(read(&*rig.other().await, id).await, over);
        assert_eq!(apply(&*ledger, id, Move::Cancel).await, Err(Refusal::Settled));
    }
    rig.pass(rig.unit() * 2).await;
    assert!(claim(&*ledger, 9).await.is_empty());
    assert!(ledger.overdue(9).await.unwrap().is_empty());
    assert_eq!(ledger.stats().await.unwrap().waiting.values().sum::<u64>(), 0);
}

/// A job that runs learns of it by its record; its worker ends it. Asking again changes nothing.
pub async fn a_running_job_is_asked_to_end(rig: &dyn Rig) {
    let ledger = rig.ledger();
    made(&*ledger, new_job("a")).await;
    let held = claim_one(&*ledger).await;
    let asked = apply(&*rig.other().await, held.id, Move::Cancel).await.unwrap();
    assert!(asked.cancel && asked.outcome().is_none());
    let again = apply(&*ledger, held.id, Move::Cancel).await.unwrap();
    assert_eq!(again, asked);
    let renewed = Move::Renew {
        token: held.token,
        lease: rig.unit(),
    };
    assert!(apply(&*ledger, held.id, renewed).await.unwrap().cancel);
    let handed_back = apply(
        &*ledger,
        held.id,
        Move::HandBack {
            token: held.token,
            after: std::time::Duration::ZERO,
        },
    )
    .await
    .unwrap();
    assert_eq!(handed_back.outcome().unwrap().ending, Ending::Cancelled);
}

/// Of many who would end a job at once, one does.
pub async fn nothing_is_settled_twice(rig: &dyn Rig) {
    let ledger = rig.ledger();
    for _ in 0..10 {
        made(&*ledger, new_job("a")).await;
    }
    for held in claim(&*ledger, 10).await {
        let mut ending = tokio::task::JoinSet::new();
        for n in 0..6 {
            let ledger = if n % 2 == 0 { rig.ledger() } else { rig.other().await };
            let what = settlement(&held);
            ending.spawn(async move { apply(&*ledger, held.id, what).await });
        }
        let mut settled = 0;
        while let Some(answer) = ending.join_next().await {
            match answer.unwrap() {
                Ok(_) => settled += 1,
                Err(refusal) => assert_eq!(refusal, Refusal::Settled),
            }
        }
        assert_eq!(settled, 1);
        let news = ledger.news(held.id, 0, 99).await.unwrap();
        let ends = news.iter().filter(|news| matches!(news.body, NewsBody::Settled { .. }));
        assert_eq!(ends.count(), 1);
    }
    assert_eq!(ledger.stats().await.unwrap().running, 0);
}

/// A job that waited too long is found and expires; the wait counts from the end of its delay.
pub async fn a_wait_that_is_over_expires(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut job = new_job("a");
    job.wait = rig.unit();
    let mut delayed = job.clone();
    delayed.id = JobId::fresh();
    delayed.delay = rig.unit() * 5;
    let (job, delayed) = (made(&*ledger, job).await, made(&*ledger, delayed).await);
    rig.pass(rig.unit() * 2).await;
    assert_eq!(ledger.overdue(9).await.unwrap(), [job.id]);
    assert_eq!(reap(&*rig.other().await).await, [job.id]);
    let over = read(&*ledger, job.id).await;
    assert_eq!(over.outcome().unwrap().ending, Ending::Expired);
    assert!(reap(&*ledger).await.is_empty());
    rig.pass(rig.unit() * 5).await;
    assert_eq!(reap(&*ledger).await, [delayed.id]);
    assert!(claim(&*ledger, 9).await.is_empty());
}

/// A worker has the grace to end a job by itself; then the job ends without it.
pub async fn a_deadline_ends_a_running_job_after_the_grace(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut job = new_job("a");
    job.life = rig.unit() * 2;
    made(&*ledger, job).await;
    let held = claim_one(&*ledger).await;
    assert!(ledger.overdue(9).await.unwrap().is_empty());
    rig.pass(rig.unit() * 2 + BUDGETS.grace).await;
    assert_eq!(reap(&*ledger).await, [held.id]);
    let over = read(&*ledger, held.id).await;
    assert_eq!(over.outcome().unwrap().reason, Reason::JobTime);
    assert_eq!(settle(&*ledger, &held).await, Err(Refusal::Settled));
}

/// A job that takes its workers down ends as poison.
pub async fn lost_leases_beyond_the_budget_end_a_job(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let job = made(&*ledger, new_job("a")).await;
    for loss in 1..=BUDGETS.losses + 1 {
        let held = claim_for(&*ledger, "ann", 1, rig.unit()).await;
        assert_eq!(held.len(), 1, "claim {loss}");
        rig.pass(rig.unit() * 2).await;
        assert_eq!(reap(&*ledger).await, [job.id]);
        assert_eq!(read(&*ledger, job.id).await.losses, loss);
    }
    let over = read(&*ledger, job.id).await;
    assert_eq!(over.outcome().unwrap().reason, Reason::WorkersLost);
}

/// Reaping takes nothing before its time.
pub async fn what_is_not_due_is_not_reaped(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let waiting = made(&*ledger, new_job("a")).await;
    let reaping = Move::Reap(BUDGETS);
    assert_eq!(apply(&*ledger, waiting.id, reaping.clone()).await, Err(Refusal::NotDue));
    let held = claim_one(&*ledger).await;
    assert_eq!(apply(&*ledger, held.id, reaping).await, Err(Refusal::NotDue));
    assert_eq!(read(&*ledger, held.id).await, held);
    assert!(ledger.overdue(9).await.unwrap().is_empty());
}

/// What waits longest for the reaper is seen to first, and no more than was asked for.
pub async fn the_longest_overdue_comes_first(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut order = Vec::new();
    for units in [3, 1, 2] {
        let mut job = new_job("a");
        job.wait = rig.unit() * units;
        order.push(made(&*ledger, job).await.id);
    }
    rig.pass(rig.unit() * 4).await;
    assert_eq!(ledger.overdue(2).await.unwrap(), [order[1], order[2]]);
    assert_eq!(ledger.overdue(9).await.unwrap(), [order[1], order[2], order[0]]);
}

/// Erased is as if it had never been: record, news, key, delivery.
pub async fn erasing_forgets_all_of_a_job(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut job = new_job("a");
    job.webhook = Some("https://example.org".into());
    job.labels.insert("team".into(), "blue".into());
    job.idempotency = Some(Idempotency {
        key: "k".into(),
        fingerprint: Digest::of(b"q"),
        keep: super::LONG,
    });
    let record = made(&*ledger, job.clone()).await;
    let held = claim_one(&*ledger).await;
    settle(&*ledger, &held).await.unwrap();
    assert!(ledger.delivery(record.id).await.unwrap().is_some());
    assert!(rig.other().await.erase(record.id).await.unwrap());
    assert_eq!(ledger.get(record.id).await.unwrap(), None);
    assert!(ledger.news(record.id, 0, 9).await.unwrap().is_empty());
    assert_eq!(ledger.delivery(record.id).await.unwrap(), None);
    assert!(ledger.deliveries(9, rig.unit()).await.unwrap().is_empty());
    assert!(
        ledger
            .settled_before(std::time::Duration::ZERO, 9)
            .await
            .unwrap()
            .is_empty()
    );
    let labelled = Filter {
        label: Some(("team".into(), "blue".into())),
        limit: 9,
        ..Filter::default()
    };
    for filter in [
        labelled,
        Filter {
            limit: 9,
            ..Filter::default()
        },
    ] {
        assert!(ledger.list(&filter).await.unwrap().jobs.is_empty());
    }
    assert!(!ledger.erase(record.id).await.unwrap());
    job.id = JobId::fresh();
    let again = ledger.create(job).await.unwrap();
    assert!(matches!(again, Created::New(_)), "its key is free");
}

/// A job that is not over stays.
pub async fn what_is_not_settled_is_not_erased(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let job = made(&*ledger, new_job("a")).await;
    assert!(!ledger.erase(job.id).await.unwrap());
    let held = claim_one(&*ledger).await;
    assert!(!ledger.erase(job.id).await.unwrap());
    assert_eq!(read(&*ledger, job.id).await, held);
}

/// Retention finds jobs by the age of their end, the oldest first.
pub async fn settled_jobs_are_found_by_age(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut order = Vec::new();
    for _ in 0..3 {
        made(&*ledger, new_job("a")).await;
        let held = claim_one(&*ledger).await;
        settle(&*ledger, &held).await.unwrap();
        order.push(held.id);
        rig.pass(rig.unit() * 2).await;
    }
    made(&*ledger, new_job("a")).await;
    assert_eq!(ledger.settled_before(rig.unit() * 3, 9).await.unwrap(), order[..2]);
    assert_eq!(ledger.settled_before(rig.unit(), 2).await.unwrap(), order[..2]);
    assert!(ledger.settled_before(super::LONG, 9).await.unwrap().is_empty());
}

/// No call invents a job.
pub async fn an_unknown_job_is_unknown_everywhere(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let id = JobId::fresh();
    assert_eq!(ledger.get(id).await.unwrap(), None);
    assert_eq!(ledger.position(id).await.unwrap(), None);
    assert_eq!(ledger.delivery(id).await.unwrap(), None);
    assert!(ledger.news(id, 0, 9).await.unwrap().is_empty());
    assert!(!ledger.erase(id).await.unwrap());
    for what in [
        Move::Cancel,
        Move::HandBack {
            token: Token(1),
            after: std::time::Duration::ZERO,
        },
        Move::Reap(BUDGETS),
        Move::Claim {
            worker: "ann".into(),
            lease: rig.unit(),
        },
    ] {
        assert_eq!(apply(&*ledger, id, what).await, Err(Refusal::Unknown));
    }
    made(&*ledger, new_job("a")).await;
    assert!(matches!(claim_one(&*ledger).await.state, JobState::Running { .. }));
}
