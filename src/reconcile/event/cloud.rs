//! CloudEvents 1.0 in structured mode: the event's data in an envelope that brokers and functions know.

use serde_json::json;

use crate::model::EventId;

use super::body::{self, BodySettings};
use super::{BODY_BYTES_MAX, Event, VERSION};

/// The `content-type` of its bodies.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Bytes that the envelope takes, at most, besides the source.
const ENVELOPE_BYTES: usize = 1_000;

pub(super) fn render(
    event: &Event,
    settings: &BodySettings,
    source: &str,
    id: EventId,
    previous: Option<EventId>,
) -> Vec<u8> {
    let bytes_max = BODY_BYTES_MAX.saturating_sub(ENVELOPE_BYTES).saturating_sub(source.len());
    let data = body::data(event, settings, id, previous, bytes_max);
    json!({
        "specversion": "1.0",
        "id": id.to_string(),
        "source": source,
        // The version stands in the type, as the primer asks of what could change incompatibly.
        "type": format!("rosterd.{}.v{VERSION}", event.kind),
        "subject": subject(event),
        "time": event.at.to_string(),
        "datacontenttype": "application/json",
        // The `sequence` extension: texts that sort as the events do.
        "sequence": format!("{:010}-{:020}-{:010}", id.epoch.0, id.seq.0, id.n),
        "data": data,
    })
    .to_string()
    .into_bytes()
}

/// What the event is about, by its place in this source.
fn subject(event: &Event) -> String {
    let found =
        ["group", "user", "subject"].into_iter().find_map(|name| event.data.get(name)?.get("ref")?.as_str());
    match (found, event.text("target"), event.text("directory")) {
        (Some(place), ..) => place.to_owned(),
        (None, Some(target), _) => format!("/targets/{target}"),
        (None, None, Some(directory)) => format!("/directories/{directory}"),
        (None, None, None) => "/".to_owned(),
    }
}
