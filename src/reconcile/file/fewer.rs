//! Files of a tree that cannot be written whole: what they last held less everything revoked since (DESIGN §6.4). One
//! that cannot be written so either is emptied in the format's own way, or removed where that grants nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::mirror::owned::{self, Intended, Owned};
use crate::reconcile::plan::{self, Key, Wanted};
use crate::reconcile::record;
use crate::reconcile::settings::{Drift, Each, Shape, Tree};

use super::look::{self, Seen, There};
use super::outcome::Failed;
use super::parts::{self, Fewer, Missed, Piece, Source};
use super::run::{At, FileRun};
use super::tree::{Done, crash, in_place, is_content_of};
use super::wish::Made;
use crate::downstream::file::{self, Expect, Leftovers};

/// How one file ended.
enum Ended {
    /// It shows what is left of what it held.
    Fewer,
    /// It stays as it was, and nobody in it was revoked.
    Stays,
    /// It stays as it was, with somebody in it who was revoked.
    Stuck,
}

impl FileRun<'_> {
    /// Takes the revoked out of the files of ours that could not be rendered or that a check refused.
    pub(super) fn write_fewer(&self, at: &At<'_>, made: &Made, done: &mut Done) -> Result<(), Failed> {
        let refused = std::mem::take(&mut done.refused);
        if refused.is_empty() && made.failed.is_empty() {
            return Ok(());
        }
        let now = plan::only_held(&made.view, &at.stored.holdings);
        let then = plan::as_last_shown(&now, &at.stored.holdings);
        let nobody = parts::with_nobody(&made.view);
        let held = [Source::of(&made.file, &now), Source::of(&made.file, &then)];
        let nobody = Source::of(&made.file, &nobody);
        let revoked: BTreeSet<String> = at
            .stored
            .holdings
            .iter()
            .map(plan::key_of)
            .filter(|key| !made.wanted.contains_key(key))
            .filter_map(|key| self.holder_of(&key))
            .collect();
        let owned: BTreeMap<&str, &Owned> =
            at.stored.owned.iter().map(|one| (one.name.as_str(), one)).collect();
        for (name, missed) in made.failed.iter().chain(&refused) {
            let Missed { holder, why } = missed;
            done.missed.insert(holder.clone());
            // Without a file of ours there is nothing to take anything out of.
            let Some(ours) = owned.get(name.as_str()).filter(|ours| ours.written.is_some()) else {
                done.failed.push(why.clone());
                continue;
            };
            let is_revoked = revoked.contains(holder) || ours.holder != *holder;
            let mut one = One { run: self, made, ours, name, holder, done };
            let ended = match one.try_sources(&held)? {
                Some(ended) => ended,
                None if is_revoked => one.empty(&nobody)?,
                None => Ended::Stays,
            };
            done.failed.push(match ended {
                Ended::Fewer => {
                    done.fewer.insert(holder.clone());
                    format!("{why}; additions to it wait until it can be written")
                }
                Ended::Stays => why.clone(),
                Ended::Stuck => format!("{why}; whoever was revoked since is still in it"),
            });
        }
        Ok(())
    }

    /// What the target holds once some files are not what they should be.
    pub(super) fn shown_by_files(
        &self,
        at: &At<'_>,
        made: &Made,
        untouched: &BTreeSet<String>,
        done: &Done,
    ) -> Wanted {
        let before: Wanted = at.stored.holdings.iter().map(|one| (plan::key_of(one), one.clone())).collect();
        if matches!(self.file.shape, Shape::Tree(Tree::Own)) {
            // Its files have no holders of their own.
            return before;
        }
        let is_fewer = |key: &Key| self.holder_of(key).is_some_and(|holder| done.fewer.contains(&holder));
        let is_missed = |key: &Key| {
            self.holder_of(key)
                .is_some_and(|holder| done.missed.contains(&holder) || untouched.contains(&holder))
        };
        let whole = made.wanted.iter().filter(|(key, _)| !is_missed(key));
        let kept = before
            .iter()
            .filter(|(key, _)| is_missed(key) && (!is_fewer(key) || made.wanted.contains_key(key)));
        whole.chain(kept).map(|(key, holding)| (key.clone(), holding.clone())).collect()
    }

    /// Whose file shows an entitlement; `None` where no file of its own does.
    fn holder_of(&self, (subject, entitlement): &Key) -> Option<String> {
        match &self.file.shape {
            Shape::Tree(Tree::Each { each: Each::Subject, .. }) => Some(format!("user:{subject}")),
            Shape::Tree(Tree::Each { .. }) => Some(entitlement.to_string()),
            Shape::Tree(Tree::Own) | Shape::File | Shape::Set(_) => None,
        }
    }

    /// Whether a file that is not there grants nothing: where one goes with the last that is held, or where an account
    /// without one lets nobody in.
    fn may_go(&self) -> bool {
        match &self.file.shape {
            Shape::Tree(Tree::Each { each, .. }) => {
                *each != Each::Role || matches!(self.file.format.name, "ssh-principals" | "sudoers")
            }
            Shape::Tree(Tree::Own) => true,
            Shape::File | Shape::Set(_) => false,
        }
    }
}

