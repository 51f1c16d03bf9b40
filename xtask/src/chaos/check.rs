//! A client that submits through the storm, and the look at every job after it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

/// Talks to one API process.
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    /// Of the API on this port of loopback.
    pub(crate) fn new(port: u16) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .build()
            .into();
        Self {
            agent,
            base: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Submits; `Some` when it was acknowledged.
    fn submit(&self, key: &str, dockerfile: &str, caller: usize) -> Result<Option<String>> {
        let body = serde_json::json!({"dockerfile": dockerfile, "labels": {"caller": caller.to_string()}});
        let mut answer = self
            .agent
            .post(format!("{}/v1/jobs", self.base))
            .header("Idempotency-Key", key)
            .send_json(&body)?;
        if answer.status() != 202 {
            return Ok(None);
        }
        let job: Value = answer.body_mut().read_json()?;
        Ok(job["id"].as_str().map(str::to_owned))
    }

    /// Asks, and asks again while a part of the service comes back.
    fn get(&self, path: &str) -> Result<(u16, String)> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match self.get_once(path) {
                Ok(answer) if answer.0 != 503 || Instant::now() >= until => return Ok(answer),
                Err(error) if Instant::now() >= until => return Err(error),
                _ => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn get_once(&self, path: &str) -> Result<(u16, String)> {
        let mut answer = self.agent.get(format!("{}{path}", self.base)).call()?;
        Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
    }

    /// A job's document; `None` when there is no such job.
    fn job(&self, id: &str) -> Result<Option<Value>> {
        match self.get(&format!("/v1/jobs/{id}"))? {
            (200, text) => Ok(Some(serde_json::from_str(&text)?)),
            (404, _) => Ok(None),
            (status, text) => bail!("{status} for {id}: {text}"),
        }
    }

    /// All events of a job that is over.
    fn events(&self, id: &str) -> Result<Vec<Value>> {
        let (status, text) = self.get(&format!("/v1/jobs/{id}/events"))?;
        if status != 200 {
            bail!("{status} for the events of {id}: {text}");
        }
        text.lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| serde_json::from_str(data.trim()).context("an event is no JSON"))
            .collect()
    }
}

/// Submits until it is told that the storm is over.
pub(crate) struct Submitter(JoinHandle<BTreeSet<String>>);

impl Submitter {
    /// Starts. Each submission is repeated with its key until it is acknowledged, as a careful client does.
    pub(crate) fn start(port: u16, over: Arc<AtomicBool>) -> Self {
        Self(std::thread::spawn(move || {
            let client = Client::new(port);
            let mut acknowledged = BTreeSet::new();
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                number += 1;
                let text = format!("FROM debian:bookworm-slim\nRUN echo {number}\nCMD [\"true\"]\n");
                let key = format!("storm-{number}");
                while !over.load(Ordering::Relaxed) {
                    match client.submit(&key, &text, number % 3) {
                        Ok(Some(id)) => {
                            acknowledged.insert(id);
                            break;
                        }
                        Ok(None) | Err(_) => std::thread::sleep(Duration::from_millis(50)),
                    }
                }
                std::thread::sleep(Duration::from_millis(40));
            }
            acknowledged
        }))
    }

    /// What was acknowledged.
    pub(crate) fn join(self) -> Result<BTreeSet<String>> {
        self.0.join().map_err(|_| anyhow!("the submitter broke"))
    }
}

/// What the look showed.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) jobs: u64,
    pub(crate) losses: u64,
    pub(crate) fenced: u64,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    pub(crate) bad_history: u64,
    pub(crate) not_over: u64,
}

impl Counts {
    /// Broken promises.
    pub(crate) fn broken(&self) -> u64 {
        self.lost + self.twice + self.bad_history + self.not_over
    }
}

/// Waits until each job is over, then reads each history.
pub(crate) fn all(client: &Client, ids: &BTreeSet<String>, bound: Duration) -> Result<Counts> {
    let mut counts = Counts {
        jobs: ids.len() as u64,
        ..Counts::default()
    };
    let until = Instant::now() + bound;
    for id in ids {
        let state = loop {
            let job = client.job(id)?;
            let Some(job) = job else {
                counts.lost += 1;
                eprintln!("{id} was acknowledged and is not there");
                break None;
            };
            let state = job["state"].as_str().unwrap_or_default().to_owned();
            if !matches!(state.as_str(), "queued" | "running") || Instant::now() >= until {
                break Some(state);
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let Some(state) = state else { continue };
        if state != "succeeded" {
            counts.not_over += 1;
            eprintln!("{id} is {state}");
        }
        let events = if matches!(state.as_str(), "queued" | "running") {
            Vec::new()
        } else {
            client.events(id)?
        };
        let settled = events.iter().filter(|event| event["event"] == "settled").count();
        counts.twice += u64::from(settled > 1);
        counts.losses += events.iter().filter(|event| event["event"] == "lost").count() as u64;
        let numbered = events
            .iter()
            .enumerate()
            .all(|(place, event)| event["seq"].as_u64() == Some(place as u64 + 1));
        counts.bad_history += u64::from(!numbered);
    }
    Ok(counts)
}
