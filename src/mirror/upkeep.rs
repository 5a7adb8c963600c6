//! What has to be done about the mirror every day: pruning, tidying, and a look at the write-ahead log.
//!
//! Everything is done in steps small enough that traffic between two of them waits some milliseconds at most.

use std::time::Duration;

use crate::model::{Origin, Timestamp};

use super::Mirror;
use super::engine::{Param, StoreError};
use super::history;
use super::tx::{ReadTx, WriteTx};

/// Changes pruned in one transaction.
const CHANGES_AT_ONCE: u32 = 100;
/// Records deleted in one transaction.
const ROWS_AT_ONCE: i64 = 500;
/// Free pages given back to the file system in one transaction.
const PAGES_AT_ONCE: u32 = 200;
/// Write-ahead log from which on somebody keeps it from being folded back.
pub const WAL_LARGE_BYTES: u64 = 64 << 20;

/// How long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Key `[mirror] history`: changes older than this are pruned. `None`: the log is kept whole.
    pub history: Option<Duration>,
    /// Records of runs. 90 days; besides, only the newest 200 of a target are kept.
    pub runs: Duration,
    /// Deliveries that were acknowledged or skipped. 30 days.
    pub deliveries: Duration,
    /// The same, at most this many of a target. 10,000.
    pub deliveries_max: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            history: Some(Duration::from_hours(24 * 400)),
            runs: Duration::from_hours(24 * 90),
            deliveries: Duration::from_hours(24 * 30),
            deliveries_max: 10_000,
        }
    }
}

/// What the day's upkeep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// Changes pruned.
    pub changes: u64,
    /// Records of runs deleted.
    pub runs: u64,
    /// Deliveries deleted.
    pub deliveries: u64,
}

/// Does the day's upkeep. May be cut off at any moment; the next time goes on.
///
/// # Errors
/// As [`Mirror::write`].
pub async fn run(mirror: &Mirror, keep: Keep) -> Result<Done, StoreError> {
    let now = mirror.now();
    let mut done = Done::default();
    if let Some(span) = keep.history {
        done.changes = prune(mirror, before(now, span)).await?;
    }
    let cutoff = before(now, keep.runs);
    done.runs = in_steps(mirror, move |tx| {
        let sql = "DELETE FROM run WHERE id IN (SELECT id FROM run WHERE finished_at < ?1 LIMIT ?2)";
        tx.execute(sql, &[Param::Int(cutoff.0), Param::Int(ROWS_AT_ONCE)])
    })
    .await?;
    let cutoff = before(now, keep.deliveries);
    done.deliveries = in_steps(mirror, move |tx| {
        let sql = "DELETE FROM delivery WHERE (target, epoch, seq, n) IN (SELECT target, epoch, seq, n FROM delivery \
                   WHERE state IN ('done', 'skipped') AND finished_at < ?1 LIMIT ?2)";
        tx.execute(sql, &[Param::Int(cutoff.0), Param::Int(ROWS_AT_ONCE)])
    })
    .await?;
    done.deliveries += surplus(mirror, keep.deliveries_max).await?;
    tidy(mirror).await?;
    Ok(done)
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
}

async fn prune(mirror: &Mirror, cutoff: Timestamp) -> Result<u64, StoreError> {
    let (mut changes, mut of_substance) = (0_u64, 0_u64);
    loop {
        let step = mirror
            .write::<_, StoreError, _>(Origin::daemon(), move |tx| {
                history::prune(tx, cutoff, CHANGES_AT_ONCE)
            })
            .await?;
        changes += step.changes;
        of_substance += step.of_substance;
        if step.done {
            break;
        }
    }
    // Pruning a record of pruning is not worth another one: else an idle mirror would write one for ever.
    if of_substance > 0 {
        let noted =
            mirror.write::<_, StoreError, _>(Origin::daemon(), move |tx| history::note_pruned(tx, changes));
        noted.await?;
    }
    Ok(changes)
}

