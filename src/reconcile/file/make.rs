//! What is to be written: the whole of it, or, where that cannot be, what the target last held less everything revoked
//! since (DESIGN §6.4). For every shape of target.

use std::collections::BTreeSet;
use std::path::Path;

use crate::access::View;
use crate::downstream::format::{Format, LeftOut, Options};
use crate::mirror::loaded::{self, Loaded};
use crate::mirror::target::{Holding, State as Saved};
use crate::mirror::{Mirror, ReadTx};
use crate::model::TargetName;

use crate::reconcile::plan;
use crate::reconcile::record;
use crate::reconcile::settings::{FileSettings, OnIllegal, Shape};

use super::unix_ids;

/// A rendering, and the view that it is one of.
#[derive(Debug)]
pub(crate) struct Rendering<T> {
    pub(crate) view: View,
    pub(crate) done: T,
    /// Who of `view` is not in it.
    pub(crate) left_out: Vec<LeftOut>,
    /// Why it is not all that should be there.
    pub(crate) refused: Option<String>,
}

/// What renders a view: the files, and who is not in them.
pub(crate) type Renders<'a, T> = &'a dyn Fn(&View) -> Result<(T, Vec<LeftOut>), String>;

/// Renders the whole view. Where that fails, or `illegal` and what is left out may not be, only additions wait.
///
/// # Errors
/// Why not even what the target last held can be rendered.
pub(crate) fn whole_or_held<T>(
    view: View,
    holdings: &[Holding],
    illegal: &[String],
    on_illegal: OnIllegal,
    render: Renders<'_, T>,
) -> Result<Rendering<T>, String> {
    let why = match render(&view) {
        Ok((done, left_out)) => {
            let mut wrong = illegal.iter().cloned().chain(left_out.iter().map(ToString::to_string));
            match wrong.next().filter(|_| on_illegal == OnIllegal::Error) {
                None => return Ok(Rendering { view, done, left_out, refused: None }),
                Some(first) => format!("{first} ({} more)", wrong.count()),
            }
        }
        Err(error) => error,
    };
    held(&view, holdings, &why, render)
}

/// Renders what of the view the target held already: by today's names, or by those it was last shown under.
///
/// # Errors
/// As [`whole_or_held`].
pub(crate) fn held<T>(
    view: &View,
    holdings: &[Holding],
    why: &str,
    render: Renders<'_, T>,
) -> Result<Rendering<T>, String> {
    let refused = Some(waiting(why));
    let mut first = None;
    for view in left(view, holdings) {
        match render(&view) {
            Ok((done, left_out)) => return Ok(Rendering { view, done, left_out, refused }),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let still = first.filter(|error| error != why).map(|error| format!("; without them {error}"));
    Err(format!("{why}{}; whoever was revoked since is still in the file", still.unwrap_or_default()))
}

/// What of the view the target held already: by today's names, then by those it was last shown under, which were
/// taken before.
pub(crate) fn left(view: &View, holdings: &[Holding]) -> [View; 2] {
    let now = plan::only_held(view, holdings);
    let then = plan::as_last_shown(&now, holdings);
    [now, then]
}

/// What is said of a target that shows no more than is left of what it held.
pub(crate) fn waiting(why: &str) -> String {
    format!("{why}; additions wait until it can be written")
}

/// What the file said so far, and what it will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) before: Loaded,
    pub(crate) after: Loaded,
}

/// Where numbers come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers<'a> {
    /// The file beside the mirror.
    pub(crate) log: &'a Path,
    /// Only to show what would be: nothing is kept.
    pub(crate) is_preview: bool,
}

