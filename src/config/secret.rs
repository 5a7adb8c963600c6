//! Where the file behind a `*_file` key is, and which files are refused.
//!
//! INVARIANT: a secret comes from a file and from nowhere else, and its text is never part of a message.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Secrets;
use super::problem::Kind;
use super::reader::{Value, what};
use crate::model::Secret;

/// Longest secret file that is read; a longer one is not a secret.
const BYTES_MAX: u64 = 64 << 10;

/// How files named in this config are found.
#[derive(Debug)]
pub(super) struct Files {
    /// The folder of the config file, absolute.
    pub(super) base: PathBuf,
    /// `$CREDENTIALS_DIRECTORY`, where systemd puts credentials.
    pub(super) credentials: Option<PathBuf>,
    /// Groups that may read a secret: the daemon's own, and the one of the state directory's owner, so that root
    /// may check a config for the daemon.
    pub(super) groups: Vec<u32>,
    /// What a missing secret means.
    pub(super) secrets: Secrets,
    /// Each template read so far, by the name in the config.
    pub(super) templates: RefCell<BTreeMap<String, String>>,
    /// The installer's socket. Key `installer.socket`.
    pub(super) installer: PathBuf,
    /// The user and group that the daemon runs as, once the state directory is known.
    pub(super) daemon: Option<(u32, u32)>,
    /// The state directory: the mirror's folder.
    pub(super) state: PathBuf,
}

impl Files {
    /// Lets the group of a folder's owner read secrets too.
    pub(super) fn allow_owner_of(&mut self, folder: &Path) {
        if let Ok(facts) = std::fs::metadata(folder) {
            self.groups.push(facts.gid());
        }
    }

    /// The path that `text` names: relative to the config file.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.base.join(text)
    }

    /// The secret in the file that `value` names, without the white space around it. `None` after a report.
    pub(super) fn secret(&self, value: &Value<'_>) -> Option<Secret> {
        let name = value.text()?;
        if name.is_empty() {
            value.fail(what(format!("`{}` names no file", value.path())));
            return None;
        }
        let (path, is_credential) = self.locate(name);
        match self.read(&path, is_credential) {
            Ok(secret) => Some(secret),
            Err(Refusal::Missing) if self.secrets == Secrets::Optional => {
                value.warn(
                    what(format!("the secret file `{}` is not there", path.display()))
                        .help("`serve` will not start without it"),
                );
                None
            }
            Err(refusal) => {
                let (kind, text) = refusal.tell(&path);
                value.fail_as(kind, text);
                None
            }
        }
    }

    /// A bare file name is looked up in `$CREDENTIALS_DIRECTORY` first, then beside the config file.
    fn locate(&self, name: &str) -> (PathBuf, bool) {
        let is_bare = !name.contains('/') && name != "." && name != "..";
        if let Some(folder) = self.credentials.as_ref().filter(|_| is_bare) {
            let path = folder.join(name);
            if path.exists() {
                return (path, true);
            }
        }
        (self.path(name), false)
    }

    fn read(&self, path: &Path, is_credential: bool) -> Result<Secret, Refusal> {
        let mut file = File::open(path).map_err(Refusal::from)?;
        // Asked of the open file, so that what is judged is what is read.
        let facts = file.metadata().map_err(Refusal::from)?;
        if !facts.is_file() {
            return Err(Refusal::NotAFile);
        }
        let mode = facts.mode() & 0o777;
        // Group bits of a credential are the mask of its access list (systemd.exec(5)), not a group's right.
        let group_reads = mode & 0o040 != 0 && !is_credential && !self.groups.contains(&facts.gid());
        if mode & 0o004 != 0 || group_reads {
            return Err(Refusal::Open { mode, world: mode & 0o004 != 0 });
        }
        if facts.len() > BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let mut text = zeroize::Zeroizing::new(String::new());
        (&mut file).take(BYTES_MAX).read_to_string(&mut text).map_err(Refusal::from)?;
        let trimmed = text.trim();
        if trimmed.is_empty() { Err(Refusal::Empty) } else { Ok(Secret::new(trimmed.to_owned())) }
    }
}

/// Whether a private key is kept from everybody on this machine; reports one that is not. Who is in the file's group is
/// its owner's to say: certificates of a machine are often shared so.
pub(super) fn is_private(value: &Value<'_>, path: &Path) -> bool {
    let Ok(facts) = std::fs::metadata(path) else { return true };
    let mode = facts.mode() & 0o777;
    if mode & 0o004 == 0 {
        return true;
    }
    let (kind, text) = Refusal::Open { mode, world: true }.tell(path);
    value.fail_as(kind, text);
    false
}

