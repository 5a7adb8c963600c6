//! How commands reach the state: the daemon's admin socket, or, where no daemon runs, the same handler in this
//! process over a mirror opened under `serve`'s lock.
//!
//! Both ways give the same JSON for the same request, so no command knows which one it got.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::exit::{Error, Kind};
use super::output;
use crate::daemon::client::{self, Peer};

/// Where the admin socket is unless the config says otherwise, or cannot be read by this user.
const SOCKET_DEFAULT: &str = "/run/rosterd/admin.sock";

/// Longest wait for an answer. A reload or a sync may run checks and reload commands of minutes.
const PATIENCE: Duration = Duration::from_mins(10);

/// What a command cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A running daemon: it is the daemon's doing that is asked for.
    Daemon,
    /// The mirror, through the daemon where one runs.
    MirrorOrDaemon,
}

/// A way to ask.
#[derive(Debug)]
pub struct Admin {
    runtime: tokio::runtime::Runtime,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Socket(PathBuf),
    Local(crate::daemon::local::Local),
}

impl Admin {
    /// Finds the daemon named by `config`, or opens the mirror where `need` allows it.
    /// # Errors
    /// `NoDaemon` where one is needed and none answers; `Permission` where this user may not connect; what
    /// opening config and mirror may give.
    pub fn open(config: &Path, need: Need) -> Result<Self, Error> {
        let socket = socket_path(config)?;
        // Whether somebody listens is found out by connecting: a socket file may outlive its daemon.
        match std::os::unix::net::UnixStream::connect(&socket) {
            Ok(_) => Ok(Self { runtime: runtime()?, way: Way::Socket(socket) }),
            Err(cause) if cause.kind() == std::io::ErrorKind::PermissionDenied => Err(denied(&socket)),
            Err(cause) if need == Need::Daemon => Err(no_daemon(&socket, &cause)),
            Err(_) => Self::local(config, &socket),
        }
    }

    /// A further way to the daemon of this socket.
    /// # Errors
    /// The runtime cannot be had.
    pub fn at(socket: PathBuf) -> Result<Self, Error> {
        Ok(Self { runtime: runtime()?, way: Way::Socket(socket) })
    }

    /// The daemon's socket, where there is a daemon.
    pub fn socket(&self) -> Option<&Path> {
        match &self.way {
            Way::Socket(socket) => Some(socket),
            Way::Local(_) => None,
        }
    }

    fn local(config: &Path, socket: &Path) -> Result<Self, Error> {
        // INVARIANT: no other thread runs yet; becoming the owner acts on this thread only.
        let local =
            crate::daemon::local::Local::open(config).map_err(|error| super::serve::daemon_error(&error))?;
        output::note(&format!(
            "No daemon answers at {}; reading and writing the mirror directly.",
            socket.display()
        ));
        Ok(Self { runtime: runtime()?, way: Way::Local(local) })
    }

    /// Asks with GET.
    /// # Errors
    /// As [`Admin::call`].
    pub fn get(&self, path: &str) -> Result<Value, Error> {
        self.call("GET", path, None)
    }

    /// Whether the daemon can take a write now, and what it says about it.
    /// # Errors
    /// No answer, or no daemon to ask.
    pub fn readiness(&self) -> Result<(bool, String), Error> {
        let Way::Socket(socket) = &self.way else {
            return Err(Error::new(Kind::NoDaemon, "no daemon runs".to_owned()));
        };
        let answer = self.over_socket(socket, "GET", "/readyz", None)?;
        Ok((answer.status == 200, String::from_utf8_lossy(&answer.body).trim().to_owned()))
    }

