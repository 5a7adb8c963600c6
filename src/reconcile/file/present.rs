//! A target's files as they lie there, for people: a bounded piece of text with secrets hidden, and how it differs
//! from what was written. Blocking; touches nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use crate::downstream::file::{self, Digest, FileFacts, FileSpec, OnDisk, generation};
use crate::mirror::owned::{self, Owned};
use crate::mirror::target::{self, State as Saved};
use crate::mirror::{Mirror, ReadTx, StoreError};
use crate::model::{TargetName, Timestamp};
use crate::reconcile::record;
use crate::reconcile::settings::{FileSettings, Shape, TargetKind, TargetSettings};

use super::look::{self, There, user_name};
use super::mask;

/// Bytes read of a file.
pub(crate) const BYTES_MAX: u64 = 64 * 1024;

/// Lines shown of it.
const LINES_MAX: usize = 500;

/// Lines of a difference.
const DIFF_LINES_MAX: usize = 400;

/// Lines around a difference.
const DIFF_CONTEXT: usize = 3;

/// Files of a tree in one answer.
const FILES_MAX: usize = 500;

/// What lies at a target's destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Presented {
    /// The file, the folder of a tree, the symlink of a set.
    pub path: String,
    /// Files of a tree or set, by name; none for a single file. Of very many the first ones from `after` on.
    pub files: Vec<Member>,
    /// How many there are.
    pub files_total: u64,
    /// The one shown: of several the one asked for, else the first.
    pub file: Option<Shown>,
}

/// One of several files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its name in the tree or set.
    pub name: String,
    /// SHA-256 of what was written, in hex.
    pub written: Option<String>,
}

/// One file as it lies there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its name in a tree or set.
    pub name: Option<String>,
    /// Where.
    pub path: String,
    /// `file`, `absent`, or what is there instead of a file.
    pub there: String,
    /// Its length.
    pub bytes: Option<u64>,
    /// Permission bits, in octal.
    pub mode: Option<String>,
    /// Owner.
    pub uid: Option<u32>,
    /// The owner's name.
    pub user: Option<String>,
    /// When its content last changed.
    pub modified: Option<String>,
    /// SHA-256 of what is there, in hex.
    pub digest: Option<String>,
    /// SHA-256 of what was written last, in hex.
    pub written: Option<String>,
    /// Whether these two are the same; `None` where one is not known.
    pub as_written: Option<bool>,
    /// The first lines, secrets hidden.
    pub lines: Vec<String>,
    /// There is more than `lines`.
    pub truncated: bool,
    /// It is not text.
    pub binary: bool,
    /// Lines in which something was hidden.
    pub masked: u64,
    /// Why no content is shown, or where the content shown comes from.
    pub note: Option<String>,
    /// From what was written to what is there, or, after a repair, to what was found last.
    pub diff: Vec<DiffLine>,
    /// What the difference is against: `present` or `repaired`; `None` without one.
    pub diff_of: Option<&'static str>,
}

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiffLine {
    /// `+` somebody added it, `-` somebody took it away, ` ` it is the same, `~` lines are left out.
    pub sign: char,
    /// The line, secrets hidden.
    pub text: String,
}

/// What lies there. `None` for a webhook.
///
/// # Errors
/// [`StoreError`] from the engine.
pub(crate) fn present(
    mirror: &Mirror,
    settings: &TargetSettings,
    member: Option<&str>,
    after: Option<&str>,
) -> Result<Option<Presented>, StoreError> {
    let TargetKind::File(file) = &settings.kind else { return Ok(None) };
    let name: &TargetName = &settings.name;
    let (saved, all) = mirror.read(|tx: &mut ReadTx<'_>| {
        Ok::<_, StoreError>((target::state(tx, name)?.unwrap_or_default(), owned::all(tx, name)?))
    })?;
    let path = file.spec.path.display().to_string();
    Ok(Some(match &file.shape {
        Shape::File => Presented {
            path,
            files: Vec::new(),
            files_total: 0,
            file: member.is_none().then(|| single(file, &saved)),
        },
        Shape::Tree(_) => {
            let chosen = chosen(all.iter().map(|one| one.name.as_str()), member);
            let shown =
                chosen.and_then(|name| all.iter().find(|one| one.name == name)).map(|one| of_tree(file, one));
            let files = all.iter().filter(|one| after.is_none_or(|after| one.name.as_str() > after));
            let files = files
                .take(FILES_MAX)
                .map(|one| Member { name: one.name.clone(), written: one.written.clone() });
            Presented { path, files: files.collect(), files_total: all.len() as u64, file: shown }
        }
        Shape::Set(parts) => {
            let chosen = chosen(parts.iter().map(|part| part.name.as_str()), member);
            let file_shown = chosen.map(|name| of_set(file, name));
            let files: Vec<Member> = parts
                .iter()
                .map(|part| Member { name: part.name.as_str().to_owned(), written: None })
                .collect();
            Presented { path, files_total: files.len() as u64, files, file: file_shown }
        }
    }))
}

