//! The demo's folder: config, secret, state, output and log, readable by its owner only.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::DemoError;
use super::console::{self, Console};

/// Most lines of the daemon's log that a failure shows.
const LOG_LINES_SHOWN: usize = 20;

/// The folder. A temporary one goes with this value.
#[derive(Debug)]
pub(in crate::daemon) struct Place {
    dir: PathBuf,
    temporary: bool,
}

impl Place {
    /// Makes the folder and everything the daemon reads.
    pub(super) fn make(
        dir: Option<&Path>,
        webhook_secret: &str,
        webhook_url: &str,
        console: &Console,
    ) -> Result<Self, DemoError> {
        let place = match dir {
            Some(dir) => Self { dir: kept(dir)?, temporary: false },
            None => Self { dir: temporary()?, temporary: true },
        };
        place.folder("out")?;
        place.folder("state")?;
        place.file("app-webhook-secret", webhook_secret)?;
        place.file("db-admins.acl.j2", TEMPLATE)?;
        place.file("console-password", console.password())?;
        place.file("rosterd.toml", &config(&place.admin_socket(), webhook_url, console))?;
        Ok(place)
    }

    /// The same for a daemon without targets.
    pub(in crate::daemon) fn bare(dir: Option<&Path>) -> Result<Self, DemoError> {
        let place = match dir {
            Some(dir) => Self { dir: kept(dir)?, temporary: false },
            None => Self { dir: temporary()?, temporary: true },
        };
        place.folder("state")?;
        place.file("rosterd.toml", &bare_config(&place.admin_socket()))?;
        Ok(place)
    }

    /// The folder itself.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// True if nothing of it is left afterwards.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// The daemon's config.
    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("rosterd.toml")
    }

    /// The daemon's admin socket.
    pub(in crate::daemon) fn admin_socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }

    /// Where the daemon tells that it is ready.
    pub(super) fn notify_socket(&self) -> PathBuf {
        self.dir.join("notify.sock")
    }

    /// The policy file that people are shown: a list for HAProxy.
    pub(super) fn policy(&self) -> PathBuf {
        self.dir.join("out/db-admins.acl")
    }

    /// The whole access model, for policy engines.
    pub(super) fn model(&self) -> PathBuf {
        self.dir.join("out/access.json")
    }

    /// The daemon's log.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("daemon.log")
    }

    /// The last lines of the daemon's log.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(LOG_LINES_SHOWN)).fold(String::new(), |mut out, line| {
            let _ = writeln!(out, "  {line}");
            out
        })
    }

    fn folder(&self, name: &str) -> Result<(), DemoError> {
        let path = self.dir.join(name);
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(|cause| cannot("make", &path, &cause))
    }

    fn file(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let path = self.dir.join(name);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|cause| cannot("write", &path, &cause))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary {
            // Left-overs in the temporary folder are the system's to clean.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn cannot(verb: &str, path: &Path, cause: &std::io::Error) -> DemoError {
    DemoError::Setup(format!("cannot {verb} {}: {cause}", path.display()))
}

/// A folder the caller named: made if missing, refused unless empty, kept.
fn kept(dir: &Path) -> Result<PathBuf, DemoError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|cause| cannot("make", dir, &cause))?;
    let dir = dir.canonicalize().map_err(|cause| cannot("find", dir, &cause))?;
    let mut found = fs::read_dir(&dir).map_err(|cause| cannot("read", &dir, &cause))?;
    if found.next().is_some() {
        return Err(DemoError::Setup(format!("{} is not empty; name a new folder", dir.display())));
    }
    Ok(dir)
}

fn temporary() -> Result<PathBuf, DemoError> {
    let mut random = [0_u8; 6];
    fill(&mut random)?;
    let name: String = random.iter().fold(String::from("rosterd-demo-"), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    });
    let dir = std::env::temp_dir().join(name);
    fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|cause| cannot("make", &dir, &cause))?;
    dir.canonicalize().map_err(|cause| cannot("find", &dir, &cause))
}

/// A fresh secret in the Standard Webhooks notation.
pub(super) fn webhook_secret() -> Result<String, DemoError> {
    let mut random = [0_u8; 32];
    fill(&mut random)?;
    Ok(format!("whsec_{}", STANDARD.encode(random)))
}

fn fill(bytes: &mut [u8]) -> Result<(), DemoError> {
    getrandom::fill(bytes).map_err(|cause| DemoError::Setup(format!("no random numbers: {cause}")))
}

/// A list for HAProxy's `acl … -f`: who may open the database console.
const TEMPLATE: &str = r#"# Who may open the database console
{% for role in roles if role.name == "db-admin" -%}
{% for name in role.members %}{{ name | haproxy_word }}
{% endfor %}{% endfor -%}
# End of list
"#;

/// A config with nothing but where to listen and keep.
fn bare_config(admin_socket: &Path) -> String {
    let socket = toml::Value::String(admin_socket.display().to_string());
    format!(
        "# Written by `rosterd replay`.\n[server]\nlisten = [\"127.0.0.1:0\"]\n\n[admin]\nsocket = {socket}\n\n\
         [mirror]\npath = \"state/mirror.db\"\n"
    )
}

/// The demo's config. Paths are relative to the file, but a socket's must be absolute.
fn config(admin_socket: &Path, webhook_url: &str, console: &Console) -> String {
    let (listen, user) = (console.address(), console::USER);
    let socket = toml::Value::String(admin_socket.display().to_string());
    format!(
        r#"# Written by `rosterd demo`.
[server]
listen = ["127.0.0.1:0"]               # any free port

[admin]
socket = {socket}
listen = "{listen}"                    # the console

[[admin.user]]
name = "{user}"
password_file = "console-password"
role = "admin"

[mirror]
path = "state/mirror.db"

[[role]]
name = "db-admin"
groups = ["Database Admins"]

[[target]]
name = "haproxy"
type = "file"
template = "db-admins.acl.j2"
path = "out/db-admins.acl"
mode = "0600"

[[target]]
name = "access"
type = "file"
format = "json"
path = "out/access.json"
mode = "0600"

[[target]]
name = "app"
type = "webhook"
url = "{webhook_url}"
secret_file = "app-webhook-secret"
events = ["access.*"]
"#
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_temporary_place_is_private_and_goes() {
        let place =
            Place::make(None, "whsec_x", "http://127.0.0.1:1/", &Console::prepare().unwrap()).unwrap();
        let dir = place.dir().to_owned();
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(place.config()).unwrap().permissions().mode() & 0o777, 0o600);
        drop(place);
        assert!(!dir.exists());
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused_and_an_empty_one_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mine = dir.path().join("demo");
        let console = Console::prepare().unwrap();
        let make = || Place::make(Some(&mine), "whsec_x", "http://127.0.0.1:1/", &console);
        drop(make().unwrap());
        assert!(mine.join("rosterd.toml").exists());
        assert!(make().is_err());
    }
}
