//! Users of `deploy/redis`: the contract holds when API and worker come as their own users, and neither may
//! do what it has no need of.

use std::{fs, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use redis::{Client, RedisResult, Value, aio::MultiplexedConnection};
use seatrial_core::{
    digest::Digest,
    id::JobId,
    ledger::{
        Claim, Created, Delivery, DeliveryEnd, Durability, Filter, Ledger, LedgerError, NewJob, Page, Stats, WorkerCard,
    },
    record::{Budgets, JobRecord, Move, News, Refusal},
    testing::ledger::{BUDGETS, new_job},
};
use seatrial_store::{
    ledger::redis::{RedisLedger, RedisOptions},
    testing::RedisServer,
};

use super::contract::OnRedis;

/// A server with the users of a file, their names being their passwords, and one that may do all.
async fn server_with(file: &str) -> RedisServer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/redis")
        .join(file);
    let mut users: Vec<String> = Vec::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let name = line.split(' ').nth(1).unwrap();
        let filled = line.split(' ').map(|word| match word.strip_prefix('#') {
            Some(_) => format!("#{}", Digest::of(name.as_bytes()).hex()),
            None => word.to_owned(),
        });
        users.push(filled.collect::<Vec<_>>().join(" "));
    }
    users.push("user tester on >tester ~* &* +@all\n".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let filled = folder.path().join("users.acl");
    fs::write(&filled, users.join("\n")).unwrap();
    let settings = [
        ("aclfile", filled.to_str().unwrap()),
        // Off by default, which would hide who may use it.
        ("enable-debug-command", "yes"),
        ("enable-module-command", "yes"),
    ];
    RedisServer::start_with(&settings).await.unwrap()
}

