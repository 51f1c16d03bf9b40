//! Word of ends to be sent.

use std::time::Duration;

use redis::Pipeline;
use seatrial_core::{
    id::JobId,
    ledger::{Delivery, DeliveryEnd, LedgerError},
};

use super::{
    broken,
    keys::Keys,
    link::{Link, unreachable},
    scripts::{self, Call},
};

/// How often a write is tried again because another came first.
const RACES: usize = 8;

pub(super) async fn deliveries(
    link: &Link,
    keys: &Keys,
    limit: usize,
    hold: Duration,
) -> Result<Vec<Delivery>, LedgerError> {
    let call = Call::new(&scripts::DELIVERIES, keys).arg(limit).arg(hold.as_micros());
    let texts: Vec<String> = link.call("name deliveries", &call).await?;
    texts.iter().map(|text| parse(text)).collect()
}

pub(super) async fn delivered(link: &Link, keys: &Keys, job: JobId, end: &DeliveryEnd) -> Result<(), LedgerError> {
    const ACTION: &str = "note a delivery";
    for _ in 0..RACES {
        let Some(known) = text(link, keys, job).await? else {
            return Ok(());
        };
        let mut delivery = parse(&known)?;
        let again = match end {
            DeliveryEnd::Done => None,
            DeliveryEnd::Again { after, error } => {
                delivery.last_error = Some(error.clone());
                Some(after.as_micros())
            }
            DeliveryEnd::Dead { error } => {
                delivery.last_error = Some(error.clone());
                delivery.dead = true;
                None
            }
        };
        delivery.tries = delivery.tries.saturating_add(1);
        let kept = match end {
            DeliveryEnd::Done => String::new(),
            DeliveryEnd::Again { .. } | DeliveryEnd::Dead { .. } => {
                serde_json::to_string(&delivery).map_err(|error| broken("a delivery", error))?
            }
        };
        let call = Call::new(&scripts::DELIVERED, keys)
            .arg(job.to_string())
            .arg(known)
            .arg(kept)
            .arg(again.map_or_else(String::new, |after| after.to_string()));
        if link.call(ACTION, &call).await? {
            return Ok(());
        }
    }
    Err(unreachable(ACTION, "others noted it again and again"))
}

pub(super) async fn delivery(link: &Link, keys: &Keys, job: JobId) -> Result<Option<Delivery>, LedgerError> {
    text(link, keys, job).await?.map(|text| parse(&text)).transpose()
}

async fn text(link: &Link, keys: &Keys, job: JobId) -> Result<Option<String>, LedgerError> {
    let mut pipe = Pipeline::new();
    pipe.cmd("HGET").arg(keys.name("deliveries")).arg(job.to_string());
    let (text,): (Option<String>,) = link.pipe("show a delivery", &pipe).await?;
    Ok(text)
}

fn parse(text: &str) -> Result<Delivery, LedgerError> {
    serde_json::from_str(text).map_err(|error| broken("a delivery", error))
}
