//! `[guard]` and `[target.guard]`: what may be taken away without a person's word.

use std::time::Duration;

use super::reader::{Table, Value, what};
use super::server::span;
use super::value::parse_percent;
use crate::downstream::command::Argv;

/// The limits of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Key `max_removals`: over any one of them holds. Default `["10%", 500]`.
    pub max_removals: Vec<Limit>,
    /// Key `min_removals`: a plan under which fewer people lose something is never held. Default 5.
    pub min_removals: u64,
    /// Key `window`: removals add up over this time. Default 1 h, a minute to 30 days.
    pub window: Duration,
    /// Key `urgent`: people let through at once while a hold stands. Default 5.
    pub urgent: u64,
    /// Key `hold`. Default `removals`.
    pub hold: Hold,
    /// Key `max_hold`: how long a hold waits for a person. Default 24 h, a minute to 30 days.
    pub max_hold: Duration,
    /// Key `max_hold_then`. Default `keep`.
    pub max_hold_then: AfterHold,
    /// Key `notify`: run when a hold begins. Default none.
    pub notify: Option<Argv>,
}

/// One limit on removals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Of the entitlements that the target, or a role, holds.
    Percent(u8),
    /// Entitlements.
    Count(u64),
}

/// What waits while a hold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The removals.
    Removals,
    /// Everything.
    All,
}

/// What happens to a hold that nobody decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterHold {
    /// It stays.
    Keep,
    /// Its removals are applied.
    Apply,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            max_removals: vec![Limit::Percent(10), Limit::Count(500)],
            min_removals: 5,
            window: Duration::from_secs(3_600),
            urgent: 5,
            hold: Hold::Removals,
            max_hold: Duration::from_secs(24 * 3_600),
            max_hold_then: AfterHold::Keep,
            notify: None,
        }
    }
}

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
        let bounds = (Duration::from_secs(60), Duration::from_secs(30 * 86_400));
        *field = section.get(key).and_then(|value| span(&value, bounds)).unwrap_or(*field);
    };
    time("window", &mut guard.window);
    time("max_hold", &mut guard.max_hold);
    if let Some(hold) =
        section.get("hold").and_then(|value| value.word(&[("removals", Hold::Removals), ("all", Hold::All)]))
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

/// An argument list; an empty one means none.
pub(super) fn argv(value: &Value<'_>) -> Option<Argv> {
    if value.is_text() {
        value.fail(
            what(format!("`{}` must be a list of arguments, not one text", value.path()))
                .help("there is no shell: write `[\"program\", \"argument\", …]`"),
        );
        return None;
    }
    let words = value.texts()?;
    if words.is_empty() {
        return None;
    }
    match Argv::parse(words) {
        Ok(argv) => Some(argv),
        Err(error) => {
            value.fail(what(format!("`{}`: {error}", value.path())));
            None
        }
    }
}
