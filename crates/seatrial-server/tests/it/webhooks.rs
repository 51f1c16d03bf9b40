//! Word of ends over real sockets: what a receiver gets, and who is not called.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::IntoResponse as _,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use seatrial_core::{
    job::{Outcome, Reason},
    ledger::Ledger as _,
    testing::ledger::new_job,
};
use seatrial_pipeline::service::deliver;
use seatrial_server::{
    ServerConfig, WebhookConfig,
    webhook::{HttpSender, Secrets},
};
use seatrial_store::testing::Certificates;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use crate::support::{DOCKERFILE, House};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const LONG: Duration = Duration::from_secs(20);

/// What came to a receiver.
struct Received {
    headers: HeaderMap,
    body: Bytes,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Answers one after the other, then 204.
struct Receiver {
    url: String,
    received: mpsc::UnboundedReceiver<Received>,
}

impl Receiver {
    async fn start(answers: &[(u16, Option<&str>)]) -> Self {
        let (send, received) = mpsc::unbounded_channel();
        let answers: VecDeque<(u16, Option<String>)> = answers
            .iter()
            .map(|(status, location)| (*status, location.map(str::to_owned)))
            .collect();
        let answers = Arc::new(Mutex::new(answers));
        let app = Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
            let _ = send.send(Received { headers, body });
            let next = answers.lock().unwrap().pop_front();
            let (status, location) = next.unwrap_or((204, None));
            let mut headers = HeaderMap::new();
            if let Some(location) = location {
                headers.insert(header::LOCATION, HeaderValue::from_str(&location).unwrap());
            }
            let status = StatusCode::from_u16(status).unwrap();
            async move { (status, headers).into_response() }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=hush", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, received }
    }

