//! Runs an operator's command: an argument list, never a shell; a clean environment; a time limit for the whole
//! process group; a bounded, kept output. Blocking: call it on a blocking thread.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

/// Where programs without a `/` are looked up, and the only `PATH` a command sees.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Most output kept of one command, standard output and error together; the rest is read and dropped.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of standard input given to a command: no more than every pipe takes at once.
pub const INPUT_BYTES_MAX: usize = 32 * 1024;

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
/// The command gets no standard input, no environment but `PATH` and `LC_ALL=C.UTF-8`, `/` as its folder, and a
/// process group of its own.
///
/// # Errors
/// The program cannot be started. A program that runs and fails is an [`Output`], not an error.
pub fn run(argv: &Argv, file: Option<&Path>, limits: &Limits) -> Result<Output, CommandError> {
    run_with(argv, file, None, limits)
}

/// As [`run`], with `input` on its standard input: at most [`INPUT_BYTES_MAX`], the rest is cut off.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    argv: &Argv,
    file: Option<&Path>,
    input: Option<&[u8]>,
    limits: &Limits,
) -> Result<Output, CommandError> {
    let failed = |source| CommandError { program: argv.program().to_owned(), source };
    let started = Instant::now();
    let mut child = spawn(argv, file, input.is_some()).map_err(failed)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // It fits the pipe, so nothing is waited for; a program that does not read it may have ended already.
        let _unread = stdin.write_all(input.get(..INPUT_BYTES_MAX).unwrap_or(input));
    }
    let watched = watch(&mut child, started, limits.timeout);
    if !matches!(watched, Ok(Watched { ended: true, .. })) {
        kill_group(&child);
    }
    let status = child.wait().map_err(failed)?;
    let Watched { ended, output, is_cut } = watched.map_err(failed)?;
    let status = match (ended, status.code(), status.signal()) {
        (false, ..) => Status::TimedOut,
        (true, Some(code), _) => Status::Exited(code),
        (true, None, signal) => Status::Signalled(signal.unwrap_or_default()),
    };
    Ok(Output { status, output, is_cut, took: started.elapsed() })
}

/// What was seen of a running command.
struct Watched {
    ended: bool,
    output: Vec<u8>,
    is_cut: bool,
}