async fn plain(server: &RedisServer, user: &str) -> MultiplexedConnection {
    let client = Client::open(server.url_as(user, user)).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn ledger(server: &RedisServer, user: &str) -> RedisLedger {
    let options = RedisOptions {
        budgets: BUDGETS,
        trust_unseen: user == "seatrial-worker",
        ..RedisOptions::default()
    };
    RedisLedger::connect(&server.url_as(user, user), options).await.unwrap()
}

/// Asks each side what it asks for in production.
struct Split {
    api: Arc<RedisLedger>,
    worker: Arc<RedisLedger>,
    /// Either may reap.
    worker_reaps: bool,
}

impl Split {
    fn reaper(&self) -> &RedisLedger {
        if self.worker_reaps { &self.worker } else { &self.api }
    }
}

#[async_trait]
impl Ledger for Split {
    async fn create(&self, job: NewJob) -> Result<Created, LedgerError> {
        self.api.create(job).await
    }
    async fn get(&self, id: JobId) -> Result<Option<JobRecord>, LedgerError> {
        self.reaper().get(id).await
    }
    async fn list(&self, filter: &Filter) -> Result<Page, LedgerError> {
        self.api.list(filter).await
    }
    async fn position(&self, id: JobId) -> Result<Option<u64>, LedgerError> {
        self.api.position(id).await
    }
    async fn apply(&self, id: JobId, what: Move) -> Result<Result<JobRecord, Refusal>, LedgerError> {
        match what {
            Move::Cancel => self.api.apply(id, what).await,
            Move::Reap(_) => self.reaper().apply(id, what).await,
            _ => self.worker.apply(id, what).await,
        }
    }
    async fn claim(&self, claim: &Claim) -> Result<Vec<JobRecord>, LedgerError> {
        self.worker.claim(claim).await
    }
    async fn overdue(&self, limit: usize) -> Result<Vec<JobId>, LedgerError> {
        self.reaper().overdue(limit).await
    }
    async fn news(&self, id: JobId, after: u64, limit: usize) -> Result<Vec<News>, LedgerError> {
        self.api.news(id, after, limit).await
    }
    async fn moved(&self, id: JobId) {
        self.reaper().moved(id).await;
    }
    async fn work_may_wait(&self) {
        self.worker.work_may_wait().await;
    }
    async fn stats(&self) -> Result<Stats, LedgerError> {
        self.api.stats().await
    }
    async fn beat(&self, card: &WorkerCard, keep: Duration) -> Result<(), LedgerError> {
        self.worker.beat(card, keep).await
    }
    async fn leave(&self, worker: &str) -> Result<(), LedgerError> {
        self.worker.leave(worker).await
    }
    async fn workers(&self) -> Result<Vec<WorkerCard>, LedgerError> {
        self.api.workers().await
    }
    async fn deliveries(&self, limit: usize, hold: Duration) -> Result<Vec<Delivery>, LedgerError> {
        self.api.deliveries(limit, hold).await
    }
    async fn delivered(&self, job: JobId, end: DeliveryEnd) -> Result<(), LedgerError> {
        self.api.delivered(job, end).await
    }
    async fn delivery(&self, job: JobId) -> Result<Option<Delivery>, LedgerError> {
        self.api.delivery(job).await
    }
    async fn erase(&self, id: JobId) -> Result<bool, LedgerError> {
        self.api.erase(id).await
    }
    async fn settled_before(&self, age: Duration, limit: usize) -> Result<Vec<JobId>, LedgerError> {
        self.api.settled_before(age, limit).await
    }
    fn durability(&self) -> Durability {
        self.api.durability()
    }
    async fn now(&self) -> Result<Timestamp, LedgerError> {
        self.reaper().now().await
    }
    fn budgets(&self) -> Budgets {
        self.api.budgets()
    }
}

async fn rig() -> OnRedis {
    let server = server_with("users.acl").await;
    let api = Arc::new(ledger(&server, "seatrial-api").await);
    let worker = Arc::new(ledger(&server, "seatrial-worker").await);
    let ledgers = [false, true].map(|worker_reaps| {
        let (api, worker) = (Arc::clone(&api), Arc::clone(&worker));
        Arc::new(Split {
            api,
            worker,
            worker_reaps,
        }) as Arc<dyn Ledger>
    });
    OnRedis {
        ledgers,
        plain: plain(&server, "tester").await,
        _server: server,
    }
}

seatrial_core::ledger_contract!(rig);

/// What nobody needs.
const NOBODY: &[&str] = &[
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "RANDOMKEY",
    "DBSIZE",
    "CONFIG SET appendfsync no",
    "CONFIG REWRITE",
    "CONFIG RESETSTAT",
    "ACL LIST",
    "ACL SETUSER seatrial-worker allkeys",
    "ACL WHOAMI",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "CLIENT PAUSE 1000",
    "DEBUG SLEEP 0",
    "SHUTDOWN NOSAVE",
    "SAVE",
    "BGREWRITEAOF",
    "MONITOR",
    "REPLICAOF NO ONE",
    "FAILOVER",
    "SYNC",
    "MODULE LIST",
    "FUNCTION LIST",
    "SCRIPT FLUSH",
    "SCRIPT KILL",
    "SLOWLOG GET",
    "LATENCY RESET",
    "SWAPDB 0 1",
    "SELECT 1",
    "PSUBSCRIBE *",
    "SUBSCRIBE other",
    "PUBLISH other x",
    "PUBLISH {st}:other x",
];

async fn refused(connection: &mut MultiplexedConnection, line: &str) {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    let answer: RedisResult<Value> = command.query_async(connection).await;
    let code = answer.as_ref().err().and_then(redis::RedisError::code);
    assert_eq!(code, Some("NOPERM"), "{line}: {answer:?}");
}

/// Also within a script: its rights are its user's.
async fn refused_in_a_script(connection: &mut MultiplexedConnection, line: &str) {
    let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
    let script = redis::Script::new(&format!("return redis.call({})", words.join(",")));
    let answer: RedisResult<Value> = script.invoke_async(connection).await;
    let error = answer.expect_err(line).to_string();
    let refused = ["can't run this command", "can't access at least one of the keys"];
    assert!(refused.iter().any(|words| error.contains(words)), "{line}: {error}");
}

#[tokio::test]
async fn nobody_may_do_what_is_not_needed() {
    let server = server_with("users.acl").await;
    for user in ["seatrial-api", "seatrial-worker"] {
        let mut connection = plain(&server, user).await;
        for line in NOBODY {
            refused(&mut connection, line).await;
        }
        for line in [
            "GET other",
            "SET other x",
            "HSET {sv}:j:x a b",
            "HGET other:{st}:j:x record",
            "SCAN 0",
            "EVAL return 0",
            "RENAME {st}:j:a {st}:j:b",
            "COPY {st}:j:a {st}:j:b",
            "DUMP {st}:j:a",
            "OBJECT ENCODING {st}:j:a",
            "SORT {st}:r:high BY nosort GET *",
            "EXPIRE {st}:j:a 1",
        ] {
            refused(&mut connection, line).await;
        }
        for line in ["FLUSHALL", "GET other", "KEYS *", "SCAN 0"] {
            refused_in_a_script(&mut connection, line).await;
        }
    }
    let anybody = Client::open(server.url()).unwrap();
    let mut anybody = anybody.get_multiplexed_async_connection().await.unwrap();
    let answer: RedisResult<Value> = redis::cmd("PING").query_async(&mut anybody).await;
    assert_eq!(answer.unwrap_err().code(), Some("NOAUTH"));
}

#[tokio::test]
async fn a_worker_creates_lists_and_erases_nothing() {
    let server = server_with("users.acl").await;
    let mut connection = plain(&server, "seatrial-worker").await;
    for line in [
        "SET {st}:i:x y",
        "GET {st}:i:x",
        "HSET {st}:i:x a b",
        "SET {st}:schema 9",
        "DEL {st}:j:x",
        "UNLINK {st}:j:x",
        "ZADD {st}:all 0 x",
        "ZRANGE {st}:all 0 -1",
        "ZRANGE {st}:c:x 0 -1",
        "LRANGE {st}:n:x 0 -1",
        "HGET {st}:deliveries x",
        "ZRANGE {st}:outbox 0 -1",
        "CONFIG GET appendfsync",
    ] {
        refused(&mut connection, line).await;
    }
    for line in ["SET {st}:i:x y", "DEL {st}:j:x", "LRANGE {st}:n:x 0 -1"] {
        refused_in_a_script(&mut connection, line).await;
    }
    let (api, worker) = (
        ledger(&server, "seatrial-api").await,
        ledger(&server, "seatrial-worker").await,
    );
    let over = api.create(new_job("a")).await.unwrap();
    let Created::New(over) = over else { panic!("{over:?}") };
    api.apply(over.id, Move::Cancel).await.unwrap().unwrap();
    assert!(worker.create(new_job("a")).await.is_err());
    assert!(worker.erase(over.id).await.is_err());
    assert!(
        worker
            .list(&Filter {
                limit: 1,
                ..Filter::default()
            })
            .await
            .is_err()
    );
    assert!(worker.news(over.id, 0, 1).await.is_err());
    assert!(worker.deliveries(1, Duration::ZERO).await.is_err());
    // Refused as a whole: nothing half-made or half-erased stays.
    assert!(api.get(over.id).await.unwrap().is_some());
    assert_eq!(api.news(over.id, 0, 9).await.unwrap().len(), 2);
    let all = api
        .list(&Filter {
            limit: 9,
            ..Filter::default()
        })
        .await
        .unwrap();
    assert_eq!(all.jobs.len(), 1);
    assert!(!worker.durability().durable, "it cannot see that");
    assert!(api.durability().durable);
}

#[tokio::test]
async fn an_api_process_claims_nothing_and_writes_no_card() {
    let server = server_with("users.acl").await;
    let mut connection = plain(&server, "seatrial-api").await;
    for line in [
        "HSET {st}:workers ann {}",
        "HDEL {st}:workers ann",
        "ZADD {st}:beats 1 ann",
        "HSET {st}:turn high 9",
        "BLPOP {st}:wake 1",
        "LRANGE {st}:wake 0 -1",
    ] {
        refused(&mut connection, line).await;
    }
    for line in ["HSET {st}:workers ann {}", "HSET {st}:turn high 9"] {
        refused_in_a_script(&mut connection, line).await;
    }
    let api = ledger(&server, "seatrial-api").await;
    let made = api.create(new_job("a")).await.unwrap();
    let Created::New(job) = made else { panic!("{made:?}") };
    let claim = Claim {
        worker: "ann".to_owned(),
        slots: 1,
        lease: Duration::from_secs(60),
    };
    assert!(api.claim(&claim).await.is_err());
    let card = WorkerCard {
        name: "ann".to_owned(),
        host: "host".to_owned(),
        version: "1".to_owned(),
        slots: 1,
        busy: 0,
        draining: false,
        unfit: None,
        build_walls: None,
        walls: None,
        database_updated_at: None,
        started_at: Timestamp::UNIX_EPOCH,
        seen_at: None,
    };
    assert!(api.beat(&card, Duration::from_secs(60)).await.is_err());
    assert!(api.leave("ann").await.is_err());
    // A job that it began to pick is not lost: a worker gets it.
    let worker = ledger(&server, "seatrial-worker").await;
    let begun = tokio::time::Instant::now();
    loop {
        let claimed = worker.claim(&claim).await.unwrap();
        if let [claimed] = claimed.as_slice() {
            assert_eq!(claimed.id, job.id);
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        worker.work_may_wait().await;
    }
}

#[tokio::test]
async fn a_file_that_was_not_filled_in_starts_no_server() {
    for file in ["users.acl", "vault-users.acl"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../deploy/redis")
            .join(file);
        let started = RedisServer::start_with(&[("aclfile", path.to_str().unwrap())]).await;
        assert!(started.is_err(), "{file}");
    }
}

#[tokio::test]
async fn users_of_the_vault_reach_blobs_and_nothing_else() {
    let server = server_with("vault-users.acl").await;
    for user in ["seatrial-vault-api", "seatrial-vault-worker"] {
        let mut connection = plain(&server, user).await;
        let mut blob = redis::pipe();
        blob.atomic();
        blob.cmd("HSET").arg("{sv}:job").arg("name").arg("1 1");
        blob.cmd("PEXPIRE").arg("{sv}:job").arg(60_000);
        blob.cmd("SET").arg("{sv}:job:name").arg("sealed").arg("PX").arg(60_000);
        let _: Value = blob.query_async(&mut connection).await.unwrap();
        for line in [
            "PING",
            "TIME",
            "CONFIG GET appendfsync",
            "HGET {sv}:job name",
            "HGETALL {sv}:job",
            "GETRANGE {sv}:job:name 0 9",
            "UNLINK {sv}:job:name",
            "HDEL {sv}:job name",
        ] {
            let mut words = line.split(' ');
            let mut command = redis::cmd(words.next().unwrap());
            words.for_each(|word| {
                command.arg(word);
            });
            let _: Value = command.query_async(&mut connection).await.unwrap();
        }
        for line in NOBODY {
            refused(&mut connection, line).await;
        }
        for line in [
            "GET other",
            "SET other x",
            "GETRANGE {st}:j:x 0 1",
            "EVAL return 0",
            "EVALSHA 0 0",
            "SCRIPT LOAD return",
            "SUBSCRIBE {sv}:x",
        ] {
            refused(&mut connection, line).await;
        }
        let scan: RedisResult<Value> = redis::cmd("SCAN").arg(0).query_async(&mut connection).await;
        assert_eq!(scan.is_ok(), user == "seatrial-vault-api", "only the API lists");
    }
}
