//! The file: whose it is, who may open it, what is in it after a restart.

use std::{os::unix::fs::PermissionsExt as _, sync::Barrier};

use seatrial_core::{
    ledger::{Filter, Ledger as _, LedgerError},
    record::Move,
    testing::ledger::{BUDGETS, made, new_job},
};
use seatrial_store::ledger::sqlite::SqliteLedger;

use super::{raw, rig};

#[tokio::test]
async fn many_processes_may_open_a_fresh_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let barrier = Barrier::new(12);
    let ledgers: Vec<_> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..12)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    SqliteLedger::open(&path, BUDGETS)
                })
            })
            .collect();
        opening
            .into_iter()
            .map(|opened| opened.join().unwrap().unwrap())
            .collect()
    });
    for ledger in &ledgers {
        made(ledger, new_job("a")).await;
    }
    let all = Filter {
        limit: 99,
        ..Filter::default()
    };
    for ledger in &ledgers {
        assert_eq!(ledger.list(&all).await.unwrap().jobs.len(), 12);
    }
    let anchors: i64 = raw(&path)
        .query_row("SELECT count(*) FROM clock", [], |row| row.get(0))
        .unwrap();
    assert_eq!(anchors, 1);
}

#[tokio::test]
async fn only_its_owner_may_read_the_file() {
    let rig = rig().await;
    made(&*rig.ledger, new_job("a")).await;
    let mut files = 0;
    for file in rig.folder.path().read_dir().unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        files += 1;
    }
    assert_eq!(files, 3, "the file, its log and its index");
}

#[test]
fn a_folder_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = SqliteLedger::open(&folder.path().join("none/ledger.db"), BUDGETS).unwrap_err();
    assert!(matches!(refusal, LedgerError::Unfit(_)), "{refusal}");
    let refusal = SqliteLedger::open(folder.path(), BUDGETS).unwrap_err();
    assert!(matches!(refusal, LedgerError::Unreachable { .. }), "{refusal}");
}

#[test]
fn a_file_that_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    raw(&path)
        .execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1);")
        .unwrap();
    let refusal = SqliteLedger::open(&path, BUDGETS).unwrap_err();
    assert!(matches!(refusal, LedgerError::Unfit(_)), "{refusal}");
    let theirs: i64 = raw(&path)
        .query_row("SELECT a FROM theirs", [], |row| row.get(0))
        .unwrap();
    assert_eq!(theirs, 1);
    let path = folder.path().join("text.db");
    std::fs::write(&path, "This is no database. ".repeat(400)).unwrap();
    let refusal = SqliteLedger::open(&path, BUDGETS).unwrap_err();
    assert!(matches!(refusal, LedgerError::Broken { .. }), "{refusal}");
}

#[tokio::test]
async fn a_file_of_a_newer_seatrial_is_left_alone() {
    let rig = rig().await;
    let job = made(&*rig.ledger, new_job("a")).await;
    raw(&rig.path()).pragma_update(None, "user_version", 99).unwrap();
    let is_newer = |refusal: LedgerError| matches!(refusal, LedgerError::Newer { schema: 99, .. });
    assert!(is_newer(SqliteLedger::open(&rig.path(), BUDGETS).unwrap_err()));
    // Who has it open already writes no more.
    assert!(is_newer(rig.ledger.create(new_job("a")).await.unwrap_err()));
    assert!(is_newer(rig.ledger.apply(job.id, Move::Cancel).await.unwrap_err()));
    assert_eq!(rig.ledger.get(job.id).await.unwrap(), Some(job));
    raw(&rig.path()).pragma_update(None, "user_version", 1).unwrap();
    made(&*rig.ledger, new_job("a")).await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let rig = rig().await;
    let jobs: Vec<_> = (0..5).map(|n| new_job(["a", "b"][n % 2])).collect();
    let mut made_jobs = Vec::new();
    for job in jobs {
        made_jobs.push(made(&*rig.ledger, job).await);
    }
    rig.ledger.apply(made_jobs[1].id, Move::Cancel).await.unwrap().unwrap();
    let all = Filter {
        limit: 99,
        ..Filter::default()
    };
    let before = rig.ledger.list(&all).await.unwrap();
    let waiting = rig.ledger.stats().await.unwrap().waiting;
    let news = rig.ledger.news(made_jobs[1].id, 0, 9).await.unwrap();
    let super::Sqlite {
        folder, ledger, other, ..
    } = rig;
    drop((ledger, other));
    let ledger = SqliteLedger::open(&folder.path().join("ledger.db"), BUDGETS).unwrap();
    assert_eq!(ledger.list(&all).await.unwrap(), before);
    assert_eq!(ledger.stats().await.unwrap().waiting, waiting);
    assert_eq!(ledger.news(made_jobs[1].id, 0, 9).await.unwrap(), news);
    assert!(ledger.durability().durable);
}

#[tokio::test]
async fn erased_keys_are_overwritten_in_the_file() {
    let rig = rig().await;
    let mut job = new_job("a");
    job.key = seatrial_core::vault::WrappedKey("ring.UNFORGETTABLE".into());
    let job = made(&*rig.ledger, job).await;
    rig.ledger.apply(job.id, Move::Cancel).await.unwrap().unwrap();
    assert!(rig.ledger.erase(job.id).await.unwrap());
    let super::Sqlite {
        folder, ledger, other, ..
    } = rig;
    drop((ledger, other));
    let path = folder.path().join("ledger.db");
    // What stands in the log is gone when it has been carried over.
    let busy: i64 = raw(&path)
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(busy, 0);
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(13).any(|bytes| bytes == b"UNFORGETTABLE"));
}
