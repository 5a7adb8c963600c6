//! Whose requests fail: per directory, made of the rows of the log as they come, so that a restart has it back from
//! the file. Counts of an hour by the minute and the newest failure of each kind; nothing grows with requests.
//!
//! INVARIANT: a directory is charged only with requests that came with a token it has or had. A token that nobody
//! knows says nothing of whose it was meant to be, or anybody on the internet could paint a directory red; those are
//! counted once for all. A token that ended charges its directory only while it may be the one that the identity
//! provider still uses: once another was taken after its end, it is somebody's left-over, or a thief's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::entry::{Refused, Row};
use crate::model::Timestamp;

/// After this long without another failure of its kind, one that was followed by success is past.
const RECENT: Duration = Duration::from_hours(1);
/// After this long even one that nothing followed is.
const FORGOTTEN: Duration = Duration::from_hours(24 * 7);
/// A request under way when its token ended may be answered that much later.
const IN_FLIGHT: Duration = Duration::from_mins(1);
/// Directories remembered; there are as many as operators made. Past it the one that failed longest ago goes.
const DIRECTORIES_MAX: usize = 4_096;
const MINUTES: usize = 60;
const MINUTE_MICROS: i64 = 60_000_000;

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its token has ended, or came without the client certificate it is tied to.
    Refused,
    /// It says something that cannot be done: a mapping or an address is wrong.
    Rejected,
    /// The server could not do it.
    Failed,
    /// Its token has ended, and the identity provider speaks with another one.
    OldToken,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Rejected, Self::Failed, Self::OldToken];

    /// Its name in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::OldToken => "old_token",
        }
    }
}

/// How a directory's requests do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum State {
    /// They are answered.
    #[default]
    Ok,
    /// Some of the last hour failed, and others after them did not.
    Errors,
    /// The newest failed, and none has succeeded since.
    Failing,
}

impl State {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Errors => "errors",
            Self::Failing => "failing",
        }
    }
}

/// A failed request: what a person needs of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When it was answered.
    pub at: Timestamp,
    /// Its row in the log, if that is kept still.
    pub id: u64,
    /// Its name in logs.
    pub request: String,
    /// Method.
    pub method: String,
    /// The route's name.
    pub route: String,
    /// Status.
    pub status: u16,
    /// The error's keyword.
    pub scim_type: Option<String>,
    /// The error's sentence.
    pub detail: Option<String>,
    /// The token.
    pub token: Option<String>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Why it was not let in.
    pub refused: Option<Refused>,
    /// When its token ended.
    pub ended: Option<Timestamp>,
}

impl Failure {
    fn of(row: &Row) -> Self {
        Self {
            at: row.at,
            id: row.id,
            request: row.request.clone(),
            method: row.method.clone(),
            route: row.route.clone(),
            status: row.status,
            scim_type: row.scim_type.clone(),
            detail: row.detail.clone(),
            token: row.token.clone(),
            client: row.client,
            refused: row.refused,
            ended: row.ended,
        }
    }
}

/// What is wrong with a directory's requests, at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trouble {
    /// The worst of it.
    pub state: State,
    /// Which kind that is, since when, and the newest of it; `None` when all is well.
    pub worst: Option<(Kind, Timestamp, Failure)>,
    /// Failures of the last hour, in the order of [`Kind::ALL`].
    pub last_hour: [u64; 4],
}

/// Requests of the last hour with a token that nobody knows: whose they were cannot be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unknown {
    /// How many.
    pub last_hour: u64,
    /// When the newest came.
    pub at: Option<Timestamp>,
    /// And where from.
    pub client: Option<IpAddr>,
}

/// Counts of the last hour, by the minute.
#[derive(Debug, Clone)]
struct Hour([(i64, u32); MINUTES]);

impl Default for Hour {
    fn default() -> Self {
        Self([(i64::MIN, 0); MINUTES])
    }
}

fn minute(at: Timestamp) -> i64 {
    at.0.div_euclid(MINUTE_MICROS)
}

