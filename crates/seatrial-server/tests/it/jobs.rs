use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use seatrial_core::ledger::Ledger as _;
use serde_json::{Value, json};

use crate::support::{DOCKERFILE, House, request, with};

#[tokio::test(start_paused = true)]
async fn a_job_is_handed_in_worked_on_and_its_result_fetched() {
    let house = House::new();
    let body = json!({"dockerfile": DOCKERFILE, "labels": {"team": "blue"}, "priority": "high"});
    let answer = house.post_json("/v1/jobs", &[("x-correlation-id", "c-1")], &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let job = answer.json();
    assert_eq!(answer.header("location"), job["links"]["self"]);
    assert_eq!((&job["state"], &job["queue_position"]), (&json!("queued"), &json!(0)));
    assert_eq!(
        (&job["priority"], &job["correlation_id"]),
        (&json!("high"), &json!("c-1"))
    );
    assert_eq!(job["labels"], json!({"team": "blue"}));
    assert_eq!(job["analysis"]["verdict"], "pass");
    let path = answer.header("location");
    let _worker = house.worker("ann");
    let done = house.until(path, |job| job["finished_at"].is_string()).await;
    assert_eq!(
        (&done["state"], &done["reason"]),
        (&json!("succeeded"), &json!("ok")),
        "{done}"
    );
    assert_eq!(done["result"]["value"], json!({"perf": 0.99}));
    let result = house.get(done["links"]["result"].as_str().unwrap()).await;
    assert_eq!(result.text(), r#"{"perf": 0.99}"#);
}

#[tokio::test]
async fn a_plain_dockerfile_is_taken() {
    let house = House::new();
    let answer = house
        .post_bytes("/v1/jobs", "text/x-dockerfile; charset=utf-8", &[], DOCKERFILE.into())
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.json()["dockerfile"]["bytes"], DOCKERFILE.len());
}

#[tokio::test]
async fn a_denial_is_a_job_and_not_an_error() {
    let house = House::new();
    let body = json!({"dockerfile": "FROM debian\nRUN --security=insecure id\n"});
    let answer = house.post_json("/v1/jobs", &[], &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let job = answer.json();
    assert_eq!((&job["state"], &job["blame"]), (&json!("rejected"), &json!("policy")));
    assert!(
        job["analysis"]["blocking"]
            .as_array()
            .unwrap()
            .contains(&json!("ST003")),
        "{job}"
    );
    assert!(!answer.headers.contains_key("retry-after"), "it is over");
}

#[tokio::test]
async fn a_text_that_is_no_dockerfile_is_refused_with_every_place() {
    let house = House::new();
    let answer = house
        .post_json("/v1/jobs", &[], &json!({"dockerfile": "FRMO debian\nRUNN x\n"}))
        .await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.problem(), "unparsable_dockerfile");
    let problem = answer.json();
    let lines: Vec<&Value> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["line"])
        .collect();
    assert!(lines.contains(&&json!(1)) && lines.contains(&&json!(2)), "{problem}");
    let first = &problem["errors"][0];
    assert_eq!(
        (&first["pointer"], &first["rule"]),
        (&json!("/dockerfile"), &json!("ST040"))
    );
    assert!(first["span"][1].as_u64() > first["span"][0].as_u64());
    assert!(
        house.get("/v1/jobs").await.json()["jobs"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_submission_is_pointed_at() {
    let house = House::new();
    let body = json!({
        "dockerfile": DOCKERFILE, "labels": {"a b": "x", "ok": 7}, "priority": "urgent", "delay": "soon",
        "result": "/etc/passwd", "artifacts": "yes", "webhook": "ftp://x", "dockerfle": "x", "a/b~c": 1,
    });
    let answer = house.post_json("/v1/jobs", &[], &body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (422, "invalid_submission")
    );
    let problem = answer.json();
    let mut pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/artifacts",
            "/a~1b~0c",
            "/delay",
            "/dockerfle",
            "/labels/a b",
            "/labels/ok",
            "/priority",
            "/result",
            "/webhook"
        ]
    );
}

#[tokio::test]
async fn malformed_json_says_where() {
    let house = House::new();
    for (text, what) in [
        ("{\"dockerfile\": \"x\",\n  oops}", "line 2 column 3"),
        ("{\"dockerfile\": \"x\", \"dockerfile\": \"y\"}", "twice"),
        (&"[".repeat(100_000), "recursion limit"),
        ("", "empty"),
    ] {
        let answer = house.post_bytes("/v1/jobs", "application/json", &[], text.into()).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "malformed"));
        assert!(answer.text().contains(what), "{}", answer.text());
    }
    for text in ["[]", "7", "{}", "{\"dockerfile\": 7}"] {
        let answer = house.post_bytes("/v1/jobs", "application/json", &[], text.into()).await;
        assert_eq!(answer.problem(), "invalid_submission", "{text}");
    }
}

