-- Which files rosterd wrote, and what each target held when.

-- The files of a tree that are ours. `written` is the digest of the bytes last recorded in place; `intended` that of
-- bytes about to be put there ('' for a file about to be removed). Both are durable before the file is touched, so
-- that after a crash what lies there is told from a stranger's file. `holder` is who the name belongs to.
CREATE TABLE owned (
    target TEXT NOT NULL,
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    written TEXT,
    intended TEXT,
    PRIMARY KEY (target, name)
) STRICT, WITHOUT ROWID;

-- The versions of a target, newest last: which change each shows.
CREATE TABLE version (
    target TEXT NOT NULL,
    n INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    digest TEXT NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (target, n)
) STRICT, WITHOUT ROWID;

-- What differs between version n and the one after it, as it was in n: `name` null where n did not hold it. So a
-- version costs what changed, and the holding of any kept one follows from the present one.
CREATE TABLE version_undo (
    target TEXT NOT NULL,
    n INTEGER NOT NULL,
    dir_id TEXT NOT NULL,
    user_id BLOB NOT NULL CHECK (length(user_id) = 16),
    entitlement TEXT NOT NULL,
    name TEXT,
    attributes TEXT,
    PRIMARY KEY (target, n, dir_id, user_id, entitlement)
) STRICT, WITHOUT ROWID;
