//! Whether the tables of decisions are what the log leads to: who is shut out, running grants, names let go of, and who
//! is unconfirmed.

use std::collections::{BTreeMap, BTreeSet};

use crate::mirror::decision::{grant, rebaseline, subject};
use crate::mirror::engine::StoreError;
use crate::mirror::history::{Standing, Thing};
use crate::mirror::tx::ReadTx;
use crate::model::Seq;
use crate::scim::filter::fold;

use super::Report;

pub(super) fn compare(
    tx: &mut ReadTx<'_>,
    standing: &Standing,
    report: &mut Report,
) -> Result<(), StoreError> {
    shut(tx, standing, report)?;
    released(tx, standing, report)?;
    grants(tx, standing, report)?;
    unconfirmed(tx, standing, report)
}

/// A text that the log no longer has proves nothing, and neither does one that a row no longer has.
fn agrees(thing: &Thing, key: &str, row: &str) -> bool {
    let text = thing.text(key);
    text.is_empty() || row.is_empty() || text == row
}

/// Takes `name` out of what the log has left; false if it is not there as `fits` says.
fn take(
    logged: &mut BTreeMap<&str, &Thing>,
    name: &str,
    seq: Option<Seq>,
    fits: impl Fn(&Thing) -> bool,
) -> bool {
    let found = logged.remove(name);
    found.is_some_and(|thing| seq.is_none_or(|seq| thing.seq == seq) && fits(thing))
}

fn shut(tx: &mut ReadTx<'_>, standing: &Standing, report: &mut Report) -> Result<(), StoreError> {
    let mut logged: BTreeMap<&str, &Thing> = standing.class("shut").collect();
    for one in subject::shut_list(tx)? {
        let name = one.subject.to_string();
        let fits = |thing: &Thing| {
            agrees(thing, "user_name", &one.user_name) && agrees(thing, "reason", &one.reason)
        };
        if !take(&mut logged, &name, Some(one.seq), fits) {
            report.fault(format!("that {name} is shut out is not what the log says"));
        }
    }
    for name in logged.keys() {
        report.fault(format!("{name} is shut out in the log and not in the mirror"));
    }
    Ok(())
}

fn released(tx: &mut ReadTx<'_>, standing: &Standing, report: &mut Report) -> Result<(), StoreError> {
    let mut logged: BTreeMap<&str, &Thing> = standing.class("released").collect();
    for one in subject::released_list(tx)? {
        let prefix = format!("{}/", one.directory);
        let fits = |thing: &Thing| {
            let name = fold(thing.text("user_name"));
            (name.is_empty() || name == one.user_name_key)
                && agrees(thing, "reason", &one.reason)
                && thing.text("subject").starts_with(&prefix)
        };
        if !take(&mut logged, &one.seq.to_string(), Some(one.seq), fits) {
            report.fault(format!("the release of change {} is not what the log says", one.seq));
        }
    }
    for seq in logged.keys() {
        report.fault(format!("the release of change {seq} is in the log and not in the mirror"));
    }
    Ok(())
}

fn grants(tx: &mut ReadTx<'_>, standing: &Standing, report: &mut Report) -> Result<(), StoreError> {
    let mut logged: BTreeMap<&str, &Thing> = standing.class("grant").collect();
    for one in grant::list(tx)?.into_iter().filter(|one| one.ended.is_none()) {
        let subject = one.subject.to_string();
        let fits = |thing: &Thing| {
            thing.text("subject") == subject
                && agrees(thing, "role", one.role.as_str())
                && agrees(thing, "until", &one.until.to_string())
                && agrees(thing, "user_name", &one.user_name)
                && agrees(thing, "reason", &one.reason)
        };
        if !take(&mut logged, &one.id.to_string(), None, fits) {
            report.fault(format!("grant {} is not what the log says", one.id));
        }
    }
    for id in logged.keys() {
        report.fault(format!("grant {id} runs in the log and not in the mirror"));
    }
    Ok(())
}

fn unconfirmed(tx: &mut ReadTx<'_>, standing: &Standing, report: &mut Report) -> Result<(), StoreError> {
    let there: BTreeSet<String> = rebaseline::all_unconfirmed(tx)?.iter().map(ToString::to_string).collect();
    let mut logged: BTreeSet<&str> = standing.class("unconfirmed").map(|(name, _)| name).collect();
    for name in &there {
        if !logged.remove(name.as_str()) {
            report.fault(format!("{name} is unconfirmed and the log does not say so"));
        }
    }
    for name in logged {
        // Who was deleted since is no longer unconfirmed, and the log says no more of it than the deletion.
        if rebaseline::is_live(tx, name)? {
            report.fault(format!("{name} is unconfirmed in the log and not in the mirror"));
        }
    }
    Ok(())
}
