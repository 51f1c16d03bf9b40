//! How fast the SQLite ledger is: `cargo run --example ledger_bench -- FOLDER [DEPTH...]`.
//!
//! Each figure is of one process on a fresh file in FOLDER, so the disk under it decides.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "an example talks and may panic")]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use seatrial_core::{
    job::{Blame, Ending, Outcome, Reason},
    ledger::{Claim, Filter, Ledger, NewJob, StateFilter},
    record::{Budgets, JobRecord, Kept, Move},
    testing::ledger::new_job,
};
use seatrial_store::ledger::sqlite::SqliteLedger;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().unwrap_or_else(|| ".".into()));
    let mut depths: Vec<usize> = args.map(|depth| depth.parse().unwrap()).collect();
    if depths.is_empty() {
        depths = vec![0, 100_000];
    }
    for depth in depths {
        let file = tempfile::Builder::new()
            .prefix("ledger-bench")
            .tempdir_in(&folder)
            .unwrap();
        let ledger = Arc::new(SqliteLedger::open(&file.path().join("ledger.db"), Budgets::default()).unwrap());
        let started = Instant::now();
        create(&ledger, 256, depth).await;
        println!("depth {depth} (filled in {:.1} s)", started.elapsed().as_secs_f64());
        measure(&ledger).await;
        let bytes: u64 = std::fs::read_dir(file.path())
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        println!("  {:<32} {:>9.1} MiB", "files", bytes as f64 / 1_048_576.0);
    }
}

async fn measure(ledger: &Arc<SqliteLedger>) {
    for tasks in [1, 16, 64] {
        let many = if tasks == 1 { 1_000 } else { 8_000 };
        let (rate, p99) = create(ledger, tasks, many).await;
        println!(
            "  {:<32} {rate:>9.0} /s   p99 {p99:>8.2?}",
            format!("create, {tasks} tasks")
        );
    }
    for (workers, slots) in [(1, 1), (16, 1), (16, 8)] {
        let many = if workers == 1 { 1_000 } else { 6_000 };
        let rate = work(ledger, workers, slots, many).await;
        println!("  {:<32} {rate:>9.0} /s", format!("claim+settle, {workers} x {slots}"));
    }
    let known = ledger
        .list(&Filter {
            limit: 100,
            ..Filter::default()
        })
        .await
        .unwrap()
        .jobs;
    let rate = gets(ledger, &known, 64, 40_000).await;
    println!("  {:<32} {rate:>9.0} /s", "get, 64 tasks");
    let rate = renewals(ledger, 64, 8_000).await;
    println!("  {:<32} {rate:>9.0} /s", "renew, 64 tasks");
    for (name, filter) in [
        ("list, 50 newest", Filter::default()),
        (
            "list, 50 queued",
            Filter {
                state: Some(StateFilter::Queued),
                ..Filter::default()
            },
        ),
    ] {
        let started = Instant::now();
        for _ in 0..100 {
            ledger
                .list(&Filter {
                    limit: 50,
                    ..filter.clone()
                })
                .await
                .unwrap();
        }
        println!("  {name:<32} {:>9.2?} each", started.elapsed() / 100);
    }
    let started = Instant::now();
    for _ in 0..100 {
        ledger.stats().await.unwrap();
        ledger.position(known[0].id).await.unwrap();
        ledger.overdue(100).await.unwrap();
    }
    println!(
        "  {:<32} {:>9.2?} each",
        "stats+position+overdue",
        started.elapsed() / 100
    );
    drain(ledger).await;
    println!("  {:<32} {:>9.2?} median", "push to start, idle", latency(ledger).await);
}

async fn create(ledger: &Arc<SqliteLedger>, tasks: usize, many: usize) -> (f64, Duration) {
    let left = Arc::new(AtomicUsize::new(many));
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (ledger, left) = (Arc::clone(ledger), Arc::clone(&left));
        running.spawn(async move {
            let mut took = Vec::new();
            while take(&left) {
                let asked = Instant::now();
                ledger.create(job(task)).await.unwrap();
                took.push(asked.elapsed());
            }
            took
        });
    }
    let mut took = Vec::new();
    while let Some(some) = running.join_next().await {
        took.extend(some.unwrap());
    }
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
    (many as f64 / started.elapsed().as_secs_f64(), p99)
}

