//! A file target while the mirror is a restored one: the file is kept whole.

use crate::access::Entitlement;
use crate::downstream::file::{self, Digest, OnDisk};
use crate::mirror::target::State as Saved;
use crate::model::{Subject, Timestamp};
use crate::reconcile::State;
use crate::reconcile::plan::{self, Wanted};
use crate::reconcile::record::Stored;
use crate::reconcile::restored::{self, Ended, Leaving, Shown, Standing};
use crate::reconcile::settings::Shape;
use crate::reconcile::snapshot::Snapshot;

use super::look::{self, Known};
use super::outcome::{Failed, Outcome};
use super::run::{At, FileRun};
use super::wish::wish;

impl FileRun<'_> {
    /// Keeps what lies there where it has to be kept, and answers the run's outcome; else makes the stored holdings
    /// believable, so that the run goes on with what is stored then.
    pub(super) fn after_restore(
        &mut self,
        snapshot: &Snapshot,
        (stored, saved): (&Stored, &Saved),
        started: Timestamp,
    ) -> Result<Option<Outcome>, Failed> {
        let leaving = match restored::standing(self.mirror, self.name(), saved)? {
            Standing::Verified => return Ok(None),
            Standing::Whole(why) => return self.keep(snapshot, (stored, saved), why, started).map(Some),
            Standing::Leaving(leaving) => leaving,
        };
        let shown = self.shown(stored, saved)?;
        let written = match (&self.file.shape, &shown) {
            (Shape::File, Shown::Bytes(_)) => self.digest()?.map(|digest| digest.to_string()),
            _ => None,
        };
        let base = self.make(snapshot, stored, None, None)?.wanted;
        let unnamed = if leaving == Leaving::Rebaselined && !snapshot.facts.unconfirmed.is_empty() {
            let all = wish(self.settings, &snapshot.as_if_confirmed(started), stored, None).view;
            plan::wanted(&all, &[])
        } else {
            Wanted::new()
        };
        let ended = Ended { leaving, shown: &shown, written, base: &base, unnamed: &unnamed };
        if restored::settle(self.mirror, self.name(), stored, &ended, started)?.is_some() {
            return Ok(None);
        }
        let why = format!(
            "the re-baselines after the restore are done, but who stands here cannot be told from what lies there: look \
             at `rosterd plan {0}`, then `rosterd approve {0} --restored`",
            self.name()
        );
        self.keep(snapshot, (stored, saved), why, started).map(Some)
    }

    fn digest(&self) -> Result<Option<Digest>, Failed> {
        let disk = file::inspect(&self.file.spec).map_err(|error| Failed::from(&error, &[]))?;
        Ok(match disk {
            OnDisk::File(facts) => facts.digest,
            OnDisk::Absent | OnDisk::Other(_) => None,
        })
    }

    /// What lies there, as far as it can be told.
    fn shown(&self, stored: &Stored, saved: &Saved) -> Result<Shown, Failed> {
        match &self.file.shape {
            Shape::File => {
                let Some(digest) = self.digest()? else { return Ok(Shown::Bytes(Vec::new())) };
                if saved.record.written.as_deref() == Some(digest.to_string().as_str()) {
                    return Ok(Shown::Remembered);
                }
                let bytes =
                    file::content(&self.file.spec, digest).map_err(|error| Failed::from(&error, &[]))?;
                Ok(Shown::Bytes(bytes.unwrap_or_default()))
            }
            Shape::Tree(_) => {
                for one in &stored.owned {
                    let there =
                        look::member(self.file, &one.name).map_err(|error| Failed::from(&error, &[]))?;
                    if there.digest() != one.written.as_deref().and_then(Digest::from_hex) {
                        return Ok(Shown::Bytes(Vec::new()));
                    }
                }
                Ok(Shown::Remembered)
            }
            // Whether a generation is the one the mirror knows cannot be told from here: a person says so.
            Shape::Set(_) => Ok(Shown::Bytes(Vec::new())),
        }
    }

    /// Nothing comes and nothing goes but what a person's word takes away, where the mirror knows what lies there.
    fn keep(
        &mut self,
        snapshot: &Snapshot,
        (stored, saved): (&Stored, &Saved),
        why: String,
        started: Timestamp,
    ) -> Result<Outcome, Failed> {
        let is_remembered = saved.record.adopted && matches!(self.shown(stored, saved)?, Shown::Remembered);
        if is_remembered {
            let base = self.make(snapshot, stored, None, None)?.wanted;
            if let Some(less) = self.make_less(snapshot, stored, &base, started)? {
                let (in_sync, is_sync, adopt) = (State::Unverified, true, false);
                let at = At { snapshot, stored, saved, started, in_sync, is_sync, adopt };
                return self.place(&at, less);
            }
        }
        let mut problems = Vec::new();
        if !is_remembered {
            problems.extend(shut_in_vain(snapshot, stored, self.name().as_str()));
        }
        let mut outcome = Outcome { error: Some(why), problems, ..Outcome::of(State::Unverified) };
        if matches!(self.file.shape, Shape::File) {
            let there = look::member_of_itself(self.file).map_err(|error| Failed::from(&error, &[]))?;
            outcome.on_disk = Known::from([(String::new(), there.seen())]);
        }
        self.told(snapshot, outcome, started)
    }
}

/// Who was shut and may stand in a file all the same, since nobody knows what is in it.
fn shut_in_vain(snapshot: &Snapshot, stored: &Stored, target: &str) -> Option<String> {
    let is_shut = |one: &&(&Subject, &Entitlement)| snapshot.facts.shut(one.0, None).is_some();
    let held: Vec<(&Subject, &Entitlement)> =
        stored.holdings.iter().map(|one| (&one.subject, &one.entitlement)).collect();
    let count = held.iter().filter(is_shut).count();
    (count > 0).then(|| {
        format!(
            "{count} entitlements of people who are shut may still stand here: the file is not the one the restored \
             mirror knows; edit it, or `rosterd approve {target} --restored`"
        )
    })
}
