//! The `rosterd` binary: argv in, exit code out.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    rosterd::cli::run(std::env::args_os()).into()
}