/// Runs a deletion of at most [`ROWS_AT_ONCE`] rows until nothing is left to delete.
async fn in_steps(
    mirror: &Mirror,
    step: impl Fn(&mut WriteTx<'_>) -> Result<u64, StoreError> + Copy + Send + 'static,
) -> Result<u64, StoreError> {
    let mut total = 0;
    loop {
        let gone = mirror.write::<_, StoreError, _>(Origin::daemon(), move |tx| step(tx)).await?;
        total += gone;
        if gone == 0 {
            return Ok(total);
        }
    }
}

/// Deletes the oldest finished deliveries of each target beyond `keep`.
async fn surplus(mirror: &Mirror, keep: u32) -> Result<u64, StoreError> {
    let targets = mirror
        .read_long::<_, StoreError, _>(|tx: &mut ReadTx<'_>| {
            tx.all("SELECT DISTINCT target FROM delivery", &[], |row| Ok(row.text(0)?.to_owned()))
        })
        .await?;
    let mut total = 0;
    for target in targets {
        loop {
            let target = target.clone();
            let gone = mirror.write::<_, StoreError, _>(Origin::daemon(), move |tx| {
                let sql = "DELETE FROM delivery WHERE (target, epoch, seq, n) IN (SELECT target, epoch, seq, n FROM \
                           delivery WHERE target = ?1 AND state IN ('done', 'skipped') \
                           ORDER BY epoch DESC, turn DESC, seq DESC, n DESC LIMIT ?3 OFFSET ?2)";
                let params = [Param::Text(&target), Param::Int(i64::from(keep)), Param::Int(ROWS_AT_ONCE)];
                tx.execute(sql, &params)
            });
            let gone = gone.await?;
            total += gone;
            if gone == 0 {
                break;
            }
        }
    }
    Ok(total)
}

/// Renews what the planner knows of the tables whose figures are not pinned, and gives free pages back.
async fn tidy(mirror: &Mirror) -> Result<(), StoreError> {
    mirror
        .write::<_, StoreError, _>(Origin::daemon(), |tx| {
            if !tx.is_sqlite() {
                return Ok(());
            }
            // Not `PRAGMA optimize`: it would measure the pinned tables as well and so undo what is pinned.
            tx.query("PRAGMA analysis_limit = 400", &[], &mut |_| Ok(()))?;
            for table in ["change", "change_member", "holding", "delivery", "run"] {
                tx.execute(&format!("ANALYZE {table}"), &[])?;
            }
            Ok(())
        })
        .await?;
    loop {
        let left = mirror
            .write::<_, StoreError, _>(Origin::daemon(), |tx| {
                if !tx.is_sqlite() {
                    return Ok(0);
                }
                tx.query(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"), &[], &mut |_| Ok(()))?;
                let left = tx.first("PRAGMA freelist_count", &[], |row| row.int(0))?;
                Ok(left.unwrap_or(0))
            })
            .await?;
        if left == 0 {
            return Ok(());
        }
    }
}

/// Watches the write-ahead log: one that stays large is held open by a reader that does not end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalWatch {
    large_since: Option<Timestamp>,
}

/// How long it may stay large.
const WAL_PATIENCE: Duration = Duration::from_mins(1);

impl WalWatch {
    /// Takes one look; true when the log has stayed large for a minute. It is told once a minute from then on.
    pub fn look(&mut self, bytes: u64, now: Timestamp) -> bool {
        if bytes <= WAL_LARGE_BYTES {
            self.large_since = None;
            return false;
        }
        let since = *self.large_since.get_or_insert(now);
        let is_late = now.since(since) >= WAL_PATIENCE;
        if is_late {
            self.large_since = Some(now);
        }
        is_late
    }
}

/// Folds the write-ahead log back from its start, as far as readers allow. Blocking, some seconds at most.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn restart_wal(mirror: &Mirror) -> Result<(), StoreError> {
    mirror.read_one(|tx: &mut ReadTx<'_>| {
        if tx.is_sqlite() { tx.query("PRAGMA wal_checkpoint(RESTART)", &[], &mut |_| Ok(())) } else { Ok(()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_ahead_log_is_told_of_once_it_stayed_large_for_a_minute() {
        let mut watch = WalWatch::default();
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        let large = WAL_LARGE_BYTES + 1;
        assert!(!watch.look(large, at(0)));
        assert!(!watch.look(large, at(59)));
        assert!(!watch.look(0, at(60)), "it shrank in between");
        assert!(!watch.look(large, at(61)));
        assert!(watch.look(large, at(121)));
        assert!(!watch.look(large, at(122)), "once a minute");
        assert!(watch.look(large, at(181)));
    }
}
