//! What a target that is told of events is told, and in which form: `events`, `filter`, `format`, `template`, `payload`,
//! `headers` and what belongs to them.

use hyper::header::{HeaderName, HeaderValue};

use super::reader::{Table, Value, what};
use super::role::user_filter;
use super::secret::Files;
use super::side;
use crate::downstream::webhook::TokenKey;
use crate::http::publish::Sets;
use crate::model::ResourceType;
use crate::reconcile::event::body::{BodyFormat, BodySettings, Hidden, Payload};
use crate::reconcile::event::{
    self, BodyTemplate, EventFilter, KINDS, ScimEvents, is_scim_event, try_examples,
};
use crate::scim::schema::{Attribute, Registry, Returned};

/// The keys of this part, besides `format` and `template`, which files have too.
pub(super) const KEYS: [&str; 10] = [
    "events",
    "filter",
    "payload",
    "content_type",
    "headers",
    "headers_file",
    "source",
    "issuer",
    "audience",
    "signing_key_file",
];

/// What is told, and how.
pub(super) struct Told {
    pub(super) events: EventFilter,
    pub(super) body: BodySettings,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// Reads the part of a `[[target]]`; `None` after a report.
pub(super) fn told(section: &Table<'_>, files: &Files, registry: &Registry) -> Option<Told> {
    let payload = payload(section);
    let format = format(section, files);
    let is_scim = matches!(format, Some(BodyFormat::ScimEvents(_)));
    let filter = section.get("filter").and_then(|value| user_filter(&value, registry));
    let events = events(section, is_scim);
    let headers = headers(section, files);
    let body = BodySettings { format: format?, payload, hidden: hidden(registry) };
    let events = events?.of_users(filter);
    let events = if is_scim { events.of_kinds(is_scim_event) } else { events };
    // A template is tried on every type that it may meet, so that none of them parks the target one night.
    if let (Some(value), BodyFormat::Template(_)) = (section.get("template"), &body.format)
        && let Err((kind, error)) = try_examples(&body, events.kinds().filter(|kind| !kind.is_snapshot()))
    {
        value.fail(what(format!("`{}`, tried on a made-up `{kind}`: {error}", value.path())));
    }
    Some(Told { events, body, headers })
}

/// Reads the part of a `[[reader]]` that fetches signed event tokens; `None` after a report.
pub(super) fn sets(section: Table<'_>, files: &Files, registry: &Registry) -> Option<Sets> {
    let payload = payload(&section);
    let filter = section.get("filter").and_then(|value| user_filter(&value, registry));
    let events = events(&section, true);
    let tokens = scim_events(&section, files);
    section.finish();
    let format = BodyFormat::ScimEvents(tokens?);
    let body = BodySettings { format, payload, hidden: hidden(registry) };
    Some(Sets { events: events?.of_users(filter).of_kinds(is_scim_event), body })
}

fn payload(section: &Table<'_>) -> Payload {
    let word = section.get("payload");
    word.and_then(|value| value.word(&[("full", Payload::Full), ("thin", Payload::Thin)])).unwrap_or_default()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Standard,
    CloudEvents,
    ScimEvents,
    Template,
}

fn format(section: &Table<'_>, files: &Files) -> Option<BodyFormat> {
    let words =
        [("standard", Word::Standard), ("cloudevents", Word::CloudEvents), ("scim-events", Word::ScimEvents)];
    let template = section.get("template");
    let word = match (section.get("format"), &template) {
        (Some(_), Some(template)) => {
            template.fail_key(
                what(format!("`{}` has both `format` and `template`", section.path()))
                    .help("keep one of them"),
            );
            return None;
        }
        (Some(format), None) => format.word(&words)?,
        (None, Some(_)) => Word::Template,
        (None, None) => Word::Standard,
    };
    refuse_others(section, word);
    match (word, template) {
        (Word::Template, Some(template)) => body_template(section, &template, files),
        (Word::CloudEvents, _) => {
            let source = section.get("source").map_or(Some(SOURCE), |value| source(&value))?;
            Some(BodyFormat::CloudEvents { source: source.to_owned() })
        }
        (Word::ScimEvents, _) => scim_events(section, files).map(BodyFormat::ScimEvents),
        _ => Some(BodyFormat::Standard),
    }
}

/// Keys that only one form has.
fn refuse_others(section: &Table<'_>, word: Word) {
    let own: [(&str, Word); 5] = [
        ("content_type", Word::Template),
        ("source", Word::CloudEvents),
        ("issuer", Word::ScimEvents),
        ("audience", Word::ScimEvents),
        ("signing_key_file", Word::ScimEvents),
    ];
    for (key, owner) in own {
        let Some(value) = section.get(key).filter(|_| owner != word) else { continue };
        let needs = match owner {
            Word::Template => "a `template`",
            Word::CloudEvents => "`format = \"cloudevents\"`",
            _ => "`format = \"scim-events\"`",
        };
        value.fail_key(what(format!("`{}` belongs to {needs}", value.path())));
    }
}

/// The `source` of CloudEvents unless another is named.
const SOURCE: &str = "/rosterd";

fn source<'a>(value: &Value<'a>) -> Option<&'a str> {
    let text = value.text()?;
    let is_good = !text.is_empty() && text.len() <= 500 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_good {
        value.fail(what(format!("`{}` is no URI: 1 to 500 ASCII characters without blanks", value.path())));
        return None;
    }
    Some(text)
}

