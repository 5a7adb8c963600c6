//! `via`: who writes a target's files, the daemon itself or the installer for destinations of root.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::reader::{Table, what};
use super::secret::Files;
use super::target::Type;
use crate::downstream::file::{FileSpec, Via};
use crate::downstream::installer::wire::SOCKET_DEFAULT;

/// What the installer's own config says of a target, so that it would mean nothing in the daemon's.
const INSTALLERS: [&str; 4] = ["mode", "check", "verify", "reload"];

/// `[installer]`: where it is found.
pub(super) fn installer(section: Option<Table<'_>>, files: &mut Files) {
    files.installer = SOCKET_DEFAULT.into();
    let Some(section) = section else { return };
    if let Some(value) = section.get("socket") {
        match value.text() {
            Some(text) if text.starts_with('/') && !text.contains('\0') => files.installer = text.into(),
            Some(_) => value.fail(what(format!("`{}` must be an absolute path", value.path()))),
            None => {}
        }
    }
    section.finish();
}

/// Reads `via` into `spec`, and warns of a folder that is not there or that the daemon's user cannot write to.
pub(super) fn via(section: &Table<'_>, files: &Files, spec: &mut FileSpec, kind: Type) {
    let via = section.get("via").and_then(|value| value.word(&[("direct", false), ("installer", true)]));
    if let (Some(true), Type::Set, Some(value)) = (via, kind, section.get("via")) {
        value.fail(
            what(format!(
                "`{}`: a set changes by a symlink of the daemon's own and knows no installer",
                value.path()
            ))
            .help("use a `tree`, or one `file` for each, with `via = \"installer\"`"),
        );
        return;
    }
    if via == Some(true) {
        for value in INSTALLERS.iter().filter_map(|key| section.get(key)) {
            value.fail_key(
                what(format!("`{}` does nothing with `via = \"installer\"`", value.path()))
                    .help("root decides that: write it into /etc/rosterd/installer.toml"),
            );
        }
        spec.via = Via::Installer { socket: files.installer.clone() };
        return;
    }
    let folder = match kind {
        Type::Tree => spec.path.as_path(),
        _ => spec.path.parent().unwrap_or(Path::new("/")),
    };
    if let (false, Some(value)) = (folder.exists(), section.get("path")) {
        let folder = folder.display();
        value.warn(
            what(format!("the folder `{folder}` is not there"))
                .help(format!("make it for the daemon's user: install -d -m 2750 -o rosterd {folder}")),
        );
    } else if let (Some((uid, gid)), Some(value)) = (files.daemon, section.get("path"))
        && uid != 0
        && let Some(owner) = not_writable(folder, uid, gid)
    {
        let (target, folder) = (&spec.target, folder.display());
        value.warn(
            what(format!(
                "the daemon's user {uid} may not write to `{folder}`, which belongs to user {owner}"
            ))
            .help(format!(
                "set `via = \"installer\"` and give `{target}` a section in /etc/rosterd/installer.toml"
            )),
        );
    }
}

/// Whose the folder is, if the daemon surely cannot write to it. Of another group it might be a member.
fn not_writable(folder: &Path, uid: u32, gid: u32) -> Option<u32> {
    let facts = std::fs::metadata(folder).ok()?;
    let mode = facts.mode();
    let may = if facts.uid() == uid {
        mode & 0o200 != 0
    } else {
        (mode & 0o020 != 0 && (facts.gid() == gid || facts.gid() != 0)) || mode & 0o002 != 0
    };
    (!may).then_some(facts.uid())
}

/// Who the daemon is: the owner of its state directory, else the user of this process.
pub(super) fn daemon(state: &Path) -> (u32, u32) {
    std::fs::metadata(state).map_or_else(
        |_| (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        |facts| (facts.uid(), facts.gid()),
    )
}

/// The socket unless the config names another.
pub(super) fn socket_default() -> PathBuf {
    SOCKET_DEFAULT.into()
}
