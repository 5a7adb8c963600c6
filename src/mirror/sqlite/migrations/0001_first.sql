-- The first schema. Times are microseconds UTC, ids 16 bytes, digests 32 bytes, booleans 0 and 1.

-- Counters handed out inside a batch's transaction, and facts about the mirror itself.
CREATE TABLE counter (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counter (name, value) VALUES ('seq', 0), ('epoch', 1), ('probe', 0);

-- `key` is never reused, so that an old row can never point at a new directory.
CREATE TABLE directory (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    created_at INTEGER NOT NULL,
    last_push_at INTEGER
) STRICT;

-- One row per chain of digests: chain 0 is config and decisions, the others are directories' keys. What a batch
-- counts for a directory lives beside its head, so that it costs one update per batch. The row outlives its
-- directory, since the log goes on naming it.
CREATE TABLE chain (
    chain INTEGER PRIMARY KEY,
    directory TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    users INTEGER NOT NULL DEFAULT 0,
    groups INTEGER NOT NULL DEFAULT 0,
    pushed_at INTEGER
) STRICT;
INSERT INTO chain (chain, directory, digest) VALUES (0, '', zeroblob(32));

-- Users and groups. The `_key` columns are folded; `doc` is the canonical document without id, meta and members.
CREATE TABLE resource (
    rid INTEGER PRIMARY KEY,
    dir INTEGER NOT NULL,
    type INTEGER NOT NULL CHECK (type IN (1, 2)),
    id BLOB NOT NULL CHECK (length(id) = 16),
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    user_name_key TEXT,
    display_name_key TEXT,
    external_id TEXT,
    members INTEGER NOT NULL,
    label TEXT NOT NULL,
    doc TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX resource_id ON resource (id);
CREATE UNIQUE INDEX resource_user_name ON resource (dir, user_name_key) WHERE user_name_key IS NOT NULL;
CREATE UNIQUE INDEX resource_external_id ON resource (dir, type, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX resource_display_name ON resource (dir, type, display_name_key) WHERE display_name_key IS NOT NULL;
CREATE INDEX resource_modified ON resource (dir, type, modified_at);
CREATE INDEX resource_type ON resource (dir, type);

CREATE TABLE email_key (
    dir INTEGER NOT NULL,
    value_key TEXT NOT NULL,
    type_key TEXT NOT NULL,
    rid INTEGER NOT NULL,
    PRIMARY KEY (dir, value_key, type_key, rid)
) STRICT, WITHOUT ROWID;

CREATE TABLE member (
    group_rid INTEGER NOT NULL,
    member_rid INTEGER NOT NULL,
    PRIMARY KEY (group_rid, member_rid)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_reverse ON member (member_rid, group_rid);

-- The log. Appended to, never updated.
CREATE TABLE change (
    seq INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    resource BLOB,
    object TEXT,
    actor TEXT NOT NULL,
    request TEXT,
    version INTEGER,
    value_digest BLOB,
    member_digest BLOB,
    digest BLOB NOT NULL CHECK (length(digest) = 32)
) STRICT;
CREATE INDEX change_resource ON change (resource, seq) WHERE resource IS NOT NULL;

-- Values apart from the log, so that they can be erased while the chain still verifies.
CREATE TABLE change_value (
    seq INTEGER PRIMARY KEY,
    salt BLOB NOT NULL,
    before TEXT,
    after TEXT
) STRICT;

-- op: 1 added, 0 removed. member_type as in resource.type.
CREATE TABLE change_member (
    seq INTEGER NOT NULL,
    n INTEGER NOT NULL,
    op INTEGER NOT NULL CHECK (op IN (0, 1)),
    group_id BLOB NOT NULL CHECK (length(group_id) = 16),
    member_id BLOB NOT NULL CHECK (length(member_id) = 16),
    member_type INTEGER NOT NULL CHECK (member_type IN (1, 2)),
    PRIMARY KEY (seq, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE config_version (
    seq INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

-- A credential belongs to one directory or to one reader, never to both and never to none.
CREATE TABLE token (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    dir INTEGER,
    reader TEXT,
    note TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('minted', 'config')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER,
    CHECK ((dir IS NULL) <> (reader IS NULL))
) STRICT;
CREATE INDEX token_dir ON token (dir) WHERE dir IS NOT NULL;

CREATE TABLE target (
    name TEXT NOT NULL PRIMARY KEY,
    applied_epoch INTEGER NOT NULL,
    applied_seq INTEGER NOT NULL,
    cursor_seq INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE holding (
    target TEXT NOT NULL,
    dir_id TEXT NOT NULL,
    user_id BLOB NOT NULL CHECK (length(user_id) = 16),
    entitlement TEXT NOT NULL,
    name TEXT NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (target, dir_id, user_id, entitlement)
) STRICT, WITHOUT ROWID;

CREATE TABLE exception (
    target TEXT NOT NULL,
    dir_id TEXT NOT NULL,
    user_id BLOB NOT NULL CHECK (length(user_id) = 16),
    entitlement TEXT NOT NULL,
    name TEXT NOT NULL,
    attributes TEXT NOT NULL,
    group_name TEXT,
    since_seq INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    PRIMARY KEY (target, dir_id, user_id, entitlement)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    target TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    added INTEGER NOT NULL,
    removed INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    held INTEGER NOT NULL,
    error TEXT,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX run_target ON run (target, id);

-- Made when an event is first sent, or about to be; in order per target by (epoch, seq, n).
CREATE TABLE delivery (
    target TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    n INTEGER NOT NULL,
    kind TEXT NOT NULL,
    resource TEXT,
    body BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'parked', 'done', 'skipped')),
    attempts INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    finished_at INTEGER,
    last_status INTEGER,
    last_error TEXT,
    PRIMARY KEY (target, epoch, seq, n)
) STRICT;
CREATE INDEX delivery_open ON delivery (target, epoch, seq, n) WHERE state IN ('pending', 'parked');
