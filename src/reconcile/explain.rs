//! What each target makes of one subject and one role: whether it carries it, where in the file, and why not. Blocking;
//! touches nothing.

use std::path::PathBuf;

use serde::Serialize;

use crate::access::{Entitlement, Verdict, View};
use crate::downstream::file::{self, Digest, OnDisk};
use crate::downstream::format::Carried;
use crate::mirror::{Mirror, ReadTx, StoreError, delivery};
use crate::model::{Seq, Subject, TargetName};

use super::file::wish::wish;
use super::record::{self, Stored};
use super::settings::{Apply, FileSettings, TargetKind, TargetSettings};
use super::snapshot::Snapshot;
use super::status::{State, TargetStatus};

/// Largest file that is searched for a line.
const SEARCHED_BYTES_MAX: u64 = 64 << 20;
/// Characters shown of a line.
const LINE_CHARS_MAX: usize = 200;

/// One target's part of `explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AtTarget {
    /// The target.
    pub target: TargetName,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its state.
    pub state: State,
    /// Up to which change it is applied.
    pub applied_seq: Seq,
    /// Whether it gives the subject the role, as far as it was applied.
    pub carries: bool,
    /// What the subject is called there.
    pub name: Option<String>,
    /// The file.
    pub path: Option<PathBuf>,
    /// The line in it, counted from 1; `None` for a file that has no lines, or where it could not be found.
    pub line: Option<u64>,
    /// What the line says.
    pub text: Option<String>,
    /// Why it is not as access says, or what else is worth knowing.
    pub why: Vec<String>,
}

/// What one target makes of it.
pub(crate) fn at_target(
    mirror: &Mirror,
    settings: &TargetSettings,
    status: &TargetStatus,
    snapshot: &Snapshot,
    (subject, entitlement): (&Subject, &Entitlement),
) -> Result<AtTarget, StoreError> {
    let stored = record::load(mirror, &settings.name)?;
    let holding =
        stored.holdings.iter().find(|one| one.subject == *subject && one.entitlement == *entitlement);
    let mut found = AtTarget {
        target: settings.name.clone(),
        kind: settings.kind.as_str(),
        state: status.state,
        applied_seq: status.applied_seq,
        carries: holding.is_some(),
        name: holding.map(|one| one.name.clone()),
        path: None,
        line: None,
        text: None,
        why: Vec::new(),
    };
    let is_due = snapshot.access.holds(subject, entitlement);
    let exception = stored.book.exceptions.get(&(subject.clone(), entitlement.clone()));
    if let Some(exception) = exception.filter(|_| !is_due) {
        found.why.push(kept(&settings.name, exception.verdict, exception.since));
    }
    if let TargetKind::File(file) = &settings.kind {
        in_file(settings, file, snapshot, &stored, (subject, entitlement), &mut found);
    }
    if let TargetKind::Webhook(_) = &settings.kind {
        found.why.extend(told(mirror, &settings.name, subject, entitlement)?);
    }
    if is_due != found.carries && exception.is_none() {
        found.why.extend(behind(settings, status, snapshot, is_due));
    }
    Ok(found)
}

