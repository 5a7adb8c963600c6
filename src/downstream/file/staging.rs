//! The names rosterd uses beside a destination, and what is left of an earlier life.
//!
//! `.rosterd-<16 hex: which destination><16 hex: random>.tmp` is a staged file, `….prev` the way back while a swap
//! is not settled, `….none` stands for "there was no file before". Readers of include folders skip such names.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::FileType;

use super::{Digest, STAGING_PREFIX, folder::Folder};

/// A staged file.
pub(super) const TEMP: &str = ".tmp";
/// The file before the swap.
pub(super) const PREVIOUS: &str = ".prev";
/// A staged symlink.
pub(super) const LINK: &str = ".link";
/// There was no file before the swap.
pub(super) const NONE_BEFORE: &str = ".none";

/// A new staging name for `destination`.
pub(super) fn name(destination: &OsStr, suffix: &str) -> io::Result<OsString> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{}{:016x}{suffix}", prefix(destination), u64::from_le_bytes(random)).into())
}

/// What an unsettled swap left beside the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WayBack {
    /// No swap is under way.
    None,
    /// The old file, under this name.
    Previous(OsString),
    /// There was none; this marker says so.
    NoneBefore(OsString),
}

impl WayBack {
    /// The name to remove once the swap is settled.
    pub(super) fn name(&self) -> Option<&OsStr> {
        match self {
            Self::None => None,
            Self::Previous(name) | Self::NoneBefore(name) => Some(name),
        }
    }
}

/// Finds the way back of an unsettled swap of this destination. Of several (two crashes) the first by name counts;
/// a link to the file that is in place now means that the rename never happened, and is removed.
pub(super) fn way_back(folder: &Folder, left: &[OsString]) -> io::Result<WayBack> {
    let mut found = WayBack::None;
    let current = folder.stat(folder.name())?.map(|stat| stat.st_ino);
    for name in own(folder, PREVIOUS, left)? {
        if folder.stat(&name)?.map(|stat| stat.st_ino) == current || found != WayBack::None {
            folder.unlink(&name)?;
        } else {
            found = WayBack::Previous(name);
        }
    }
    for name in own(folder, NONE_BEFORE, left)? {
        if current.is_none() || found != WayBack::None {
            folder.unlink(&name)?;
        } else {
            found = WayBack::NoneBefore(name);
        }
    }
    Ok(found)
}

/// Removes staged files of this destination; how many there were.
pub(super) fn clean(folder: &Folder, left: &[OsString]) -> io::Result<usize> {
    let stale = own(folder, TEMP, left)?;
    stale.iter().try_for_each(|name| folder.unlink(name))?;
    Ok(stale.len())
}

/// All staging names in the folder, whosever: one listing.
pub(super) fn left(folder: &Folder) -> io::Result<Vec<OsString>> {
    let mut names = folder.names()?;
    names.retain(|name| name.as_bytes().starts_with(STAGING_PREFIX.as_bytes()));
    Ok(names)
}

/// Of `left` our own staging files of this destination with that suffix: exact pattern, regular, own uid.
fn own(folder: &Folder, suffix: &str, left: &[OsString]) -> io::Result<Vec<OsString>> {
    let us = rustix::process::geteuid().as_raw();
    let prefix = prefix(folder.name());
    let mut names = Vec::new();
    for name in left {
        let matches =
            name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(suffix)).is_some_and(
                |random| random.len() == 16 && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
            );
        if !matches {
            continue;
        }
        // A previous file may belong to whoever made it (an adopted one); its name alone was given by us.
        let is_ours = folder.stat(name)?.is_some_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && (stat.st_uid == us || suffix == PREVIOUS)
        });
        if is_ours {
            names.push(name.clone());
        }
    }
    names.sort();
    Ok(names)
}

fn prefix(destination: &OsStr) -> String {
    let digest = Digest::of(destination.as_bytes()).to_string();
    format!("{STAGING_PREFIX}{}", digest.get(..16).unwrap_or_default())
}
