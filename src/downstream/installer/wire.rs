//! The frames between daemon and installer, read and written with bounds on size and time.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the protocol that this program speaks.
pub const VERSION: u32 = 1;
/// Where systemd's socket unit listens, and the daemon connects unless its config says otherwise.
pub const SOCKET_DEFAULT: &str = "/run/rosterd-install.sock";
/// Longest frame, in bytes; the bytes of a file are not part of it.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Longest file that any target may have, in bytes.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Most output of a command that travels back, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 4096;
/// Time for a whole request to arrive, and for an answer to be taken.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time limit of one of the installer's commands; the daemon waits for two of them and a little more.
pub const COMMAND_TIME_MAX: Duration = Duration::from_mins(1);
/// How long the daemon waits for an answer.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(150);

/// What the installer says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`VERSION`] of the installer.
    pub version: u32,
    /// What the request must repeat; empty if the peer is refused.
    pub session: String,
    /// Why nothing will be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What the daemon asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`] of the daemon.
    pub version: u32,
    /// As in the [`Greeting`].
    pub session: String,
    /// The target's name, which both configs know.
    pub target: String,
    /// The file's name in a tree; none for a single file.
    pub member: Option<String>,
    /// What to do.
    pub ask: Ask,
}

/// The acts there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// What is at the destination now.
    Inspect,
    /// Put the bytes that follow in place.
    Apply {
        /// What must be there now.
        expect: Expect,
        /// How many bytes follow.
        length: u64,
        /// Their SHA-256 in hexadecimal digits.
        sha256: String,
    },
    /// The swap is recorded: keep the version, drop the way back.
    Settle {
        /// Of the new bytes.
        sha256: String,
        /// Of those before.
        replaced: Option<String>,
        /// The `seq` that the version shows.
        label: u64,
    },
    /// Remove the file.
    Remove {
        /// What must be there now.
        expect: Expect,
    },
    /// As `remove`, with a way back until `drop_aside` or `revert`.
    SetAside {
        /// What must be there now.
        expect: Expect,
    },
    /// Remove for good what was set aside.
    DropAside,
    /// Put back what an unsettled `apply` or a `set_aside` took away.
    Revert,
    /// Make the member a symlink to another member of its tree.
    PutLink {
        /// The other member.
        to: String,
    },
    /// Where a symlink points to.
    ReadLink,
    /// Remove a symlink.
    RemoveLink,
    /// Run the target's `reload`, if a swap or a removal is owed one.
    Reload,
}

/// What must be at the destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Expect {
    /// Whatever is there.
    Anything,
    /// Nothing.
    Absent,
    /// Bytes with this SHA-256.
    Content(String),
}

/// What the installer did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To `inspect`.
    Found {
        /// The destination, for the daemon to compare with its own config.
        path: String,
        /// What is there.
        what: Found,
    },
    /// The file is as wanted already, or gone already.
    Unchanged {
        /// The destination.
        path: String,
    },
    /// The bytes are in place and verified.
    Swapped {
        /// The destination.
        path: String,
        /// SHA-256 of the bytes before, if a readable file was there.
        replaced: Option<String>,
        /// What `check` said.
        check: Option<Ran>,
        /// What `verify` said.
        verify: Option<Ran>,
    },
    /// The swap is settled, the way back used or gone.
    Settled,
    /// To `put_link`.
    Linked {
        /// The destination.
        path: String,
        /// False: it was so already.
        is_new: bool,
    },
    /// To `read_link`.
    Link {
        /// The name it points to; none if there is no symlink.
        to: Option<String>,
    },
    /// The file is gone.
    Removed {
        /// The destination.
        path: String,
        /// SHA-256 of what was there.
        replaced: Option<String>,
    },
    /// To `reload`: what the command said; none if the target has no command or owes none.
    Reloaded {
        /// How it ended.
        ran: Option<Ran>,
    },
    /// Nothing was done, or it was undone.
    Refused(Refusal),
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What the daemon does about it.
    pub class: Class,
    /// What, where, what to do.
    pub message: String,
    /// What the command that said no has written.
    #[serde(default)]
    pub ran: Option<Ran>,
}

/// The class of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Try again later.
    Transient,
    /// What is there is not what the plan was made for.
    Changed,
    /// The bytes are at fault.
    Bytes,
    /// A person must act.
    Operator,
}

