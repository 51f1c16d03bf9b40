use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use futures_util::StreamExt as _;
use seatrial_core::{
    job::{Outcome, Reason, Stage},
    record::NewsBody,
    view::Report,
};
use seatrial_server::ServerConfig;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::{
    schema,
    support::{House, request, with},
};

/// A stream as it comes.
struct Stream(axum::body::BodyDataStream);

impl Stream {
    async fn open(house: &House, path: &str, headers: &[(&str, &str)]) -> Self {
        let request: Request<Body> = with(request(Method::GET, path), headers).body(Body::empty()).unwrap();
        let response = house.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Self(response.into_body().into_data_stream())
    }

    async fn next(&mut self) -> Option<String> {
        let piece = self.0.next().await?;
        Some(String::from_utf8(piece.unwrap().to_vec()).unwrap())
    }

    async fn rest(mut self) -> String {
        let mut all = String::new();
        while let Some(piece) = self.next().await {
            all.push_str(&piece);
        }
        all
    }
}

/// Number, kind and document of each event.
fn events(text: &str) -> Vec<(u64, String, Value)> {
    let mut found = Vec::new();
    for block in text.split("\n\n") {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        if let (Some(id), Some(event), Some(data)) = (field("id: "), field("event: "), field("data: ")) {
            found.push((
                id.parse().unwrap(),
                event.to_owned(),
                serde_json::from_str(data).unwrap(),
            ));
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn events_come_as_they_happen_and_end_with_the_job() {
    let house = House::new();
    let path = house.submit().await;
    let stream = Stream::open(&house, &format!("{path}/events"), &[]).await;
    let told = tokio::spawn(stream.rest());
    let _worker = house.worker("ann");
    let text = told.await.unwrap();
    let events = events(&text);
    let kinds: Vec<&str> = events.iter().map(|(_, kind, _)| kind.as_str()).collect();
    assert_eq!(
        (kinds[0], kinds[1], *kinds.last().unwrap()),
        ("queued", "claimed", "settled"),
        "{kinds:?}"
    );
    for (at, (id, kind, data)) in events.iter().enumerate() {
        assert_eq!(
            (*id, &data["seq"], &data["event"]),
            (at as u64 + 1, &Value::from(*id), &Value::from(kind.as_str()))
        );
        let wrong = schema::differs("News", data);
        assert!(wrong.is_empty(), "{wrong:?}");
    }
    let job = house.get(&path).await.json();
    assert_eq!(job["last_event"], events.len());
}

#[tokio::test]
async fn a_reader_resumes_after_the_last_event_that_it_saw() {
    let house = House::new();
    let path = house.submit().await;
    house.post(&format!("{path}/cancel")).await;
    let all = Stream::open(&house, &format!("{path}/events"), &[]).await.rest().await;
    let ids: Vec<u64> = events(&all).iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids, [1, 2]);
    let rest = Stream::open(&house, &format!("{path}/events?after=1"), &[])
        .await
        .rest()
        .await;
    assert_eq!(events(&rest)[0].1, "settled");
    // A browser repeats the address and says what it saw last.
    let both = Stream::open(&house, &format!("{path}/events?after=0"), &[("last-event-id", "1")]).await;
    assert_eq!(events(&both.rest().await).len(), 1);
    let done = house
        .get_with(&format!("{path}/events"), &[("last-event-id", "2")])
        .await;
    assert_eq!(done.status, StatusCode::NO_CONTENT, "a browser then stops coming back");
    for (query, header) in [("?after=x", "1"), ("?before=1", "1"), ("", "x"), ("", "-1")] {
        let answer = house
            .get_with(&format!("{path}/events{query}"), &[("last-event-id", header)])
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query} {header}");
        answer.problem();
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_shows_that_it_lives() {
    let house = House::new();
    let path = house.submit().await;
    let mut stream = Stream::open(&house, &format!("{path}/events"), &[]).await;
    assert!(stream.next().await.unwrap().starts_with("retry:"));
    assert!(stream.next().await.unwrap().contains("event: queued"));
    let begun = tokio::time::Instant::now();
    assert_eq!(stream.next().await.unwrap(), ": heart-beat\n\n");
    assert!(begun.elapsed() <= Duration::from_secs(16), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_is_dropped_and_the_job_goes_on() {
    let house = House::new();
    let path = house.submit().await;
    let mut stream = Stream::open(&house, &format!("{path}/events"), &[]).await;
    assert!(stream.next().await.is_some());
    let hand = house.claim().await;
    for _ in 0..50 {
        let told = vec![NewsBody::StageStarted { stage: Stage::Build }; 4];
        tokio::time::timeout(Duration::from_secs(1), hand.tell(told))
            .await
            .unwrap();
    }
    tokio::time::sleep(Duration::from_secs(40)).await;
    let metrics = house.get("/metrics").await.text();
    assert!(
        metrics.contains("seatrial_streams_dropped_total{kind=\"events\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("seatrial_streams_open{kind=\"events\"} 0"),
        "{metrics}"
    );
    // What was on its way can still be read, and the rest be asked for.
    let seen = events(&stream.rest().await);
    let last = seen.last().unwrap().0;
    assert!(last < 50, "{last}");
    hand.settle(Outcome::cancelled(), &Report::default(), &[]).await;
    let rest = Stream::open(
        &house,
        &format!("{path}/events"),
        &[("last-event-id", &last.to_string())],
    )
    .await;
    assert_eq!(events(&rest.rest().await)[0].0, last + 1);
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_the_process_goes() {
    let house = House::new();
    let path = house.submit().await;
    let events = Stream::open(&house, &format!("{path}/events"), &[]).await;
    let logs = Stream::open(&house, &format!("{path}/logs?follow=true"), &[]).await;
    let waiting = house.get_with(&path, &[("prefer", "wait=60")]);
    let begun = tokio::time::Instant::now();
    let (events, logs, waited, ()) = tokio::join!(events.rest(), logs.rest(), waiting, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        house.state.go();
    });
    assert!(events.contains("event: queued") && logs.is_empty());
    assert_eq!(waited.json()["state"], "queued");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_job_is_forgotten() {
    let house = House::new();
    let path = house.submit().await;
    let stream = Stream::open(&house, &format!("{path}/events?after=2"), &[]).await;
    let rest = tokio::spawn(stream.rest());
    assert_eq!(house.delete(&path).await.status, StatusCode::NO_CONTENT);
    let text = tokio::time::timeout(Duration::from_secs(60), rest)
        .await
        .unwrap()
        .unwrap();
    assert!(events(&text).is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_more_streams_are_open_than_allowed() {
    let config = ServerConfig {
        max_streams: 1,
        ..ServerConfig::default()
    };
    let house = House::with(config, |_, _| {});
    let path = house.submit().await;
    let stream = Stream::open(&house, &format!("{path}/events"), &[]).await;
    let answer = house.get(&format!("{path}/events")).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "busy"));
    // A wait holds a connection too; without a place the answer comes at once.
    let at_once = house.get_with(&path, &[("prefer", "wait=60")]).await;
    assert_eq!(at_once.header("preference-applied"), "");
    drop(stream);
    tokio::time::sleep(Duration::from_secs(1)).await;
    Stream::open(&house, &format!("{path}/events"), &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_followed_log_comes_whole_across_stages_parts_and_tries() {
    let house = House::new();
    let path = house.submit().await;
    let stream = Stream::open(&house, &format!("{path}/logs?follow=true&stage=build"), &[]).await;
    let told = tokio::spawn(stream.rest());
    let pause = || tokio::time::sleep(Duration::from_secs(1));
    let hand = house.claim().await;
    hand.log(Stage::Build, &[b"one\n"], false).await;
    pause().await;
    hand.log(Stage::Build, &[b"one\n", b"two\n"], false).await;
    pause().await;
    hand.log(Stage::Build, &[b"one\ntwo\nthree\n"], true).await;
    assert_eq!(told.await.unwrap(), "one\ntwo\nthree\n");
    let job = house.get(&path).await.json();
    assert_eq!(job["state"], "running", "the stage is over, not the job");
    hand.settle(Outcome::failed(Reason::ExitCode, "x"), &Report::default(), &[])
        .await;
    let again = Stream::open(&house, &format!("{path}/logs?follow=true&stage=run"), &[]).await;
    assert_eq!(again.rest().await, "", "nothing of this stage will come");
}

#[tokio::test(start_paused = true)]
async fn a_worker_in_earnest_is_followed_too() {
    let house = House::new();
    let path = house.submit().await;
    let stream = Stream::open(&house, &format!("{path}/logs?follow=true&stage=build&escape=true"), &[]).await;
    let _worker = house.worker("ann");
    assert_eq!(stream.rest().await, "STEP 1\nbuilding\n");
}

#[tokio::test]
async fn a_number_that_was_not_given_yet_still_ends_with_the_job() {
    let house = House::new();
    let path = house.submit().await;
    let stream = Stream::open(&house, &format!("{path}/events?after=9000000000000000000"), &[]).await;
    house.post(&format!("{path}/cancel")).await;
    assert!(stream.rest().await.contains("event: settled"));
}
