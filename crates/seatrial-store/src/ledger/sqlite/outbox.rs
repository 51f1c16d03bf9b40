//! Deliveries and workers: small tables beside the jobs.

use std::time::Duration;

use rusqlite::{Connection, Row, params};
use seatrial_core::{
    id::JobId,
    ledger::{Delivery, DeliveryEnd, LedgerError, WorkerCard},
};

use super::{
    clock::{later, time},
    file::Fault,
    jobs::{count, parse},
    writer::Turn,
};

/// Whether a delivery is due: asked before the writer is troubled.
pub(super) fn is_due(db: &Connection, now: i64) -> Result<bool, Fault> {
    let mut read = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM deliveries WHERE due_at <= ?)")?;
    Ok(read.query_row([now], |row| row.get(0))?)
}

pub(super) fn take(turn: &mut Turn<'_>, limit: usize, hold: Duration) -> Result<Vec<Delivery>, Fault> {
    let due = {
        let mut read = turn.db.prepare_cached(
            "SELECT id, due_at, tries, last_error FROM deliveries WHERE due_at <= ? ORDER BY due_at LIMIT ?",
        )?;
        let mut rows = read.query(params![turn.now, count(limit)])?;
        let mut due = Vec::new();
        while let Some(row) = rows.next()? {
            due.push(delivery_of(row)?);
        }
        due
    };
    for delivery in &due {
        turn.db
            .prepare_cached("UPDATE deliveries SET due_at = ? WHERE id = ?")?
            .execute(params![later(turn.now, hold), delivery.job.to_string()])?;
    }
    Ok(due)
}

pub(super) fn end(turn: &mut Turn<'_>, job: JobId, end: DeliveryEnd) -> Result<(), Fault> {
    let (due_at, error) = match end {
        DeliveryEnd::Done => {
            let mut done = turn.db.prepare_cached("DELETE FROM deliveries WHERE id = ?")?;
            done.execute([job.to_string()])?;
            return Ok(());
        }
        DeliveryEnd::Again { after, error } => (Some(later(turn.now, after)), error),
        DeliveryEnd::Dead { error } => (None, error),
    };
    turn.db
        .prepare_cached("UPDATE deliveries SET due_at = ?, tries = tries + 1, last_error = ? WHERE id = ?")?
        .execute(params![due_at, error, job.to_string()])?;
    Ok(())
}

pub(super) fn delivery(db: &Connection, job: JobId) -> Result<Option<Delivery>, Fault> {
    let mut read = db.prepare_cached("SELECT id, due_at, tries, last_error FROM deliveries WHERE id = ?")?;
    let mut rows = read.query([job.to_string()])?;
    rows.next()?.map(delivery_of).transpose()
}

fn delivery_of(row: &Row<'_>) -> Result<Delivery, Fault> {
    Ok(Delivery {
        job: parse(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?,
        dead: row.get::<_, Option<i64>>(1)?.is_none(),
        tries: row.get(2)?,
        last_error: row.get(3)?,
    })
}

pub(super) fn beat(turn: &mut Turn<'_>, mut card: WorkerCard, keep: Duration) -> Result<(), Fault> {
    card.seen_at = Some(time(turn.now));
    let text = serde_json::to_string(&card).map_err(|error| unreadable(&card.name, error))?;
    turn.db
        .prepare_cached("DELETE FROM workers WHERE until <= ?")?
        .execute([turn.now])?;
    turn.db
        .prepare_cached("REPLACE INTO workers (name, until, card) VALUES (?, ?, ?)")?
        .execute(params![card.name, later(turn.now, keep), text])?;
    Ok(())
}

pub(super) fn leave(turn: &mut Turn<'_>, worker: &str) -> Result<(), Fault> {
    turn.db
        .prepare_cached("DELETE FROM workers WHERE name = ?")?
        .execute([worker])?;
    Ok(())
}

pub(super) fn workers(db: &Connection, now: i64) -> Result<Vec<WorkerCard>, Fault> {
    let mut read = db.prepare_cached("SELECT card FROM workers WHERE until > ? ORDER BY name")?;
    let cards = read.query_map([now], |row| row.get::<_, String>(0))?;
    let mut workers = Vec::new();
    for card in cards {
        // Another version's card may be one that we cannot read; that is no reason to show none.
        workers.extend(serde_json::from_str::<WorkerCard>(&card?));
    }
    Ok(workers)
}

fn unreadable(worker: &str, error: serde_json::Error) -> Fault {
    let broken = LedgerError::Broken {
        what: format!("the card of {worker}"),
        source: error.into(),
    };
    broken.into()
}
