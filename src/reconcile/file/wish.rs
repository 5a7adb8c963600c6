//! What a target should show, and the bytes that say so.

use std::collections::BTreeMap;

use crate::access::{Exception, Problem, View, ViewInput, view};
use crate::downstream::file::Digest;
use crate::downstream::format::LeftOut;
use crate::mirror::{Mirror, StoreError};
use crate::model::{Subject, Timestamp};

use crate::reconcile::Plan;
use crate::reconcile::guard::Waits;
use crate::reconcile::guard::book::Book;
use crate::reconcile::guard::verdict;
use crate::reconcile::plan::{self, Inputs, Wanted};
use crate::reconcile::record::{self, Stored};
use crate::reconcile::restored;
use crate::reconcile::settings::{FileSettings, TargetSettings};
use crate::reconcile::snapshot::Snapshot;

use super::make::{self, Numbers, Remembered, Rendering};
use super::parts::{self, Content, Drawn, Missed};
use super::pin;

/// What a target should show now.
pub(crate) struct Wish {
    pub(crate) view: View,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) problems: Vec<String>,
    /// Names left out because nothing can carry them, or because another holds them.
    pub(crate) illegal: Vec<String>,
}

/// The view of `settings` at `snapshot`, given what the target holds and what `book` keeps there; without one, what
/// follows from access alone.
pub(crate) fn wish(
    settings: &TargetSettings,
    snapshot: &Snapshot,
    stored: &Stored,
    book: Option<&Book>,
) -> Wish {
    let mut exceptions: Vec<Exception> =
        book.into_iter().flat_map(|book| book.exceptions.values().cloned()).collect();
    exceptions.extend(plan::kept_for_unknown(&snapshot.access, &stored.holdings));
    let is_judged = |key: &plan::Key| stored.book.has(key);
    let (access, moving) = (&snapshot.access, &snapshot.moving);
    exceptions.extend(plan::kept_for_import(access, moving, &stored.holdings, &is_judged));
    // Whatever keeps a removal from being carried out keeps nobody in who is shut out (DESIGN §6.5).
    exceptions.retain(|one| !verdict::is_shut(snapshot, &one.subject, &one.attributes));
    let names: BTreeMap<Subject, String> =
        stored.holdings.iter().map(|one| (one.subject.clone(), one.name.clone())).collect();
    let input = ViewInput {
        attribute: &settings.subject,
        attributes: &settings.attributes,
        exceptions: &exceptions,
        names: &names,
        map: &settings.map,
        fold: settings.kind.fold(),
    };
    let (view, found) = view(&snapshot.facts, &snapshot.access, input);
    let problems = snapshot.access.problems.iter().chain(&found).map(ToString::to_string).collect();
    let is_illegal = |one: &&Problem| {
        matches!(one, Problem::BadName { .. } | Problem::Collision { .. } | Problem::Mapped { .. })
    };
    let illegal = found.iter().filter(is_illegal).map(ToString::to_string).collect();
    let mut wish = Wish { view, exceptions, problems, illegal };
    if settings.guard.hold == Waits::All && book.is_some_and(|book| book.held().next().is_some()) {
        wish.view = plan::only_held(&wish.view, &stored.holdings);
    }
    wish
}

/// What `plan` shows of any target. Blocking.
pub(crate) fn plan_of(
    mirror: &Mirror,
    settings: &TargetSettings,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Plan, StoreError> {
    let stored = record::load(mirror, &settings.name)?;
    let wanted_of = |wish: &Wish| match &settings.kind {
        crate::reconcile::TargetKind::File(file) => {
            let done = made_of(mirror, settings, file, &stored, wish.view.clone(), &wish.illegal, true);
            done.map_or_else(
                |_| plan::wanted(&wish.view, &[]),
                |done| plan::wanted(&done.view, &done.left_out),
            )
        }
        crate::reconcile::TargetKind::Webhook(webhook) => {
            let mut wanted = plan::wanted(&wish.view, &[]);
            wanted.retain(|(_, entitlement), _| webhook.speaks_of(entitlement));
            wanted
        }
    };
    let base = wanted_of(&wish(settings, snapshot, &stored, None));
    if stored.saved.as_ref().is_some_and(restored::is_unverified) {
        // What `approve --restored` would make of it.
        let wish = wish(settings, snapshot, &stored, None);
        return Ok(plan::plan(&settings.name, inputs(snapshot, &stored, &wish), &base));
    }
    let (book, _) = verdict::judged(mirror, settings, snapshot, &stored, &base, now)?;
    let mut wish = wish(settings, snapshot, &stored, Some(&book));
    if let Some(pin) = stored.saved.as_ref().and_then(pin::of) {
        wish.view = plan::only_held(&wish.view, &pin::limit(mirror, &settings.name, &stored, &pin)?);
    }
    let wanted = wanted_of(&wish);
    Ok(plan::plan(&settings.name, inputs(snapshot, &stored, &wish), &wanted))
}

pub(crate) fn inputs<'a>(snapshot: &'a Snapshot, stored: &'a Stored, wish: &'a Wish) -> Inputs<'a> {
    Inputs {
        facts: &snapshot.facts,
        access: &snapshot.access,
        roles: &snapshot.rules.roles,
        holdings: &stored.holdings,
        exceptions: &wish.exceptions,
    }
}

