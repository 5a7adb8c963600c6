//! What can stop a file from being put in place: path, step, cause and a hint for the person who must act.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::downstream::command::{CommandError, Output};

/// Why the new bytes are not in place.
#[derive(Debug)]
pub struct ApplyError {
    /// The destination.
    pub path: PathBuf,
    /// Where in the order it stopped.
    pub step: Step,
    /// What stopped it.
    pub cause: Cause,
}

/// The steps of DESIGN §6.1 by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Opening the folder and judging who may write to it.
    Folder,
    /// Reading what is there.
    Compare,
    /// Writing the staged file, its mode and its fsync.
    Stage,
    /// The format's own parser on the staged bytes.
    Parse,
    /// The operator's `check`.
    Check,
    /// Keeping a link to the old file.
    Link,
    /// The rename and the fsync of the folder.
    Swap,
    /// The operator's `verify`.
    Verify,
    /// Putting the old file back.
    Restore,
    /// Storing the version under the state directory.
    Keep,
}

/// What went wrong.
#[derive(Debug)]
pub enum Cause {
    /// The operating system said no.
    Io(io::Error),
    /// The destination or its folder is not one that may be written; the text says what and what to do.
    Refused(String),
    /// What is there is not what the plan was made for.
    Changed,
    /// The format's own parser refused the bytes.
    Parse(String),
    /// The command could not be started.
    Start(CommandError),
    /// The command ran and said no.
    Command(Box<Output>),
    /// `verify` said no and the old file could not be put back: the new one is still in place.
    NotRestored(Box<Output>, io::Error),
}

/// What the caller does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Try again later.
    Transient,
    /// The bytes are at fault; another rendering may pass.
    Refused,
    /// A person must act.
    NeedsOperator,
}

impl ApplyError {
    /// The class of this error.
    pub fn kind(&self) -> Kind {
        Kind::NeedsOperator
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write `{}`", self.path.display())
    }
}

impl std::error::Error for ApplyError {}
