//! What is read, on connections that cannot write.

use std::{cmp::Reverse, time::Duration};

use jiff::SignedDuration;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params, params_from_iter, types::ToSqlOutput};
use seatrial_core::{
    id::JobId,
    ledger::{Filter, Page, StateFilter, Stats},
    record::{JobRecord, News, Priority, SCHEMA},
};

use super::{
    clock::{column, time},
    file::Fault,
    jobs::{count, parse},
    lane::Lane,
    writer::Tallies,
};
use crate::ledger::stored;

/// A position is counted up to this.
const FAR_BACK: i64 = 10_000;
/// Rows that one page of a list looks at: a filter that matches rarely gives short pages.
const GLANCE: usize = 10_000;

pub(super) fn get(db: &Connection, id: JobId) -> Result<Option<JobRecord>, Fault> {
    let mut read = db.prepare_cached("SELECT record FROM jobs WHERE id = ?")?;
    let mut rows = read.query([id.to_string()])?;
    match rows.next()? {
        Some(row) => {
            let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            Ok(Some(stored::decode(id, text)?))
        }
        None => Ok(None),
    }
}

/// A job's revision; `None` when there is no such job.
pub(super) fn revision(db: &Connection, id: JobId) -> Result<Option<i64>, Fault> {
    let mut read = db.prepare_cached("SELECT revision FROM jobs WHERE id = ?")?;
    Ok(read.query_row([id.to_string()], |row| row.get(0)).optional()?)
}

pub(super) fn position(db: &Connection, id: JobId, now: i64) -> Result<Option<u64>, Fault> {
    let mut read = db.prepare_cached("SELECT seq, lane, rank, not_before FROM jobs WHERE id = ?")?;
    let found: Option<(i64, Lane, Option<i64>, Option<i64>)> = read
        .query_row([id.to_string()], |row| {
            Ok((row.get(0)?, Lane(row.get(1)?), row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((seq, lane, rank, not_before)) = found else {
        return Ok(None);
    };
    let Some(priority) = lane.queue() else {
        return Ok(None);
    };
    let ready = Lane::ready(priority);
    let tallies = Tallies::read(db)?;
    let counted = ready.counted().unwrap_or_default();
    let mut before: i64 = tallies.jobs[..counted].iter().sum();
    if let Some(rank) = rank {
        let mut read = db.prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE schema = ? AND lane = ? AND rank IS NOT NULL
                                   AND (rank, seq) < (?, ?) LIMIT ?)",
        )?;
        before += read.query_row(params![SCHEMA, ready.0, rank, seq, FAR_BACK], |row| {
            row.get::<_, i64>(0)
        })?;
    } else if not_before.is_some_and(|at| at <= now) {
        // The next claim gives it its place, behind all who have one.
        before += tallies.jobs[counted];
    } else {
        return Ok(None);
    }
    Ok(Some(before.clamp(0, FAR_BACK).unsigned_abs()))
}

/// Whether a claim would find something.
pub(super) fn work_waits(db: &Connection, now: i64) -> Result<bool, Fault> {
    let mut read = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM jobs WHERE schema = ?1 AND lane IN (0, 1, 2) AND rank IS NOT NULL)
             OR EXISTS (SELECT 1 FROM jobs WHERE schema = ?1 AND not_before <= ?2)",
    )?;
    Ok(read.query_row(params![SCHEMA, now], |row| row.get(0))?)
}

/// When the next delay ends.
pub(super) fn next_delayed(db: &Connection) -> Result<Option<i64>, Fault> {
    let mut read = db.prepare_cached("SELECT min(not_before) FROM jobs WHERE schema = ? AND not_before IS NOT NULL")?;
    Ok(read.query_row([SCHEMA], |row| row.get(0))?)
}

pub(super) fn overdue(db: &Connection, now: i64, limit: usize) -> Result<Vec<JobId>, Fault> {
    let mut read = db.prepare_cached("SELECT id FROM jobs WHERE schema = ? AND due_at <= ? ORDER BY due_at LIMIT ?")?;
    let mut rows = read.query(params![SCHEMA, now, count(limit)])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        ids.push(id_of(row)?);
    }
    Ok(ids)
}

pub(super) fn settled_before(db: &Connection, now: i64, age: Duration, limit: usize) -> Result<Vec<JobId>, Fault> {
    let before = now.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    let mut read =
        db.prepare_cached("SELECT id FROM jobs WHERE schema = ? AND settled_at <= ? ORDER BY settled_at LIMIT ?")?;
    let mut rows = read.query(params![SCHEMA, before, count(limit)])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        ids.push(id_of(row)?);
    }
    Ok(ids)
}

pub(super) fn news(db: &Connection, id: JobId, after: u64, limit: usize) -> Result<Vec<News>, Fault> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut read = db.prepare_cached(
        "SELECT body FROM news WHERE job = (SELECT seq FROM jobs WHERE id = ?) AND seq > ? ORDER BY seq LIMIT ?",
    )?;
    let mut rows = read.query(params![id.to_string(), after, count(limit)])?;
    let mut news = Vec::new();
    while let Some(row) = rows.next()? {
        let body = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        news.push(serde_json::from_str(body).map_err(|error| stored::broken(id, error))?);
    }
    Ok(news)
}

