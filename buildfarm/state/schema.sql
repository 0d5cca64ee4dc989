-- The journal of one tree, schema version 1; schema-2.sql adds to it.
--
-- Paths, arguments and environments are BLOBs of the bytes that the kernel knows (see encoding.py); a list is
-- its words, each ended by NUL.  Times are seconds since the epoch and only ever shown: no decision hangs on
-- them.  Counters are kept by triggers, so that a status read never counts 100,000 rows.

CREATE TABLE build (
    id             INTEGER PRIMARY KEY,
    state          TEXT NOT NULL,              -- model.BuildState
    directory      BLOB NOT NULL,
    goals          BLOB NOT NULL,
    variables      BLOB NOT NULL,
    make_arguments BLOB NOT NULL,
    options        BLOB NOT NULL,
    environment    BLOB NOT NULL,
    pid            INTEGER NOT NULL,
    pid_start      INTEGER NOT NULL,           -- clock ticks after boot, /proc/PID/stat field 22
    boot_id        TEXT NOT NULL,
    token          TEXT NOT NULL,
    resumed_from   INTEGER,
    started        REAL NOT NULL,
    ended          REAL,
    exit_status    INTEGER
);

-- What changes often about a build; apart from `build`, whose environment makes rows of many kilobytes.
CREATE TABLE progress (
    build          INTEGER PRIMARY KEY REFERENCES build(id) ON DELETE CASCADE,
    total          INTEGER,
    total_is_final INTEGER NOT NULL DEFAULT 0,
    eta_seconds    REAL,
    eta_at         REAL,
    reused         INTEGER NOT NULL DEFAULT 0,
    barrier_ns     INTEGER NOT NULL,           -- files written before it, on the tree's own clock, are whole
    clock_ns       INTEGER NOT NULL,           -- wall clock minus time since boot, at that barrier
    asked          INTEGER NOT NULL DEFAULT 0, -- compiles that make asked for
    foreseen       INTEGER NOT NULL DEFAULT 0, -- of those, the ones that a plan had named before
    predicted      INTEGER NOT NULL DEFAULT 0, -- of those, the ones that a plan has named, before or after
    wasted         INTEGER NOT NULL DEFAULT 0, -- results made ahead that did not fit any more
    instances      INTEGER NOT NULL DEFAULT 0, -- make instances planned
    plan_seconds   REAL NOT NULL DEFAULT 0,    -- in dry runs
    checked_out    INTEGER NOT NULL DEFAULT 0, -- from here on units, by the triggers below
    done           INTEGER NOT NULL DEFAULT 0,
    failed         INTEGER NOT NULL DEFAULT 0,
    remote         INTEGER NOT NULL DEFAULT 0,
    local          INTEGER NOT NULL DEFAULT 0,
    lookahead      INTEGER NOT NULL DEFAULT 0,
    retried        INTEGER NOT NULL DEFAULT 0,
    links_running  INTEGER NOT NULL DEFAULT 0, -- links and archives
    links_done     INTEGER NOT NULL DEFAULT 0
);

-- A command as typed; the same one in the next build costs nothing.
CREATE TABLE command (
    id     INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,               -- BLAKE2b-128 of cwd and argv
    cwd    BLOB NOT NULL,
    argv   BLOB NOT NULL
);

CREATE TABLE step (
    id             INTEGER PRIMARY KEY,        -- build * 2^32 + the conductor's step number
    build          INTEGER NOT NULL REFERENCES build(id) ON DELETE CASCADE,
    kind           TEXT NOT NULL,              -- model.Kind
    state          TEXT NOT NULL,              -- model.StepState
    command        INTEGER NOT NULL REFERENCES command(id),
    output         BLOB,                       -- the main one
    fingerprint    TEXT NOT NULL,
    node           TEXT,                       -- of the attempt that counts; NULL: this machine
    attempt        INTEGER NOT NULL,
    lookahead      INTEGER NOT NULL,
    retried        INTEGER NOT NULL DEFAULT 0,
    started        REAL NOT NULL,              -- of that attempt
    ended          REAL,
    seconds        REAL,
    exit_status    INTEGER,
    bytes_sent     INTEGER,
    bytes_received INTEGER,
    reason         TEXT,
    stderr         BLOB,
    inputs         BLOB,                       -- u32 little-endian ids of `input`, the source first
    seen           TEXT,                       -- digest of what the inputs looked like at the delivery
    temporaries    BLOB NOT NULL               -- private files that a crash may leave behind
);
CREATE INDEX step_build ON step(build);
CREATE INDEX step_output ON step(output);
CREATE INDEX step_command ON step(command);    -- for the foreign key, when old builds go
CREATE INDEX step_open ON step(build) WHERE state = 'checked_out';
CREATE INDEX step_failed ON step(build) WHERE state = 'failed';

