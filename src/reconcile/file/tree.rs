//! One run of a tree: which of its files come, change or go, and nothing else in its folder.
//!
//! Order of what is durable: what is about to be done to each file, then the files (those that go first, new ones
//! last), then what is in place now with the holding. A file that is neither what was written nor what was about to
//! be is not ours: it is reported and left, whatever it is called.

use std::collections::{BTreeMap, BTreeSet};

use crate::downstream::file::{self, Applied, Digest, Expect, Leftovers, Removed, Swapped};
use crate::mirror::owned::{self, Intended, Owned};
use crate::mirror::{target, version};
use crate::reconcile::State;
use crate::reconcile::plan;
use crate::reconcile::record;
use crate::reconcile::settings::{Apply, Drift};

use super::look::{self, EVIDENCE_MAX, Evidence, Known, There};
use super::outcome::{Failed, Outcome};
use super::parts::{Content, Missed, Piece};
use super::run::{At, FileRun, Put};
use super::wish::Made;

/// What is to be done, by name.
#[derive(Default)]
pub(super) struct Todo<'a> {
    /// Files of ours that nothing gives a reason for any more, and the bytes they must have to be taken away.
    remove: Vec<(&'a Owned, There)>,
    /// Files to come or change, those that are there first.
    put: Vec<(&'a str, &'a Piece, Expect)>,
    /// Already as they should be, but not recorded so.
    note: Vec<(&'a str, &'a Piece)>,
    /// Strangers' files where ours should be.
    foreign: Vec<String>,
    /// Names that are no longer ours.
    lost: Vec<String>,
    /// What cannot be written, and why.
    refused: Vec<String>,
    /// Whose files stay as they are, though they should be others.
    missed: BTreeSet<String>,
    drift: Vec<Evidence>,
    /// A crash came after the files changed and before that was recorded: verify and reload are owed.
    is_owed: bool,
    /// Drift that is left as it is.
    is_drifted: bool,
    known: Known,
}

/// What was done.
#[derive(Default)]
pub(super) struct Done {
    pub(super) put: Vec<Owned>,
    pub(super) gone: Vec<String>,
    pub(super) swapped: Vec<(String, Swapped)>,
    pub(super) aside: Vec<String>,
    pub(super) failed: Vec<String>,
    /// Files that a check did not take: others of their name may pass.
    pub(super) refused: BTreeMap<String, Missed>,
    /// Files that show what is left of what they held, by holder.
    pub(super) fewer: BTreeSet<String>,
    /// Files that are not what they should be, by holder.
    pub(super) missed: BTreeSet<String>,
    pub(super) known: Known,
    pub(super) is_changed: bool,
}

