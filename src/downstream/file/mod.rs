//! One file put in place in the only order (DESIGN §6.1): compare, stage, check, keep the old one, rename, verify.
//!
//! INVARIANTS: a reader sees the old file or the new one, whole. Nothing but rosterd's own staging names appears
//! beside the destination, and these only while a swap is under way. A destination that is a symlink, a special
//! file or a mount point of its own is refused, never followed. Owners are set only where [`FileSpec::owner`] says so, which is the
//! installer's doing. Blocking: run it on a
//! blocking thread; one apply per destination at a time.

mod apply;
mod content;
mod error;
mod folder;
pub mod generation;
mod installed;
mod staging;
mod versions;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::downstream::command::{Argv, Limits, Output};
use crate::model::TargetName;

pub use apply::{
    Leftovers, apply, apply_beside, clean_stale, drop_aside, has_way_back, inspect, keep_found, put_link,
    read_link, reload, remove, remove_link, revert, set_aside, settle, verify,
};
pub use content::{beginning, content, kept_content, make_private_folder};
pub use error::{ApplyError, Cause, Kind, Step};
pub use versions::{Kept, kept};

/// Parses the staged bytes with the format's own check; the message says what is wrong where.
pub type ParseCheck<'a> = &'a dyn Fn(&[u8]) -> Result<(), String>;

/// How every name begins that rosterd uses beside a destination; a watcher for drift ignores these.
pub const STAGING_PREFIX: &str = ".rosterd-";

/// What steers one file destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// The target it belongs to: what an installer knows it by.
    pub target: TargetName,
    /// Its name inside a tree; `None` for a single file.
    pub member: Option<String>,
    /// Who writes it.
    pub via: Via,
    /// Absolute path of the destination; no `.` or `..`, no symlink in it.
    pub path: PathBuf,
    /// Permission bits, of which the lower nine count. Default 0640.
    pub mode: u32,
    /// Who is to own it; `None`: whoever writes it, in the folder's group where that is set-group-id. Default `None`.
    pub owner: Option<Owner>,
    /// Runs on the staged file before the swap, `{file}` being its path. Non-zero: the old file stays.
    pub check: Option<Argv>,
    /// Runs after the swap, e.g. `nginx -t`. Non-zero: the old file is put back.
    pub verify: Option<Argv>,
    /// Time limit of each command.
    pub limits: Limits,
    /// Folder of this target under the state directory for rejected files and kept versions.
    pub state: PathBuf,
    /// How many earlier versions are kept. Default 5, 0 to 1000.
    pub keep: usize,
    /// Accepts a folder that its group may write to, whatever group that is (the reader group). A flag and no number,
    /// because in a sandbox with `PrivateUsers=` every foreign group shows as the same one. Default false.
    pub group_may_write: bool,
}

/// Who owns a file; only root can give files away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Who puts a file in place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Via {
    /// This process.
    #[default]
    Direct,
    /// The root-owned installer, which knows path, owner, mode and commands by target and member.
    Installer {
        /// Its socket.
        socket: PathBuf,
    },
}

/// SHA-256 of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// What is at the destination now, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnDisk {
    /// Nothing is there.
    Absent,
    /// A regular file.
    File(FileFacts),
    /// A symlink, folder, device, FIFO or socket: refused, with the word for it.
    Other(&'static str),
}

/// A regular file at the destination; owner and time are the evidence shown with a drift.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// Digest of the bytes; `None` if they may not be read.
    pub digest: Option<Digest>,
    /// Length in bytes.
    pub bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub modified: SystemTime,
}

/// What must be at the destination for the swap to go ahead; guards against an edit since the plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// Whatever is there is replaced (repair, `--adopt`).
    #[default]
    Anything,
    /// Nothing may be there.
    Absent,
    /// Exactly these bytes.
    Content(Digest),
}

/// What `apply` did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and taken apart at once")]
#[must_use = "a swap is finished by `settle`, after the caller has recorded it"]
pub enum Applied {
    /// Bytes, mode and owner were right already: nothing was touched and nothing needs a reload.
    Unchanged,
    /// The new file is in place and verified. Record "swapped, reload pending", then call `settle`.
    Swapped(Swapped),
}

/// What `remove` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// Nothing was there.
    Absent,
    /// It is gone, and that is durable.
    Gone,
}

/// A file that has just been put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swapped {
    /// Digest of the new bytes.
    pub digest: Digest,
    /// Digest of the bytes that were there before, if a readable file was.
    pub replaced: Option<Digest>,
    /// What `check` said.
    pub check: Option<Output>,
    /// What `verify` said.
    pub verify: Option<Output>,
    /// Where in the folder the way back is, if this process left it.
    pub way_back: Option<OsString>,
}

impl FileSpec {
    /// The file `name` of a tree whose folder is this spec's path. Its way back is the tree's to keep, so its own
    /// `verify` and versions are off.
    #[must_use]
    pub fn member(&self, name: &str) -> Self {
        Self {
            member: Some(name.to_owned()),
            path: self.path.join(name),
            verify: None,
            keep: 0,
            ..self.clone()
        }
    }

    /// A destination with every default.
    pub fn new(target: TargetName, path: PathBuf, state: PathBuf) -> Self {
        Self {
            target,
            member: None,
            via: Via::Direct,
            path,
            mode: 0o640,
            owner: None,
            check: None,
            verify: None,
            limits: Limits::default(),
            state,
            keep: 5,
            group_may_write: false,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a SHA-256 is 64 lower-case hexadecimal digits";
        let mut digest = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(WRONG);
        }
        for (n, byte) in digest.iter_mut().enumerate() {
            let pair = text.get(2 * n..2 * n + 2).ok_or(WRONG)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| WRONG)?;
        }
        Ok(Self(digest))
    }
}

impl Digest {
    /// The digest that `text` spells in hex, as [`fmt::Display`] writes it.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let is_whole = text.len() == 64 && text.is_ascii();
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())?;
        }
        is_whole.then_some(Self(digest))
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}
