-- Projects, branches with their lineage, credentials. Times are whole seconds since the epoch, UTC.

CREATE TABLE projects (
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE branches (
    id         TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    name       TEXT NOT NULL,
    parent_id  TEXT,
    created    INTEGER NOT NULL,
    deleted    INTEGER,     -- kept, so that an old id is never given out again and its usage stays readable
    UNIQUE (project_id, id),
    FOREIGN KEY (project_id, parent_id) REFERENCES branches (project_id, id)
) STRICT;

CREATE UNIQUE INDEX branches_by_name ON branches (project_id, name) WHERE deleted IS NULL;
CREATE INDEX branches_by_parent ON branches (parent_id) WHERE deleted IS NULL;

CREATE TABLE credentials (
    id             TEXT PRIMARY KEY,
    token_hash     BLOB NOT NULL CHECK (length(token_hash) = 32),
    project_id     TEXT NOT NULL,
    branch_id      TEXT NOT NULL,
    name           TEXT NOT NULL,
    principal_type TEXT NOT NULL CHECK (principal_type IN ('user', 'service')),
    scopes         TEXT NOT NULL,       -- separated by single spaces
    created        INTEGER NOT NULL,
    expires        INTEGER,
    revoked        INTEGER,
    cut            INTEGER,     -- revoked with its streams under way; when
    FOREIGN KEY (project_id, branch_id) REFERENCES branches (project_id, id)
) STRICT;

CREATE INDEX credentials_by_branch ON credentials (branch_id);
CREATE INDEX credentials_by_cut ON credentials (cut) WHERE cut IS NOT NULL;
