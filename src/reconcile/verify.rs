//! Whether the bytes of each target are what was last written there, and what the mirror gives. Blocking; touches
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::downstream::file::{self, Digest, OnDisk};
use crate::mirror::owned::Intended;
use crate::mirror::target::State as Saved;
use crate::mirror::{Mirror, StoreError};
use crate::model::{Clock, Seq, TargetName};

use super::file::look;
use super::file::parts::{Content, digest_of_many};
use super::file::wish::due;
use super::record::{self, Stored};
use super::settings::{FileSettings, Settings, Shape, TargetKind, TargetSettings};
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
        TargetKind::File(file) => judge((mirror, settings, file), snapshot, &stored, clock, daemon),
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
    (mirror, settings, file): (&Mirror, &TargetSettings, &FileSettings),
    snapshot: &Snapshot,
    stored: &Stored,
    clock: &dyn Clock,
    daemon: Daemon,
) -> (Bytes, Option<String>) {
    let path = file.spec.path.display();
    let saved = stored.saved.clone().unwrap_or_default();
    let due = due(mirror, settings, file, snapshot, stored);
    let there = match there(file, &saved, stored, due.as_ref().ok()) {
        Ok(there) => there,
        Err(why) => return (Bytes::Unknown, Some(why)),
    };
    let failure = saved.record.last_error.clone();
    match there {
        There::AsDue => return (Bytes::AsDue, None),
        There::Absent if saved.record.adopted => {
            return (Bytes::Missing, Some(format!("`{path}` was written and is gone")));
        }
        There::Absent if failure.is_some() => return (Bytes::Failing, failure),
        There::Absent if !snapshot.is_known() => {
            return (Bytes::Waiting, Some("no directory has been pushed to yet".to_owned()));
        }
        There::Absent => return (Bytes::Pending, Some("nothing was written yet".to_owned())),
        There::Other(what) if saved.record.adopted => return (Bytes::Drifted, Some(what)),
        There::Other(_) => return (Bytes::Foreign, Some(format!("`{path}` is there and not ours"))),
        There::AsWritten => {}
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

/// What lies at a destination, compared with what is due and with what was last written.
enum There {
    AsDue,
    AsWritten,
    Absent,
    /// Something else, in words.
    Other(String),
}

fn there(
    file: &FileSettings,
    saved: &Saved,
    stored: &Stored,
    due: Option<&Content>,
) -> Result<There, String> {
    match &file.shape {
        Shape::File => {
            let disk = file::inspect(&file.spec).map_err(|error| error.to_string())?;
            let path = file.spec.path.display();
            match disk {
                OnDisk::Absent => Ok(There::Absent),
                OnDisk::Other(what) => Ok(There::Other(format!("`{path}` is a {what} now"))),
                OnDisk::File(facts) => match facts.digest {
                    Some(digest) => Ok(whole(&path.to_string(), digest, saved, due)),
                    None => Err(format!("`{path}` may not be read")),
                },
            }
        }
        Shape::Set(parts) => {
            let path = file.spec.path.display().to_string();
            let names: Vec<String> = parts.iter().map(|part| part.name.to_string()).collect();
            let found =
                look::set(file, names.iter().map(String::as_str)).map_err(|error| error.to_string())?;
            match found.get("") {
                None | Some(look::There::Absent) => return Ok(There::Absent),
                Some(look::There::Other(what)) => {
                    return Ok(There::Other(format!("`{path}` is a {what} now")));
                }
                Some(look::There::File(_) | look::There::Link(_)) => {}
            }
            let members = found.iter().filter(|(name, _)| !name.is_empty());
            let digests: Option<Vec<(&str, Digest)>> =
                members.map(|(name, there)| Some((name.as_str(), there.digest()?))).collect();
            Ok(match digests {
                Some(digests) => whole(&path, digest_of_many(digests.into_iter()), saved, due),
                None => There::Other(format!("a file of `{path}` is missing")),
            })
        }
        Shape::Tree(_) => tree(file, saved, stored, due),
    }
}

fn whole(path: &str, digest: Digest, saved: &Saved, due: Option<&Content>) -> There {
    if due.is_some_and(|due| due.digest() == digest) {
        return There::AsDue;
    }
    let hex = digest.to_string();
    let is_ours = [saved.record.written.as_deref(), record::intended(saved)].contains(&Some(hex.as_str()));
    if is_ours {
        There::AsWritten
    } else {
        There::Other(format!("`{path}` is not what was last written there"))
    }
}

/// Of a tree only files of ours count: others may lie beside them.
fn tree(file: &FileSettings, saved: &Saved, stored: &Stored, due: Option<&Content>) -> Result<There, String> {
    let none = BTreeMap::new();
    let pieces = match due {
        Some(Content::Many(pieces)) => pieces,
        Some(Content::One(_)) | None => &none,
    };
    if !saved.record.adopted && stored.owned.is_empty() {
        return Ok(if due.is_some() && pieces.is_empty() { There::AsDue } else { There::Absent });
    }
    let mut is_due = due.is_some() && pieces.len() == stored.owned.len();
    for one in &stored.owned {
        let found = look::member(file, &one.name).map_err(|error| error.to_string())?;
        let path = file.spec.path.join(&one.name).display().to_string();
        let Some(digest) = found.digest() else {
            if one.written.is_none() || one.intended == Some(Intended::Remove) {
                is_due = false;
                continue;
            }
            return Ok(There::Other(format!("`{path}` was written and is gone or no file")));
        };
        let is_piece = pieces.get(&one.name).is_some_and(|piece| piece.digest == digest);
        let hex = digest.to_string();
        let is_ours = one.written.as_ref() == Some(&hex) || one.intended == Some(Intended::Put(hex));
        if !is_piece && !is_ours {
            return Ok(There::Other(format!("`{path}` is not what was last written there")));
        }
        is_due &= is_piece;
    }
    Ok(if is_due { There::AsDue } else { There::AsWritten })
}
