//! What is done to jobs, inside the writer's transaction.

use rusqlite::{OptionalExtension as _, Row, params};
use seatrial_core::{
    id::JobId,
    job::JobState,
    ledger::{Claim, Created, Idempotency, LedgerError, NewJob},
    record::{JobRecord, Move, Moved, News, Priority, Refusal, SCHEMA},
};

use super::{
    clock::{column, later, time},
    file::Fault,
    lane::{Lane, order},
    writer::Turn,
};
use crate::ledger::stored;

/// Jobs whose delay ended are given their place in portions of this many: one claim's share.
const PROMOTE: i64 = 256;
/// Jobs of one claim at most.
const HANDFUL: usize = 256;
/// Jobs that one claim looks at beyond those that it takes.
const DETOUR: usize = 64;

/// A stored job: what a move changes.
struct Held {
    seq: i64,
    spot: Spot,
    record: String,
}

/// Where a job is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Spot {
    lane: Lane,
    rank: Option<i64>,
    not_before: Option<i64>,
    due_at: Option<i64>,
    settled_at: Option<i64>,
}

const HELD: &str = "SELECT seq, lane, rank, not_before, due_at, settled_at, record FROM jobs WHERE";

impl Held {
    fn from(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            seq: row.get(0)?,
            spot: Spot {
                lane: Lane(row.get(1)?),
                rank: row.get(2)?,
                not_before: row.get(3)?,
                due_at: row.get(4)?,
                settled_at: row.get(5)?,
            },
            record: row.get(6)?,
        })
    }
}

pub(super) fn create(turn: &mut Turn<'_>, job: NewJob) -> Result<Created, Fault> {
    if let Some(held) = held(turn, job.id)? {
        // The id is fresh for each job: somebody asks again.
        return Ok(Created::Existing(Box::new(stored::decode(job.id, &held.record)?)));
    }
    let key = job.idempotency.clone();
    if let Some(key) = &key
        && let Some(answer) = known(turn, &job.caller, key)?
    {
        return Ok(answer);
    }
    let waiting = turn.tallies.waiting();
    if job.outcome.is_none() && waiting >= job.max_waiting {
        return Ok(Created::Full { waiting });
    }
    let (record, news) = job.begin(time(turn.now));
    let spot = find_spot(turn, &record, None)?;
    let id = record.id.to_string();
    let text = stored::encode(&record)?;
    turn.db
        .prepare_cached(
            "INSERT INTO jobs (id, schema, caller, lane, created_at, revision, front, rank, not_before, due_at,
                               settled_at, idempotency, record)
             VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            id,
            record.schema,
            record.caller,
            spot.lane.0,
            column(record.created_at),
            record.revision.cast_signed(),
            spot.rank,
            spot.not_before,
            spot.due_at,
            spot.settled_at,
            key.as_ref().map(|key| &key.key),
            text,
        ])?;
    let seq = turn.db.last_insert_rowid();
    for (label, value) in &record.labels {
        turn.db
            .prepare_cached("INSERT OR IGNORE INTO labels (key, value, id) VALUES (?, ?, ?)")?
            .execute(params![label, value, id])?;
    }
    if let Some(key) = key {
        let until = later(turn.now, key.keep);
        turn.db
            .prepare_cached("REPLACE INTO keys (caller, key, id, fingerprint, until) VALUES (?, ?, ?, ?, ?)")?
            .execute(params![record.caller, key.key, id, key.fingerprint.to_string(), until])?;
    }
    follow(turn, seq, None, spot, &record, &news)?;
    Ok(Created::New(Box::new(record)))
}

