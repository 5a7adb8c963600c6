//! What falls due by the clock alone: grants that end, re-baselines that close, identity providers that fall silent.
//!
//! INVARIANT: the end of a grant is one change, made by the transaction that ends it; targets are woken by that change
//! like by any other. The clock is looked at every few seconds, so that one that was turned delays nothing for long, and
//! what has ended does not come back when it is turned back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::mirror::decision::{grant, rebaseline};
use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx, directory};
use crate::model::{DirectoryId, Origin, Timestamp};

use super::pulse::stopped;
use super::snapshot::Source;

/// Longest between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Longest while it matters whom identity providers name: until then that is in memory only.
const LOOK_EVERY_WATCHED: Duration = Duration::from_secs(2);

/// Changes of a burst are looked at together.
const SETTLE: Duration = Duration::from_millis(100);

/// Starts it. Ends when told to.
pub(super) fn start(mirror: Mirror, source: Arc<Source>, mut stop: watch::Receiver<bool>) {
    let mut newest = mirror.changes();
    tokio::spawn(async move {
        let mut silent = BTreeSet::new();
        loop {
            let wait = match look(&mirror, &source, &mut silent).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(%error, "cannot end what is due; trying again");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = stopped(&mut stop) => return,
                changed = newest.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(SETTLE).await;
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    });
}

/// Does what is due and says how long nothing will be.
async fn look(
    mirror: &Mirror,
    source: &Source,
    silent: &mut BTreeSet<DirectoryId>,
) -> Result<Duration, StoreError> {
    let read = |tx: &mut ReadTx<'_>| {
        let is_watched = rebaseline::is_watched(tx)?;
        Ok::<_, StoreError>((grant::next_expiry(tx)?, rebaseline::next_end(tx)?, is_watched))
    };
    let (expiry, end, is_watched) = mirror.read_long(read).await?;
    let now = mirror.now();
    let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
    if is_watched {
        mirror.flush_marks().await?;
    }
    if is_due(expiry) || is_due(end) {
        settle(mirror).await?;
        return Ok(Duration::ZERO);
    }
    hear(mirror, source, silent).await?;
    let longest = if is_watched { LOOK_EVERY_WATCHED } else { LOOK_EVERY };
    let next = expiry.into_iter().chain(end).min();
    Ok(next.map_or(longest, |at| at.since(now).min(longest)))
}

async fn settle(mirror: &Mirror) -> Result<(), StoreError> {
    let done = |tx: &mut WriteTx<'_>| Ok::<_, StoreError>((grant::expire(tx)?, rebaseline::close_due(tx)?));
    let (ended, closed) = mirror.write(Origin::daemon(), done).await?;
    for grant in ended {
        tracing::info!(grant = %grant.id, subject = %grant.subject, role = %grant.role, "a grant ended");
    }
    for (directory, unconfirmed) in closed {
        if unconfirmed == 0 {
            tracing::info!(%directory, "the re-baseline closed; every active user was named again");
        } else {
            tracing::error!(%directory, unconfirmed,
                "the re-baseline closed; users that were not named again are held until a person decides: \
                 `rosterd directory show` lists them, `rosterd plan` and `rosterd approve` decide");
        }
    }
    Ok(())
}

/// Warns once of each identity provider that has been quiet for longer than it may be.
pub(super) async fn hear(
    mirror: &Mirror,
    source: &Source,
    silent: &mut BTreeSet<DirectoryId>,
) -> Result<(), StoreError> {
    let rules = source.rules();
    let expected: Vec<_> =
        rules.directories.iter().filter_map(|one| Some((one.id.clone(), one.expect_every?))).collect();
    if expected.is_empty() {
        silent.clear();
        return Ok(());
    }
    let found = mirror.read_long(|tx: &mut ReadTx<'_>| directory::list(tx)).await?;
    let now = mirror.now();
    for (id, every) in expected {
        let Some(one) = found.iter().find(|one| one.id == id) else { continue };
        let heard = mirror.last_heard(one);
        let is_silent = one.enabled && now.since(heard) > every;
        if is_silent && silent.insert(id.clone()) {
            let hours = every.as_secs_f64() / 3_600.0;
            tracing::warn!(directory = %id, last_heard = %heard, expect_every_hours = hours,
                "the identity provider is silent for longer than `expect_every`; access stays as it is");
        } else if !is_silent && silent.remove(&id) {
            tracing::info!(directory = %id, "the identity provider is heard again");
        }
    }
    Ok(())
}