fn spawn(argv: &Argv, file: Option<&Path>, has_input: bool) -> io::Result<Child> {
    let arguments = argv.words().iter().skip(1).map(|word| with_file(word, file));
    Command::new(argv.program())
        .args(arguments)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/")
        .stdin(if has_input { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// `word` with every `{file}` replaced; bytes, because a path need not be UTF-8.
fn with_file(word: &str, file: Option<&Path>) -> OsString {
    let Some(file) = file else { return word.into() };
    let mut argument = OsString::new();
    for (n, part) in word.split(FILE_PLACEHOLDER).enumerate() {
        if n > 0 {
            argument.push(file);
        }
        argument.push(part);
    }
    argument
}

/// Reads what the command writes until it ends or its time is up. A process it leaves in the background may keep
/// the pipes open; that is not waited for.
fn watch(child: &mut Child, started: Instant, timeout: Duration) -> io::Result<Watched> {
    let mut pipes: Vec<File> = Vec::new();
    for fd in
        [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)].into_iter().flatten()
    {
        rustix::io::ioctl_fionbio(&fd, true)?;
        pipes.push(File::from(fd));
    }
    // Without a pidfd (a kernel or sandbox that lacks it) the end is looked for in short steps.
    let pidfd = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default())
        .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut kept = Watched { ended: false, output: Vec::new(), is_cut: false };
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        kept.ended = child.try_wait()?.is_some();
        pipes.retain_mut(|pipe| drain(pipe, &mut kept));
        if kept.ended || left.is_zero() {
            return Ok(kept);
        }
        let step = if pidfd.is_some() { left } else { left.min(Duration::from_millis(10)) };
        let mut fds: Vec<PollFd<'_>> = pipes.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
        fds.extend(pidfd.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        // Milliseconds rounded up, so that the last fraction does not spin.
        let nanos = step.saturating_add(Duration::from_micros(999));
        let wait = Timespec {
            tv_sec: i64::try_from(nanos.as_secs()).unwrap_or(3600),
            tv_nsec: nanos.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes what a pipe holds now; false once it is at its end.
fn drain(pipe: &mut File, kept: &mut Watched) -> bool {
    let mut buffer = [0u8; 4096];
    // Bounded, so that a command that writes without pause cannot keep the time limit from being looked at.
    for _ in 0..64 {
        match pipe.read(&mut buffer) {
            Ok(0) => return false,
            Ok(read) => {
                let room = OUTPUT_BYTES_MAX.saturating_sub(kept.output.len());
                kept.is_cut |= read > room;
                kept.output.extend(buffer.iter().take(read.min(room)));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

/// Kills the command and everything it started that stayed in its group. Called only before it was waited for, so
/// the id cannot have been given to another process.
fn kill_group(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _already_gone = rustix::process::kill_process_group(pid, Signal::KILL);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Argv {
        Argv::parse(words.iter().map(|&word| word.to_owned()).collect()).unwrap()
    }

    fn sh(script: &str) -> Output {
        run(&argv(&["sh", "-c", script]), None, &Limits::default()).unwrap()
    }

    #[test]
    fn exit_code_and_both_streams_are_reported() {
        let output = sh("echo out; echo err >&2; exit 3");
        assert_eq!(output.status, Status::Exited(3));
        assert!(output.text().contains("out\n") && output.text().contains("err\n"));
        assert!(!output.is_success() && !output.is_cut);
    }

    #[test]
    fn the_file_is_one_argument_whatever_it_is_called() {
        let file = Path::new("/tmp/a b;$(touch x)'\"");
        let output =
            run(&argv(&["printf", "<%s>", "{file}", "--in={file}"]), Some(file), &Limits::default()).unwrap();
        assert_eq!(output.text(), "</tmp/a b;$(touch x)'\"><--in=/tmp/a b;$(touch x)'\">");
    }

    #[test]
    fn the_environment_is_clean_and_standard_input_is_empty() {
        let output = sh("cat; env | sort");
        let text = output.text();
        assert!(!text.contains("CARGO") && !text.contains("HOME="), "{text}");
        assert!(text.contains(&format!("PATH={SEARCH_PATH}\n")), "{text}");
    }

    #[test]
    fn output_beyond_the_bound_is_read_but_not_kept() {
        let output = sh("head -c 300000 /dev/zero | tr '\\0' x");
        assert_eq!((output.output.len(), output.is_cut), (OUTPUT_BYTES_MAX, true));
        assert!(output.is_success());
    }

    #[test]
    fn the_time_limit_kills_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let limits = Limits { timeout: Duration::from_millis(300) };
        let output = run(&argv(&["sh", "-c", &script]), None, &limits).unwrap();
        assert_eq!(output.status, Status::TimedOut);
        let sleeper = std::fs::read_to_string(pid).unwrap();
        let pid = sleeper.trim().parse().ok().and_then(Pid::from_raw).unwrap();
        // The signal is sent when `run` returns; its effect may take a moment. No such process: it is gone already.
        if let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            let mut fds = [PollFd::new(&process, PollFlags::IN)];
            let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
            assert_eq!(rustix::event::poll(&mut fds, Some(&limit)), Ok(1), "still running");
        }
    }

    #[test]
    fn a_process_left_in_the_background_is_not_waited_for() {
        let output = sh("sleep 30 & echo started");
        assert!(output.is_success());
        assert!(output.took < Duration::from_secs(25));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&argv(&["/no/such/program"]), None, &Limits::default()).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("cannot start `/no/such/program`:"));
    }

    #[test]
    fn impossible_argument_lists_are_refused() {
        for words in
            [vec![], vec![String::new()], vec!["{file}".to_owned()], vec!["a".to_owned(), "\0".to_owned()]]
        {
            assert!(Argv::parse(words.clone()).is_err(), "{words:?}");
        }
    }
}
