-- Limits, who changed what, usage by attempt and by day. Times are seconds since the epoch, days are days since
-- then (UTC), money is in billionths of a US dollar. The records' columns are explained in usage_record.py.

CREATE TABLE limits (
    level               TEXT NOT NULL CHECK (level IN ('project', 'branch', 'credential')),
    subject             TEXT NOT NULL,      -- the id of whom they are for
    requests_per_minute INTEGER,
    tokens_per_minute   INTEGER,
    concurrent_requests INTEGER,
    tokens_per_day      INTEGER,
    spend_per_day_nanos INTEGER,
    PRIMARY KEY (level, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE limits_version (   -- one row
    version INTEGER NOT NULL    -- grows with every change of a limit
) STRICT;

INSERT INTO limits_version (version) VALUES (0);

CREATE TABLE audit_trail (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    time       INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    action     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    subject    TEXT NOT NULL,   -- the id of what was changed
    details    TEXT NOT NULL    -- JSON
) STRICT;

CREATE INDEX audit_trail_by_project ON audit_trail (project_id, number);

CREATE TABLE usage_records (
    request_id             TEXT NOT NULL,
    attempt                INTEGER NOT NULL,
    attempts               INTEGER NOT NULL,
    time                   REAL NOT NULL,
    day                    INTEGER NOT NULL,
    client_request_id      TEXT NOT NULL,
    project                TEXT NOT NULL,
    branch                 TEXT NOT NULL,
    credential             TEXT NOT NULL,
    model                  TEXT NOT NULL,
    model_version          TEXT NOT NULL,
    upstream               TEXT NOT NULL,
    action                 TEXT NOT NULL,
    status                 INTEGER NOT NULL,
    ending                 TEXT NOT NULL,
    usage_source           TEXT NOT NULL,
    prompt_tokens          INTEGER,
    cached_tokens          INTEGER,
    candidates_tokens      INTEGER,
    thoughts_tokens        INTEGER,
    tool_use_prompt_tokens INTEGER,
    total_tokens           INTEGER,
    modalities             TEXT NOT NULL,   -- JSON
    traffic_type           TEXT NOT NULL,
    service_tier           TEXT NOT NULL,
    cost_nanos             INTEGER,
    unpriced               TEXT NOT NULL,   -- JSON
    first_byte_ms          REAL,
    duration_ms            REAL NOT NULL,
    request_bytes          INTEGER NOT NULL,
    response_bytes         INTEGER NOT NULL,
    PRIMARY KEY (time, request_id, attempt)     -- in the order in which they come and go
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_days (       -- the sums of all records there ever were, those deleted since included
    project       TEXT NOT NULL,
    day           INTEGER NOT NULL,
    branch        TEXT NOT NULL,
    credential    TEXT NOT NULL,
    model         TEXT NOT NULL,
    upstream      TEXT NOT NULL,
    requests      INTEGER NOT NULL,
    attempts      INTEGER NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    total_tokens  INTEGER NOT NULL,
    cost_nanos    INTEGER NOT NULL,
    unknown_usage INTEGER NOT NULL,
    unpriced      INTEGER NOT NULL,
    PRIMARY KEY (project, day, branch, credential, model, upstream)
) STRICT, WITHOUT ROWID;
