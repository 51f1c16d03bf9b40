//! A house with a router in front, and calls to it.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use seatrial_core::{
    id::JobId,
    image::ImageConfig,
    job::{Outcome, Token},
    ledger::{Claim, Ledger as _},
    record::{Batch, Budgets, JobRecord, Kept, Move, NewsBody},
    testing::Fake,
    vault::{BlobKind, BlobRef},
    view::Report,
};
use seatrial_pipeline::{
    case::Settings,
    room::Room,
    service::{
        QueueLimits, Service,
        telemetry::Telemetry,
        worker::{self, Phase, WorkerSettings, executor::Walker},
    },
};
use seatrial_policy::Policy;
use seatrial_server::{AppState, ServerConfig, router};
use seatrial_store::{
    ledger::memory::MemoryLedger,
    vault::{SealedVault, Ttl, memory::Memory, ring::KeyRing},
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};
use tower::ServiceExt as _;

use crate::{away::Away, schema};

pub(crate) const DOCKERFILE: &str = "FROM debian:bookworm-slim\nRUN echo unmistakable-marker\nCMD [\"true\"]\n";

pub(crate) struct House {
    pub(crate) service: Service,
    pub(crate) ledger: Arc<Away>,
    pub(crate) bytes: Memory,
    pub(crate) fake: Fake,
    pub(crate) state: AppState,
    pub(crate) router: Router,
}

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The problem's code; checks what every problem has.
    #[track_caller]
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{}",
            self.text()
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["correlation_id"], self.header("x-correlation-id"));
        let code = problem["code"].as_str().unwrap();
        assert_eq!(problem["type"], format!("/docs/problems#{code}"));
        code.to_owned()
    }
}

