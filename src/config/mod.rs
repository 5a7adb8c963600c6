//! Reads TOML, gathers every module's settings, reports all complaints at once.
//!
//! Layer 6: may import everything below, holds no behaviour. It does not know how a running daemon applies a new
//! config; it only says what a file means ([`load`]), what is wrong with it ([`Problems`]) and how two configs
//! differ ([`change::between`]).
//!
//! INVARIANT: reading a config writes nothing, connects nowhere and runs no command. It opens the config file,
//! the templates, schemas and secret files it names, all for reading.
//!
//! - `document`: one parsed file, from text to [`Config`]
//! - `reader`: tables and values with their places; unknown keys
//! - `admin`, `server`, `directory`, `schema`, `role`, `target`, `publish`: one section each
//! - `tls`: certificates of a listener, its own and those of clients
//! - `secret`: where a `*_file` is looked up, and which files are refused
//! - `installer`: the other file, root's own, which only `rosterd installer` reads ([`load_installer`])
//! - `value`: durations, sizes, modes
//! - `problem`: what is wrong, where, and what was probably meant

pub mod change;

mod admin;
mod directory;
mod document;
mod event;
mod guard;
mod installer;
mod map;
mod problem;
mod publish;
mod reader;
mod role;
mod schema;
mod secret;
mod server;
mod shape;
mod side;
mod target;
mod tls;
mod value;
mod via;
mod webhook;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use admin::{Admin, AdminWeb};
pub use directory::Directory;
pub use installer::load_installer;
pub use problem::{Kind, Place, Problem, Problems};
pub use publish::{Publish, Reader};
pub use server::Server;
pub use value::parse_duration;

use crate::access::Role;
use crate::http;
use crate::reconcile::event::body::Hidden;
use crate::reconcile::{self, DirectorySettings, TargetSettings};
use crate::scim::schema::{Extension, Registry};
use crate::{activity, mirror, telemetry};
use problem::Source;
use secret::Files;

/// Where the daemon looks without `--config`.
pub const DEFAULT_PATH: &str = "/etc/rosterd/rosterd.toml";

/// Longest config file that is read.
const BYTES_MAX: u64 = 16 << 20;

/// Everything a config file says, as the settings of the modules it steers.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[admin]`.
    pub admin: Admin,
    /// `[mirror]`.
    pub mirror: mirror::Settings,
    /// `[[directory]]`, in order of precedence.
    pub directories: Vec<Directory>,
    /// `[[schema]]`.
    pub schemas: Vec<Extension>,
    /// The standard schemas and those of `[[schema]]`.
    pub registry: Arc<Registry>,
    /// `[[role]]`.
    pub roles: Vec<Role>,
    /// `[[target]]`.
    pub targets: Vec<TargetSettings>,
    /// `[publish]`, if it is on.
    pub publish: Option<Publish>,
    /// `[[reader]]`.
    pub readers: Vec<Reader>,
    /// `[log]`.
    pub log: telemetry::Settings,
    /// `[log]`: how many requests are kept.
    pub activity: activity::Settings,
    /// The text of each template, by its name in the file: what [`change::between`] compares.
    templates: BTreeMap<String, String>,
}

impl Config {
    /// What the reconciler goes by.
    pub fn reconcile(&self) -> reconcile::Settings {
        let directory = |one: &Directory| DirectorySettings {
            id: one.id.clone(),
            claims: one.claims.clone(),
            expect_every: one.expect_every,
        };
        reconcile::Settings {
            targets: self.targets.clone(),
            roles: self.roles.clone(),
            directories: self.directories.iter().map(directory).collect(),
        }
    }

    /// Attributes that the schemas say are never returned: no event shows them.
    pub fn hidden(&self) -> Vec<Hidden> {
        event::hidden(&self.registry)
    }

    /// The `tls` of each listener that has one.
    pub fn certificates(&self) -> impl Iterator<Item = &http::tls::Settings> {
        let of_publish = self.publish.iter().filter_map(|publish| publish.tls.as_ref());
        let of_people = self.admin.web.iter().filter_map(|web| web.tls.as_ref());
        self.server.tls.iter().chain(of_publish).chain(of_people)
    }

    /// The state directory: where the mirror, its lock, kept versions and rejected files are.
    pub fn state_dir(&self) -> &Path {
        // A bare file name has an empty parent, which names no folder.
        self.mirror
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."))
    }
}

/// A config that may be used, with what is worth saying about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the file says.
    pub config: Config,
    /// Allowed and probably not meant; each at its place.
    pub warnings: Vec<Problem>,
}

/// What to do about a secret file that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// It is a problem: nothing runs without its secrets (`serve`, `reload`).
    Required,
    /// It is a warning: a config may be checked where its secrets are not (`check`).
    Optional,
}

/// Reads and checks the config at `path`.
///
/// # Errors
/// Every problem found, in the order of the file; [`Problems::kind`] picks the exit code.
pub fn load(path: &Path, secrets: Secrets) -> Result<Loaded, Problems> {
    let file = path.display().to_string();
    let source = Source { text: text(path, &file)?, file };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let files = Files {
        base: absolute.parent().unwrap_or_else(|| Path::new("/")).to_owned(),
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        groups: vec![rustix::process::getegid().as_raw()],
        secrets,
        templates: RefCell::default(),
        installer: via::socket_default(),
        daemon: None,
        state: PathBuf::from("/var/lib/rosterd"),
    };
    document::read(&source, files)
}

fn text(path: &Path, file: &str) -> Result<String, Problems> {
    use std::io::{ErrorKind, Read as _};
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|opened| opened.take(BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => {
            let (kind, help) = match error.kind() {
                ErrorKind::NotFound => {
                    (Kind::MissingFile, "name another with `--config`, or begin with the commented default")
                }
                ErrorKind::PermissionDenied => {
                    (Kind::Denied, "run the command as root or as the daemon's user")
                }
                ErrorKind::InvalidData => (Kind::Invalid, "TOML is UTF-8 text"),
                _ => (Kind::Invalid, "a config is a regular file"),
            };
            Err(Problems::unplaced(kind, file, format!("cannot read the config: {error}"), help))
        }
    }
}

#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;
