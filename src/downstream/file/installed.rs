//! The same acts through the installer (DESIGN §6.9): each is one request, and what comes back is what the act itself
//! would have said. The installer alone knows owner, mode and commands; it also says where it writes, so that two
//! configs that disagree about the path are found out.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::downstream::command::{Output, Status};
use crate::downstream::installer::client::Installer;
use crate::downstream::installer::wire::{self, Answer, Ask, Class, Ended, Found, Ran};

use super::error::Installed;
use super::{
    Applied, ApplyError, Cause, Digest, Expect, FileFacts, FileSpec, Kind, OnDisk, ParseCheck, Removed, Step,
    Swapped, versions,
};

pub(super) fn inspect(spec: &FileSpec, socket: &Path) -> Result<OnDisk, ApplyError> {
    match ask(spec, socket, Ask::Inspect, b"")? {
        Answer::Found { path, what } => {
            is_agreed(spec, &path)?;
            Ok(on_disk(spec, what))
        }
        other => Err(unexpected(spec, &other)),
    }
}

pub(super) fn apply(
    spec: &FileSpec,
    socket: &Path,
    bytes: &[u8],
    expect: Expect,
    parse: ParseCheck<'_>,
) -> Result<Applied, ApplyError> {
    if let Err(why) = parse(bytes) {
        let _not_kept = versions::reject(spec, bytes);
        return Err(ApplyError { path: spec.path.clone(), step: Step::Parse, cause: Cause::Parse(why) });
    }
    let digest = Digest::of(bytes);
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let asked = Ask::Apply { expect: expected(expect), length, sha256: digest.to_string() };
    match ask(spec, socket, asked, bytes) {
        Ok(Answer::Unchanged { path }) => is_agreed(spec, &path).map(|()| Applied::Unchanged),
        Ok(Answer::Swapped { path, replaced, check, verify }) => {
            is_agreed(spec, &path)?;
            versions::stash(spec, bytes).map_err(|error| failed(spec, error))?;
            let replaced = replaced.and_then(|hex| hex.parse().ok());
            let (check, verify) = (check.map(output), verify.map(output));
            Ok(Applied::Swapped(Swapped { digest, replaced, check, verify, way_back: None }))
        }
        Ok(other) => Err(unexpected(spec, &other)),
        Err(error) => {
            if error.kind() == Kind::Refused {
                let _not_kept = versions::reject(spec, bytes);
            }
            Err(error)
        }
    }
}

pub(super) fn settle(
    spec: &FileSpec,
    socket: &Path,
    swapped: &Swapped,
    label: u64,
) -> Result<(), ApplyError> {
    let replaced = swapped.replaced.map(|digest| digest.to_string());
    let asked = Ask::Settle { sha256: swapped.digest.to_string(), replaced, label };
    let settled = settled(spec, &ask(spec, socket, asked, b"")?);
    let bytes = versions::take_stash(spec, swapped.digest).map_err(|error| failed(spec, error))?;
    if let Some(bytes) = bytes {
        versions::keep(spec, label, true, &bytes).map_err(|error| failed(spec, error))?;
    }
    settled
}

pub(super) fn remove(spec: &FileSpec, socket: &Path, expect: Expect) -> Result<Removed, ApplyError> {
    removed(spec, ask(spec, socket, Ask::Remove { expect: expected(expect) }, b"")?)
}

pub(super) fn set_aside(spec: &FileSpec, socket: &Path, expect: Expect) -> Result<Removed, ApplyError> {
    removed(spec, ask(spec, socket, Ask::SetAside { expect: expected(expect) }, b"")?)
}

pub(super) fn revert(spec: &FileSpec, socket: &Path) -> Result<(), ApplyError> {
    settled(spec, &ask(spec, socket, Ask::Revert, b"")?)
}

pub(super) fn drop_aside(spec: &FileSpec, socket: &Path) -> Result<(), ApplyError> {
    settled(spec, &ask(spec, socket, Ask::DropAside, b"")?)
}

pub(super) fn put_link(spec: &FileSpec, socket: &Path, to: &str) -> Result<bool, ApplyError> {
    match ask(spec, socket, Ask::PutLink { to: to.to_owned() }, b"")? {
        Answer::Linked { path, is_new } => is_agreed(spec, &path).map(|()| is_new),
        other => Err(unexpected(spec, &other)),
    }
}

pub(super) fn read_link(spec: &FileSpec, socket: &Path) -> Result<Option<OsString>, ApplyError> {
    match ask(spec, socket, Ask::ReadLink, b"")? {
        Answer::Link { to } => Ok(to.map(OsString::from)),
        other => Err(unexpected(spec, &other)),
    }
}