    async fn next(&mut self) -> Received {
        timeout(LONG, self.received.recv()).await.unwrap().unwrap()
    }
}

fn loopback(schedule: &[Duration]) -> WebhookConfig {
    WebhookConfig {
        enabled: true,
        allow: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
        allow_http: true,
        schedule: schedule.into(),
        ..WebhookConfig::default()
    }
}

const SOON: Duration = Duration::from_millis(10);

fn house(webhooks: &WebhookConfig) -> House {
    let config = ServerConfig {
        webhooks: webhooks.clone(),
        ..ServerConfig::default()
    };
    House::with(config, |_, _| {})
}

/// A sender until the test ends.
struct Sending(JoinHandle<()>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn send(house: &House, webhooks: &WebhookConfig, secrets: &str) -> Sending {
    let secrets = Secrets::parse(secrets).unwrap();
    let sender = Arc::new(HttpSender::new(webhooks, secrets, house.state.metrics().clone()).unwrap());
    let (service, settings) = (house.service.clone(), webhooks.deliveries());
    Sending(tokio::spawn(async move {
        deliver::run(&service, sender, &settings, pending()).await;
    }))
}

impl House {
    /// A job that was asked for over the API and is over; its path.
    async fn hooked(&self, url: &str) -> String {
        let body = json!({"dockerfile": DOCKERFILE, "webhook": url, "labels": {"team": "red"}});
        let headers = [("x-correlation-id", "tie-1"), ("traceparent", TRACE)];
        let answer = self.post_json("/v1/jobs", &headers, &body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let path = answer.header("location").to_owned();
        let job = self.get(&path).await.json();
        assert_eq!(
            (&job["webhook"]["state"], &job["webhook"]["tries"]),
            (&json!("waiting"), &json!(0))
        );
        self.post(&format!("{path}/cancel")).await;
        path
    }

    async fn until_hook(&self, path: &str, state: &str) -> Value {
        let job = timeout(LONG, self.until(path, |job| job["webhook"]["state"] == state)).await;
        job.unwrap_or_else(|_| panic!("it never was {state}"))["webhook"].clone()
    }
}

/// HMAC-SHA256 after RFC 2104, by hand: the sender uses a library.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(message)
        .finalize();
    let outer = Sha256::new().chain_update(padded(0x5c)).chain_update(inner);
    outer.finalize().to_vec()
}

fn signature(secret: &str, received: &Received) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let (id, timestamp) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    let mut message = format!("{id}.{timestamp}.").into_bytes();
    message.extend_from_slice(&received.body);
    format!("v1,{}", STANDARD.encode(hmac(&key, &message)))
}

#[tokio::test]
async fn a_job_that_ends_is_told_once_in_a_signed_event() {
    let webhooks = loopback(&[SOON]);
    let house = house(&webhooks);
    let other = Secrets::fresh().unwrap();
    let _sending = send(&house, &webhooks, &format!("{SECRET}\n{other}"));
    let mut receiver = Receiver::start(&[]).await;
    let path = house.hooked(&receiver.url).await;
    let received = receiver.next().await;
    let expected = [SECRET, &other].map(|secret| signature(secret, &received)).join(" ");
    assert_eq!(received.header("webhook-signature"), expected);
    let sent: i64 = received.header("webhook-timestamp").parse().unwrap();
    assert!((Timestamp::now().as_second() - sent).abs() < 60);
    assert_eq!(received.header("x-correlation-id"), "tie-1");
    assert_eq!(received.header("traceparent"), TRACE);
    assert_eq!(
        received.header("content-type"),
        "application/cloudevents+json; charset=utf-8"
    );
    let event = received.event();
    let id = path.strip_prefix("/v1/jobs/").unwrap();
    assert_eq!(event["id"], received.header("webhook-id"));
    assert_eq!(
        (&event["subject"], &event["type"], &event["source"]),
        (&json!(id), &json!("io.seatrial.job.settled"), &json!("/v1/jobs"))
    );
    assert_eq!(
        (&event["correlationid"], &event["traceparent"]),
        (&json!("tie-1"), &json!(TRACE))
    );
    let data = &event["data"];
    assert_eq!((&data["id"], &data["state"]), (&json!(id), &json!("cancelled")));
    assert_eq!(
        (&data["labels"], &data["links"]["self"]),
        (&json!({"team": "red"}), &json!(path))
    );
    assert!(!String::from_utf8_lossy(&received.body).contains("unmistakable"));
    let hook = house.until_hook(&path, "delivered").await;
    assert_eq!(hook["last_error"], Value::Null);
    let metrics = house.get("/metrics").await.text();
    assert!(
        metrics.contains("seatrial_webhook_deliveries_total{outcome=\"delivered\"} 1"),
        "{metrics}"
    );
    assert!(receiver.received.try_recv().is_err(), "once");
}

#[tokio::test]
async fn the_example_for_receivers_takes_what_is_genuine_and_nothing_else() {
    let webhooks = loopback(&[]);
    let house = house(&webhooks);
    let other = Secrets::fresh().unwrap();
    let _sending = send(&house, &webhooks, &format!("{other} {SECRET}"));
    let mut receiver = Receiver::start(&[]).await;
    house.hooked(&receiver.url).await;
    let received = receiver.next().await;
    let page = include_str!("../../../../docs/WEBHOOKS.md");
    let example = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let headers: Value = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .into_iter()
        .map(|name| (name.to_owned(), json!(received.header(name))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let calls = r#"
import json, sys
secret, other, headers, body = json.load(sys.stdin)
body = body.encode()
assert is_genuine(secret, headers, body)
assert is_genuine(other, headers, body)
assert not is_genuine("whsec_" + "A" * 32, headers, body)
assert not is_genuine(secret, headers, body + b" ")
assert not is_genuine(secret, headers | {"webhook-id": "msg_other"}, body)
assert not is_genuine(secret, headers | {"webhook-timestamp": "1"}, body)
print("said yes and no")
"#;
    let input = json!([
        SECRET,
        other,
        headers,
        String::from_utf8(received.body.to_vec()).unwrap()
    ]);
    let script = format!("{example}\n{calls}");
    let run = move || {
        use std::io::Write as _;
        let mut python = std::process::Command::new("python3")
            .args(["-c", &script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = python.stdin.take().unwrap();
        stdin.write_all(input.to_string().as_bytes()).unwrap();
        drop(stdin);
        python.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "said yes and no\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_receiver_that_fails_is_asked_again_with_the_same_id() {
    // Long enough to see the state between two tries.
    let webhooks = loopback(&[Duration::from_secs(1), SOON]);
    let house = house(&webhooks);
    let _sending = send(&house, &webhooks, SECRET);
    let mut receiver = Receiver::start(&[(500, None), (503, None)]).await;
    let path = house.hooked(&receiver.url).await;
    let first = receiver.next().await;
    let hook = timeout(LONG, house.until(&path, |job| job["webhook"]["tries"] == 1)).await;
    let hook = &hook.unwrap()["webhook"];
    assert_eq!(
        (&hook["state"], &hook["last_error"]),
        (&json!("due"), &json!("the receiver answered 500"))
    );
    for _ in 0..2 {
        let again = receiver.next().await;
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(again.header("webhook-signature"), signature(SECRET, &again));
        assert_eq!(again.body, first.body);
    }
    house.until_hook(&path, "delivered").await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let webhooks = loopback(&[]);
    let house = house(&webhooks);
    let _sending = send(&house, &webhooks, SECRET);
    let mut elsewhere = Receiver::start(&[]).await;
    let receiver = Receiver::start(&[(307, Some(&elsewhere.url))]).await;
    let path = house.hooked(&receiver.url).await;
    let hook = house.until_hook(&path, "dead").await;
    assert_eq!(
        hook["last_error"],
        "the receiver answered 307; redirects are not followed; given up after 1 tries"
    );
    assert!(elsewhere.received.try_recv().is_err());
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_asked_no_more() {
    let webhooks = loopback(&[SOON, SOON]);
    let house = house(&webhooks);
    let _sending = send(&house, &webhooks, SECRET);
    let receiver = Receiver::start(&[(410, None)]).await;
    let path = house.hooked(&receiver.url).await;
    let hook = house.until_hook(&path, "dead").await;
    assert_eq!(
        (&hook["tries"], &hook["last_error"]),
        (&json!(1), &json!("the receiver answered 410: it wants no more"))
    );
    let metrics = house.get("/metrics").await.text();
    assert!(metrics.contains("outcome=\"dead\"} 1"), "{metrics}");
}

/// A receiver that reads a request, sends `head` and then `more` for as long as somebody takes it; how much that was.
async fn endless(head: &'static [u8], more: &'static [u8]) -> (String, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = [0; 16 << 10];
        let _ = socket.read(&mut seen).await;
        let _ = socket.write_all(head).await;
        let mut sent = 0;
        while !more.is_empty() && socket.write_all(more).await.is_ok() {
            sent += more.len();
        }
        // Until the sender hangs up.
        let _ = socket.read(&mut seen).await;
        sent
    });
    (url, task)
}

#[tokio::test]
async fn a_receiver_that_says_nothing_is_left_after_the_time_of_a_try() {
    let webhooks = WebhookConfig {
        try_time: Duration::from_millis(200),
        ..loopback(&[])
    };
    let house = house(&webhooks);
    let _sending = send(&house, &webhooks, SECRET);
    let (url, receiver) = endless(b"", b"").await;
    let path = house.hooked(&url).await;
    let hook = house.until_hook(&path, "dead").await;
    assert_eq!(hook["last_error"], "no answer within 0.2 s; given up after 1 tries");
    timeout(LONG, receiver).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_without_end_is_cut_and_its_head_counts() {
    let webhooks = loopback(&[]);
    let house = house(&webhooks);
    let _sending = send(&house, &webhooks, SECRET);
    let (url, receiver) = endless(b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 64 << 10]).await;
    let path = house.hooked(&url).await;
    house.until_hook(&path, "delivered").await;
    let sent = timeout(LONG, receiver).await.unwrap().unwrap();
    // What lies in the system's buffers counts as sent.
    assert!(sent < 32 << 20, "{sent}");
}

#[tokio::test]
async fn a_head_without_end_is_no_answer() {
    let webhooks = loopback(&[]);
    let house = house(&webhooks);
    let _sending = send(&house, &webhooks, SECRET);
    let (url, receiver) = endless(b"HTTP/1.1 200 OK\r\nx: ", &[b'x'; 64 << 10]).await;
    let path = house.hooked(&url).await;
    let hook = house.until_hook(&path, "dead").await;
    assert_eq!(
        hook["last_error"],
        "the connection ended before an answer; given up after 1 tries"
    );
    let sent = timeout(LONG, receiver).await.unwrap().unwrap();
    assert!(sent < 32 << 20, "{sent}");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_called() {
    let webhooks = WebhookConfig {
        allow: Vec::new(),
        ..loopback(&[])
    };
    let house = house(&webhooks);
    let _sending = send(&house, &webhooks, SECRET);
    let mut receiver = Receiver::start(&[]).await;
    let path = house.hooked(&receiver.url.replace("127.0.0.1", "localhost")).await;
    let hook = house.until_hook(&path, "dead").await;
    assert_eq!(
        hook["last_error"],
        "the name leads to this host (loopback), which is not called; given up after 1 tries"
    );
    assert!(receiver.received.try_recv().is_err());
}

#[tokio::test]
async fn a_literal_address_that_leads_inside_is_refused_when_it_is_submitted_and_when_it_is_called() {
    let webhooks = WebhookConfig {
        allow: Vec::new(),
        ..loopback(&[SOON])
    };
    let house = house(&webhooks);
    let _sending = send(&house, &webhooks, SECRET);
    let receivers = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("[::1]:0").await.unwrap(),
    ];
    let mut urls: Vec<String> = receivers
        .iter()
        .map(|receiver| format!("http://{}/", receiver.local_addr().unwrap()))
        .collect();
    let port = receivers[0].local_addr().unwrap().port();
    urls.push(format!("http://[::ffff:127.0.0.1]:{port}/"));
    urls.push(format!("http://2130706433:{port}/"));
    urls.push("http://169.254.169.254/latest/meta-data".to_owned());
    for url in urls {
        let body = json!({"dockerfile": DOCKERFILE, "webhook": url});
        let answer = house.post_json("/v1/jobs", &[], &body).await;
        assert_eq!(answer.problem(), "invalid_submission", "{url}");
        assert_eq!(answer.json()["errors"][0]["pointer"], "/webhook");
        // One that was taken when it was still allowed.
        let mut job = new_job("");
        job.webhook = Some(url.clone());
        job.outcome = Some(Outcome::rejected(Reason::FindingsBlock, ""));
        let id = job.id;
        house.ledger.create(job).await.unwrap();
        let dead = async {
            loop {
                match house.ledger.delivery(id).await.unwrap() {
                    Some(delivery) if delivery.dead => return delivery,
                    Some(_) => tokio::time::sleep(SOON).await,
                    None => panic!("it was delivered: {url}"),
                }
            }
        };
        let delivery = timeout(LONG, dead).await.unwrap();
        let error = delivery.last_error.unwrap();
        assert!(error.ends_with("which is not called"), "{url}: {error}");
        assert_eq!(delivery.tries, 1, "it cannot get better");
    }
    for receiver in receivers {
        assert!(timeout(SOON, receiver.accept()).await.is_err());
    }
}

#[tokio::test]
async fn two_senders_send_each_word_once() {
    let webhooks = loopback(&[SOON]);
    let house = house(&webhooks);
    let mut receiver = Receiver::start(&[]).await;
    let mut paths = Vec::new();
    for _ in 0..12 {
        paths.push(house.hooked(&receiver.url).await);
    }
    let _sending = [send(&house, &webhooks, SECRET), send(&house, &webhooks, SECRET)];
    for path in &paths {
        house.until_hook(path, "delivered").await;
    }
    let mut seen = Vec::new();
    while let Ok(received) = receiver.received.try_recv() {
        seen.push(received.event()["data"]["links"]["self"].as_str().unwrap().to_owned());
    }
    seen.sort();
    paths.sort();
    assert_eq!(seen, paths);
}

/// Answers 204 over TLS as `localhost` and 127.0.0.1; the port.
async fn tls_receiver(address: &str, certificates: &Certificates) -> u16 {
    let chain = CertificateDer::pem_file_iter(&certificates.cert).unwrap();
    let key = PrivateKeyDer::from_pem_file(&certificates.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut socket) = acceptor.accept(socket).await else {
                continue;
            };
            let mut seen = [0; 16 << 10];
            let _ = socket.read(&mut seen).await;
            let _ = socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            let _ = socket.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_name_the_receiver() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let port = tls_receiver("127.0.0.1:0", &certificates).await;
    tls_receiver(&format!("127.0.0.2:{port}"), &certificates).await;
    let strict = WebhookConfig {
        allow_http: false,
        allow: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
        ..loopback(&[])
    };
    let trusting = WebhookConfig {
        tls_ca: Some(certificates.ca.clone()),
        ..strict.clone()
    };
    let untrusted = "the receiver's certificate is not trusted, or TLS was not agreed on; given up after 1 tries";
    for (webhooks, host, state, error) in [
        (&trusting, "localhost", "delivered", Value::Null),
        (&trusting, "127.0.0.2", "dead", json!(untrusted)),
        (&strict, "localhost", "dead", json!(untrusted)),
    ] {
        let house = house(webhooks);
        let _sending = send(&house, webhooks, SECRET);
        let path = house.hooked(&format!("https://{host}:{port}/")).await;
        let hook = house.until_hook(&path, state).await;
        assert_eq!(hook["last_error"], error, "{host}");
    }
}
