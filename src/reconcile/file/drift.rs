//! Notices that somebody touched a target's file. It only wakes; the run compares, so our own writes are no drift.

use std::path::Path;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// Watches the folder of `path` and puts one wake-up into `wake` for whatever happens to that name. The watch ends with
/// the returned value. `None`: it cannot be watched (no such folder, no inotify left); the slow poll has to do.
pub(crate) fn watch(path: &Path, wake: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let folder = path.parent()?.to_owned();
    let name = path.file_name()?.to_owned();
    let told = move |event: notify::Result<notify::Event>| {
        let is_ours = match event {
            Ok(event) => {
                !matches!(event.kind, EventKind::Access(_))
                    && (event.need_rescan()
                        || event.paths.iter().any(|path| path.file_name() == Some(&*name)))
            }
            Err(_) => true,
        };
        if is_ours {
            // Full: a wake-up is waiting already.
            let _waiting = wake.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(told).ok()?;
    watcher.watch(&folder, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}
