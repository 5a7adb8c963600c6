//! The order itself (DESIGN §6.1), one function per stage.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{FileType, Gid, Mode, Stat, Uid};
use sha2::{Digest as _, Sha256};

use crate::downstream::command::{self, Argv, Output};

use super::folder::{Folder, modified};
use super::staging::{self, WayBack};
use super::{
    Applied, ApplyError, Cause, Digest, Expect, FileFacts, FileSpec, OnDisk, Owner, ParseCheck, Removed,
    Step, Swapped, Via, installed, versions,
};

/// Puts `bytes` in place if they are not there already (DESIGN §6.1, up to and including `verify`).
///
/// After [`Applied::Swapped`] the caller records it ("swapped, reload pending"), then calls [`settle`], then runs
/// `reload`. A swap that was never settled (a crash in between) is found by the next `apply` of this destination,
/// which verifies what is in place and says `Swapped` again, so that no reload is lost.
///
/// # Errors
/// Whatever stopped it. The old file is then in place, but for [`Cause::NotRestored`].
pub fn apply(
    spec: &FileSpec,
    bytes: &[u8],
    expect: Expect,
    parse: ParseCheck<'_>,
) -> Result<Applied, ApplyError> {
    apply_beside(spec, bytes, expect, parse, &mut Leftovers::default())
}

/// What earlier lives left in the folders of a tree, read once for each folder: a folder of ten thousand files that is
/// listed for each of them is a hundred million names.
#[derive(Debug, Default)]
pub struct Leftovers(BTreeMap<PathBuf, Vec<OsString>>);

impl Leftovers {
    fn of(&mut self, folder: &Folder) -> io::Result<&[OsString]> {
        Ok(match self.0.entry(folder.full(OsStr::new(""))) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(staging::left(folder)?),
        })
    }
}

/// As [`apply`], for one of several files. Between the first of them and the last nothing else may write to `known`'s
/// folders under these names: one apply per destination at a time.
///
/// # Errors
/// As [`apply`].
pub fn apply_beside(
    spec: &FileSpec,
    bytes: &[u8],
    expect: Expect,
    parse: ParseCheck<'_>,
    known: &mut Leftovers,
) -> Result<Applied, ApplyError> {
    if let Via::Installer { socket } = &spec.via {
        return installed::apply(spec, socket, bytes, expect, parse);
    }
    let folder = Folder::open(spec)?;
    let run = Run { spec, folder: &folder };
    let left = known.of(&folder).map_err(|error| run.io(Step::Stage, error))?;
    staging::clean(&folder, left).map_err(|error| run.io(Step::Stage, error))?;
    let way_back = staging::way_back(&folder, left).map_err(|error| run.io(Step::Compare, error))?;
    let (found, stat) = run.look(folder.name())?;
    let before = run.before(&way_back, &found)?;
    run.must_be(expect, &way_back, &found, before)?;
    let digest = Digest::of(bytes);
    if run.is_as_wanted(&found, digest) {
        if way_back == WayBack::None {
            return Ok(Applied::Unchanged);
        }
        let verify = run.verify(&way_back, bytes)?;
        let way_back = way_back.name().map(OsStr::to_owned);
        return Ok(Applied::Swapped(Swapped { digest, replaced: before, check: None, verify, way_back }));
    }
    let staged = run.stage(bytes)?;
    let swapped = run.try_staged(&staged, bytes, parse).and_then(|check| {
        let is_fresh = way_back == WayBack::None;
        let way_back = run.leave_way_back(way_back, stat.as_ref())?;
        if let Err(error) = run.rename(&staged, expect, stat.as_ref()) {
            if let Some(name) = way_back.name().filter(|_| is_fresh) {
                let _found_next_time = folder.unlink(name);
            }
            return Err(error);
        }
        folder.sync().map_err(|error| run.io(Step::Swap, error))?;
        Ok((check, way_back))
    });
    let (check, way_back) = match swapped {
        Ok(done) => done,
        Err(error) => {
            // Whatever stopped the swap is what the caller must hear; a staged file that stays is cleaned next time.
            let _stays = folder.unlink(&staged);
            return Err(error);
        }
    };
    let verify = run.verify(&way_back, bytes)?;
    let way_back = way_back.name().map(OsStr::to_owned);
    Ok(Applied::Swapped(Swapped { digest, replaced: before, check, verify, way_back }))
}

