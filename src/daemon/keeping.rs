//! Backups of the mirror, and putting one in its place.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, Secrets};
use crate::mirror::sqlite::{Lock, backup};
use crate::mirror::verify::verify;
use crate::mirror::{Mirror, ReadTx, Settings, StoreError, WriteTx, restored, target};
use crate::model::{Actor, Clock, Epoch, Origin, Seq, SystemClock, Timestamp};

use super::{Error, owner};

/// Told pages or bytes done, and how many there are in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Why a backup was not taken or not put in place.
#[derive(Debug)]
pub enum KeepingError {
    /// As for any command that opens the mirror.
    Daemon(Error),
    /// The file named is not there.
    Missing(PathBuf),
    /// A file of this name is there already.
    Exists(PathBuf),
    /// A file cannot be read or written.
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The backup is not one that may be put in place.
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for KeepingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon(error) => error.fmt(f),
            Self::Missing(path) => write!(f, "there is no {}", path.display()),
            Self::Exists(path) => write!(f, "{} exists", path.display()),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Unfit { path, why } => write!(f, "{} is not a backup to restore: {why}", path.display()),
        }
    }
}

impl std::error::Error for KeepingError {}

impl From<Error> for KeepingError {
    fn from(error: Error) -> Self {
        Self::Daemon(error)
    }
}

impl From<StoreError> for KeepingError {
    fn from(error: StoreError) -> Self {
        Self::Daemon(Error::Mirror(error))
    }
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> KeepingError {
    let path = path.to_owned();
    move |source| KeepingError::Io { path: path.clone(), source }
}

/// A backup that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Where it lies.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The epoch it belongs to.
    pub epoch: u32,
}

/// The mirror's settings, as its owner.
fn settings(config: &Path) -> Result<Settings, KeepingError> {
    let config = config::load(config, Secrets::Optional).map_err(Error::from)?.config;
    let state_dir = config.state_dir().to_owned();
    owner::become_owner(&state_dir).map_err(|source| Error::StateDirectory { path: state_dir, source })?;
    Ok(config.mirror)
}

/// `text` relative to the folder this process stands in, so that it stays the same file.
fn absolute(file: &Path) -> Result<PathBuf, KeepingError> {
    std::path::absolute(file).map_err(io_at(file))
}

/// Copies the mirror to `file`, whether a daemon runs or not.
///
/// INVARIANT: called while the process has one thread, since it may change the process's user.
/// # Errors
/// [`KeepingError::Exists`] without `force`; what reading the mirror and writing the file may give.
pub fn take(config: &Path, file: &Path, force: bool, progress: Progress<'_>) -> Result<Taken, KeepingError> {
    let file = absolute(file)?;
    let mirror = settings(config)?;
    if !force && file.symlink_metadata().is_ok() {
        return Err(KeepingError::Exists(file));
    }
    if !mirror.path.exists() {
        return Err(KeepingError::Missing(mirror.path));
    }
    let staged = staged(&file);
    // Made here and not by SQLite: a name that is taken must not be written to, and the mode is ours.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged).map_err(io_at(&staged))?;
    let copied = copy_to(&mirror.path, &staged, &file, force, progress);
    if copied.is_err() {
        // Half a backup is none; what cannot be removed is named `.rosterd-…` and harms nobody.
        let _left = std::fs::remove_file(&staged);
    }
    copied
}

fn copy_to(
    from: &Path,
    staged: &Path,
    file: &Path,
    force: bool,
    progress: Progress<'_>,
) -> Result<Taken, KeepingError> {
    backup::copy(from, staged, progress)?;
    let epoch = backup::epoch(staged)?;
    let bytes = std::fs::metadata(staged).map_err(io_at(staged))?.len();
    if force {
        std::fs::rename(staged, file).map_err(io_at(file))?;
    } else {
        // A link does not replace what somebody put there meanwhile.
        std::fs::hard_link(staged, file).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => KeepingError::Exists(file.to_owned()),
            _ => KeepingError::Io { path: file.to_owned(), source },
        })?;
        std::fs::remove_file(staged).map_err(io_at(staged))?;
    }
    backup::sync(&backup::folder(file))?;
    Ok(Taken { file: file.to_owned(), bytes, epoch })
}

fn staged(file: &Path) -> PathBuf {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    file.with_file_name(format!(".rosterd-{}-{name}", std::process::id()))
}

/// A backup that was put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The mirror.
    pub mirror: PathBuf,
    /// Where the one before lies, if there was one.
    pub before: Option<PathBuf>,
    /// The epoch that begins.
    pub epoch: Epoch,
    /// The change that says so.
    pub seq: Seq,
    /// Targets that wait for a word.
    pub targets: Vec<String>,
    /// Directories that have to name everybody again.
    pub directories: Vec<String>,
}

/// Puts the backup `file` in the mirror's place.
///
/// INVARIANT: called while the process has one thread, since it may change the process's user.
/// # Errors
/// [`StoreError::Locked`] while a daemon runs; [`KeepingError::Missing`], [`KeepingError::Unfit`].
pub fn restore(config: &Path, file: &Path, progress: Progress<'_>) -> Result<Restored, KeepingError> {
    let file = absolute(file)?;
    let caller = rustix::process::getuid().as_raw();
    // Opened before this process becomes the owner of the mirror, who may not be able to read it.
    let mut source = match std::fs::File::open(&file) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeepingError::Missing(file)),
        Err(error) => return Err(KeepingError::Io { path: file, source: error }),
    };
    let log = PathBuf::from(format!("{}-wal", file.display()));
    if std::fs::metadata(&log).is_ok_and(|meta| meta.len() > 0) {
        let why = format!(
            "{} beside it says that it is a mirror in use; take a copy by `rosterd backup`",
            log.display()
        );
        return Err(KeepingError::Unfit { path: file, why });
    }
    let settings = settings(config)?;
    let state = backup::folder(&settings.path);
    let _lock = Lock::take(&state)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let now = clock.now();
    // A folder of its own, since an open mirror locks the folder it lies in.
    let work = state.join(format!(".restore-{}", now.0));
    std::fs::DirBuilder::new().mode(0o700).create(&work).map_err(io_at(&work))?;
    let staged = work.join("mirror.db");
    let done = bring(&mut source, &staged, progress)
        .and_then(|()| prepare(&staged, &file, &settings, caller, &clock))
        .and_then(|mut restored| {
            restored.before = put_in_place(&staged, &settings.path, now)?;
            restored.mirror.clone_from(&settings.path);
            Ok(restored)
        });
    // Whatever is left of it is of no use to anybody.
    let _left = std::fs::remove_dir_all(&work);
    done
}

