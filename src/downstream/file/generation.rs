//! A set: several files that change together. They lie in a folder of their own beside a symlink, and one rename of
//! that symlink switches from one generation to the next, so that a reader that opens the folder once never mixes two.
//!
//! INVARIANTS: a generation that the symlink shows is never written to. Only folders of our own naming pattern and
//! our own uid are ever removed, and never the one that is shown.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::{
    ApplyError, Cause, Digest, FileFacts, FileSpec, OnDisk, STAGING_PREFIX, Step, apply, read_link, versions,
};
use crate::downstream::command;

/// What is where the symlink should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Absent,
    /// A symlink to a generation of ours, by its folder's name.
    Ours(String),
    /// A symlink to somewhere else.
    Elsewhere(String),
    /// No symlink: refused, with the word for it.
    Other(&'static str),
}

/// What stands in the way of writing: the bytes of each file, by its name in the set.
pub type Files<'a> = BTreeMap<&'a str, &'a [u8]>;

/// Parses one file, by its name, with its format's own check.
pub type ParseCheck<'a> = &'a dyn Fn(&str, &[u8]) -> Result<(), String>;

/// What the symlink shows now.
///
/// # Errors
/// The folder is one that a write would refuse, or cannot be read.
pub fn shown(spec: &FileSpec) -> Result<Shown, ApplyError> {
    if let Some(to) = read_link(spec)? {
        let to = to.to_string_lossy().into_owned();
        return Ok(if is_generation(spec, &to) { Shown::Ours(to) } else { Shown::Elsewhere(to) });
    }
    Ok(match super::inspect(spec)? {
        OnDisk::Absent => Shown::Absent,
        OnDisk::File(_) => Shown::Other("regular file"),
        OnDisk::Other(word) => Shown::Other(word),
    })
}

/// What lies under `name` in a generation.
pub fn look(spec: &FileSpec, generation: &str, name: &str) -> OnDisk {
    let path = beside(spec, generation).join(name);
    let Ok(facts) = fs::symlink_metadata(&path) else { return OnDisk::Absent };
    if !facts.is_file() {
        return OnDisk::Other(if facts.is_symlink() { "symlink" } else { "special file or folder" });
    }
    OnDisk::File(FileFacts {
        digest: fs::read(&path).ok().map(|bytes| Digest::of(&bytes)),
        bytes: facts.len(),
        mode: facts.mode() & 0o7777,
        uid: facts.uid(),
        gid: facts.gid(),
        modified: facts.modified().unwrap_or(std::time::SystemTime::UNIX_EPOCH),
    })
}

