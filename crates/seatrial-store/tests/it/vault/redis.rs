use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use ::redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult, aio::MultiplexedConnection, cmd};
use async_trait::async_trait;
use seatrial_core::{
    id::JobId,
    testing::vault::{Ring, VaultRig, a_full_vault_shows_nothing_half_written},
    vault::{BlobKind, Vault, VaultError},
};
use seatrial_store::vault::{
    BlobStore as _, OpenError, RedisVault, Ttl, Wanted,
    redis::{Redis, RedisOptions},
};

use super::server::{DURABLE, Server};

seatrial_core::vault_contract!(Rig::new(Server::durable()));

const PIECE: usize = 8 << 20;

struct Rig {
    server: Mutex<Server>,
    url: String,
}

impl Rig {
    fn new(server: Server) -> Self {
        Self {
            url: server.url(),
            server: Mutex::new(server),
        }
    }

    async fn connection(&self) -> MultiplexedConnection {
        let client = Client::open(self.url.as_str()).unwrap();
        // Half a second is the default, too short for 8 MiB on a busy machine.
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        connection.await.unwrap()
    }

    async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.connection().await).await.unwrap()
    }
}

fn options(url: &str) -> RedisOptions {
    RedisOptions {
        url: url.to_owned(),
        tls_ca: None,
        allow_loss: false,
    }
}

fn key(job: JobId, name: &str, piece: usize) -> String {
    match piece {
        0 => format!("{{sv}}:{}:{name}", job.short()),
        _ => format!("{{sv}}:{}:{name}:{piece}", job.short()),
    }
}

#[async_trait]
impl VaultRig for Rig {
    async fn vault(&self, ring: Ring) -> Arc<dyn Vault> {
        let redis = Redis::connect(&options(&self.url), Ttl::default()).await.unwrap();
        Arc::new(RedisVault::new(redis, super::ring(ring)))
    }

    async fn raw(&self, job: JobId, _: BlobKind, name: &str) -> Vec<u8> {
        self.ask(&["GET", &key(job, name, 0)]).await
    }

    async fn plant(&self, job: JobId, _: BlobKind, name: &str, sealed: Vec<u8>) {
        let mut connection = self.connection().await;
        let set: RedisResult<()> = cmd("SET")
            .arg(key(job, name, 0))
            .arg(sealed)
            .query_async(&mut connection)
            .await;
        set.unwrap();
    }

    async fn everything(&self) -> Vec<Vec<u8>> {
        let mut connection = self.connection().await;
        let mut all = Vec::new();
        let keys: Vec<String> = self.ask(&["KEYS", "*"]).await;
        for key in keys {
            let kind: String = self.ask(&["TYPE", &key]).await;
            match kind.as_str() {
                "hash" => {
                    let entries: BTreeMap<String, String> = self.ask(&["HGETALL", &key]).await;
                    all.extend(
                        entries
                            .into_iter()
                            .flat_map(|(name, entry)| [name.into(), entry.into()]),
                    );
                }
                "string" => {
                    all.push(cmd("GET").arg(&key).query_async(&mut connection).await.unwrap());
                    all.push(cmd("DUMP").arg(&key).query_async(&mut connection).await.unwrap());
                }
                other => panic!("{key} is a {other}"),
            }
            all.push(key.into());
        }
        all
    }

