//! The destination's folder: opened once, component by component, and judged by who may write to it. Everything
//! else in this module is relative to that one open folder.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::{ApplyError, Cause, FileSpec, STAGING_PREFIX, Step};

/// An open folder that only root, the daemon and a trusted group can write to, and the destination's name in it.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    device: u64,
    path: PathBuf,
    name: OsString,
}

impl Folder {
    /// Opens and judges the destination's folder.
    pub(super) fn open(spec: &FileSpec) -> Result<Self, ApplyError> {
        let fail = |cause| ApplyError { path: spec.path.clone(), step: Step::Folder, cause };
        let (parts, name) = split(&spec.path).map_err(|why| fail(Cause::Refused(why)))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut path = PathBuf::from("/");
        let mut fd =
            rustix::fs::open("/", flags, Mode::empty()).map_err(|error| fail(Cause::Io(error.into())))?;
        let mut judged = judge(&path, &fd, parts.is_empty(), spec).map_err(&fail)?;
        for (n, part) in parts.iter().enumerate() {
            path.push(part);
            fd = open_folder(&fd, part, &path).map_err(&fail)?;
            judged = judge(&path, &fd, n + 1 == parts.len(), spec).map_err(&fail)?;
        }
        // O_PATH has served for walking without read permission; listing and fsync want a readable folder.
        let readable = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&fd, ".", readable, Mode::empty())
            .map_err(|error| fail(Cause::Io(error.into())))?;
        Ok(Self { fd, device: judged.st_dev, path, name })
    }

    /// The destination's name.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// The full path of a name in this folder, for commands.
    pub(super) fn full(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// What `name` is, symlinks not followed.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The regular file `name`, open for reading; never waits on a FIFO that was put there in between.
    pub(super) fn read(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(File::from(open_beneath(&self.fd, name, flags, Mode::empty())?))
    }

    /// A new file `name` that nobody else can read yet.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        Ok(File::from(open_beneath(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Where the symlink `name` points to.
    pub(super) fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        let to = rustix::fs::readlinkat(&self.fd, name, Vec::new())?;
        Ok(OsStr::from_bytes(to.to_bytes()).to_owned())
    }

    /// A new symlink `name`.
    pub(super) fn symlink(&self, to: &OsStr, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(to, &self.fd, name)?)
    }

    /// A second name for a file.
    pub(super) fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::linkat(&self.fd, from, &self.fd, to, AtFlags::empty())?)
    }

    /// `from` takes the place of `to`.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Removes a file; done if it is already gone.
    pub(super) fn unlink(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the names in the folder durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// The names in this folder.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            names.push(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned());
        }
        Ok(names)
    }

    /// True if the file lies on the folder's own file system; a single bind-mounted file does not.
    pub(super) fn is_same_device(&self, stat: &Stat) -> bool {
        stat.st_dev == self.device
    }
}

/// The folders above the file, and its name.
fn split(path: &Path) -> Result<(Vec<OsString>, OsString), String> {
    if path.as_os_str().as_bytes().contains(&0) {
        return Err("the path contains a NUL byte".into());
    }
    // `components` would quietly drop a trailing slash and single dots, so the bytes are looked at too.
    let odd = path
        .as_os_str()
        .as_bytes()
        .split(|&byte| byte == b'/')
        .skip(1)
        .any(|part| matches!(part, b"" | b"." | b".."));
    let mut parts: Vec<OsString> = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir => {}
            Component::Normal(part) => parts.push(part.to_owned()),
            _ => return Err("the path must be absolute and without `.` or `..`".into()),
        }
    }
    if !path.is_absolute() || odd {
        return Err("the path must be absolute and without `.`, `..` or empty parts".into());
    }
    let name = parts.pop().ok_or("the path names no file")?;
    if name.as_bytes().len() > 255 {
        return Err("the file's name is longer than 255 bytes".into());
    }
    if name.as_bytes().starts_with(STAGING_PREFIX.as_bytes()) {
        return Err("names that start with `.rosterd-` are for staging; choose another".into());
    }
    Ok((parts, name))
}

fn open_folder(parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd, Cause> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(|error| {
        let is_link = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
        if is_link {
            let real = std::fs::canonicalize(path)
                .map_or_else(|_| "its target".into(), |real| format!("`{}`", real.display()));
            return Cause::Refused(format!("`{}` is a symlink; name {real} in the config", path.display()));
        }
        Cause::Io(io::Error::new(
            io::Error::from(error).kind(),
            format!("folder `{}`: {error}", path.display()),
        ))
    })
}

/// Refuses a folder in which somebody else could swap our file (operations §6.1). Above the destination's own
/// folder a sticky world-writable one (`/tmp`) will do: what we own in it cannot be moved away by others.
fn judge(path: &Path, fd: &OwnedFd, is_last: bool, spec: &FileSpec) -> Result<Stat, Cause> {
    let stat = rustix::fs::fstat(fd).map_err(|error| Cause::Io(error.into()))?;
    let refuse = |why: String| Err(Cause::Refused(format!("folder `{}` {why}", path.display())));
    let us = rustix::process::geteuid().as_raw();
    if stat.st_uid != 0 && stat.st_uid != us {
        return refuse(format!("belongs to user {}; give it to root or to user {us} (chown)", stat.st_uid));
    }
    let is_sticky = stat.st_mode & 0o1000 != 0 && !is_last;
    if stat.st_mode & 0o002 != 0 && !is_sticky {
        return refuse("can be written by everybody; take that away (chmod o-w)".into());
    }
    let is_our_group = stat.st_gid == 0 || stat.st_gid == rustix::process::getegid().as_raw();
    let may_group = is_our_group || (spec.group_may_write && is_last);
    if stat.st_mode & 0o020 != 0 && !is_sticky && !may_group {
        return refuse(
            "can be written by a group that is not the daemon's own; take that away (chmod g-w)".into(),
        );
    }
    Ok(stat)
}

/// Opens one name beneath `folder` so that no symlink, magic link or `..` can lead elsewhere.
fn open_beneath(folder: &OwnedFd, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(folder, name, flags, mode, resolve) {
        // A kernel before 5.6 or a sandbox without the call. For a single name O_NOFOLLOW says the same.
        Err(Errno::NOSYS | Errno::PERM) if Path::new(name).components().count() == 1 => {
            Ok(rustix::fs::openat(folder, name, flags, mode)?)
        }
        other => Ok(other?),
    }
}

/// When a file's content last changed.
pub(super) fn modified(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
}