/// What a webhook was told of it last, and whether it said that it heard.
fn told(
    mirror: &Mirror,
    target: &TargetName,
    subject: &Subject,
    entitlement: &Entitlement,
) -> Result<Option<String>, StoreError> {
    let text = format!("\"{entitlement}\"");
    let found = mirror
        .read(|tx: &mut ReadTx<'_>| delivery::last_about(tx, target, &subject.user.to_string(), &text))?;
    Ok(found.map(|one| {
        let how = match (one.event.state, one.finished_at) {
            (delivery::State::Done, Some(at)) => format!("acknowledged {at}"),
            (delivery::State::Skipped, _) => "it was skipped".to_owned(),
            (delivery::State::Parked, _) => "given up: `rosterd delivery list`".to_owned(),
            (delivery::State::Held, _) => format!("held by the guard: `rosterd plan {target}`"),
            (delivery::State::Done | delivery::State::Pending, _) => "on its way".to_owned(),
        };
        let verb = if one.event.state == delivery::State::Done { "it was told" } else { "it is to be told" };
        format!("{verb} `{}` (event {}): {how}", one.event.kind, one.event.event)
    }))
}

/// Why it is still there although access no longer has it.
fn kept(target: &TargetName, verdict: Verdict, since: Seq) -> String {
    match verdict {
        Verdict::Held => format!(
            "the identity provider took it away (change {since}) and the guard holds the removal: `rosterd approve {target}`"
        ),
        Verdict::Rejected => format!("a person rejected the removal of change {since}"),
        Verdict::Protected => format!("the role is `protected`: sync does not take it away (change {since})"),
        Verdict::Unknown => "the directory has not been pushed to, so nothing of it is taken away".to_owned(),
        Verdict::Importing => {
            "an import that is under way takes it away; the guard judges that once the import is over"
                .to_owned()
        }
    }
}

/// Why what should be there is not, or the other way round.
fn behind(
    settings: &TargetSettings,
    status: &TargetStatus,
    snapshot: &Snapshot,
    is_due: bool,
) -> Vec<String> {
    let mut why = Vec::new();
    let name = &settings.name;
    match status.state {
        State::Failing => {
            let error = status.last_error.as_deref().unwrap_or("the last run failed");
            why.push(format!("the target is failing: {error}"));
        }
        State::Foreign => why.push(format!(
            "a file that is not ours lies there: look at `rosterd plan {name}`, then `rosterd sync {name} --adopt`"
        )),
        State::Unverified => why.push(format!(
            "the mirror was restored from a backup: look at `rosterd plan {name}`, then `rosterd approve {name} --restored`"
        )),
        State::Waiting if !snapshot.is_known() => why.push("no directory has been pushed to yet".to_owned()),
        State::Disabled => why.push("the receiver answered 410 and is not sent to any more".to_owned()),
        State::Drifted => why.push(format!("the file was altered and `drift = \"report\"`: `rosterd sync {name}`")),
        _ => {}
    }
    if settings.apply == Apply::Manual {
        why.push(format!("`apply = \"manual\"`: `rosterd sync {name}` applies what is planned"));
    }
    if why.is_empty() && status.applied_seq < snapshot.seq() {
        why.push(format!("the target is at change {}, the mirror at {}", status.applied_seq, snapshot.seq()));
    }
    if why.is_empty() && !is_due {
        why.push(format!("not applied yet: `rosterd plan {name}`"));
    }
    why
}

fn in_file(
    settings: &TargetSettings,
    file: &FileSettings,
    snapshot: &Snapshot,
    stored: &Stored,
    (subject, entitlement): (&Subject, &Entitlement),
    found: &mut AtTarget,
) {
    found.path = Some(file.spec.path.clone());
    let wish = wish(settings, snapshot, stored, Some(&stored.book));
    let rendered = match file.format.render(&wish.view, &file.options) {
        Ok(rendered) => rendered,
        Err(error) => {
            found.why.push(format!("the file cannot be written whole: {error}"));
            return;
        }
    };
    let is_named = wish.view.users.iter().find(|user| user.subject() == *subject);
    for one in &rendered.left_out {
        let is_it = match (&one.what, entitlement) {
            (Carried::User(user), _) => user == subject,
            (Carried::Role(role), Entitlement::Role(name)) => role == name,
            (Carried::Group(directory, id), Entitlement::Group(home, group)) => {
                directory == home && id == group
            }
            _ => false,
        };
        if is_it {
            found.why.push(format!("the format cannot carry it: {one}"));
        }
    }
    let id = subject.to_string();
    if is_named.is_none() && snapshot.access.holds(subject, entitlement) {
        found.why.extend(wish.problems.iter().filter(|problem| problem.contains(&id)).cloned());
    }
    if !found.carries {
        return;
    }
    let Some(user) = is_named else { return };
    let Some(without) = without(&wish.view, subject, &user.name, entitlement) else { return };
    let Ok(less) = file.format.render(&without, &file.options) else { return };
    let Some((line, text)) = first_difference(&rendered.bytes, &less.bytes, &user.name) else { return };
    locate(file, &rendered.bytes, line, &text, found);
}

/// The view as it would be if the subject did not have the entitlement.
fn without(view: &View, subject: &Subject, name: &str, entitlement: &Entitlement) -> Option<View> {
    let Entitlement::Role(role) = entitlement else { return None };
    let mut view = view.clone();
    for user in view.users.iter_mut().filter(|user| user.subject() == *subject) {
        user.roles.retain(|held| held != role.as_str());
    }
    for known in view.roles.iter_mut().filter(|known| known.name == *role) {
        known.members.retain(|member| member != name);
    }
    Some(view)
}

/// The first line that is there because of the subject: of the lines in which the two renderings differ, the first that
/// names it, else the first. Whatever the format.
fn first_difference(with: &[u8], less: &[u8], name: &str) -> Option<(u64, String)> {
    let (with, less) = (std::str::from_utf8(with).ok()?, std::str::from_utf8(less).ok()?);
    let (with, less): (Vec<&str>, Vec<&str>) = (with.lines().collect(), less.lines().collect());
    let same = with.iter().zip(&less).take_while(|(a, b)| a == b).count();
    let room = with.len().min(less.len()).saturating_sub(same);
    let tail = with.iter().rev().zip(less.iter().rev()).take(room).take_while(|(a, b)| a == b).count();
    let changed = with.get(same..with.len().saturating_sub(tail))?;
    let at = changed.iter().position(|line| line.contains(name)).unwrap_or(0);
    let text = changed.get(at)?;
    Some((u64::try_from(same + at + 1).ok()?, (*text).to_owned()))
}

/// Where that line is in the file as it lies there, which may be older than what would be rendered now.
fn locate(file: &FileSettings, rendered: &[u8], line: u64, text: &str, found: &mut AtTarget) {
    let shown = |text: &str| text.trim().chars().take(LINE_CHARS_MAX).collect::<String>();
    let Ok(OnDisk::File(facts)) = file::inspect(&file.spec) else { return };
    if facts.digest == Some(Digest::of(rendered)) {
        (found.line, found.text) = (Some(line), Some(shown(text)));
        return;
    }
    let size = std::fs::metadata(&file.spec.path).map_or(u64::MAX, |meta| meta.len());
    if size > SEARCHED_BYTES_MAX {
        return;
    }
    let Ok(there) = std::fs::read_to_string(&file.spec.path) else { return };
    let place = there.lines().position(|one| one == text);
    if let Some(place) = place {
        (found.line, found.text) = (u64::try_from(place + 1).ok(), Some(shown(text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_the_one_that_would_not_be_there() {
        let with = b"# roles\nops:\n- dana\n- mira\nend\n";
        let less = b"# roles\nops:\n- mira\nend\n";
        assert_eq!(first_difference(with, less, "dana"), Some((3, "- dana".to_owned())));
        // JSON: the line before loses its comma; the one that names the subject is meant.
        let with = b"[\n\"dana\",\n\"mira\"\n]\n";
        let less = b"[\n\"dana\"\n]\n";
        assert_eq!(first_difference(with, less, "mira"), Some((3, "\"mira\"".to_owned())));
        assert_eq!(first_difference(b"a\n", b"a\n", "a"), None);
        assert_eq!(first_difference(b"a b\n", b"a\n", "b"), Some((1, "a b".to_owned())));
        assert_eq!(first_difference(b"\xff", b"", "b"), None);
    }
}
