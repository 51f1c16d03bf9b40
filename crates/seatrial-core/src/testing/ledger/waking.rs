//! Nobody polls for work or news.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{Rig, apply, claim, made, new_job, read};
use crate::{
    digest::Digest,
    ledger::{Created, Idempotency},
    record::Move,
};

/// Waits end by themselves after at least this: what is quicker was woken.
const PROMPT: Duration = Duration::from_millis(700);
/// One wait of so many must be as quick: any of them can meet a host that is busy.
const TIMES: usize = 20;
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a wait that has begun before `change` is made; how long it took from the change on.
async fn woken<W: Future<Output = ()>>(wait: impl Fn() -> W, change: impl Future<Output = ()>) -> Duration {
    let mut begun = Box::pin(wait());
    // A wait may return early, for what happened before it; from one that is pending, it must see a change.
    while begun.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
        begun = Box::pin(wait());
    }
    change.await;
    let changed = Instant::now();
    timeout(PATIENCE, begun).await.unwrap();
    changed.elapsed()
}

/// A job that comes, from whichever process, wakes a worker that waits for one.
pub async fn work_wakes_a_waiting_worker(rig: &dyn Rig) {
    let ledger = rig.ledger();
    for through in [rig.ledger(), rig.other().await] {
        let mut best = PATIENCE;
        for _ in 0..TIMES {
            while !claim(&*ledger, 9).await.is_empty() {}
            // What came before is answered by returning at once; a wait that lasts has seen all of it.
            while timeout(Duration::from_millis(200), ledger.work_may_wait())
                .await
                .is_ok()
            {}
            let create = async {
                made(&*through, new_job("a")).await;
            };
            best = best.min(woken(|| ledger.work_may_wait(), create).await);
            assert_eq!(claim(&*ledger, 9).await.len(), 1);
            if best < PROMPT {
                break;
            }
        }
        assert!(best < PROMPT, "woken after {best:?}");
    }
}

/// Each change of a job, from whichever process, wakes those who watch it.
pub async fn a_move_wakes_who_watches_the_job(rig: &dyn Rig) {
    let ledger = rig.ledger();
    for through in [rig.ledger(), rig.other().await] {
        let mut best = PATIENCE;
        for _ in 0..TIMES {
            let id = made(&*ledger, new_job("a")).await.id;
            let cancel = async {
                apply(&*through, id, Move::Cancel).await.unwrap();
            };
            best = best.min(woken(|| ledger.moved(id), cancel).await);
            assert!(read(&*ledger, id).await.outcome().is_some());
            if best < PROMPT {
                break;
            }
        }
        assert!(best < PROMPT, "woken after {best:?}");
    }
}

/// A worker that was busy while a job came does not sleep over it.
pub async fn work_that_came_before_the_wait_is_not_missed(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut best = PATIENCE;
    for _ in 0..TIMES {
        while timeout(Duration::from_millis(200), ledger.work_may_wait())
            .await
            .is_ok()
        {}
        made(&*ledger, new_job("a")).await;
        let asked = Instant::now();
        timeout(PATIENCE, ledger.work_may_wait()).await.unwrap();
        best = best.min(asked.elapsed());
        if best < PROMPT {
            break;
        }
    }
    assert!(best < PROMPT, "woken after {best:?}");
}

/// Without any change a wait ends after a while, so a wake-up that was lost costs time alone.
pub async fn waits_end_by_themselves(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let id = made(&*ledger, new_job("a")).await.id;
    timeout(PATIENCE, ledger.moved(id)).await.unwrap();
    timeout(PATIENCE, ledger.work_may_wait()).await.unwrap();
    timeout(PATIENCE, ledger.work_may_wait()).await.unwrap();
}

/// Calls that were dropped half-way, at any point, leave one job that can be asked for and claimed.
pub async fn a_dropped_call_can_be_asked_again(rig: &dyn Rig) {
    let ledger = rig.ledger();
    let mut job = new_job("a");
    job.idempotency = Some(Idempotency {
        key: "k".into(),
        fingerprint: Digest::of(b"q"),
        keep: super::LONG,
    });
    for polls in 0..4 {
        let mut call = pin!(ledger.create(job.clone()));
        for _ in 0..polls {
            if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let kept = match ledger.create(job.clone()).await.unwrap() {
        Created::New(record) | Created::Existing(record) => record.id,
        other => panic!("{other:?}"),
    };
    assert_eq!(kept, job.id);
    for polls in 0..4 {
        let mut call = pin!(ledger.apply(kept, Move::Cancel));
        for _ in 0..polls {
            if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let _ = apply(&*ledger, kept, Move::Cancel).await;
    assert!(read(&*ledger, kept).await.outcome().is_some());
    let ends = ledger.news(kept, 0, 99).await.unwrap().len();
    assert_eq!(ends, 2, "queued, and settled once");
}
