//! What only the inside can provoke: a full disk, calls that meet in one transaction.

use std::{sync::mpsc, task::Poll};

use seatrial_core::{
    ledger::{Created, Idempotency, StateFilter},
    record::Priority,
    testing::ledger::{BUDGETS, LONG, made, new_job},
};
use tempfile::TempDir;

use super::*;

fn ledger() -> (TempDir, SqliteLedger) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(&folder.path().join("ledger.db"), BUDGETS).unwrap();
    (folder, ledger)
}

impl SqliteLedger {
    /// Lets the file grow by so many pages and no further.
    async fn leave_room(&self, pages: u32) {
        let limit = move |turn: &mut writer::Turn<'_>| {
            let used: u32 = turn.db.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let sql = format!("PRAGMA max_page_count = {}", used.saturating_add(pages));
            turn.db.query_row(&sql, [], |_| Ok(()))?;
            Ok(())
        };
        self.writer.ask("limit the file", limit).await.unwrap();
    }

    /// Holds the writer until the sender is dropped; returns when it is held.
    async fn hold_writer(&self) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (held, is_held) = tokio::sync::oneshot::channel();
        let mut held = Some(held);
        let writer = self.writer.clone();
        tokio::spawn(async move {
            let wait = move |_: &mut writer::Turn<'_>| {
                if let Some(held) = held.take() {
                    let _ = held.send(());
                }
                let _ = released.recv();
                Ok(())
            };
            writer.ask("wait", wait).await
        });
        is_held.await.unwrap();
        release
    }
}

#[tokio::test]
async fn a_full_disk_is_transient_leaves_nothing_half_done_and_passes() {
    let (_folder, ledger) = ledger();
    let early = made(&ledger, new_job("a")).await;
    ledger.leave_room(3).await;
    let mut big = new_job("b");
    // Longer than the room: the record does not fit, whatever else does.
    big.labels.insert("label".into(), "x".repeat(64 * 1024));
    big.idempotency = Some(Idempotency {
        key: "k".into(),
        fingerprint: seatrial_core::digest::Digest::of(b"q"),
        keep: LONG,
    });
    let id = big.id;
    let before = ledger.stats().await.unwrap();
    for _ in 0..2 {
        let refusal = ledger.create(big.clone()).await.unwrap_err();
        assert!(refusal.is_transient(), "{refusal:?}");
        assert_eq!(ledger.get(id).await.unwrap(), None);
        assert!(ledger.news(id, 0, 9).await.unwrap().is_empty());
        assert_eq!(ledger.stats().await.unwrap().waiting, before.waiting);
    }
    // What needs no room goes on.
    ledger.apply(early.id, Move::Cancel).await.unwrap().unwrap();
    assert!(ledger.erase(early.id).await.unwrap());
    ledger.leave_room(1_000_000).await;
    let taken = ledger.create(big).await.unwrap();
    assert!(matches!(taken, Created::New(_)), "its key is not taken");
    assert_eq!(ledger.stats().await.unwrap().waiting, before.waiting);
}

#[tokio::test]
async fn a_call_that_fails_does_not_spoil_those_of_its_transaction() {
    let (_folder, ledger) = ledger();
    ledger.leave_room(8).await;
    let release = ledger.hold_writer().await;
    let mut big = new_job("big");
    big.labels.insert("label".into(), "x".repeat(256 * 1024));
    let small = new_job("small");
    let ids = (small.id, big.id);
    let mut calls = [
        Box::pin(ledger.create(small)),
        Box::pin(ledger.create(big)),
        Box::pin(ledger.create(new_job("other"))),
    ];
    for call in &mut calls {
        assert!(poll_once(call.as_mut()).await.is_none());
    }
    drop(release);
    let [small, big, other] = calls;
    assert!(matches!(small.await.unwrap(), Created::New(_)));
    assert!(big.await.unwrap_err().is_transient());
    assert!(matches!(other.await.unwrap(), Created::New(_)));
    assert!(ledger.get(ids.0).await.unwrap().is_some());
    assert_eq!(ledger.get(ids.1).await.unwrap(), None);
    assert_eq!(ledger.stats().await.unwrap().waiting.values().sum::<u64>(), 2);
}

#[tokio::test]
async fn a_claim_whose_caller_has_gone_takes_nothing() {
    let (_folder, ledger) = ledger();
    let job = made(&ledger, new_job("a")).await;
    let release = ledger.hold_writer().await;
    let claim = Claim {
        worker: "ann".into(),
        slots: 1,
        lease: LONG,
    };
    {
        let take = move |turn: &mut writer::Turn<'_>| jobs::claim(turn, &claim);
        let mut call = Box::pin(ledger.writer.ask("claim jobs", take));
        assert!(poll_once(call.as_mut()).await.is_none());
    }
    drop(release);
    made(&ledger, new_job("b")).await;
    assert_eq!(ledger.get(job.id).await.unwrap(), Some(job));
}