impl FileRun<'_> {
    /// Compares, decides and writes.
    pub(super) fn tree(&mut self, at: &At<'_>, made: Made) -> Result<Outcome, Failed> {
        let Content::Many(pieces) = &made.content else {
            return Err(Failed::told("a tree was drawn as one file".into(), made.problems));
        };
        let todo = self.judge(at, pieces, &made)?;
        let quiet = |state: State, error: Option<String>| {
            let (problems, on_disk) = (made.problems.clone(), todo.known.clone());
            Outcome { problems, on_disk, error, drift: todo.drift.clone(), ..Outcome::of(state) }
        };
        let has_work = !todo.put.is_empty() || !todo.remove.is_empty();
        if self.settings.apply == Apply::Manual && !at.is_sync {
            let (state, error) = match (has_work, todo.foreign.is_empty(), todo.drift.is_empty()) {
                (_, false, _) => (State::Foreign, Some(self.foreign(&todo.foreign))),
                (true, _, true) => (State::Pending, None),
                (true, _, false) => (State::Drifted, None),
                (false, ..) => (at.in_sync, None),
            };
            return self.told(at.snapshot, quiet(state, error), at.started);
        }
        self.intend(at, &todo)?;
        crash::point();
        let left_behind = self.end_recorded_swaps(at, &todo);
        let mut done = self.write(&todo);
        self.write_fewer(at, &made, &mut done)?;
        crash::point();
        if let Err(error) = self.confirm(&mut done) {
            return Err(Failed::from(&error, &made.problems));
        }
        let errors = self.errors(&todo, &done);
        if let Some((state, error)) = errors {
            return self.partly(at, &todo, done, &made, state, error);
        }
        let is_drifted = todo.is_drifted;
        let mut known = todo.known.clone();
        known.append(&mut done.known);
        let (swapped, aside) = (std::mem::take(&mut done.swapped), std::mem::take(&mut done.aside));
        let mut owned = std::mem::take(&mut done.put);
        owned.extend(todo.note.iter().map(|(name, piece)| in_place(name, piece)));
        let mut gone = std::mem::take(&mut done.gone);
        gone.extend(todo.lost.iter().cloned());
        // Still ours until what was set aside is gone too.
        let is_aside: BTreeSet<&String> = aside.iter().collect();
        gone.retain(|name| !is_aside.contains(name));
        let (changed, drift) = (done.is_changed, todo.drift.clone());
        drop(todo);
        let put = Put { made, changed, on_disk: known, drift, owned, gone };
        let mut outcome = self.record(at, put)?;
        crash::point();
        outcome.problems.extend(left_behind);
        outcome.problems.extend(self.settle(at, &swapped, &aside));
        crash::point();
        if !aside.is_empty() {
            let name = self.name().clone();
            record::update(self.mirror, self.name(), move |tx, _| owned::drop_names(tx, &name, &aside))?;
        }
        if is_drifted {
            outcome.state = State::Drifted;
        }
        self.reload(at, outcome)
    }

    /// What is to be done, given what is recorded and what lies there.
    fn judge<'b>(
        &self,
        at: &At<'b>,
        pieces: &'b BTreeMap<String, Piece>,
        made: &Made,
    ) -> Result<Todo<'b>, Failed> {
        let owned: BTreeMap<&str, &Owned> =
            at.stored.owned.iter().map(|one| (one.name.as_str(), one)).collect();
        let names: BTreeSet<&str> = owned.keys().copied().chain(pieces.keys().map(String::as_str)).collect();
        let mut todo = Todo::default();
        let mut fresh = Vec::new();
        for name in names {
            let there =
                look::member(self.file, name).map_err(|error| Failed::from(&error, &made.problems))?;
            todo.known.insert(name.to_owned(), there.seen());
            let ours = owned.get(name).copied();
            match (pieces.get_key_value(name), ours) {
                (Some((name, piece)), _) => {
                    self.judge_wanted(at, (name, piece), ours, &there, &mut todo, &mut fresh);
                }
                (None, Some(ours)) if !made.failed.contains_key(name) && !Self::is_unknown(at, ours) => {
                    self.judge_surplus(at, ours, there, &mut todo);
                }
                (None, _) => {}
            }
        }
        todo.put.append(&mut fresh);
        todo.drift.truncate(EVIDENCE_MAX);
        Ok(todo)
    }

    fn judge_wanted<'b>(
        &self,
        at: &At<'_>,
        (name, piece): (&'b str, &'b Piece),
        ours: Option<&Owned>,
        there: &There,
        todo: &mut Todo<'b>,
        fresh: &mut Vec<(&'b str, &'b Piece, Expect)>,
    ) {
        let path = || self.file.spec.path.join(name).display().to_string();
        let digest = there.digest();
        let is_recorded = ours.is_some_and(|ours| {
            ours.written.as_deref() == Some(piece.digest.to_string().as_str())
                && ours.intended.is_none()
                && ours.holder == piece.holder
        });
        if digest == Some(piece.digest) && self.has_mode(there) {
            if !is_recorded {
                todo.note.push((name, piece));
                // What a crash left unfinished is verified and reloaded once more.
                if ours.is_some_and(|ours| ours.intended.is_some()) {
                    todo.is_owed = true;
                    todo.put.push((name, piece, Expect::Anything));
                }
            }
            return;
        }
        let is_ours = ours.is_some_and(|ours| is_content_of(ours, digest));
        if let Some(why) = misplaced(there, piece) {
            todo.missed.insert(piece.holder.clone());
            todo.refused.push(format!("`{}` is {why}; move it away", path()));
            return;
        }
        if *there == There::Absent {
            if ours.is_some_and(|ours| ours.written.is_some() && ours.intended.is_none()) {
                self.drifted(at, name, there, piece, ours, todo, fresh);
            } else {
                fresh.push((name, piece, Expect::Absent));
            }
            return;
        }
        if is_ours {
            let expect = digest.map_or(Expect::Anything, Expect::Content);
            todo.put.push((name, piece, expect));
        } else if ours.is_some_and(|ours| ours.written.is_some() && ours.intended != Some(Intended::Remove)) {
            self.drifted(at, name, there, piece, ours, todo, fresh);
        } else if at.adopt {
            todo.put.push((name, piece, Expect::Anything));
            todo.foreign.push(path());
        } else {
            todo.missed.insert(piece.holder.clone());
            todo.foreign.push(path());
        }
    }

    /// A file of ours that somebody touched.
    #[expect(clippy::too_many_arguments, reason = "one judgement, taken apart for its length")]
    fn drifted<'b>(
        &self,
        at: &At<'_>,
        name: &'b str,
        there: &There,
        piece: &'b Piece,
        ours: Option<&Owned>,
        todo: &mut Todo<'b>,
        fresh: &mut Vec<(&'b str, &'b Piece, Expect)>,
    ) {
        let is_news = ours.and_then(|ours| ours.written.clone()) != Some(piece.digest.to_string());
        let is_left = self.file.drift == Drift::Report && !is_news && !at.is_sync;
        let path = self.file.spec.path.join(name).display().to_string();
        let expected = ours.and_then(|ours| ours.written.clone());
        todo.drift.push(look::evidence(path, there, expected, at.started, self.mends(at, is_left)));
        if is_left {
            todo.is_drifted = true;
        } else if *there == There::Absent {
            fresh.push((name, piece, Expect::Absent));
        } else {
            todo.put.push((name, piece, Expect::Anything));
        }
    }

    /// A file that nothing gives a reason for any more.
    fn judge_surplus<'b>(&self, at: &At<'_>, ours: &'b Owned, there: There, todo: &mut Todo<'b>) {
        let path = self.file.spec.path.join(&ours.name).display().to_string();
        let is_ours = is_content_of(ours, there.digest());
        match &there {
            There::Absent if ours.intended == Some(Intended::Remove) => {
                todo.is_owed = true;
                todo.remove.push((ours, there));
            }
            There::File(_) | There::Link(_) if is_ours => todo.remove.push((ours, there)),
            // Gone, or somebody else's file under a name that was ours: after a removal that a crash kept from being
            // recorded, or put in the place of ours.
            There::Absent | There::Other(_) | There::Link(_) => todo.lost.push(ours.name.clone()),
            There::File(_) if ours.written.is_none() || ours.intended == Some(Intended::Remove) => {
                todo.lost.push(ours.name.clone());
            }
            There::File(_) => {
                let is_left = self.file.drift == Drift::Report && !at.is_sync;
                todo.drift.push(look::evidence(
                    path,
                    &there,
                    ours.written.clone(),
                    at.started,
                    self.mends(at, is_left),
                ));
                if is_left {
                    todo.is_drifted = true;
                } else {
                    todo.remove.push((ours, there));
                }
            }
        }
    }

    /// Whether the holder's directory is one nobody has pushed to: then nothing of it is pruned (DESIGN §6.7).
    fn is_unknown(at: &At<'_>, ours: &Owned) -> bool {
        let Some((_, rest)) = ours.holder.split_once(':') else { return false };
        let Some((directory, _)) = rest.split_once('/') else { return false };
        at.snapshot.access.unknown.iter().any(|unknown| unknown.as_str() == directory)
    }

    fn has_mode(&self, there: &There) -> bool {
        match there {
            There::File(facts) => facts.mode == self.file.spec.mode & 0o777,
            There::Link(_) => true,
            There::Absent | There::Other(_) => false,
        }
    }

    /// Makes durable what is about to be done, so that after a crash our own files are known as such.
    fn intend(&self, at: &At<'_>, todo: &Todo<'_>) -> Result<(), Failed> {
        if at.adopt && !todo.foreign.is_empty() {
            self.adopted(&todo.foreign)?;
        }
        let written: BTreeMap<&str, &Owned> =
            at.stored.owned.iter().map(|one| (one.name.as_str(), one)).collect();
        let puts = todo.put.iter().map(|(name, piece, _)| Owned {
            name: (*name).to_owned(),
            holder: piece.holder.clone(),
            written: written.get(name).and_then(|one| one.written.clone()),
            intended: Some(Intended::Put(piece.digest.to_string())),
        });
        let removes =
            todo.remove.iter().map(|(ours, _)| Owned { intended: Some(Intended::Remove), ..(*ours).clone() });
        let intents: Vec<Owned> = puts.chain(removes).collect();
        if intents.is_empty() {
            return Ok(());
        }
        let name = self.name().clone();
        let place = record::Place::of(self.file);
        record::update(self.mirror, self.name(), move |tx, saved| {
            if record::place(saved).is_some_and(|was| was != place) {
                // Names beneath another folder: those files stay and are no longer ours.
                let old: Vec<String> = owned::all(tx, &name)?.into_iter().map(|one| one.name).collect();
                owned::drop_names(tx, &name, &old)?;
            }
            record::set_place(saved, &place);
            owned::put(tx, &name, &intents)
        })?;
        Ok(())
    }

    /// A crash after the record and before the end of its swaps leaves their ways back; they hold what was revoked.
    fn end_recorded_swaps(&self, at: &At<'_>, todo: &Todo<'_>) -> Vec<String> {
        let open: BTreeSet<&str> = todo
            .put
            .iter()
            .map(|(put, ..)| *put)
            .chain(todo.remove.iter().map(|(one, _)| one.name.as_str()))
            .collect();
        let mut folders = BTreeMap::new();
        let mut problems = Vec::new();
        for ours in at
            .stored
            .owned
            .iter()
            .filter(|ours| ours.intended.is_none() && !open.contains(ours.name.as_str()))
        {
            let spec = self.file.spec.member(&ours.name);
            let folder = spec.path.parent().map(std::path::Path::to_owned);
            // Once for each folder; one that cannot be read has told so already.
            let has_some =
                *folders.entry(folder).or_insert_with(|| file::has_way_back(&spec).unwrap_or(false));
            if has_some && let Err(error) = file::drop_aside(&spec) {
                problems.push(error.to_string());
            }
        }
        problems
    }

    /// Removals first, then what changes, then what comes. One file that fails does not keep the others.
    fn write(&self, todo: &Todo<'_>) -> Done {
        let mut done = Done { is_changed: todo.is_owed, ..Done::default() };
        let mut left = Leftovers::default();
        for (ours, there) in &todo.remove {
            let removed = self.take_away(ours, there);
            crash::point();
            match removed {
                Ok((removed, is_aside)) => {
                    done.is_changed |= removed == Removed::Gone;
                    if is_aside {
                        done.aside.push(ours.name.clone());
                    }
                    done.known.insert(ours.name.clone(), look::Seen::Absent);
                    done.gone.push(ours.name.clone());
                }
                Err(error) => done.failed.push(error.to_string()),
            }
        }
        for (name, piece, expect) in &todo.put {
            let put = self.put_member(name, piece, *expect, &mut left);
            crash::point();
            match put {
                Ok(swapped) => {
                    done.is_changed |= swapped.is_some();
                    if let Some(Some(swapped)) = swapped {
                        done.swapped.push(((*name).to_owned(), swapped));
                    }
                    done.known.insert((*name).to_owned(), self.seen(piece));
                    done.put.push(in_place(name, piece));
                }
                Err(error) if error.kind() == file::Kind::Refused => {
                    let missed = Missed { holder: piece.holder.clone(), why: error.to_string() };
                    done.refused.insert((*name).to_owned(), missed);
                }
                Err(error) => {
                    done.missed.insert(piece.holder.clone());
                    done.failed.push(error.to_string());
                }
            }
        }
        done
    }

    pub(super) fn seen(&self, piece: &Piece) -> look::Seen {
        match String::from_utf8(piece.bytes.clone()) {
            Ok(to) if piece.is_link => look::Seen::Link(to),
            _ => look::Seen::File(Some(piece.digest), self.file.spec.mode & 0o777),
        }
    }

    pub(super) fn take_away(&self, ours: &Owned, there: &There) -> Result<(Removed, bool), file::ApplyError> {
        let spec = self.file.spec.member(&ours.name);
        if matches!(there, There::Link(_)) {
            return file::remove_link(&spec).map(|removed| (removed, false));
        }
        let expect = there.digest().map_or(Expect::Anything, Expect::Content);
        if self.file.spec.verify.is_some() {
            return file::set_aside(&spec, expect).map(|removed| (removed, true));
        }
        file::remove(&spec, expect).map(|removed| (removed, false))
    }

    /// Some if it was changed, with the swap to settle unless it is a symlink.
    #[expect(clippy::option_option, reason = "changed or not, and of what is changed a swap or none")]
    pub(super) fn put_member(
        &self,
        name: &str,
        piece: &Piece,
        expect: Expect,
        left: &mut Leftovers,
    ) -> Result<Option<Option<Swapped>>, file::ApplyError> {
        let spec = self.file.spec.member(name);
        if piece.is_link {
            let to = String::from_utf8_lossy(&piece.bytes).into_owned();
            return Ok(file::put_link(&spec, &to)?.then_some(None));
        }
        let check = |bytes: &[u8]| self.file.format.check(bytes, &self.file.options);
        Ok(match file::apply_beside(&spec, &piece.bytes, expect, &check, left)? {
            Applied::Swapped(swapped) => Some(Some(swapped)),
            Applied::Unchanged => None,
        })
    }

    /// Runs `verify` once for all of them; if it says no, everything is put back.
    fn confirm(&self, done: &mut Done) -> Result<(), file::ApplyError> {
        if !done.is_changed {
            return Ok(());
        }
        let Err(refused) = file::verify(&self.file.spec) else { return Ok(()) };
        let names = done.swapped.iter().map(|(name, _)| name).chain(&done.aside);
        for name in names {
            file::revert(&self.file.spec.member(name))?;
        }
        Err(refused)
    }

    /// Ends the swaps that are recorded now; what could not be ended is worth a word and no more.
    fn settle(&self, at: &At<'_>, swapped: &[(String, Swapped)], aside: &[String]) -> Vec<String> {
        let label = at.snapshot.seq().0;
        let settled =
            swapped.iter().map(|(name, swapped)| file::settle(&self.file.spec.member(name), swapped, label));
        let dropped = aside.iter().map(|name| file::drop_aside(&self.file.spec.member(name)));
        settled.chain(dropped).filter_map(|ended| ended.err().map(|error| error.to_string())).collect()
    }

    /// Why the run did not bring everything, if it did not.
    fn errors(&self, todo: &Todo<'_>, done: &Done) -> Option<(State, String)> {
        let failed = done.failed.iter().chain(&todo.refused);
        let failed: Vec<&String> = failed.collect();
        if let Some(first) = failed.first() {
            let more = failed.len().saturating_sub(1);
            let more = if more == 0 { String::new() } else { format!(" ({more} more files fail)") };
            return Some((State::Failing, format!("{first}{more}")));
        }
        let put: BTreeSet<String> =
            done.put.iter().map(|one| self.file.spec.path.join(&one.name).display().to_string()).collect();
        let foreign = todo.foreign.iter().filter(|path| !put.contains(*path));
        let foreign: Vec<String> = foreign.cloned().collect();
        (!foreign.is_empty()).then(|| (State::Foreign, self.foreign(&foreign)))
    }

    fn foreign(&self, paths: &[String]) -> String {
        let first = paths.first().map_or("", String::as_str);
        let more = match paths.len().saturating_sub(1) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "`{first}`{more} exists and is not ours; look at `rosterd plan {0}`, then `rosterd sync {0} --adopt`",
            self.name()
        )
    }

    /// Records whose files are where, and of the holding what these show: it is not all in place.
    fn partly(
        &mut self,
        at: &At<'_>,
        todo: &Todo<'_>,
        mut done: Done,
        made: &Made,
        state: State,
        error: String,
    ) -> Result<Outcome, Failed> {
        let name = self.name().clone();
        let mut owned = std::mem::take(&mut done.put);
        owned.extend(todo.note.iter().map(|(name, piece)| in_place(name, piece)));
        let mut gone = std::mem::take(&mut done.gone);
        gone.extend(todo.lost.iter().cloned());
        let must_reload = self.file.wants_reload() && done.is_changed;
        let shown = self.shown_by_files(at, made, &todo.missed, &done);
        let (left, come) = plan::difference(&at.stored.holdings, &shown);
        let before = at.stored.holdings.clone();
        record::update(self.mirror, self.name(), move |tx, saved| {
            version::note(tx, &name, &before, &left, &come)?;
            target::update_holdings(tx, &name, &left, &come)?;
            owned::put(tx, &name, &owned)?;
            owned::drop_names(tx, &name, &gone)?;
            saved.record.adopted = true;
            saved.record.reload_pending |= must_reload;
            Ok(())
        })?;
        let mut problems = made.problems.clone();
        problems.extend(self.settle(at, &done.swapped, &done.aside));
        let mut on_disk = todo.known.clone();
        on_disk.append(&mut done.known);
        let (drift, changed) = (todo.drift.clone(), done.is_changed);
        let outcome = Outcome { problems, on_disk, drift, changed, error: Some(error), ..Outcome::of(state) };
        let outcome = self.told(at.snapshot, outcome, at.started)?;
        self.reload(at, outcome)
    }
}

