-- What the scripts for SQLite make, in PostgreSQL's words. Times are seconds since the epoch, days are days since
-- then (UTC), money is in billionths of a US dollar. The records' columns are explained in usage_record.py.

CREATE TABLE projects (
    rowid   BIGINT GENERATED ALWAYS AS IDENTITY,    -- SQLite has it by itself
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    created BIGINT NOT NULL
);

CREATE TABLE branches (
    rowid      BIGINT GENERATED ALWAYS AS IDENTITY,
    id         TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    name       TEXT NOT NULL,
    parent_id  TEXT,
    created    BIGINT NOT NULL,
    deleted    BIGINT,      -- kept, so that an old id is never given out again and its usage stays readable
    UNIQUE (project_id, id),
    FOREIGN KEY (project_id, parent_id) REFERENCES branches (project_id, id)
);

CREATE UNIQUE INDEX branches_by_name ON branches (project_id, name) WHERE deleted IS NULL;
CREATE INDEX branches_by_parent ON branches (parent_id) WHERE deleted IS NULL;

CREATE TABLE credentials (
    rowid          BIGINT GENERATED ALWAYS AS IDENTITY,
    id             TEXT PRIMARY KEY,
    token_hash     BYTEA NOT NULL CHECK (length(token_hash) = 32),
    project_id     TEXT NOT NULL,
    branch_id      TEXT NOT NULL,
    name           TEXT NOT NULL,
    principal_type TEXT NOT NULL CHECK (principal_type IN ('user', 'service')),
    scopes         TEXT NOT NULL,       -- separated by single spaces
    created        BIGINT NOT NULL,
    expires        BIGINT,
    revoked        BIGINT,
    cut            BIGINT,      -- revoked with its streams under way; when
    FOREIGN KEY (project_id, branch_id) REFERENCES branches (project_id, id)
);

CREATE INDEX credentials_by_branch ON credentials (branch_id);
CREATE INDEX credentials_by_cut ON credentials (cut) WHERE cut IS NOT NULL;

CREATE TABLE limits (
    level               TEXT NOT NULL CHECK (level IN ('project', 'branch', 'credential')),
    subject             TEXT NOT NULL,      -- the id of whom they are for
    requests_per_minute BIGINT,
    tokens_per_minute   BIGINT,
    concurrent_requests BIGINT,
    tokens_per_day      BIGINT,
    spend_per_day_nanos BIGINT,
    PRIMARY KEY (level, subject)
);

CREATE TABLE limits_version (   -- one row
    version BIGINT NOT NULL     -- grows with every change of a limit
);

INSERT INTO limits_version (version) VALUES (0);

CREATE TABLE audit_trail (
    number     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time       BIGINT NOT NULL,
    actor      TEXT NOT NULL,
    action     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    subject    TEXT NOT NULL,   -- the id of what was changed
    details    TEXT NOT NULL    -- JSON
);

CREATE INDEX audit_trail_by_project ON audit_trail (project_id, number);

CREATE TABLE usage_records (
    request_id             TEXT NOT NULL,
    attempt                BIGINT NOT NULL,
    attempts               BIGINT NOT NULL,
    time                   DOUBLE PRECISION NOT NULL,
    day                    BIGINT NOT NULL,
    client_request_id      TEXT NOT NULL,
    project                TEXT NOT NULL,
    branch                 TEXT NOT NULL,
    credential             TEXT NOT NULL,
    model                  TEXT NOT NULL,
    model_version          TEXT NOT NULL,
    upstream               TEXT NOT NULL,
    action                 TEXT NOT NULL,
    status                 BIGINT NOT NULL,
    ending                 TEXT NOT NULL,
    usage_source           TEXT NOT NULL,
    prompt_tokens          BIGINT,
    cached_tokens          BIGINT,
    candidates_tokens      BIGINT,
    thoughts_tokens        BIGINT,
    tool_use_prompt_tokens BIGINT,
    total_tokens           BIGINT,
    modalities             TEXT NOT NULL,   -- JSON
    traffic_type           TEXT NOT NULL,
    service_tier           TEXT NOT NULL,
    cost_nanos             BIGINT,
    unpriced               TEXT NOT NULL,   -- JSON
    first_byte_ms          DOUBLE PRECISION,
    duration_ms            DOUBLE PRECISION NOT NULL,
    request_bytes          BIGINT NOT NULL,
    response_bytes         BIGINT NOT NULL,
    PRIMARY KEY (time, request_id, attempt)     -- in the order in which they come and go
);

CREATE TABLE usage_days (       -- the sums of all records there ever were, those deleted since included
    project       TEXT NOT NULL,
    day           BIGINT NOT NULL,
    branch        TEXT NOT NULL,
    credential    TEXT NOT NULL,
    model         TEXT NOT NULL,
    upstream      TEXT NOT NULL,
    requests      BIGINT NOT NULL,
    attempts      BIGINT NOT NULL,
    input_tokens  BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    total_tokens  BIGINT NOT NULL,
    cost_nanos    BIGINT NOT NULL,
    unknown_usage BIGINT NOT NULL,
    unpriced      BIGINT NOT NULL,
    PRIMARY KEY (project, day, branch, credential, model, upstream)
);
