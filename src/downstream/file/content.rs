//! Reads back what was put in place: to show it again after a restart.

use std::io::Read as _;

use super::folder::Folder;
use super::{ApplyError, Digest, FileSpec, OnDisk, Via, inspect, kept};

/// The bytes with `digest` of this destination: from the destination itself or, where somebody else's lie there, from
/// the newest kept version. `None` if neither has them.
///
/// # Errors
/// The folder is one that `apply` would refuse, or cannot be read.
pub fn content(spec: &FileSpec, digest: Digest) -> Result<Option<Vec<u8>>, ApplyError> {
    // The digest is taken first and as a stream: a stranger's file of any size is not read into memory.
    let is_there = matches!(inspect(spec)?, OnDisk::File(facts) if facts.digest == Some(digest));
    let in_place = if is_there {
        let folder = Folder::open(spec)?;
        let mut bytes = Vec::new();
        let read = folder.read(folder.name()).and_then(|mut file| file.read_to_end(&mut bytes));
        read.is_ok().then_some(bytes)
    } else {
        None
    };
    let whole = |bytes: &Vec<u8>| Digest::of(bytes) == digest;
    // Kept versions are only a second try; where they cannot be read there is none.
    let versions = || kept(spec).unwrap_or_default();
    Ok(in_place.filter(whole).or_else(|| {
        let ours = versions().into_iter().rev().filter(|one| one.is_ours);
        ours.filter_map(|one| std::fs::read(one.path).ok()).find(whole)
    }))
}

/// The first bytes of a destination, at most `max`; `None` if no regular file is there or it may not be read here.
///
/// # Errors
/// The folder is one that `apply` would refuse, or cannot be read.
pub fn beginning(spec: &FileSpec, max: u64) -> Result<Option<Vec<u8>>, ApplyError> {
    if matches!(spec.via, Via::Installer { .. }) {
        // It tells digests, never bytes.
        return Ok(None);
    }
    let folder = Folder::open(spec)?;
    let Ok(file) = folder.read(folder.name()) else { return Ok(None) };
    if !file.metadata().is_ok_and(|facts| facts.is_file()) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    Ok(file.take(max).read_to_end(&mut bytes).is_ok().then_some(bytes))
}

/// The kept version with `digest`, ours or a stranger's, the newest first; `None` if none is kept or it is longer than
/// `max`.
pub fn kept_content(spec: &FileSpec, digest: Digest, max: u64) -> Option<Vec<u8>> {
    let versions = kept(spec).unwrap_or_default();
    versions.into_iter().rev().find_map(|one| {
        let is_small = std::fs::metadata(&one.path).is_ok_and(|facts| facts.len() <= max);
        let bytes = is_small.then(|| std::fs::read(&one.path).ok()).flatten()?;
        (Digest::of(&bytes) == digest).then_some(bytes)
    })
}

/// Makes the folder of a destination that is rosterd's own business, private to it. What is there already stays.
///
/// # Errors
/// It cannot be made.
pub fn make_private_folder(spec: &FileSpec) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match spec.path.parent() {
        Some(folder) => std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::file::{Applied, Expect, apply, settle};

    fn written(spec: &FileSpec, bytes: &[u8], label: u64) {
        let Applied::Swapped(swapped) = apply(spec, bytes, Expect::Anything, &|_| Ok(())).unwrap() else {
            panic!("nothing was written")
        };
        settle(spec, &swapped, label).unwrap();
    }

    #[test]
    fn what_was_written_is_found_in_place_or_among_the_kept_and_nothing_else_is() {
        let base = tempfile::tempdir().unwrap();
        let spec = FileSpec::new(
            crate::model::TargetName::parse("opa").unwrap(),
            base.path().join("own/opa"),
            base.path().join("state"),
        );
        make_private_folder(&spec).unwrap();
        make_private_folder(&spec).unwrap();
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        assert_eq!(content(&spec, one).unwrap(), None);
        written(&spec, b"one", 1);
        assert_eq!(content(&spec, one).unwrap().as_deref(), Some(b"one".as_slice()));
        written(&spec, b"two", 2);
        std::fs::write(&spec.path, "somebody else's").unwrap();
        assert_eq!(content(&spec, two).unwrap().as_deref(), Some(b"two".as_slice()));
        assert_eq!(
            content(&spec, Digest::of(b"somebody else's")).unwrap(),
            Some(b"somebody else's".to_vec())
        );
        assert_eq!(content(&spec, Digest::of(b"three")).unwrap(), None);
        assert_eq!(beginning(&spec, 8).unwrap().as_deref(), Some(b"somebody".as_slice()));
        assert_eq!(kept_content(&spec, one, 3).as_deref(), Some(b"one".as_slice()));
        assert_eq!(kept_content(&spec, one, 2), None);
        std::fs::remove_file(&spec.path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &spec.path).unwrap();
        assert_eq!(beginning(&spec, 8).unwrap(), None);
    }
}
