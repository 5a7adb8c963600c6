//! The command line's shape. Each command's own arguments stand in its file; here is the tree.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::{
    access, approve, backup, capture, check, delivery, demo, diff, directory, doctor, events, explain,
    export, grant, group, history, import, installer, manual, open, plan, reject, reload, replay, serve,
    shut, status, subject, sync, target, token, user, verify,
};

/// Where the config is looked for unless `--config` says otherwise.
pub const CONFIG_DEFAULT: &str = "/etc/rosterd/rosterd.toml";

/// Turns what an identity provider pushes over SCIM 2.0 into policy files and webhooks, and keeps them true.
#[derive(Debug, Parser)]
#[command(name = "rosterd", version, max_term_width = 110, propagate_version = true)]
#[command(after_help = "Example: see the whole job on this machine, with throwaway state\n  rosterd demo")]
pub struct Cli {
    /// The config file.
    #[arg(long, global = true, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    Serve(serve::Args),
    /// Show the whole job on loopback with throwaway state
    Demo(demo::Args),
    /// Validate the config and everything it names, without touching anything
    Check(check::Args),
    /// Run the root process that writes files of root for the daemon
    Installer(installer::Args),
    /// Let the daemon read its config again, and wait for the result
    Reload(reload::Args),
    /// One screen of state: directories, targets, what is wrong
    Status(status::Args),
    /// Check that log, mirror and what lies at the targets agree
    Verify(verify::Args),
    /// Identity-provider integrations: add, list, show, rename, enable, disable, remove, rebaseline
    Directory(directory::Args),
    /// Bearer tokens: new, list, revoke
    Token(token::Args),
    /// The users that were pushed: list, show, forget
    User(user::Args),
    /// The groups that were pushed: list, show
    Group(group::Args),
    /// Why somebody holds, or does not hold, each role
    Explain(explain::Args),
    /// What webhooks and readers are told: schema, list, keys
    Events(events::Args),
    /// Present access in one of the formats that targets have
    Export(export::Args),
    /// Who holds which role, now or then, since when and by what; access reviews
    Access(access::Args),
    /// What came and went between two moments, and which change made it
    Diff(diff::Args),
    /// What changed, by whom and when: the log
    History(history::Args),
    /// What each target would change now
    Plan(plan::Args),
    /// Bring targets up to date now
    Sync(sync::Args),
    /// What each target is and keeps: list, show, rollback, forget
    Target(target::Args),
    /// Let removals go that the guard holds
    Approve(approve::Args),
    /// Keep what the guard holds
    Reject(reject::Args),
    /// Events on their way to webhooks and programs: list, show, retry, skip, replay, snapshot
    Delivery(delivery::Args),
    /// Somebody out of every target now, whatever the identity provider says, until `open`
    Shut(shut::Args),
    /// Let somebody in again who was shut
    Open(open::Args),
    /// A role for a time, on top of what the identity provider says: give, list, revoke
    Grant(grant::Args),
    /// Which directory a name belongs to: release, released
    Subject(subject::Args),
    /// Copy the mirror to a file, while the daemon runs or not
    Backup(backup::BackupArgs),
    /// Put a backup in the mirror's place; targets stay as they are until they are verified
    Restore(backup::RestoreArgs),
    /// Move a file of people into a directory: SCIM, JSON Lines, LDIF or CSV, as one plan
    Import(import::Args),
    /// Record what an identity provider sends, with made-up people, as a trace
    Capture(capture::Args),
    /// Play a trace against a throwaway daemon or a server, and compare
    Replay(replay::Args),
    /// Look an installation over and say what to mend
    Doctor(doctor::Args),
    /// Completions for a shell
    Completions(manual::CompletionsArgs),
    /// The manual page
    Man(manual::ManArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_tree_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "no example in the help of{path}");
            for sub in command.get_subcommands() {
                walk(sub, &path);
            }
        }
        walk(&Cli::command(), "");
    }

    #[test]
    fn a_wrong_command_line_ends_with_64_and_help_with_0() {
        use crate::cli::{Exit, run};
        assert_eq!(run(["rosterd", "serv"]), Exit::Usage);
        assert_eq!(run(["rosterd"]), Exit::Usage);
        assert_eq!(run(["rosterd", "directory", "add", "--kind", "octa", "X"]), Exit::Usage);
        assert_eq!(run(["rosterd", "--version"]), Exit::Done);
        assert_eq!(run(["rosterd", "status", "--help"]), Exit::Done);
    }

    #[test]
    fn the_config_may_stand_before_or_after_the_command() {
        for argv in
            [["rosterd", "--config", "/x", "status"].as_slice(), &["rosterd", "status", "--config", "/x"]]
        {
            assert_eq!(Cli::try_parse_from(argv).unwrap().config, PathBuf::from("/x"));
        }
    }
}
