//! Who works.

use std::time::Duration;

use jiff::Timestamp;
use redis::Pipeline;
use seatrial_core::ledger::{LedgerError, WorkerCard};

use super::{
    broken,
    keys::Keys,
    link::Link,
    scripts::{self, Call},
};

/// Most workers that are shown.
const MOST: usize = 2_000;

pub(super) async fn beat(
    link: &Link,
    keys: &Keys,
    card: &WorkerCard,
    keep: Duration,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let seen = WorkerCard {
        seen_at: Some(now),
        ..card.clone()
    };
    let text = serde_json::to_string(&seen).map_err(|error| broken("a worker's card", error))?;
    let call = Call::new(&scripts::BEAT, keys)
        .arg(&card.name)
        .arg(text)
        .arg(keep.as_micros().min(1 << 52));
    let _: u8 = link.call("take a beat", &call).await?;
    Ok(())
}

pub(super) async fn leave(link: &Link, keys: &Keys, worker: &str) -> Result<(), LedgerError> {
    let mut pipe = Pipeline::new();
    pipe.cmd("ZREM").arg(keys.name("beats")).arg(worker);
    pipe.cmd("HDEL").arg(keys.name("workers")).arg(worker);
    let _: (u8, u8) = link.pipe("let a worker go", &pipe).await?;
    Ok(())
}

pub(super) async fn workers(link: &Link, keys: &Keys, now: Timestamp) -> Result<Vec<WorkerCard>, LedgerError> {
    const ACTION: &str = "name workers";
    let mut pipe = Pipeline::new();
    pipe.cmd("ZRANGE")
        .arg(keys.name("beats"))
        .arg(format!("({}", now.as_microsecond()))
        .arg("+inf")
        .arg("BYSCORE")
        .arg("LIMIT")
        .arg(0)
        .arg(MOST);
    let (mut names,): (Vec<String>,) = link.pipe(ACTION, &pipe).await?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    names.sort_unstable();
    let mut pipe = Pipeline::new();
    pipe.cmd("HMGET").arg(keys.name("workers")).arg(&names);
    let (texts,): (Vec<Option<String>>,) = link.pipe(ACTION, &pipe).await?;
    // One worker's spoilt card does not hide the others.
    let cards = names.iter().zip(&texts).filter_map(|(name, text)| {
        let card = serde_json::from_str(text.as_ref()?);
        card.inspect_err(|error| {
            tracing::warn!(worker = ?name, error = error as &dyn std::error::Error, "a worker's card cannot be read");
        })
        .ok()
    });
    Ok(cards.collect())
}
