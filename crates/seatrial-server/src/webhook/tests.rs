use std::sync::atomic::{AtomicUsize, Ordering};

use seatrial_core::{
    job::{Outcome, Reason},
    ledger::NewJob,
    record::JobRecord,
    testing::ledger::new_job,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use super::*;

const LONG: Duration = Duration::from_secs(20);

fn settled(change: impl FnOnce(&mut NewJob)) -> JobRecord {
    let mut job = new_job("a");
    job.outcome = Some(Outcome::rejected(Reason::FindingsBlock, "words of a guest"));
    change(&mut job);
    job.begin(Timestamp::UNIX_EPOCH).0
}

fn letter<'a>(record: &'a JobRecord, url: &'a str) -> Letter<'a> {
    Letter {
        record,
        outcome: record.outcome().unwrap(),
        url,
    }
}

#[test]
fn an_event_has_what_cloudevents_asks_for_and_no_word_of_a_guest() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let record = settled(|job| {
        job.labels.insert("team".to_owned(), "red".to_owned());
        job.traceparent = Some(trace.to_owned());
    });
    let id = event::id(record.id);
    let body = event::body(
        letter(&record, "https://x.example/"),
        &id,
        "https://here.example/v1/jobs",
    )
    .unwrap();
    let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let path = format!("/v1/jobs/{}", record.id);
    let expected = serde_json::json!({
        "specversion": "1.0",
        "id": id,
        "source": "https://here.example/v1/jobs",
        "type": "io.seatrial.job.settled",
        "subject": record.id,
        "time": "1970-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "correlationid": "contract",
        "traceparent": trace,
        "data": {
            "id": record.id,
            "state": "rejected",
            "reason": "findings_block",
            "blame": "policy",
            "correlation_id": "contract",
            "labels": {"team": "red"},
            "created_at": "1970-01-01T00:00:00Z",
            "started_at": null,
            "finished_at": "1970-01-01T00:00:00Z",
            "links": {
                "self": path,
                "events": format!("{path}/events"),
                "logs": format!("{path}/logs"),
                "cancel": format!("{path}/cancel"),
                "result": null,
                "artifacts": null,
                "report": null,
                "sbom": null,
            },
        },
    });
    assert_eq!(event, expected);
}

#[test]
fn an_id_is_the_same_for_each_try_and_holds_no_full_stop() {
    let record = settled(|_| {});
    let id = event::id(record.id);
    assert_eq!(id, event::id(record.id));
    assert!(id.starts_with("msg_") && !id.contains('.'), "{id}");
}

#[test]
fn only_2xx_is_taken_and_only_410_is_final() {
    let of = |status: u16| {
        verdict(
            StatusCode::from_u16(status).unwrap(),
            &HeaderMap::new(),
            Timestamp::now(),
        )
    };
    for status in [200, 202, 204, 299] {
        assert_eq!(of(status), Verdict::Taken, "{status}");
    }
    assert!(matches!(of(410), Verdict::Refused { kind: "gone", .. }));
    for status in [301, 302, 307, 308] {
        assert!(
            matches!(of(status), Verdict::Failed { kind: "redirect", .. }),
            "{status}"
        );
    }
    for status in [400, 401, 404, 409, 429, 500, 502, 503, 504, 599] {
        assert!(matches!(of(status), Verdict::Failed { kind: "status", .. }), "{status}");
    }
}

#[test]
fn a_pause_is_asked_for_in_seconds_or_by_a_date_with_429_and_503() {
    let now: Timestamp = "1994-11-06T08:49:30Z".parse().unwrap();
    let asked = |status: u16, text: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
        match verdict(StatusCode::from_u16(status).unwrap(), &headers, now) {
            Verdict::Failed { after, .. } => after.map(|pause| pause.as_secs()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(asked(429, "120"), Some(120));
    assert_eq!(asked(503, "Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
    assert_eq!(asked(503, "Sun, 06 Nov 1994 08:49:00 GMT"), None);
    assert_eq!(asked(500, "120"), None);
    assert_eq!(asked(503, "soon"), None);
    assert_eq!(asked(503, "-1"), None);
}

fn sender(look_up: LookUp) -> HttpSender {
    let config = WebhookConfig {
        allow: vec!["127.0.0.1".to_owned()],
        allow_http: true,
        ..WebhookConfig::default()
    };
    let secrets = Secrets::parse(&Secrets::fresh().unwrap()).unwrap();
    HttpSender::looking_up(&config, secrets, Metrics::new(), look_up).unwrap()
}

/// Answers 204 to every request, keeps connections open, and counts requests.
async fn receiver(address: &str) -> (u16, &'static AtomicUsize) {
    let count: &'static AtomicUsize = Box::leak(Box::default());
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut seen = [0; 4096];
                while timeout(LONG, socket.read(&mut seen))
                    .await
                    .unwrap()
                    .is_ok_and(|bytes| bytes > 0)
                {
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                }
            });
        }
    });
    (port, count)
}

