use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use seatrial_core::{
    digest::Digest,
    finding::Severity,
    job::{Outcome, Reason, Stage},
    scanner::{DatabaseKind, Secret, Vulnerability},
    vault::BlobKind,
    view::{AnalysisView, ArtifactView, Report, ScanView, WaivedView},
};
use seatrial_server::ServerConfig;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{DOCKERFILE, House, request};

fn succeeded() -> Outcome {
    Outcome::new(
        seatrial_core::job::Ending::Succeeded,
        Reason::Ok,
        seatrial_core::job::Blame::Nobody,
        "It went well.",
    )
}

/// A job that is over, with these bytes; its path.
async fn over(house: &House, outcome: Outcome, report: &Report, others: &[(BlobKind, &[u8])]) -> String {
    let path = house.submit().await;
    house.claim().await.settle(outcome, report, others).await;
    path
}

#[tokio::test]
async fn the_result_is_the_exact_bytes_with_their_digest() {
    let house = House::new();
    let bytes = b" {\"perf\": 1.0}\n";
    let path = over(&house, succeeded(), &Report::default(), &[(BlobKind::Result, bytes)]).await;
    let answer = house
        .get_with(&format!("{path}/result"), &[("accept-encoding", "gzip, zstd")])
        .await;
    assert_eq!(&answer.body[..], bytes);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("content-encoding"), "");
    // printf ' {"perf": 1.0}\n' | openssl dgst -sha256 -binary | base64
    assert_eq!(
        answer.header("content-digest"),
        "sha-256=:ERUJYuAc4f798u4y9hLl+KeyTD0M1Yu2zvPfq0VHRaE=:"
    );
    assert_eq!(answer.header("repr-digest"), answer.header("content-digest"));
    let etag = format!("\"{}\"", Digest::of(bytes));
    assert_eq!(answer.header("etag"), etag);
    let held = house
        .get_with(&format!("{path}/result"), &[("if-none-match", &etag)])
        .await;
    assert_eq!((held.status, held.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let head = request(Method::HEAD, &format!("{path}/result"));
    let head = house.call(head.body(Default::default()).unwrap()).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), bytes.len().to_string());
    for without_bytes in [head, held] {
        assert_eq!(without_bytes.header("content-digest"), "");
        assert_eq!(without_bytes.header("repr-digest"), answer.header("repr-digest"));
    }
    // Long enough to be worth compressing, and sent as it is.
    let long = format!("[{}1]", "1, ".repeat(2000));
    let path = over(
        &house,
        succeeded(),
        &Report::default(),
        &[(BlobKind::Result, long.as_bytes())],
    )
    .await;
    let answer = house
        .get_with(&format!("{path}/result"), &[("accept-encoding", "gzip, zstd")])
        .await;
    assert_eq!((answer.header("content-encoding"), answer.text()), ("", long));
}

