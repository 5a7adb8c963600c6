-- Deliveries: what is held for the guard, what went out in one batch, how an event is sent, and each attempt.

CREATE TABLE delivery_next (
    target TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    n INTEGER NOT NULL,
    kind TEXT NOT NULL,
    resource TEXT,
    body BLOB NOT NULL,
    content_type TEXT NOT NULL,
    headers TEXT NOT NULL,
    happened_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('held', 'pending', 'parked', 'done', 'skipped')),
    batch TEXT,
    attempts INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    finished_at INTEGER,
    last_status INTEGER,
    last_error TEXT,
    PRIMARY KEY (target, epoch, seq, n)
) STRICT;
INSERT INTO delivery_next (target, epoch, seq, n, kind, resource, body, content_type, headers, happened_at, state,
    attempts, created_at, next_at, finished_at, last_status, last_error)
    SELECT target, epoch, seq, n, kind, resource, body, 'application/json', '[]', created_at, state,
        attempts, created_at, next_at, finished_at, last_status, last_error FROM delivery;
DROP TABLE delivery;
ALTER TABLE delivery_next RENAME TO delivery;
CREATE INDEX delivery_open ON delivery (target, epoch, seq, n) WHERE state IN ('held', 'pending', 'parked');
CREATE INDEX delivery_finished ON delivery (target, epoch, seq, n) WHERE state IN ('done', 'skipped');

-- One row per request made; the attempts of a batch stand under the id of its last event.
CREATE TABLE delivery_attempt (
    target TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    n INTEGER NOT NULL,
    at INTEGER NOT NULL,
    status INTEGER,
    latency_us INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    error TEXT,
    answer BLOB NOT NULL,
    PRIMARY KEY (target, epoch, seq, n, at)
) STRICT, WITHOUT ROWID;
