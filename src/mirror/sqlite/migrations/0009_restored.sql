-- Directories whose identity provider has not named everybody since the mirror was restored from a backup.
CREATE TABLE restored (
    dir INTEGER PRIMARY KEY,
    since_seq INTEGER NOT NULL
) STRICT;
