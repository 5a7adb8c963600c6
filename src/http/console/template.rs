//! Templates: part of the binary, compiled once. Everything they print is escaped; a name that is not there fails.
//!
//! Every template sees its page's values and `ui` (see [`super::call`]). Filters of ours: `when` (the moment in UTC, as
//! people write it), `ago` (how long since, or until), `enc` (a text as one part of a path or query), `count` (a number
//! with separators), `ticks` (a message, what stands between backticks as code), `plural("user")` (a number with its noun).

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, HtmlEscape, UndefinedBehavior, Value};
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
    ("onward.html", include_str!("templates/onward.html")),
    ("styleguide.html", include_str!("templates/styleguide.html")),
    ("overview_now.html", include_str!("templates/overview_now.html")),
    ("activity.html", include_str!("templates/activity.html")),
    ("activity_now.html", include_str!("templates/activity_now.html")),
    ("activity_request.html", include_str!("templates/activity_request.html")),
    ("directories.html", include_str!("templates/directories.html")),
    ("directories_now.html", include_str!("templates/directories_now.html")),
    ("directory_new.html", include_str!("templates/directory_new.html")),
    ("directory_made.html", include_str!("templates/directory_made.html")),
    ("directory.html", include_str!("templates/directory.html")),
    ("directory_now.html", include_str!("templates/directory_now.html")),
    ("directory_guide.html", include_str!("templates/directory_guide.html")),
    ("directory_seen.html", include_str!("templates/directory_seen.html")),
    ("directory_ask.html", include_str!("templates/directory_ask.html")),
    ("guide.html", include_str!("templates/guide.html")),
    ("token_new.html", include_str!("templates/token_new.html")),
    ("token_revoke.html", include_str!("templates/token_revoke.html")),
    ("tokens.html", include_str!("templates/tokens.html")),
    ("users.html", include_str!("templates/users.html")),
    ("groups.html", include_str!("templates/groups.html")),
    ("search.html", include_str!("templates/search.html")),
    ("user.html", include_str!("templates/user.html")),
    ("user_access.html", include_str!("templates/user_access.html")),
    ("explained.html", include_str!("templates/explained.html")),
    ("user_ask.html", include_str!("templates/user_ask.html")),
    ("group.html", include_str!("templates/group.html")),
    ("changes.html", include_str!("templates/changes.html")),
    ("change_parts.html", include_str!("templates/change_parts.html")),
    ("resource_history.html", include_str!("templates/resource_history.html")),
    ("attributes.html", include_str!("templates/attributes.html")),
    ("docs.html", include_str!("templates/docs.html")),
    ("doc.html", include_str!("templates/doc.html")),
    ("targets.html", include_str!("templates/targets.html")),
    ("targets_now.html", include_str!("templates/targets_now.html")),
    ("target_parts.html", include_str!("templates/target_parts.html")),
    ("target_now.html", include_str!("templates/target_now.html")),
    ("target.html", include_str!("templates/target.html")),
    ("target_file.html", include_str!("templates/target_file.html")),
    ("target_ask.html", include_str!("templates/target_ask.html")),
    ("plan.html", include_str!("templates/plan.html")),
    ("plan_ask.html", include_str!("templates/plan_ask.html")),
    ("deliveries.html", include_str!("templates/deliveries.html")),
    ("delivery.html", include_str!("templates/delivery.html")),
    ("delivery_skip.html", include_str!("templates/delivery_skip.html")),
    ("delivery_ask.html", include_str!("templates/delivery_ask.html")),
    ("history.html", include_str!("templates/history.html")),
    ("access.html", include_str!("templates/access.html")),
    ("access_diff.html", include_str!("templates/access_diff.html")),
    ("grants.html", include_str!("templates/grants.html")),
    ("grant_revoke.html", include_str!("templates/grant_revoke.html")),
    ("shut.html", include_str!("templates/shut.html")),
    ("shut_open.html", include_str!("templates/shut_open.html")),
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
        environment.add_filter("ticks", |text: &str| Value::from_safe_string(ticks(text)));
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

/// A message of ours as HTML: what stands between backticks is code, everything is escaped.
fn ticks(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let mut out = String::with_capacity(text.len() + 16);
    for (place, part) in parts.iter().enumerate() {
        let is_code = place % 2 == 1;
        match (is_code, place + 1 == parts.len()) {
            (true, false) => out.push_str("<code>"),
            // An odd one stays what it is.
            (true, true) => out.push('`'),
            (false, _) => {}
        }
        out.push_str(&HtmlEscape(part).to_string());
        if is_code && place + 1 < parts.len() {
            out.push_str("</code>");
        }
    }
    out
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
