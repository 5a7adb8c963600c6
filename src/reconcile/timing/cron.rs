//! Cron lines as crontab(5) means them, on top of the `cron` crate.
//!
//! The crate wants six fields, counts weekdays from Sunday = 1, knows no 0, and joins day of month and day of week by
//! *and*. So each field is expanded to a plain list here, weekdays to names, and "both days restricted" becomes the
//! union of two schedules. INVARIANT: pure; the present moment is an argument. The crate only ever sees local civil
//! time; the zone, with its gaps and folds, is jiff's.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use jiff::tz::TimeZone;

use crate::model::Timestamp;

/// A schedule in a time zone.
///
/// It fires at every instant whose local time matches; when clocks go forward over a matching time, at the first
/// instant after the gap; when they go back, matching times count in both passes.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    text: String,
    zone: TimeZone,
    schedules: Vec<cron::Schedule>,
}

/// Why a text is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CronError {
    /// Not 5 or 6 fields.
    Fields(usize),
    /// An unknown `@word`.
    Word(String),
    /// A field that cannot be read.
    Field {
        /// Which.
        name: &'static str,
        /// The part at fault.
        part: String,
        /// What is allowed.
        allowed: String,
    },
    /// It can never come true, such as 30 February.
    Never,
    /// No such time zone on this machine.
    Zone(String),
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fields(found) => write!(
                f,
                "a schedule has 5 fields (minute hour day month weekday), 6 with seconds first, not {found}"
            ),
            Self::Word(word) => write!(
                f,
                "`{word}` is not a schedule; known: @yearly @annually @monthly @weekly @daily @midnight @hourly"
            ),
            Self::Field { name, part, allowed } => {
                write!(f, "`{part}` cannot be the {name} of a schedule; allowed: {allowed}")
            }
            Self::Never => f.write_str("this schedule never comes true"),
            Self::Zone(zone) => {
                write!(f, "no time zone is called `{zone}`; write e.g. `Europe/Berlin` or `UTC`")
            }
        }
    }
}

