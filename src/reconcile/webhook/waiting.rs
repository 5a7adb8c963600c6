//! The guard and a stream of users and groups (DESIGN §6.10): the stream stops at the first event that would take away
//! what the guard holds, and goes on once a person approved, rejected or skipped it.
//!
//! An event is *held* when it would carry out a held removal, *passed over* when it would carry out a rejected one,
//! and goes otherwise. Where it cannot be told which removals an event carries out (a nested group, a whole group),
//! any removal held in its directory holds it: waiting too long is mended by a word, telling too early is not.

use crate::access::{Entitlement, Exception, Verdict};
use crate::mirror::change::{self, Change};
use crate::mirror::delivery::{self, State};
use crate::mirror::{Mirror, ReadTx, StoreError, WriteTx};
use crate::model::{DirectoryId, EventId, Origin, ResourceId, Seq, Subject, TargetName};

use crate::reconcile::event::{Event, Kind, Names, of_change, takes_away};
use crate::reconcile::guard::book::Book;

/// What becomes of an event under these verdicts.
pub(crate) fn fate(event: &Event, change: &Change, book: &Book) -> State {
    if book.exceptions.is_empty() {
        return State::Pending;
    }
    let Some(directory) = &change.directory else { return State::Pending };
    let group = event.resource.as_deref().and_then(ResourceId::parse);
    let subject = event
        .person
        .as_ref()
        .map(|person| Subject { directory: person.directory.clone(), user: person.user });
    let of_subject = |one: &&Exception| subject.as_ref() == Some(&one.subject);
    let of_group = |one: &&Exception| is_of(&one.entitlement, directory, group);
    let any = |verdict: Verdict, is_it: &dyn Fn(&&Exception) -> bool| {
        book.exceptions.values().filter(|one| one.verdict == verdict).any(|one| is_it(&one))
    };
    let here = |one: &&Exception| one.subject.directory == *directory;
    let (is_held, is_rejected) = match event.kind {
        Kind::UserDeactivated | Kind::UserDeleted => {
            (any(Verdict::Held, &of_subject), any(Verdict::Rejected, &of_subject))
        }
        Kind::UserUpdated => (takes_away(change, true) && any(Verdict::Held, &of_subject), false),
        Kind::GroupUserRemoved => {
            (any(Verdict::Held, &of_subject), any(Verdict::Rejected, &|one| of_subject(one) && of_group(one)))
        }
        Kind::GroupDeleted | Kind::GroupGroupRemoved => {
            (any(Verdict::Held, &here), any(Verdict::Rejected, &of_group))
        }
        Kind::DirectoryRemoved => (any(Verdict::Held, &here), false),
        _ => (false, false),
    };
    match (is_held, is_rejected) {
        (true, _) => State::Held,
        (false, true) => State::Skipped,
        (false, false) => State::Pending,
    }
}

fn is_of(entitlement: &Entitlement, directory: &DirectoryId, group: Option<ResourceId>) -> bool {
    matches!(entitlement, Entitlement::Group(of, id) if of == directory && Some(*id) == group)
}

/// Looks again at what is held: what was approved goes, what was rejected is passed over. False while anything is held.
pub(crate) fn release(
    mirror: &Mirror,
    name: &TargetName,
    book: &Book,
    names: &Names<'_>,
) -> Result<bool, StoreError> {
    let held = mirror.read(|tx: &mut ReadTx<'_>| delivery::held(tx, name))?;
    if held.is_empty() {
        return Ok(true);
    }
    let mut fates: Vec<(EventId, State)> = Vec::new();
    let mut known: Option<(Seq, Vec<(Event, State)>)> = None;
    for id in held {
        if known.as_ref().is_none_or(|(seq, _)| *seq != id.seq) {
            known = Some((id.seq, again(mirror, id.seq, book, names)?));
        }
        let events = known.as_ref().map_or(&[][..], |(_, events)| events);
        let found = events.iter().find(|(event, _)| event.n == Some(id.n)).map(|(_, state)| *state);
        // A change that the log no longer holds cannot be judged anew; while anything is held or rejected it stays for
        // a person to skip.
        let unknown = if book.exceptions.is_empty() { State::Pending } else { State::Held };
        fates.push((id, found.unwrap_or(unknown)));
    }
    let is_free = fates.iter().all(|(_, state)| *state != State::Held);
    let name = name.clone();
    mirror.write_blocking(Origin::daemon(), move |tx: &mut WriteTx<'_>| {
        for (id, state) in fates.iter().filter(|(_, state)| *state != State::Held) {
            delivery::release(tx, &name, *id, *state)?;
        }
        Ok(is_free)
    })
}

fn again(
    mirror: &Mirror,
    seq: Seq,
    book: &Book,
    names: &Names<'_>,
) -> Result<Vec<(Event, State)>, StoreError> {
    let before = Seq(seq.0.saturating_sub(1));
    let changes = mirror.read(|tx: &mut ReadTx<'_>| change::after(tx, before, 1))?;
    let Some(change) = changes.into_iter().find(|change| change.seq == seq) else { return Ok(Vec::new()) };
    let events = of_change(&change, names);
    let judged = events.into_iter().map(|event| {
        let state = fate(&event, &change, book);
        (event, state)
    });
    Ok(judged.collect())
}
