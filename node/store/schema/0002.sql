-- What peers signed, and what this node came to believe. Ids of records are SHA-256 as bytes.

CREATE TABLE signed (
    id           BLOB PRIMARY KEY,
    kind         TEXT NOT NULL,         -- claim, attestation, accusation, setback
    task         BLOB NOT NULL,         -- the task's id, also for records that speak of a claim
    peer         TEXT NOT NULL,         -- who signed
    sequence     INTEGER NOT NULL,
    about        BLOB,                  -- the claim that an attestation or accusation speaks of
    genome       TEXT,                  -- the genome of a claim or setback; its body may not be here
    expiry       INTEGER NOT NULL,      -- seconds since the epoch
    body         BLOB NOT NULL,
    signature    BLOB NOT NULL,
    received_at  REAL NOT NULL,
    UNIQUE (peer, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX signed_task ON signed (task, kind);
CREATE INDEX signed_about ON signed (about);
CREATE INDEX signed_expiry ON signed (expiry);

-- Trust is a fold over these events, from the last state on.
CREATE TABLE belief (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    body         BLOB NOT NULL          -- MessagePack
) STRICT;

CREATE TABLE ledger (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    seq          INTEGER NOT NULL,      -- the last event that the state holds
    body         BLOB NOT NULL          -- MessagePack
) STRICT;

-- What own checks of claims found, for people.
CREATE TABLE finding (
    id           INTEGER PRIMARY KEY,
    claim        BLOB NOT NULL,
    stage        TEXT NOT NULL,
    item         TEXT NOT NULL,
    passed       INTEGER,               -- NULL where the check could not be run
    detail       TEXT NOT NULL,
    at           REAL NOT NULL,
    seconds      REAL NOT NULL
) STRICT;
CREATE INDEX finding_claim ON finding (claim);

-- What this node measured or reckoned itself for the genome of a peer's claim: what ranks it.
CREATE TABLE valued (
    claim        BLOB NOT NULL,
    name         TEXT NOT NULL,
    value        REAL NOT NULL,
    PRIMARY KEY (claim, name)
) STRICT, WITHOUT ROWID;