/// The name asked for, if it is one of these; without one the first.
fn chosen<'a>(mut names: impl Iterator<Item = &'a str>, asked: Option<&str>) -> Option<&'a str> {
    match asked {
        Some(asked) => names.find(|name| *name == asked),
        None => names.next(),
    }
}

fn single(file: &FileSettings, saved: &Saved) -> Shown {
    let spec = &file.spec;
    let there = file::inspect(spec).map(|there| match there {
        OnDisk::Absent => There::Absent,
        OnDisk::File(facts) => There::File(facts),
        OnDisk::Other(word) => There::Other(word),
    });
    let written = saved.record.written.clone();
    let mut shown = facts_of(None, spec.path.display().to_string(), there, written.clone());
    let ours = written.as_deref().and_then(Digest::from_hex);
    let is_there = shown.there == "file";
    let mut bytes = is_there.then(|| file::beginning(spec, BYTES_MAX).ok().flatten()).flatten();
    if bytes.is_none() && is_there {
        bytes = ours.and_then(|digest| file::kept_content(spec, digest, u64::MAX));
        shown.note = Some(match bytes {
            Some(_) => {
                "The file may not be read by the daemon; this is its own copy of what was written.".into()
            }
            None => "The file may not be read by the daemon, and no copy of it is kept.".into(),
        });
    }
    differ(&mut shown, spec, saved, ours);
    if let Some(bytes) = bytes {
        put_text(&mut shown, &bytes);
    }
    shown
}

/// What somebody else made of it: what lies there now, or what was found there and put right.
fn differ(shown: &mut Shown, spec: &FileSpec, saved: &Saved, ours: Option<Digest>) {
    let (other, expected, word) = if shown.as_written == Some(false) {
        let is_small = shown.bytes.is_some_and(|bytes| bytes <= BYTES_MAX);
        let there = is_small.then(|| file::beginning(spec, BYTES_MAX).ok().flatten()).flatten();
        (there, ours, "present")
    } else {
        let last = record::drift(saved).into_iter().rev().find(|one| one.repaired);
        let digest = |text: Option<&str>| text.and_then(Digest::from_hex);
        let found = last.as_ref().and_then(|one| digest(Some(&one.found)));
        let expected = last.as_ref().and_then(|one| digest(one.expected.as_deref()));
        (found.and_then(|found| file::kept_content(spec, found, BYTES_MAX)), expected, "repaired")
    };
    let ours = expected.and_then(|digest| file::kept_content(spec, digest, BYTES_MAX));
    if let (Some(ours), Some(other)) = (ours, other)
        && let (Ok(ours), Ok(other)) = (std::str::from_utf8(&ours), std::str::from_utf8(&other))
    {
        shown.diff = difference(ours, other);
        shown.diff_of = (!shown.diff.is_empty()).then_some(word);
    }
}

/// The lines that differ, with some around them; secrets are hidden before anything is compared.
fn difference(from: &str, to: &str) -> Vec<DiffLine> {
    let hide = |text: &str| mask::masked(text.lines()).0.join("\n") + "\n";
    let (from, to) = (hide(from), hide(to));
    let diff = TextDiff::from_lines(&from, &to);
    let mut lines = Vec::new();
    for (at, group) in diff.grouped_ops(DIFF_CONTEXT).iter().enumerate() {
        if at > 0 {
            lines.push(DiffLine { sign: '~', text: String::new() });
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            lines.push(DiffLine { sign, text: change.value().trim_end_matches('\n').to_owned() });
            if lines.len() >= DIFF_LINES_MAX {
                lines.push(DiffLine { sign: '~', text: String::new() });
                return lines;
            }
        }
    }
    lines
}

fn of_tree(file: &FileSettings, one: &Owned) -> Shown {
    let spec = file.spec.member(&one.name);
    let there = look::member(file, &one.name);
    let path = spec.path.display().to_string();
    let mut shown = facts_of(Some(one.name.clone()), path, there, one.written.clone());
    if shown.there == "file" {
        match file::beginning(&spec, BYTES_MAX) {
            Ok(Some(bytes)) => put_text(&mut shown, &bytes),
            Ok(None) | Err(_) => shown.note = Some("The file may not be read by the daemon.".into()),
        }
    }
    shown
}

fn of_set(file: &FileSettings, name: &str) -> Shown {
    let generation = match generation::shown(&file.spec) {
        Ok(generation::Shown::Ours(generation)) => Some(generation),
        Ok(_) | Err(_) => None,
    };
    let there = look::set(file, std::iter::once(name));
    let there = there.map(|mut found: BTreeMap<String, There>| found.remove(name).unwrap_or(There::Absent));
    let path = file.spec.path.join(name).display().to_string();
    let mut shown = facts_of(Some(name.to_owned()), path, there, None);
    let bytes =
        generation.and_then(|generation| generation::beginning(&file.spec, &generation, name, BYTES_MAX));
    match bytes {
        Some(bytes) => put_text(&mut shown, &bytes),
        None if shown.there == "file" => shown.note = Some("The file may not be read by the daemon.".into()),
        None => {}
    }
    shown
}