impl Hour {
    fn count(&mut self, at: Timestamp) {
        let minute = minute(at);
        let place = usize::try_from(minute.rem_euclid(60)).unwrap_or(0);
        if let Some(slot) = self.0.get_mut(place) {
            if slot.0 != minute {
                *slot = (minute, 0);
            }
            slot.1 = slot.1.saturating_add(1);
        }
    }

    fn sum(&self, now: Timestamp) -> u64 {
        let now = minute(now);
        let fresh = self.0.iter().filter(|(minute, _)| (now.saturating_sub(59)..=now).contains(minute));
        fresh.map(|(_, count)| u64::from(*count)).sum()
    }
}

/// Failures of one kind that belong together.
#[derive(Debug, Clone)]
struct Episode {
    since: Timestamp,
    newest: Failure,
    /// Whether the newest was to change something.
    writes: bool,
}

/// One directory.
#[derive(Debug, Clone, Default)]
struct Ledger {
    hours: [Hour; 4],
    episodes: [Option<Episode>; 4],
    /// The last request that came in, and its token.
    let_in: Option<(Timestamp, Option<String>)>,
    asked: Option<Timestamp>,
    wrote: Option<Timestamp>,
}

/// What a row says of its directory.
enum Said {
    Failed(Kind),
    Done { writes: bool },
    Nothing,
}

fn said(row: &Row) -> Said {
    let writes = writes(row);
    match row.status {
        _ if row.refused == Some(Refused::Disabled) => Said::Nothing,
        _ if row.refused.is_some() => Said::Failed(Kind::Refused),
        // An operation inside a bulk request.
        ..400 if row.scim_type.is_some() || row.detail.is_some() => Said::Failed(Kind::Rejected),
        ..400 => Said::Done { writes },
        // Not there, to who asks or deletes: an answer like any other. A version that moved on, a place that was not
        // free: it comes again.
        404 if row.route != "unknown" && !matches!(row.method.as_str(), "PUT" | "PATCH") => Said::Nothing,
        408 | 412 | 429 | 501 => Said::Nothing,
        500.. => Said::Failed(Kind::Failed),
        _ => Said::Failed(Kind::Rejected),
    }
}

fn writes(row: &Row) -> bool {
    !matches!(row.method.as_str(), "GET" | "HEAD" | "OPTIONS") && !row.route.ends_with(".search")
}

impl Ledger {
    fn note(&mut self, row: &Row) {
        if row.refused.is_none_or(|refused| refused == Refused::Disabled) {
            self.let_in = Some((row.at, row.token.clone()));
        }
        match said(row) {
            Said::Nothing => {}
            Said::Done { writes } => {
                let done = if writes { &mut self.wrote } else { &mut self.asked };
                *done = Some(row.at);
            }
            Said::Failed(kind) => {
                let kind =
                    if kind == Kind::Refused && self.is_left_over(row) { Kind::OldToken } else { kind };
                self.fail(kind, row);
            }
        }
    }

    /// Whether the identity provider uses another token than this one that ended: one was taken since, or one that
    /// ended later is being refused.
    fn is_left_over(&self, row: &Row) -> bool {
        let Some(ended) = row.ended else { return false };
        if let Some((at, token)) = &self.let_in
            && *at > ended
            && *token != row.token
        {
            return true;
        }
        let current = self.episode(Kind::Refused);
        current.is_some_and(|one| {
            self.is_standing(Kind::Refused, one, row.at, None)
                && one.newest.token != row.token
                && one.newest.ended.is_none_or(|later| later > ended)
        })
    }

    fn fail(&mut self, kind: Kind, row: &Row) {
        let since = match self.episode(kind) {
            Some(one) if self.state(kind, one, row.at, None) > State::Ok => one.since,
            _ => row.at,
        };
        let episode = Episode { since, newest: Failure::of(row), writes: writes(row) };
        if let Some(slot) = self.episodes.get_mut(kind as usize) {
            *slot = Some(episode);
        }
        if let Some(hour) = self.hours.get_mut(kind as usize) {
            hour.count(row.at);
        }
    }

    fn episode(&self, kind: Kind) -> Option<&Episode> {
        self.episodes.get(kind as usize)?.as_ref()
    }

