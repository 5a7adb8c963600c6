-- The guard: which held removals were held together, and what was let through.

-- Grows each time removals are held, so that a plan of then can be told from what was held later.
ALTER TABLE exception ADD COLUMN batch INTEGER NOT NULL DEFAULT 0;

-- Removals let through: by themselves (allowed, urgent) or by a person's word (approved). With the facts to render
-- them, since a person may want them back.
CREATE TABLE passed (
    target TEXT NOT NULL,
    dir_id TEXT NOT NULL,
    user_id BLOB NOT NULL CHECK (length(user_id) = 16),
    entitlement TEXT NOT NULL,
    name TEXT NOT NULL,
    attributes TEXT NOT NULL,
    at INTEGER NOT NULL,
    how TEXT NOT NULL CHECK (how IN ('allowed', 'urgent', 'approved')),
    PRIMARY KEY (target, dir_id, user_id, entitlement)
) STRICT, WITHOUT ROWID;
