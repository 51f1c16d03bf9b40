//! What breaks, and what is left afterwards.

use std::{sync::Arc, time::Duration};

use redis::{Client, RedisResult, Value, aio::MultiplexedConnection};
use seatrial_core::{
    digest::Digest,
    job::{Blame, Ending, Outcome, Reason},
    ledger::{Claim, Created, Filter, Idempotency, Ledger, LedgerError, NewJob},
    record::{JobRecord, Kept, Move, Priority},
    testing::ledger::{BUDGETS, LONG, new_job},
};
use seatrial_store::{
    ledger::redis::{RedisLedger, RedisOptions},
    testing::RedisServer,
};
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);
/// The ledger's own; a call takes twice that at most.
const SHORT: Duration = Duration::from_secs(2);

async fn ledger(server: &RedisServer) -> Arc<RedisLedger> {
    let options = RedisOptions {
        budgets: BUDGETS,
        patience: SHORT,
        ..RedisOptions::default()
    };
    Arc::new(RedisLedger::connect(&server.url(), options).await.unwrap())
}

async fn plain(server: &RedisServer) -> MultiplexedConnection {
    let client = Client::open(server.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn ask(connection: &mut MultiplexedConnection, line: &str) -> Value {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.query_async(connection).await.unwrap()
}

async fn made(ledger: &dyn Ledger, job: NewJob) -> JobRecord {
    match ledger.create(job).await.unwrap() {
        Created::New(record) => *record,
        other => panic!("{other:?}"),
    }
}

async fn claim(ledger: &dyn Ledger, slots: usize) -> Vec<JobRecord> {
    let claim = Claim {
        worker: "ann".to_owned(),
        slots,
        lease: LONG,
    };
    ledger.claim(&claim).await.unwrap()
}

async fn settle(ledger: &dyn Ledger, held: &JobRecord) -> JobRecord {
    let what = Move::Settle {
        token: held.token,
        outcome: Outcome::new(Ending::Succeeded, Reason::Ok, Blame::Nobody, ""),
        kept: Kept::default(),
    };
    ledger.apply(held.id, what).await.unwrap().unwrap()
}

async fn until_it_answers(ledger: &dyn Ledger) {
    let begun = Instant::now();
    while let Err(error) = ledger.now().await {
        assert!(begun.elapsed() < PATIENCE, "{error:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn assert_unreachable<T: std::fmt::Debug>(answer: Result<T, LedgerError>) {
    let error = answer.unwrap_err();
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn what_was_acknowledged_outlives_the_server_and_connections_come_back() {
    let mut server = RedisServer::start().await.unwrap();
    let (ledger, other) = (ledger(&server).await, ledger(&server).await);
    let mut acknowledged = Vec::new();
    for _ in 0..20 {
        acknowledged.push(made(&*ledger, new_job("a")).await.id);
    }
    let held = claim(&*other, 1).await.remove(0);
    let waiting = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move { ledger.work_may_wait().await }
    });

    server.kill();
    for _ in 0..3 {
        let asked = Instant::now();
        assert_unreachable(ledger.create(new_job("a")).await);
        assert_unreachable(other.apply(held.id, Move::Cancel).await);
        assert_unreachable(other.get(held.id).await);
        assert!(asked.elapsed() < PATIENCE);
    }
    timeout(PATIENCE, waiting).await.unwrap().unwrap();
    // Waits go on to end by themselves.
    timeout(PATIENCE, ledger.moved(held.id)).await.unwrap();
    timeout(PATIENCE, ledger.work_may_wait()).await.unwrap();

    server.start_again().await.unwrap();
    until_it_answers(&*ledger).await;
    until_it_answers(&*other).await;
    for id in &acknowledged {
        assert!(ledger.get(*id).await.unwrap().is_some());
    }
    assert_eq!(claim(&*ledger, 99).await.len(), 19);
    assert_eq!(
        settle(&*other, &held).await.outcome().unwrap().ending,
        Ending::Succeeded
    );

    // Word comes again, at the latest when the listeners have come back.
    let begun = Instant::now();
    loop {
        while !claim(&*ledger, 9).await.is_empty() {}
        let wait = async {
            ledger.work_may_wait().await;
            Instant::now()
        };
        let come = async {
            sleep(Duration::from_millis(50)).await;
            made(&*other, new_job("a")).await;
            Instant::now()
        };
        let (woken, came) = tokio::join!(wait, come);
        if woken > came && woken.duration_since(came) < Duration::from_millis(300) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
    }
}

#[tokio::test]
async fn a_server_that_hangs_holds_nobody_up_and_is_used_again() {
    let server = RedisServer::start().await.unwrap();
    let ledger = ledger(&server).await;
    let job = new_job("a");
    server.pause().unwrap();
    let asked = Instant::now();
    assert_unreachable(ledger.create(job.clone()).await);
    assert!(asked.elapsed() < SHORT * 5, "{:?}", asked.elapsed());
    server.resume().unwrap();
    until_it_answers(&*ledger).await;
    // It may have been remembered or not; asking again gives one job.
    let created = ledger.create(job.clone()).await.unwrap();
    assert!(matches!(created, Created::New(_) | Created::Existing(_)), "{created:?}");
    assert_eq!(claim(&*ledger, 9).await.len(), 1);

    // A move whose answer was lost is answered when asked again: done, or to be done.
    server.pause().unwrap();
    assert_unreachable(ledger.apply(job.id, Move::Cancel).await);
    server.resume().unwrap();
    until_it_answers(&*ledger).await;
    assert!(ledger.apply(job.id, Move::Cancel).await.unwrap().unwrap().cancel);
}

#[tokio::test]
async fn a_job_that_was_picked_by_a_process_that_died_is_picked_again() {
    let server = RedisServer::start().await.unwrap();
    let ledger = ledger(&server).await;
    let picked = made(&*ledger, new_job("a")).await.id;
    let waiting = made(&*ledger, new_job("a")).await.id;
    // What such a process leaves.
    let mut plain = plain(&server).await;
    ask(&mut plain, &format!("ZREM {{st}}:r:normal {picked}")).await;
    ask(&mut plain, &format!("ZADD {{st}}:picked 1 {picked}")).await;
    assert_eq!(ledger.position(picked).await.unwrap(), Some(0));
    let claimed: Vec<_> = claim(&*ledger, 2).await.iter().map(|job| job.id).collect();
    assert_eq!(claimed, [picked, waiting], "it had its turn");
}

#[tokio::test]
async fn a_full_memory_lets_no_job_in_and_every_job_out() {
    let server = RedisServer::start().await.unwrap();
    let ledger = ledger(&server).await;
    for _ in 0..3 {
        made(&*ledger, new_job("a")).await;
    }
    let mut plain = plain(&server).await;
    ask(&mut plain, "CONFIG SET maxmemory 1").await;
    let refused = new_job("a");
    assert_unreachable(ledger.create(refused.clone()).await);
    assert_eq!(ledger.get(refused.id).await.unwrap(), None);
    for held in claim(&*ledger, 2).await {
        assert!(settle(&*ledger, &held).await.outcome().is_some());
        assert!(ledger.erase(held.id).await.unwrap());
    }
    ask(&mut plain, "CONFIG SET maxmemory 0").await;
    let page = ledger
        .list(&Filter {
            limit: 9,
            ..Filter::default()
        })
        .await
        .unwrap();
    assert_eq!(page.jobs.len(), 1);
    made(&*ledger, refused).await;
}

#[tokio::test]
async fn nothing_is_left_of_jobs_that_were_erased() {
    let server = RedisServer::start().await.unwrap();
    let ledger = ledger(&server).await;
    for n in 0..200 {
        let priority = Priority::ALL[n % 3];
        let job = NewJob {
            priority,
            webhook: Some("https://example.org".to_owned()),
            delay: if n % 5 == 0 { LONG / 2 } else { Duration::ZERO },
            idempotency: Some(Idempotency {
                key: n.to_string(),
                fingerprint: Digest::of(b""),
                keep: LONG,
            }),
            ..new_job(&format!("caller {}", n % 7))
        };
        made(&*ledger, job).await;
    }
    let mut plain = plain(&server).await;
    let tokens = ask(&mut plain, "LLEN {st}:wake").await;
    assert_eq!(tokens, Value::Int(64), "bounded");
    for held in claim(&*ledger, 50).await {
        settle(&*ledger, &held).await;
    }
    let mut filter = Filter {
        limit: 500,
        ..Filter::default()
    };
    let all = ledger.list(&filter).await.unwrap().jobs;
    assert_eq!(all.len(), 200);
    for job in all {
        let _ = ledger.apply(job.id, Move::Cancel).await.unwrap();
        assert!(ledger.erase(job.id).await.unwrap());
    }
    filter.limit = 1;
    assert!(ledger.list(&filter).await.unwrap().jobs.is_empty());
    assert!(claim(&*ledger, 1).await.is_empty());
    let keys: RedisResult<Vec<String>> = redis::cmd("KEYS").arg("*").query_async(&mut plain).await;
    let mut keys = keys.unwrap();
    keys.sort_unstable();
    assert_eq!(keys, ["{st}:schema", "{st}:turn"]);
}
