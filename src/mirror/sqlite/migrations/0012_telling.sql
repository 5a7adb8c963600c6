-- The order in which a target is told: an event is told in the turn of a change, which is its own, or an earlier one where
-- a shut is told ahead of what waits for a sync. Told are epoch, turn, seq, n.
DROP INDEX delivery_open;
DROP INDEX delivery_finished;
ALTER TABLE delivery ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
UPDATE delivery SET turn = seq;
CREATE INDEX delivery_open ON delivery (target, epoch, turn, seq, n) WHERE state IN ('held', 'pending', 'parked');
CREATE INDEX delivery_finished ON delivery (target, epoch, turn, seq, n) WHERE state IN ('done', 'skipped');
