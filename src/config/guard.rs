//! `[guard]` and `[target.guard]`: what may be taken away without a person's word.

use std::time::Duration;

use super::reader::{Table, Value, what};
use super::secret::Files;
use super::server::span;
use super::target::argv;
use super::value::parse_percent;
use super::webhook::{check_url, secrets};
use crate::reconcile::guard::{AfterHold, Guard, Limit, Notify, Waits};

/// Reads a guard section over `base`.
pub(super) fn guard(section: Option<Table<'_>>, base: &Guard, files: &Files) -> Guard {
    let mut guard = base.clone();
    let Some(section) = section else { return guard };
    if let Some(value) = section.get("max_removals") {
        let limits: Vec<_> = value.list_or_one().iter().filter_map(limit).collect();
        if value.is_list() && value.list().is_some_and(|list| list.is_empty()) {
            value.fail(what(format!("`{}` is empty, which would let everything through", value.path())));
        }
        guard.max_removals = limits;
    }
    let count = |key, field: &mut u64| {
        *field = section.get(key).and_then(|value| value.integer(0..=1_000_000_000)).unwrap_or(*field);
    };
    count("min_removals", &mut guard.min_removals);
    count("urgent", &mut guard.urgent);
    let time = |key, field: &mut Duration| {
        let bounds = (Duration::from_mins(1), Duration::from_hours(30 * 24));
        *field = section.get(key).and_then(|value| span(&value, bounds)).unwrap_or(*field);
    };
    time("window", &mut guard.window);
    time("max_hold", &mut guard.max_hold);
    if let Some(hold) = section
        .get("hold")
        .and_then(|value| value.word(&[("removals", Waits::Removals), ("all", Waits::All)]))
    {
        guard.hold = hold;
    }
    if let Some(then) = section
        .get("max_hold_then")
        .and_then(|value| value.word(&[("keep", AfterHold::Keep), ("apply", AfterHold::Apply)]))
    {
        guard.max_hold_then = then;
    }
    if let Some(value) = section.get("notify") {
        guard.notify = notify(&value, files);
    }
    section.finish();
    guard
}

/// A command, or `{ url, secret_file }`.
fn notify(value: &Value<'_>, files: &Files) -> Option<Notify> {
    if !value.is_table() {
        return argv(value).map(Notify::Command);
    }
    let section = value.table()?;
    let insecure = section.get("insecure").and_then(|value| value.bool()).unwrap_or_default();
    let url = section
        .require("url", "where holds are told, such as `https://chat.example.com/hooks/roster`")
        .and_then(|value| value.parsed(|text| check_url(text, insecure)));
    let about = "a file with `whsec_` or `whsk_` and base64; it is never sent unsigned";
    let secrets = section.require("secret_file", about).map(|value| secrets(&value, files));
    section.finish();
    Some(Notify::Webhook { url: url?, secrets: secrets.filter(|found| !found.is_empty())?, insecure })
}

fn limit(value: &Value<'_>) -> Option<Limit> {
    if value.is_integer() {
        value.integer(0..=1_000_000_000).map(Limit::Count)
    } else {
        value.parsed(parse_percent).map(Limit::Percent)
    }
}
