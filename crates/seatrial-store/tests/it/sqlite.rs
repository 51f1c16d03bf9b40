//! The contract of ledgers on SQLite, and what only SQLite can get wrong.

mod agreement;
mod damage;
mod file;
mod time;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::Connection;
use seatrial_core::{
    id::JobId,
    ledger::Ledger,
    testing::ledger::{BUDGETS, Rig},
};
use seatrial_store::ledger::sqlite::{Clock, SqliteLedger};
use tempfile::TempDir;

/// A clock that is put forward by hand.
fn clock(skew: &Arc<AtomicU64>) -> Clock {
    let skew = Arc::clone(skew);
    let started = Instant::now();
    Clock {
        boot: "this boot".into(),
        since_boot: Arc::new(move || started.elapsed() + Duration::from_nanos(skew.load(Ordering::SeqCst))),
        wall: Arc::new(Timestamp::now),
    }
}

struct Sqlite {
    folder: TempDir,
    skew: Arc<AtomicU64>,
    ledger: Arc<SqliteLedger>,
    other: Arc<SqliteLedger>,
}

impl Sqlite {
    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }
}

#[async_trait]
impl Rig for Sqlite {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.ledger) as Arc<dyn Ledger>
    }

    async fn other(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.other) as Arc<dyn Ledger>
    }

    fn unit(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn pass(&self, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap();
        self.skew.fetch_add(time, Ordering::SeqCst);
    }

    async fn stored(&self, id: JobId) -> String {
        let read = "SELECT record FROM jobs WHERE id = ?";
        raw(&self.path())
            .query_row(read, [id.to_string()], |row| row.get(0))
            .unwrap()
    }

    async fn store(&self, id: JobId, record: String) {
        let write = "UPDATE jobs SET record = ?1,
                         schema = CASE json_valid(?1) WHEN 1 THEN json_extract(?1, '$.schema') ELSE schema END
                     WHERE id = ?2";
        assert_eq!(raw(&self.path()).execute(write, [record, id.to_string()]).unwrap(), 1);
    }
}

fn raw(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db
}

async fn rig() -> Sqlite {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let skew = Arc::<AtomicU64>::default();
    let clock = clock(&skew);
    Sqlite {
        ledger: Arc::new(SqliteLedger::open_with(&path, BUDGETS, clock.clone()).unwrap()),
        other: Arc::new(SqliteLedger::open_with(&path, BUDGETS, clock).unwrap()),
        folder,
        skew,
    }
}

seatrial_core::ledger_contract!(rig);