pub(super) fn remove_link(spec: &FileSpec, socket: &Path) -> Result<Removed, ApplyError> {
    removed(spec, ask(spec, socket, Ask::RemoveLink, b"")?)
}

fn removed(spec: &FileSpec, answer: Answer) -> Result<Removed, ApplyError> {
    match answer {
        Answer::Removed { path, .. } => is_agreed(spec, &path).map(|()| Removed::Gone),
        Answer::Unchanged { path } => is_agreed(spec, &path).map(|()| Removed::Absent),
        other => Err(unexpected(spec, &other)),
    }
}

fn settled(spec: &FileSpec, answer: &Answer) -> Result<(), ApplyError> {
    match answer {
        Answer::Settled => Ok(()),
        other => Err(unexpected(spec, other)),
    }
}

pub(super) fn reload(spec: &FileSpec, socket: &Path) -> Result<Option<Output>, ApplyError> {
    match ask(spec, socket, Ask::Reload, b"")? {
        Answer::Reloaded { ran } => Ok(ran.map(output)),
        other => Err(unexpected(spec, &other)),
    }
}

fn ask(spec: &FileSpec, socket: &Path, asked: Ask, bytes: &[u8]) -> Result<Answer, ApplyError> {
    let installer = Installer { socket: socket.to_owned() };
    match installer.call(&spec.target, spec.member.as_deref(), asked, bytes) {
        Ok(Answer::Refused(refusal)) if refusal.class == Class::Changed => {
            Err(ApplyError { path: spec.path.clone(), step: Step::Swap, cause: Cause::Changed })
        }
        Ok(Answer::Refused(refusal)) => {
            let kind = match refusal.class {
                Class::Transient | Class::Changed => Kind::Transient,
                Class::Bytes => Kind::Refused,
                Class::Operator => Kind::NeedsOperator,
            };
            Err(by_installer(spec, kind, refusal.message, refusal.ran.map(output)))
        }
        Ok(answer) => Ok(answer),
        Err(error) => {
            let kind = if error.is_transient() { Kind::Transient } else { Kind::NeedsOperator };
            Err(by_installer(spec, kind, error.to_string(), None))
        }
    }
}

fn by_installer(spec: &FileSpec, kind: Kind, message: String, output: Option<Output>) -> ApplyError {
    let cause = Cause::Installer(Box::new(Installed { kind, message, output }));
    ApplyError { path: spec.path.clone(), step: Step::Installer, cause }
}

fn failed(spec: &FileSpec, error: io::Error) -> ApplyError {
    ApplyError { path: spec.path.clone(), step: Step::Keep, cause: Cause::Io(error) }
}

fn unexpected(spec: &FileSpec, answer: &Answer) -> ApplyError {
    let message = format!("it answered something else than was asked: {answer:?}; are both of one version?");
    by_installer(spec, Kind::NeedsOperator, message, None)
}

/// The destination of the daemon's config must be that of root's, or somebody watches the wrong file.
fn is_agreed(spec: &FileSpec, theirs: &str) -> Result<(), ApplyError> {
    if spec.path.as_os_str() == theirs {
        return Ok(());
    }
    let message =
        format!("its own config says `{theirs}`; make the `path` of target `{}` the same", spec.target);
    Err(by_installer(spec, Kind::NeedsOperator, message, None))
}

fn expected(expect: Expect) -> wire::Expect {
    match expect {
        Expect::Anything => wire::Expect::Anything,
        Expect::Absent => wire::Expect::Absent,
        Expect::Content(digest) => wire::Expect::Content(digest.to_string()),
    }
}

fn on_disk(spec: &FileSpec, found: Found) -> OnDisk {
    match found {
        Found::Absent => OnDisk::Absent,
        Found::File { sha256, bytes, mode, is_as_set, uid, gid, modified_us } => OnDisk::File(FileFacts {
            digest: sha256.and_then(|hex| hex.parse().ok()),
            bytes,
            // The daemon's own idea of the mode counts for nothing; only that it is as root wants it.
            mode: if is_as_set { spec.mode } else { mode },
            uid,
            gid,
            modified: SystemTime::UNIX_EPOCH + Duration::from_micros(modified_us),
        }),
        Found::Other(word) => {
            let known = ["symlink", "folder", "FIFO", "socket", "device"];
            OnDisk::Other(known.into_iter().find(|one| *one == word).unwrap_or("file of unknown kind"))
        }
    }
}

fn output(ran: Ran) -> Output {
    Output {
        status: match ran.ended {
            Ended::Exited(code) => Status::Exited(code),
            Ended::Signalled(signal) => Status::Signalled(signal),
            Ended::TimedOut => Status::TimedOut,
        },
        output: ran.output.into_bytes(),
        is_cut: ran.is_cut,
        took: Duration::from_millis(ran.took_ms),
    }
}
