//! How a command ends: one table of exit codes and the one match from error to code (DESIGN §3).
//!
//! systemd tells these apart: `RestartPreventExitStatus=64 65 66 77 78` in `rosterd.service`.

use std::fmt;
use std::process::ExitCode;

/// Every way a command may end. The numbers are a promise; 64 and above are those of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It ran and failed, or the answer is no.
    Failed = 1,
    /// `plan --exit-code`: changes are pending.
    Pending = 2,
    /// The guard holds removals.
    Held = 3,
    /// Wrong command line.
    Usage = 64,
    /// The mirror is not ours, newer than this program, or corrupt.
    Data = 65,
    /// A file named on the command line is missing.
    NoInput = 66,
    /// The daemon cannot be reached.
    Unavailable = 69,
    /// A bug of ours.
    Internal = 70,
    /// An I/O error on the mirror.
    Io = 74,
    /// For now: a port is taken, a lock is held.
    Temporary = 75,
    /// Permission denied.
    Permission = 77,
    /// The config is wrong.
    Config = 78,
}

impl Exit {
    /// The whole table, in order; the man page and the tests read it.
    pub const TABLE: [(Self, &'static str); 13] = [
        (Self::Done, "done"),
        (Self::Failed, "ran and failed, or the answer is no"),
        (Self::Pending, "plan --exit-code: changes are pending"),
        (Self::Held, "held by the guard"),
        (Self::Usage, "wrong command line"),
        (Self::Data, "the mirror is not ours, newer or corrupt"),
        (Self::NoInput, "a named file is missing"),
        (Self::Unavailable, "the daemon cannot be reached"),
        (Self::Internal, "internal error"),
        (Self::Io, "I/O error on the mirror"),
        (Self::Temporary, "temporary: a port is taken, a lock is held"),
        (Self::Permission, "permission denied"),
        (Self::Config, "config error"),
    ];

    /// The number the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed: what kind (which decides the exit code), what happened and what to try.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

/// What a caller in a shell treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The daemon understood and said no: not found, taken already, invalid.
    Refused,
    /// Removals wait for a person's word.
    Held,
    /// The arguments do not fit together.
    Usage,
    /// The mirror is not ours, newer or corrupt.
    BadMirror,
    /// A file named on the command line is missing.
    Missing,
    /// No daemon answers, and the command needs one.
    NoDaemon,
    /// An answer nobody should ever give.
    Bug,
    /// The mirror could not be read or written.
    MirrorIo,
    /// Trying again later may work.
    Temporary,
    /// The caller may not.
    Permission,
    /// The config is wrong.
    Config,
}

impl Error {
    /// An error of `kind`; `message` starts in lower case and says what failed, and where.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The same with what a person could try next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure where it comes from no daemon running.
    #[must_use]
    pub fn without_daemon(self) -> Self {
        Self { kind: Kind::NoDaemon, ..self }
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to try next, where something is known.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The exit code for this error: the one place where errors become numbers.
    pub fn exit(&self) -> Exit {
        match self.kind {
            Kind::Refused => Exit::Failed,
            Kind::Held => Exit::Held,
            Kind::Usage => Exit::Usage,
            Kind::BadMirror => Exit::Data,
            Kind::Missing => Exit::NoInput,
            Kind::NoDaemon => Exit::Unavailable,
            Kind::Bug => Exit::Internal,
            Kind::MirrorIo => Exit::Io,
            Kind::Temporary => Exit::Temporary,
            Kind::Permission => Exit::Permission,
            Kind::Config => Exit::Config,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_code_of_the_contract_once() {
        let codes: Vec<u8> = Exit::TABLE.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 64, 65, 66, 69, 70, 74, 75, 77, 78]);
    }

    #[test]
    fn each_kind_of_error_has_its_code() {
        let cases = [
            (Kind::Refused, 1),
            (Kind::Held, 3),
            (Kind::Usage, 64),
            (Kind::BadMirror, 65),
            (Kind::Missing, 66),
            (Kind::NoDaemon, 69),
            (Kind::Bug, 70),
            (Kind::MirrorIo, 74),
            (Kind::Temporary, 75),
            (Kind::Permission, 77),
            (Kind::Config, 78),
        ];
        for (kind, code) in cases {
            assert_eq!(Error::new(kind, "x").exit().code(), code, "{kind:?}");
        }
    }
}
