-- Layout 1. Times are microseconds since the epoch, by the ledger's clock.

-- One row a job: the record as JSON, and what it is found by.
CREATE TABLE jobs (
    seq        INTEGER PRIMARY KEY, -- in order of arrival
    id         TEXT NOT NULL UNIQUE,
    schema     INTEGER NOT NULL,
    caller     TEXT NOT NULL,
    lane       INTEGER NOT NULL,    -- where it is, see lane.rs
    created_at INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    front      INTEGER NOT NULL,    -- it had its turn already
    rank       INTEGER,             -- its place, while it is ready
    not_before INTEGER,             -- while it is delayed
    due_at     INTEGER,             -- when the reaper must look at it
    settled_at INTEGER,
    idempotency TEXT,
    record     TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_by_lane ON jobs (lane, id);
CREATE INDEX jobs_by_caller ON jobs (caller, id);
-- Each holds the few jobs that it is about, so a deep queue costs nothing. The schema comes first:
-- a process steps over any number of newer records without looking at them.
CREATE INDEX jobs_ready ON jobs (schema, lane, rank, seq) WHERE rank IS NOT NULL;
CREATE INDEX jobs_delayed ON jobs (schema, not_before) WHERE not_before IS NOT NULL;
CREATE INDEX jobs_due ON jobs (schema, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_settled ON jobs (schema, settled_at) WHERE settled_at IS NOT NULL;

CREATE TABLE news (
    job  INTEGER NOT NULL, -- jobs.seq
    seq  INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE labels (
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    id    TEXT NOT NULL,
    PRIMARY KEY (key, value, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    caller      TEXT NOT NULL,
    key         TEXT NOT NULL,
    id          TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    until       INTEGER NOT NULL,
    PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;

-- The last rank of callers who have jobs in a queue.
CREATE TABLE turns (
    lane   INTEGER NOT NULL,
    caller TEXT NOT NULL,
    last   INTEGER NOT NULL,
    PRIMARY KEY (lane, caller)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    id         TEXT PRIMARY KEY,
    due_at     INTEGER, -- none: given up
    tries      INTEGER NOT NULL,
    last_error TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE workers (
    name  TEXT PRIMARY KEY,
    until INTEGER NOT NULL,
    card  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: how many jobs are in each lane that is counted, whose turn it is in each queue, and the
-- last time that was written.
CREATE TABLE tallies (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    ready_high INTEGER NOT NULL, ready_normal INTEGER NOT NULL, ready_low INTEGER NOT NULL,
    delayed_high INTEGER NOT NULL, delayed_normal INTEGER NOT NULL, delayed_low INTEGER NOT NULL,
    running INTEGER NOT NULL,
    turn_high INTEGER NOT NULL, turn_normal INTEGER NOT NULL, turn_low INTEGER NOT NULL,
    seen    INTEGER NOT NULL
) STRICT;
INSERT INTO tallies VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

CREATE TABLE clock (
    boot   TEXT PRIMARY KEY,
    offset INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
