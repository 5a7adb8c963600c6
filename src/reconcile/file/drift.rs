//! Notices that somebody touched a target's files, and puts what a run then found into the log.
//!
//! The watch only wakes; the run compares, so our own writes are no drift.

use std::ffi::OsString;
use std::path::Path;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::downstream::file::STAGING_PREFIX;
use crate::mirror::change::Kind;
use crate::mirror::decision;
use crate::mirror::target::State as Saved;
use crate::mirror::{StoreError, WriteTx};
use crate::model::TargetName;
use crate::reconcile::record;
use crate::reconcile::settings::{FileSettings, Shape};

use super::look::Evidence;

/// Where the record keeps what was told of drift that is left as it is.
const TOLD: &str = "drift_told";

/// Records drift in the log: each one once, however often a run meets what it leaves as it is. What is put right is
/// over with this; the same again is another one.
pub(super) fn tell(
    tx: &mut WriteTx<'_>,
    target: &TargetName,
    saved: &mut Saved,
    drift: &[Evidence],
) -> Result<(), StoreError> {
    let told = saved.record.extra.get(TOLD).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut left = Vec::new();
    for one in drift {
        let what = json!([one.path, one.found]);
        if !told.contains(&what) {
            let action = if one.repaired { "repaired" } else { "reported" };
            let detail =
                json!({"path": one.path, "found": one.found, "expected": one.expected, "action": action});
            decision::record(tx, &Kind::TargetDrifted, target, &detail)?;
        }
        if !one.repaired {
            left.push(what);
        }
    }
    if left != told {
        record::set_extra(saved, TOLD, (!left.is_empty()).then(|| left.into()));
    }
    Ok(())
}

/// Watches the folder in which `file` lies, of a tree its own folder and the one above (it may be made anew), and puts
/// one wake-up into `wake` for whatever happens there. The watch ends with the returned value. `None`: it cannot be
/// watched (no such folder, no inotify left); the slow poll has to do, as it does for what lies inside a set.
pub(crate) fn watch(file: &FileSettings, wake: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let path = file.spec.path.as_path();
    let (own, beneath) = (path.file_name()?.to_owned(), path.to_owned());
    let is_tree = matches!(file.shape, Shape::Tree(_));
    let told = move |event: notify::Result<notify::Event>| {
        let is_ours = match event {
            Ok(event) => {
                !matches!(event.kind, EventKind::Access(_))
                    && (event.need_rescan()
                        || event.paths.iter().any(|path| counts(path, &own, &beneath, is_tree)))
            }
            Err(_) => true,
        };
        if is_ours {
            // Full: a wake-up is waiting already.
            let _waiting = wake.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(told).ok()?;
    watcher.watch(path.parent()?, RecursiveMode::NonRecursive).ok()?;
    if is_tree {
        // A folder that does not exist yet fails the run as well; once it is there, `sync` or the poll finds it.
        let _polled = watcher.watch(path, RecursiveMode::NonRecursive);
    }
    Some(watcher)
}

fn counts(path: &Path, own: &OsString, beneath: &Path, is_tree: bool) -> bool {
    let is_staging =
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(STAGING_PREFIX.as_bytes()));
    path.file_name() == Some(own) || (is_tree && path.parent() == Some(beneath) && !is_staging)
}
