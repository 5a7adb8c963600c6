//! The day's upkeep of the mirror, beside everything else.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::mirror::Mirror;
use crate::mirror::upkeep::{self, Keep, WalWatch};
use crate::model::Timestamp;

/// How often the mirror is tidied. By the wall clock: a machine that slept does it when it wakes.
const EVERY: Duration = Duration::from_hours(24);

/// When what is due.
pub(super) struct Upkeep {
    mirror: Mirror,
    wal: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Option<Timestamp>,
    is_running: bool,
    watch: WalWatch,
}

impl Upkeep {
    /// For a mirror whose file is `path`. The first upkeep is due at once.
    pub(super) fn new(mirror: Mirror, path: PathBuf) -> Self {
        let mut wal = path.into_os_string();
        wal.push("-wal");
        Self { mirror, wal: wal.into(), state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is due under `keep`; comes back when it is done. Called often.
    pub(super) async fn look(&self, keep: Keep) {
        let now = self.mirror.now();
        let bytes = std::fs::metadata(&self.wal).map_or(0, |found| found.len());
        let (is_due, is_stuck) = {
            let mut state = self.state();
            let is_stuck = state.watch.look(bytes, now);
            let is_due = !state.is_running && state.last.is_none_or(|last| now.since(last) >= EVERY);
            if is_due {
                (state.last, state.is_running) = (Some(now), true);
            }
            (is_due, is_stuck)
        };
        if is_stuck {
            self.restart_wal(bytes).await;
        }
        if is_due {
            self.run(keep).await;
            self.state().is_running = false;
        }
    }

    async fn restart_wal(&self, bytes: u64) {
        let oldest = self.mirror.oldest_reader().map_or(0, |age| age.as_secs());
        tracing::warn!(
            bytes,
            oldest_reader_s = oldest,
            "the mirror's write-ahead log stays large: a reader does not end; folding it back"
        );
        let mirror = self.mirror.clone();
        let folded = tokio::task::spawn_blocking(move || upkeep::restart_wal(&mirror)).await;
        if let Ok(Err(cause)) = folded {
            tracing::warn!(%cause, "the write-ahead log could not be folded back; trying again in a minute");
        }
    }

    async fn run(&self, keep: Keep) {
        match upkeep::run(&self.mirror, keep).await {
            Ok(done) => tracing::info!(
                changes = done.changes,
                runs = done.runs,
                deliveries = done.deliveries,
                "daily upkeep done: pruned by age"
            ),
            Err(cause) => {
                tracing::warn!(%cause, hint = cause.hint(), "the daily upkeep was cut off; it goes on tomorrow");
            }
        }
    }
}