/// Ends a swap that the caller has recorded: keeps the version under `label` (the `seq` it shows), and a stranger's
/// file that was replaced, then removes the way back.
///
/// # Errors
/// The version could not be kept (the swap is ended all the same), or the way back could not be removed.
pub fn settle(spec: &FileSpec, swapped: &Swapped, label: u64) -> Result<(), ApplyError> {
    if let Via::Installer { socket } = &spec.via {
        return installed::settle(spec, socket, swapped, label);
    }
    let folder = Folder::open(spec)?;
    let run = Run { spec, folder: &folder };
    // The name that `apply` gave it, if it is known: no listing for each file of a tree.
    let left = match &swapped.way_back {
        Some(name) => Ok(vec![name.clone()]),
        None => staging::left(&folder),
    };
    let way_back =
        left.and_then(|left| staging::way_back(&folder, &left)).map_err(|error| run.io(Step::Keep, error))?;
    let kept = run.keep(&way_back, swapped, label);
    if let Some(name) = way_back.name() {
        folder.unlink(name).and_then(|()| folder.sync()).map_err(|error| run.io(Step::Keep, error))?;
    }
    kept.map_err(|error| run.io(Step::Keep, error))
}

/// Takes the destination away, if what is there is what `expect` says; then no reload is owed by this function.
///
/// # Errors
/// What is there is something else, or no regular file; or the operating system says no.
pub fn remove(spec: &FileSpec, expect: Expect) -> Result<Removed, ApplyError> {
    if let Via::Installer { socket } = &spec.via {
        return installed::remove(spec, socket, expect);
    }
    let folder = Folder::open(spec)?;
    let run = Run { spec, folder: &folder };
    let (found, seen) = run.look(folder.name())?;
    let before = run.before(&WayBack::None, &found)?;
    if found == OnDisk::Absent {
        return Ok(Removed::Absent);
    }
    run.must_be(expect, &WayBack::None, &found, before)?;
    let now = folder.stat(folder.name()).map_err(|error| run.io(Step::Remove, error))?;
    let mark = |stat: &Stat| (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    if expect != Expect::Anything && now.as_ref().map(mark) != seen.as_ref().map(mark) {
        return Err(run.fail(Step::Remove, Cause::Changed));
    }
    folder.unlink(folder.name()).and_then(|()| folder.sync()).map_err(|error| run.io(Step::Remove, error))?;
    Ok(Removed::Gone)
}

/// As [`remove`], but the file stays under a staging name until [`drop_aside`] or [`revert`] decides.
///
/// # Errors
/// As [`remove`].
pub fn set_aside(spec: &FileSpec, expect: Expect) -> Result<Removed, ApplyError> {
    if let Via::Installer { socket } = &spec.via {
        return installed::set_aside(spec, socket, expect);
    }
    let folder = Folder::open(spec)?;
    let run = Run { spec, folder: &folder };
    let (found, _) = run.look(folder.name())?;
    let before = run.before(&WayBack::None, &found)?;
    if found == OnDisk::Absent {
        return Ok(Removed::Absent);
    }
    run.must_be(expect, &WayBack::None, &found, before)?;
    let failed = |error| run.io(Step::Remove, error);
    let name = staging::name(folder.name(), staging::PREVIOUS).map_err(failed)?;
    folder.rename(folder.name(), &name).and_then(|()| folder.sync()).map_err(failed)?;
    Ok(Removed::Gone)
}

/// Puts back what an unsettled `apply` or [`set_aside`] took away; nothing if there is no such.
///
/// # Errors
/// The operating system says no.
pub fn revert(spec: &FileSpec) -> Result<(), ApplyError> {
    if let Via::Installer { socket } = &spec.via {
        return installed::revert(spec, socket);
    }
    let folder = Folder::open(spec)?;
    let run = Run { spec, folder: &folder };
    let way_back = staging::left(&folder)
        .and_then(|left| staging::way_back(&folder, &left))
        .map_err(|error| run.io(Step::Restore, error))?;
    run.restore(&way_back).map_err(|error| run.io(Step::Restore, error))
}

/// Removes for good what [`set_aside`] took away.
///
/// # Errors
/// The operating system says no.
pub fn drop_aside(spec: &FileSpec) -> Result<(), ApplyError> {
    if let Via::Installer { socket } = &spec.via {
        return installed::drop_aside(spec, socket);
    }
    let folder = Folder::open(spec)?;
    let run = Run { spec, folder: &folder };
    let way_back = staging::left(&folder)
        .and_then(|left| staging::way_back(&folder, &left))
        .map_err(|error| run.io(Step::Remove, error))?;
    match way_back.name() {
        Some(name) => {
            folder.unlink(name).and_then(|()| folder.sync()).map_err(|error| run.io(Step::Remove, error))
        }
        None => Ok(()),
    }
}

/// Whether the folder of `spec` holds a way back of any swap: one listing, so that a tree asks for each of its files
/// only after a crash.
///
/// # Errors
/// The folder is one that `apply` would refuse, or cannot be read.
pub fn has_way_back(spec: &FileSpec) -> Result<bool, ApplyError> {
    // The installer ends what its own swaps left, each time it is asked for the file.
    if matches!(spec.via, Via::Installer { .. }) {
        return Ok(false);
    }
    let folder = Folder::open(spec)?;
    let names = folder.names().map_err(|error| Run { spec, folder: &folder }.io(Step::Compare, error))?;
    Ok(names.iter().filter_map(|name| name.to_str()).any(|name| {
        name.starts_with(super::STAGING_PREFIX)
            && (name.ends_with(staging::PREVIOUS) || name.ends_with(staging::NONE_BEFORE))
    }))
}

/// Makes the destination a symlink to its neighbour `to`, or leaves it if it is that already; true if it was changed.
/// Only a symlink is ever replaced.
///
/// # Errors
/// Something else stands there, or the operating system says no.
pub fn put_link(spec: &FileSpec, to: &str) -> Result<bool, ApplyError> {
    if let Via::Installer { socket } = &spec.via {
        return installed::put_link(spec, socket, to);
    }
    let folder = Folder::open(spec)?;
    let run = Run { spec, folder: &folder };
    let failed = |error| run.io(Step::Swap, error);
    if let Some(stat) = folder.stat(folder.name()).map_err(failed)? {
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            let why = "something stands where a symlink of ours should be; move it away";
            return Err(run.fail(Step::Compare, Cause::Refused(why.into())));
        }
        if folder.read_link(folder.name()).map_err(failed)? == to {
            return Ok(false);
        }
    }
    let staged = staging::name(folder.name(), staging::LINK).map_err(failed)?;
    folder.symlink(OsStr::new(to), &staged).map_err(failed)?;
    let renamed = folder.rename(&staged, folder.name()).and_then(|()| folder.sync());
    renamed.map_err(|error| {
        let _stays = folder.unlink(&staged);
        failed(error)
    })?;
    Ok(true)
}

