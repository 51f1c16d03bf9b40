//! The description is current and honest.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;
use seatrial_core::{
    digest::Digest,
    egress::{EgressRow, EgressVerdict, EgressView},
    engine::Usage,
    finding::{Finding, Level, Severity, Span},
    id::{CorrelationId, JobId},
    job::{Blame, Ending, Outcome, Reason, Stage},
    ledger::{Delivery, WorkerCard},
    record::{News, NewsBody},
    scanner::{DatabaseKind, Misconfiguration, Secret, Vulnerability},
    view::{
        AnalysisView, ArtifactView, BaseView, DockerfileView, ImageView, JobView, Report, ResultView, ScanView,
        StateWord, WaivedView,
    },
    walls::{self, Asked, Place, Proof, Walls},
};
use seatrial_server::wire::{
    JobDocument, WorkerView,
    requests::{JobOptions, JobRequest},
};
use serde_json::{Value, json, to_value};

use crate::{schema::differs, support::House};

/// Refreshed by `SEATRIAL_REFRESH=1 cargo test -p seatrial-server`, or by the example `openapi`.
#[test]
fn the_file_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let now = seatrial_server::openapi::json();
    if std::env::var_os("SEATRIAL_REFRESH").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let file = std::fs::read_to_string(&path).unwrap();
    assert!(
        file == now,
        "docs/openapi.json is not what the code says; run the tests again with SEATRIAL_REFRESH=1"
    );
}

fn digest() -> Digest {
    Digest::of(b"x")
}

fn standing() -> Walls {
    Walls {
        capabilities: vec!["x".to_owned()],
        ..Walls::default()
    }
    .proven_by(
        walls::Level::Gvisor
            .walls(Place::Run)
            .into_iter()
            .map(|wall| (wall, Proof::Seen))
            .collect(),
        Place::Run,
    )
}

/// Every field has something in it.
fn report() -> Report {
    let vulnerability = Vulnerability {
        id: "CVE-1-1".to_owned(),
        package: "p".to_owned(),
        installed: "1".to_owned(),
        fixed: Some("2".to_owned()),
        severity: Severity::Unknown,
        title: "t".to_owned(),
        target: "x".to_owned(),
        kept_from_base: false,
    };
    Report {
        message: "m".to_owned(),
        remedy: Some("r".to_owned()),
        analysis: AnalysisView {
            verdict: "deny".into(),
            findings: vec![Finding {
                rule: "ST003".into(),
                level: Level::Warn,
                line: 1,
                column: 1,
                span: Span::new(0, 1),
                message: "m".to_owned(),
                remedy: "r".into(),
                fix: None,
            }],
            counts: BTreeMap::from([(Level::Warn, 1)]),
            blocking: vec!["ST003".into()],
            waived: vec![WaivedView {
                rule: "ST016".to_owned(),
                line: Some(1),
                at: Some("p".to_owned()),
                reason: "r".to_owned(),
                owner: "o".to_owned(),
                expires: "2999-01-01".to_owned(),
            }],
            expired_waivers: vec![WaivedView {
                rule: "DL3022".to_owned(),
                line: None,
                at: None,
                reason: "r".to_owned(),
                owner: "o".to_owned(),
                expires: "2020-01-01".to_owned(),
            }],
        },
        scan: Some(ScanView {
            waived: vec![WaivedView {
                rule: "CVE-1-1".to_owned(),
                line: None,
                at: Some("zlib1g".to_owned()),
                reason: "r".to_owned(),
                owner: "o".to_owned(),
                expires: "2999-01-01".to_owned(),
            }],
            expired_waivers: Vec::new(),
            counts: BTreeMap::from([(Severity::Critical, 1)]),
            blocking: vec![vulnerability.clone()],
            secrets: vec![Secret {
                rule: "r".to_owned(),
                severity: Severity::Low,
                path: "p".to_owned(),
                line: 1,
            }],
            vulnerabilities: vec![vulnerability],
            misconfigurations: vec![Misconfiguration {
                id: "DS-0001".to_owned(),
                severity: Severity::Medium,
                message: "m".to_owned(),
                line: Some(1),
            }],
            os: Some("debian 12".to_owned()),
            packages: 1,
            scanner: "s".to_owned(),
            scanner_image: "i".to_owned(),
            database_kind: DatabaseKind::Real,
            database_updated_at: Timestamp::UNIX_EPOCH,
            database_sha256: "0".to_owned(),
            java_database_updated_at: None,
            sbom_sha256: Some(digest()),
        }),
        image: Some(ImageView {
            id: digest(),
            base_layers: 1,
            new_layers: 1,
            new_bytes: 1,
            user: "u".to_owned(),
            bases: vec![BaseView {
                name: "n".to_owned(),
                id: digest(),
                repo_digest: Some("sha256:0".to_owned()),
                user: String::new(),
            }],
        }),
        usage: BTreeMap::from([(
            Stage::Run,
            Usage {
                wall_s: Some(1.0),
                cpu_s: Some(0.5),
                memory_peak: Some(1),
                oom_events: Some(0),
                pids_events: Some(0),
                data_bytes: Some(1),
                sources: BTreeMap::from([("cpu_s".into(), "rusage".to_owned())]),
            },
        )]),
        timings_ms: BTreeMap::from([(Stage::Build, 7)]),
        build_walls: Some(standing()),
        walls: Some(standing()),
        egress: BTreeMap::from([(
            Stage::Build,
            EgressView {
                requests: vec![EgressRow {
                    host: "pypi.org".to_owned(),
                    port: 443,
                    method: "GET".to_owned(),
                    bytes_up: 1,
                    bytes_down: 2,
                    sha256: Some(digest()),
                    verdict: EgressVerdict::Refused,
                    reason: Some("r".to_owned()),
                    status: Some(403),
                }],
                more: 1,
            },
        )]),
        result: Some(ResultView {
            path: "/data/perf.json".to_owned(),
            value: json!({"perf": [1, null]}),
            sha256: digest(),
            bytes: 1,
        }),
        artifacts: vec![ArtifactView {
            name: "n".to_owned(),
            bytes: Some(1),
            sha256: Some(digest()),
            skipped: Some("s".to_owned()),
        }],
        artifact_blobs: BTreeMap::new(),
        log_tail: vec!["l".to_owned()],
    }
}