static LOOKED: AtomicUsize = AtomicUsize::new(0);

/// The first look shows an address that may be called, each later one another that may not.
fn rebinding(name: String, _: OwnedSemaphorePermit) -> Looking {
    assert_eq!(name, "hooks.example");
    let address = match LOOKED.fetch_add(1, Ordering::SeqCst) {
        0 => [127, 0, 0, 1],
        _ => [127, 0, 0, 2],
    };
    Box::pin(async move { Ok(vec![SocketAddr::from((address, 0))]) })
}

#[tokio::test]
async fn the_address_that_was_judged_is_the_one_that_is_called() {
    let (port, outside) = receiver("127.0.0.1:0").await;
    let (_, inside) = receiver(&format!("127.0.0.2:{port}")).await;
    let sender = sender(rebinding);
    let record = settled(|_| {});
    let url = format!("http://hooks.example:{port}/");
    let answer = sender.send(letter(&record, &url)).await;
    assert_eq!(answer.status, Some(204), "{answer:?}");
    assert_eq!(LOOKED.load(Ordering::SeqCst), 1, "nobody looks again before connecting");
    // The name leads elsewhere now: no old connection is used, and the new address is judged.
    let answer = sender.send(letter(&record, &url)).await;
    let Verdict::Failed { kind, error, .. } = answer.verdict else {
        panic!("{answer:?}")
    };
    assert_eq!(kind, "refused_address");
    assert_eq!(error, "the name leads to this host (loopback), which is not called");
    assert_eq!(LOOKED.load(Ordering::SeqCst), 2);
    let calls = (outside.load(Ordering::SeqCst), inside.load(Ordering::SeqCst));
    assert_eq!(calls, (1, 0));
}

fn both(_: String, _: OwnedSemaphorePermit) -> Looking {
    let both = [[127, 0, 0, 1], [10, 0, 0, 1]].map(|address| SocketAddr::from((address, 0)));
    Box::pin(async move { Ok(both.into()) })
}

fn none(_: String, _: OwnedSemaphorePermit) -> Looking {
    Box::pin(async { Ok(Vec::new()) })
}

fn unknown(_: String, _: OwnedSemaphorePermit) -> Looking {
    Box::pin(async { Err(io::Error::other("no such host \u{1b}[31m")) })
}

#[tokio::test]
async fn a_name_that_leads_inside_too_or_nowhere_is_not_called() {
    let record = settled(|_| {});
    let (port, calls) = receiver("127.0.0.1:0").await;
    let url = format!("http://hooks.example:{port}/");
    let cases: [(LookUp, &str, &str); 3] = [
        (
            both,
            "refused_address",
            "the name leads to a private network (RFC 1918), which is not called",
        ),
        (none, "no_address", "the receiver's name has no address"),
        (unknown, "no_address", "the receiver's name has no address"),
    ];
    for (look_up, expected, words) in cases {
        let answer = sender(look_up).send(letter(&record, &url)).await;
        let Verdict::Failed { kind, error, after } = answer.verdict else {
            panic!("{answer:?}")
        };
        assert_eq!((kind, error.as_str(), after), (expected, words, None));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_port_where_nobody_listens_and_one_that_hangs_up_are_told_apart() {
    let record = settled(|_| {});
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap().port();
    drop(closed);
    let sender = sender(look_up);
    let kind = async |port: u16| match sender
        .send(letter(&record, &format!("http://127.0.0.1:{port}/")))
        .await
        .verdict
    {
        Verdict::Failed { kind, .. } => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(nobody).await, "no_connection");
    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = rude.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut socket, _) = rude.accept().await.unwrap();
        let mut seen = [0; 4096];
        let _ = socket.read(&mut seen).await;
    });
    assert_eq!(kind(port).await, "broken");
}

#[test]
fn the_log_names_a_host_and_nothing_that_may_be_secret() {
    let sender = sender(look_up);
    assert_eq!(
        sender.place("https://hooks.example/secret?token=x"),
        "hooks.example:443"
    );
    assert_eq!(sender.place("http://[::1]:8080/secret"), "[::1]:8080");
    assert_eq!(sender.place("nonsense"), "");
}

#[test]
fn certificates_that_are_none_are_an_error_at_the_start() {
    let config = WebhookConfig {
        tls_ca: Some("/nonexistent/ca.pem".into()),
        ..WebhookConfig::default()
    };
    let secrets = Secrets::parse(&Secrets::fresh().unwrap()).unwrap();
    let error = HttpSender::new(&config, secrets, Metrics::new()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the certificates in /nonexistent/ca.pem cannot be used"
    );
}