#[tokio::test]
async fn what_a_job_does_not_have_yet_or_at_all_is_told_apart() {
    let house = House::new();
    let path = house.submit().await;
    for part in ["result", "report", "sbom", "artifacts", "artifacts/x"] {
        let answer = house.get(&format!("{path}/{part}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (409, "not_ready"),
            "{part}"
        );
        assert_eq!(answer.header("retry-after"), "1");
    }
    let failed = Outcome::failed(Reason::ExitCode, "secret words");
    house.claim().await.settle(failed, &Report::default(), &[]).await;
    for part in ["result", "sbom", "artifacts/x"] {
        let answer = house.get(&format!("{path}/{part}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (404, "not_produced"),
            "{part}"
        );
        assert_eq!(answer.json()["reason"], "exit_code");
        assert!(answer.text().contains("failed") && !answer.text().contains("secret words"));
    }
    let record = house.record(&path).await;
    house.service.vault.erase(record.id).await.unwrap();
    for part in ["report", "artifacts"] {
        let answer = house.get(&format!("{path}/{part}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (410, "gone"),
            "{part}"
        );
    }
}

#[tokio::test]
async fn artifacts_are_handed_out_as_files_and_never_shown() {
    let house = House::new();
    let path = house.submit().await;
    let hand = house.claim().await;
    let html = b"<script>alert(1)</script>";
    let blob = hand.put(BlobKind::Artifact, html).await;
    let view = |name: &str, skipped: Option<&str>| ArtifactView {
        name: name.to_owned(),
        bytes: Some(html.len() as u64),
        sha256: Some(Digest::of(html)),
        skipped: skipped.map(str::to_owned),
    };
    let report = Report {
        artifacts: vec![view("page.html", None), view("a\\nb", Some("its name is not plain"))],
        artifact_blobs: BTreeMap::from([("page.html".to_owned(), blob)]),
        ..Report::default()
    };
    hand.settle(succeeded(), &report, &[]).await;
    let list = house.get(&format!("{path}/artifacts")).await.json();
    assert_eq!(list["artifacts"][0]["href"], format!("{path}/artifacts/page.html"));
    assert_eq!(list["artifacts"][1]["href"], Value::Null);
    let file = house.get(list["artifacts"][0]["href"].as_str().unwrap()).await;
    assert_eq!(&file.body[..], html);
    assert_eq!(file.header("content-type"), "application/octet-stream");
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"page.html\"");
    assert_eq!(file.header("x-content-type-options"), "nosniff");
    assert!(file.header("content-security-policy").contains("sandbox"));
    for bad in ["x", "..", "%2e%2e%2fpage.html", "page.html%0a", "a%5cnb"] {
        assert_eq!(
            house.get(&format!("{path}/artifacts/{bad}")).await.status,
            StatusCode::NOT_FOUND,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn answers_that_nobody_takes_do_not_fill_the_memory() {
    let config = ServerConfig {
        max_answer_memory_mib: 1,
        ..ServerConfig::default()
    };
    let house = House::with(config, |_, _| {});
    let path = house.submit().await;
    let hand = house.claim().await;
    let result = format!("\"{}\"", "x".repeat(400 << 10)).into_bytes();
    hand.settle(succeeded(), &Report::default(), &[(BlobKind::Result, &result)])
        .await;
    let ask = || {
        let request = request(Method::GET, &format!("{path}/result"))
            .body(Body::empty())
            .unwrap();
        house.router.clone().oneshot(request)
    };
    let untaken = ask().await.unwrap();
    assert_eq!(untaken.status(), StatusCode::OK);
    let refused = house.get(&format!("{path}/result")).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "busy"));
    assert!(!refused.header("retry-after").is_empty());
    drop(untaken);
    assert_eq!(house.get(&format!("{path}/result")).await.body.len(), result.len());
}

fn scanned() -> ScanView {
    let vulnerability = |id: &str, severity| Vulnerability {
        id: id.to_owned(),
        package: "zlib\u{1b}".to_owned(),
        installed: "1.0".to_owned(),
        fixed: None,
        severity,
        title: "a title".to_owned(),
        target: "debian 12".to_owned(),
        kept_from_base: true,
    };
    ScanView {
        counts: BTreeMap::from([(Severity::Critical, 1), (Severity::Low, 1)]),
        blocking: vec![vulnerability("CVE-1-1", Severity::Critical)],
        secrets: vec![Secret {
            rule: "aws".to_owned(),
            severity: Severity::High,
            path: "/root/.aws".to_owned(),
            line: 3,
        }],
        waived: Vec::new(),
        expired_waivers: Vec::new(),
        vulnerabilities: vec![
            vulnerability("CVE-1-1", Severity::Critical),
            vulnerability("CVE-1-2", Severity::Low),
        ],
        misconfigurations: Vec::new(),
        os: Some("debian 12".to_owned()),
        packages: 3,
        scanner: "trivy".to_owned(),
        scanner_image: "sha256:0".to_owned(),
        database_kind: DatabaseKind::Fixture,
        database_updated_at: jiff::Timestamp::UNIX_EPOCH,
        database_sha256: "00".to_owned(),
        java_database_updated_at: None,
        sbom_sha256: None,
    }
}

#[tokio::test]
async fn the_report_comes_as_json_or_sarif() {
    let house = House::new();
    let answer = house
        .post_json(
            "/v1/analyses",
            &[],
            &json!({"dockerfile": "FROM debian\nRUN --security=insecure id\n"}),
        )
        .await;
    let mut analysis: AnalysisView = serde_json::from_value(answer.json()).unwrap();
    analysis.waived.push(WaivedView {
        rule: "ST003".to_owned(),
        line: Some(2),
        at: None,
        reason: "known".to_owned(),
        owner: "ann".to_owned(),
        expires: "2999-01-01".to_owned(),
    });
    let report = Report {
        analysis,
        scan: Some(scanned()),
        ..Report::default()
    };
    let path = over(&house, succeeded(), &report, &[]).await;
    let plain = house.get(&format!("{path}/report")).await;
    assert_eq!(plain.header("content-type"), "application/json");
    assert_eq!(plain.header("vary"), "accept");
    assert!(plain.json().get("artifact_blobs").is_none());
    assert_eq!(plain.json()["scan"]["database_kind"], "fixture");
    let sarif = house
        .get_with(&format!("{path}/report"), &[("accept", "application/sarif+json")])
        .await;
    assert_eq!(sarif.header("content-type"), "application/sarif+json");
    let log = sarif.json();
    let run = &log["runs"][0];
    assert_eq!(log["version"], "2.1.0");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for result in run["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(result["message"]["text"].is_string());
        assert_eq!(result["suppressions"].is_array(), result["ruleId"] == "ST003");
    }
    let ids: Vec<&str> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    for id in ["ST003", "CVE-1-1", "CVE-1-2", "secret:aws"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    assert!(
        !sarif.text().contains("\\u001b"),
        "a guest's control characters are made visible"
    );
    let none = house
        .get_with(&format!("{path}/report"), &[("accept", "image/png")])
        .await;
    assert_eq!((none.status.as_u16(), none.problem().as_str()), (406, "not_acceptable"));
    let etag = plain.header("etag").to_owned();
    assert_eq!(
        house
            .get_with(&format!("{path}/report"), &[("if-none-match", &etag)])
            .await
            .status
            .as_u16(),
        304
    );
}

#[tokio::test]
async fn the_sbom_is_what_the_scanner_wrote() {
    let house = House::new();
    let sbom = br#"{"bomFormat": "CycloneDX"}"#;
    let path = over(&house, succeeded(), &Report::default(), &[(BlobKind::Sbom, sbom)]).await;
    let answer = house.get(&format!("{path}/sbom")).await;
    assert_eq!(answer.header("content-type"), "application/vnd.cyclonedx+json");
    assert_eq!(&answer.body[..], sbom);
    assert_eq!(house.get(&path).await.json()["links"]["sbom"], format!("{path}/sbom"));
}

#[tokio::test]
async fn the_dockerfile_is_not_served() {
    let house = House::new();
    let path = house.submit().await;
    house.claim().await.settle(succeeded(), &Report::default(), &[]).await;
    for part in ["", "/report", "/logs", "/dockerfile"] {
        let answer = house.get(&format!("{path}{part}")).await;
        assert!(!answer.text().contains("unmistakable"), "{part}");
    }
    assert_eq!(house.get(&format!("{path}/dockerfile")).await.problem(), "not_found");
}

#[tokio::test]
async fn logs_are_read_by_offset_and_by_range() {
    let house = House::new();
    let path = house.submit().await;
    let none = house.get(&format!("{path}/logs")).await;
    assert_eq!((none.text().as_str(), none.header("x-log-complete")), ("", "false"));
    let hand = house.claim().await;
    hand.log(Stage::Build, &[b"one\n", b"two\x1b[2J\n"], false).await;
    let whole = house.get(&format!("{path}/logs")).await;
    assert_eq!(whole.text(), "one\ntwo\u{1b}[2J\n");
    assert_eq!(
        ["x-log-stage", "x-next-offset", "x-log-complete"].map(|name| whole.header(name)),
        ["build", "12", "false"]
    );
    let escaped = house.get(&format!("{path}/logs?escape=true&stage=build")).await;
    assert_eq!(escaped.text(), "one\ntwo\\u{1b}[2J\n");
    let piece = house.get(&format!("{path}/logs?offset=2&limit=4")).await;
    assert_eq!((piece.text().as_str(), piece.header("x-next-offset")), ("e\ntw", "6"));
    let ranged = async |range: &str| house.get_with(&format!("{path}/logs"), &[("range", range)]).await;
    let middle = ranged("bytes=2-5").await;
    assert_eq!((middle.status.as_u16(), middle.text().as_str()), (206, "e\ntw"));
    assert_eq!(middle.header("content-range"), "bytes 2-5/12");
    assert_eq!(ranged("bytes=-5").await.text(), "\u{1b}[2J\n");
    assert_eq!(ranged("bytes=10-99").await.header("content-range"), "bytes 10-11/12");
    let behind = ranged("bytes=12-").await;
    assert_eq!(
        (behind.status.as_u16(), behind.problem().as_str()),
        (416, "range_not_satisfiable")
    );
    assert_eq!(behind.header("content-range"), "bytes */12");
    assert_eq!(ranged("lines=1-2").await.status, StatusCode::OK);
    let behind = house.get(&format!("{path}/logs?offset=999")).await;
    assert_eq!((behind.status.as_u16(), behind.body.len()), (200, 0));
    hand.log(Stage::Build, &[b"all"], true).await;
    let all = house.get(&format!("{path}/logs?stage=build")).await;
    assert_eq!((all.text().as_str(), all.header("x-log-complete")), ("all", "true"));
    assert_eq!(
        house.get(&format!("{path}/logs?stage=sail")).await.problem(),
        "bad_parameter"
    );
}

#[tokio::test]
async fn an_analysis_comes_as_json_sarif_or_text_and_keeps_nothing() {
    let house = House::new();
    let body = json!({"dockerfile": "FROM debian\nRUN --security=insecure id\n"});
    let plain = house.post_json("/v1/analyses", &[], &body).await;
    assert_eq!((plain.status.as_u16(), &plain.json()["verdict"]), (200, &json!("deny")));
    assert!(plain.json()["message"].as_str().unwrap().contains("ST003"));
    let sarif = house
        .post_json("/v1/analyses", &[("accept", "application/sarif+json")], &body)
        .await;
    let sarif = sarif.json();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let security = results.iter().find(|result| result["ruleId"] == "ST003").unwrap();
    assert_eq!(security["locations"][0]["physicalLocation"]["region"]["startLine"], 2);
    let text = house
        .post_json("/v1/analyses", &[("accept", "text/plain")], &body)
        .await;
    assert!(text.text().contains("Dockerfile:2:5: error[ST003]"), "{}", text.text());
    let pass = house
        .post_bytes("/v1/analyses", "text/x-dockerfile", &[], DOCKERFILE.into())
        .await;
    assert_eq!(
        (&pass.json()["verdict"], &pass.json()["message"]),
        (&json!("pass"), &Value::Null)
    );
    let odd = house
        .post_json("/v1/analyses", &[], &json!({"dockerfile": "FRMO x\n"}))
        .await;
    assert_eq!(
        (odd.status.as_u16(), &odd.json()["blocking"][0]),
        (200, &json!("ST040"))
    );
    let extra = house
        .post_json(
            "/v1/analyses",
            &[],
            &json!({"dockerfile": "FROM x\n", "priority": "high"}),
        )
        .await;
    assert_eq!(extra.json()["errors"][0]["pointer"], "/priority");
    assert!(house.bytes.everything().is_empty());
}

#[tokio::test]
async fn the_installation_says_what_it_is() {
    let house = House::new();
    let limits = house.get("/v1/limits").await.json();
    assert_eq!(
        (&limits["dockerfile_bytes"], &limits["run"]["time_s"]),
        (&json!(262_144), &json!(60.0))
    );
    let policy = house.get("/v1/policy").await.json();
    assert_eq!(
        policy["digest"],
        Digest::of(policy["toml"].as_str().unwrap().as_bytes()).to_string()
    );
    assert_eq!(policy["policy"]["version"], 1);
    let version = house.get("/v1/version").await.json();
    assert_eq!(
        (&version["ledger"]["kind"], &version["allow_loss"]),
        (&json!("memory"), &json!(true))
    );
    house.submit().await;
    let queue = house.get("/v1/queue").await.json();
    assert_eq!(queue["waiting"]["normal"], 1);
    assert_eq!(house.get("/healthz").await.text(), "ok\n");
}

#[tokio::test(start_paused = true)]
async fn ready_means_that_a_fit_worker_is_there() {
    let house = House::new();
    let answer = house.get("/readyz").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["ready"]), (503, &json!(false)));
    house.fake.script().no_pids_limit = true;
    let (weak, _phase) = house.worker("weak");
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let answer = house.get("/readyz").await;
    assert_eq!(answer.status.as_u16(), 503);
    assert!(answer.text().contains("weak: "), "it says why: {}", answer.text());
    let workers = house.get("/v1/workers").await.json();
    assert_eq!(
        (&workers["workers"][0]["name"], &workers["workers"][0]["fit"]),
        (&json!("weak"), &json!(false))
    );
    weak.abort();
    house.fake.script().no_pids_limit = false;
    let _ann = house.worker("ann");
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let answer = house.get("/readyz").await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    house.ledger.away(true);
    let answer = house.get("/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "5"));
    house.ledger.away(false);
    house.state.go();
    assert!(house.get("/readyz").await.text().contains("it is going"));
}