/// The first bytes of `name` in a generation, at most `max`; `None` if it is no regular file or may not be read.
pub fn beginning(spec: &FileSpec, generation: &str, name: &str, max: u64) -> Option<Vec<u8>> {
    let path = beside(spec, generation).join(name);
    let flags =
        i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits() | rustix::fs::OFlags::NONBLOCK.bits()).ok()?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().ok().filter(fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Writes a new generation: every file whole, on disk, parsed and checked. Nobody is shown it yet. Its folder's name.
///
/// # Errors
/// Whatever stopped it; nothing of it stays.
pub fn stage(
    spec: &FileSpec,
    files: &Files<'_>,
    label: u64,
    parse: ParseCheck<'_>,
) -> Result<String, ApplyError> {
    let fail = |step, cause| ApplyError { path: spec.path.clone(), step, cause };
    let _judged = Folder::open(spec)?;
    let name = new_name(spec, label).map_err(|error| fail(Step::Stage, Cause::Io(error)))?;
    let folder = beside(spec, &name);
    let staged = (|| {
        for (name, bytes) in files {
            if let Err(why) = parse(name, bytes) {
                let _not_kept = versions::reject(spec, bytes);
                return Err(fail(Step::Parse, Cause::Parse(format!("`{name}`: {why}"))));
            }
        }
        write_all(spec, &folder, files).map_err(|error| fail(Step::Stage, Cause::Io(error)))?;
        let Some(argv) = &spec.check else { return Ok(()) };
        let output = command::run(argv, Some(&folder), &spec.limits)
            .map_err(|error| fail(Step::Check, Cause::Start(error)))?;
        if output.is_success() { Ok(()) } else { Err(fail(Step::Check, Cause::Command(Box::new(output)))) }
    })();
    match staged {
        Ok(()) => Ok(name),
        Err(error) => {
            // What stays is found by `prune`.
            let _stays = fs::remove_dir_all(&folder);
            Err(error)
        }
    }
}

/// Shows `generation`: one rename.
///
/// # Errors
/// No symlink stands there, or the operating system says no.
pub fn show(spec: &FileSpec, generation: &str) -> Result<(), ApplyError> {
    apply::put_link(spec, generation).map(|_| ())
}

/// Removes generations but for the one shown and the `keep` newest before it, at least one: a reader may have it open.
/// How many went.
///
/// # Errors
/// The folder cannot be read or one cannot be removed.
pub fn prune(spec: &FileSpec, keep: usize) -> Result<usize, ApplyError> {
    let failed = |error| ApplyError { path: spec.path.clone(), step: Step::Keep, cause: Cause::Io(error) };
    let live = match shown(spec)? {
        Shown::Ours(name) => Some(name),
        _ => None,
    };
    let mut others = generations(spec).map_err(failed)?;
    others.retain(|name| Some(name) != live.as_ref());
    let surplus = others.len().saturating_sub(keep.max(1));
    for name in others.iter().take(surplus) {
        fs::remove_dir_all(beside(spec, name)).map_err(failed)?;
    }
    Ok(surplus)
}

/// Removes the symlink, if it is ours, and every generation.
///
/// # Errors
/// The operating system says no.
pub fn remove_all(spec: &FileSpec) -> Result<(), ApplyError> {
    let failed = |error| ApplyError { path: spec.path.clone(), step: Step::Remove, cause: Cause::Io(error) };
    if matches!(shown(spec)?, Shown::Ours(_)) {
        apply::remove_link(spec)?;
    }
    let all = generations(spec).map_err(failed)?;
    all.iter().try_for_each(|name| fs::remove_dir_all(beside(spec, name))).map_err(failed)
}

/// Our own generations, oldest first: exact pattern, folders, own uid.
fn generations(spec: &FileSpec) -> io::Result<Vec<String>> {
    let us = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    for entry in fs::read_dir(spec.path.parent().unwrap_or(Path::new("/")))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if is_generation(spec, &name) {
            let facts = fs::symlink_metadata(entry.path())?;
            if facts.is_dir() && facts.uid() == us {
                found.push(name);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn prefix(spec: &FileSpec) -> String {
    let name = spec.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let name: String = name.chars().take(100).collect();
    let digest = Digest::of(spec.path.file_name().unwrap_or(OsStr::new("")).as_encoded_bytes()).to_string();
    format!("{STAGING_PREFIX}{name}-{}-", digest.get(..8).unwrap_or_default())
}

fn new_name(spec: &FileSpec, label: u64) -> io::Result<String> {
    let mut random = [0u8; 4];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    // Twenty digits, so that names sort by age.
    Ok(format!("{}{label:020}-{:08x}", prefix(spec), u32::from_le_bytes(random)))
}

fn is_generation(spec: &FileSpec, name: &str) -> bool {
    let Some((label, random)) = name.strip_prefix(&prefix(spec)).and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    label.len() == 20
        && label.bytes().all(|b| b.is_ascii_digit())
        && random.len() == 8
        && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn beside(spec: &FileSpec, name: &str) -> PathBuf {
    spec.path.with_file_name(name)
}

/// Writes all files, readable as `mode` says, and makes them durable: files, then folders, then their parent.
fn write_all(spec: &FileSpec, folder: &Path, files: &Files<'_>) -> io::Result<()> {
    let mode = spec.mode & 0o777;
    // Whoever may read a file must be able to enter its folder.
    let folder_mode = 0o700 | (mode & 0o444) | ((mode & 0o444) >> 2);
    let mut folders = vec![folder.to_owned()];
    DirBuilder::new().mode(0o700).create(folder)?;
    for (name, bytes) in files {
        let path = folder.join(name);
        let mut inner: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        inner.retain(|one| one.starts_with(folder) && !folders.contains(one));
        for one in inner.iter().rev() {
            DirBuilder::new().mode(0o700).create(one)?;
            folders.push(one.clone());
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
    }
    for one in folders.iter().rev() {
        fs::set_permissions(one, Permissions::from_mode(folder_mode))?;
        File::open(one)?.sync_all()?;
    }
    File::open(folder.parent().unwrap_or(Path::new("/")))?.sync_all()
}
