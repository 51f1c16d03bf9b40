//! A server in the test process: takes whole requests, remembers them, answers as the test says.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use seatrial_store::testing::Certificates;

use serde_json::{Value, json};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `GET /v1/jobs?limit=2`.
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// What is answered.
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The connection ends before the body does.
    broken: bool,
    /// The connection stays open behind the body, until the client goes.
    held: bool,
}

impl Answer {
    /// Bytes of a kind.
    pub(crate) fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", kind.to_owned())],
            body: body.into(),
            broken: false,
            held: false,
        }
    }

    /// A document.
    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self::new(status, "application/json", value.to_string())
    }

    /// A refusal.
    pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Self {
        let document = json!({
            "type": format!("/docs/problems#{code}"), "title": "Title", "status": status, "detail": detail,
            "instance": "/x", "code": code, "retryable": status == 503, "correlation_id": "corr-7",
        });
        Self::new(status, "application/problem+json", document.to_string())
    }

    /// Events.
    pub(crate) fn events(text: &str) -> Self {
        Self::new(200, "text/event-stream", text)
    }

    /// With a header.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// With an end of the connection before the end of the body.
    pub(crate) fn broken(mut self) -> Self {
        self.broken = true;
        self
    }

    /// With a connection that stays open.
    pub(crate) fn held(mut self) -> Self {
        self.held = true;
        self
    }
}

/// What a server that shows this certificate needs.
pub(crate) fn tls(certificates: &Certificates) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&certificates.cert).unwrap();
    let key = PrivateKeyDer::from_pem_file(&certificates.key).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key);
    Arc::new(config.unwrap())
}

/// A server on a port of its own. Its threads end with the test's process.
pub(crate) struct Fake {
    /// Its address.
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Fake {
    /// Answers each request with what `answer` makes of it and of the number of equal request lines before.
    pub(crate) fn start(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::behind(None, answer)
    }

    /// The same behind TLS.
    pub(crate) fn start_tls(
        certificates: &Certificates,
        answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::behind(Some(tls(certificates)), answer)
    }

    fn behind(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (answer, remember) = (Arc::new(answer), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, remember, tls) = (answer.clone(), remember.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &*answer, &remember),
                    Some(config) => {
                        let tls = ServerConnection::new(config).unwrap();
                        serve(StreamOwned::new(tls, stream), &*answer, &remember);
                    }
                });
            }
        });
        Self { url, seen }
    }

    /// What was asked so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The lines of what was asked so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|request| request.line).collect()
    }
}

fn serve(mut stream: impl Read + Write, answer: &dyn Fn(&Request, usize) -> Answer, seen: &Mutex<Vec<Request>>) {
    let Some(request) = read(&mut stream) else {
        return;
    };
    let before = {
        let mut seen = seen.lock().unwrap();
        let before = seen.iter().filter(|known| known.line == request.line).count();
        seen.push(request.clone());
        before
    };
    let answer = answer(&request, before);
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if answer.status != 204 && !answer.held {
        let length = answer.body.len() + usize::from(answer.broken);
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    // A client that goes away early is a matter of the test, which looks at the client.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&answer.body))
        .and_then(|()| stream.flush());
    if answer.held {
        let _ = stream.read(&mut [0]);
    }
}

fn read(stream: &mut impl Read) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request {
        line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(),
        headers,
        body: Vec::new(),
    };
    let length: u64 = request.header("content-length").parse().unwrap_or(0);
    reader.take(length).read_to_end(&mut request.body).ok()?;
    Some(request)
}

/// An id that a job may have.
pub(crate) const ID: &str = "job_01KAZ0000000000000000000AB";

/// A job document in a state, as a server writes it.
pub(crate) fn job(state: &str, more: &Value) -> Value {
    let mut job = json!({
        "id": ID, "state": state, "stage": null, "attempt": 0, "reason": null, "blame": null, "message": null,
        "remedy": null, "queue_position": null, "created_at": "2026-11-26T10:00:00Z", "started_at": null,
        "finished_at": null, "deadline_at": "2026-11-26T12:00:00Z", "correlation_id": "corr-1", "labels": {},
        "dockerfile": {
            "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "bytes": 0,
        },
        "analysis": {"verdict": "pass", "findings": [], "counts": {}, "blocking": [], "waived": []},
        "scan": null, "image": null, "usage": {}, "timings_ms": {}, "walls": null, "result": null,
        "artifacts": [], "log_tail": [], "priority": "normal", "last_event": 0,
        "links": {"self": format!("/v1/jobs/{ID}")}, "a_later_field": 1,
    });
    for (key, value) in more.as_object().unwrap() {
        job[key] = value.clone();
    }
    job
}

/// An event in a stream.
pub(crate) fn event(seq: u64, kind: &str, more: &Value) -> String {
    let mut data = json!({"seq": seq, "at": "2026-11-26T10:00:01.250Z", "event": kind});
    for (key, value) in more.as_object().unwrap() {
        data[key] = value.clone();
    }
    format!("id: {seq}\nevent: {kind}\ndata: {data}\n\n")
}
