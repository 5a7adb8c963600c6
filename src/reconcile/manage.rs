//! What people do with targets beside their runs: look at one, roll it back, forget one that the configuration dropped.
//! Blocking.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use crate::access::Verdict;
use crate::downstream::file::{self, Digest, Expect, FileSpec, OnDisk, Removed, generation};
use crate::mirror::change::Kind;
use crate::mirror::owned::{self, Intended, Owned};
use crate::mirror::target::{self, State as Saved};
use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx, decision};
use crate::model::{Origin, Seq, TargetName, UnixIdOwner, UnixIdWanted};

use super::file::look::Evidence;
use super::file::{pin, unix_ids};
use super::handle::Error;
use super::record::{self, Place};
use super::settings::{Settings, TargetKind};
use super::{State, TargetStatus};

/// What is remembered of one target besides its status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetDetail {
    /// The file, the folder of a tree, the symlink of a set; `None` before anything was written.
    pub path: Option<String>,
    /// Entitlements it holds.
    pub holds: u64,
    /// Files of a tree that are ours, by name.
    pub files: Vec<String>,
    /// Kept versions, oldest first; the last is the present one.
    pub versions: Vec<KeptVersion>,
    /// The change it was rolled back to, while it is pinned.
    pub pinned_to: Option<Seq>,
    /// True if a reload is still owed.
    pub reload_pending: bool,
    /// Who touched what rosterd wrote, the last time that happened.
    pub drift: Vec<Evidence>,
    /// The last runs that did something, newest first.
    pub runs: Vec<PastRun>,
}

/// A version to roll back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptVersion {
    /// The change whose state it shows: what `--to` takes.
    pub seq: Seq,
    /// When it was put in place.
    pub at: String,
    /// SHA-256 of what was written.
    pub digest: String,
    /// Entitlements it shows.
    pub total: u64,
}

/// A run of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastRun {
    /// When it ended.
    pub at: String,
    /// When it began.
    pub started: String,
    /// How long it took.
    pub duration_ms: u64,
    /// What woke it: `start`, `change` (or the schedule, or a retry), `decision`, `drift`, `sync`, `adopt`, `rollback`;
    /// empty where that was not recorded.
    pub cause: String,
    /// Who asked for it, if a person did.
    pub by: Option<String>,
    /// The change it worked from.
    pub seq: Seq,
    /// One word: `written`, `unchanged`, `failed` …
    pub outcome: String,
    /// Entitlements that came.
    pub added: u64,
    /// Entitlements that went.
    pub removed: u64,
    /// Entitlements shown differently.
    pub changed: u64,
    /// Removals held back.
    pub held: u64,
    /// Why it failed.
    pub error: Option<String>,
}

/// What one `target rollback` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RollbackReport {
    /// The target.
    pub target: TargetName,
    /// The change whose version it shows now, less what was revoked since.
    pub to_seq: Seq,
    /// The change that records the rollback.
    pub seq: Seq,
    /// Its state after the run that followed; `None` where no daemon runs.
    pub state: Option<State>,
    /// Entitlements that came back.
    pub added: u64,
    /// Entitlements taken away.
    pub removed: u64,
    /// Why that run failed, if it did.
    pub error: Option<String>,
}

/// What one `target forget` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForgetReport {
    /// The target.
    pub target: TargetName,
    /// The change that records it.
    pub seq: Seq,
    /// Files removed: ours, unchanged since they were written.
    pub deleted: Vec<String>,
    /// Files that stay: not asked to be removed, or touched by somebody since.
    pub left: Vec<String>,
}

/// Runs shown of a target.
const RUNS_SHOWN: u32 = 20;

impl From<target::Run> for PastRun {
    fn from(run: target::Run) -> Self {
        let text = |key: &str| run.detail.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
        let took = run.finished_at.since(run.started_at).as_millis();
        // What the guard held is noted by itself, in the run that a change woke.
        let cause = text("cause")
            .unwrap_or_else(|| if run.outcome == "held" { "change".to_owned() } else { String::new() });
        Self {
            at: run.finished_at.to_string(),
            started: run.started_at.to_string(),
            duration_ms: u64::try_from(took).unwrap_or(u64::MAX),
            cause,
            by: text("by"),
            seq: run.seq,
            outcome: run.outcome,
            added: run.added,
            removed: run.removed,
            changed: run.changed,
            held: run.held,
            error: run.error,
        }
    }
}