#[tokio::test]
async fn webhooks_are_refused_while_they_are_off() {
    let house = House::new();
    let body = json!({"dockerfile": DOCKERFILE, "webhook": "https://hooks.example/x"});
    let answer = house.post_json("/v1/jobs", &[], &body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (422, "webhooks_off")
    );
    let config = seatrial_server::ServerConfig {
        webhooks: seatrial_server::WebhookConfig {
            enabled: true,
            ..Default::default()
        },
        ..Default::default()
    };
    let house = House::with(config, |_, _| {});
    let job = house.post_json("/v1/jobs", &[], &body).await.json();
    assert_eq!(job["webhook"]["state"], "waiting", "{job}");
    assert_eq!(
        house
            .record(job["links"]["self"].as_str().unwrap())
            .await
            .webhook
            .unwrap(),
        "https://hooks.example/x"
    );
}

#[tokio::test]
async fn bodies_of_other_kinds_and_sizes_are_refused() {
    let house = House::new();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        "application/json+x",
    ] {
        let answer = house.post_bytes("/v1/jobs", kind, &[], b"x".to_vec()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (415, "unsupported_media_type"),
            "{kind}"
        );
    }
    let coded = house
        .post_bytes(
            "/v1/jobs",
            "text/x-dockerfile",
            &[("content-encoding", "gzip")],
            b"x".to_vec(),
        )
        .await;
    assert_eq!(coded.problem(), "unsupported_media_type");
    let long = vec![b'#'; (256 << 10) + 1];
    let answer = house
        .post_bytes("/v1/jobs", "text/x-dockerfile", &[], long.clone())
        .await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (413, "too_large"));
    let text = String::from_utf8(long).unwrap();
    let answer = house.post_json("/v1/jobs", &[], &json!({"dockerfile": text})).await;
    assert_eq!(answer.json()["errors"][0]["pointer"], "/dockerfile");
    let answer = house.post_json("/v1/analyses", &[], &json!({"dockerfile": text})).await;
    assert_eq!(answer.problem(), "too_large");
}

