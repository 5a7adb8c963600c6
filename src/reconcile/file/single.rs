//! A target that is one file: look, judge, put in place.

use crate::downstream::file::{self, Applied, Digest, Expect, OnDisk};
use crate::mirror::StoreError;
use crate::mirror::loaded;
use crate::mirror::target::State as Saved;

use crate::reconcile::State;
use crate::reconcile::record;
use crate::reconcile::settings::{Apply, Drift};

use super::look::{self, Evidence, Known, Seen, There};
use super::outcome::{Failed, Outcome};
use super::parts::Content;
use super::run::{At, FileRun, Put};
use super::wish::Made;

impl FileRun<'_> {
    /// Looks, judges, puts in place. An edit that falls between the look and the swap stops the swap; the next look
    /// then sees it, so that it is told like any other. Who edits without end is overwritten all the same.
    pub(super) fn single(&mut self, at: &At<'_>, made: Made) -> Result<Outcome, Failed> {
        for is_last in [false, false, true] {
            let (expect, found, drift) = match self.judge_one(at, &made)? {
                Judged::Told(state, error, on_disk, drift) => {
                    let problems = made.problems;
                    let outcome = Outcome { error, problems, on_disk, drift, ..Outcome::of(state) };
                    return self.told(at.snapshot, outcome, at.started);
                }
                Judged::Put(expect, found, drift) => (expect, found, drift),
            };
            if found.is_foreign {
                self.adopted(&[self.file.spec.path.display().to_string()])?;
            }
            let expect = match expect {
                Expect::Content(_) if is_last => Expect::Anything,
                other => other,
            };
            self.remember(at, &made, found.is_wanted)?;
            let Content::One(bytes) = &made.content else { break };
            let check = |bytes: &[u8]| self.file.format.check(bytes, &self.file.options);
            match file::apply(&self.file.spec, bytes, expect, &check) {
                Ok(applied) => return self.put(at, made, applied, drift),
                Err(error) if matches!(error.cause, file::Cause::Changed) && !is_last => {}
                Err(error) => return Err(Failed::from(&error, &made.problems)),
            }
        }
        Err(Failed::told("a file was drawn as several".into(), made.problems))
    }

    fn judge_one(&self, at: &At<'_>, made: &Made) -> Result<Judged, Failed> {
        let saved = at.saved;
        let disk = file::inspect(&self.file.spec).map_err(|error| Failed::from(&error, &made.problems))?;
        let there = match &disk {
            OnDisk::Absent => There::Absent,
            OnDisk::File(facts) => There::File(facts.clone()),
            OnDisk::Other(word) => There::Other(word),
        };
        let found = Found::of(&disk, saved, made.digest);
        let known = Known::from([(String::new(), there.seen())]);
        let is_news = saved.record.written.as_deref() != Some(made.digest.to_string().as_str());
        let is_left = self.file.drift == Drift::Report && !is_news && !at.is_sync;
        let drift: Vec<Evidence> = found
            .is_drifted
            .then(|| {
                let (path, expected) =
                    (self.file.spec.path.display().to_string(), saved.record.written.clone());
                look::evidence(path, &there, expected, at.started, self.mends(at, is_left))
            })
            .into_iter()
            .collect();
        if found.is_foreign && !at.adopt {
            let path = self.file.spec.path.display();
            let error = format!(
                "`{path}` exists and is not ours; look at `rosterd plan {0}`, then `rosterd sync {0} --adopt`",
                self.name()
            );
            return Ok(Judged::Told(State::Foreign, Some(error), known, drift));
        }
        if self.settings.apply == Apply::Manual && !at.is_sync {
            let state = match (found.is_wanted, found.is_drifted && !is_news) {
                (true, _) => at.in_sync,
                (false, true) => State::Drifted,
                (false, false) => State::Pending,
            };
            return Ok(Judged::Told(state, None, known, drift));
        }
        if found.is_drifted && is_left {
            return Ok(Judged::Told(State::Drifted, None, known, drift));
        }
        let expect = match &disk {
            OnDisk::Absent if !saved.record.adopted => Expect::Absent,
            OnDisk::File(facts) if !found.is_drifted && !found.is_foreign => {
                facts.digest.map_or(Expect::Anything, Expect::Content)
            }
            _ => Expect::Anything,
        };
        Ok(Judged::Put(expect, found, drift))
    }

    /// Remembers what is about to be written: its digest, and what a reader to which it only adds will hold.
    fn remember(&self, at: &At<'_>, made: &Made, is_wanted: bool) -> Result<(), StoreError> {
        let digest = made.digest.to_string();
        let is_told = is_wanted || record::intended(at.saved) == Some(digest.as_str());
        let loaded = made.loaded.clone().filter(|one| one.before != one.after);
        if is_told && loaded.is_none() {
            return Ok(());
        }
        let name = self.name().clone();
        record::update(self.mirror, self.name(), move |tx, saved| {
            if let Some(one) = loaded {
                loaded::save(tx, &name, &one.before, &one.after)?;
                record::set_loaded(saved, false);
            }
            record::set_extra(saved, "intended", Some(digest.into()));
            Ok(())
        })
    }

    /// Records what was put in place, and reloads.
    fn put(
        &mut self,
        at: &At<'_>,
        made: Made,
        applied: Applied,
        drift: Vec<Evidence>,
    ) -> Result<Outcome, Failed> {
        let swapped = match applied {
            Applied::Swapped(swapped) => Some(swapped),
            Applied::Unchanged => None,
        };
        let published = match &made.content {
            Content::One(bytes) => self.published(bytes),
            Content::Many(_) => None,
        };
        let (digest, since) = (made.digest, self.since(at.saved, made.digest));
        let seen = Seen::File(Some(made.digest), self.file.spec.mode);
        let on_disk = Known::from([(String::new(), seen)]);
        // A crash between the swap and its record leaves a file that nobody was told to load.
        let is_unrecorded = record::intended(at.saved) == Some(made.digest.to_string().as_str());
        let changed = swapped.is_some() || is_unrecorded;
        let put = Put { made, changed, on_disk, drift, owned: Vec::new(), gone: Vec::new() };
        let mut outcome = self.record(at, put)?;
        if let Some(bytes) = published {
            self.show(bytes, digest, since);
        }
        if let Some(swapped) = swapped {
            // The swap is recorded; a version that could not be kept is worth a word and no more.
            if let Err(error) = file::settle(&self.file.spec, &swapped, at.snapshot.seq().0) {
                outcome.problems.push(error.to_string());
            }
        }
        self.reload(at, outcome)
    }
}