fn body_template(section: &Table<'_>, value: &Value<'_>, files: &Files) -> Option<BodyFormat> {
    let content_type = match section.get("content_type") {
        None => event::CONTENT_TYPE,
        Some(value) => {
            let text = value.text()?;
            if HeaderValue::from_str(text).is_err() || !text.contains('/') {
                value.fail(what(format!("`{}` is no media type such as `text/plain`", value.path())));
                return None;
            }
            text
        }
    };
    let name = value.text()?;
    let text = side::text(value, &files.path(name), "template")?;
    files.templates.borrow_mut().insert(name.to_owned(), text.clone());
    match BodyTemplate::compile(name, text, content_type.to_owned()) {
        Ok(template) => Some(BodyFormat::Template(template)),
        Err(error) => {
            value.fail(what(format!("`{}`: {error}", value.path())));
            None
        }
    }
}

fn scim_events(section: &Table<'_>, files: &Files) -> Option<ScimEvents> {
    let issuer = section
        .require("issuer", "who signs the tokens, as receivers know it, such as `https://scim.example.com`")
        .and_then(|value| source(&value).map(str::to_owned));
    let audience = section.require("audience", "who the tokens are for, as the receiver calls itself");
    let audience = audience.and_then(|value| {
        let texts: Vec<String> = value.list_or_one().iter().filter_map(source).map(str::to_owned).collect();
        if texts.is_empty() {
            value.fail(what(format!("`{}` names nobody", value.path())));
        }
        (!texts.is_empty()).then_some(texts)
    });
    let key = section
        .require("signing_key_file", "a private key in PEM: `openssl genpkey -algorithm ed25519`")
        .and_then(|value| {
            let pem = files.secret(&value)?;
            TokenKey::parse(&pem, None).map_err(|error| value.fail(what(error))).ok()
        });
    Some(ScimEvents { key, issuer: issuer?, audience: audience? })
}

fn events(section: &Table<'_>, is_scim: bool) -> Option<EventFilter> {
    let Some(value) = section.get("events") else {
        let all = if is_scim { vec!["user.*", "group.*"] } else { vec!["access.*"] };
        return EventFilter::parse(all.into_iter().map(str::to_owned).collect()).ok();
    };
    let patterns = value.list_or_one();
    if patterns.is_empty() {
        value.fail(what(format!("`{}` is empty, so nothing would ever be sent", value.path())));
    }
    // One by one first, so that each wrong one is reported at its place.
    let mut good = Vec::new();
    for value in &patterns {
        let text = value.parsed(|text| EventFilter::parse(vec![text.to_owned()]).map(|_| text.to_owned()));
        let Some(text) = text else { continue };
        let alone = EventFilter::parse(vec![text.clone()]).ok()?;
        if is_scim && !KINDS.iter().any(|kind| is_scim_event(*kind) && alone.wants(*kind)) {
            value.fail(
                what(format!("`{}` = `{text}` has no form as a SCIM event", value.path()))
                    .help("`format = \"scim-events\"` speaks of `user.*` and `group.*` only"),
            );
            continue;
        }
        good.push(text);
    }
    EventFilter::parse(good).ok()
}

/// Headers that rosterd writes itself, or that belong to the connection.
const OWN_HEADERS: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Most headers of one target.
const HEADERS_MAX: usize = 20;

fn headers(section: &Table<'_>, files: &Files) -> Vec<(HeaderName, HeaderValue)> {
    let mut found: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (key, is_secret) in [("headers", false), ("headers_file", true)] {
        let Some(table) = section.table(key) else { continue };
        let entries: Vec<_> = table.entries().collect();
        for (name, value) in entries {
            let Some(name) = header_name(name, &value) else { continue };
            let text = if is_secret {
                files.secret(&value).map(|secret| HeaderValue::from_str(secret.expose()))
            } else {
                value.text().map(HeaderValue::from_str)
            };
            match text {
                None => {}
                Some(Err(_)) => {
                    value.fail(what(format!(
                        "`{}` holds what no header may: control characters",
                        value.path()
                    )));
                }
                Some(Ok(_)) if found.iter().any(|(known, _)| *known == name) => {
                    value.fail(what(format!("`{}`: the header `{name}` is set twice", value.path())));
                }
                Some(Ok(mut text)) => {
                    text.set_sensitive(is_secret);
                    found.push((name, text));
                }
            }
        }
    }
    if found.len() > HEADERS_MAX {
        section.fail(what(format!("`{}` has more than {HEADERS_MAX} headers", section.path())));
    }
    found
}

fn header_name(text: &str, value: &Value<'_>) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        value.fail_key(what(format!("`{}` is no name of a header", value.path())));
        return None;
    };
    let is_own = OWN_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("webhook-");
    if is_own {
        value.fail_key(
            what(format!("`{}`: rosterd writes the header `{name}` itself", value.path()))
                .help("`content_type` belongs to a `template`"),
        );
        return None;
    }
    Some(name)
}

/// Everything that a schema says is never returned.
pub(super) fn hidden(registry: &Registry) -> Vec<Hidden> {
    let mut hidden = Vec::new();
    for kind in [ResourceType::User, ResourceType::Group] {
        let schema = registry.resource(kind);
        collect(&mut hidden, &[], &schema.core.attributes);
        for extension in &schema.extensions {
            collect(&mut hidden, std::slice::from_ref(&extension.urn), &extension.attributes);
        }
    }
    hidden
}

fn collect(hidden: &mut Vec<Hidden>, below: &[String], attributes: &[Attribute]) {
    for attribute in attributes {
        let mut path = below.to_vec();
        path.push(attribute.name.clone());
        if attribute.returned == Returned::Never {
            hidden.push(Hidden(path));
        } else {
            collect(hidden, &path, &attribute.sub_attributes);
        }
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
