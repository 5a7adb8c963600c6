//! An event as the bytes that are signed and sent.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::model::EventId;

use super::field::{Presence, Shape};
use super::kind::Kind;
use super::set::{self, ScimEvents};
use super::template::BodyTemplate;
use super::{BODY_BYTES_MAX, Event, VERSION, cloud};

/// How bodies look at one target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BodySettings {
    /// Keys `format` and `template`.
    pub format: BodyFormat,
    /// Key `payload`. Default `full`.
    pub payload: Payload,
    /// Attributes that a schema says are never returned: they are in no body.
    pub hidden: Vec<Hidden>,
}

/// The form of a body.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum BodyFormat {
    /// `format = "standard"`: Standard Webhooks' `type`, `timestamp`, `data`.
    #[default]
    Standard,
    /// `template`: the operator's own.
    Template(BodyTemplate),
    /// `format = "cloudevents"`: CloudEvents 1.0, structured mode.
    CloudEvents {
        /// Key `source`.
        source: String,
    },
    /// `format = "scim-events"`: signed Security Event Tokens.
    ScimEvents(ScimEvents),
}

/// How much a body says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Payload {
    /// Names and values.
    #[default]
    Full,
    /// Ids, and the names of what changed; the receiver reads the rest.
    Thin,
}

/// An attribute that no body shows: its name, or the names that lead to it, an extension's URN first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden(pub Vec<String>);

/// A body ready to be signed and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The bytes, the same on every attempt.
    pub bytes: Vec<u8>,
    /// What they are. One per target: [`BodySettings::content_type`].
    pub content_type: String,
}

/// Why an event has no body: parked, with this as the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyError {
    /// What is wrong, and where.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

impl std::error::Error for BodyError {}

impl BodySettings {
    /// The `content-type` of every body.
    pub fn content_type(&self) -> &str {
        match &self.format {
            BodyFormat::Standard => "application/json",
            BodyFormat::Template(template) => template.content_type(),
            BodyFormat::CloudEvents { .. } => cloud::CONTENT_TYPE,
            BodyFormat::ScimEvents(_) => set::CONTENT_TYPE,
        }
    }

    /// Whether events of this type have a form here. What has none is not sent.
    pub fn can_say(&self, kind: Kind) -> bool {
        match self.format {
            BodyFormat::ScimEvents(_) => set::is_scim_event(kind),
            _ => true,
        }
    }
}

/// The body of `event` under its number, with the number of the one before it at this target, so that a gap shows.
///
/// # Errors
/// [`BodyError`]: the event cannot be written as the settings ask.
pub fn render(
    event: &Event,
    settings: &BodySettings,
    id: EventId,
    previous: Option<EventId>,
) -> Result<Body, BodyError> {
    let bytes = match &settings.format {
        BodyFormat::Template(template) => template.render(event, settings, id, previous)?,
        BodyFormat::CloudEvents { source } => cloud::render(event, settings, source, id, previous),
        BodyFormat::ScimEvents(tokens) => set::render(event, settings, tokens, id, previous)?,
        BodyFormat::Standard => standard(event, settings, id, previous),
    };
    Ok(Body { bytes, content_type: settings.content_type().to_owned() })
}

/// The standard form, which every event has.
pub(super) fn standard(
    event: &Event,
    settings: &BodySettings,
    id: EventId,
    previous: Option<EventId>,
) -> Vec<u8> {
    let data = data(event, settings, id, previous, BODY_BYTES_MAX - ENVELOPE_BYTES);
    envelope(event, &data).to_string().into_bytes()
}

/// Bytes that a body needs besides its data, at most.
const ENVELOPE_BYTES: usize = 1_000;

/// `type`, `timestamp` and `data`.
pub(super) fn envelope(event: &Event, data: &Map<String, Value>) -> Value {
    json!({"version": VERSION, "type": event.kind.as_str(), "timestamp": event.at.to_string(), "data": data})
}

