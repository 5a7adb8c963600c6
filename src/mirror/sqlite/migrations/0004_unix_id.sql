-- Numbers of Unix accounts and groups, and what readers to which a file only adds may hold.

-- Rows are never removed: a number is never given to another. Owner: `uid DIRECTORY/ID` or `gid ROLE`.
CREATE TABLE unix_id (
    number INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    given_at INTEGER NOT NULL
) STRICT;
CREATE INDEX unix_id_owner ON unix_id (owner);

-- gone: 1 for what the file tells its reader to drop, 0 for what it tells it to hold.
CREATE TABLE loaded (
    target TEXT NOT NULL,
    relation TEXT NOT NULL,
    gone INTEGER NOT NULL CHECK (gone IN (0, 1)),
    PRIMARY KEY (target, relation)
) STRICT, WITHOUT ROWID;
