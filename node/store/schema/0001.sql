-- The record. Everything else (strategy state, front, lineage, what a page shows) is a fold over it.
-- Ids of genomes, tasks and weights are SHA-256 in hex.

CREATE TABLE run (
    id           INTEGER PRIMARY KEY,
    key          TEXT NOT NULL UNIQUE,  -- hash of all that decides which records the run makes
    seed         INTEGER NOT NULL,
    task         TEXT NOT NULL,
    task_id      TEXT NOT NULL,
    tier         TEXT NOT NULL,
    space        TEXT NOT NULL,
    strategy     TEXT NOT NULL,
    arithmetic   TEXT NOT NULL,
    settings     TEXT NOT NULL,         -- JSON: the run's specification
    calibration  TEXT,                  -- JSON: what its speeds are predicted by; NULL for tasks without networks
    created_at   REAL NOT NULL          -- seconds since the epoch
) STRICT;

CREATE TABLE genome (
    id           TEXT PRIMARY KEY,
    space        TEXT NOT NULL,
    body         BLOB NOT NULL          -- canonical MessagePack
) STRICT, WITHOUT ROWID;

CREATE TABLE birth (
    genome       TEXT NOT NULL REFERENCES genome (id),
    operator     TEXT NOT NULL,
    seed         TEXT NOT NULL,         -- decimal: may exceed 63 bits
    parent1      TEXT,
    parent2      TEXT,
    born         INTEGER NOT NULL,      -- order of birth in this store
    PRIMARY KEY (genome, operator, seed)
) STRICT, WITHOUT ROWID;
CREATE INDEX birth_born ON birth (born);

CREATE TABLE evaluation (
    id           INTEGER PRIMARY KEY,
    run          INTEGER NOT NULL REFERENCES run (id),
    ask          INTEGER NOT NULL,      -- counter of the ask; of the replicate where rescored
    purpose      TEXT NOT NULL,         -- baseline, search, rescore, report
    genome       TEXT NOT NULL REFERENCES genome (id),
    task_id      TEXT NOT NULL,
    seed         INTEGER NOT NULL,
    arithmetic   TEXT NOT NULL,
    failure      TEXT,                  -- kind of the failure, NULL where there is an outcome
    detail       TEXT,
    weights      TEXT,
    body         BLOB NOT NULL,         -- Outcome or Failure, MessagePack
    finished_at  REAL NOT NULL,
    UNIQUE (run, purpose, ask, genome)
) STRICT;
CREATE INDEX evaluation_task ON evaluation (task_id, arithmetic, genome);
CREATE INDEX evaluation_genome ON evaluation (genome);

CREATE TABLE objective (
    evaluation   INTEGER NOT NULL REFERENCES evaluation (id),
    name         TEXT NOT NULL,
    value        REAL NOT NULL,
    PRIMARY KEY (evaluation, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    at           REAL NOT NULL,
    kind         TEXT NOT NULL,
    body         TEXT NOT NULL          -- JSON
) STRICT;

CREATE TRIGGER event_is_append_only_update BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;
CREATE TRIGGER event_is_append_only_delete BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;
CREATE TRIGGER evaluation_is_append_only_update BEFORE UPDATE ON evaluation
BEGIN SELECT RAISE(ABORT, 'evaluation is append-only'); END;
CREATE TRIGGER evaluation_is_append_only_delete BEFORE DELETE ON evaluation
BEGIN SELECT RAISE(ABORT, 'evaluation is append-only'); END;