/// The event's data as the settings want it, in at most `bytes_max` bytes.
pub(super) fn data(
    event: &Event,
    settings: &BodySettings,
    id: EventId,
    previous: Option<EventId>,
    bytes_max: usize,
) -> Map<String, Value> {
    let mut data = Map::new();
    data.insert("epoch".into(), id.epoch.0.into());
    data.insert("seq".into(), id.seq.0.into());
    data.insert("n".into(), id.n.into());
    let previous = previous.map_or(Value::Null, |id| json!([id.epoch.0, id.seq.0, id.n]));
    data.insert("previous".into(), previous);
    for field in event.kind.fields() {
        let Some(value) = event.data.get(field.name) else { continue };
        if settings.payload == Payload::Thin && field.presence == Presence::Full {
            continue;
        }
        data.insert(field.name.into(), shown(value, field.shape, settings));
    }
    fit(&mut data, event, bytes_max);
    data
}

/// One field's value as the settings want it.
fn shown(value: &Value, shape: Shape, settings: &BodySettings) -> Value {
    let mut value = value.clone();
    match (shape, &mut value) {
        (Shape::Values, Value::Object(values)) => hide(values, &settings.hidden),
        (Shape::User | Shape::Group | Shape::Subject, Value::Object(one))
            if settings.payload == Payload::Thin =>
        {
            one.retain(|name, _| matches!(name.as_str(), "id" | "ref"));
        }
        (Shape::Texts, Value::Array(names)) => {
            let is_hidden = |name: &str| {
                settings.hidden.iter().any(|one| matches!(&*one.0, [top] if top.eq_ignore_ascii_case(name)))
            };
            names.retain(|name| name.as_str().is_none_or(|name| !is_hidden(name)));
        }
        _ => {}
    }
    value
}

/// Takes out what no body shows.
fn hide(values: &mut Map<String, Value>, hidden: &[Hidden]) {
    for Hidden(path) in hidden {
        hide_one(values, path);
    }
}

fn hide_one(values: &mut Map<String, Value>, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    let is_it = |name: &String| name.eq_ignore_ascii_case(first);
    if rest.is_empty() {
        values.retain(|name, _| !is_it(name));
        return;
    }
    for (_, value) in values.iter_mut().filter(|(name, _)| is_it(name)) {
        let parts: Vec<&mut Value> = match value {
            Value::Array(all) => all.iter_mut().collect(),
            other => vec![other],
        };
        for part in parts.into_iter().filter_map(Value::as_object_mut) {
            hide_one(part, rest);
        }
    }
}

/// Takes out values, the longest first, until the data fits; `omitted` says which and how long they are.
fn fit(data: &mut Map<String, Value>, event: &Event, bytes_max: usize) {
    let size = |value: &Value| value.to_string().len();
    let mut total = Value::Object(data.clone()).to_string().len();
    if total <= bytes_max {
        return;
    }
    let sections: Vec<&str> = event
        .kind
        .fields()
        .iter()
        .filter(|field| field.shape == Shape::Values)
        .map(|field| field.name)
        .collect();
    let mut longest: Vec<(usize, &str, String)> = Vec::new();
    for section in &sections {
        let values = data.get(*section).and_then(Value::as_object);
        longest
            .extend(values.into_iter().flatten().map(|(name, value)| (size(value), *section, name.clone())));
    }
    longest.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, &a.2).cmp(&(b.1, &b.2))));
    let mut omitted = Vec::new();
    for (bytes, section, name) in longest {
        // Each one left out costs a line that says so.
        if total <= bytes_max || omitted.len() >= OMITTED_MAX {
            break;
        }
        if let Some(values) = data.get_mut(section).and_then(Value::as_object_mut) {
            values.remove(&name);
        }
        total = total.saturating_sub(bytes.saturating_add(name.len()));
        let value = format!("{section}.{name}");
        total = total.saturating_add(value.len()).saturating_add(OMITTED_BYTES);
        omitted.push(json!({"value": super::cut(&value), "bytes": bytes}));
    }
    if total > bytes_max {
        omitted.clear();
        for section in sections {
            if let Some(value) = data.remove(section) {
                omitted.push(json!({"value": section, "bytes": size(&value)}));
            }
        }
    }
    data.insert("omitted".into(), omitted.into());
}

/// Values named one by one in `omitted`; if more have to go, all go together.
const OMITTED_MAX: usize = 50;

/// Bytes of one entry of `omitted` besides the name.
const OMITTED_BYTES: usize = 40;
