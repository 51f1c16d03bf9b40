-- Layout 1. Sealed blobs, each a row; times are milliseconds since the epoch, by the wall clock.
CREATE TABLE blobs (
    id      INTEGER PRIMARY KEY,
    job     TEXT NOT NULL,    -- the 26 characters
    name    TEXT NOT NULL,    -- the 26 characters
    kind    TEXT NOT NULL,    -- its word, see seal.rs
    written INTEGER NOT NULL,
    sealed  BLOB NOT NULL     -- last: who asks for the others does not read it
) STRICT;
-- Holds what the search for orphans asks for.
CREATE INDEX blobs_by_job ON blobs (job, name, written);
-- What is over lies at the begin of its kind.
CREATE INDEX blobs_by_age ON blobs (kind, written);