fn view(report: Report) -> JobView {
    JobView {
        id: JobId::fresh(),
        state: StateWord::Ended(Ending::TimedOut),
        stage: Some(Stage::Collect),
        attempt: 1,
        reason: Some(Reason::RunTime),
        blame: Some(Blame::Quota),
        message: Some("m".to_owned()),
        remedy: Some("r".to_owned()),
        queue_position: Some(1),
        created_at: Timestamp::UNIX_EPOCH,
        started_at: Some(Timestamp::UNIX_EPOCH),
        finished_at: Some(Timestamp::UNIX_EPOCH),
        deadline_at: Timestamp::UNIX_EPOCH,
        correlation_id: CorrelationId::accept_or_fresh("c"),
        labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        dockerfile: DockerfileView {
            digest: digest(),
            bytes: 1,
        },
        analysis: report.analysis,
        scan: report.scan,
        image: report.image,
        usage: report.usage,
        timings_ms: report.timings_ms,
        build_walls: report.build_walls,
        walls: report.walls,
        egress: report.egress,
        result: report.result,
        artifacts: report.artifacts,
        log_tail: report.log_tail,
    }
}

#[tokio::test]
async fn a_full_document_is_described() {
    let house = House::new();
    let path = house.submit().await;
    let mut record = house.record(&path).await;
    record.webhook = Some("https://x.example/".to_owned());
    record.worker = Some("w".to_owned());
    let delivery = Delivery {
        job: record.id,
        tries: 3,
        dead: true,
        last_error: Some("e".to_owned()),
    };
    let document = JobDocument::new(&record, view(report()), Some(delivery));
    let value = to_value(&document).unwrap();
    assert_eq!(differs("JobDocument", &value), [""; 0]);
    let mut plain = to_value(report()).unwrap();
    plain.as_object_mut().unwrap().remove("artifact_blobs");
    assert_eq!(differs("Report", &plain), [""; 0]);
    let read: JobDocument = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(to_value(read).unwrap(), value, "a client reads it back without loss");
}

#[test]
fn a_missing_and_an_unknown_field_are_seen() {
    let mut value = to_value(report()).unwrap();
    assert_eq!(differs("Report", &value), ["/artifact_blobs: is not described"]);
    value.as_object_mut().unwrap().remove("artifact_blobs");
    value["usage"]["run"].as_object_mut().unwrap().remove("cpu_s");
    assert_eq!(differs("Report", &value), ["/usage/run: \"cpu_s\" is missing"]);
}

#[test]
fn a_full_worker_is_described() {
    let card = WorkerCard {
        name: "n".to_owned(),
        host: "h".to_owned(),
        version: "1".to_owned(),
        slots: 1,
        busy: 0,
        draining: false,
        unfit: Some("u".to_owned()),
        build_walls: Some(standing()),
        walls: Some(standing()),
        database_updated_at: Some(Timestamp::UNIX_EPOCH),
        started_at: Timestamp::UNIX_EPOCH,
        seen_at: Some(Timestamp::UNIX_EPOCH),
    };
    assert_eq!(differs("Worker", &to_value(WorkerView::new(card)).unwrap()), [""; 0]);
}

