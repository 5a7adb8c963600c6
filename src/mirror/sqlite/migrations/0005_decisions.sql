-- What people decided: who is shut out, grants for a time, names let go of, and re-baselines.

-- Out of every target until opened, whatever the identity provider says. By id and by name, so that neither a rename
-- nor a deletion lets anybody back in; it outlives the user and the directory.
CREATE TABLE shut (
    dir_id TEXT NOT NULL,
    user_id BLOB NOT NULL CHECK (length(user_id) = 16),
    user_name TEXT NOT NULL,
    user_name_key TEXT NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (dir_id, user_id)
) STRICT, WITHOUT ROWID;

-- `id` is the number of the change that made it. Rows that ended stay a while, so that a target that was behind knows
-- that a person meant it.
CREATE TABLE role_grant (
    id INTEGER PRIMARY KEY,
    dir_id TEXT NOT NULL,
    user_id BLOB NOT NULL CHECK (length(user_id) = 16),
    user_name TEXT NOT NULL,
    role TEXT NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    ended_seq INTEGER,
    ended_at INTEGER
) STRICT;

CREATE TABLE released (
    dir_id TEXT NOT NULL,
    user_name_key TEXT NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (dir_id, user_name_key)
) STRICT, WITHOUT ROWID;

-- One row while the identity provider of a directory has to name everybody again; `seen` are those it named.
CREATE TABLE rebaseline (
    dir INTEGER PRIMARY KEY,
    began_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    began_seq INTEGER NOT NULL
) STRICT;

CREATE TABLE seen (
    dir INTEGER NOT NULL,
    rid INTEGER NOT NULL,
    PRIMARY KEY (dir, rid)
) STRICT, WITHOUT ROWID;

-- Users that were not named before their directory's re-baseline closed.
CREATE TABLE unconfirmed (
    rid INTEGER PRIMARY KEY,
    dir INTEGER NOT NULL,
    since_seq INTEGER NOT NULL
) STRICT;
CREATE INDEX unconfirmed_dir ON unconfirmed (dir);
