//! Where connections come from: TCP ports, unix sockets, and sockets that systemd opened and passed on by name.
//!
//! Binding is synchronous and comes before readiness is told; serving happens in [`super::server`].

use std::fmt;
use std::net::ToSocketAddrs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One place to listen at, as the config writes it: `127.0.0.1:8080`, `[::]:8080`, `localhost:8080`, `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host and port. A name may stand for several addresses; each is bound.
    Tcp(String),
    /// A unix socket with its mode.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = ListenError;
    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err(ListenError::Address(text.to_owned()))
            };
        }
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        match port {
            Some(port) if port.parse::<u16>().is_ok() => Ok(Self::Tcp(text.to_owned())),
            _ => Err(ListenError::Address(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(text) => f.write_str(text),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// True if only this machine can reach it: a unix socket or a loopback address. A name counts by what it
    /// resolves to; one that does not resolve counts as reachable from outside.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(text) => text.to_socket_addrs().is_ok_and(|found| {
                let found: Vec<_> = found.collect();
                !found.is_empty() && found.iter().all(|a| super::network::canonical(a.ip()).is_loopback())
            }),
        }
    }
}

/// What to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Addresses; used unless systemd passed sockets of this listener's name. Default `127.0.0.1:8080`.
    pub addresses: Vec<Address>,
    /// The name under which systemd passes sockets for this listener (`FileDescriptorName=`): `scim`, `admin`.
    pub name: &'static str,
    /// Mode of a unix socket. Default 0660.
    pub unix_mode: u32,
}

/// Why listening failed.
#[derive(Debug)]
pub enum ListenError {
    /// The text is no address.
    Address(String),
    /// The name does not resolve.
    Resolve {
        /// As configured.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else listens there (exit 75).
    InUse(String),
    /// The system refuses, mostly a port below 1024 or a folder that is not ours (exit 77).
    Denied {
        /// As configured.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The path exists and is no socket.
    NotASocket(PathBuf),
    /// Anything else.
    Io {
        /// As configured.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(text) => {
                write!(f, "not an address to listen at: `{text}`; write `host:port` or `unix:/absolute/path`")
            }
            Self::Resolve { address, source } => write!(f, "cannot resolve `{address}`: {source}"),
            Self::InUse(address) => write!(
                f,
                "cannot listen at `{address}`: it is in use; stop the other process or choose another address"
            ),
            Self::Denied { address, source } => write!(
                f,
                "cannot listen at `{address}`: {source}; ports below 1024 need a systemd socket or a capability, \
                 a unix socket a folder that the daemon's user may write"
            ),
            Self::NotASocket(path) => {
                write!(
                    f,
                    "cannot listen at `unix:{}`: a file that is no socket is in the way",
                    path.display()
                )
            }
            Self::Io { address, source } => write!(f, "cannot listen at `{address}`: {source}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// A bound socket, not yet accepting.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(std::net::TcpListener, Holder),
    /// Unix; the path is removed at the end if we made it.
    Unix(std::os::unix::net::UnixListener, Option<OwnedPath>),
}

/// Who keeps a socket open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// This process bound it; it goes with it, and so does its backlog.
    Daemon,
    /// The service manager passed it and hands it to the next process, backlog and all.
    Manager,
}

/// A unix socket's path that goes when the daemon goes, unless somebody put another file there.
#[derive(Debug)]
pub struct OwnedPath {
    path: PathBuf,
    inode: u64,
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // Nothing is lost if this fails: the next start finds a dead socket and replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// The address really bound, which tells the port when 0 was asked for.
    pub fn local(&self) -> String {
        match self {
            Self::Tcp(listener, _) => {
                listener.local_addr().map_or_else(|_| "tcp".to_owned(), |a| a.to_string())
            }
            Self::Unix(listener, _) => listener
                .local_addr()
                .ok()
                .and_then(|a| a.as_pathname().map(|p| format!("unix:{}", p.display())))
                .unwrap_or_else(|| "unix".to_owned()),
        }
    }
}

/// The sockets systemd passed to this process (`LISTEN_FDS`), to be taken by name.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, Socket)>,
}

impl Inherited {
    /// Takes over what systemd passed, if anything. Call once, early, before files are opened.
    pub fn from_env() -> Result<Self, ListenError> {
        let failed = |source| ListenError::Io { address: "the sockets passed by systemd".to_owned(), source };
        let names: Vec<String> = match sd_notify::listen_fds_with_names() {
            Ok(found) => found.map(|(_, name)| name).collect(),
            Err(source) => return Err(failed(source)),
        };
        let mut taken = listenfd::ListenFd::from_env();
        let mut sockets = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let socket = match taken.take_tcp_listener(index) {
                Ok(Some(listener)) => Socket::Tcp(listener, Holder::Manager),
                Ok(None) => continue,
                // Not TCP: the library gives it back, and it is tried as a unix socket.
                Err(_) => match taken.take_unix_listener(index).map_err(failed)? {
                    Some(listener) => Socket::Unix(listener, None),
                    None => continue,
                },
            };
            sockets.push((name, socket));
        }
        Ok(Self { sockets })
    }

    /// Takes every socket called `name`.
    pub fn take(&mut self, name: &str) -> Vec<Socket> {
        let (mine, rest) =
            std::mem::take(&mut self.sockets).into_iter().partition(|(found, _)| found == name);
        self.sockets = rest;
        let mine: Vec<(String, Socket)> = mine;
        mine.into_iter().map(|(_, socket)| socket).collect()
    }

    /// Names nobody has taken: most likely a typo in a socket unit, worth a warning.
    pub fn left(&self) -> Vec<&str> {
        self.sockets.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// Binds every address of `settings`, or takes what systemd passed under its name.
pub fn bind(settings: &Settings, inherited: &mut Inherited) -> Result<Vec<Socket>, ListenError> {
    let mut sockets = inherited.take(settings.name);
    if sockets.is_empty() {
        for address in &settings.addresses {
            match address {
                Address::Tcp(text) => bind_tcp(text, &mut sockets)?,
                Address::Unix(path) => sockets.push(bind_unix(path, settings.unix_mode)?),
            }
        }
    }
    Ok(sockets)
}

fn refused(address: String, source: std::io::Error) -> ListenError {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => ListenError::InUse(address),
        std::io::ErrorKind::PermissionDenied => ListenError::Denied { address, source },
        _ => ListenError::Io { address, source },
    }
}

fn bind_tcp(text: &str, sockets: &mut Vec<Socket>) -> Result<(), ListenError> {
    let found =
        text.to_socket_addrs().map_err(|source| ListenError::Resolve { address: text.to_owned(), source })?;
    for address in found {
        let listener =
            std::net::TcpListener::bind(address).map_err(|source| refused(address.to_string(), source))?;
        // The standard library asks for a backlog of 128; a push of a thousand connections wants more.
        let _ = rustix::net::listen(&listener, 1_024);
        sockets.push(Socket::Tcp(listener, Holder::Daemon));
    }
    Ok(())
}

fn bind_unix(path: &Path, mode: u32) -> Result<Socket, ListenError> {
    let named = || format!("unix:{}", path.display());
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(ListenError::InUse(named()));
        }
        // Left behind by a process that was killed: nobody answers.
        std::fs::remove_file(path).map_err(|source| refused(named(), source))?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(|source| refused(named(), source))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|source| refused(named(), source))?;
    let inode = std::fs::symlink_metadata(path).map_err(|source| refused(named(), source))?.ino();
    Ok(Socket::Unix(listener, Some(OwnedPath { path: path.to_owned(), inode })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port_or_an_absolute_unix_path() {
        assert_eq!("127.0.0.1:80".parse::<Address>().unwrap(), Address::Tcp("127.0.0.1:80".into()));
        assert_eq!("unix:/run/x".parse::<Address>().unwrap(), Address::Unix("/run/x".into()));
        for wrong in ["", "80", ":80", "host", "host:99999", "unix:run/x", "unix:"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
        assert!("127.0.0.1:0".parse::<Address>().unwrap().is_local());
        assert!("[::1]:0".parse::<Address>().unwrap().is_local());
        assert!(!"0.0.0.0:0".parse::<Address>().unwrap().is_local());
    }

    #[test]
    fn a_taken_port_is_told_apart() {
        let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let text = first.local_addr().unwrap().to_string();
        let settings = Settings { addresses: vec![Address::Tcp(text)], name: "scim", unix_mode: 0o660 };
        assert!(matches!(bind(&settings, &mut Inherited::default()), Err(ListenError::InUse(_))));
    }

    #[test]
    fn a_dead_unix_socket_is_replaced_a_living_one_and_a_file_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let settings =
            Settings { addresses: vec![Address::Unix(path.clone())], name: "admin", unix_mode: 0o660 };
        let bound = bind(&settings, &mut Inherited::default()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind(&settings, &mut Inherited::default()), Err(ListenError::InUse(_))));
        drop(bound);
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        assert!(matches!(bind(&settings, &mut Inherited::default()), Err(ListenError::NotASocket(_))));
    }
}