/// Copies the bytes of the backup next to the mirror.
fn bring(source: &mut std::fs::File, staged: &Path, progress: Progress<'_>) -> Result<(), KeepingError> {
    use std::io::{Read as _, Write as _};
    let total = source.metadata().map_err(io_at(staged))?.len();
    let mut to =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(staged).map_err(io_at(staged))?;
    let mut buffer = vec![0_u8; 1 << 20];
    let mut done = 0_u64;
    loop {
        let read = source.read(&mut buffer).map_err(io_at(staged))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        to.write_all(bytes).map_err(io_at(staged))?;
        done = done.saturating_add(read as u64);
        progress(done, total);
    }
    to.sync_all().map_err(io_at(staged))
}

/// Checks the copy, brings its schema up to date and makes it the beginning of a new epoch.
fn prepare(
    staged: &Path,
    file: &Path,
    settings: &Settings,
    caller: u32,
    clock: &Arc<dyn Clock>,
) -> Result<Restored, KeepingError> {
    backup::check(staged)?;
    let epoch = Epoch(newest_epoch(staged, &settings.path)?.saturating_add(1));
    let opened = Settings { path: staged.to_owned(), ..settings.clone() };
    let mirror = Mirror::open(&opened, Arc::clone(clock))?;
    let report = mirror.read(|tx: &mut ReadTx<'_>| verify(tx))?;
    if let Some(first) = report.faults.first() {
        let more = report.faults.len().saturating_sub(1);
        let why = format!("its log and its content disagree: {first} ({more} more)");
        mirror.close();
        return Err(KeepingError::Unfit { path: file.to_owned(), why });
    }
    let origin = Origin { actor: Actor::Local(caller), request: None };
    let seq = mirror.write_blocking(origin, move |tx: &mut WriteTx<'_>| restored::begin(tx, epoch))?;
    let (targets, directories) = mirror.read(|tx: &mut ReadTx<'_>| {
        let targets = target::states(tx)?.into_iter().map(|(name, _)| name.to_string()).collect();
        let directories = restored::waiting(tx)?.iter().map(ToString::to_string).collect();
        Ok::<_, StoreError>((targets, directories))
    })?;
    mirror.close();
    backup::fold(staged)?;
    remember_epoch(&settings.path, epoch)?;
    Ok(Restored { mirror: PathBuf::new(), before: None, epoch, seq, targets, directories })
}

/// Where the newest epoch stands outside the mirror, so that two restores of one backup never share one.
fn epoch_file(mirror: &Path) -> PathBuf {
    mirror.with_file_name("epoch")
}

/// The newest epoch anybody can have seen.
fn newest_epoch(staged: &Path, mirror: &Path) -> Result<u32, KeepingError> {
    let of_backup = backup::epoch(staged)?;
    // The mirror in place may be the very reason for the restore: what cannot be read says nothing.
    let of_mirror = backup::epoch(mirror).unwrap_or(0);
    let written = std::fs::read_to_string(epoch_file(mirror)).ok().and_then(|text| text.trim().parse().ok());
    Ok(of_backup.max(of_mirror).max(written.unwrap_or(0)))
}

fn remember_epoch(mirror: &Path, epoch: Epoch) -> Result<(), KeepingError> {
    let path = epoch_file(mirror);
    let staged = path.with_file_name(".rosterd-epoch");
    std::fs::write(&staged, format!("{epoch}\n")).map_err(io_at(&staged))?;
    backup::sync(&staged)?;
    std::fs::rename(&staged, &path).map_err(io_at(&path))
}

/// Puts `staged` in the mirror's place in one step and keeps what was there under another name.
fn put_in_place(staged: &Path, mirror: &Path, now: Timestamp) -> Result<Option<PathBuf>, KeepingError> {
    let folder = backup::folder(mirror);
    let mut before = None;
    if mirror.symlink_metadata().is_ok() {
        let name = mirror.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stamp: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
        let kept = mirror.with_file_name(format!("{name}.replaced-{stamp}"));
        // What stands in the old one's log belongs into the old one, and must never be read into the new one. One too
        // damaged for that keeps its log beside it.
        let is_folded = backup::fold(mirror).is_ok();
        std::fs::hard_link(mirror, &kept).map_err(io_at(&kept))?;
        for suffix in ["-wal", "-shm"] {
            let beside = PathBuf::from(format!("{}{suffix}", mirror.display()));
            if !is_folded && beside.exists() {
                let to = PathBuf::from(format!("{}{suffix}", kept.display()));
                std::fs::rename(&beside, &to).map_err(io_at(&to))?;
            }
        }
        backup::sync(&folder)?;
        before = Some(kept);
    }
    std::fs::rename(staged, mirror).map_err(io_at(mirror))?;
    backup::sync(&folder)?;
    Ok(before)
}
