//! What a target under `apply = "manual"` does by itself: what a person's word takes away goes all the same.

use crate::access::{Exception, Verdict, ViewInput, view};
use crate::mirror::target::Holding;
use crate::model::Timestamp;
use crate::reconcile::guard::{WantedBy, verdict};
use crate::reconcile::plan::{self, Wanted};
use crate::reconcile::record::Stored;
use crate::reconcile::snapshot::Snapshot;

use super::outcome::Failed;
use super::run::FileRun;
use super::wish::Made;

impl FileRun<'_> {
    /// What lies there already, less what a person's word takes away; `None` if that is nothing.
    pub(super) fn make_less(
        &self,
        snapshot: &Snapshot,
        stored: &Stored,
        base: &Wanted,
        now: Timestamp,
    ) -> Result<Option<Made>, Failed> {
        let words = verdict::Words::read(self.mirror, self.settings, snapshot, stored, now)?;
        let is_word = |one: &&Holding| {
            let key = plan::key_of(one);
            !base.contains_key(&key) && words.wanted_by(&key, &one.attributes) == WantedBy::Word
        };
        let (gone, kept): (Vec<&Holding>, Vec<&Holding>) = stored.holdings.iter().partition(is_word);
        if gone.is_empty() {
            return Ok(None);
        }
        let kept: Vec<Holding> = kept.into_iter().cloned().collect();
        let exceptions: Vec<Exception> =
            kept.iter().map(|one| plan::exception_of(one, Verdict::Unknown, snapshot.seq(), 0)).collect();
        let names = kept.iter().map(|one| (one.subject.clone(), one.name.clone())).collect();
        let input = ViewInput {
            attribute: &self.settings.subject,
            attributes: &self.settings.attributes,
            exceptions: &exceptions,
            names: &names,
            map: &self.settings.map,
            fold: self.settings.kind.fold(),
        };
        let (view, problems) = view(&snapshot.facts, &snapshot.access, input);
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        self.made_whole(stored, plan::only_held(&view, &kept), problems).map(Some)
    }
}