async fn work(ledger: &Arc<SqliteLedger>, workers: usize, slots: usize, many: usize) -> f64 {
    create(ledger, 64, many).await;
    let left = Arc::new(AtomicUsize::new(many));
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for worker in 0..workers {
        let (ledger, left) = (Arc::clone(ledger), Arc::clone(&left));
        running.spawn(async move {
            let claim = Claim {
                worker: format!("worker {worker}"),
                slots,
                lease: Duration::from_secs(60),
            };
            while left.load(Ordering::Relaxed) > 0 {
                for held in ledger.claim(&claim).await.unwrap() {
                    take(&left);
                    settle(&*ledger, &held).await;
                }
            }
        });
    }
    while let Some(end) = running.join_next().await {
        end.unwrap();
    }
    many as f64 / started.elapsed().as_secs_f64()
}

async fn gets(ledger: &Arc<SqliteLedger>, known: &[JobRecord], tasks: usize, many: usize) -> f64 {
    let left = Arc::new(AtomicUsize::new(many));
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (ledger, left, id) = (Arc::clone(ledger), Arc::clone(&left), known[task % known.len()].id);
        running.spawn(async move {
            while take(&left) {
                assert!(ledger.get(id).await.unwrap().is_some());
            }
        });
    }
    while let Some(end) = running.join_next().await {
        end.unwrap();
    }
    many as f64 / started.elapsed().as_secs_f64()
}

async fn renewals(ledger: &Arc<SqliteLedger>, tasks: usize, many: usize) -> f64 {
    create(ledger, 64, tasks).await;
    let claim = Claim {
        worker: "worker".into(),
        slots: tasks,
        lease: Duration::from_secs(60),
    };
    let held = ledger.claim(&claim).await.unwrap();
    let left = Arc::new(AtomicUsize::new(many));
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for held in held {
        let (ledger, left) = (Arc::clone(ledger), Arc::clone(&left));
        running.spawn(async move {
            while take(&left) {
                let what = Move::Renew {
                    token: held.token,
                    lease: Duration::from_secs(60),
                };
                ledger.apply(held.id, what).await.unwrap().unwrap();
            }
            settle(&*ledger, &held).await;
        });
    }
    while let Some(end) = running.join_next().await {
        end.unwrap();
    }
    many as f64 / started.elapsed().as_secs_f64()
}

async fn drain(ledger: &SqliteLedger) {
    let claim = Claim {
        worker: "drain".into(),
        slots: 256,
        lease: Duration::from_secs(60),
    };
    let started = Instant::now();
    let mut drained = 0;
    while let many @ 1.. = ledger.claim(&claim).await.unwrap().len() {
        drained += many;
    }
    println!(
        "  {:<32} {:>9.0} /s ({drained} jobs)",
        "claim, 1 x 256",
        drained as f64 / started.elapsed().as_secs_f64()
    );
}

/// From before the submission to after the claim, with a worker that waits.
async fn latency(ledger: &Arc<SqliteLedger>) -> Duration {
    let worker = Arc::clone(ledger);
    let (claimed, mut claims) = tokio::sync::mpsc::channel(1);
    let waiting = tokio::spawn(async move {
        let claim = Claim {
            worker: "idle".into(),
            slots: 1,
            lease: Duration::from_secs(60),
        };
        loop {
            worker.work_may_wait().await;
            for held in worker.claim(&claim).await.unwrap() {
                claimed.send((held, Instant::now())).await.unwrap();
            }
        }
    });
    let mut took = Vec::new();
    for _ in 0..200 {
        ledger.create(job(0)).await.unwrap();
        let acknowledged = Instant::now();
        let (_, at) = claims.recv().await.unwrap();
        took.push(at.saturating_duration_since(acknowledged));
    }
    waiting.abort();
    took.sort_unstable();
    took[100]
}

async fn settle(ledger: &dyn Ledger, held: &JobRecord) {
    let what = Move::Settle {
        token: held.token,
        outcome: Outcome::new(Ending::Succeeded, Reason::Ok, Blame::Nobody, ""),
        kept: Kept::default(),
    };
    ledger.apply(held.id, what).await.unwrap().unwrap();
}

fn job(task: usize) -> NewJob {
    NewJob {
        max_waiting: u64::MAX,
        ..new_job(&format!("caller {}", task % 50))
    }
}

fn take(left: &AtomicUsize) -> bool {
    left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
        .is_ok()
}
