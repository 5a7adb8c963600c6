//! A run's own renderings: of what should be there, of a given view, and of what is left of what was held.

use crate::access::View;
use crate::mirror::target::Holding;
use crate::reconcile::guard::book::Book;
use crate::reconcile::plan;
use crate::reconcile::record::Stored;
use crate::reconcile::snapshot::Snapshot;

use super::make::{self, Rendering};
use super::outcome::Failed;
use super::run::{At, FileRun};
use super::wish::{Made, filled, made_of, wish};

impl FileRun<'_> {
    /// Renders what should be there; of a pinned target no more than `limit`.
    pub(super) fn make(
        &self,
        snapshot: &Snapshot,
        stored: &Stored,
        book: Option<&Book>,
        limit: Option<&[Holding]>,
    ) -> Result<Made, Failed> {
        let wish = wish(self.settings, snapshot, stored, book);
        let view = match limit {
            Some(limit) => plan::only_held(&wish.view, limit),
            None => wish.view,
        };
        match made_of(self.mirror, self.settings, self.file, stored, view, &wish.illegal, false) {
            Ok(done) => Ok(Made::of(done, wish.problems)),
            Err(error) => Err(Failed::told(error, wish.problems)),
        }
    }

    /// Renders `view` as it is.
    pub(super) fn made_whole(
        &self,
        stored: &Stored,
        view: View,
        problems: Vec<String>,
    ) -> Result<Made, Failed> {
        match filled(self.mirror, self.settings, self.file, stored, &view, false) {
            Ok((done, left_out)) => Ok(Made::of(Rendering { view, done, left_out, refused: None }, problems)),
            Err(error) => Err(Failed::told(error, problems)),
        }
    }

    /// The view that should be there, of a pinned target no more than `limit`, and what is wrong with it.
    pub(super) fn view_due(&self, at: &At<'_>, limit: Option<&[Holding]>) -> (View, Vec<String>) {
        let wish = wish(self.settings, at.snapshot, at.stored, Some(&at.stored.book));
        let view = match limit {
            Some(limit) => plan::only_held(&wish.view, limit),
            None => wish.view,
        };
        (view, wish.problems)
    }

    /// Renders what is left of what was held, since what should be there was refused because of `why`.
    pub(super) fn made_left(
        &self,
        at: &At<'_>,
        view: View,
        problems: Vec<String>,
        why: &str,
    ) -> Result<Made, Failed> {
        let made = self.made_whole(at.stored, view, problems)?;
        Ok(Made { refused: Some(make::waiting(why)), ..made })
    }
}