    async fn age(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        let keys: Vec<String> = self.ask(&["KEYS", "*"]).await;
        for key in keys {
            let left: i64 = self.ask(&["PTTL", &key]).await;
            assert!(left > 0, "{key} never expires");
            let () = self.ask(&["PEXPIRE", &key, &(left - by).to_string()]).await;
            let kind: String = self.ask(&["TYPE", &key]).await;
            if kind == "hash" {
                let entries: BTreeMap<String, String> = self.ask(&["HGETALL", &key]).await;
                for (name, entry) in entries {
                    let (written, pieces) = entry.split_once(' ').unwrap();
                    let written = written.parse::<i64>().unwrap() - by;
                    let () = self.ask(&["HSET", &key, &name, &format!("{written} {pieces}")]).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_long_blob_lies_in_pieces_that_expire_and_go_together() {
    let rig = Rig::new(Server::durable());
    let vault = rig.vault(Ring::Ours).await;
    let job = JobId::fresh();
    let wrapped = vault.new_key(job).unwrap();
    for len in [PIECE - 42, PIECE - 41, PIECE - 40, 2 * PIECE - 41, 2 * PIECE] {
        let bytes = vec![7; len];
        let blob = vault.put(job, &wrapped, BlobKind::Context, &bytes).await.unwrap();
        let back = vault.get(job, &wrapped, BlobKind::Context, &blob).await.unwrap();
        assert!(back == bytes, "{len}");
        let keys: Vec<String> = rig.ask(&["KEYS", "*"]).await;
        assert_eq!(keys.len(), 1 + (len + 41).div_ceil(PIECE));
        for key in keys {
            let left: i64 = rig.ask(&["TTL", &key]).await;
            assert!(left > 7 * 86_400, "{key}: {left}");
        }
        vault.delete(job, &blob).await.unwrap();
        let keys: Vec<String> = rig.ask(&["KEYS", "*"]).await;
        assert_eq!(keys, Vec::<String>::new());
    }
    let blob = vault
        .put(job, &wrapped, BlobKind::Context, &vec![7; 2 * PIECE])
        .await
        .unwrap();
    let () = rig.ask(&["RENAME", &key(job, &blob.name, 1), &key(job, "x", 0)]).await;
    let end = vault.get(job, &wrapped, BlobKind::Context, &blob).await;
    assert!(matches!(end, Err(VaultError::Missing { .. })), "{end:?}");
    let () = rig
        .ask(&["COPY", &key(job, &blob.name, 0), &key(job, &blob.name, 1)])
        .await;
    let end = vault.get(job, &wrapped, BlobKind::Context, &blob).await;
    assert!(matches!(end, Err(VaultError::Tampered { .. })), "{end:?}");
}

#[tokio::test]
async fn a_full_redis_shows_nothing_half_written() {
    let mut settings = DURABLE.to_vec();
    settings.extend(["--maxmemory", "6mb"]);
    let rig = Rig::new(Server::start(&settings));
    a_full_vault_shows_nothing_half_written(&rig).await;
    let left: Vec<String> = rig.ask(&["KEYS", "*"]).await;
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn a_value_that_somebody_made_long_is_not_fetched_whole() {
    let rig = Rig::new(Server::durable());
    let (job, name) = (JobId::fresh(), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    rig.plant(job, BlobKind::Log, name, vec![7; 1 << 20]).await;
    let redis = Redis::connect(&options(&rig.url), Ttl::default()).await.unwrap();
    let wanted = Wanted {
        kind: BlobKind::Log,
        name: name.parse().unwrap(),
        len: 50,
    };
    let read = redis.read_all(job, &[wanted]).await.unwrap();
    assert_eq!(read[0].as_ref().map(Vec::len), Some(51));
}

#[tokio::test]
async fn what_did_not_fit_is_in_nobodys_way() {
    let settings = [&DURABLE[..], &["--maxmemory", "6mb"]].concat();
    let rig = Rig::new(Server::start(&settings));
    let vault = rig.vault(Ring::Ours).await;
    let job = JobId::fresh();
    let wrapped = vault.new_key(job).unwrap();
    // Its shorter second piece is written first, and fits.
    let end = vault.put(job, &wrapped, BlobKind::Context, &vec![7; PIECE + 100]).await;
    assert!(end.is_err_and(|error| error.is_transient()));
    let left: Vec<String> = rig.ask(&["KEYS", "*"]).await;
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn blobs_outlive_a_crash_of_redis_and_the_vault_finds_it_again() {
    let rig = Rig::new(Server::durable());
    let vault = rig.vault(Ring::Ours).await;
    let job = JobId::fresh();
    let wrapped = vault.new_key(job).unwrap();
    let blob = vault.put(job, &wrapped, BlobKind::Log, b"a log").await.unwrap();
    rig.server.lock().unwrap().kill();
    let end = vault.put(job, &wrapped, BlobKind::Log, b"more").await;
    assert!(end.is_err_and(|error| error.is_transient()));
    let end = vault.get(job, &wrapped, BlobKind::Log, &blob).await;
    assert!(end.is_err_and(|error| error.is_transient()));
    assert!(vault.ping().await.is_err_and(|error| error.is_transient()));
    rig.server.lock().unwrap().start_again();
    eventually(|| vault.ping()).await;
    let back = vault.get(job, &wrapped, BlobKind::Log, &blob).await.unwrap();
    assert_eq!(back, b"a log");
}

#[tokio::test]
async fn a_vault_that_was_refused_is_let_in_again() {
    let settings = [&DURABLE[..], &["--requirepass", "one"]].concat();
    let mut rig = Rig::new(Server::start(&settings));
    rig.url = rig.url.replace("127.0.0.1", ":one@127.0.0.1");
    let vault = rig.vault(Ring::Ours).await;
    let mut operator = rig.connection().await;
    let set_password = |password: &str| {
        let mut command = cmd("CONFIG");
        command.arg("SET").arg("requirepass").arg(password);
        command
    };
    let () = set_password("two").query_async(&mut operator).await.unwrap();
    let mut kill = cmd("CLIENT");
    kill.arg("KILL").arg("SKIPME").arg("yes");
    let _: i64 = kill.query_async(&mut operator).await.unwrap();
    for _ in 0..3 {
        assert!(vault.ping().await.is_err_and(|error| error.is_transient()));
    }
    let () = set_password("one").query_async(&mut operator).await.unwrap();
    eventually(|| vault.ping()).await;
}

/// The vault's connection waits between its tries; each call waits for it.
async fn eventually<F: Future<Output = Result<(), VaultError>>>(ask: impl Fn() -> F) {
    for _ in 0..20 {
        if ask().await.is_ok() {
            return;
        }
    }
    panic!("it never came back");
}

/// The list of docs/RETENTION.md.
#[tokio::test]
async fn few_commands_are_enough() {
    let manual = include_str!("../../../../../docs/RETENTION.md");
    let (_, list) = manual.split_once("Commands that a user of it needs: `").unwrap();
    let (list, _) = list.split_once('`').unwrap();
    let mut rig = Rig::new(Server::durable());
    let mut words = vec![
        "ACL",
        "SETUSER",
        "vault",
        "on",
        ">secret",
        "resetchannels",
        "~{sv}:*",
        "-@all",
    ];
    let allowed: Vec<String> = list.split_whitespace().map(|word| format!("+{word}")).collect();
    assert!(allowed.len() > 10);
    words.extend(allowed.iter().map(String::as_str));
    let () = rig.ask(&words).await;
    let operator = rig.url.clone();
    rig.url = operator.replace("127.0.0.1", "vault:secret@127.0.0.1");
    let vault = rig.vault(Ring::Ours).await;
    rig.url = operator;
    let job = JobId::fresh();
    let wrapped = vault.new_key(job).unwrap();
    let long = vec![7; PIECE];
    let blob = vault.put(job, &wrapped, BlobKind::Context, &long).await.unwrap();
    assert!(vault.get(job, &wrapped, BlobKind::Context, &blob).await.unwrap() == long);
    vault.put(job, &wrapped, BlobKind::Log, b"a log").await.unwrap();
    assert_eq!(vault.sweep(Duration::ZERO, 10).await.unwrap(), [job]);
    vault.delete(job, &blob).await.unwrap();
    vault.erase(job).await.unwrap();
    vault.ping().await.unwrap();
    let left: Vec<String> = rig.ask(&["KEYS", "*"]).await;
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn a_redis_that_may_lose_bytes_is_refused() {
    let forgetful = [
        (vec!["--appendonly", "no"], "`appendonly yes`"),
        (vec!["--appendonly", "yes"], "`appendfsync always`"),
        (
            [&DURABLE[..4], &["--maxmemory-policy", "volatile-ttl"]].concat(),
            "`maxmemory-policy noeviction`",
        ),
        (
            [&DURABLE[..], &["--rename-command", "CONFIG", ""]].concat(),
            "allow `CONFIG GET appendonly`",
        ),
    ];
    for (settings, says) in forgetful {
        let server = Server::start(&settings);
        let mut options = options(&server.url());
        match Redis::connect(&options, Ttl::default()).await {
            Err(OpenError::Unfit(why)) => assert!(why.contains(says), "{why}"),
            other => panic!("{:?}", other.err()),
        }
        options.allow_loss = true;
        assert!(Redis::connect(&options, Ttl::default()).await.is_ok());
    }
}

#[tokio::test]
async fn nothing_plain_is_in_the_files_of_redis() {
    let rig = Rig::new(Server::durable());
    let vault = rig.vault(Ring::Ours).await;
    let job = JobId::fresh();
    let wrapped = vault.new_key(job).unwrap();
    let mark = b"FROM seatrial-marker-7f3a\n";
    vault.put(job, &wrapped, BlobKind::Dockerfile, mark).await.unwrap();
    let () = rig.ask(&["SAVE"]).await;
    let folder = rig.server.lock().unwrap().folder.path().to_owned();
    let mut bytes = std::fs::read(folder.join("dump.rdb")).unwrap();
    for file in std::fs::read_dir(folder.join("appendonlydir")).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(holds(job.short().as_bytes()), "these are the files");
    assert!(!mark.windows(8).any(holds));
}

#[tokio::test]
async fn certificates_are_verified() {
    let server = Server::start_tls();
    let ca = |name: &str| Some(server.folder.path().join(name));
    let at = |host: &str, tls_ca| RedisOptions {
        tls_ca,
        ..options(&format!("rediss://{host}:{}/0", server.port))
    };
    Redis::connect(&at("localhost", ca("ca.pem")), Ttl::default())
        .await
        .unwrap();
    for (what, options) in [
        ("another issuer", at("localhost", ca("other-ca.pem"))),
        ("the system's issuers", at("localhost", None)),
        ("another name", at("127.0.0.1", ca("ca.pem"))),
        ("no issuer", at("localhost", ca("no-such-file.pem"))),
        ("no certificate", at("localhost", ca("server.key"))),
        ("no TLS", options(&format!("redis://localhost:{}/0", server.port))),
    ] {
        match Redis::connect(&options, Ttl::default()).await {
            Err(OpenError::Unreachable { .. }) => {}
            other => panic!("{what}: {:?}", other.err()),
        }
    }
    let mut insecure = at("localhost", None);
    insecure.url += "#insecure";
    let mut plain = options(&format!("redis://localhost:{}/0", server.port));
    plain.tls_ca = ca("ca.pem");
    for options in [insecure, plain, options("http://localhost"), options("no URL: secret")] {
        match Redis::connect(&options, Ttl::default()).await {
            Err(OpenError::Unfit(why)) => assert!(!why.contains("secret"), "{why}"),
            other => panic!("{:?}", other.err()),
        }
    }
    assert!(!format!("{:?}", options("redis://user:secret@host")).contains("secret"));
}

#[tokio::test]
async fn a_changed_hash_neither_stops_erasure_nor_makes_it_endless() {
    let rig = Rig::new(Server::durable());
    let vault = rig.vault(Ring::Ours).await;
    let job = JobId::fresh();
    let wrapped = vault.new_key(job).unwrap();
    let blob = vault.put(job, &wrapped, BlobKind::Log, b"a log").await.unwrap();
    let index = format!("{{sv}}:{}", job.short());
    for (name, entry) in [
        (blob.name.as_str(), "1 18446744073709551615"),
        ("../../x", "0 1"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "nonsense"),
    ] {
        let () = rig.ask(&["HSET", &index, name, entry]).await;
    }
    let () = rig.ask(&["SET", "{sv}:not-a-job-but-26-letters--", "x"]).await;
    assert_eq!(vault.sweep(Duration::from_secs(3600), 10).await.unwrap(), [job]);
    vault.erase(job).await.unwrap();
    let left: Vec<String> = rig.ask(&["KEYS", "*"]).await;
    assert_eq!(left, ["{sv}:not-a-job-but-26-letters--"]);
}
