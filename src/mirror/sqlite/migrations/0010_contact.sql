-- Who last used a token, and what a directory's identity provider was first heard to do.
ALTER TABLE token ADD COLUMN last_address TEXT;
ALTER TABLE token ADD COLUMN last_agent TEXT;
ALTER TABLE directory ADD COLUMN first_used_at INTEGER;
ALTER TABLE directory ADD COLUMN tested_at INTEGER;
ALTER TABLE directory ADD COLUMN last_address TEXT;
ALTER TABLE directory ADD COLUMN last_agent TEXT;
-- For directories in use already: not later than this.
UPDATE directory SET first_used_at =
    (SELECT MIN(COALESCE(t.last_used_at, directory.last_push_at)) FROM token t WHERE t.dir = directory.key);