enum Refusal {
    Missing,
    Denied,
    NotAFile,
    Open { mode: u32, world: bool },
    TooLong,
    Empty,
    NotText,
    Io(std::io::Error),
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Missing,
            ErrorKind::PermissionDenied => Self::Denied,
            ErrorKind::InvalidData => Self::NotText,
            _ => Self::Io(error),
        }
    }
}

impl Refusal {
    fn tell(self, path: &Path) -> (Kind, super::reader::Text) {
        let file = path.display();
        match self {
            Self::Missing => (
                Kind::MissingFile,
                what(format!("the secret file `{file}` is not there"))
                    .help("make it with mode 0600 for the daemon's user, or pass it by `LoadCredential=`"),
            ),
            Self::Denied => (
                Kind::Denied,
                what(format!("the secret file `{file}` may not be read"))
                    .help("give it to the daemon's user, mode 0600, or pass it by `LoadCredential=`"),
            ),
            Self::NotAFile => (Kind::Invalid, what(format!("`{file}` is not a regular file"))),
            Self::Open { mode, world } => {
                let who = if world { "everybody" } else { "a group that is not the daemon's own" };
                let text = what(format!("the secret file `{file}` can be read by {who} (mode {mode:04o})"));
                (
                    Kind::Invalid,
                    text.help(format!("`chmod 0600 {file}`, then replace the secret if it was seen")),
                )
            }
            Self::TooLong => {
                (Kind::Invalid, what(format!("`{file}` is longer than 64 KiB; it holds no secret")))
            }
            Self::Empty => (Kind::Invalid, what(format!("the secret file `{file}` is empty"))),
            Self::NotText => (Kind::Invalid, what(format!("the secret file `{file}` is not UTF-8 text"))),
            Self::Io(error) => {
                (Kind::Invalid, what(format!("cannot read the secret file `{file}`: {error}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn files(base: &Path, credentials: Option<&Path>) -> Files {
        Files {
            base: base.to_owned(),
            credentials: credentials.map(Path::to_owned),
            groups: vec![rustix::process::getegid().as_raw()],
            secrets: Secrets::Required,
            templates: RefCell::default(),
            installer: PathBuf::new(),
            daemon: None,
            state: base.to_owned(),
        }
    }

    fn put(folder: &Path, name: &str, text: &str, mode: u32) {
        std::fs::write(folder.join(name), text).unwrap();
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn read(files: &Files, name: &str) -> Result<String, Kind> {
        let (path, is_credential) = files.locate(name);
        files.read(&path, is_credential).map(|s| s.expose().to_owned()).map_err(|r| r.tell(&path).0)
    }

    #[test]
    fn a_bare_name_is_a_credential_first_and_a_path_never_is() {
        let (base, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(base.path(), "okta", "from-file\n", 0o600);
        put(credentials.path(), "okta", "from-credential", 0o400);
        let files = files(base.path(), Some(credentials.path()));
        assert_eq!(read(&files, "okta").as_deref(), Ok("from-credential"));
        assert_eq!(read(&files, "./okta").as_deref(), Ok("from-file"));
        std::fs::remove_file(credentials.path().join("okta")).unwrap();
        assert_eq!(read(&files, "okta").as_deref(), Ok("from-file"));
    }

    #[test]
    fn files_that_others_can_read_are_refused() {
        let base = tempfile::tempdir().unwrap();
        let mut files = files(base.path(), None);
        put(base.path(), "world", "s", 0o604);
        put(base.path(), "group", "s", 0o640);
        assert_eq!(read(&files, "world"), Err(Kind::Invalid));
        assert_eq!(read(&files, "group").as_deref(), Ok("s"));
        files.groups.clear();
        assert_eq!(read(&files, "group"), Err(Kind::Invalid));
    }

    #[test]
    fn missing_empty_and_odd_files_are_told_apart() {
        let base = tempfile::tempdir().unwrap();
        let files = files(base.path(), None);
        put(base.path(), "empty", " \n", 0o600);
        std::fs::create_dir(base.path().join("folder")).unwrap();
        assert_eq!(read(&files, "absent"), Err(Kind::MissingFile));
        assert_eq!(read(&files, "empty"), Err(Kind::Invalid));
        assert_eq!(read(&files, "folder"), Err(Kind::Invalid));
    }
}
