//! `rosterd backup` and `rosterd restore`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::exit::{Error, Exit, Kind};
use super::output::{self, Json};
use super::progress::{Bar, Quiet};
use crate::daemon;
use crate::daemon::keeping::{self, KeepingError};
use crate::mirror::StoreError;

/// Arguments of `rosterd backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  rosterd backup /var/backups/rosterd/$(date +%F).db\n\n\
    Works while the daemon runs and while it does not. The copy is of one moment, checked and of mode 0600; run as root, \
    the owner of the state directory writes it, so the folder has to be one that this user may write.")]
pub struct BackupArgs {
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace a file of this name
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    quiet: Quiet,
    #[command(flatten)]
    output: Json,
}

/// Arguments of `rosterd restore`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  systemctl stop rosterd\n  rosterd restore /var/backups/rosterd/2026-01-31.db\n  \
    systemctl start rosterd\n\n\
    Afterwards targets stay as they are, state `unverified`, until `rosterd directory rebaseline ID --within 24h` is over for \
    every directory or `rosterd approve TARGET --restored`. The mirror that was there is kept beside it."
)]
pub struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    quiet: Quiet,
    #[command(flatten)]
    output: Json,
}

pub(super) fn backup(args: &BackupArgs, config: &Path) -> Result<Exit, Error> {
    let mut bar = Bar::new("Copying", args.quiet.quiet);
    let taken = keeping::take(config, &args.file, args.force, &mut |done, total| bar.tell(done, total));
    drop(bar);
    let taken = taken.map_err(|error| told(&error))?;
    if args.output.json {
        output::json(&json!({ "file": taken.file, "bytes": taken.bytes, "epoch": taken.epoch }));
    } else {
        output::line(&format!(
            "Wrote {} ({} bytes, checked).\nTo put it in place: rosterd restore {}",
            taken.file.display(),
            output::thousands(taken.bytes),
            args.file.display()
        ));
    }
    Ok(Exit::Done)
}

pub(super) fn restore(args: &RestoreArgs, config: &Path) -> Result<Exit, Error> {
    if !args.yes {
        output::confirm(&format!("Replace the mirror by {}?", args.file.display()))?;
    }
    let mut bar = Bar::new("Restoring", args.quiet.quiet);
    let done = keeping::restore(config, &args.file, &mut |done, total| bar.tell(done, total));
    drop(bar);
    let done = done.map_err(|error| told(&error))?;
    if args.output.json {
        output::json(&json!({
            "mirror": done.mirror, "kept": done.before, "epoch": done.epoch, "seq": done.seq,
            "targets": done.targets, "directories": done.directories,
        }));
        return Ok(Exit::Done);
    }
    output::line(&format!("Restored {}; epoch {} begins.", done.mirror.display(), done.epoch));
    if let Some(before) = &done.before {
        output::line(&format!(
            "The mirror that was there: {}; to undo: rosterd restore {}",
            before.display(),
            before.display()
        ));
    }
    if !done.targets.is_empty() {
        let ids = if done.directories.is_empty() { "none".to_owned() } else { done.directories.join(", ") };
        output::line(&format!(
            "Unverified, and kept as they are: {}.\n\
             Next: systemctl start rosterd; rosterd directory rebaseline ID --within 24h (for {ids}), then let the identity \
             provider push everybody; or look at rosterd plan and say rosterd approve --all --restored.",
            done.targets.join(", ")
        ));
    }
    output::line(
        "What was decided since the backup is gone too: revoked tokens work again, who was shut is not. See: rosterd token list, \
         rosterd history.",
    );
    Ok(Exit::Done)
}

fn told(error: &KeepingError) -> Error {
    let message = error.to_string();
    match error {
        KeepingError::Daemon(daemon::Error::Mirror(StoreError::Locked)) => {
            Error::new(Kind::Temporary, message).hint("systemctl stop rosterd, then again")
        }
        KeepingError::Daemon(error) => super::serve::daemon_error(error),
        KeepingError::Missing(_) => Error::new(Kind::Missing, message),
        KeepingError::Exists(_) => Error::new(Kind::Refused, message).hint("another name, or --force"),
        KeepingError::Unfit { .. } => Error::new(Kind::BadMirror, message),
        KeepingError::Io { source, .. } => match source.kind() {
            ErrorKind::PermissionDenied => Error::new(Kind::Permission, message)
                .hint("a folder that the owner of the state directory may write, such as /var/lib/rosterd"),
            ErrorKind::NotFound => Error::new(Kind::Missing, message),
            _ => Error::new(Kind::MirrorIo, message),
        },
    }
}
