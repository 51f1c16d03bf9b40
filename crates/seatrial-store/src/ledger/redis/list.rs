//! Lists and counts. Reading needs no script.

use redis::Pipeline;
use seatrial_core::{
    id::JobId,
    ledger::{Filter, LedgerError, Page, Stats},
    record::Priority,
};

use super::{
    broken,
    keys::{Keys, caller_mark},
    link::Link,
    record_of, timestamp,
};

/// Most records that one page looks at; then it ends early, and the next one goes on from there.
const LOOKED_AT: usize = 2_000;
/// Records fetched at a time.
const STRIDE: usize = 200;
/// Most jobs before another that are counted.
const COUNTED: u64 = 10_000;

pub(super) async fn list(link: &Link, keys: &Keys, filter: &Filter) -> Result<Page, LedgerError> {
    let mark = filter.caller.as_deref().map(caller_mark).unwrap_or_default();
    let names = if mark.is_empty() {
        keys.name("all")
    } else {
        keys.name(&format!("c:{mark}"))
    };
    let mut page = Page::default();
    let mut before = filter.before;
    let mut looked_at = 0;
    while page.jobs.len() < filter.limit {
        if looked_at >= LOOKED_AT {
            page.next = before;
            break;
        }
        let wanted = STRIDE.min(LOOKED_AT - looked_at);
        let ids = older(link, &names, before, wanted).await?;
        let texts = records(link, keys, &ids).await?;
        looked_at += ids.len();
        for (id, text) in ids.iter().zip(texts) {
            before = Some(*id);
            // Erased since.
            let Some(text) = text else { continue };
            let record = match record_of(&id.to_string(), &text) {
                Ok(record) => record,
                // One job that we cannot read must not hide the others.
                Err(error) => {
                    tracing::debug!(job.id = %id, error = %error, "left out of a list");
                    continue;
                }
            };
            if filter.takes(&record) {
                page.jobs.push(record);
                if page.jobs.len() == filter.limit {
                    break;
                }
            }
        }
        if page.jobs.len() == filter.limit {
            // Whether more follow: the next page says, empty if none does.
            let last = before == ids.last().copied() && ids.len() < wanted;
            page.next = if last { None } else { before };
            break;
        }
        if ids.len() < wanted {
            break;
        }
    }
    Ok(page)
}

async fn older(link: &Link, names: &str, before: Option<JobId>, most: usize) -> Result<Vec<JobId>, LedgerError> {
    let from = before.map_or_else(|| "+".to_owned(), |id| format!("({id}"));
    let mut pipe = Pipeline::new();
    pipe.cmd("ZRANGE")
        .arg(names)
        .arg(from)
        .arg("-")
        .arg("BYLEX")
        .arg("REV")
        .arg("LIMIT")
        .arg(0)
        .arg(most);
    let (ids,): (Vec<String>,) = link.pipe("list jobs", &pipe).await?;
    Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
}

async fn records(link: &Link, keys: &Keys, ids: &[JobId]) -> Result<Vec<Option<String>>, LedgerError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipe = Pipeline::new();
    for id in ids {
        pipe.cmd("HGET").arg(keys.job(*id)).arg("record");
    }
    link.pipe("list jobs", &pipe).await
}

pub(super) async fn position(link: &Link, keys: &Keys, id: JobId) -> Result<Option<u64>, LedgerError> {
    let name = id.to_string();
    let mut pipe = Pipeline::new();
    pipe.cmd("TIME");
    pipe.cmd("ZSCORE").arg(keys.name("picked")).arg(&name);
    for priority in Priority::ALL {
        pipe.cmd("ZCARD").arg(keys.ready(priority));
        pipe.cmd("ZRANK").arg(keys.ready(priority)).arg(&name);
        pipe.cmd("ZSCORE").arg(keys.delayed(priority)).arg(&name);
    }
    type Queue = (u64, Option<u64>, Option<f64>);
    type Answer = (
        (i64, i64),
        Option<f64>,
        u64,
        Option<u64>,
        Option<f64>,
        u64,
        Option<u64>,
        Option<f64>,
        u64,
        Option<u64>,
        Option<f64>,
    );
    let (time, picked, h0, h1, h2, n0, n1, n2, l0, l1, l2): Answer = link.pipe("count the queue", &pipe).await?;
    let queues: [Queue; 3] = [(h0, h1, h2), (n0, n1, n2), (l0, l1, l2)];
    if picked.is_some() {
        // A worker is about to claim it.
        return Ok(Some(0));
    }
    #[expect(clippy::cast_precision_loss, reason = "microseconds of this age fit into a double")]
    let now = timestamp(time)?.as_microsecond() as f64;
    let mut before: u64 = 0;
    for (length, rank, delayed_until) in queues {
        if let Some(rank) = rank {
            return Ok(Some((before + rank).min(COUNTED)));
        }
        before += length;
        // Its delay is over; the next claim queues it.
        if delayed_until.is_some_and(|at| at <= now) {
            return Ok(Some(before.min(COUNTED)));
        }
    }
    Ok(None)
}

pub(super) async fn stats(link: &Link, keys: &Keys) -> Result<Stats, LedgerError> {
    const ACTION: &str = "say how the queue stands";
    let mut pipe = Pipeline::new();
    pipe.cmd("TIME");
    pipe.cmd("SCARD").arg(keys.name("running"));
    let (time, running): ((i64, i64), u64) = link.pipe(ACTION, &pipe).await?;
    let now = timestamp(time)?;
    let mut stats = Stats {
        running,
        ..Stats::default()
    };
    for priority in Priority::ALL {
        let mut pipe = Pipeline::new();
        pipe.cmd("ZCARD").arg(keys.ready(priority));
        pipe.cmd("ZCARD").arg(keys.delayed(priority));
        pipe.cmd("ZRANGE").arg(keys.ready(priority)).arg(0).arg(0);
        pipe.cmd("ZRANGE").arg(keys.delayed(priority)).arg(0).arg(0);
        let (ready, delayed, first, next): (u64, u64, Vec<String>, Vec<String>) = link.pipe(ACTION, &pipe).await?;
        stats.waiting.insert(priority, ready + delayed);
        let Some(first) = first.first().or(next.first()) else {
            continue;
        };
        let id: JobId = first.parse().map_err(|error| broken("a queue", error))?;
        let text = records(link, keys, &[id]).await?.pop().flatten();
        if let Some(Ok(record)) = text.map(|text| record_of(first, &text)) {
            let waited = now.duration_since(record.created_at);
            stats.oldest_s.insert(priority, waited.as_secs_f64().max(0.0));
        }
    }
    Ok(stats)
}