/// What the mirror remembers of `name`; `None` if it never heard of it.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn detail(mirror: &Mirror, name: &TargetName) -> Result<Option<TargetDetail>, StoreError> {
    mirror.read(|tx: &mut ReadTx<'_>| {
        let Some(saved) = target::state(tx, name)? else { return Ok(None) };
        let versions = pin::versions(tx, name)?.into_iter().map(|one| KeptVersion {
            seq: one.change.seq,
            at: one.at.to_string(),
            digest: one.digest,
            total: one.total,
        });
        let runs = target::runs(tx, name, RUNS_SHOWN)?.into_iter().map(PastRun::from);
        Ok(Some(TargetDetail {
            path: record::place(&saved).map(|place| place.path),
            holds: target::holdings(tx, name)?.len() as u64,
            files: owned::all(tx, name)?.into_iter().map(|one| one.name).collect(),
            versions: versions.collect(),
            pinned_to: pin::of(&saved).map(|pin| pin.seq),
            reload_pending: saved.record.reload_pending,
            drift: record::drift(&saved),
            runs: runs.collect(),
        }))
    })
}

/// Targets that the mirror remembers and the configuration does not name.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn orphans(tx: &mut ReadTx<'_>, configured: &[TargetName]) -> Result<Vec<TargetStatus>, StoreError> {
    let mut found = Vec::new();
    for (name, saved) in target::states(tx)? {
        let left_something =
            saved.record.adopted || record::place(&saved).is_some() || saved.cursor > Seq::ZERO;
        if configured.contains(&name) || !left_something {
            continue;
        }
        let held = target::exceptions(tx, &name)?.iter().filter(|one| one.verdict == Verdict::Held).count();
        found.push(TargetStatus {
            kind: kind_of(&saved),
            state: State::Orphaned,
            applied_seq: saved.applied.map_or(Seq::ZERO, |id| id.seq),
            last_success: saved.record.last_success,
            last_error: None,
            held_removals: held as u64,
            open: 0,
            parked: 0,
            problems: vec![format!(
                "the config no longer names it and what it wrote stays; `rosterd target forget {name}` ends that"
            )],
            drift: record::drift(&saved),
            traffic: None,
            name,
        });
    }
    Ok(found)
}

fn kind_of(saved: &Saved) -> &'static str {
    match record::place(saved).as_ref().map(|place| place.kind.as_str()) {
        Some("tree") => "tree",
        Some("set") => "set",
        Some(_) => "file",
        None if saved.record.adopted => "file",
        None => "webhook",
    }
}

/// Pins `target` to an earlier version; the run that puts it in place is the caller's, or the daemon's when it starts.
///
/// # Errors
/// [`Error::UnknownTarget`], [`Error::NotAFile`], [`Error::NoVersion`], [`Error::Store`].
pub fn roll_back(
    mirror: &Mirror,
    settings: &Settings,
    name: &TargetName,
    to: Option<Seq>,
    origin: Origin,
) -> Result<RollbackReport, Error> {
    let found = settings.targets.iter().find(|one| one.name == *name);
    let found = found.ok_or_else(|| Error::UnknownTarget(name.clone()))?;
    pinned(mirror, &found.kind, name, to, origin)
}

/// [`roll_back`] of a target that is known.
pub(super) fn pinned(
    mirror: &Mirror,
    kind: &TargetKind,
    name: &TargetName,
    to: Option<Seq>,
    origin: Origin,
) -> Result<RollbackReport, Error> {
    let TargetKind::File(_) = kind else { return Err(Error::NotAFile(name.clone())) };
    let done = pin::roll_back(mirror, name, to, origin)?;
    let (seq, version) = done.map_err(|why| Error::NoVersion(name.clone(), why))?;
    Ok(RollbackReport {
        target: name.clone(),
        to_seq: version.change.seq,
        seq,
        state: None,
        added: 0,
        removed: 0,
        error: None,
    })
}

