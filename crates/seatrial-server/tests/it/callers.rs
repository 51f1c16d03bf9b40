use std::net::SocketAddr;

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request, StatusCode},
};
use seatrial_server::{CallerConfig, ServerConfig};
use serde_json::json;

use crate::support::{Answer, DOCKERFILE, House, request, with};

fn house() -> House {
    let config = ServerConfig {
        caller: CallerConfig {
            header: Some("X-Caller".to_owned()),
            peers: vec!["10.0.0.0/24".to_owned()],
            operators: vec!["olga".to_owned()],
        },
        ..ServerConfig::default()
    };
    House::with(config, |_, _| {})
}

async fn call(house: &House, peer: &str, caller: Option<&str>, mut request: Request<Body>) -> Answer {
    if let Some(caller) = caller {
        request.headers_mut().append("x-caller", caller.parse().unwrap());
    }
    let peer: SocketAddr = format!("{peer}:4711").parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    house.call(request).await
}

async fn ask(house: &House, caller: &str, method: Method, path: &str) -> Answer {
    let request = request(method, path).body(Body::empty()).unwrap();
    call(house, "10.0.0.7", Some(caller), request).await
}

async fn submit(house: &House, caller: &str, headers: &[(&str, &str)]) -> Answer {
    let request = with(request(Method::POST, "/v1/jobs"), headers).header("content-type", "application/json");
    let body = json!({"dockerfile": DOCKERFILE}).to_string();
    call(house, "10.0.0.7", Some(caller), request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn jobs_are_seen_by_their_caller_and_by_operators_only() {
    let house = house();
    let job = submit(&house, "ann", &[]).await;
    let path = job.header("location");
    assert_eq!(job.json()["caller"], "ann");
    for part in [
        "",
        "/events",
        "/logs",
        "/result",
        "/report",
        "/sbom",
        "/artifacts",
        "/artifacts/x",
    ] {
        let answer = ask(&house, "bob", Method::GET, &format!("{path}{part}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (404, "no_such_job"),
            "{part}"
        );
    }
    assert_eq!(
        ask(&house, "bob", Method::POST, &format!("{path}/cancel"))
            .await
            .problem(),
        "no_such_job"
    );
    assert_eq!(ask(&house, "bob", Method::DELETE, path).await.problem(), "no_such_job");
    let listed = async |caller: &str| {
        let list = ask(&house, caller, Method::GET, "/v1/jobs").await.json();
        list["jobs"].as_array().unwrap().len()
    };
    assert_eq!(
        (listed("ann").await, listed("bob").await, listed("olga").await),
        (1, 0, 1)
    );
    assert_eq!(ask(&house, "olga", Method::GET, path).await.json()["state"], "queued");
    assert_eq!(
        ask(&house, "ann", Method::POST, &format!("{path}/cancel")).await.json()["state"],
        "cancelled"
    );
}

#[tokio::test]
async fn idempotency_keys_are_each_callers_own() {
    let house = house();
    let key = [("idempotency-key", "k")];
    let of_ann = submit(&house, "ann", &key).await.json();
    let of_bob = submit(&house, "bob", &key).await.json();
    assert_ne!(of_ann["id"], of_bob["id"]);
}

#[tokio::test]
async fn the_header_is_believed_from_the_server_in_front_alone() {
    let house = house();
    let asked = || request(Method::GET, "/v1/jobs").body(Body::empty()).unwrap();
    let outside = call(&house, "10.0.1.7", Some("olga"), asked()).await;
    let nameless = call(&house, "10.0.0.7", None, asked()).await;
    let odd = call(&house, "10.0.0.7", Some("a b"), asked()).await;
    let mut doubled = asked();
    doubled.headers_mut().append("x-caller", "ann".parse().unwrap());
    let doubled = call(&house, "10.0.0.7", Some("olga"), doubled).await;
    let peerless = house.call(asked()).await;
    for answer in [outside, nameless, odd, doubled, peerless] {
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (403, "caller_unknown")
        );
    }
}

#[tokio::test]
async fn probes_need_no_caller() {
    let house = house();
    for path in [
        "/healthz",
        "/metrics",
        "/openapi.json",
        "/docs/",
        "/docs/problems",
        "/docs/swagger-ui.css",
    ] {
        assert_eq!(house.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(house.get("/v1/version").await.status, StatusCode::FORBIDDEN);
}
