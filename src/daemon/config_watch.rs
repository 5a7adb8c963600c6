//! Notices that the config file was saved. It only wakes; whoever is woken reads the file and decides (DESIGN §4).

use std::path::Path;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// How long the file must have been left alone: an editor writes in several steps.
const QUIET: Duration = Duration::from_millis(300);

/// A watch on one config file.
pub(super) struct ConfigWatch {
    wake: mpsc::Receiver<()>,
    /// Ends the watch when dropped; `None` where the folder cannot be watched, and `reload` has to do.
    _watcher: Option<RecommendedWatcher>,
}

impl ConfigWatch {
    /// Watches the folder of `path`, since an atomic replace removes the watched file itself.
    pub(super) fn start(path: &Path) -> Self {
        let (told, wake) = mpsc::channel(1);
        let watcher = watch(path, told).inspect_err(|cause| {
            tracing::warn!(%cause, "the config file cannot be watched; `rosterd reload` applies what is new");
        });
        Self { wake, _watcher: watcher.ok() }
    }

    /// Resolves once the file was touched and then left alone for a moment; never, where it cannot be watched.
    pub(super) async fn touched(&mut self) {
        if self.wake.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        while tokio::time::timeout(QUIET, self.wake.recv()).await.is_ok_and(|word| word.is_some()) {}
    }
}

fn watch(path: &Path, wake: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().map(ToOwned::to_owned);
    let told = move |event: notify::Result<notify::Event>| {
        let is_config = event.map_or(true, |event| {
            !matches!(event.kind, EventKind::Access(_))
                && (event.need_rescan() || event.paths.iter().any(|path| path.file_name() == name.as_deref()))
        });
        if is_config {
            // Full: a wake-up is waiting already.
            let _waiting = wake.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(told)?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