/// What an idempotency key stands for; `None` when it is free.
fn known(turn: &Turn<'_>, caller: &str, asked: &Idempotency) -> Result<Option<Created>, Fault> {
    let mut find = turn
        .db
        .prepare_cached("SELECT id, fingerprint FROM keys WHERE caller = ? AND key = ? AND until > ?")?;
    let found: Option<(String, String)> = find
        .query_row(params![caller, asked.key, turn.now], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((id, fingerprint)) = found else {
        return Ok(None);
    };
    if fingerprint != asked.fingerprint.to_string() {
        return Ok(Some(Created::KeyReused));
    }
    let id = parse(&id)?;
    let Some(held) = held(turn, id)? else {
        return Ok(None);
    };
    Ok(Some(Created::Existing(Box::new(stored::decode(id, &held.record)?))))
}

/// What became of a move: an answer, or a record that cannot be moved.
pub(super) type Applied = Result<Result<JobRecord, Refusal>, LedgerError>;

pub(super) fn apply(turn: &mut Turn<'_>, id: JobId, what: Move) -> Result<Applied, Fault> {
    match held(turn, id)? {
        Some(held) => move_held(turn, id, held, what),
        None => Ok(Ok(Err(Refusal::Unknown))),
    }
}

fn move_held(turn: &mut Turn<'_>, id: JobId, held: Held, what: Move) -> Result<Applied, Fault> {
    let record = match stored::decode(id, &held.record) {
        Ok(record) => record,
        Err(error) => {
            set_aside(turn, &held, &error)?;
            return Ok(Err(error));
        }
    };
    match record.on(what, time(turn.now)) {
        Ok(moved) => Ok(Ok(Ok(put(turn, &held, moved)?))),
        Err(refusal) => Ok(Ok(Err(refusal))),
    }
}

pub(super) fn claim(turn: &mut Turn<'_>, claim: &Claim) -> Result<Vec<JobRecord>, Fault> {
    promote(turn)?;
    let slots = claim.slots.min(HANDFUL);
    let mut claimed = Vec::new();
    let mut left = slots + DETOUR;
    for lane in Priority::ALL.map(Lane::ready) {
        while claimed.len() < slots && left > 0 {
            let heads = heads(turn, lane, (slots - claimed.len()).min(left))?;
            if heads.is_empty() {
                break;
            }
            left -= heads.len();
            for (id, held) in heads {
                claimed.extend(take(turn, id, held, claim)?);
            }
        }
    }
    Ok(claimed)
}

/// The first jobs of a queue.
fn heads(turn: &Turn<'_>, lane: Lane, limit: usize) -> Result<Vec<(JobId, Held)>, Fault> {
    let mut read = turn.db.prepare_cached(
        "SELECT seq, lane, rank, not_before, due_at, settled_at, record, id FROM jobs
         WHERE schema = ? AND lane = ? AND rank IS NOT NULL ORDER BY rank, seq LIMIT ?",
    )?;
    let mut rows = read.query(params![SCHEMA, lane.0, count(limit)])?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next()? {
        heads.push((
            parse(row.get_ref(7)?.as_str().map_err(rusqlite::Error::from)?)?,
            Held::from(row)?,
        ));
    }
    Ok(heads)
}

/// Claims one job of a queue's head. If it cannot be claimed it leaves the head, so that it blocks nobody.
fn take(turn: &mut Turn<'_>, id: JobId, held: Held, claim: &Claim) -> Result<Option<JobRecord>, Fault> {
    let record = match stored::decode(id, &held.record) {
        Ok(record) => record,
        Err(error) => {
            set_aside(turn, &held, &error)?;
            return Ok(None);
        }
    };
    let what = Move::Claim {
        worker: claim.worker.clone(),
        lease: claim.lease,
    };
    if let Ok(moved) = record.on(what, time(turn.now)) {
        return Ok(Some(put(turn, &held, moved)?));
    }
    // Too late for it: its end is due.
    let news = Vec::new();
    let moved = record.on(Move::Reap(turn.budgets), time(turn.now));
    put(turn, &held, moved.unwrap_or(Moved { record, news }))?;
    Ok(None)
}

/// Gives those whose delay is over their place behind those who wait.
fn promote(turn: &mut Turn<'_>) -> Result<(), Fault> {
    let over: Vec<(i64, Lane, String, bool)> = {
        let mut read = turn.db.prepare_cached(
            "SELECT seq, lane, caller, front FROM jobs
             WHERE schema = ? AND not_before <= ? ORDER BY not_before, seq LIMIT ?",
        )?;
        let rows = read.query_map(params![SCHEMA, turn.now, PROMOTE], |row| {
            Ok((row.get(0)?, Lane(row.get(1)?), row.get(2)?, row.get(3)?))
        })?;
        rows.collect::<Result<_, _>>()?
    };
    for (seq, lane, caller, front) in over {
        let Some(priority) = lane.queue() else {
            continue;
        };
        let rank = next_rank(turn, priority, &caller, front)?;
        let ready = Lane::ready(priority);
        turn.db
            .prepare_cached("UPDATE jobs SET lane = ?, rank = ?, not_before = NULL WHERE seq = ?")?
            .execute(params![ready.0, rank, seq])?;
        recount(turn, Some(lane), Some(ready));
    }
    Ok(())
}

/// Stores a moved record, and what follows from it.
fn put(turn: &mut Turn<'_>, held: &Held, moved: Moved) -> Result<JobRecord, Fault> {
    let Moved { record, news } = moved;
    let before = held.spot;
    let spot = find_spot(turn, &record, Some(before))?;
    let text = stored::encode(&record)?;
    let revision = record.revision.cast_signed();
    // An index is written when the statement names its column, changed or not.
    if spot == before {
        turn.db
            .prepare_cached("UPDATE jobs SET revision = ?, record = ? WHERE seq = ?")?
            .execute(params![revision, text, held.seq])?;
    } else if (Spot {
        due_at: before.due_at,
        ..spot
    }) == before
    {
        turn.db
            .prepare_cached("UPDATE jobs SET revision = ?, record = ?, due_at = ? WHERE seq = ?")?
            .execute(params![revision, text, spot.due_at, held.seq])?;
    } else {
        turn.db
            .prepare_cached(
                "UPDATE jobs SET revision = ?, record = ?, lane = ?, rank = ?, not_before = ?, due_at = ?,
                                 settled_at = ?, front = ? WHERE seq = ?",
            )?
            .execute(params![
                revision,
                text,
                spot.lane.0,
                spot.rank,
                spot.not_before,
                spot.due_at,
                spot.settled_at,
                record.token.0 > 0,
                held.seq
            ])?;
    }
    if let (Some(rank), Some(priority), JobState::Running { .. }) = (before.rank, before.lane.queue(), &record.state) {
        let now = &mut turn.tallies.turns[place(priority)];
        *now = (*now).max(rank);
        forget_turn(turn, priority, &record.caller)?;
    }
    follow(turn, held.seq, Some(before), spot, &record, &news)?;
    Ok(record)
}

/// Writes news and the delivery, counts, and notes whom to wake.
fn follow(
    turn: &mut Turn<'_>,
    seq: i64,
    before: Option<Spot>,
    spot: Spot,
    record: &JobRecord,
    news: &[News],
) -> Result<(), Fault> {
    for news in news {
        let body = serde_json::to_string(news).map_err(|error| stored::broken(record.id, error))?;
        turn.db
            .prepare_cached("INSERT INTO news (job, seq, body) VALUES (?, ?, ?)")?
            .execute(params![seq, news.seq.cast_signed(), body])?;
    }
    let was_over = before.is_some_and(|before| before.settled_at.is_some());
    if !was_over && spot.settled_at.is_some() && record.webhook.is_some() {
        turn.db
            .prepare_cached("INSERT OR IGNORE INTO deliveries (id, due_at, tries) VALUES (?, ?, 0)")?
            .execute(params![record.id.to_string(), turn.now])?;
    }
    recount(turn, before.map(|before| before.lane), Some(spot.lane));
    turn.rung.jobs.push(record.id);
    turn.rung.work |= spot.lane.queue().is_some();
    Ok(())
}

/// Where a record belongs; one that keeps its queue keeps its rank.
fn find_spot(turn: &mut Turn<'_>, record: &JobRecord, before: Option<Spot>) -> Result<Spot, Fault> {
    let index = record.index(turn.budgets.grace);
    let mut spot = Spot {
        lane: Lane::RUNNING,
        rank: None,
        not_before: None,
        due_at: index.due_at.map(column),
        settled_at: record.finished_at.map(column),
    };
    if let Some(waiting) = index.waiting {
        let not_before = column(waiting.not_before);
        if not_before > turn.now {
            spot.lane = Lane::delayed(waiting.priority);
            spot.not_before = Some(not_before);
        } else {
            spot.lane = Lane::ready(waiting.priority);
            spot.rank = match before {
                Some(before) if before.lane == spot.lane && before.rank.is_some() => before.rank,
                _ => Some(next_rank(turn, waiting.priority, &record.caller, waiting.front)?),
            };
        }
    } else if let Some(outcome) = record.outcome() {
        spot.lane = Lane::ended(outcome.ending);
    }
    Ok(spot)
}

/// Start-time fair queueing: one turn behind the caller's last job, or behind the job that was claimed
/// last. In steps of two, so that a job that had its turn already fits in before all others.
fn next_rank(turn: &Turn<'_>, priority: Priority, caller: &str, front: bool) -> Result<i64, Fault> {
    let now = turn.tallies.turns[place(priority)];
    if front {
        return Ok(now - 1);
    }
    let mut next = turn.db.prepare_cached(
        "INSERT INTO turns (lane, caller, last) VALUES (?1, ?2, ?3 + 2)
         ON CONFLICT DO UPDATE SET last = max(last, ?3) + 2 RETURNING last",
    )?;
    Ok(next.query_row(params![order(priority), caller, now], |row| row.get(0))?)
}

/// A caller whose jobs all had their turn is as good as new.
fn forget_turn(turn: &Turn<'_>, priority: Priority, caller: &str) -> Result<(), Fault> {
    let now = turn.tallies.turns[place(priority)];
    turn.db
        .prepare_cached("DELETE FROM turns WHERE lane = ? AND caller = ? AND last <= ?")?
        .execute(params![order(priority), caller, now])?;
    Ok(())
}

/// Takes a record that this process cannot read out of its own way: a newer one by its schema, a damaged
/// one until retention forgets it.
fn set_aside(turn: &mut Turn<'_>, held: &Held, error: &LedgerError) -> Result<(), Fault> {
    match error {
        LedgerError::Newer { schema, .. } => {
            turn.db
                .prepare_cached("UPDATE jobs SET schema = ?1 WHERE seq = ?2 AND schema <> ?1")?
                .execute(params![schema, held.seq])?;
        }
        LedgerError::Broken { .. } if held.spot.lane != Lane::BROKEN => {
            turn.db
                .prepare_cached(
                    "UPDATE jobs SET lane = ?, rank = NULL, not_before = NULL, due_at = NULL, settled_at = ?
                     WHERE seq = ?",
                )?
                .execute(params![Lane::BROKEN.0, turn.now, held.seq])?;
            recount(turn, Some(held.spot.lane), None);
            tracing::error!(error = %error, "a damaged record is set aside");
        }
        LedgerError::Broken { .. } | LedgerError::Unreachable { .. } | LedgerError::Unfit(_) => {}
    }
    Ok(())
}

pub(super) fn erase(turn: &mut Turn<'_>, id: JobId) -> Result<bool, Fault> {
    let name = id.to_string();
    let Some(held) = held(turn, id)? else {
        return Ok(false);
    };
    match stored::decode(id, &held.record) {
        Ok(record) if record.outcome().is_none() => return Ok(false),
        Ok(record) => {
            for (label, value) in &record.labels {
                turn.db
                    .prepare_cached("DELETE FROM labels WHERE key = ? AND value = ? AND id = ?")?
                    .execute(params![label, value, name])?;
            }
            forget_turn(turn, record.priority, &record.caller)?;
        }
        // Nobody can ever end it, so it may go; its labels are not known.
        Err(LedgerError::Broken { .. }) => {
            turn.db.execute("DELETE FROM labels WHERE id = ?", [&name])?;
        }
        Err(error) => return Err(error.into()),
    }
    turn.db
        .prepare_cached(
            "DELETE FROM keys WHERE id = ?1
             AND (caller, key) = (SELECT caller, idempotency FROM jobs WHERE seq = ?2)",
        )?
        .execute(params![name, held.seq])?;
    for sql in ["DELETE FROM news WHERE job = ?", "DELETE FROM jobs WHERE seq = ?"] {
        turn.db.prepare_cached(sql)?.execute([held.seq])?;
    }
    turn.db
        .prepare_cached("DELETE FROM deliveries WHERE id = ?")?
        .execute([&name])?;
    recount(turn, Some(held.spot.lane), None);
    turn.rung.jobs.push(id);
    Ok(true)
}

fn held(turn: &Turn<'_>, id: JobId) -> Result<Option<Held>, Fault> {
    let mut read = turn.db.prepare_cached(&format!("{HELD} id = ?"))?;
    Ok(read.query_row([id.to_string()], Held::from).optional()?)
}

fn recount(turn: &mut Turn<'_>, from: Option<Lane>, to: Option<Lane>) {
    if let Some(lane) = from.and_then(Lane::counted) {
        turn.tallies.jobs[lane] -= 1;
    }
    if let Some(lane) = to.and_then(Lane::counted) {
        turn.tallies.jobs[lane] += 1;
    }
}

/// An id of the file.
pub(super) fn parse(id: &str) -> Result<JobId, Fault> {
    id.parse().map_err(|error: seatrial_core::id::BadJobId| {
        let broken = LedgerError::Broken {
            what: "a job's id".into(),
            source: error.into(),
        };
        broken.into()
    })
}

/// As SQLite counts.
pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn place(priority: Priority) -> usize {
    usize::try_from(order(priority)).unwrap_or_default()
}
