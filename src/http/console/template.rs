//! Templates: part of the binary, compiled once. Everything they print is escaped; a name that is not there fails.
//!
//! Every template sees its page's values and `ui` (see [`super::call`]). Filters of ours: `when` (the moment in UTC, as
//! people write it), `ago` (how long since, or until), `enc` (a text as one part of a path or query), `count` (a number
//! with separators), `plural("user")` (a number with its noun).

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::Timestamp;

/// Every template by its name; owners of pages add theirs, and a sample of what it is given to `samples`.
pub(super) const TEMPLATES: &[(&str, &str)] = &[
    ("layout.html", include_str!("templates/layout.html")),
    ("parts.html", include_str!("templates/parts.html")),
    ("sign_in.html", include_str!("templates/sign_in.html")),
    ("fault.html", include_str!("templates/fault.html")),
    ("health.html", include_str!("templates/health.html")),
    ("overview.html", include_str!("templates/overview.html")),
    ("overview_now.html", include_str!("templates/overview_now.html")),
    ("activity.html", include_str!("templates/activity.html")),
    ("activity_now.html", include_str!("templates/activity_now.html")),
    ("activity_request.html", include_str!("templates/activity_request.html")),
];

/// What stays as it is in a part of a path or query.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A text as one part of a path or query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// The compiled templates.
#[derive(Debug)]
pub(super) struct Templates(pub(super) Environment<'static>);

impl Templates {
    /// Compiles all. `now` is the clock that `ago` goes by.
    ///
    /// # Errors
    /// A fault in a template; tests see to it that there is none.
    pub(super) fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_filter("when", |text: &str| when(text));
        environment.add_filter("ago", move |text: &str| ago(text, now()));
        environment.add_filter("enc", |text: &str| encoded(text));
        environment.add_filter("count", |number: i64| separated(number));
        environment.add_filter("plural", |number: i64, noun: &str| plural(number, noun));
        for (name, source) in TEMPLATES {
            environment.add_template(name, source)?;
        }
        Ok(Self(environment))
    }

    /// Renders one.
    pub(super) fn render(&self, name: &str, context: &serde_json::Value) -> Result<String, Error> {
        self.0.get_template(name)?.render(Value::from(Serde(context)))
    }
}

fn moment(text: &str) -> Result<Timestamp, Error> {
    Timestamp::parse_rfc3339(text)
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("`{text}` is no time")))
}

/// `2026-11-20 10:04:05 UTC`.
fn when(text: &str) -> Result<String, Error> {
    let text = moment(text)?.to_string();
    let (day, time) = text.split_once('T').unwrap_or_default();
    Ok(format!("{day} {} UTC", time.split('.').next().unwrap_or_default()))
}

/// `4 minutes ago`, `in 3 days`.
fn ago(text: &str, now: Timestamp) -> Result<String, Error> {
    let at = moment(text)?;
    let (span, is_past) = if at <= now { (now.since(at), true) } else { (at.since(now), false) };
    let seconds = span.as_secs();
    let words = match seconds {
        0..=4 if is_past => return Ok("just now".to_owned()),
        0..=59 => plural_of(seconds, "second"),
        60..=3_599 => plural_of(seconds / 60, "minute"),
        3_600..=86_399 => plural_of(seconds / 3_600, "hour"),
        86_400..=5_183_999 => plural_of(seconds / 86_400, "day"),
        5_184_000..=63_071_999 => plural_of(seconds / 2_592_000, "month"),
        _ => plural_of(seconds / 31_536_000, "year"),
    };
    Ok(if is_past { format!("{words} ago") } else { format!("in {words}") })
}

pub(super) fn plural_of(number: u64, noun: &str) -> String {
    plural(i64::try_from(number).unwrap_or(i64::MAX), noun)
}

/// `1 user`, `2,300 users`, `1 directory`, `2 directories`.
fn plural(number: i64, noun: &str) -> String {
    let count = separated(number);
    if number == 1 {
        return format!("{count} {noun}");
    }
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        _ => format!("{count} {noun}s"),
    }
}

/// `1,204,311`.
fn separated(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let first = digits.len() % 3;
    let mut out = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == first {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