/// One file that cannot be written whole.
struct One<'a> {
    run: &'a FileRun<'a>,
    made: &'a Made,
    ours: &'a Owned,
    name: &'a str,
    holder: &'a str,
    done: &'a mut Done,
}

impl One<'_> {
    /// The first of these that can be written.
    fn try_sources(&mut self, sources: &[Source<'_>]) -> Result<Option<Ended>, Failed> {
        for source in sources {
            let ended = match source.piece(&self.made.file, self.name, self.holder) {
                Fewer::File(piece) => self.put(&piece)?,
                Fewer::Gone if self.run.may_go() => self.remove()?,
                Fewer::Gone | Fewer::Unknown => None,
            };
            if ended.is_some() {
                return Ok(ended);
            }
        }
        Ok(None)
    }

    /// Nobody is in it afterwards.
    fn empty(&mut self, nobody: &Source<'_>) -> Result<Ended, Failed> {
        if let Some(ended) = self.try_sources(std::slice::from_ref(nobody))? {
            return Ok(ended);
        }
        let removed = if self.run.may_go() { self.remove()? } else { None };
        Ok(removed.unwrap_or(Ended::Stuck))
    }

    /// What lies there, if it is for us to change.
    fn there(&self) -> Result<Option<There>, Failed> {
        let there = look::member(self.run.file, self.name)
            .map_err(|error| Failed::from(&error, &self.made.problems))?;
        let is_ours = is_content_of(self.ours, there.digest());
        let is_file = matches!(there, There::File(_));
        Ok((is_file && (is_ours || self.run.file.drift == Drift::Repair)).then_some(there))
    }

    fn put(&mut self, piece: &Piece) -> Result<Option<Ended>, Failed> {
        let Some(there) = self.there()? else { return Ok(Some(Ended::Stays)) };
        if there.digest() != Some(piece.digest) {
            self.intend(Intended::Put(piece.digest.to_string()))?;
            crash::point();
            let expect = there.digest().map_or(Expect::Anything, Expect::Content);
            match self.run.put_member(self.name, piece, expect, &mut Leftovers::default()) {
                Ok(swapped) => {
                    self.done.is_changed |= swapped.is_some();
                    if let Some(Some(swapped)) = swapped {
                        self.done.swapped.push((self.name.to_owned(), swapped));
                    }
                }
                Err(error) if error.kind() == file::Kind::Refused => return Ok(None),
                Err(error) => {
                    self.done.failed.push(error.to_string());
                    return Ok(Some(Ended::Stuck));
                }
            }
        }
        self.done.known.insert(self.name.to_owned(), self.run.seen(piece));
        self.done.put.push(in_place(self.name, piece));
        Ok(Some(Ended::Fewer))
    }

    fn remove(&mut self) -> Result<Option<Ended>, Failed> {
        let Some(there) = self.there()? else { return Ok(Some(Ended::Stays)) };
        self.intend(Intended::Remove)?;
        crash::point();
        match self.run.take_away(self.ours, &there) {
            Ok((_, is_aside)) => {
                if is_aside {
                    self.done.aside.push(self.name.to_owned());
                }
                self.done.is_changed = true;
                self.done.known.insert(self.name.to_owned(), Seen::Absent);
                self.done.gone.push(self.name.to_owned());
                Ok(Some(Ended::Fewer))
            }
            Err(error) => {
                self.done.failed.push(error.to_string());
                Ok(Some(Ended::Stuck))
            }
        }
    }

    /// Makes durable what is about to be done.
    fn intend(&self, intended: Intended) -> Result<(), Failed> {
        let (target, one) =
            (self.run.name().clone(), Owned { intended: Some(intended), ..self.ours.clone() });
        record::update(self.run.mirror, self.run.name(), move |tx, _| owned::put(tx, &target, &[one]))?;
        Ok(())
    }
}