    /// Asks and reads the JSON answer; an answer without a body is null.
    /// # Errors
    /// An answer of 400 or more, as the kind it stands for; or no answer.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let bytes = body.map(|body| Bytes::from(body.to_string()));
        let answer = match &self.way {
            Way::Socket(socket) => self.over_socket(socket, method, path, bytes)?,
            Way::Local(local) => self.runtime.block_on(local.handle(method, path, bytes)),
        };
        let read = read(&answer);
        // What only a daemon can do is answered 503 by the handler itself where none runs.
        if matches!(self.way, Way::Local(_)) && answer.status == 503 {
            return read.map_err(Error::without_daemon);
        }
        read
    }

    fn over_socket(
        &self,
        socket: &Path,
        method: &str,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<client::Answer, Error> {
        let mut request = Request::builder().method(method).uri(path).header("host", "rosterd");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(body.unwrap_or_default())).map_err(|cause| {
            Error::new(Kind::Usage, format!("cannot ask for `{}`: {cause}", output::clean(path)))
        })?;
        self.runtime.block_on(client::ask(&Peer::Unix(socket.to_owned()), request, PATIENCE)).map_err(
            |cause| match cause {
                client::Error::NotListening(cause) => no_daemon(socket, &cause),
                client::Error::Denied(_) => denied(socket),
                other => Error::new(Kind::NoDaemon, format!("the daemon at {}: {other}", socket.display()))
                    .hint("journalctl -u rosterd -n 50"),
            },
        )
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Error::new(Kind::Bug, format!("cannot start the I/O runtime: {cause}")))
}

fn no_daemon(socket: &Path, cause: &std::io::Error) -> Error {
    Error::new(Kind::NoDaemon, format!("no daemon answers at {}: {cause}", socket.display()))
        .hint("systemctl start rosterd; or name the config it runs with: --config FILE")
}

fn denied(socket: &Path) -> Error {
    Error::new(Kind::Permission, format!("you may not use the admin socket {}", socket.display()))
        .hint("sudo, or join the group that owns the socket (rosterd-admin)")
}

/// Reads an answer: its JSON, or the error it stands for.
fn read(answer: &client::Answer) -> Result<Value, Error> {
    let body: Value = if answer.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&answer.body).map_err(|cause| {
            Error::new(Kind::Bug, format!("the daemon's answer ({}) is not JSON: {cause}", answer.status))
                .hint("daemon and command of one version? rosterd --version")
        })?
    };
    if answer.status < 400 {
        return Ok(body);
    }
    let told = body.get("error").unwrap_or(&Value::Null);
    let message = match output::text(told, "message") {
        "" => format!("the daemon answered {}", answer.status),
        message => message.to_owned(),
    };
    let hint = output::text(told, "hint");
    let error = Error::new(kind(answer.status, output::text(told, "kind")), output::clean_lines(&message));
    Err(if hint.is_empty() { error } else { error.hint(output::clean_lines(hint)) })
}

/// What kind of failure a status stands for; `word` is the admin API's own where one status has several.
fn kind(status: u16, word: &str) -> Kind {
    match (status, word) {
        (_, "config") => Kind::Config,
        (_, "held") => Kind::Held,
        (401 | 403, _) => Kind::Permission,
        (429 | 503, _) => Kind::Temporary,
        (507, _) => Kind::MirrorIo,
        (500..=599, _) => Kind::Bug,
        _ => Kind::Refused,
    }
}

/// The socket's path: `[admin] socket` in the config, or the default where this user may not read the config.
fn socket_path(config: &Path) -> Result<PathBuf, Error> {
    let text = match std::fs::read_to_string(config) {
        Ok(text) => text,
        // An operator in rosterd-admin need not be able to read the config, whose folder is root:rosterd 0750.
        Err(cause) if cause.kind() == std::io::ErrorKind::PermissionDenied => {
            return Ok(SOCKET_DEFAULT.into());
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::new(Kind::Missing, format!("there is no config at {}", config.display()))
                .hint("--config FILE; a commented default is in config/rosterd.toml"));
        }
        Err(cause) => {
            return Err(Error::new(Kind::Missing, format!("cannot read {}: {cause}", config.display())));
        }
    };
    Ok(socket_in(&text).map_or_else(
        || SOCKET_DEFAULT.into(),
        |socket| config.parent().unwrap_or_else(|| Path::new("")).join(socket),
    ))
}

/// `[admin] socket` in a config's text. Read leniently: a mistake elsewhere in the file must not keep anybody
/// from asking the running daemon for its status.
fn socket_in(text: &str) -> Option<String> {
    let table: toml::Table = text.parse().ok()?;
    Some(table.get("admin")?.get("socket")?.as_str()?.to_owned())
}

