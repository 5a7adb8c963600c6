//! What `/etc/rosterd/installer.toml` says; `config` fills it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::bounds::Bounds;
use super::member::Names;
use crate::downstream::command::Argv;
use crate::downstream::format::{Format, Options};
use crate::model::TargetName;

/// Everything that the installer obeys.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose requests are answered. Key `user`, a local account's name or a number, default `rosterd`.
    pub user: Account,
    /// Where to listen if systemd passes no socket. Key `socket`, default none.
    pub socket: Option<PathBuf>,
    /// Where the record of owned files and kept versions lie; root's own. Key `state`, default
    /// `/var/lib/rosterd-install`.
    pub state: PathBuf,
    /// How long to wait for the next connection before ending. Key `idle`, default 30 s, 1 s to 1 h.
    pub idle: Duration,
    /// The targets by name.
    pub targets: BTreeMap<TargetName, Target>,
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// As written in the config.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its group, which may use the socket.
    pub gid: u32,
}

/// One destination.
#[derive(Debug, Clone)]
pub struct Target {
    /// As the daemon calls it. Key `name`.
    pub name: TargetName,
    /// Keys `type`, `path` and `members`.
    pub place: Place,
    /// Who owns the files. Key `owner`, default root.
    pub uid: u32,
    /// Their group. Key `group`, default root.
    pub gid: u32,
    /// Permission bits. Key `mode`, default 0644.
    pub mode: u32,
    /// Whose check the bytes must pass. Key `format`.
    pub format: &'static Format,
    /// With what options, as in the daemon's config. Key `options`.
    pub options: Options,
    /// What may stand in the file. Section `bounds`.
    pub bounds: Bounds,
    /// Longest file, in bytes. Key `max_bytes`, default 1 MiB, 1 B to 64 MiB.
    pub bytes_max: u64,
    /// Runs on the staged file. Key `check`, default none.
    pub check: Option<Argv>,
    /// Runs after the swap; non-zero puts the old file back. Key `verify`, default none.
    pub verify: Option<Argv>,
    /// Makes the reader read again. Key `reload`, default none.
    pub reload: Option<Argv>,
    /// Time limit of each command. Key `timeout`, default 30 s, 1 s to 1 min.
    pub timeout: Duration,
    /// How many earlier versions are kept. Key `keep`, default 5, 0 to 1000.
    pub keep: usize,
    /// A file at the destination that the installer did not write may be replaced. Key `adopt`, default false.
    pub adopt: bool,
    /// Files may be removed. Key `remove`, default true for trees and false for files.
    pub remove: bool,
}

/// Where a target's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// One file.
    File(PathBuf),
    /// The files of a folder that the daemon may name.
    Tree {
        /// The folder.
        folder: PathBuf,
        /// Which names it may use. Keys `members` and `deny`.
        members: Names,
    },
}

impl Place {
    /// The file, or the folder of the tree.
    pub fn path(&self) -> &std::path::Path {
        match self {
            Self::File(path) => path,
            Self::Tree { folder, .. } => folder,
        }
    }
}
