//! Which files this process wrote. A compromised daemon may claim anything; what is not in this record is a stranger's
//! and is neither replaced nor removed.
//!
//! One small file for each destination below `STATE/TARGET/owned/`, replaced whole, durable before the act that it
//! speaks of. A record of another path (the config named another one then) counts for nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::downstream::file::Digest;

/// The name of the record of a target that is one file; no member begins with `=`.
const THE_FILE: &str = "=file";
/// Says that a swap or a removal is owed a reload.
const RELOAD_OWED: &str = "reload-owed";

/// What is known of one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    path: PathBuf,
    /// SHA-256 of what was written and swapped last.
    written: Option<String>,
    /// SHA-256 of what was about to be.
    intended: Option<String>,
}

/// The record of one target.
pub(super) struct Owned<'a> {
    folder: &'a Path,
}

impl<'a> Owned<'a> {
    /// The record below the target's own folder of the state directory.
    pub(super) fn new(folder: &'a Path) -> Self {
        Self { folder }
    }

    fn file(&self, member: Option<&str>) -> PathBuf {
        self.folder.join("owned").join(member.unwrap_or(THE_FILE))
    }

    /// What is known of a destination; nothing, if it was another path then.
    pub(super) fn load(&self, member: Option<&str>, path: &Path) -> io::Result<Record> {
        let fresh = || Record { version: 1, path: path.to_owned(), ..Record::default() };
        let file = self.file(member);
        match fs::read(&file) {
            Ok(bytes) => {
                let record: Record = serde_json::from_slice(&bytes).map_err(|error| {
                    let what = format!("the record `{}` is broken: {error}; move it away", file.display());
                    io::Error::new(io::ErrorKind::InvalidData, what)
                })?;
                Ok(if record.version == 1 && record.path == path { record } else { fresh() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(fresh()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn save(&self, member: Option<&str>, record: &Record) -> io::Result<()> {
        let bytes = serde_json::to_vec(record).map_err(io::Error::other)?;
        store(&self.file(member), &bytes)
    }

    pub(super) fn forget(&self, member: Option<&str>) -> io::Result<()> {
        remove(&self.file(member))
    }

    pub(super) fn owe_reload(&self) -> io::Result<()> {
        store(&self.folder.join(RELOAD_OWED), b"")
    }

    pub(super) fn owes_reload(&self) -> io::Result<bool> {
        self.folder.join(RELOAD_OWED).try_exists()
    }

    pub(super) fn reloaded(&self) -> io::Result<()> {
        remove(&self.folder.join(RELOAD_OWED))
    }
}

impl Record {
    /// Whether what lies there is ours: written by us once, whoever edited it since, or what we were about to write
    /// when we died.
    pub(super) fn is_ours(&self, found: Option<Digest>) -> bool {
        let found = found.map(|digest| digest.to_string());
        self.written.is_some() || (found.is_some() && found == self.intended)
    }

    /// Whether it is as we left it.
    pub(super) fn is_as_written(&self, found: Option<Digest>) -> bool {
        let found = found.map(|digest| digest.to_string());
        found.is_some() && (found == self.written || found == self.intended)
    }

    /// Whether anything of ours is, or was, at the destination.
    pub(super) fn is_known(&self) -> bool {
        self.written.is_some() || self.intended.is_some()
    }

    /// It was taken away, perhaps to come back.
    pub(super) fn gone(&mut self) {
        self.intended = self.written.take().or_else(|| self.intended.take());
    }

    /// A symlink is about to be there.
    pub(super) fn linked(&mut self) {
        self.written = None;
        self.intended = Some("symlink".to_owned());
    }

    pub(super) fn intend(&mut self, digest: Digest) {
        self.intended = Some(digest.to_string());
    }

    pub(super) fn written(&mut self, digest: Digest) {
        self.written = Some(digest.to_string());
        self.intended = None;
    }
}

fn store(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let part = folder.join("=part");
    remove(&part)?;
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    fs::rename(&part, file)?;
    File::open(folder)?.sync_all()
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Ok(()) => File::open(file.parent().ok_or(io::ErrorKind::InvalidInput)?)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_ours_until_it_is_forgotten_or_lies_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (owned, path) = (Owned::new(dir.path()), Path::new("/etc/x"));
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let mut record = owned.load(Some("a"), path).unwrap();
        assert!(!record.is_ours(Some(old)) && !record.is_ours(None));
        record.intend(new);
        owned.save(Some("a"), &record).unwrap();
        let record = owned.load(Some("a"), path).unwrap();
        assert!(record.is_ours(Some(new)) && !record.is_ours(Some(old)), "the rename may have happened");
        let mut record = record;
        record.written(new);
        owned.save(Some("a"), &record).unwrap();
        let record = owned.load(Some("a"), path).unwrap();
        assert!(record.is_ours(Some(old)) && !record.is_as_written(Some(old)), "somebody edited it");
        assert!(!owned.load(Some("b"), path).unwrap().is_ours(Some(new)));
        assert!(!owned.load(None, path).unwrap().is_ours(Some(new)));
        assert!(!owned.load(Some("a"), Path::new("/etc/y")).unwrap().is_ours(Some(new)));
        owned.forget(Some("a")).unwrap();
        assert!(!owned.load(Some("a"), path).unwrap().is_ours(Some(new)));
    }

    #[test]
    fn a_broken_record_is_said_and_not_taken_for_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let owned = Owned::new(dir.path());
        owned.save(None, &Record::default()).unwrap();
        fs::write(dir.path().join("owned").join(THE_FILE), b"{").unwrap();
        let error = owned.load(None, Path::new("/etc/x")).unwrap_err();
        assert!(error.to_string().contains("is broken"), "{error}");
    }

    #[test]
    fn a_reload_is_owed_until_it_has_run() {
        let dir = tempfile::tempdir().unwrap();
        let owned = Owned::new(dir.path());
        assert!(!owned.owes_reload().unwrap());
        owned.owe_reload().unwrap();
        assert!(owned.owes_reload().unwrap());
        owned.reloaded().unwrap();
        owned.reloaded().unwrap();
        assert!(!owned.owes_reload().unwrap());
    }
}