#[tokio::test]
async fn the_same_key_gives_the_same_job_and_another_body_is_refused() {
    let house = House::new();
    let key = [("idempotency-key", "k-1")];
    let body = json!({"dockerfile": DOCKERFILE});
    let first = house.post_json("/v1/jobs", &key, &body).await;
    let again = house.post_json("/v1/jobs", &key, &body).await;
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(
        (first.header("idempotent-replay"), again.header("idempotent-replay")),
        ("", "true")
    );
    let other = house
        .post_json("/v1/jobs", &key, &json!({"dockerfile": DOCKERFILE, "artifacts": true}))
        .await;
    assert_eq!(
        (other.status.as_u16(), other.problem().as_str()),
        (422, "idempotency_key_reused")
    );
    for bad in ["", "a b", &"x".repeat(256), "ä"] {
        let request = with(
            request(Method::POST, "/v1/jobs"),
            &[("content-type", "application/json")],
        );
        let request = request.header("idempotency-key", bad.as_bytes());
        let answer = house.call(request.body(Body::from(body.to_string())).unwrap()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (400, "malformed"),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_again() {
    let house = House::with(Default::default(), |_, queue| queue.max_waiting = 1);
    house.submit().await;
    let answer = house
        .post_json("/v1/jobs", &[], &json!({"dockerfile": DOCKERFILE}))
        .await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "queue_full"));
    assert_eq!(answer.header("retry-after"), "30");
    assert_eq!(answer.json()["retryable"], true);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_prefers_to_wait_gets_the_end() {
    let house = House::new();
    let _worker = house.worker("ann");
    let body = json!({"dockerfile": DOCKERFILE});
    let answer = house
        .post_json("/v1/jobs", &[("prefer", "respond-async, wait=999")], &body)
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.json()["state"], "succeeded");
    assert_eq!(answer.header("preference-applied"), "wait=60");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_its_time_is_over() {
    let house = House::new();
    let path = house.submit().await;
    let begun = tokio::time::Instant::now();
    let answer = house.get_with(&path, &[("prefer", "wait=5")]).await;
    assert_eq!(answer.json()["state"], "queued");
    assert!((5..7).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_delay_beyond_the_bound_is_refused_and_not_cut() {
    let house = House::new();
    let body = json!({"dockerfile": DOCKERFILE, "delay": "25h"});
    let answer = house.post_json("/v1/jobs", &[], &body).await;
    assert_eq!(answer.json()["errors"][0]["pointer"], "/delay");
    let path = house.submit_with(json!({"delay": "1h 30m"})).await;
    let record = house.record(&path).await;
    assert_eq!((record.not_before - record.created_at).as_secs(), 5400);
    assert_eq!(
        house.get(&path).await.json()["queue_position"],
        Value::Null,
        "it does not wait yet"
    );
}

#[tokio::test]
async fn a_job_that_the_caller_holds_is_not_sent_again() {
    let house = House::new();
    let path = house.submit().await;
    let first = house.get(&path).await;
    let etag = first.header("etag").to_owned();
    let same = house.get_with(&path, &[("if-none-match", &etag)]).await;
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    assert_eq!(same.header("etag"), etag);
    // Another job goes before it: its place in the queue is part of the version.
    house.submit_with(json!({"priority": "high"})).await;
    let moved = house.get_with(&path, &[("if-none-match", &etag)]).await;
    assert_eq!(
        (moved.status.as_u16(), &moved.json()["queue_position"]),
        (200, &json!(1))
    );
    assert_ne!(moved.header("etag"), etag);
    house.post(&format!("{path}/cancel")).await;
    let over = house.get_with(&path, &[("if-none-match", &etag)]).await;
    assert_eq!(over.json()["state"], "cancelled");
    assert!(!over.headers.contains_key("retry-after"));
    assert!(first.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn lists_stay_right_while_jobs_arrive() {
    let house = House::new();
    let mut paths = Vec::new();
    for _ in 0..5 {
        paths.push(house.submit().await);
    }
    let page = house.get("/v1/jobs?limit=2").await.json();
    let mut seen: Vec<Value> = page["jobs"].as_array().unwrap().clone();
    let mut cursor = page["next_cursor"].clone();
    while let Some(text) = cursor.as_str() {
        house.submit().await;
        let page = house.get(&format!("/v1/jobs?limit=2&cursor={text}")).await.json();
        seen.extend(page["jobs"].as_array().unwrap().clone());
        cursor = page["next_cursor"].clone();
    }
    let seen: Vec<&str> = seen.iter().map(|job| job["links"]["self"].as_str().unwrap()).collect();
    paths.reverse();
    assert_eq!(seen, paths);
}

#[tokio::test]
async fn lists_are_filtered() {
    let house = House::new();
    let blue = house.submit_with(json!({"labels": {"team": "blue"}})).await;
    let red = house.submit_with(json!({"labels": {"team": "red"}})).await;
    house.post(&format!("{red}/cancel")).await;
    let listed = async |query: &str| -> Vec<String> {
        let list = house.get(&format!("/v1/jobs?{query}")).await.json();
        let jobs = list["jobs"].as_array().unwrap();
        jobs.iter()
            .map(|job| job["links"]["self"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(listed("state=queued").await, [&*blue]);
    assert_eq!(listed("state=cancelled").await, [&*red]);
    assert_eq!(listed("label=team%3Dblue").await, [&*blue]);
    assert_eq!(listed("since=2000-01-01T00:00:00Z").await, [&*red, &*blue]);
    assert!(listed("since=2999-01-01T00:00:00Z").await.is_empty());
    for bad in [
        "limit=0",
        "limit=101",
        "state=sunk",
        "cursor=x",
        "since=yesterday",
        "label=x",
        "lmit=1",
        "limit=1&limit=2",
    ] {
        let answer = house.get(&format!("/v1/jobs?{bad}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (400, "bad_parameter"),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn cancelling_twice_is_as_good_as_once() {
    let house = House::new();
    let path = house.submit().await;
    for _ in 0..2 {
        let answer = house.post(&format!("{path}/cancel")).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["state"]),
            (202, &json!("cancelled"))
        );
    }
    let running = house.submit().await;
    let _hand = house.claim().await;
    for _ in 0..2 {
        let job = house.post(&format!("{running}/cancel")).await.json();
        assert_eq!(
            (&job["state"], &job["cancel_requested"]),
            (&json!("running"), &json!(true))
        );
    }
}

#[tokio::test]
async fn a_job_is_forgotten_when_it_is_over_with_every_byte() {
    let house = House::new();
    let path = house.submit().await;
    let answer = house.delete(&path).await;
    assert_eq!(
        (answer.status.as_u16(), answer.body.len()),
        (204, 0),
        "it waited: it ends at once"
    );
    assert!(house.bytes.everything().is_empty());
    for gone in [house.get(&path).await, house.delete(&path).await] {
        assert_eq!((gone.status.as_u16(), gone.problem().as_str()), (404, "no_such_job"));
    }
    let running = house.submit().await;
    let hand = house.claim().await;
    let answer = house.delete(&running).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["cancel_requested"]),
        (202, &json!(true))
    );
    assert_eq!(answer.header("retry-after"), "1");
    hand.settle(seatrial_core::job::Outcome::cancelled(), &Default::default(), &[])
        .await;
    assert_eq!(house.delete(&running).await.status, StatusCode::NO_CONTENT);
    assert!(house.bytes.everything().is_empty());
}

#[tokio::test]
async fn ids_that_are_none_name_no_job() {
    let house = House::new();
    let path = house.submit().await;
    for bad in [
        "job_",
        "x",
        "job_01K8ZC9Q4M7W6V5T3R2P1N0HGF",
        "%ff%fe",
        &path.to_lowercase()[9..],
        "..%2f..",
    ] {
        for part in [
            "",
            "/events",
            "/logs",
            "/result",
            "/artifacts",
            "/artifacts/x",
            "/report",
            "/sbom",
        ] {
            let answer = house.get(&format!("/v1/jobs/{bad}{part}")).await;
            assert_eq!(
                (answer.status.as_u16(), answer.problem().as_str()),
                (404, "no_such_job"),
                "{bad}{part}"
            );
        }
    }
}

#[tokio::test]
async fn a_service_that_gives_no_answer_is_said_so_without_details() {
    let house = House::new();
    let path = house.submit().await;
    house.ledger.away(true);
    for answer in [
        house.get(&path).await,
        house.get("/v1/jobs").await,
        house.post(&format!("{path}/cancel")).await,
    ] {
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (503, "unavailable")
        );
        assert_eq!(answer.header("retry-after"), "5");
        assert!(!answer.text().contains("it is away"), "{}", answer.text());
    }
    house.ledger.away(false);
    house.bytes.set_full(true);
    let answer = house
        .post_json("/v1/jobs", &[], &json!({"dockerfile": DOCKERFILE}))
        .await;
    assert_eq!(answer.problem(), "unavailable");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_a_defect_without_details() {
    let house = House::new();
    let path = house.submit().await;
    // Another job's bytes under this one's name: the seal does not fit.
    let record = house.record(&path).await;
    for (job, kind, name, mut sealed) in house.bytes.everything() {
        sealed.reverse();
        house.bytes.plant(job, kind, name, sealed);
    }
    let other = house.submit_with(json!({"priority": "high"})).await;
    let _ = (record, other);
    let answer = house.get(&path).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (500, "internal"));
    assert!(!answer.text().contains("vault"), "{}", answer.text());
}

#[tokio::test]
async fn documents_whose_time_is_over_are_left_out() {
    let house = House::new();
    let path = house.submit().await;
    let record = house.record(&path).await;
    house.service.vault.erase(record.id).await.unwrap();
    house.submit_with(json!({"priority": "high"})).await;
    let job = house.get(&path).await.json();
    assert_eq!(
        (&job["state"], &job["analysis"]["verdict"]),
        (&json!("queued"), &json!(""))
    );
    assert!(house.ledger.get(record.id).await.unwrap().is_some());
}