/// Where the symlink at the destination points to; `None` if there is none.
///
/// # Errors
/// The folder is one that `apply` would refuse, or cannot be read.
pub fn read_link(spec: &FileSpec) -> Result<Option<OsString>, ApplyError> {
    if let Via::Installer { socket } = &spec.via {
        return installed::read_link(spec, socket);
    }
    let folder = Folder::open(spec)?;
    let run = Run { spec, folder: &folder };
    let failed = |error| run.io(Step::Compare, error);
    match folder.stat(folder.name()).map_err(failed)? {
        Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
            folder.read_link(folder.name()).map(Some).map_err(failed)
        }
        _ => Ok(None),
    }
}

/// Takes away a symlink of ours; done if there is none.
///
/// # Errors
/// Something else stands there, or the operating system says no.
pub fn remove_link(spec: &FileSpec) -> Result<Removed, ApplyError> {
    if let Via::Installer { socket } = &spec.via {
        return installed::remove_link(spec, socket);
    }
    if read_link(spec)?.is_none() {
        return Ok(Removed::Absent);
    }
    let folder = Folder::open(spec)?;
    let run = Run { spec, folder: &folder };
    let removed = folder.unlink(folder.name()).and_then(|()| folder.sync());
    removed.map_err(|error| run.io(Step::Remove, error))?;
    Ok(Removed::Gone)
}