/// The settings of one rendering of `view`: with the numbers and the deletes that go with it. For a reader to which the
/// file only adds, also what the mirror is to remember before the file is written. Blocking.
///
/// # Errors
/// What the mirror or the file of numbers said.
pub(crate) fn prepare(
    mirror: &Mirror,
    target: &TargetName,
    saved: Option<&Saved>,
    file: &FileSettings,
    numbers: Numbers<'_>,
    view: &View,
) -> Result<(FileSettings, Option<Remembered>), unix_ids::Failure> {
    let mut file = file.clone();
    let give = |format: &Format, options: &mut Options| -> Result<(), unix_ids::Failure> {
        let wanted = format.unix_ids(view, options);
        options.ids = if numbers.is_preview {
            unix_ids::preview(mirror, numbers.log, &wanted)?
        } else {
            unix_ids::give(mirror, numbers.log, &wanted)?
        };
        Ok(())
    };
    if let Shape::Set(parts) = &mut file.shape {
        for part in parts {
            give(part.format, &mut part.options)?;
        }
        return Ok((file, None));
    }
    give(file.format, &mut file.options)?;
    let Some(held) = file.format.relations(view, &file.options) else { return Ok((file, None)) };
    let before = mirror.read(|tx: &mut ReadTx<'_>| loaded::of(tx, target))?;
    let gone = deletes(&before, saved.is_some_and(record::is_loaded), &held);
    file.options.deletes.clone_from(&gone);
    let after = Loaded { held, gone };
    Ok((file, Some(Remembered { before, after })))
}

/// What the reader is to drop: all it may hold and should not. Deletes stay in the file until it changes for another
/// reason, and once a reload has succeeded they are not needed any more.
fn deletes(before: &Loaded, is_loaded: bool, held: &BTreeSet<String>) -> BTreeSet<String> {
    if before.held == *held {
        return before.gone.clone();
    }
    let unsure = before.gone.iter().filter(|_| !is_loaded);
    before.held.iter().chain(unsure).filter(|one| !held.contains(*one)).cloned().collect()
}

impl From<unix_ids::Failure> for String {
    fn from(failure: unix_ids::Failure) -> Self {
        match failure {
            unix_ids::Failure::File(what) => what,
            unix_ids::Failure::Store(error) => error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A reader that loads every file it is given, or fails to, and a daemon that may crash after it remembered and
    /// before it wrote.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Loads,
        ReloadFails,
        LoadsAndReportsFailure,
        CrashesBeforeTheFile,
    }

    fn step() -> impl Strategy<Value = (BTreeSet<String>, Step)> {
        let steps =
            [Step::Loads, Step::ReloadFails, Step::LoadsAndReportsFailure, Step::CrashesBeforeTheFile];
        (proptest::collection::btree_set("[a-e]", 0..5), proptest::sample::select(steps.to_vec()))
    }

    proptest! {
        #[test]
        fn whatever_crashes_or_fails_no_delete_is_lost(steps in proptest::collection::vec(step(), 1..12)) {
            let (mut before, mut is_loaded) = (Loaded::default(), false);
            let mut reader: BTreeSet<String> = BTreeSet::new();
            for (held, step) in steps {
                let gone = deletes(&before, is_loaded, &held);
                prop_assert!(gone.is_disjoint(&held));
                let after = Loaded { held: held.clone(), gone: gone.clone() };
                is_loaded = is_loaded && after == before;
                before = after;
                if matches!(step, Step::Loads | Step::LoadsAndReportsFailure) {
                    reader.retain(|one| !gone.contains(one));
                    reader.extend(held.iter().cloned());
                    prop_assert_eq!(&reader, &held);
                }
                is_loaded = is_loaded || matches!(step, Step::Loads);
                // The same access is the same bytes, deletes included: nothing is loaded twice.
                prop_assert_eq!(&deletes(&before, is_loaded, &held), &gone);
            }
        }
    }

    #[test]
    fn a_delete_goes_once_it_was_loaded_and_something_else_changes() {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let file = Loaded { held: set(&["a", "b"]), gone: set(&["c"]) };
        assert_eq!(deletes(&file, false, &set(&["a"])), set(&["b", "c"]));
        assert_eq!(deletes(&file, true, &set(&["a"])), set(&["b"]));
        assert_eq!(deletes(&file, true, &set(&["a", "b"])), set(&["c"]));
        assert_eq!(deletes(&file, false, &set(&["a", "b", "c"])), set(&[]));
    }
}