CREATE TABLE attempt (
    step    INTEGER NOT NULL REFERENCES step(id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    node    TEXT,
    started REAL NOT NULL,
    ended   REAL,
    outcome TEXT,                              -- NULL: under way, or it died with its build
    reason  TEXT,
    PRIMARY KEY (step, attempt)
) WITHOUT ROWID;

-- The latest word on every path that a step has ever claimed to write.  It outlives its build.
CREATE TABLE output (
    path     BLOB PRIMARY KEY,
    step     INTEGER NOT NULL,                 -- the step that owns it: any other's word on it is stale
    standing TEXT NOT NULL,                    -- pending: checked out; arrived: in place; checked_in: and durable
    size     INTEGER,
    mtime_ns INTEGER,
    digest   TEXT,                             -- of a pending one these three are of the check-in before
    own_source INTEGER NOT NULL DEFAULT 0,     -- the step's command names it as an operand too
    time     REAL NOT NULL                     -- of the latest word
) WITHOUT ROWID;
CREATE INDEX output_step ON output(step);

CREATE TABLE input (
    id    INTEGER PRIMARY KEY,
    path  BLOB NOT NULL UNIQUE,
    build INTEGER NOT NULL                     -- the last one in which a checked-in step had read it
);

CREATE TABLE duration (
    output      BLOB PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    seconds     REAL NOT NULL                  -- half the last, half what was known before
) WITHOUT ROWID;

CREATE TABLE node (
    build        INTEGER NOT NULL REFERENCES build(id) ON DELETE CASCADE,
    key          TEXT NOT NULL,
    host         TEXT NOT NULL,
    port         INTEGER NOT NULL,
    state        TEXT NOT NULL,
    slots        INTEGER NOT NULL,
    checked_out  INTEGER NOT NULL,
    done         INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    compiler     TEXT,
    reason       TEXT,
    retry_at     REAL,
    mean_seconds REAL,
    languages    TEXT NOT NULL,
    PRIMARY KEY (build, key)
) WITHOUT ROWID;

-- The order of use of the results in `.buildfarm/store/`; the files speak for themselves.
CREATE TABLE stored (
    name TEXT PRIMARY KEY,
    used INTEGER NOT NULL                      -- rises with each use; the least goes first
) WITHOUT ROWID;

CREATE TRIGGER step_out AFTER INSERT ON step BEGIN
    UPDATE progress SET
        checked_out = checked_out + (new.kind = 'compile'),
        links_running = links_running + (new.kind IN ('link', 'archive'))
    WHERE build = new.build;
END;

CREATE TRIGGER step_moved AFTER UPDATE OF state ON step WHEN old.state <> new.state BEGIN
    UPDATE progress SET
        checked_out = checked_out + (new.kind = 'compile')
            * ((new.state = 'checked_out') - (old.state = 'checked_out')),
        done = done + (new.kind = 'compile') * ((new.state = 'done') - (old.state = 'done')),
        failed = failed + (new.kind = 'compile') * ((new.state = 'failed') - (old.state = 'failed')),
        remote = remote + (new.kind = 'compile') * (new.node IS NOT NULL)
            * ((new.state = 'done') - (old.state = 'done')),
        local = local + (new.kind = 'compile') * (new.node IS NULL)
            * ((new.state = 'done') - (old.state = 'done')),
        lookahead = lookahead + (new.kind = 'compile') * new.lookahead
            * ((new.state = 'done') - (old.state = 'done')),
        links_running = links_running + (new.kind IN ('link', 'archive'))
            * ((new.state = 'checked_out') - (old.state = 'checked_out')),
        links_done = links_done + (new.kind IN ('link', 'archive'))
            * ((new.state = 'done') - (old.state = 'done'))
    WHERE build = new.build;
END;

CREATE TRIGGER step_retried AFTER UPDATE OF retried ON step WHEN old.retried = 0 AND new.retried = 1 BEGIN
    UPDATE progress SET retried = retried + (new.kind = 'compile') WHERE build = new.build;
END;