/// Runs the `verify` of a spec on what is in place, `{file}` being its path.
///
/// # Errors
/// It said no, or could not be started.
pub fn verify(spec: &FileSpec) -> Result<Option<Output>, ApplyError> {
    let failed = |cause| ApplyError { path: spec.path.clone(), step: Step::Verify, cause };
    let Some(argv) = &spec.verify else { return Ok(None) };
    let output =
        command::run(argv, Some(&spec.path), &spec.limits).map_err(|error| failed(Cause::Start(error)))?;
    if output.is_success() { Ok(Some(output)) } else { Err(failed(Cause::Command(Box::new(output)))) }
}

/// What is at the destination now, for plan, drift and the rule on strangers' files.
///
/// # Errors
/// The folder is one that `apply` would refuse, or cannot be read.
pub fn inspect(spec: &FileSpec) -> Result<OnDisk, ApplyError> {
    if let Via::Installer { socket } = &spec.via {
        return installed::inspect(spec, socket);
    }
    let folder = Folder::open(spec)?;
    Ok(Run { spec, folder: &folder }.look(folder.name())?.0)
}

/// Removes staged files that an earlier life left beside this destination (exact name pattern, own uid); how many.
/// Call at start. An unsettled swap's way back stays for [`apply`].
pub fn clean_stale(spec: &FileSpec) -> Result<usize, ApplyError> {
    if let Via::Installer { .. } = spec.via {
        // It cleans up itself, whenever it writes.
        return Ok(0);
    }
    let folder = Folder::open(spec)?;
    staging::left(&folder)
        .and_then(|left| staging::clean(&folder, &left))
        .map_err(|error| Run { spec, folder: &folder }.io(Step::Stage, error))
}

/// Makes the reader read again: by the target's own `argv`, or by the installer's, which knows by itself whether there
/// is one and whether it is owed. `None` if there was nothing to run.
///
/// # Errors
/// The command could not be started; one that ran and failed is an [`Output`].
pub fn reload(spec: &FileSpec, argv: Option<&Argv>) -> Result<Option<Output>, ApplyError> {
    if let Via::Installer { socket } = &spec.via {
        return installed::reload(spec, socket);
    }
    let Some(argv) = argv else { return Ok(None) };
    command::run(argv, Some(&spec.path), &spec.limits).map(Some).map_err(|error| ApplyError {
        path: spec.path.clone(),
        step: Step::Reload,
        cause: Cause::Start(error),
    })
}

/// Keeps what is at the destination now as a stranger's version under `label`, before it is removed.
///
/// # Errors
/// It cannot be read or kept.
pub fn keep_found(spec: &FileSpec, label: u64) -> Result<(), ApplyError> {
    let folder = Folder::open(spec)?;
    let kept =
        read_whole(&folder, folder.name()).and_then(|bytes| versions::keep(spec, label, false, &bytes));
    kept.map_err(|error| Run { spec, folder: &folder }.io(Step::Keep, error))
}

/// One destination in its open folder.
struct Run<'a> {
    spec: &'a FileSpec,
    folder: &'a Folder,
}

