use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use seatrial_server::{AppState, ServerConfig};
use serde_json::json;

use crate::support::{Answer, DOCKERFILE, House, request, with};

#[tokio::test]
async fn every_answer_has_a_correlation_id() {
    let house = House::new();
    let given = house.get_with("/healthz", &[("x-correlation-id", "a.B-c_9")]).await;
    assert_eq!(given.header("x-correlation-id"), "a.B-c_9");
    for bad in ["a b", "ä", &"x".repeat(129), ""] {
        let request = request(Method::GET, "/nowhere").header("x-correlation-id", bad.as_bytes());
        let answer = house.call(request.body(Body::empty()).unwrap()).await;
        let id = answer.header("x-correlation-id");
        assert!(id.len() == 26 && id != bad, "{id}");
        assert_eq!(answer.problem(), "not_found");
    }
}

#[tokio::test]
async fn a_trace_is_continued_when_it_is_one() {
    let house = House::new();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (given, kept) in [(trace, Some(trace)), ("00-0-0-0", None)] {
        let answer = house
            .post_json(
                "/v1/jobs",
                &[("traceparent", given)],
                &json!({"dockerfile": DOCKERFILE}),
            )
            .await;
        let record = house.record(answer.header("location")).await;
        assert_eq!(record.traceparent.as_deref(), kept);
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_and_says_what_is() {
    let house = House::new();
    let answer = house.get("/v1/nothing").await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (404, "not_found"));
    assert_eq!(answer.json()["instance"], "/v1/nothing");
    for (method, path, allow) in [
        (Method::PUT, "/v1/jobs", "GET,HEAD,POST"),
        (Method::POST, "/v1/jobs/x", "GET,HEAD,DELETE"),
        (Method::GET, "/v1/analyses", "POST"),
        (Method::OPTIONS, "/v1/jobs", "GET,HEAD,POST"),
        (Method::TRACE, "/healthz", "GET,HEAD"),
    ] {
        let answer = house.call(request(method, path).body(Body::empty()).unwrap()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (405, "method_not_allowed"),
            "{path}"
        );
        assert_eq!(answer.header("allow"), allow);
    }
    let head = house
        .call(request(Method::HEAD, "/v1/nothing").body(Body::empty()).unwrap())
        .await;
    assert_eq!((head.status.as_u16(), head.body.len()), (404, 0));
    assert_eq!(head.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn head_says_what_get_would() {
    let house = House::new();
    let path = house.submit().await;
    for path in [
        path.as_str(),
        "/v1/jobs",
        "/v1/limits",
        "/metrics",
        "/openapi.json",
        "/docs/",
    ] {
        let get = house.get(path).await;
        let head = house
            .call(request(Method::HEAD, path).body(Body::empty()).unwrap())
            .await;
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for name in ["content-type", "etag", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
}

#[tokio::test]
async fn answers_are_compressed_where_that_helps() {
    let house = House::new();
    let plain = house.get("/openapi.json").await;
    for coding in ["gzip", "zstd"] {
        let answer = house.get_with("/openapi.json", &[("accept-encoding", coding)]).await;
        assert_eq!(answer.header("content-encoding"), coding);
        assert!(answer.body.len() * 3 < plain.body.len());
    }
    let short = house.get_with("/healthz", &[("accept-encoding", "gzip")]).await;
    assert_eq!(short.header("content-encoding"), "");
    let path = house.submit().await;
    house.post(&format!("{path}/cancel")).await;
    let events = house
        .get_with(&format!("{path}/events"), &[("accept-encoding", "gzip")])
        .await;
    assert_eq!(events.header("content-encoding"), "");
}

#[tokio::test]
async fn nothing_is_stored_sniffed_or_framed() {
    let house = House::new();
    let answer = house.get("/v1/jobs").await;
    assert_eq!(
        ["x-content-type-options", "cache-control", "referrer-policy"].map(|name| answer.header(name)),
        ["nosniff", "no-store", "no-referrer"]
    );
    assert!(
        answer
            .header("content-security-policy")
            .starts_with("default-src 'none'")
    );
}

#[tokio::test]
async fn pages_of_other_origins_change_nothing() {
    let house = House::new();
    let body = json!({"dockerfile": DOCKERFILE});
    for origin in ["https://evil.example", "null", "http://localhost.evil.example", "x"] {
        let answer = house.post_json("/v1/jobs", &[("origin", origin)], &body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (403, "origin_refused"),
            "{origin}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    // Our own page.
    let own = house
        .post_json("/v1/jobs", &[("origin", "http://localhost")], &body)
        .await;
    assert_eq!(own.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn cors_is_off_unless_an_origin_is_named() {
    let preflight = [
        ("origin", "https://ui.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let house = House::new();
    let asked = || {
        with(request(Method::OPTIONS, "/v1/jobs"), &preflight)
            .body(Body::empty())
            .unwrap()
    };
    let answer = house.call(asked()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("access-control-allow-origin")),
        (405, "")
    );
    let config = ServerConfig {
        cors_origins: vec!["https://ui.example".to_owned()],
        ..ServerConfig::default()
    };
    let house = House::with(config, |_, _| {});
    let answer = house.call(asked()).await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://ui.example");
    let body = json!({"dockerfile": DOCKERFILE});
    let answer = house
        .post_json("/v1/jobs", &[("origin", "https://ui.example")], &body)
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert!(
        answer
            .header("access-control-expose-headers")
            .contains("x-correlation-id")
    );
    let other = house
        .post_json("/v1/jobs", &[("origin", "https://evil.example")], &body)
        .await;
    assert_eq!(
        (other.status.as_u16(), other.header("access-control-allow-origin")),
        (403, "")
    );
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_named() {
    let house = House::new();
    let config = ServerConfig {
        cors_origins: vec!["*".to_owned()],
        ..ServerConfig::default()
    };
    let error = AppState::new(house.service.clone(), &config).err().unwrap();
    assert!(error.to_string().starts_with("server.cors_origins: '*'"), "{error}");
}

#[tokio::test]
async fn bodies_share_a_bounded_memory_and_give_it_back() {
    let config = ServerConfig {
        max_body_memory_mib: 1,
        ..ServerConfig::default()
    };
    let house = House::with(config, |settings, _| {
        settings.policy.limits.dockerfile = bytesize::ByteSize::mib(4)
    });
    let large = vec![b'#'; 2 << 20];
    for _ in 0..2 {
        let answer = house
            .post_bytes("/v1/jobs", "text/x-dockerfile", &[], large.clone())
            .await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "busy"));
    }
    for _ in 0..5 {
        let mut text = DOCKERFILE.as_bytes().to_vec();
        text.extend(b"# a comment\n".repeat(70_000));
        let answer = house.post_bytes("/v1/jobs", "text/x-dockerfile", &[], text).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    }
}

async fn asked_as(house: &House, host: &str, path: &str) -> Answer {
    let request = axum::http::Request::builder().uri(path).header("host", host);
    house.call(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_page_that_rebinds_its_name_to_this_host_reaches_nothing() {
    let house = House::new();
    for ours in ["127.0.0.1:8080", "localhost", "LocalHost:1", "[::1]:8080", "127.0.0.1"] {
        assert_eq!(
            asked_as(&house, ours, "/v1/jobs").await.status,
            StatusCode::OK,
            "{ours}"
        );
    }
    for path in ["/v1/jobs", "/metrics", "/v1/jobs/x/result"] {
        let answer = asked_as(&house, "evil.example:8080", path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (421, "host_refused")
        );
    }
    // A second name beside ours is no way in.
    let twice = house.get_with("/v1/jobs", &[("host", "evil.example")]).await;
    assert_eq!(twice.problem(), "host_refused");
}

#[tokio::test]
async fn the_operator_says_under_which_names_the_api_is_known() {
    let config = ServerConfig {
        hosts: vec!["api.example.org".into()],
        ..ServerConfig::default()
    };
    let house = House::with(config, |_, _| {});
    assert_eq!(
        asked_as(&house, "API.example.org:443", "/v1/jobs").await.status,
        StatusCode::OK
    );
    assert_eq!(
        asked_as(&house, "localhost", "/v1/jobs").await.problem(),
        "host_refused"
    );
    let public = ServerConfig {
        listen: "0.0.0.0:80".parse().unwrap(),
        ..ServerConfig::default()
    };
    // A server in front writes the name that it was asked by.
    let house = House::with(public, |_, _| {});
    assert_eq!(asked_as(&house, "any.example", "/v1/jobs").await.status, StatusCode::OK);
}
