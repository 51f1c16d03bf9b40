//! One line of log for each call, and the chain of a defect once.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{DOCKERFILE, House};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Collects this thread's log; a test's runtime has one thread.
    fn collect() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::INFO)
            .with_writer(lines.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        (lines, guard)
    }

    /// Lines with this message; whoever takes them leaves none.
    fn take(&self, message: &str) -> Vec<Value> {
        let mut lines = self.all();
        lines.retain(|line| line["fields"]["message"] == message);
        lines
    }

    /// All lines; whoever takes them leaves none.
    fn all(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let lines = String::from_utf8(bytes).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn a_call_is_one_line() {
    let house = House::new();
    let (lines, _guard) = Lines::collect();
    let answer = house
        .post_json(
            "/v1/jobs",
            &[("x-correlation-id", "c-1")],
            &json!({"dockerfile": DOCKERFILE}),
        )
        .await;
    let job = answer.json();
    let said = lines.take("call");
    assert_eq!(said.len(), 1, "{said:?}");
    let fields = &said[0]["fields"];
    assert_eq!(
        ["method", "route", "status", "correlation.id", "job.id", "bytes"].map(|name| fields[name].clone()),
        [
            json!("POST"),
            json!("/v1/jobs"),
            json!(202),
            json!("c-1"),
            job["id"].clone(),
            json!(answer.body.len())
        ]
    );
    assert!(fields["ms"].is_u64() && fields.get("caller").is_none());

    let path = answer.header("location");
    house.get(&format!("{path}/result")).await;
    let fields = lines.take("call").remove(0)["fields"].clone();
    assert_eq!((&fields["status"], &fields["job.id"]), (&json!(409), &job["id"]));

    // What a stranger wrote stands in no line: neither a path nor a method.
    house.get("/v1/%1b%5b31m?secret=1").await;
    house.get("/v1/jobs/job_%1b%5b31m").await;
    let text = format!("{:?}", lines.take("call"));
    assert!(!text.contains("31m") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_line_of_a_traced_call_has_the_traces_id() {
    let house = House::new();
    let (lines, _guard) = Lines::collect();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    house.get_with("/healthz", &[("traceparent", parent)]).await;
    house.get_with("/healthz", &[("traceparent", "00-0-0-01")]).await;
    let said = lines.take("call");
    assert_eq!(said[0]["fields"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(said[1]["fields"].get("trace_id").is_none(), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn each_job_and_stage_says_its_start_and_its_end_with_the_correlation_id() {
    let house = House::new();
    house.fake.script().exit = Some(seatrial_core::engine::RunExit::Code(3));
    let (lines, _guard) = Lines::collect();
    let (_worker, _phase) = house.worker("ann");
    let answer = house
        .post_json(
            "/v1/jobs",
            &[("x-correlation-id", "c-9")],
            &json!({"dockerfile": DOCKERFILE}),
        )
        .await;
    let job = house
        .until(answer.header("location"), |job| job["state"] == "failed")
        .await;
    let said = lines.all();
    let of = |message: &str| {
        let found = said.iter().filter(|line| line["fields"]["message"] == message);
        found.cloned().collect::<Vec<_>>()
    };
    let stages = |message: &str| {
        let stages = of(message)
            .into_iter()
            .map(|line| line["fields"]["stage"].as_str().unwrap().to_owned());
        stages.collect::<Vec<_>>()
    };
    assert_eq!(stages("stage started"), ["resolve", "build", "scan", "run"]);
    assert_eq!(stages("stage finished"), ["resolve", "build", "scan"]);
    assert_eq!(stages("stage stopped"), ["run"]);
    let messages = [
        "job claimed",
        "stage started",
        "stage finished",
        "stage stopped",
        "try ended",
        "job settled",
    ];
    for message in messages {
        let lines = of(message);
        assert!(!lines.is_empty(), "{message}");
        for line in lines {
            assert_eq!(line["span"]["correlation.id"], "c-9", "{line}");
            assert_eq!(line["span"]["job.id"], job["id"], "{line}");
        }
    }
    let settled = &of("job settled")[0]["fields"];
    assert_eq!(
        ["state", "reason", "blame"].map(|name| settled[name].as_str().unwrap()),
        ["failed", "exit_code", "guest"]
    );
    assert!(settled["ms"].is_u64());
}

#[tokio::test]
async fn a_stream_is_one_line_when_it_ends() {
    let house = House::new();
    let path = house.submit().await;
    let (lines, _guard) = Lines::collect();
    house.post(&format!("{path}/cancel")).await;
    let answer = house.get(&format!("{path}/events")).await;
    let said = lines.take("call");
    assert_eq!(said.len(), 2);
    assert_eq!(said[1]["fields"]["bytes"], answer.body.len());
}

#[tokio::test]
async fn a_defect_is_told_once_with_its_chain() {
    let house = House::new();
    let path = house.submit().await;
    for (job, kind, name, mut sealed) in house.bytes.everything() {
        sealed.reverse();
        house.bytes.plant(job, kind, name, sealed);
    }
    house.submit_with(json!({"priority": "high"})).await;
    let (lines, _guard) = Lines::collect();
    let answer = house.get_with(&path, &[("x-correlation-id", "c-7")]).await;
    assert_eq!(answer.problem(), "internal");
    let said = lines.take("a call failed");
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["level"], "ERROR");
    assert!(
        said[0]["fields"]["error"]
            .as_str()
            .unwrap()
            .contains("not what was put there"),
        "{said:?}"
    );
    assert_eq!(said[0]["span"]["correlation.id"], "c-7");
}
