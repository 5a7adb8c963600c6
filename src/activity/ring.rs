//! The rows in memory: bounded by count, by age and by the bytes of kept bodies.

use std::collections::{BTreeMap, VecDeque};

use super::Settings;
use super::entry::{Refused, Row};
use crate::model::Timestamp;

/// Most bytes of kept bodies; the oldest go first, their rows stay.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Which rows are asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only of this directory; an empty text is those of none.
    pub directory: Option<String>,
    /// Only with these statuses.
    pub status: Option<Statuses>,
    /// Only by this method.
    pub method: Option<String>,
    /// Only of this request.
    pub request: Option<String>,
    /// Only that needed this quirk.
    pub quirk: Option<String>,
    /// Newer than this one.
    pub after: Option<u64>,
    /// Older than this one.
    pub before: Option<u64>,
}

/// A status or a class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statuses {
    /// This one.
    One(u16),
    /// `4xx`: from 400 to 499.
    Class(u16),
    /// `error`: 400 and above.
    Errors,
}

impl Statuses {
    /// Reads `404`, `4xx`, `error`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("error") {
            return Some(Self::Errors);
        }
        if let Some(class) = text.to_ascii_lowercase().strip_suffix("xx") {
            return class.parse().ok().filter(|class| (1..=5).contains(class)).map(Self::Class);
        }
        text.parse().ok().filter(|status| (100..=599).contains(status)).map(Self::One)
    }

    fn has(self, status: u16) -> bool {
        match self {
            Self::One(one) => status == one,
            Self::Class(class) => status / 100 == class,
            Self::Errors => status >= 400,
        }
    }
}

impl Wanted {
    fn has(&self, row: &Row) -> bool {
        let same =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        same(&self.directory, row.directory.as_deref().unwrap_or_default())
            && self.status.is_none_or(|wanted| wanted.has(row.status))
            && self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(&row.method))
            && same(&self.request, &row.request)
            && self.quirk.as_deref().is_none_or(|wanted| row.quirks.iter().any(|quirk| quirk == wanted))
    }
}

/// The rows, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ring {
    rows: BTreeMap<u64, Row>,
    /// Rows of requests without a valid token, oldest first: strangers must not push everybody else's out.
    strangers: VecDeque<u64>,
    /// Rows with bodies, oldest first.
    with_bodies: VecDeque<u64>,
    body_bytes: usize,
}

/// A token that has ended lets its row push others out no more than one that never was.
fn is_strangers(row: &Row) -> bool {
    row.directory.is_none() || row.refused.is_some_and(|refused| refused != Refused::Disabled)
}

impl Ring {
    pub(super) fn push(&mut self, row: Row, settings: &Settings) {
        if is_strangers(&row) {
            self.strangers.push_back(row.id);
        }
        if let Some(kept) = &row.kept {
            self.with_bodies.push_back(row.id);
            self.body_bytes = self.body_bytes.saturating_add(kept.bytes);
        }
        self.rows.insert(row.id, row);
        self.shrink(settings);
    }

    fn shrink(&mut self, settings: &Settings) {
        while self.body_bytes > BODY_BYTES_MAX
            && let Some(oldest) = self.with_bodies.pop_front()
        {
            let kept = self.rows.get_mut(&oldest).and_then(|row| row.kept.take());
            self.body_bytes = self.body_bytes.saturating_sub(kept.map_or(0, |kept| kept.bytes));
        }
        while self.rows.len() > settings.requests {
            let of_strangers = self.strangers.len() > (settings.requests / 4).max(1);
            let oldest = if of_strangers { self.strangers.front().copied() } else { None };
            match oldest.or_else(|| self.rows.first_key_value().map(|(id, _)| *id)) {
                Some(id) => self.drop_row(id),
                None => break,
            }
        }
    }

    fn drop_row(&mut self, id: u64) {
        let Some(row) = self.rows.remove(&id) else { return };
        if is_strangers(&row) {
            self.strangers.retain(|one| *one != id);
        }
        if let Some(kept) = row.kept {
            self.with_bodies.retain(|one| *one != id);
            self.body_bytes = self.body_bytes.saturating_sub(kept.bytes);
        }
    }

    /// Drops what is older than the settings allow, or more; true if anything went.
    pub(super) fn age(&mut self, now: Timestamp, settings: &Settings) -> bool {
        let before = self.rows.len();
        while let Some((id, row)) = self.rows.first_key_value()
            && now.since(row.at) > settings.age
        {
            let id = *id;
            self.drop_row(id);
        }
        self.shrink(settings);
        self.rows.len() < before
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn newest(&self) -> u64 {
        self.rows.last_key_value().map_or(0, |(id, _)| *id)
    }

    pub(super) fn get(&self, id: u64) -> Option<&Row> {
        self.rows.get(&id)
    }

    /// The newest `limit` rows that are wanted, newest first, and whether there are more.
    pub(super) fn find(&self, wanted: &Wanted, limit: usize) -> (Vec<Row>, bool) {
        let low = wanted.after.map_or(0, |after| after.saturating_add(1));
        let high = wanted.before.unwrap_or(u64::MAX);
        if low >= high {
            return (Vec::new(), false);
        }
        let mut all = self.rows.range(low..high).rev().map(|(_, row)| row).filter(|row| wanted.has(row));
        let found: Vec<Row> = all.by_ref().take(limit).cloned().collect();
        (found, all.next().is_some())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }
}