/// Everything but RFC 3986's unreserved characters is encoded.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `text` as one path segment or query value.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A query string under construction; prints with its `?`, or as nothing.
#[derive(Debug, Default)]
pub struct Query(String);

impl Query {
    /// Adds `key=value` where there is a value.
    #[must_use]
    pub fn with(mut self, key: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.is_empty() { '?' } else { '&' });
            self.0.push_str(key);
            self.0.push('=');
            self.0.push_str(&segment(value));
        }
        self
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// A server on a unix socket that reads one request, gives `answer`, and returns what it read. A first
    /// connection that says nothing is the command finding out whether somebody listens.
    fn server(answer: &'static str) -> (tempfile::TempDir, PathBuf, std::thread::JoinHandle<String>) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let config = dir.path().join("rosterd.toml");
        std::fs::write(&config, "[admin]\nsocket = \"admin.sock\"\n").unwrap();
        let thread = std::thread::spawn(move || {
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let mut read = vec![0; 4096];
                let count = stream.read(&mut read).unwrap();
                if count > 0 {
                    stream.write_all(answer.as_bytes()).unwrap();
                    return String::from_utf8_lossy(&read[..count]).into_owned();
                }
            }
        });
        (dir, config, thread)
    }

    #[test]
    fn a_request_goes_over_the_socket_the_config_names() {
        let (_dir, config, thread) =
            server("HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\n{\"ok\": \"yes\"}");
        let admin = Admin::open(&config, Need::Daemon).unwrap();
        let answer = admin.call("POST", "/api/v1/sync?x=a%20b", Some(&serde_json::json!({"a": 1}))).unwrap();
        assert_eq!(output::text(&answer, "ok"), "yes");
        let sent = thread.join().unwrap();
        assert!(sent.starts_with("POST /api/v1/sync?x=a%20b HTTP/1.1\r\n"), "{sent}");
        assert!(sent.contains("content-type: application/json\r\n"), "{sent}");
    }

    #[test]
    fn a_refusal_keeps_message_hint_and_kind() {
        let (_dir, config, thread) = server(
            "HTTP/1.1 409 Conflict\r\ncontent-length: 58\r\n\r\n{\"error\":{\"message\":\"`acme` exists\",\"hint\":\"choose --id\"}}",
        );
        let admin = Admin::open(&config, Need::Daemon).unwrap();
        let error = admin.get("/api/v1/status").unwrap_err();
        thread.join().unwrap();
        assert_eq!(error.kind(), Kind::Refused);
        assert_eq!(error.to_string(), "`acme` exists");
        assert_eq!(error.advice(), Some("choose --id"));
    }

    #[test]
    fn no_daemon_and_no_config_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("rosterd.toml");
        assert_eq!(Admin::open(&config, Need::Daemon).unwrap_err().kind(), Kind::Missing);
        std::fs::write(&config, "[admin]\nsocket = \"none.sock\"\n").unwrap();
        assert_eq!(Admin::open(&config, Need::Daemon).unwrap_err().kind(), Kind::NoDaemon);
    }

    #[test]
    fn the_socket_is_found_beside_other_mistakes() {
        assert_eq!(socket_in("lisen = 1\n[admin]\nsocket = \"/a\"\n").as_deref(), Some("/a"));
        assert_eq!(socket_in("[admin\n"), None);
    }

    #[test]
    fn query_values_are_encoded() {
        let query =
            Query::default().with("filter", Some("a eq \"ü&\"")).with("none", None).with("n", Some("1"));
        assert_eq!(query.to_string(), "?filter=a%20eq%20%22%C3%BC%26%22&n=1");
        assert_eq!(Query::default().to_string(), "");
    }

    #[test]
    fn statuses_stand_for_kinds() {
        assert_eq!(kind(400, ""), Kind::Refused);
        assert_eq!(kind(400, "config"), Kind::Config);
        assert_eq!(kind(403, ""), Kind::Permission);
        assert_eq!(kind(503, ""), Kind::Temporary);
        assert_eq!(kind(500, ""), Kind::Bug);
    }
}
