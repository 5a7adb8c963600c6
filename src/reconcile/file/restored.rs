//! A file target while the mirror is a restored one: the file is kept whole.

use crate::access::Entitlement;
use crate::downstream::file::{self, Digest, Expect, OnDisk};
use crate::mirror::target::State as Saved;
use crate::model::{Subject, Timestamp};
use crate::reconcile::State;
use crate::reconcile::record::Stored;
use crate::reconcile::restored::{self, Leaving, Shown, Standing};
use crate::reconcile::snapshot::Snapshot;

use super::run::{At, Failed, FileRun, Outcome};

/// What is to be done with a target whose mirror was restored.
pub(super) enum Step {
    /// Go on as ever, with what is stored now.
    On,
    /// This is the run's outcome.
    Ended(Outcome),
}

impl FileRun<'_> {
    /// Keeps the file as it is where it has to be; else makes the stored holdings believable and goes on.
    pub(super) fn after_restore(
        &self,
        snapshot: &Snapshot,
        stored: &Stored,
        saved: &Saved,
        started: Timestamp,
    ) -> Result<Step, Failed> {
        let leaving = match restored::standing(self.mirror, self.name(), saved)? {
            Standing::Verified => return Ok(Step::On),
            Standing::Whole(why) => {
                return self.keep(snapshot, (stored, saved), why, started).map(Step::Ended);
            }
            Standing::Leaving(leaving) => leaving,
        };
        let disk = file::inspect(&self.file.spec).map_err(|error| Failed::from(&error, &[]))?;
        let digest = digest_of(&disk);
        let shown = self.shown(saved, digest)?;
        let base = self.make(snapshot, stored, None)?.wanted;
        let written = digest.map(|digest| digest.to_string());
        let done =
            restored::settle(self.mirror, self.name(), stored, &base, (leaving, &shown, written), started)?;
        if done.is_some() {
            return Ok(Step::On);
        }
        let why = format!(
            "the re-baselines after the restore are done, but who stands in this file cannot be told from it: look at \
             `rosterd plan {0}`, then `rosterd approve {0} --restored`",
            self.name()
        );
        debug_assert_eq!(leaving, Leaving::Rebaselined, "a person's word needs no look at the file");
        self.keep(snapshot, (stored, saved), why, started).map(Step::Ended)
    }

    fn shown(&self, saved: &Saved, digest: Option<Digest>) -> Result<Shown, Failed> {
        let Some(digest) = digest else { return Ok(Shown::Bytes(Vec::new())) };
        if saved.record.written.as_deref() == Some(digest.to_string().as_str()) {
            return Ok(Shown::Remembered);
        }
        let bytes = file::content(&self.file.spec, digest).map_err(|error| Failed::from(&error, &[]))?;
        Ok(Shown::Bytes(bytes.unwrap_or_default()))
    }

    /// Nothing comes and nothing goes but what a person's word takes away, where the mirror knows what is in the file.
    fn keep(
        &self,
        snapshot: &Snapshot,
        (stored, saved): (&Stored, &Saved),
        why: String,
        started: Timestamp,
    ) -> Result<Outcome, Failed> {
        let disk = file::inspect(&self.file.spec).map_err(|error| Failed::from(&error, &[]))?;
        let digest = digest_of(&disk);
        let is_remembered = digest.is_some()
            && saved.record.written.as_deref() == digest.map(|digest| digest.to_string()).as_deref();
        if is_remembered {
            let base = self.make(snapshot, stored, None)?.wanted;
            if let Some(less) = self.make_less(snapshot, stored, &base, started)? {
                let at = At { snapshot, stored, saved, started, in_sync: State::Unverified };
                return self.put(&at, less, false, Expect::Anything);
            }
        }
        let mut problems = Vec::new();
        if !is_remembered {
            problems.extend(shut_in_vain(snapshot, stored, self.name().as_str()));
        }
        let outcome =
            Outcome { on_disk: digest, error: Some(why), problems, ..Outcome::of(State::Unverified) };
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

fn digest_of(disk: &OnDisk) -> Option<Digest> {
    match disk {
        OnDisk::File(facts) => facts.digest,
        OnDisk::Absent | OnDisk::Other(_) => None,
    }
}