pub(crate) fn limits() -> QueueLimits {
    QueueLimits::default()
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(ServerConfig::default(), |_, _| {})
    }

    pub(crate) fn with(config: ServerConfig, change: impl FnOnce(&mut Settings, &mut QueueLimits)) -> Self {
        let ledger = Arc::new(Away::new(MemoryLedger::new(Budgets::default())));
        let mut settings = Settings {
            policy: Policy::default(),
            fixture_database: false,
            runtime: None,
            attempts: 2,
            sbom: false,
            config_checks: false,
        };
        let mut queue = limits();
        change(&mut settings, &mut queue);
        let bytes = Memory::new(Ttl::default());
        let service = Service {
            ledger: ledger.clone(),
            vault: Arc::new(SealedVault::new(bytes.clone(), Arc::new(KeyRing::generate().unwrap()))),
            dispatch: None,
            settings: Arc::new(settings),
            queue,
            telemetry: Telemetry::default(),
        };
        let fake = Fake::default();
        fake.script().built_config = Some(ImageConfig {
            cmd: vec!["true".into()],
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
            ..ImageConfig::default()
        });
        let state = AppState::new(service.clone(), &config).unwrap();
        Self {
            router: router(state.clone()),
            state,
            service,
            ledger,
            bytes,
            fake,
        }
    }

    /// A real worker over the fake Engine.
    pub(crate) fn worker(&self, name: &str) -> (JoinHandle<()>, watch::Sender<Phase>) {
        let (phase, asked) = watch::channel(Phase::Work);
        let executor = Arc::new(Walker {
            engine: Arc::new(self.fake.clone()),
            scanner: Arc::new(self.fake.clone()),
            settings: self.service.settings.clone(),
            room: Room::default(),
            checks: Arc::new(seatrial_pipeline::admission::NoChecks),
        });
        let settings = WorkerSettings {
            name: name.to_owned(),
            host: "here".to_owned(),
            slots: 2,
            lease: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            back_off: Duration::from_secs(1),
        };
        let service = self.service.clone();
        let task = tokio::spawn(async move { worker::run(&service, executor, &settings, asked).await });
        (task, phase)
    }

    /// A call whose answer is read whole and held against the description.
    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body: axum::body::to_bytes(body, 64 << 20).await.unwrap(),
        };
        schema::check(&method, &path, &answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.call(with(request(Method::GET, path), headers).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.call(request(Method::POST, path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(request(Method::DELETE, path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn post_json(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.post_bytes(path, "application/json", headers, body.to_string().into_bytes())
            .await
    }

    pub(crate) async fn post_bytes(&self, path: &str, kind: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let request = with(request(Method::POST, path), headers).header(header::CONTENT_TYPE, kind);
        self.call(request.body(Body::from(body)).unwrap()).await
    }

    /// Hands a good Dockerfile in; the job's path.
    pub(crate) async fn submit(&self) -> String {
        self.submit_with(json!({})).await
    }

    pub(crate) async fn submit_with(&self, mut options: Value) -> String {
        options["dockerfile"] = json!(DOCKERFILE);
        let answer = self.post_json("/v1/jobs", &[], &options).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        answer.header("location").to_owned()
    }

    /// The job's document once it is so; time passes meanwhile.
    pub(crate) async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..10_000 {
            let job = self.get(path).await.json();
            if is_so(&job) {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it never was so: {}", self.get(path).await.text());
    }

    /// Works on the next job by hand.
    pub(crate) async fn claim(&self) -> Hand<'_> {
        let claim = Claim {
            worker: "hand".to_owned(),
            slots: 1,
            lease: Duration::from_secs(600),
        };
        let record = self.ledger.claim(&claim).await.unwrap().remove(0);
        Hand { house: self, record }
    }

    pub(crate) async fn record(&self, path: &str) -> JobRecord {
        let id: JobId = path.rsplit('/').next().unwrap().parse().unwrap();
        self.ledger.get(id).await.unwrap().unwrap()
    }
}

/// A worker that does what a test says.
pub(crate) struct Hand<'a> {
    house: &'a House,
    pub(crate) record: JobRecord,
}

impl Hand<'_> {
    pub(crate) async fn put(&self, kind: BlobKind, bytes: &[u8]) -> BlobRef {
        let vault = &self.house.service.vault;
        vault.put(self.record.id, &self.record.key, kind, bytes).await.unwrap()
    }

    fn token(&self) -> Token {
        self.record.token
    }

    pub(crate) async fn tell(&self, news: Vec<NewsBody>) {
        let known = self.house.ledger.get(self.record.id).await.unwrap().unwrap();
        self.apply(Move::Tell {
            token: self.token(),
            news: Batch {
                before: known.heard.news,
                bodies: news,
            },
            logs: Default::default(),
            asked: None,
        })
        .await;
    }

    pub(crate) async fn log(&self, stage: seatrial_core::job::Stage, parts: &[&[u8]], complete: bool) {
        let mut log = seatrial_core::record::LogRef {
            complete,
            ..Default::default()
        };
        for part in parts {
            log.parts.push(self.put(BlobKind::Log, part).await);
            log.total += part.len() as u64;
        }
        self.apply(Move::Tell {
            token: self.token(),
            news: Batch::default(),
            logs: [(stage, log)].into(),
            asked: None,
        })
        .await;
    }

    pub(crate) async fn settle(&self, outcome: Outcome, report: &Report, others: &[(BlobKind, &[u8])]) {
        let mut blobs = std::collections::BTreeMap::new();
        blobs.insert(
            BlobKind::Report,
            self.put(BlobKind::Report, &serde_json::to_vec(report).unwrap()).await,
        );
        for (kind, bytes) in others {
            blobs.insert(*kind, self.put(*kind, bytes).await);
        }
        self.apply(Move::Settle {
            token: self.token(),
            outcome: outcome.without_words(),
            kept: Kept {
                blobs,
                ..Kept::default()
            },
        })
        .await;
    }

    async fn apply(&self, what: Move) {
        self.house.ledger.apply(self.record.id, what).await.unwrap().unwrap();
    }
}

pub(crate) fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
}

pub(crate) fn with(
    mut request: axum::http::request::Builder,
    headers: &[(&str, &str)],
) -> axum::http::request::Builder {
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}
