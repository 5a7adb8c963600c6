-- Looking back: indexes on the log, and the base that is left when its oldest part is pruned.

-- Which change was a directory's first push, so that a state of then knows whether it had spoken yet.
ALTER TABLE chain ADD COLUMN pushed_seq INTEGER;
UPDATE chain SET pushed_seq =
    (SELECT min(c.seq) FROM change c WHERE c.chain = chain.chain AND c.resource IS NOT NULL);

-- Directories, tokens, configs and decisions: few among many, and SCIM traffic never writes this index.
CREATE INDEX change_other ON change (seq) WHERE resource IS NULL;
CREATE INDEX change_member_member ON change_member (member_id, seq);
CREATE INDEX change_member_group ON change_member (group_id, seq);

-- Where the log begins: `seq` is the last change that was pruned, 0 if none was. `state` is the sum of the digests of
-- the base's rows. The base tables hold the state after that change.
CREATE TABLE history_base (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    state BLOB NOT NULL CHECK (length(state) = 32)
) STRICT;
INSERT INTO history_base (one, seq, at, state) VALUES (1, 0, 0, zeroblob(32));

CREATE TABLE base_chain (
    chain INTEGER PRIMARY KEY,
    digest BLOB NOT NULL CHECK (length(digest) = 32)
) STRICT;

-- Directories, tokens and decisions that stood; `seq` made them.
CREATE TABLE base_standing (
    class TEXT NOT NULL,
    object TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (class, object)
) STRICT, WITHOUT ROWID;

-- `doc` is NULL once its values were erased; the row's digest covers only the salted digest of it.
CREATE TABLE base_resource (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    chain INTEGER NOT NULL,
    type INTEGER NOT NULL CHECK (type IN (1, 2)),
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    active_seq INTEGER NOT NULL,
    active_at INTEGER NOT NULL,
    salt BLOB NOT NULL,
    value_digest BLOB NOT NULL CHECK (length(value_digest) = 32),
    doc TEXT
) STRICT;

-- Who came in by which change, so that an access review still knows after the change itself is gone.
CREATE TABLE base_member (
    group_id BLOB NOT NULL CHECK (length(group_id) = 16),
    member_id BLOB NOT NULL CHECK (length(member_id) = 16),
    member_type INTEGER NOT NULL CHECK (member_type IN (1, 2)),
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    request TEXT,
    PRIMARY KEY (group_id, member_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX base_member_member ON base_member (member_id, group_id);
