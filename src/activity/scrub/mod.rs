//! Takes the persons out of a request and leaves its form: names, mail addresses, numbers and ids become made-up ones
//! of the same shape, passwords and tokens go, everything that SCIM itself says stays as it was written.
//!
//! Made-up values are stable within one [`Scrubber`]: `dana@corp.test` in a body, in a filter and in upper case
//! become the same made-up address in each place, so that what matched still matches. Nothing leads back: a value is
//! derived from a random seed that is never kept.
//!
//! Kept as it is: keys and paths, `op`, URNs in `schemas`, well-known types (`work`), booleans, paging numbers, and
//! the ids that rosterd itself gave (UUID version 7), which say nothing about anybody.

mod filter;
mod query;
#[cfg(test)]
mod tests;
mod word;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::model::{ResourceId, Timestamp};
use crate::scim;
use word::Words;

/// What stands in the place of a password or token.
pub(crate) const REMOVED: &str = "removed";
/// What stands in the place of any value where values are only left out.
pub(crate) const ELIDED: &str = "…";
/// A moment for every moment.
const MOMENT: &str = "2026-01-02T03:04:05Z";

/// What an error's `scimType` can be (RFC 7644 §3.12, RFC 9865 §2.1); anything else there is somebody's value.
const SCIM_TYPES: [&str; 13] = [
    "invalidFilter",
    "tooMany",
    "uniqueness",
    "mutability",
    "invalidSyntax",
    "invalidPath",
    "noTarget",
    "invalidValue",
    "invalidVers",
    "sensitive",
    "invalidCursor",
    "expiredCursor",
    "invalidCount",
];

/// Keys whose values are secrets, folded.
const SECRETS: [&str; 9] = [
    "password",
    "passwd",
    "secret",
    "token",
    "authorization",
    "credential",
    "privatekey",
    "apikey",
    "passcode",
];
/// Numbers under these keys are the protocol's own.
const COUNTS: [&str; 6] = ["startindex", "count", "totalresults", "itemsperpage", "failonerrors", "status"];
/// No page is that long; a telephone number is longer.
const COUNT_DIGITS_MAX: usize = 6;
/// Values of `type` and the like that RFC 7643 and the identity providers use for everybody.
const TYPES: [&str; 24] = [
    "work",
    "home",
    "other",
    "mobile",
    "fax",
    "pager",
    "photo",
    "thumbnail",
    "direct",
    "indirect",
    "user",
    "group",
    "aim",
    "gtalk",
    "icq",
    "xmpp",
    "msn",
    "skype",
    "qq",
    "yahoo",
    "employee",
    "contractor",
    "external",
    "ascending",
];
/// Words of the protocol that may stand in a text or a path.
const PROTOCOL: [&str; 60] = [
    "schemas",
    "operations",
    "op",
    "path",
    "value",
    "add",
    "remove",
    "replace",
    "users",
    "groups",
    "bulk",
    "me",
    "resourcetypes",
    "serviceproviderconfig",
    "serviceproviderconfigs",
    "search",
    ".search",
    "scim",
    "v1",
    "v2",
    "api",
    "user",
    "group",
    "username",
    "displayname",
    "name",
    "givenname",
    "familyname",
    "middlename",
    "formatted",
    "emails",
    "active",
    "externalid",
    "members",
    "primary",
    "type",
    "title",
    "id",
    "meta",
    "resourcetype",
    "phonenumbers",
    "addresses",
    "roles",
    "entitlements",
    "manager",
    "department",
    "employeenumber",
    "nickname",
    "locale",
    "timezone",
    "true",
    "false",
    "null",
    "ref",
    "display",
    "urn",
    "ietf",
    "params",
    "messages",
    "patchop",
];

/// What a scrubber did, by kind: `word`, `mail`, `host`, `id`, `moment`, `number`, `language`, `secret`.
pub type Tally = BTreeMap<&'static str, u64>;

/// What happens to a value.
#[derive(Debug)]
enum Style {
    /// It becomes [`ELIDED`].
    Elide,
    /// It becomes a made-up one.
    Invent(Box<Words>),
}

/// One set of made-up values.
#[derive(Debug)]
pub struct Scrubber {
    style: Style,
    tally: Tally,
}

impl Scrubber {
    /// A scrubber that makes values up, from `seed`.
    pub fn inventing(seed: [u8; 16]) -> Self {
        Self { style: Style::Invent(Box::new(Words::new(seed))), tally: Tally::new() }
    }

    /// A scrubber that leaves values out.
    pub fn eliding() -> Self {
        Self { style: Style::Elide, tally: Tally::new() }
    }