fn facts_of(
    name: Option<String>,
    path: String,
    there: Result<There, file::ApplyError>,
    written: Option<String>,
) -> Shown {
    let mut shown = Shown {
        name,
        path,
        there: "absent".to_owned(),
        bytes: None,
        mode: None,
        uid: None,
        user: None,
        modified: None,
        digest: None,
        written,
        as_written: None,
        lines: Vec::new(),
        truncated: false,
        binary: false,
        masked: 0,
        note: None,
        diff: Vec::new(),
        diff_of: None,
    };
    match there {
        Ok(There::Absent) => {}
        Ok(There::Link(to)) => {
            "symlink".clone_into(&mut shown.there);
            shown.note = Some(format!("It points to {to}"));
        }
        Ok(There::Other(word)) => word.clone_into(&mut shown.there),
        Ok(There::File(facts)) => put_facts(&mut shown, &facts),
        Err(error) => {
            "unknown".clone_into(&mut shown.there);
            shown.note = Some(error.to_string());
        }
    }
    shown.as_written = match (&shown.digest, &shown.written) {
        (Some(there), Some(written)) => Some(there == written),
        (None, Some(_)) if shown.there != "file" && shown.there != "unknown" => Some(false),
        _ => None,
    };
    shown
}

fn put_facts(shown: &mut Shown, facts: &FileFacts) {
    "file".clone_into(&mut shown.there);
    shown.bytes = Some(facts.bytes);
    shown.mode = Some(format!("{:04o}", facts.mode & 0o7777));
    shown.uid = Some(facts.uid);
    shown.user = user_name(facts.uid);
    shown.digest = facts.digest.map(|digest| digest.to_string());
    let since = facts.modified.duration_since(std::time::SystemTime::UNIX_EPOCH);
    shown.modified = since
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .map(|at| Timestamp(at).to_string());
}

fn put_text(shown: &mut Shown, bytes: &[u8]) {
    let whole = shown.bytes.unwrap_or(bytes.len() as u64);
    let cut = bytes.get(..usize::try_from(BYTES_MAX).unwrap_or(usize::MAX)).unwrap_or(bytes);
    let text = match std::str::from_utf8(cut) {
        Ok(text) => text,
        // A character may be cut in two at the end, and nowhere else.
        Err(error) if error.error_len().is_none() => {
            cut.get(..error.valid_up_to()).and_then(|cut| std::str::from_utf8(cut).ok()).unwrap_or_default()
        }
        Err(_) => {
            shown.binary = true;
            return;
        }
    };
    if text.contains('\0') {
        shown.binary = true;
        return;
    }
    (shown.lines, shown.masked) = mask::masked(text.lines().take(LINES_MAX));
    shown.truncated = whole > cut.len() as u64 || text.lines().nth(LINES_MAX).is_some();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank() -> Shown {
        facts_of(None, "/x".into(), Ok(There::Absent), Some("ab".into()))
    }

    #[test]
    fn what_is_gone_is_not_as_written_and_what_is_not_known_is_neither() {
        assert_eq!(blank().as_written, Some(false));
        assert_eq!(facts_of(None, "/x".into(), Ok(There::Absent), None).as_written, None);
    }

    #[test]
    fn text_is_bounded_and_bytes_are_not_shown() {
        let mut shown = blank();
        let long: String = (0..600).map(|n| ["line ", &n.to_string(), "\n"].concat()).collect();
        put_text(&mut shown, long.as_bytes());
        assert_eq!((shown.lines.len(), shown.truncated), (LINES_MAX, true));
        let mut shown = blank();
        put_text(&mut shown, &[0x1f, 0x8b, 0xff, 0xfe]);
        assert!(shown.binary && shown.lines.is_empty());
        let mut shown = blank();
        let cut = "ä".repeat(40_000);
        shown.bytes = Some(cut.len() as u64);
        put_text(&mut shown, cut.get(..65_534).unwrap().as_bytes());
        assert!(!shown.binary && shown.truncated);
        let mut shown = blank();
        put_text(&mut shown, b"a\xc3");
        assert!(!shown.binary && shown.lines == ["a"]);
    }

    #[test]
    fn a_difference_shows_what_came_and_went_and_no_secret() {
        let before = "a\nb\nc\npassword = one-one-one\n";
        let after = "a\nevil\nb\nc\npassword = two-two-two\n";
        let lines = difference(before, after);
        assert!(lines.contains(&DiffLine { sign: '+', text: "evil".into() }));
        assert!(lines.iter().all(|line| !line.text.contains("one-one") && !line.text.contains("two-two")));
        assert!(lines.iter().all(|line| line.sign != '-'));
        let huge: String = (0..2_000).map(|n| n.to_string() + "\n").collect();
        assert_eq!(difference("", &huge).len(), DIFF_LINES_MAX + 1);
    }
}
