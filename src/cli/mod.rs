//! The command line: a file per command, what they print, how they end.
//!
//! Commands decide nothing. They ask the daemon over its admin socket, or, where none runs, the same handler in
//! this process over a mirror opened under `serve`'s lock ([`admin`]); they print what came back as a table or
//! as JSON ([`output`]); and one match turns errors into exit codes ([`exit`]).

pub mod admin;
pub mod args;
pub mod exit;
pub mod output;

mod access;
mod approve;
mod backup;
mod capture;
mod check;
mod delivery;
mod demo;
mod diff;
mod directory;
mod doctor;
mod events;
mod explain;
mod export;
mod grant;
mod group;
mod history;
mod import;
mod installer;
mod manual;
mod open;
mod plan;
mod progress;
mod reject;
mod reload;
mod replay;
mod review;
mod serve;
mod shut;
mod status;
mod subject;
mod sync;
mod target;
mod token;
mod user;
mod verify;

use std::ffi::OsString;

use clap::Parser as _;

pub use args::{Cli, Command};
pub use exit::{Error, Exit, Kind};

/// Runs the command line `argv` (the program's name first) and says how the process should end.
pub fn run<I, T>(argv: I) -> Exit
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(argv) {
        Ok(cli) => cli,
        Err(usage) => {
            // clap's own printing: help and version to standard output, mistakes to standard error.
            let _ = usage.print();
            return if usage.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    match dispatch(&cli) {
        Ok(exit) => exit,
        Err(error) => {
            output::note(&format!("{}error:{} {error}", output::style::RED, output::style::RESET));
            if let Some(advice) = error.advice() {
                output::note(&format!("Try: {advice}"));
            }
            error.exit()
        }
    }
}

fn dispatch(cli: &Cli) -> Result<Exit, Error> {
    let config = cli.config.as_path();
    match &cli.command {
        Command::Serve(args) => serve::run(args, config),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(args, config),
        Command::Installer(args) => installer::run(args, config),
        Command::Reload(args) => reload::run(args, config),
        Command::Status(args) => status::run(args, config),
        Command::Verify(args) => verify::run(args, config),
        Command::Directory(args) => directory::run(args, config),
        Command::Token(args) => token::run(args, config),
        Command::User(args) => user::run(args, config),
        Command::Group(args) => group::run(args, config),
        Command::Explain(args) => explain::run(args, config),
        Command::Events(args) => events::run(args, config),
        Command::Export(args) => export::run(args, config),
        Command::Access(args) => access::run(args, config),
        Command::Diff(args) => diff::run(args, config),
        Command::History(args) => history::run(args, config),
        Command::Plan(args) => plan::run(args, config),
        Command::Sync(args) => sync::run(args, config),
        Command::Target(args) => target::run(args, config),
        Command::Approve(args) => approve::run(args, config),
        Command::Reject(args) => reject::run(args, config),
        Command::Delivery(args) => delivery::run(args, config),
        Command::Shut(args) => shut::run(args, config),
        Command::Open(args) => open::run(args, config),
        Command::Grant(args) => grant::run(args, config),
        Command::Capture(args) => capture::run(args, config),
        Command::Replay(args) => replay::run(args, config),
        Command::Doctor(args) => Ok(doctor::run(args, config)),
        Command::Completions(args) => Ok(manual::completions(args)),
        Command::Man(args) => manual::man(args),
        Command::Backup(args) => backup::backup(args, config),
        Command::Restore(args) => backup::restore(args, config),
        Command::Import(args) => import::run(args, config),
        Command::Subject(args) => subject::run(args, config),
    }
}
