//! Whether the bytes of each target are what was last written there, and what the mirror gives. Blocking; touches
//! nothing.

use std::sync::Arc;

use serde::Serialize;

use crate::downstream::file::{self, Digest, OnDisk};
use crate::mirror::{Mirror, StoreError};
use crate::model::{Clock, Seq, TargetName};

use super::file::run::wish;
use super::plan;
use super::record::{self, Stored};
use super::settings::{FileSettings, OnIllegal, Settings, TargetKind, TargetSettings};
use super::snapshot::{Rules, Snapshot};

/// How often a target is looked at again that was written meanwhile.
const LOOKS_MAX: usize = 5;

/// What lies at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bytes {
    /// What the mirror gives.
    AsDue,
    /// What was last written; what the mirror gives has yet to be applied.
    Pending,
    /// No directory has pushed yet and nothing was written.
    Waiting,
    /// The kind of target has no bytes of its own.
    None,
    /// Not what was last written.
    Drifted,
    /// Nothing, where a file was written.
    Missing,
    /// A file that is not ours.
    Foreign,
    /// What was last written; the runs since have failed.
    Failing,
    /// What was last written and nothing is pending, yet the mirror gives something else.
    Differs,
    /// It cannot be read or rendered.
    Unknown,
}

impl Bytes {
    /// False where something has to be mended; what is merely yet to come is not.
    pub fn is_good(self) -> bool {
        matches!(self, Self::AsDue | Self::Pending | Self::Waiting | Self::None)
    }
}

/// What `verify` found of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetVerified {
    /// The target.
    pub target: TargetName,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What lies there.
    pub bytes: Bytes,
    /// The change up to which it is applied.
    pub applied_seq: Seq,
    /// Removals held or rejected, which belong to what the mirror gives.
    pub exceptions: u64,
    /// What is wrong, or what it waits for.
    pub why: Option<String>,
}

/// Whether somebody is there to apply what is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Daemon {
    Runs,
    Rests,
}

/// Looks at every target of `settings` while no daemon runs. Blocking.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn verify_offline(
    mirror: &Mirror,
    settings: Settings,
    clock: &dyn Clock,
) -> Result<Vec<TargetVerified>, StoreError> {
    let Settings { targets, roles, directories } = settings;
    let snapshot = Snapshot::take(mirror, Arc::new(Rules { roles, directories }), clock, None)?;
    targets
        .iter()
        .map(|one| look(mirror, one, &snapshot, clock, Daemon::Rests).map(|(found, _)| found))
        .collect()
}

/// Looks at one target while it is worked on: again, while it is being written. `take` gives the newest snapshot.
pub(crate) fn verify_running(
    mirror: &Mirror,
    settings: &TargetSettings,
    clock: &dyn Clock,
    take: &dyn Fn() -> Result<Snapshot, StoreError>,
) -> Result<TargetVerified, StoreError> {
    let mut looks = 0;
    loop {
        looks += 1;
        let (found, is_still) = look(mirror, settings, &take()?, clock, Daemon::Runs)?;
        if found.bytes.is_good() || (is_still && looks > 1) || looks == LOOKS_MAX {
            return Ok(found);
        }
    }
}

/// What lies there, and whether the record stood still meanwhile.
fn look(
    mirror: &Mirror,
    settings: &TargetSettings,
    snapshot: &Snapshot,
    clock: &dyn Clock,
    daemon: Daemon,
) -> Result<(TargetVerified, bool), StoreError> {
    let stored = record::load(mirror, &settings.name)?;
    let (bytes, why) = match &settings.kind {
        TargetKind::File(file) => judge(settings, file, snapshot, &stored, clock, daemon),
        TargetKind::Webhook(_) => (Bytes::None, None),
    };
    let applied_seq = stored.saved.as_ref().and_then(|saved| saved.applied).map_or(Seq::ZERO, |at| at.seq);
    let found = TargetVerified {
        target: settings.name.clone(),
        kind: settings.kind.as_str(),
        bytes,
        applied_seq,
        exceptions: stored.book.exceptions.len() as u64,
        why,
    };
    let again = record::load(mirror, &settings.name)?;
    Ok((found, again.saved == stored.saved))
}