impl std::error::Error for CronError {}

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", min: 0, max: 59, names: &[] };
const MINUTE: Field = Field { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Field = Field { name: "day of month", min: 1, max: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// 0 and 7 are both Sunday (crontab(5)).
const WEEKDAY: Field =
    Field { name: "weekday", min: 0, max: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Cron {
    /// The schedule `text` in the zone of that IANA name.
    ///
    /// # Errors
    /// [`CronError`], naming the part at fault.
    pub fn parse(text: &str, zone: &str) -> Result<Self, CronError> {
        let zone = TimeZone::get(zone).map_err(|_| CronError::Zone(zone.to_owned()))?;
        Self::in_zone(text, zone)
    }

    fn in_zone(text: &str, zone: TimeZone) -> Result<Self, CronError> {
        let text = text.trim();
        let line = match text.to_ascii_lowercase().as_str() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            word if word.starts_with('@') => return Err(CronError::Word(text.to_owned())),
            _ => text,
        };
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (second, [minute, hour, day, month, weekday]) = match *fields.as_slice() {
            [minute, hour, day, month, weekday] => ("0", [minute, hour, day, month, weekday]),
            [second, minute, hour, day, month, weekday] => (second, [minute, hour, day, month, weekday]),
            _ => return Err(CronError::Fields(fields.len())),
        };
        let time = [SECOND.list(second)?, MINUTE.list(minute)?, HOUR.list(hour)?].join(" ");
        let (days, months) = (DAY.list(day)?, MONTH.list(month)?);
        let weekdays = weekday_names(&WEEKDAY.expand(weekday)?);
        // crontab(5): a field that begins with a star is not a restriction; two restricted ones are joined by "or".
        let lines = if is_star(day) || is_star(weekday) {
            vec![format!("{time} {days} {months} {weekdays}")]
        } else {
            vec![format!("{time} {days} {months} *"), format!("{time} * {months} {weekdays}")]
        };
        let schedules =
            lines.iter().map(|line| cron::Schedule::from_str(line)).collect::<Result<Vec<_>, _>>();
        // Every field is a list of numbers in range by now.
        let schedules = schedules.map_err(|_| CronError::Never)?;
        let made = Self { text: text.to_owned(), zone, schedules };
        if made.next(Timestamp(0)).is_none() { Err(CronError::Never) } else { Ok(made) }
    }

    /// The first moment after `after` at which it fires; `None` beyond the year 2100.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = after.unix_seconds();
        // Two offset changes a year at most matter; a schedule for 29 February waits eight years.
        for _ in 0..64 {
            let moment = jiff::Timestamp::from_second(from).ok()?;
            let offset = i64::from(self.zone.to_offset(moment).seconds());
            let change = self.zone.following(moment).next().map(|found| found.timestamp().as_second());
            let next = self.next_civil(from.checked_add(offset)?).and_then(|civil| civil.checked_sub(offset));
            let Some(change) = change else { return seconds(next?) };
            if let Some(next) = next.filter(|next| *next < change) {
                return seconds(next);
            }
            let changed = jiff::Timestamp::from_second(change).ok()?;
            let after_change = i64::from(self.zone.to_offset(changed).seconds());
            let (gap_from, gap_to) = (change.checked_add(offset)?, change.checked_add(after_change)?);
            // In a gap the civil times from `gap_from` up to `gap_to` are skipped; `gap_to` is `change` itself.
            if self.next_civil(gap_from.min(gap_to) - 1).is_some_and(|civil| civil <= gap_to) {
                return seconds(change);
            }
            from = change;
        }
        None
    }

    /// The next `count` moments, for `check`.
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next(after), |last| self.next(*last)).take(count).collect()
    }

    /// The first matching civil second after `after`, both counted as if the zone were UTC.
    fn next_civil(&self, after: i64) -> Option<i64> {
        let after = DateTime::<Utc>::from_timestamp(after, 0)?;
        self.schedules
            .iter()
            .filter_map(|schedule| schedule.after(&after).next())
            .map(|next| next.timestamp())
            .min()
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn seconds(unix: i64) -> Option<Timestamp> {
    unix.checked_mul(1_000_000).map(Timestamp)
}

fn is_star(field: &str) -> bool {
    field.starts_with('*') || field.starts_with('?')
}

fn weekday_names(days: &BTreeSet<u32>) -> String {
    let names = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let wanted = |n: u32| days.contains(&n) || (n == 0 && days.contains(&7));
    let listed: Vec<&str> = (0..7).zip(names).filter(|(n, _)| wanted(*n)).map(|(_, name)| name).collect();
    if listed.len() == names.len() { "*".to_owned() } else { listed.join(",") }
}

impl Field {
    fn list(&self, text: &str) -> Result<String, CronError> {
        let values = self.expand(text)?;
        Ok(values.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
    }

    /// Every value of a list of `*`, `n`, `n-m`, each with an optional `/step`.
    fn expand(&self, text: &str) -> Result<BTreeSet<u32>, CronError> {
        let mut values = BTreeSet::new();
        for part in text.split(',') {
            let wrong = || self.wrong(part);
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => {
                    (range, Some(step.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(wrong)?))
                }
                None => (part, None),
            };
            let (from, to) = if range == "*" || range == "?" {
                // 7 is Sunday again.
                (self.min, if self.name == WEEKDAY.name { 6 } else { self.max })
            } else if let Some((from, to)) = range.split_once('-') {
                let to = self.value(to).ok_or_else(wrong)?;
                let from = self.value(from).ok_or_else(wrong)?;
                // `fri-sun` ends at 7.
                (from, if to == 0 && from > 0 && self.name == WEEKDAY.name { 7 } else { to })
            } else {
                let from = self.value(range).ok_or_else(wrong)?;
                (from, if step.is_some() { self.max } else { from })
            };
            if from > to {
                return Err(wrong());
            }
            values.extend((from..=to).step_by(usize::try_from(step.unwrap_or(1)).unwrap_or(1)));
        }
        Ok(values)
    }

    fn value(&self, text: &str) -> Option<u32> {
        let lower = text.to_ascii_lowercase();
        let named = (self.min..).zip(self.names).find(|(_, name)| lower == **name).map(|(n, _)| n);
        let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        named
            .or_else(|| if is_plain { text.parse().ok() } else { None })
            .filter(|n| (self.min..=self.max).contains(n))
    }

    fn wrong(&self, part: &str) -> CronError {
        let names = match (self.names.first(), self.names.last()) {
            (Some(first), Some(last)) => format!(", {first} to {last}"),
            _ => String::new(),
        };
        let allowed =
            format!("*, {} to {}{names}, ranges a-b, steps /n and lists with commas", self.min, self.max);
        CronError::Field { name: self.name, part: part.to_owned(), allowed }
    }
}

#[cfg(test)]
#[path = "cron_tests.rs"]
mod tests;