pub(super) fn in_place(name: &str, piece: &Piece) -> Owned {
    Owned {
        name: name.to_owned(),
        holder: piece.holder.clone(),
        written: Some(piece.digest.to_string()),
        intended: None,
    }
}

/// What lies where a file or symlink of another kind should be.
fn misplaced(there: &There, piece: &Piece) -> Option<String> {
    match there {
        There::Other(word) => Some(format!("a {word}, not a regular file")),
        There::Link(_) if !piece.is_link => Some("a symlink, not a regular file".to_owned()),
        There::File(_) if piece.is_link => Some("a file where a symlink belongs".to_owned()),
        There::Absent | There::File(_) | There::Link(_) => None,
    }
}

/// Whether these are bytes that rosterd wrote there or was about to.
pub(super) fn is_content_of(ours: &Owned, digest: Option<Digest>) -> bool {
    let Some(digest) = digest.map(|digest| digest.to_string()) else { return false };
    ours.written.as_ref() == Some(&digest) || ours.intended == Some(Intended::Put(digest))
}

/// Where a test may stop the process: between any two steps that touch a disk.
pub(in crate::reconcile) mod crash {
    #[cfg(test)]
    thread_local! {
        /// Points left until the stop; none: never.
        pub(crate) static LEFT: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
    }

    #[cfg(test)]
    pub(crate) fn point() {
        LEFT.with(|left| match left.get() {
            Some(0) => panic!("stopped here"),
            Some(more) => left.set(Some(more - 1)),
            None => {}
        });
    }

    #[cfg(not(test))]
    pub(crate) fn point() {}
}
