//! One run of a set: all files are written to a new generation, then one rename shows it.
//!
//! Order of what is durable: the new generation, then what is about to be shown and what was, then the rename, then
//! the record. A generation that is shown but was never recorded is verified again, and put back if it is refused.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::downstream::file::generation::{self, Files};
use crate::downstream::file::{self, ApplyError, Removed};
use crate::reconcile::State;
use crate::reconcile::record;
use crate::reconcile::settings::{Apply, Drift, Shape};

use super::look::{self, Evidence, Known, There};
use super::outcome::{Failed, Outcome};
use super::parts::{Content, Piece};
use super::run::{At, FileRun, Put};
use super::tree::crash;
use super::wish::Made;

impl FileRun<'_> {
    /// Compares, decides and switches.
    pub(super) fn set(&mut self, at: &At<'_>, made: Made) -> Result<Outcome, Failed> {
        let Content::Many(pieces) = &made.content else {
            return Err(Failed::told("a set was drawn as one file".into(), made.problems));
        };
        let failed = |error: &ApplyError| Failed::from(error, &made.problems);
        let there =
            look::set(self.file, pieces.keys().map(String::as_str)).map_err(|error| failed(&error))?;
        let link = there.get("").cloned().unwrap_or(There::Absent);
        let shown = generation::shown(&self.file.spec).map_err(|error| failed(&error))?;
        let known: Known = there.iter().map(|(name, there)| (name.clone(), there.seen())).collect();
        let is_wanted = matches!(shown, generation::Shown::Ours(_))
            && pieces.iter().all(|(name, piece)| self.is_as_wanted(there.get(name), piece));
        let digest = made.digest.to_string();
        let is_recorded = at.saved.record.written.as_deref() == Some(digest.as_str());
        let unsettled = record::extra_text(at.saved, "intended").is_some();
        let is_drifted =
            at.saved.record.adopted && !unsettled && !is_wanted && Self::is_touched(at, pieces, &there);
        let is_left = self.file.drift == Drift::Report && is_recorded && !at.is_sync;
        let drift = if is_drifted { self.set_evidence(at, pieces, &there, is_left) } else { Vec::new() };
        let quiet = |state: State, error: Option<String>| {
            let (problems, on_disk, drift) = (made.problems.clone(), known.clone(), drift.clone());
            Outcome { error, problems, on_disk, drift, ..Outcome::of(state) }
        };
        if let generation::Shown::Other(word) = shown {
            let path = self.file.spec.path.display();
            let error = format!("`{path}` is a {word}, where a set has a symlink of its own; move it away");
            return self.told(at.snapshot, quiet(State::Foreign, Some(error)), at.started);
        }
        let is_foreign = matches!(shown, generation::Shown::Elsewhere(_)) && !at.saved.record.adopted;
        if is_foreign && !at.adopt {
            let (path, name) = (self.file.spec.path.display(), self.name());
            let error = format!(
                "`{path}` is a symlink that is not ours; look at `rosterd plan {name}`, then `rosterd sync {name} --adopt`"
            );
            return self.told(at.snapshot, quiet(State::Foreign, Some(error)), at.started);
        }
        if self.settings.apply == Apply::Manual && !at.is_sync {
            let state = match (is_wanted, is_drifted && is_recorded) {
                (true, _) => at.in_sync,
                (false, true) => State::Drifted,
                (false, false) => State::Pending,
            };
            return self.told(at.snapshot, quiet(state, None), at.started);
        }
        if is_drifted && is_left {
            return self.told(at.snapshot, quiet(State::Drifted, None), at.started);
        }
        if is_foreign {
            self.adopted(&[self.file.spec.path.display().to_string()])?;
        }
        let changed = !is_wanted || unsettled;
        if changed {
            self.switch(at, &made, pieces, &link, is_wanted).map_err(|error| match error {
                Stopped::File(error) => Failed::from(&error, &made.problems),
                Stopped::Store(error) => error.into(),
            })?;
        }
        let after =
            look::set(self.file, pieces.keys().map(String::as_str)).map_err(|error| failed(&error))?;
        let on_disk: Known = after.iter().map(|(name, there)| (name.clone(), there.seen())).collect();
        let put = Put { made, changed, on_disk, drift, owned: Vec::new(), gone: Vec::new() };
        let mut outcome = self.record(at, put)?;
        crash::point();
        if let Err(error) = generation::prune(&self.file.spec, self.file.spec.keep) {
            outcome.problems.push(error.to_string());
        }
        self.reload(at, outcome)
    }

    fn is_as_wanted(&self, there: Option<&There>, piece: &Piece) -> bool {
        matches!(there, Some(There::File(facts))
            if facts.digest == Some(piece.digest) && facts.mode == self.file.spec.mode & 0o777)
    }

    /// Whether what is shown is not what was left: another symlink, or files whose bytes no run wrote.
    fn is_touched(at: &At<'_>, pieces: &BTreeMap<String, Piece>, there: &BTreeMap<String, There>) -> bool {
        let digests = there
            .iter()
            .filter(|(name, _)| !name.is_empty())
            .filter_map(|(name, there)| Some(format!("{name}\0{}\n", there.digest()?)));
        let found = file::Digest::of(digests.collect::<String>().as_bytes()).to_string();
        let is_whole =
            pieces.keys().all(|name| there.get(name).is_some_and(|there| there.digest().is_some()));
        !is_whole || at.saved.record.written.as_ref() != Some(&found)
    }

    fn set_evidence(
        &self,
        at: &At<'_>,
        pieces: &BTreeMap<String, Piece>,
        there: &BTreeMap<String, There>,
        is_left: bool,
    ) -> Vec<Evidence> {
        let repaired = self.mends(at, is_left);
        let path = &self.file.spec.path;
        let link =
            there.get("").filter(|_| there.values().all(|one| one.digest().is_none()) || !self.shows_ours());
        let touched = there
            .iter()
            .filter(|(name, one)| pieces.get(*name).is_some_and(|piece| one.digest() != Some(piece.digest)));
        let of_link =
            link.map(|link| look::evidence(path.display().to_string(), link, None, at.started, repaired));
        let of_files = touched.map(|(name, one)| {
            // Of a set's files only those that still have to be as they were are known one by one.
            let expected = pieces.get(name).filter(|_| is_left).map(|piece| piece.digest.to_string());
            look::evidence(path.join(name).display().to_string(), one, expected, at.started, repaired)
        });
        // Where the symlink itself went, its files are missing only as a consequence.
        match of_link {
            Some(link) => vec![link],
            None => of_files.take(look::EVIDENCE_MAX).collect(),
        }
    }

    fn shows_ours(&self) -> bool {
        matches!(generation::shown(&self.file.spec), Ok(generation::Shown::Ours(_)))
    }

    /// Writes, shows and verifies; refused, it shows what was shown before.
    fn switch(
        &self,
        at: &At<'_>,
        made: &Made,
        pieces: &BTreeMap<String, Piece>,
        link: &There,
        is_wanted: bool,
    ) -> Result<(), Stopped> {
        let spec = &self.file.spec;
        let before = if is_wanted {
            // Shown before a crash, never verified: what it replaced was noted then.
            record::extra_text(at.saved, "before")
        } else {
            let files: Files<'_> =
                pieces.iter().map(|(name, piece)| (name.as_str(), piece.bytes.as_slice())).collect();
            let new =
                generation::stage(spec, &files, at.snapshot.seq().0, &|name, bytes| self.parse(name, bytes))
                    .map_err(Stopped::File)?;
            crash::point();
            let before = match link {
                There::Link(to) => Some(to.clone()),
                _ => None,
            };
            let (intended, was) = (made.digest.to_string(), before.clone());
            record::update(self.mirror, self.name(), move |_, saved| {
                record::set_extra(saved, "intended", Some(intended.into()));
                record::set_extra(saved, "before", was.map(Value::from));
                Ok(())
            })
            .map_err(Stopped::Store)?;
            crash::point();
            generation::show(spec, &new).map_err(Stopped::File)?;
            crash::point();
            before
        };
        let Err(refused) = file::verify(spec) else { return Ok(()) };
        match before {
            Some(before) => generation::show(spec, &before),
            None => file::remove_link(spec).map(|_: Removed| ()),
        }
        .map_err(Stopped::File)?;
        record::update(self.mirror, self.name(), |_, saved| {
            record::set_extra(saved, "intended", None);
            Ok(())
        })
        .map_err(Stopped::Store)?;
        Err(Stopped::File(refused))
    }

    /// The built-in check of each file's own format.
    fn parse(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let Shape::Set(parts) = &self.file.shape else { return Ok(()) };
        let part = parts.iter().find(|part| part.name.as_str() == name);
        part.map_or(Ok(()), |part| part.format.check(bytes, &part.options))
    }
}

enum Stopped {
    File(ApplyError),
    Store(crate::mirror::StoreError),
}