/// The bytes to be, and what they stand for.
pub(super) struct Made {
    pub(super) content: Content,
    pub(super) digest: Digest,
    pub(super) wanted: Wanted,
    /// Why it is not all that should be there.
    pub(super) refused: Option<String>,
    pub(super) problems: Vec<String>,
    /// Files of a tree that could not be rendered, and why.
    pub(super) failed: BTreeMap<String, Missed>,
    /// What it was rendered from.
    pub(super) view: View,
    /// With the numbers that go with it.
    pub(super) file: FileSettings,
    /// What a reader to which the file only adds holds so far, and will.
    pub(super) loaded: Option<Remembered>,
}

impl Made {
    pub(super) fn of(done: Rendering<Filled>, mut problems: Vec<String>) -> Self {
        problems.extend(done.left_out.iter().map(ToString::to_string));
        let Filled { drawn, loaded, file } = done.done;
        Self {
            digest: drawn.content.digest(),
            content: drawn.content,
            wanted: plan::wanted(&done.view, &done.left_out),
            refused: done.refused,
            problems,
            failed: drawn.failed,
            view: done.view,
            file,
            loaded,
        }
    }
}

/// All files, rendered.
pub(super) struct Filled {
    drawn: Drawn,
    loaded: Option<Remembered>,
    /// With the numbers that go with it.
    file: FileSettings,
}

/// The files for `view`, or for what is left of what was held.
pub(super) fn made_of(
    mirror: &Mirror,
    settings: &TargetSettings,
    file: &FileSettings,
    stored: &Stored,
    view: View,
    illegal: &[String],
    is_preview: bool,
) -> Result<Rendering<Filled>, String> {
    let fill = |view: &View| filled(mirror, settings, file, stored, view, is_preview);
    make::whole_or_held(view, &stored.holdings, illegal, file.on_illegal, &fill)
}

pub(super) fn filled(
    mirror: &Mirror,
    settings: &TargetSettings,
    file: &FileSettings,
    stored: &Stored,
    view: &View,
    is_preview: bool,
) -> Result<(Filled, Vec<LeftOut>), String> {
    let numbers = Numbers { log: &settings.unix_ids, is_preview };
    let (file, loaded) = make::prepare(mirror, &settings.name, stored.saved.as_ref(), file, numbers, view)?;
    let mut drawn = parts::draw(&file, view, &stored.owned).map_err(|error| error.to_string())?;
    let left_out = std::mem::take(&mut drawn.left_out);
    Ok((Filled { drawn, loaded, file }, left_out))
}

/// What lies at the destination once all is applied. Touches nothing. Blocking.
///
/// # Errors
/// Why it cannot be rendered.
pub(crate) fn due(
    mirror: &Mirror,
    settings: &TargetSettings,
    file: &FileSettings,
    snapshot: &Snapshot,
    stored: &Stored,
) -> Result<Content, String> {
    let mut wish = wish(settings, snapshot, stored, Some(&stored.book));
    if let Some(pin) = stored.saved.as_ref().and_then(pin::of) {
        let limit = pin::limit(mirror, &settings.name, stored, &pin).map_err(|error| error.to_string())?;
        wish.view = plan::only_held(&wish.view, &limit);
    }
    let made = made_of(mirror, settings, file, stored, wish.view, &wish.illegal, true)?;
    Ok(made.done.drawn.content)
}