    /// How many values were replaced so far, by kind.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// A body as it may be kept: JSON where it is some, else its text with every unknown word replaced.
    pub fn body(&mut self, bytes: &[u8]) -> Option<Value> {
        if bytes.is_empty() {
            return None;
        }
        // The strict reader: of a key that stands there twice, a lenient one would drop a value and hide the mistake.
        if let Ok(value) = scim::json::parse(bytes) {
            // A body that is but a string would be sent without its quotes.
            if !value.is_string() {
                return Some(self.json("", value));
            }
        }
        Some(Value::String(self.free_text(&String::from_utf8_lossy(bytes))))
    }

    fn json(&mut self, key: &str, value: Value) -> Value {
        match value {
            Value::Object(object) => self.object(key, object),
            Value::Array(all) => Value::Array(all.into_iter().map(|one| self.json(key, one)).collect()),
            _ if is_secret(key) && !value.is_null() => {
                self.count("secret");
                Value::String(REMOVED.to_owned())
            }
            Value::String(text) => Value::String(self.value(key, &text)),
            Value::Number(number) => self.number(key, number),
            rest => rest,
        }
    }

    fn object(&mut self, key: &str, object: Map<String, Value>) -> Value {
        if is_secret(key) {
            self.count("secret");
            return Value::String(REMOVED.to_owned());
        }
        // An operation's value is one of what its path names.
        let named = |wanted: &str| {
            object
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(wanted))
                .and_then(|(_, value)| value.as_str())
        };
        // Elsewhere what is called a path is somebody's value.
        let is_operation =
            ["op", "method"].iter().any(|key| named(key).is_some_and(|word| is_kept(key, word)));
        let of_path = named("path").filter(|_| is_operation).map(last_name);
        let mut out = Map::with_capacity(object.len());
        for (name, value) in object {
            let folded = last_name(&name);
            let value = match (folded.as_str(), value) {
                ("path", Value::String(path)) if is_operation => Value::String(self.path(&path)),
                ("value", value) => self.json(of_path.as_deref().unwrap_or(key), value),
                (folded, value) => self.json(folded, value),
            };
            let name = if is_attribute(&name) { name } else { self.path(&name) };
            out.insert(name, value);
        }
        Value::Object(out)
    }

    /// A string under the attribute `key` (folded).
    fn value(&mut self, key: &str, text: &str) -> String {
        if is_secret(key) && !text.is_empty() {
            self.count("secret");
            return REMOVED.to_owned();
        }
        if text.is_empty() || is_kept(key, text) {
            return text.to_owned();
        }
        if matches!(self.style, Style::Elide) {
            self.count("word");
            return ELIDED.to_owned();
        }
        if key != "externalid" && is_ours(text) {
            return text.to_owned();
        }
        if uuid::Uuid::try_parse(text).is_ok() {
            return self.uuid(text);
        }
        if matches!(key, "locale" | "preferredlanguage" | "timezone") {
            self.count("language");
            return if key == "timezone" { "Europe/Berlin" } else { "en-US" }.to_owned();
        }
        if text.len() >= 10 && Timestamp::parse_rfc3339(text).is_some() {
            self.count("moment");
            return MOMENT.to_owned();
        }
        if let Some(reference) = text.strip_prefix("bulkId:") {
            return format!("bulkId:{}", self.free(reference));
        }
        self.free(text)
    }

    /// Free text: mail addresses and URLs as such, all else word by word.
    fn free(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for piece in text.split_inclusive([' ', '\t', '\n', '<', '>', '(', ')', ',', ';', '"']) {
            let end = piece.char_indices().next_back().filter(|(_, c)| " \t\n<>(),;\"".contains(*c));
            let (piece, delimiter) = piece.split_at(end.map_or(piece.len(), |(at, _)| at));
            let made = match (piece.split_once("://"), piece.rsplit_once('@')) {
                (Some((scheme, rest)), _) if matches!(scheme, "http" | "https" | "ldap" | "ldaps") => {
                    format!("{scheme}://{}", self.location(rest))
                }
                (_, Some((local, domain))) if !domain.is_empty() => self.mail(local, domain),
                _ if piece.contains('/') => self.segments(piece),
                _ => self.words(piece, false),
            };
            out.push_str(&made);
            out.push_str(delimiter);
        }
        out
    }

    /// A text that no reader understands: words of the protocol stay, all others are replaced.
    fn free_text(&mut self, text: &str) -> String {
        match self.style {
            Style::Elide => ELIDED.to_owned(),
            Style::Invent(_) => self.words(text, true),
        }
    }

    fn location(&mut self, rest: &str) -> String {
        let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        format!("{}{}", self.host(host), self.segments(path))
    }

    /// What stands between slashes: endpoints and our own ids stay.
    fn segments(&mut self, path: &str) -> String {
        let all: Vec<String> = path
            .split('/')
            .map(|segment| {
                let is_kept = is_protocol(segment) || is_ours(segment);
                if is_kept { segment.to_owned() } else { self.words(segment, false) }
            })
            .collect();
        all.join("/")
    }

    fn mail(&mut self, local: &str, domain: &str) -> String {
        self.count("mail");
        let local = self.words(local, false);
        format!("{local}@{}", self.host(domain))
    }

    fn host(&mut self, host: &str) -> String {
        self.count("host");
        match &mut self.style {
            Style::Elide => ELIDED.to_owned(),
            Style::Invent(words) => words.host(host),
        }
    }

    fn uuid(&mut self, text: &str) -> String {
        self.count("id");
        match &mut self.style {
            Style::Elide => ELIDED.to_owned(),
            Style::Invent(words) => words.uuid(text),
        }
    }

    fn words(&mut self, text: &str, keep_protocol: bool) -> String {
        let Style::Invent(words) = &mut self.style else { return ELIDED.to_owned() };
        let mut replaced = 0;
        let out = word::each(text, |word| {
            if keep_protocol && is_protocol(word) {
                return word.to_owned();
            }
            replaced += 1;
            words.word(word)
        });
        *self.tally.entry("word").or_default() += replaced;
        out
    }

    fn number(&mut self, key: &str, number: serde_json::Number) -> Value {
        let text = number.to_string();
        if (COUNTS.contains(&key) && text.len() <= COUNT_DIGITS_MAX) || text.len() < 2 {
            return Value::Number(number);
        }
        self.count("number");
        let Style::Invent(words) = &mut self.style else { return Value::Number(0.into()) };
        let digits = |c: char| c.is_ascii_digit();
        let made =
            word::each(
                &text,
                |word| if word.chars().all(digits) { words.word(word) } else { word.to_owned() },
            );
        // A number does not begin with a zero.
        let made = match made.strip_prefix('0') {
            Some(rest) if rest.starts_with(digits) => format!("1{rest}"),
            _ => made,
        };
        serde_json::from_str(&made).unwrap_or_else(|_| Value::Number(10.into()))
    }

    fn count(&mut self, kind: &'static str) {
        *self.tally.entry(kind).or_default() += 1;
    }
}