/// Forgets a target that the configuration no longer names; with `delete` its files go first, as far as they are still
/// what rosterd wrote.
///
/// # Errors
/// [`Error::Configured`], [`Error::UnknownTarget`], [`Error::Forget`]: a file cannot be removed, and nothing is
/// forgotten. [`Error::Store`].
pub fn forget(
    mirror: &Mirror,
    configured: &[TargetName],
    name: &TargetName,
    delete: bool,
    origin: Origin,
) -> Result<ForgetReport, Error> {
    if configured.contains(name) {
        return Err(Error::Configured(name.clone()));
    }
    let (saved, owned) = mirror
        .read(|tx: &mut ReadTx<'_>| Ok::<_, StoreError>((target::state(tx, name)?, owned::all(tx, name)?)))?;
    let saved = saved.ok_or_else(|| Error::UnknownTarget(name.clone()))?;
    let (deleted, left) = match record::place(&saved) {
        Some(place) => swept(name, &place, &saved, &owned, delete)
            .map_err(|error| Error::Forget(name.clone(), error.to_string()))?,
        None => (Vec::new(), Vec::new()),
    };
    let kept: &[&str] = if delete { &["targets", "published"] } else { &["targets"] };
    drop_kept(mirror, name, kept).map_err(|error| Error::Forget(name.clone(), error))?;
    let (at, detail) = (name.clone(), json!({ "deleted": deleted, "left": left }));
    let seq = mirror.write_blocking::<_, StoreError, _>(origin, move |tx: &mut WriteTx<'_>| {
        target::forget(tx, &at)?;
        decision::record(tx, &Kind::TargetForgotten, &at, &detail)
    })?;
    Ok(ForgetReport { target: name.clone(), seq, deleted, left })
}

/// Removes what the target kept below the state directory: versions and rejected files name people, too.
fn drop_kept(mirror: &Mirror, name: &TargetName, folders: &[&str]) -> Result<(), String> {
    for folder in folders {
        let kept = mirror.folder().join(folder).join(name.as_str());
        match std::fs::remove_dir_all(&kept) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot remove `{}`: {error}", kept.display())),
        }
    }
    Ok(())
}

/// The uids and gids that targets would give, for what is only shown: none is kept.
///
/// # Errors
/// [`StoreError`] from the engine.
pub fn preview_unix_ids(
    tx: &mut ReadTx<'_>,
    state: &std::path::Path,
    wanted: &[UnixIdWanted],
) -> Result<BTreeMap<UnixIdOwner, u32>, StoreError> {
    unix_ids::preview_in(tx, &state.join("unix-ids.log"), wanted)
}

type Swept = (Vec<String>, Vec<String>);

/// Removes what is ours and unchanged; what was removed, and what stays.
fn swept(
    name: &TargetName,
    place: &Place,
    saved: &Saved,
    owned: &[Owned],
    delete: bool,
) -> Result<Swept, file::ApplyError> {
    // Nothing is kept of what is removed here, so the folder for versions is never used.
    let spec = FileSpec::new(name.clone(), place.path.clone().into(), std::path::PathBuf::new());
    if place.kind == "set" {
        if !delete {
            return Ok((Vec::new(), vec![place.path.clone()]));
        }
        let is_ours = matches!(generation::shown(&spec)?, generation::Shown::Ours(_));
        generation::remove_all(&spec)?;
        let path = vec![place.path.clone()];
        return Ok(if is_ours { (path, Vec::new()) } else { (Vec::new(), path) });
    }
    let files: Vec<(FileSpec, Vec<String>)> = if place.kind == "tree" {
        owned.iter().map(|one| (spec.member(&one.name), known(one))).collect()
    } else {
        let intended = record::extra_text(saved, "intended");
        vec![(spec, saved.record.written.clone().into_iter().chain(intended).collect())]
    };
    let (mut deleted, mut left) = (Vec::new(), Vec::new());
    for (spec, known) in files {
        let path = spec.path.display().to_string();
        match removed(&spec, &known, delete)? {
            Some(true) => deleted.push(path),
            Some(false) => left.push(path),
            None => {}
        }
    }
    Ok((deleted, left))
}

fn known(one: &Owned) -> Vec<String> {
    let intended = match &one.intended {
        Some(Intended::Put(digest)) => Some(digest.clone()),
        Some(Intended::Remove) | None => None,
    };
    one.written.clone().into_iter().chain(intended).collect()
}

/// Whether it was removed; `None` if nothing is there.
fn removed(spec: &FileSpec, known: &[String], delete: bool) -> Result<Option<bool>, file::ApplyError> {
    let is_known = |digest: Digest| known.contains(&digest.to_string());
    match file::inspect(spec)? {
        OnDisk::Absent => Ok(None),
        OnDisk::File(facts) => match facts.digest.filter(|digest| delete && is_known(*digest)) {
            Some(digest) => Ok(Some(file::remove(spec, Expect::Content(digest))? == Removed::Gone)),
            None => Ok(Some(false)),
        },
        OnDisk::Other(_) => {
            let to = file::read_link(spec)?.map(|to| to.to_string_lossy().into_owned());
            let is_ours = to.is_some_and(|to| is_known(super::file::parts::link_digest(&to)));
            Ok(Some(delete && is_ours && file::remove_link(spec)? == Removed::Gone))
        }
    }
}