/// What is at a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// SHA-256 of the bytes; none of a stranger's file, which is nobody's to guess at.
        sha256: Option<String>,
        /// Length in bytes.
        bytes: u64,
        /// Permission bits.
        mode: u32,
        /// Mode, owner and group are as root's config says.
        is_as_set: bool,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Last change of the content, in microseconds since 1970.
        modified_us: u64,
    },
    /// Something else, by its word.
    Other(String),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Its end.
    pub ended: Ended,
    /// The first [`OUTPUT_BYTES_MAX`] bytes of what it wrote.
    pub output: String,
    /// There was more.
    pub is_cut: bool,
    /// How long it took.
    pub took_ms: u64,
}

/// The end of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// At its time limit.
    TimedOut,
}

/// A socket on which nothing takes longer than until a moment that was fixed before.
#[derive(Debug)]
pub struct Line<'a> {
    stream: &'a UnixStream,
    until: Instant,
}

impl<'a> Line<'a> {
    /// From here on `time` is left.
    pub fn new(stream: &'a UnixStream, time: Duration) -> Self {
        Self { stream, until: Instant::now() + time }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// The peer is gone or too slow, or the message is longer than [`FRAME_BYTES_MAX`].
    pub fn send<T: Serialize>(&self, message: &T) -> io::Result<()> {
        let json = serde_json::to_vec(message).map_err(io::Error::other)?;
        let too_long = || io::Error::new(io::ErrorKind::InvalidData, "the message does not fit a frame");
        let length = u32::try_from(json.len()).map_err(|_| too_long())?;
        if json.len() > FRAME_BYTES_MAX {
            return Err(too_long());
        }
        self.write(&[&length.to_be_bytes(), json.as_slice()].concat())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The peer is gone or too slow.
    pub fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut stream = self.stream;
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.left()?))?;
            match stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(timed_out(error)),
            }
        }
        Ok(())
    }

    /// Takes one frame.
    ///
    /// # Errors
    /// The peer is gone or too slow; `InvalidData`: the frame is too long, or not what was expected.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<T> {
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            let what = format!("a frame of {length} bytes; {FRAME_BYTES_MAX} is the most");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut json = vec![0; length];
        self.fill(&mut json)?;
        serde_json::from_slice(&json).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Takes exactly `length` bytes.
    ///
    /// # Errors
    /// The peer is gone or too slow.
    pub fn take(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&self, mut rest: &mut [u8]) -> io::Result<()> {
        let mut stream = self.stream;
        while !rest.is_empty() {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match stream.read(rest) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => rest = rest.get_mut(read..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(timed_out(error)),
            }
        }
        Ok(())
    }
}

/// A socket's time limit shows as "would block".
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    fn request() -> Request {
        Request {
            version: VERSION,
            session: "s".into(),
            target: "sudo".into(),
            member: None,
            ask: Ask::Apply { expect: Expect::Absent, length: 3, sha256: "00".into() },
        }
    }

    #[test]
    fn a_frame_comes_back_as_it_was_sent_and_the_bytes_behind_it_too() {
        let (here, there) = pair();
        let line = Line::new(&here, Duration::from_secs(5));
        line.send(&request()).unwrap();
        line.write(b"abc").unwrap();
        let other = Line::new(&there, Duration::from_secs(5));
        assert_eq!(other.receive::<Request>().unwrap(), request());
        assert_eq!(other.take(3).unwrap(), b"abc");
        drop(here);
        assert_eq!(other.take(1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn requests_with_unknown_fields_acts_or_none_are_no_requests() {
        let text = serde_json::to_string(&request()).unwrap();
        assert!(serde_json::from_str::<Request>(&text).is_ok());
        for (from, to) in [
            ("\"target\"", "\"path\":\"/etc/shadow\",\"target\""),
            ("\"expect\":\"absent\"", "\"expect\":\"absent\",\"mode\":511"),
            ("\"apply\"", "\"chmod\""),
            ("\"length\":3", "\"length\":-3"),
            ("\"target\":\"sudo\",", ""),
        ] {
            assert!(text.contains(from), "{text}");
            assert!(serde_json::from_str::<Request>(&text.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_not_read_and_a_silent_peer_is_not_waited_for() {
        let (here, there) = pair();
        Line::new(&here, Duration::from_secs(5)).write(&u32::MAX.to_be_bytes()).unwrap();
        let error = Line::new(&there, Duration::from_secs(5)).receive::<Request>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let error = Line::new(&there, Duration::from_millis(1)).take(1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let long = "x".repeat(FRAME_BYTES_MAX);
        assert!(Line::new(&here, Duration::from_secs(5)).send(&long).is_err());
    }
}