    /// Whether nothing has got better since. `heard` is when the directory was last heard of, as the mirror has it.
    fn is_standing(&self, kind: Kind, one: &Episode, now: Timestamp, heard: Option<Timestamp>) -> bool {
        let better = match kind {
            Kind::OldToken => return false,
            Kind::Refused => self.let_in.as_ref().map(|(at, _)| *at).max(heard),
            Kind::Rejected | Kind::Failed if one.writes => self.wrote,
            Kind::Rejected | Kind::Failed => self.wrote.max(self.asked),
        };
        now.since(one.newest.at) < FORGOTTEN && better.is_none_or(|better| better <= one.newest.at)
    }

    fn state(&self, kind: Kind, one: &Episode, now: Timestamp, heard: Option<Timestamp>) -> State {
        if self.is_standing(kind, one, now, heard) {
            return match (kind, one.newest.ended, heard) {
                (Kind::Refused, Some(ended), Some(heard)) if heard > ended.plus(IN_FLIGHT) => State::Errors,
                _ => State::Failing,
            };
        }
        // A token that works now is all that was wrong with the one that did not.
        if kind != Kind::Refused && now.since(one.newest.at) < RECENT { State::Errors } else { State::Ok }
    }

    fn trouble(&self, now: Timestamp, born: Timestamp, heard: Option<Timestamp>) -> Trouble {
        let mut trouble = Trouble::default();
        for (kind, (hour, count)) in Kind::ALL.into_iter().zip(self.hours.iter().zip(&mut trouble.last_hour))
        {
            *count = hour.sum(now);
            let Some(one) = self.episode(kind).filter(|one| one.newest.at >= born) else { continue };
            let state = self.state(kind, one, now, heard);
            let newer = trouble.worst.as_ref().is_none_or(|(_, _, worst)| one.newest.at > worst.at);
            // A left-over token is the least of it.
            let is_worse =
                state > trouble.state || (state == trouble.state && newer && kind != Kind::OldToken);
            if state > State::Ok && is_worse {
                trouble.state = state;
                trouble.worst = Some((kind, one.since, one.newest.clone()));
            }
        }
        trouble
    }

    fn newest(&self) -> Option<Timestamp> {
        self.episodes.iter().flatten().map(|one| one.newest.at).max()
    }
}

/// All directories.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    directories: HashMap<String, Ledger>,
    unknown: Hour,
    newest_unknown: Option<(Timestamp, Option<IpAddr>)>,
}

impl Troubles {
    /// Takes a row in.
    pub(super) fn note(&mut self, row: &Row) {
        let Some(directory) = &row.directory else {
            if row.refused == Some(Refused::Unknown) {
                self.unknown.count(row.at);
                self.newest_unknown = Some((row.at, row.client));
            }
            return;
        };
        if !self.directories.contains_key(directory) {
            self.make_room();
            self.directories.insert(directory.clone(), Ledger::default());
        }
        if let Some(ledger) = self.directories.get_mut(directory) {
            ledger.note(row);
        }
    }

    fn make_room(&mut self) {
        if self.directories.len() < DIRECTORIES_MAX {
            return;
        }
        let oldest = self.directories.iter().min_by_key(|(_, one)| one.newest()).map(|(id, _)| id.clone());
        if let Some(oldest) = oldest {
            self.directories.remove(&oldest);
        }
    }

    /// How a directory's requests do. `born`: when it was added, since what another of its id did before is not its
    /// own. `heard`: when it was last heard of, which the mirror remembers longer.
    pub(super) fn of(
        &self,
        directory: &str,
        now: Timestamp,
        born: Timestamp,
        heard: Option<Timestamp>,
    ) -> Trouble {
        self.directories.get(directory).map(|one| one.trouble(now, born, heard)).unwrap_or_default()
    }

    /// Requests with a token that nobody knows.
    pub(super) fn unknown(&self, now: Timestamp) -> Unknown {
        let last_hour = self.unknown.sum(now);
        let newest = self.newest_unknown.filter(|_| last_hour > 0);
        Unknown { last_hour, at: newest.map(|(at, _)| at), client: newest.and_then(|(_, client)| client) }
    }
}

#[cfg(test)]
#[path = "trouble_tests.rs"]
mod tests;
