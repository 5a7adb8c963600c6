-- Readers that fetch signed event tokens (RFC 8936): where each one's stream stands, and what it was handed and has not
-- acknowledged. A token is kept as it was handed, since some keys never sign the same bytes twice.
CREATE TABLE set_stream (
    reader TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    n INTEGER,
    last TEXT,
    handed INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    last_refusal TEXT,
    polled_at INTEGER NOT NULL
) STRICT;

CREATE TABLE set_waiting (
    reader TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    n INTEGER NOT NULL,
    resource TEXT,
    token TEXT NOT NULL,
    handed_at INTEGER NOT NULL,
    PRIMARY KEY (reader, epoch, seq, n)
) STRICT;