/// The last name of a path, folded: `emails[type eq "work"].value` → `emails`, `urn:…:User:department` → `department`.
fn last_name(path: &str) -> String {
    let attribute = path.split('[').next().unwrap_or_default();
    let attribute = attribute.rsplit(':').next().unwrap_or_default();
    let name = match attribute.split_once('.') {
        Some((_, sub)) if !sub.eq_ignore_ascii_case("value") => sub,
        Some((first, _)) => first,
        None => attribute,
    };
    name.to_ascii_lowercase()
}

/// True for an id that rosterd gave: a UUID of version 7.
pub(crate) fn is_ours(text: &str) -> bool {
    text.len() == 36
        && ResourceId::parse(text).is_some()
        && uuid::Uuid::try_parse(text).is_ok_and(|id| id.get_version_num() == 7)
}

fn is_secret(key: &str) -> bool {
    SECRETS.iter().any(|secret| key.contains(secret))
}

fn is_protocol(word: &str) -> bool {
    PROTOCOL.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// True for what an attribute, or a path to one without a filter, looks like; nothing else may stay as a key.
fn is_attribute(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.' | ':' | '-' | '/');
    text.len() <= 200
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$')
        && text.chars().all(plain)
        && uuid::Uuid::try_parse(text).is_err()
        && (!text.contains('/') || text.starts_with("http://schemas.microsoft.com/"))
}

/// True for a version as rosterd writes it: `W/"12"`.
pub(crate) fn is_version(text: &str) -> bool {
    let digits = text.strip_prefix("W/\"").and_then(|rest| rest.strip_suffix('"'));
    digits.is_some_and(|digits| (1..=9).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_digit()))
}

/// Values that belong to the protocol and to nobody.
fn is_kept(key: &str, text: &str) -> bool {
    let one_of = |all: &[&str]| all.iter().any(|known| known.eq_ignore_ascii_case(text));
    if one_of(&["true", "false"]) {
        return true;
    }
    match key {
        "schemas" => {
            (text.starts_with("urn:") || text.starts_with("http://schemas.microsoft.com/"))
                && is_attribute(text)
        }
        "op" => one_of(&["add", "remove", "replace"]),
        "method" => one_of(&["post", "put", "patch", "delete"]),
        "type" | "resourcetype" | "usertype" | "schema" => {
            one_of(&TYPES) || text.starts_with("urn:ietf:params:scim:")
        }
        "scimtype" => one_of(&SCIM_TYPES),
        "status" => text.len() == 3 && text.chars().all(|c| c.is_ascii_digit()),
        "version" => is_version(text),
        _ => false,
    }
}
