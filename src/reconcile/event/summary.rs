//! An event as one sentence, for chat and pagers.

use serde_json::Value;

use super::Event;
use super::kind::Kind;

/// What happened, as a sentence without its full stop. Names in it are data: whoever shows it escapes them.
pub fn summary(event: &Event) -> String {
    let text = |name: &str| event.text(name).unwrap_or("?").to_owned();
    let named = |field: &str| {
        let one = event.data.get(field);
        let part = |name: &str| one.and_then(|one| one.get(name)).and_then(Value::as_str);
        let found =
            part("userName").or_else(|| part("displayName")).or_else(|| part("name")).or_else(|| part("id"));
        found.unwrap_or("?").to_owned()
    };
    let count = |name: &str| event.data.get(name).and_then(Value::as_u64).unwrap_or(0);
    let changed = || {
        let all = event.data.get("changed").and_then(Value::as_array);
        let all: Vec<&str> = all.into_iter().flatten().filter_map(Value::as_str).collect();
        all.join(", ")
    };
    match event.kind {
        Kind::AccessGranted => format!("{} was given {}: {}", named("subject"), text("role"), text("why")),
        Kind::AccessRevoked => format!("{} lost {}: {}", named("subject"), text("role"), text("why")),
        Kind::AccessSnapshot => format!("{} holds {}", named("subject"), text("role")),
        Kind::DirectoryAdded => format!("directory {} was added", text("directory")),
        Kind::DirectoryDisabled => format!("directory {} was disabled", text("directory")),
        Kind::DirectoryEnabled => format!("directory {} was enabled", text("directory")),
        Kind::DirectoryRemoved => format!("directory {} was removed with all it held", text("directory")),
        Kind::DirectoryRenamed => format!("directory {} was renamed", text("directory")),
        Kind::DirectorySnapshot => format!("directory {}", text("directory")),
        Kind::GrantCreated => {
            format!("{} was granted {} until {}", named("user"), text("role"), text("until"))
        }
        Kind::GrantExpired => format!("the grant of {} to {} ran out", text("role"), named("user")),
        Kind::GrantRevoked => format!("the grant of {} to {} was revoked", text("role"), named("user")),
        Kind::GroupCreated => format!("group {} came", named("group")),
        Kind::GroupDeleted => format!("group {} was deleted", named("group")),
        Kind::GroupGroupAdded => format!("group {} joined group {}", named("member"), named("group")),
        Kind::GroupGroupRemoved => format!("group {} left group {}", named("member"), named("group")),
        Kind::GroupSnapshot => format!("group {} has {} members", named("group"), count("members")),
        Kind::GroupUpdated => format!("group {} changed: {}", named("group"), changed()),
        Kind::GroupUserAdded => format!("{} joined group {}", named("user"), named("group")),
        Kind::GroupUserRemoved => format!("{} left group {}", named("user"), named("group")),
        Kind::GuardApproved => {
            format!("{} held removals of {} were released", count("released"), text("target"))
        }
        Kind::GuardHeld => format!(
            "{} removals of {} are held; let them go with `rosterd approve {} --plan {}`",
            count("held"),
            text("target"),
            text("target"),
            text("plan")
        ),
        Kind::GuardRejected => {
            format!("{} held removals of {} were rejected", count("rejected"), text("target"))
        }
        Kind::RebaselineClosed => format!(
            "the re-baseline of directory {} is over: {} users are unconfirmed",
            text("directory"),
            count("unconfirmed")
        ),
        Kind::RebaselineConfirmed => {
            format!("{} users of directory {} were named again", count("confirmed"), text("directory"))
        }
        Kind::RebaselineOpened => {
            format!("directory {} has to name everybody again until {}", text("directory"), text("ends"))
        }
        Kind::SnapshotFinished => "the snapshot is whole".to_owned(),
        Kind::SnapshotStarted => "a snapshot begins".to_owned(),
        Kind::SubjectOpened => format!("{} is let in again", named("user")),
        Kind::SubjectReclaimed => {
            format!("directory {} speaks for {} again", text("directory"), named("user"))
        }
        Kind::SubjectReleased => {
            format!("directory {} no longer speaks for {}", text("directory"), named("user"))
        }
        Kind::SubjectShut => format!("{} is shut out of every target", named("user")),
        Kind::TargetAdopted => format!("target {} took over files", text("target")),
        Kind::TargetDrifted => format!("the file of target {} was altered by somebody else", text("target")),
        Kind::TargetForgotten => format!("target {} was forgotten", text("target")),
        Kind::TargetRolledBack => format!(
            "target {} was put back to version {} of change {}",
            text("target"),
            count("version"),
            count("to_seq")
        ),
        Kind::TargetUnpinned => format!("target {} follows access again", text("target")),
        Kind::UserCreated => format!("user {} came", named("user")),
        Kind::UserDeactivated => format!("user {} was deactivated", named("user")),
        Kind::UserDeleted => format!("user {} was deleted", named("user")),
        Kind::UserReactivated => format!("user {} is active again", named("user")),
        Kind::UserSnapshot => format!("user {}", named("user")),
        Kind::UserUpdated => format!("user {} changed: {}", named("user"), changed()),
    }
}
