//! The daemon's side: one connection, one request, one answer.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::wire::{
    ANSWER_TIME_MAX, Answer, Ask, Greeting, Line, REQUEST_TIME_MAX, Request, SOCKET_DEFAULT, VERSION,
};
use crate::model::TargetName;

/// Where the installer is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installer {
    /// Its socket. Key `installer.socket`, default [`SOCKET_DEFAULT`].
    pub socket: PathBuf,
}

impl Default for Installer {
    fn default() -> Self {
        Self { socket: SOCKET_DEFAULT.into() }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub struct CallError {
    socket: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Connect(io::Error),
    Stranger(u32),
    Silent(io::Error),
    Refused(String),
    Version(u32),
    Broken(io::Error),
}

impl Installer {
    /// Asks once. `bytes` follow an [`Ask::Apply`] and are empty otherwise. Blocking, at most
    /// [`ANSWER_TIME_MAX`] and a little more.
    ///
    /// # Errors
    /// There is no answer; a refusal is one.
    pub fn call(
        &self,
        target: &TargetName,
        member: Option<&str>,
        ask: Ask,
        bytes: &[u8],
    ) -> Result<Answer, CallError> {
        let fail = |what| CallError { socket: self.socket.clone(), what };
        let stream = UnixStream::connect(&self.socket).map_err(|error| fail(What::Connect(error)))?;
        is_roots(&stream).map_err(&fail)?;
        let line = Line::new(&stream, REQUEST_TIME_MAX);
        let greeting: Greeting = line.receive().map_err(|error| fail(What::Silent(error)))?;
        if let Some(why) = greeting.refused {
            return Err(fail(What::Refused(why)));
        }
        if greeting.version != VERSION {
            return Err(fail(What::Version(greeting.version)));
        }
        let request = Request {
            version: VERSION,
            session: greeting.session,
            target: target.to_string(),
            member: member.map(str::to_owned),
            ask,
        };
        let sent = line.send(&request).and_then(|()| line.write(bytes));
        // An installer that refuses hangs up before it has read everything; its answer says more than the broken pipe.
        let answer = Line::new(&stream, ANSWER_TIME_MAX).receive();
        match (sent, answer) {
            (_, Ok(answer)) => Ok(answer),
            (Err(error), _) | (Ok(()), Err(error)) => Err(fail(What::Broken(error))),
        }
    }
}

/// Whoever else listens there must not be told what a target holds, nor be believed that it was installed.
fn is_roots(stream: &UnixStream) -> Result<(), What> {
    let peer = rustix::net::sockopt::socket_peercred(stream).map_err(|error| What::Connect(error.into()))?;
    let (peer, us) = (peer.uid.as_raw(), rustix::process::geteuid().as_raw());
    if peer == 0 || peer == us { Ok(()) } else { Err(What::Stranger(peer)) }
}

impl CallError {
    /// Whether it may pass by itself; else a person must act.
    pub fn is_transient(&self) -> bool {
        matches!(self.what, What::Broken(_))
    }

    /// The socket that was tried.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.socket.display();
        match &self.what {
            What::Connect(error) => {
                write!(f, "cannot reach the installer at `{socket}`: {error}; ")?;
                f.write_str(match error.kind() {
                    io::ErrorKind::NotFound => "run: systemctl enable --now rosterd-install.socket",
                    io::ErrorKind::ConnectionRefused => {
                        "run: systemctl restart rosterd-install.socket; why it stopped is in: journalctl -u rosterd-install"
                    }
                    io::ErrorKind::PermissionDenied => {
                        "its group must be the daemon's (SocketGroup= of rosterd-install.socket)"
                    }
                    _ => "see: systemctl status rosterd-install.socket",
                })
            }
            What::Stranger(uid) => write!(
                f,
                "`{socket}` belongs to user {uid} and not to root, so it is not the installer; look at what listens there"
            ),
            What::Silent(error) => write!(
                f,
                "the installer at `{socket}` did not greet: {error}; mend what `rosterd installer --check` or \
                 `journalctl -u rosterd-install` says, then: systemctl restart rosterd-install.socket"
            ),
            What::Refused(why) => write!(f, "the installer at `{socket}` refuses to listen: {why}"),
            What::Version(version) => write!(
                f,
                "the installer at `{socket}` speaks version {version} and this daemon {VERSION}; run: systemctl restart \
                 rosterd-install rosterd"
            ),
            What::Broken(error) => write!(
                f,
                "the installer at `{socket}` ended the connection without an answer: {error}; see: journalctl -u \
                 rosterd-install"
            ),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.what {
            What::Connect(error) | What::Silent(error) | What::Broken(error) => Some(error),
            What::Stranger(_) | What::Refused(_) | What::Version(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn target() -> TargetName {
        TargetName::parse("sudo").unwrap()
    }

    /// Asks somebody who does what `peer` does with the connection.
    fn told(peer: impl FnOnce(UnixStream) + Send + 'static) -> String {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let other = std::thread::spawn(move || peer(listener.accept().unwrap().0));
        let answer = Installer { socket }.call(&target(), None, Ask::Inspect, b"");
        other.join().unwrap();
        answer.map_or_else(|error| error.to_string(), |answer| format!("{answer:?}"))
    }

    fn greet(stream: &UnixStream, version: u32, refused: Option<String>) {
        let greeting = Greeting { version, session: "one".into(), refused };
        Line::new(stream, REQUEST_TIME_MAX).send(&greeting).unwrap();
    }

    #[test]
    fn each_way_of_getting_no_answer_says_what_to_do() {
        let nobody = Installer { socket: "/nowhere/rosterd.sock".into() };
        let error = nobody.call(&target(), None, Ask::Inspect, b"").unwrap_err();
        assert!(error.to_string().contains("systemctl enable --now rosterd-install.socket"), "{error}");
        assert!(!error.is_transient());
        assert!(told(drop).contains("did not greet"));
        let why = told(|stream| greet(&stream, 1, Some("user 7 may not ask".into())));
        assert!(why.contains("user 7 may not ask"), "{why}");
        assert!(told(|stream| greet(&stream, 2, None)).contains("speaks version 2"));
        let why = told(|stream| {
            greet(&stream, 1, None);
            let _request: Request = Line::new(&stream, REQUEST_TIME_MAX).receive().unwrap();
        });
        assert!(why.contains("without an answer"), "{why}");
    }

    #[test]
    fn the_request_repeats_what_the_greeting_said() {
        let answer = told(|stream| {
            greet(&stream, 1, None);
            let line = Line::new(&stream, REQUEST_TIME_MAX);
            let request: Request = line.receive().unwrap();
            assert_eq!((request.session.as_str(), request.ask), ("one", Ask::Inspect));
            line.send(&Answer::Settled).unwrap();
        });
        assert_eq!(answer, "Settled");
    }
}
