//! Webhooks as an operator switches them on: a real `serve` on SQLite and on Redis, a receiver in the test.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use seatrial_store::testing::RedisServer;
use serde_json::{Value, json};

use crate::house::House;

const TEXT: &str = "FROM debian:bookworm-slim\nRUN echo unmistakable-marker\nCMD [\"true\"]\n";
const LONG: Duration = Duration::from_secs(30);

/// A request that waits for its answer.
struct Call {
    socket: TcpStream,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Call {
    fn read(socket: TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(socket.try_clone().ok()?);
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
                None if line.trim_end().is_empty() => break,
                None => {} // the request line
            }
        }
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")?
            .1
            .parse()
            .ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Self {
            socket,
            headers,
            body: serde_json::from_slice(&body).ok()?,
        })
    }

    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    fn answer(mut self, status: &str) {
        let _ = write!(
            self.socket,
            "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
}

/// Calls as they come.
fn receiver() -> (String, Receiver<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (send, calls) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            if Call::read(socket).is_some_and(|call| send.send(call).is_err()) {
                return;
            }
        }
    });
    (url, calls)
}

fn house() -> House {
    let mut house = House::new();
    let file = house.folder.path().join("webhooks");
    let made = house.client("").args(["keys", "webhook"]).arg(&file).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    house.set("SEATRIAL__SERVER__WEBHOOKS__ENABLED", "true");
    house.set("SEATRIAL__SERVER__WEBHOOKS__SECRET_FILE", file.to_str().unwrap());
    house.set("SEATRIAL__SERVER__WEBHOOKS__ALLOW", "[\"127.0.0.0/8\"]");
    house.set("SEATRIAL__SERVER__WEBHOOKS__ALLOW_HTTP", "true");
    house.set("SEATRIAL__SERVER__WEBHOOKS__SCHEDULE", "[\"10ms\", \"10ms\", \"10ms\"]");
    house.set("SEATRIAL__SERVER__WEBHOOKS__TRY_TIME", "1s");
    // Nobody listens there: a sender that followed it would reach no receiver.
    house.set("HTTP_PROXY", "http://127.0.0.1:1");
    house.set("http_proxy", "http://127.0.0.1:1");
    house
}

fn submit(house: &House, base: &str, url: &str) -> String {
    let body = json!({"dockerfile": TEXT, "webhook": url});
    let (status, job) = house.post(&format!("{base}/v1/jobs"), &body);
    assert_eq!(status, 202, "{job}");
    job["id"].as_str().unwrap().to_owned()
}

fn until_hook(house: &House, base: &str, id: &str, state: &str) -> Value {
    let mut hook = Value::Null;
    crate::house::until(state, LONG, || {
        hook = house.job(base, id)["webhook"].clone();
        hook["state"] == state
    });
    hook
}

#[test]
fn a_job_that_ends_calls_back_and_a_failed_call_is_made_again() {
    let mut house = house();
    let more = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    house.set("SEATRIAL__SERVER__WEBHOOKS__SECRET", &format!("{more} {more}"));
    let (url, calls) = receiver();
    let (serve, base) = house.serve("serve", &["--executor", "noop"]);
    let limits: Value = serde_json::from_str(&house.get(&format!("{base}/v1/limits")).1).unwrap();
    assert_eq!(limits["request"]["webhooks"], true);
    let id = submit(&house, &base, &url);
    let first = calls.recv_timeout(LONG).unwrap();
    assert_eq!(first.body["data"]["id"], id.as_str());
    assert_eq!(first.body["data"]["state"], "succeeded");
    let signatures = first.header("webhook-signature");
    assert_eq!(
        signatures.matches("v1,").count(),
        3,
        "file and environment: {signatures}"
    );
    let message = first.header("webhook-id").to_owned();
    first.answer("500 Internal Server Error");
    let second = calls.recv_timeout(LONG).unwrap();
    assert_eq!(second.header("webhook-id"), message);
    second.answer("204 No Content");
    until_hook(&house, &base, &id, "delivered");
    let status = house.client(&base).args(["status", &id]).output().unwrap();
    let shown = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(shown.contains(&format!("hook   {url}: delivered")), "{shown}");
    let lines = serve.lines();
    let tries: Vec<&str> = lines.lines().filter(|line| line.contains("\"webhook\"")).collect();
    assert_eq!(tries.len(), 2, "{lines}");
    for part in [
        &format!("\"job.id\":\"{id}\""),
        "\"correlation.id\":\"",
        "\"host\":\"127.0.0.1:",
        "\"status\":500",
        "\"try_number\":1",
        "\"ms\":",
    ] {
        assert!(tries[0].contains(part), "{part}: {}", tries[0]);
    }
    assert!(!lines.contains("/hook"), "a path may be a secret");
}