#[tokio::test]
async fn changes_of_this_process_ring_without_a_look_at_the_file() {
    let (_folder, ledger) = ledger();
    let patience = Duration::from_secs(60);
    let heard = Heard::default();
    ledger.bell.work(&heard, patience).await; // what came before counts
    // Nobody waits by the ledger's own calls, so its watcher does not look.
    let ringing = timeout(patience, ledger.bell.work(&heard, patience * 2));
    let (rung, job) = tokio::join!(ringing, made(&ledger, new_job("a")));
    rung.unwrap();
    let watch = ledger.bell.watch(job.id);
    let ringing = timeout(patience, watch.moved.notified());
    let (rung, moved) = tokio::join!(ringing, ledger.apply(job.id, Move::Cancel));
    rung.unwrap();
    moved.unwrap().unwrap();
}

#[tokio::test]
async fn positions_follow_the_claims_at_once_in_a_short_queue_and_soon_in_a_deep_one() {
    let (folder, ledger) = ledger();
    let claim = |slots| Claim {
        worker: "ann".into(),
        slots,
        lease: LONG,
    };
    let mut last = made(&ledger, new_job("a")).await.id;
    for _ in 0..19 {
        last = made(&ledger, new_job("a")).await.id;
    }
    for before in (1..20).rev() {
        assert_eq!(ledger.position(last).await.unwrap(), Some(before));
        assert_eq!(ledger.claim(&claim(1)).await.unwrap().len(), 1);
    }
    let mut calls = Vec::new();
    for _ in 0..600 {
        let mut call = Box::pin(ledger.create(new_job("b")));
        match poll_once(call.as_mut()).await {
            Some(made) => drop(made.unwrap()), // the writer was as fast as we
            None => calls.push(call),
        }
    }
    for call in calls {
        call.await.unwrap();
    }
    last = made(&ledger, new_job("b")).await.id;
    let db = file::reader(&folder.path().join("ledger.db")).unwrap();
    let heads = position::Heads::default();
    let ask = || position::position(&db, &heads, last, 0).unwrap();
    assert_eq!(ask(), Some(601));
    assert_eq!(ledger.claim(&claim(50)).await.unwrap().len(), 50);
    let followed = async {
        while ask() != Some(551) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), followed).await.unwrap();
}

#[tokio::test]
async fn pages_that_end_early_neither_skip_nor_repeat() {
    let (_folder, ledger) = ledger();
    for n in 0..60 {
        let mut job = new_job(["a", "b", "c"][n % 3]);
        job.priority = Priority::ALL[n / 2 % 3];
        job.delay = [Duration::ZERO, LONG][n / 3 % 2];
        job.labels.insert("parity".into(), ["even", "odd"][n % 2].into());
        let job = made(&ledger, job).await;
        if n % 7 == 0 {
            ledger.apply(job.id, Move::Cancel).await.unwrap().unwrap();
        }
    }
    let all = Filter {
        limit: 99,
        ..Filter::default()
    };
    let all = ledger.list(&all).await.unwrap().jobs;
    let queued = Some(StateFilter::Queued);
    let (caller, label) = (Some("a".to_owned()), Some(("parity".to_owned(), "odd".to_owned())));
    for n in 0..8 {
        let filter = Filter {
            caller: caller.clone().filter(|_| n & 1 > 0),
            state: queued.filter(|_| n & 2 > 0),
            label: label.clone().filter(|_| n & 4 > 0),
            limit: 7,
            ..Filter::default()
        };
        let expected: Vec<_> = all.iter().filter(|job| filter.takes(job)).cloned().collect();
        for glance in [1, 2, 5, 100] {
            let mut filter = filter.clone();
            let mut seen = Vec::new();
            loop {
                let asked = filter.clone();
                let list = move |db: &rusqlite::Connection| queries::list(db, &asked, glance);
                let page = ledger.readers.ask("list jobs", list).await.unwrap();
                assert!(page.jobs.len() <= 7);
                seen.extend(page.jobs);
                match page.next {
                    Some(next) => filter.before = Some(next),
                    None => break,
                }
            }
            assert_eq!(seen, expected, "filter {n}, glance {glance}");
        }
    }
}

/// Polls once, so that a call is on its way.
async fn poll_once<F: Future>(mut call: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
