//! Reads each new change once, for all targets, and says whether it may take access away.

use std::sync::Arc;

use tokio::sync::watch;

use crate::mirror::change::{self, Change, Kind};
use crate::mirror::{Mirror, ReadTx, StoreError};
use crate::model::Seq;

use super::event::takes_away;
use super::latency::{Meter, RECALLED_MAX};
use super::snapshot::Source;
use super::timing::schedule::Pulse;

/// Changes read at once.
const CHANGES_MAX: u32 = 500;

/// Starts it; the receiver sees every newest change. Ends when told to.
pub(super) fn start(
    mirror: Mirror,
    source: Arc<Source>,
    meter: Arc<Meter>,
    mut stop: watch::Receiver<bool>,
) -> watch::Receiver<Pulse> {
    let mut newest = mirror.changes();
    let now = *newest.borrow_and_update();
    let (tell, pulse) = watch::channel(Pulse { seq: now, revoke: now, word: now });
    tokio::spawn(async move {
        recall(&mirror, &source, &meter, now).await;
        let mut seen = now;
        loop {
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                () = stopped(&mut stop) => return,
            }
            let to = *newest.borrow_and_update();
            while seen < to {
                let any_filter = source.rules().roles.iter().any(|role| role.users.is_some());
                let read = mirror.read_long(move |tx: &mut ReadTx<'_>| change::after(tx, seen, CHANGES_MAX));
                let read = read.await;
                if let Ok(changes) = &read {
                    meter.note(changes, any_filter, mirror.now());
                }
                let news = judge(read, to, any_filter);
                seen = news.seq;
                tell.send_modify(|pulse| {
                    pulse.seq = news.seq;
                    pulse.revoke = news.revoke.unwrap_or(pulse.revoke);
                    pulse.word = news.word.unwrap_or(pulse.word);
                });
            }
        }
    });
    pulse
}

/// What targets had not got to when the daemon ended.
async fn recall(mirror: &Mirror, source: &Source, meter: &Meter, now: Seq) {
    let Some(from) = meter.oldest().filter(|from| *from < now) else { return };
    let any_filter = source.rules().roles.iter().any(|role| role.users.is_some());
    let read = mirror.read_long(move |tx: &mut ReadTx<'_>| change::after(tx, from, RECALLED_MAX)).await;
    let changes: Vec<Change> = read.unwrap_or_default().into_iter().filter(|one| one.seq <= now).collect();
    meter.recall(&changes, any_filter);
}

/// Resolves once told to stop, or once nobody is left who could tell.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _nobody_left = stop.wait_for(|stop| *stop).await;
}

/// What was read.
struct News {
    seq: Seq,
    /// The newest that may take away.
    revoke: Option<Seq>,
    /// The newest that takes away at once.
    word: Option<Seq>,
}

/// What cannot be read may take away.
fn judge(read: Result<Vec<Change>, StoreError>, to: Seq, any_filter: bool) -> News {
    let changes = read.unwrap_or_default();
    let Some(last) = changes.last() else { return News { seq: to, revoke: Some(to), word: Some(to) } };
    let newest = |is_meant: &dyn Fn(&Change) -> bool| {
        changes.iter().rev().find(|change| is_meant(change)).map(|change| change.seq)
    };
    News {
        seq: last.seq,
        revoke: newest(&|change| takes_away(change, any_filter)),
        word: newest(&|change| is_word(&change.kind)),
    }
}

/// Whether this takes away at once, whatever a target waits for.
fn is_word(kind: &Kind) -> bool {
    matches!(kind, Kind::SubjectShut | Kind::SubjectReleased | Kind::GrantExpired | Kind::GrantRevoked)
}