#[test]
fn every_kind_of_event_is_described() {
    let outcome = Outcome::cancelled();
    let bodies = [
        NewsBody::Queued { attempt: 1 },
        NewsBody::Claimed {
            worker: "w".to_owned(),
            attempt: 1,
        },
        NewsBody::StageStarted { stage: Stage::Scan },
        NewsBody::StageFinished {
            stage: Stage::Scan,
            millis: 1,
        },
        NewsBody::BuildStep {
            step: 1,
            of: 2,
            text: "t".to_owned(),
        },
        NewsBody::Note { text: "t".to_owned() },
        NewsBody::Log {
            stage: Stage::Run,
            total: 1,
        },
        NewsBody::Lost { worker: "w".to_owned() },
        NewsBody::Faulted {
            reason: Reason::EngineGone,
            again_at: None,
        },
        NewsBody::Faulted {
            reason: Reason::EngineGone,
            again_at: Some(Timestamp::UNIX_EPOCH),
        },
        NewsBody::HandedBack { worker: "w".to_owned() },
        NewsBody::CancelRequested,
        NewsBody::Settled {
            state: outcome.ending,
            reason: outcome.reason,
            blame: outcome.blame,
        },
    ];
    for body in bodies {
        let news = News {
            seq: 1,
            at: Timestamp::UNIX_EPOCH,
            body,
        };
        let value = to_value(news).unwrap();
        assert_eq!(differs("News", &value), [""; 0], "{value}");
    }
}

#[tokio::test]
async fn what_the_request_types_write_is_what_the_server_reads() {
    let house = House::new();
    let request = JobRequest {
        dockerfile: crate::support::DOCKERFILE.to_owned(),
        labels: Some(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
        priority: Some(seatrial_core::record::Priority::Low),
        delay: Some("10s".to_owned()),
        result: Some("/data/x/y.json".to_owned()),
        artifacts: Some(true),
        webhook: None,
        walls: Some(Asked {
            run: ["gvisor".parse().unwrap()].into(),
            ..Asked::default()
        }),
    };
    let value = to_value(&request).unwrap();
    assert_eq!(differs("JobRequest", &value), [""; 0]);
    let answer = house.post_json("/v1/jobs", &[], &value).await;
    assert_eq!(answer.json()["priority"], "low", "{}", answer.text());
    let mut nulls = json!({"dockerfile": crate::support::DOCKERFILE});
    for name in ["labels", "priority", "delay", "result", "artifacts", "webhook", "walls"] {
        nulls[name] = Value::Null;
    }
    assert_eq!(differs("JobRequest", &nulls), [""; 0]);
    assert_eq!(house.post_json("/v1/jobs", &[], &nulls).await.status.as_u16(), 202);
    assert_eq!(
        differs("JobOptions", &to_value(JobOptions::default()).unwrap()),
        [""; 0]
    );
}

#[tokio::test]
async fn the_page_shows_the_description_with_its_own_assets_only() {
    let house = House::new();
    let index = house.get("/docs").await;
    assert_eq!((index.status.as_u16(), index.header("location")), (308, "/docs/"));
    let page = house.get("/docs/").await;
    assert_eq!(page.header("content-type"), "text/html");
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("script-src 'self';") && policy.contains("default-src 'none'"),
        "{policy}"
    );
    let text = page.text();
    assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
    for part in text.split(['"', '\'']).filter(|part| part.starts_with("./")) {
        let asset = house.get(&format!("/docs/{}", part.trim_start_matches("./"))).await;
        assert_eq!(asset.status.as_u16(), 200, "{part}");
    }
    let script = text.split("<script").skip(1).all(|script| script.contains("src="));
    assert!(script, "a script in the page would not run under its policy");
    let start = house.get("/docs/swagger-initializer.js").await;
    assert!(start.text().contains("/openapi.json"), "{}", start.text());
    assert_eq!(house.get("/docs/none.js").await.problem(), "not_found");
    assert_eq!(house.get("/docs/..%2f..%2fCargo.toml").await.problem(), "not_found");
}

#[tokio::test]
async fn every_problem_has_its_place_on_the_page() {
    let house = House::new();
    let page = house.get("/docs/problems").await.text();
    for code in seatrial_server::problem::Code::ALL {
        assert!(page.contains(&format!("id=\"{}\"", code.facts().code)));
    }
}
