//! What can stop a file from being put in place: path, step, cause and a hint for the person who must act.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::downstream::command::{CommandError, Output, Status};

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
    /// Taking a file of ours away.
    Remove,
    /// The operator's `reload`.
    Reload,
    /// Asking the installer, which does all the others.
    Installer,
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
    /// The installer refused, or did not answer.
    Installer(Box<Installed>),
}

/// What came back from the installer instead of a deed.
#[derive(Debug)]
pub struct Installed {
    /// The class it gave.
    pub kind: Kind,
    /// The whole message: what, where, what to do.
    pub message: String,
    /// What the command that said no has written.
    pub output: Option<Output>,
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
        match &self.cause {
            Cause::Io(error) if needs_a_person(error) => Kind::NeedsOperator,
            Cause::Io(_) | Cause::Changed => Kind::Transient,
            Cause::Command(output) if output.status == Status::TimedOut => Kind::Transient,
            Cause::Command(_) | Cause::Parse(_) => Kind::Refused,
            Cause::Refused(_) | Cause::Start(_) | Cause::NotRestored(..) => Kind::NeedsOperator,
            Cause::Installer(said) => said.kind,
        }
    }

    /// What a person can do about it; empty where the message says it all.
    pub fn hint(&self) -> &'static str {
        match &self.cause {
            Cause::Io(error) => io_hint(error, self.step),
            Cause::Changed => {
                "somebody edited it; look at `rosterd plan`, then `rosterd sync TARGET --adopt` to replace it"
            }
            Cause::Start(_) => "name an installed program by its full path",
            Cause::Command(_) if self.step == Step::Verify => {
                "the old file is back; the refused one is kept under the state directory"
            }
            Cause::Command(_) | Cause::Parse(_) => {
                "the old file stays; the refused one is kept under the state directory"
            }
            Cause::NotRestored(..) => {
                "the new file is in place although `verify` refused it; put the `.prev` beside it back by hand"
            }
            Cause::Refused(_) | Cause::Installer(_) => "",
        }
    }

    /// The kept output of the command that said no.
    pub fn output(&self) -> Option<&Output> {
        match &self.cause {
            Cause::Command(output) | Cause::NotRestored(output, _) => Some(output),
            Cause::Installer(said) => said.output.as_ref(),
            _ => None,
        }
    }
}

fn needs_a_person(error: &io::Error) -> bool {
    use io::ErrorKind::{
        CrossesDevices, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem, ResourceBusy,
    };
    matches!(
        error.kind(),
        CrossesDevices | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem | ResourceBusy
    )
}

fn io_hint(error: &io::Error, step: Step) -> &'static str {
    use io::ErrorKind::{
        CrossesDevices, NotADirectory, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
        ResourceBusy, StorageFull,
    };
    match error.kind() {
        ReadOnlyFilesystem => "add the folder to `ReadWritePaths=` of rosterd.service",
        PermissionDenied => {
            "let the daemon's user write to the folder, and check `ReadWritePaths=` of rosterd.service"
        }
        StorageFull | QuotaExceeded => "free some space; it is tried again by itself",
        NotFound if step == Step::Folder => "create the folder first; rosterd makes none",
        NotADirectory => "a file stands where a folder should be",
        ResourceBusy | CrossesDevices => {
            "a single file mounted into a container cannot be replaced; mount its folder"
        }
        _ => "",
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder => "opening the folder",
            Self::Compare => "reading what is there",
            Self::Stage => "writing the staged file",
            Self::Parse => "the built-in check",
            Self::Check => "`check`",
            Self::Link => "keeping the old file",
            Self::Swap => "renaming the staged file",
            Self::Verify => "`verify`",
            Self::Restore => "putting the old file back",
            Self::Keep => "storing the version",
            Self::Remove => "removing it",
            Self::Reload => "`reload`",
            Self::Installer => "through the installer",
        })
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write `{}`: {}: ", self.path.display(), self.step)?;
        match &self.cause {
            Cause::Io(error) => write!(f, "{error}")?,
            Cause::Refused(why) | Cause::Parse(why) => f.write_str(why)?,
            Cause::Changed => f.write_str("it is not what the plan was made for")?,
            Cause::Start(error) => write!(f, "{error}")?,
            Cause::Command(output) => said(f, output)?,
            Cause::NotRestored(output, error) => {
                said(f, output)?;
                write!(f, "; and the old file could not be put back: {error}")?;
            }
            Cause::Installer(said) => f.write_str(&said.message)?,
        }
        let hint = self.hint();
        if hint.is_empty() { Ok(()) } else { write!(f, "; {hint}") }
    }
}

/// How a command ended and the first line it said.
fn said(f: &mut fmt::Formatter<'_>, output: &Output) -> fmt::Result {
    write!(f, "{}", output.status)?;
    let text = output.text();
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => write!(f, ": {}", line.chars().take(200).collect::<String>()),
        None => Ok(()),
    }
}

impl std::error::Error for ApplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io(error) | Cause::NotRestored(_, error) => Some(error),
            Cause::Start(error) => Some(error),
            _ => None,
        }
    }
}