/// What a look at the destination makes of a run.
enum Judged {
    /// Nothing is put there: the state, why, what lies there, and what was drift.
    Told(State, Option<String>, Known, Vec<Evidence>),
    /// The bytes are put there, in place of what the look saw.
    Put(Expect, Found, Vec<Evidence>),
}

/// What lies at the destination, judged.
struct Found {
    /// It is what should be there.
    is_wanted: bool,
    /// It was never ours.
    is_foreign: bool,
    /// It was ours and is not what was written last.
    is_drifted: bool,
}

impl Found {
    fn of(disk: &OnDisk, saved: &Saved, wanted: Digest) -> Self {
        let digest = match disk {
            OnDisk::File(facts) => facts.digest,
            OnDisk::Absent | OnDisk::Other(_) => None,
        };
        let hex = digest.map(|digest| digest.to_string());
        let is_ours = hex.is_some()
            && (hex.as_deref() == saved.record.written.as_deref()
                || hex.as_deref() == record::intended(saved));
        let is_wanted = digest == Some(wanted);
        Self {
            is_wanted,
            is_foreign: matches!(disk, OnDisk::File(_)) && !saved.record.adopted && !is_ours && !is_wanted,
            is_drifted: saved.record.adopted && !is_ours && !is_wanted,
        }
    }
}
