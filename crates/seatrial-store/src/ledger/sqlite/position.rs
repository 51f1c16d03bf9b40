//! How many jobs go before one.
//!
//! To count up to 10,000 entries of an index takes a millisecond, too long for a question that every look
//! at a waiting job asks. So the heads of deep queues are kept for a moment.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension as _, params};
use seatrial_core::{id::JobId, record::SCHEMA};

use super::{file::Fault, lane::Lane, writer::Tallies};

/// A position is counted up to this.
const FAR_BACK: usize = 10_000;
/// Up to here, a queue is counted anew after each change.
const SHORT: usize = 500;
/// A longer one may be so old.
const STALE: Duration = Duration::from_millis(100);

/// The heads of the queues, as they were seen last.
#[derive(Debug, Default)]
pub(super) struct Heads([Mutex<Head>; 3]);

#[derive(Debug, Default)]
struct Head {
    seen: Option<Seen>,
    /// Ranks and numbers, in order.
    places: Vec<(i64, i64)>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    /// They change with each move.
    tallies: Tallies,
}

pub(super) fn position(db: &Connection, heads: &Heads, id: JobId, now: i64) -> Result<Option<u64>, Fault> {
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
    let counted = ready.counted().unwrap_or_default();
    let tallies = Tallies::read(db)?;
    let jobs = tallies.jobs;
    let in_higher_queues: i64 = jobs[..counted].iter().sum();
    let in_its_own = match (rank, not_before) {
        (Some(rank), _) => {
            let mut head = heads.0[counted].lock().unwrap_or_else(PoisonError::into_inner);
            head.count(db, tallies, ready, (rank, seq))?
        }
        // The next claim gives it its place, behind all who have one.
        (None, Some(at)) if at <= now => jobs[counted],
        (None, _) => return Ok(None),
    };
    let before = u64::try_from(in_higher_queues + in_its_own).unwrap_or_default();
    Ok(Some(before.min(FAR_BACK as u64)))
}

impl Head {
    /// Jobs of the queue before this place.
    fn count(&mut self, db: &Connection, tallies: Tallies, lane: Lane, place: (i64, i64)) -> Result<i64, Fault> {
        let still_good = self
            .seen
            .is_some_and(|seen| seen.tallies == tallies || (self.places.len() > SHORT && seen.at.elapsed() < STALE));
        if !still_good {
            self.seen = None;
            self.places.clear();
            let mut read = db.prepare_cached(
                "SELECT rank, seq FROM jobs WHERE schema = ? AND lane = ? AND rank IS NOT NULL
                 ORDER BY rank, seq LIMIT ?",
            )?;
            let mut rows = read.query(params![SCHEMA, lane, FAR_BACK as i64])?;
            while let Some(row) = rows.next()? {
                self.places.push((row.get(0)?, row.get(1)?));
            }
            let at = Instant::now();
            self.seen = Some(Seen { at, tallies });
        }
        Ok(self.places.partition_point(|before| *before < place) as i64)
    }
}
