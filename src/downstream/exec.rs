//! One event given to a program: an argument list, never a shell; the body on its standard input; a clean
//! environment; a time limit for the whole process group; its first output kept as the answer. Blocking.

use std::time::Duration;

use super::command::{self, Argv, CommandError, INPUT_BYTES_MAX, Limits, Output, Status};

/// What stands for the event's id in an argument list.
pub const ID_PLACEHOLDER: &str = "{id}";

/// Longest body a program can be given.
pub const BODY_BYTES_MAX: usize = INPUT_BYTES_MAX;

/// Bytes of output kept in the record.
const OUTPUT_KEPT_BYTES: usize = 512;

/// The exit code by which a program says that trying again would not help (`EX_DATAERR` of sysexits.h).
const DATA_ERROR: i32 = 65;

/// One program that takes events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Key `argv`: the program and its arguments; `{id}` in an argument becomes the event's id.
    pub argv: Argv,
    /// Key `timeout`. Default 15 s, 1 s to 5 min.
    pub timeout: Duration,
}

/// What came of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// From start to end.
    pub took: Duration,
    /// The first bytes of what it wrote.
    pub output: Vec<u8>,
    /// What follows.
    pub verdict: Verdict,
}

/// What the caller does after a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Exit code 0: it has the event.
    Done,
    /// Run it again later.
    Retry(String),
    /// Exit code 65: running it again would not help.
    Refused(String),
}

/// Runs the program with one event. Never fails: whatever happens is a [`Ran`].
pub fn run(settings: &Settings, id: &str, body: &[u8]) -> Ran {
    let words = settings.argv.words().iter().map(|word| word.replace(ID_PLACEHOLDER, id)).collect();
    // An id is digits and `-`, so what was an argument list stays one.
    let argv = Argv::parse(words).unwrap_or_else(|_| settings.argv.clone());
    if body.len() > BODY_BYTES_MAX {
        let why = format!("the event has {} bytes; a program is given at most {BODY_BYTES_MAX}", body.len());
        return Ran { took: Duration::ZERO, output: Vec::new(), verdict: Verdict::Refused(why) };
    }
    judge(command::run_with(&argv, None, Some(body), &Limits { timeout: settings.timeout }))
}

fn judge(done: Result<Output, CommandError>) -> Ran {
    match done {
        Ok(mut output) => {
            output.output.truncate(OUTPUT_KEPT_BYTES);
            let verdict = match output.status {
                Status::Exited(0) => Verdict::Done,
                Status::Exited(DATA_ERROR) => {
                    Verdict::Refused("the program ended with 65; running it again would not help".into())
                }
                status => Verdict::Retry(format!("the program ended: {status}")),
            };
            Ran { took: output.took, output: output.output, verdict }
        }
        Err(error) => {
            let verdict = Verdict::Retry(error.to_string());
            Ran { took: Duration::ZERO, output: Vec::new(), verdict }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, body: &[u8]) -> Ran {
        let argv = ["sh", "-c", script, "sh", "{id}"].map(str::to_owned).to_vec();
        run(&Settings { argv: Argv::parse(argv).unwrap(), timeout: Duration::from_secs(20) }, "1-2-0", body)
    }

    #[test]
    fn the_event_is_on_standard_input_and_its_id_an_argument() {
        let ran = sh("printf '%s ' \"$1\"; cat", b"{\"a\":1}");
        assert_eq!((ran.verdict, ran.output.as_slice()), (Verdict::Done, b"1-2-0 {\"a\":1}".as_slice()));
    }

    #[test]
    fn exit_codes_say_what_follows_and_output_is_bounded() {
        assert!(matches!(sh("exit 65", b"").verdict, Verdict::Refused(_)));
        for script in ["exit 1", "exit 75", "kill -9 $$"] {
            assert!(matches!(sh(script, b"").verdict, Verdict::Retry(_)), "{script}");
        }
        assert_eq!(sh("head -c 100000 /dev/zero", b"").output.len(), OUTPUT_KEPT_BYTES);
    }

    #[test]
    fn a_program_that_cannot_start_is_tried_again_and_a_body_too_long_is_not() {
        let argv = Argv::parse(vec!["/no/such/program".into()]).unwrap();
        let settings = Settings { argv, timeout: Duration::from_secs(1) };
        assert!(matches!(run(&settings, "1-1-0", b"x").verdict, Verdict::Retry(_)));
        assert!(matches!(sh("cat", &vec![b'x'; BODY_BYTES_MAX + 1]).verdict, Verdict::Refused(_)));
    }
}
