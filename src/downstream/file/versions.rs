//! What a target keeps under the state directory: earlier versions for `rollback`, and the last rejected file.
//! Never beside the destination, where include globs would read them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Digest, FileSpec};

/// One kept version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// The label given to `settle`: the `seq` that the version shows.
    pub label: u64,
    /// True if rosterd wrote it; false for a stranger's file that was replaced while that label was put in place.
    pub is_ours: bool,
    /// Where it lies.
    pub path: PathBuf,
}

/// The kept versions, oldest first.
pub fn kept(spec: &FileSpec) -> io::Result<Vec<Kept>> {
    let entries = match fs::read_dir(folder(spec)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let Some((label, is_ours, _)) = path.file_name().and_then(|name| parse(name.to_str()?)) {
            found.push(Kept { label, is_ours, path });
        }
    }
    found.sort();
    Ok(found)
}

/// Keeps `bytes` as a version and prunes to `spec.keep`.
pub(super) fn keep(spec: &FileSpec, label: u64, is_ours: bool, bytes: &[u8]) -> io::Result<()> {
    if spec.keep == 0 {
        return Ok(());
    }
    let digest = Digest::of(bytes).to_string();
    let short = digest.get(..16).unwrap_or_default();
    let word = if is_ours { "ours" } else { "theirs" };
    store(&folder(spec), &format!("{label:020}-{word}-{short}"), bytes)?;
    let versions = kept(spec)?;
    for old in versions.iter().take(versions.len().saturating_sub(spec.keep)) {
        fs::remove_file(&old.path)?;
    }
    Ok(())
}

/// True if a kept version has these bytes, so that it need not be kept as a stranger's.
pub(super) fn knows(spec: &FileSpec, digest: Digest) -> io::Result<bool> {
    let digest = digest.to_string();
    let is_it = |kept: &Kept| {
        kept.path
            .file_name()
            .and_then(|name| parse(name.to_str()?))
            .is_some_and(|(.., short)| digest.starts_with(short))
    };
    Ok(kept(spec)?.iter().any(is_it))
}

/// Stores the bytes that a parse, `check` or `verify` refused, for the operator to look at. Only the last is kept.
pub(super) fn reject(spec: &FileSpec, bytes: &[u8]) -> io::Result<PathBuf> {
    let name = rejected_name(spec);
    store(&spec.state, &name, bytes)?;
    Ok(spec.state.join(name))
}

/// Remembers what an installer has put in place, which may not be readable here, until the swap is settled.
pub(super) fn stash(spec: &FileSpec, bytes: &[u8]) -> io::Result<()> {
    store(&spec.state, &own_name(spec, "installed"), bytes)
}

/// What was stashed last, if it is that.
pub(super) fn take_stash(spec: &FileSpec, digest: Digest) -> io::Result<Option<Vec<u8>>> {
    let path = spec.state.join(own_name(spec, "installed"));
    match fs::read(&path) {
        Ok(bytes) => {
            fs::remove_file(path)?;
            Ok(Some(bytes).filter(|bytes| Digest::of(bytes) == digest))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn rejected_name(spec: &FileSpec) -> String {
    own_name(spec, "rejected")
}

fn own_name(spec: &FileSpec, suffix: &str) -> String {
    let name = spec.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    format!("{name}.{suffix}").replace(['\0', '/'], "_")
}

fn folder(spec: &FileSpec) -> PathBuf {
    spec.state.join("versions")
}

fn parse(name: &str) -> Option<(u64, bool, &str)> {
    let mut parts = name.split('-');
    let label = parts.next()?.parse().ok()?;
    let is_ours = match parts.next()? {
        "ours" => true,
        "theirs" => false,
        _ => return None,
    };
    let short = parts.next()?;
    (short.len() == 16 && parts.next().is_none()).then_some((label, is_ours, short))
}

/// Whole or not at all: a crash leaves at most a `.part` that the next store replaces.
fn store(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let part = folder.join(format!("{name}.part"));
    match fs::remove_file(&part) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, folder.join(name))?;
    fs::File::open(folder)?.sync_all()
}
