//! `[guard]` and `[target.guard]`: what may be taken away without a person's word.

use std::time::Duration;

use super::reader::{Table, Value, what};
use super::server::span;
use super::target::argv;
use super::value::parse_percent;
use crate::reconcile::guard::{AfterHold, Guard, Limit, Waits};

/// Reads a guard section over `base`.
pub(super) fn guard(section: Option<Table<'_>>, base: &Guard) -> Guard {
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
        guard.notify = argv(&value);
    }
    section.finish();
    guard
}

fn limit(value: &Value<'_>) -> Option<Limit> {
    if value.is_integer() {
        value.integer(0..=1_000_000_000).map(Limit::Count)
    } else {
        value.parsed(parse_percent).map(Limit::Percent)
    }
}