#[test]
fn a_process_that_is_killed_before_it_knows_sends_again_with_the_same_id() {
    let house = house();
    let (url, calls) = receiver();
    let (mut serve, base) = house.serve("serve", &["--executor", "noop"]);
    let id = submit(&house, &base, &url);
    let first = calls.recv_timeout(LONG).unwrap();
    serve.kill();
    let (_again, base) = house.serve("again", &["--no-worker"]);
    let second = calls.recv_timeout(LONG).unwrap();
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(second.body, first.body);
    second.answer("200 OK");
    until_hook(&house, &base, &id, "delivered");
}

/// The same word from another process of the service, though the ledger was killed meanwhile.
#[test]
fn on_redis_the_word_of_an_api_that_was_killed_is_sent_by_another() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut redis = runtime.block_on(RedisServer::start()).unwrap();
    let mut house = house();
    house.set("SEATRIAL__LEDGER__URL", &redis.url());
    house.set("SEATRIAL__VAULT__THIS_HOST_ONLY", "true");
    let (url, calls) = receiver();
    let (mut first_api, base) = house.serve("first", &["--no-worker"]);
    let _worker = house.noop("worker", &[]);
    let id = submit(&house, &base, &url);
    let first = calls.recv_timeout(LONG).unwrap();
    assert_eq!(first.body["data"]["id"], id.as_str());
    assert_eq!(first.body["data"]["state"], "succeeded");
    first_api.kill();
    redis.kill();
    runtime.block_on(redis.start_again()).unwrap();
    let (_second_api, base) = house.serve("second", &["--no-worker"]);
    let second = calls.recv_timeout(LONG).unwrap();
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(second.body, first.body);
    second.answer("204 No Content");
    until_hook(&house, &base, &id, "delivered");
}

#[test]
fn a_process_that_drains_waits_for_the_answer_that_is_under_way() {
    let house = house();
    let (url, calls) = receiver();
    let (mut serve, base) = house.serve("serve", &["--executor", "noop"]);
    let id = submit(&house, &base, &url);
    let call = calls.recv_timeout(LONG).unwrap();
    serve.signal("TERM");
    crate::house::until("it drains", LONG, || serve.lines().contains("asked to stop"));
    call.answer("200 OK");
    assert_eq!(serve.end(LONG), Some(0), "{}", serve.lines());
    let (_again, base) = house.serve("again", &["--no-worker"]);
    assert_eq!(house.job(&base, &id)["webhook"]["state"], "delivered");
}

#[test]
fn webhooks_are_off_by_default() {
    let house = House::new();
    let (_serve, base) = house.serve("serve", &["--executor", "noop"]);
    let limits: Value = serde_json::from_str(&house.get(&format!("{base}/v1/limits")).1).unwrap();
    assert_eq!(limits["request"]["webhooks"], false);
    let body = json!({"dockerfile": TEXT, "webhook": "https://hooks.example/x"});
    let (status, problem) = house.post(&format!("{base}/v1/jobs"), &body);
    assert_eq!((status, problem["code"].as_str()), (422, Some("webhooks_off")));
}

#[test]
fn without_a_secret_of_its_own_serve_says_what_to_do_and_does_not_start() {
    let house = House::new();
    let secret = house.folder.path().join("secret");
    let start = |settings: &[(&str, &str)]| {
        let mut command = house.client("");
        command
            .args(["serve", "--no-worker"])
            .env("SEATRIAL__DATA_DIR", house.data())
            .env("SEATRIAL__SERVER__LISTEN", "127.0.0.1:0")
            .env("SEATRIAL__SERVER__WEBHOOKS__ENABLED", "true");
        let output = command.envs(settings.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = start(&[]);
    assert!(said.contains("seatrial keys webhook FILE"), "{said}");
    let said = start(&[("SEATRIAL__SERVER__WEBHOOKS__SECRET", "hunter2")]);
    assert!(said.contains("secret 1 does not begin with whsec_"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let said = start(&[("SEATRIAL__SERVER__WEBHOOKS__SECRET_FILE", secret.to_str().unwrap())]);
    assert!(said.contains("is open to others (mode 6"), "{said}");
}

#[test]
fn the_configuration_does_not_show_a_secret_and_a_made_one_is_not_overwritten() {
    let house = House::new();
    let show = house
        .client("")
        .args(["config", "show"])
        .env(
            "SEATRIAL__SERVER__WEBHOOKS__SECRET",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        )
        .output()
        .unwrap();
    let shown = String::from_utf8(show.stdout).unwrap();
    assert!(shown.contains("secret = \"***\"") && !shown.contains("MfKQ"), "{shown}");
    let file = house.folder.path().join("webhooks");
    let make = || house.client("").args(["keys", "webhook"]).arg(&file).output().unwrap();
    let made = make();
    assert!(made.status.success());
    let text = std::fs::read_to_string(&file).unwrap();
    let secret = text.lines().find(|line| line.starts_with("whsec_")).unwrap();
    assert!(!String::from_utf8_lossy(&made.stdout).contains(secret));
    assert!(!make().status.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}
