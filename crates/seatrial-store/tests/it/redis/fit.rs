//! Which Redis is good enough, and which certificate.

use seatrial_core::{ledger::LedgerError, record::SCHEMA};
use seatrial_store::{
    ledger::redis::{RedisLedger, RedisOptions},
    testing::{Certificates, RedisServer},
};

async fn connect(url: &str, options: RedisOptions) -> Result<RedisLedger, LedgerError> {
    RedisLedger::connect(url, options).await
}

fn refusal(connected: Result<RedisLedger, LedgerError>) -> LedgerError {
    connected.err().unwrap()
}

#[tokio::test]
async fn a_redis_that_may_lose_jobs_is_refused_with_the_setting_to_change() {
    for (key, value, remedy) in [
        ("appendonly", "no", "set 'appendonly yes'"),
        ("appendfsync", "everysec", "set 'appendfsync always'"),
        ("maxmemory-policy", "allkeys-lru", "set 'maxmemory-policy noeviction'"),
    ] {
        let server = RedisServer::start_with(&[(key, value)]).await.unwrap();
        let error = refusal(connect(&server.url(), RedisOptions::default()).await);
        assert!(matches!(error, LedgerError::Unfit(_)), "{error}");
        assert!(error.to_string().contains(remedy), "{error}");
        let allowed = RedisOptions {
            allow_loss: true,
            ..RedisOptions::default()
        };
        use seatrial_core::ledger::Ledger as _;
        let durability = connect(&server.url(), allowed).await.unwrap().durability();
        assert!(!durability.durable && durability.how.contains(remedy), "{durability:?}");
    }
}

#[tokio::test]
async fn a_newer_ledger_is_left_alone() {
    let server = RedisServer::start().await.unwrap();
    connect(&server.url(), RedisOptions::default()).await.unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let mut plain = client.get_multiplexed_async_connection().await.unwrap();
    let mut get = redis::cmd("GET");
    let noted: u32 = get.arg("{st}:schema").query_async(&mut plain).await.unwrap();
    assert_eq!(noted, SCHEMA);
    let mut set = redis::cmd("SET");
    let _: () = set
        .arg("{st}:schema")
        .arg(SCHEMA + 1)
        .query_async(&mut plain)
        .await
        .unwrap();
    let error = refusal(connect(&server.url(), RedisOptions::default()).await);
    assert!(
        matches!(error, LedgerError::Newer { schema, .. } if schema == SCHEMA + 1),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_address_or_password_is_refused_without_being_repeated() {
    let server = RedisServer::start_with(&[("requirepass", "right")]).await.unwrap();
    for url in [
        "amqp://:hidden@127.0.0.1".to_owned(),
        "hidden".to_owned(),
        server.url_as("default", "hidden"),
        server.url(),
    ] {
        let error = refusal(connect(&url, RedisOptions::default()).await);
        assert!(matches!(error, LedgerError::Unfit(_)), "{error:?}");
        assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
    }
    connect(&server.url_as("default", "right"), RedisOptions::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn only_a_trusted_certificate_is_spoken_to() {
    let folder = tempfile::tempdir().unwrap();
    let own = Certificates::make(&folder.path().join("own")).unwrap();
    let others = Certificates::make(&folder.path().join("others")).unwrap();
    let tls_port = seatrial_store::testing::free_port().unwrap();
    let server = RedisServer::start_with(&[
        ("tls-port", &tls_port.to_string()),
        ("tls-cert-file", own.cert.to_str().unwrap()),
        ("tls-key-file", own.key.to_str().unwrap()),
        ("tls-ca-cert-file", own.ca.to_str().unwrap()),
        ("tls-auth-clients", "no"),
    ])
    .await
    .unwrap();
    let url = format!("rediss://localhost:{tls_port}");
    let with = |tls_ca| RedisOptions {
        tls_ca,
        ..RedisOptions::default()
    };
    use seatrial_core::{
        ledger::{Created, Ledger as _},
        testing::ledger::new_job,
    };
    let ledger = connect(&url, with(Some(own.ca.clone()))).await.unwrap();
    let made = ledger.create(new_job("a")).await.unwrap();
    let Created::New(job) = made else { panic!("{made:?}") };
    ledger.moved(job.id).await;
    ledger.work_may_wait().await;

    for other in [Some(others.ca.clone()), None] {
        let error = refusal(connect(&url, with(other)).await);
        assert!(format!("{error:?}").contains("invalid peer certificate"), "{error:?}");
    }
    for (url, tls_ca) in [
        (format!("{url}#insecure"), None),
        (server.url(), Some(own.ca)),
        (url, Some(folder.path().join("none.pem"))),
    ] {
        let error = refusal(connect(&url, with(tls_ca)).await);
        assert!(matches!(error, LedgerError::Unfit(_)), "{error:?}");
    }
}