impl Run<'_> {
    fn fail(&self, step: Step, cause: Cause) -> ApplyError {
        ApplyError { path: self.spec.path.clone(), step, cause }
    }

    fn io(&self, step: Step, error: io::Error) -> ApplyError {
        self.fail(step, Cause::Io(error))
    }

    /// What stands under a name in the folder.
    fn look(&self, name: &OsStr) -> Result<(OnDisk, Option<Stat>), ApplyError> {
        let failed = |error| self.io(Step::Compare, error);
        let Some(stat) = self.folder.stat(name).map_err(failed)? else { return Ok((OnDisk::Absent, None)) };
        if let Some(word) = not_a_file(&stat) {
            return Ok((OnDisk::Other(word), Some(stat)));
        }
        let digest = match self.folder.read(name) {
            Ok(mut file) => Some(digest_of(&mut file).map_err(failed)?),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            Err(error) => return Err(failed(error)),
        };
        let facts = FileFacts {
            digest,
            bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: modified(&stat),
        };
        if !self.folder.is_same_device(&stat) {
            let why = "it is mounted from another device and cannot be replaced; mount its folder instead";
            return Err(self.fail(Step::Compare, Cause::Refused(why.into())));
        }
        Ok((OnDisk::File(facts), Some(stat)))
    }

    /// The bytes that were there before the swap that is about to be made or still unsettled.
    fn before(&self, way_back: &WayBack, found: &OnDisk) -> Result<Option<Digest>, ApplyError> {
        match (way_back, found) {
            (_, OnDisk::Other(word)) => {
                let why = format!("it is a {word}, not a regular file; remove it or name the real path");
                Err(self.fail(Step::Compare, Cause::Refused(why)))
            }
            (WayBack::Previous(name), _) => match self.look(name)?.0 {
                OnDisk::File(facts) => Ok(facts.digest),
                OnDisk::Absent | OnDisk::Other(_) => Ok(None),
            },
            (WayBack::NoneBefore(_), _) | (WayBack::None, OnDisk::Absent) => Ok(None),
            (WayBack::None, OnDisk::File(facts)) => Ok(facts.digest),
        }
    }

    fn must_be(
        &self,
        expect: Expect,
        way_back: &WayBack,
        found: &OnDisk,
        before: Option<Digest>,
    ) -> Result<(), ApplyError> {
        let fits = match expect {
            Expect::Anything => true,
            Expect::Absent => match way_back {
                WayBack::None => *found == OnDisk::Absent,
                WayBack::NoneBefore(_) => true,
                WayBack::Previous(_) => false,
            },
            // The plan saw the bytes before an unsettled swap, or those after it.
            Expect::Content(digest) => {
                before == Some(digest) || matches!(found, OnDisk::File(facts) if facts.digest == Some(digest))
            }
        };
        if fits { Ok(()) } else { Err(self.fail(Step::Compare, Cause::Changed)) }
    }

    fn is_as_wanted(&self, found: &OnDisk, digest: Digest) -> bool {
        let us = rustix::process::geteuid().as_raw();
        let is_owned = |facts: &FileFacts| match self.spec.owner {
            Some(owner) => owner == Owner { uid: facts.uid, gid: facts.gid },
            None => facts.uid == us,
        };
        matches!(found, OnDisk::File(facts)
            if facts.digest == Some(digest) && facts.mode == self.spec.mode & 0o777 && is_owned(facts))
    }

    /// Writes the new file under a staging name: whole, with its mode, on disk.
    fn stage(&self, bytes: &[u8]) -> Result<OsString, ApplyError> {
        let failed = |error| self.io(Step::Stage, error);
        let name = staging::name(self.folder.name(), staging::TEMP).map_err(failed)?;
        let file = self.folder.create(&name).map_err(failed)?;
        match self.fill(&file, bytes) {
            Ok(()) => Ok(name),
            Err(error) => {
                let _stays = self.folder.unlink(&name);
                Err(failed(error))
            }
        }
    }

    fn fill(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)?;
        if let Some(Owner { uid, gid }) = self.spec.owner {
            rustix::fs::fchown(file.as_fd(), Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(self.spec.mode & 0o777))?;
        // Before the rename: otherwise a power cut could leave the new name with no content.
        file.sync_all()
    }

    /// Both checks on the staged file.
    fn try_staged(
        &self,
        staged: &OsStr,
        bytes: &[u8],
        parse: ParseCheck<'_>,
    ) -> Result<Option<Output>, ApplyError> {
        if let Err(why) = parse(bytes) {
            self.keep_rejected(bytes);
            return Err(self.fail(Step::Parse, Cause::Parse(why)));
        }
        let output = self.command(Step::Check, self.spec.check.as_ref(), staged)?;
        if output.as_ref().is_some_and(|output| !output.is_success()) {
            self.keep_rejected(bytes);
        }
        self.succeeded(Step::Check, output)
    }

    fn command(&self, step: Step, argv: Option<&Argv>, name: &OsStr) -> Result<Option<Output>, ApplyError> {
        let Some(argv) = argv else { return Ok(None) };
        let output = command::run(argv, Some(&self.folder.full(name)), &self.spec.limits);
        output.map(Some).map_err(|error| self.fail(step, Cause::Start(error)))
    }

    fn succeeded(&self, step: Step, output: Option<Output>) -> Result<Option<Output>, ApplyError> {
        match output {
            Some(output) if !output.is_success() => Err(self.fail(step, Cause::Command(Box::new(output)))),
            other => Ok(other),
        }
    }

    /// Gives the old file a second name, or notes that there was none. What an unsettled swap left stays the way
    /// back: what is in place now was never verified.
    fn leave_way_back(&self, left: WayBack, current: Option<&Stat>) -> Result<WayBack, ApplyError> {
        let failed = |error| self.io(Step::Link, error);
        if left != WayBack::None {
            return Ok(left);
        }
        if current.is_none() {
            let name = staging::name(self.folder.name(), staging::NONE_BEFORE).map_err(failed)?;
            self.folder.create(&name).map_err(failed)?;
            return Ok(WayBack::NoneBefore(name));
        }
        let name = staging::name(self.folder.name(), staging::PREVIOUS).map_err(failed)?;
        match self.folder.link(self.folder.name(), &name) {
            Ok(()) => {}
            // Linux lets nobody link a stranger's file (fs.protected_hardlinks); some file systems link none.
            Err(_) => self.copy_old(&name).map_err(failed)?,
        }
        Ok(WayBack::Previous(name))
    }

    fn copy_old(&self, to: &OsStr) -> io::Result<()> {
        let mut from = self.folder.read(self.folder.name())?;
        let mode = from.metadata()?;
        let mut copy = self.folder.create(to)?;
        io::copy(&mut from, &mut copy)?;
        copy.set_permissions(mode.permissions())?;
        copy.sync_all()
    }

    /// The rename. If the plan was for certain bytes, looks once more that nobody has been here since.
    fn rename(&self, staged: &OsStr, expect: Expect, seen: Option<&Stat>) -> Result<(), ApplyError> {
        let failed = |error| self.io(Step::Swap, error);
        let now = self.folder.stat(self.folder.name()).map_err(failed)?;
        let mark = |stat: &Stat| (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        if expect != Expect::Anything && now.as_ref().map(mark) != seen.map(mark) {
            return Err(self.fail(Step::Swap, Cause::Changed));
        }
        self.folder.rename(staged, self.folder.name()).map_err(failed)
    }

    /// Runs `verify` on the file in place; if it says no, the old one is put back.
    fn verify(&self, way_back: &WayBack, bytes: &[u8]) -> Result<Option<Output>, ApplyError> {
        let output = self.command(Step::Verify, self.spec.verify.as_ref(), self.folder.name());
        let refused = match output {
            Ok(None) => return Ok(None),
            Ok(Some(output)) if output.is_success() => return Ok(Some(output)),
            Ok(Some(output)) => self.fail(Step::Verify, Cause::Command(Box::new(output))),
            Err(error) => error,
        };
        self.keep_rejected(bytes);
        match (self.restore(way_back), refused.cause) {
            (Ok(()), cause) => Err(self.fail(Step::Verify, cause)),
            (Err(error), Cause::Command(output)) => {
                Err(self.fail(Step::Restore, Cause::NotRestored(output, error)))
            }
            (Err(error), _) => Err(self.io(Step::Restore, error)),
        }
    }

    fn restore(&self, way_back: &WayBack) -> io::Result<()> {
        match way_back {
            WayBack::None => {}
            WayBack::Previous(name) => self.folder.rename(name, self.folder.name())?,
            WayBack::NoneBefore(name) => {
                self.folder.unlink(self.folder.name())?;
                self.folder.unlink(name)?;
            }
        }
        self.folder.sync()
    }

    /// For the operator to look at. That it cannot be kept must not hide why it was refused.
    fn keep_rejected(&self, bytes: &[u8]) {
        let _not_kept = versions::reject(self.spec, bytes);
    }

    fn keep(&self, way_back: &WayBack, swapped: &Swapped, label: u64) -> io::Result<()> {
        if let (WayBack::Previous(name), Some(replaced)) = (way_back, swapped.replaced)
            && !versions::knows(self.spec, replaced)?
        {
            versions::keep(self.spec, label, false, &read_whole(self.folder, name)?)?;
        }
        let bytes = read_whole(self.folder, self.folder.name())?;
        // Somebody may have edited it since; that is drift, not a version of ours.
        if Digest::of(&bytes) == swapped.digest {
            versions::keep(self.spec, label, true, &bytes)
        } else {
            Ok(())
        }
    }
}

fn read_whole(folder: &Folder, name: &OsStr) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    folder.read(name)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn digest_of(file: &mut File) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest(hash.finalize().into())),
            Ok(read) => hash.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The word for whatever is no regular file.
fn not_a_file(stat: &Stat) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Symlink => Some("symlink"),
        FileType::Directory => Some("folder"),
        FileType::Fifo => Some("FIFO"),
        FileType::Socket => Some("socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("device"),
        FileType::Unknown => Some("file of unknown kind"),
    }
}