pub(super) fn stats(db: &Connection, now: i64) -> Result<Stats, Fault> {
    let tallies = Tallies::read(db)?;
    let mut stats = Stats {
        running: tallies.jobs[6].max(0).unsigned_abs(),
        ..Stats::default()
    };
    for (n, priority) in Priority::ALL.into_iter().enumerate() {
        let waiting = tallies.jobs[n] + tallies.jobs[3 + n];
        stats.waiting.insert(priority, waiting.max(0).unsigned_abs());
        // Ids sort by age: the first of a lane is the oldest, within the submitters' clocks.
        let mut read = db.prepare_cached("SELECT created_at FROM jobs WHERE lane = ? ORDER BY id LIMIT 1")?;
        let oldest: Option<i64> = read.query_row([Lane::ready(priority).0], |row| row.get(0)).optional()?;
        if let Some(since) = oldest {
            let age = SignedDuration::from_micros(now.saturating_sub(since).max(0));
            stats.oldest_s.insert(priority, age.as_secs_f64());
        }
    }
    Ok(stats)
}

/// One page. Rows come from the index that narrows most; the filter itself decides.
pub(super) fn list(db: &Connection, filter: &Filter) -> Result<Page, Fault> {
    const COLUMNS: &str = "SELECT jobs.id, jobs.created_at, jobs.caller, jobs.lane, jobs.record FROM";
    // Behind every id.
    let before = filter.before.map_or_else(|| "k".to_owned(), |id| id.to_string());
    let lanes = filter.state.map(Lane::of);
    if filter.limit == 0 {
        return Ok(Page::default());
    }
    if let Some((label, value)) = &filter.label {
        let sql = format!(
            "{COLUMNS} labels JOIN jobs ON jobs.id = labels.id
             WHERE labels.key = ? AND labels.value = ? AND labels.id < ? ORDER BY labels.id DESC"
        );
        return page(db, filter, lanes.as_deref(), &sql, &[label, value, &before]);
    }
    match (&filter.caller, &lanes) {
        // Few run at a time, of whomever; of the others a caller's own are fewer.
        (Some(caller), lanes) if filter.state != Some(StateFilter::Running) => {
            let sql = format!("{COLUMNS} jobs WHERE caller = ? AND id < ? ORDER BY id DESC");
            page(db, filter, lanes.as_deref(), &sql, &[caller, &before])
        }
        (_, Some(lanes)) => {
            let mut pages = Vec::new();
            for lane in lanes {
                let sql = format!("{COLUMNS} jobs WHERE lane = ? AND id < ? ORDER BY id DESC");
                pages.push(page(db, filter, None, &sql, &[&lane.0, &before])?);
            }
            Ok(merge(pages, filter.limit))
        }
        (_, None) => {
            let sql = format!("{COLUMNS} jobs WHERE id < ? ORDER BY id DESC");
            page(db, filter, None, &sql, &[&before])
        }
    }
}

fn page(
    db: &Connection,
    filter: &Filter,
    lanes: Option<&[Lane]>,
    sql: &str,
    values: &[&dyn ToSql],
) -> Result<Page, Fault> {
    let since = filter.since.map(column);
    let mut read = db.prepare_cached(sql)?;
    let mut rows = read.query(params_from_iter(values))?;
    let mut page = Page::default();
    let mut looked_at = 0;
    let mut last = None;
    while let Some(row) = rows.next()? {
        if page.jobs.len() == filter.limit || looked_at == GLANCE {
            page.next = last;
            break;
        }
        looked_at += 1;
        let id = id_of(row)?;
        last = Some(id);
        let seen = since.is_none_or(|since| row.get(1).is_ok_and(|created: i64| created >= since));
        let lane = Lane(row.get(3)?);
        if !seen || lanes.is_some_and(|lanes| !lanes.contains(&lane)) {
            continue;
        }
        let text = row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?;
        // What cannot be read is its own job's fault, not the list's.
        if let Ok(record) = stored::decode(id, text)
            && filter.takes(&record)
        {
            page.jobs.push(record);
        }
    }
    Ok(page)
}

/// One page of several, each sorted.
fn merge(pages: Vec<Page>, limit: usize) -> Page {
    // Behind the first page that ends early nothing is known.
    let end = pages.iter().filter_map(|page| page.next).max();
    let mut jobs: Vec<_> = pages.into_iter().flat_map(|page| page.jobs).collect();
    jobs.sort_by_key(|job| Reverse(job.id));
    jobs.retain(|job| end.is_none_or(|end| job.id >= end));
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let next = if more { jobs.last().map(|job| job.id) } else { end };
    Page { jobs, next }
}

fn id_of(row: &Row<'_>) -> Result<JobId, Fault> {
    parse(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)
}

impl ToSql for Lane {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, rusqlite::Error> {
        self.0.to_sql()
    }
}

/// The ledger's time that the file has seen last.
pub(super) fn seen(db: &Connection) -> Result<jiff::Timestamp, Fault> {
    Ok(time(Tallies::read(db)?.seen))
}