fn judge(
    settings: &TargetSettings,
    file: &FileSettings,
    snapshot: &Snapshot,
    stored: &Stored,
    clock: &dyn Clock,
    daemon: Daemon,
) -> (Bytes, Option<String>) {
    let path = file.spec.path.display();
    let disk = match file::inspect(&file.spec) {
        Ok(disk) => disk,
        Err(error) => return (Bytes::Unknown, Some(error.to_string())),
    };
    let digest = match &disk {
        OnDisk::File(facts) if facts.digest.is_none() => {
            return (Bytes::Unknown, Some(format!("`{path}` may not be read")));
        }
        OnDisk::File(facts) => facts.digest,
        OnDisk::Absent | OnDisk::Other(_) => None,
    };
    let due = due(settings, file, snapshot, stored);
    if let (Some(there), Ok(due)) = (digest, &due)
        && there == *due
    {
        return (Bytes::AsDue, None);
    }
    let saved = stored.saved.clone().unwrap_or_default();
    let failure = saved.record.last_error.clone();
    if !saved.record.adopted {
        return match &disk {
            OnDisk::File(_) => (Bytes::Foreign, Some(format!("`{path}` is there and not ours"))),
            OnDisk::Other(what) => (Bytes::Foreign, Some(format!("`{path}` is a {what}"))),
            OnDisk::Absent if failure.is_some() => (Bytes::Failing, failure),
            OnDisk::Absent if !snapshot.is_known() => {
                (Bytes::Waiting, Some("no directory has been pushed to yet".to_owned()))
            }
            OnDisk::Absent => (Bytes::Pending, Some("nothing was written yet".to_owned())),
        };
    }
    let hex = digest.map(|digest| digest.to_string());
    let is_ours = hex.is_some()
        && (hex.as_deref() == saved.record.written.as_deref() || hex.as_deref() == record::intended(&saved));
    match &disk {
        OnDisk::Absent => return (Bytes::Missing, Some(format!("`{path}` was written and is gone"))),
        OnDisk::Other(what) => return (Bytes::Drifted, Some(format!("`{path}` is a {what} now"))),
        OnDisk::File(_) if !is_ours => {
            let why = format!("`{path}` is not what was last written there");
            return (Bytes::Drifted, Some(why));
        }
        OnDisk::File(_) => {}
    }
    if let Err(error) = due {
        return (Bytes::Failing, Some(format!("it cannot be rendered: {error}")));
    }
    if saved.record.state == "failing" {
        return (Bytes::Failing, failure);
    }
    let now = clock.now();
    let is_over = snapshot.facts.grants.iter().any(|one| one.ended.is_none() && one.until <= now);
    let applied = saved.applied.map_or(Seq::ZERO, |at| at.seq);
    if applied < snapshot.seq() || is_over || daemon == Daemon::Rests || saved.record.state == "pending" {
        return (Bytes::Pending, Some(format!("applied up to change {applied} of {}", snapshot.seq())));
    }
    let why = format!("`{path}` is as written for change {applied}, but the mirror gives something else");
    (Bytes::Differs, Some(why))
}

/// Digest of what the target should hold: access and exceptions, rendered as a run does.
fn due(
    settings: &TargetSettings,
    file: &FileSettings,
    snapshot: &Snapshot,
    stored: &Stored,
) -> Result<Digest, String> {
    let wish = wish(settings, snapshot, stored, Some(&stored.book));
    let render = |view: &_| file.format.render(view, &file.options).map_err(|error| error.to_string());
    let whole = render(&wish.view)?;
    let is_whole = wish.illegal.is_empty() && whole.left_out.is_empty();
    if is_whole || file.on_illegal == OnIllegal::Skip {
        return Ok(Digest::of(&whole.bytes));
    }
    Ok(Digest::of(&render(&plan::only_held(&wish.view, &stored.holdings))?.bytes))
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
