//! Events that could not be written as a target wants them: kept in the standard form, whole, until they can be.

use serde_json::Value;

use crate::model::{Epoch, EventId, Seq, Timestamp};

use super::Event;
use super::body::{self, Body, BodyError, BodyFormat, BodySettings, Payload};
use super::kind::Kind;

/// The `content-type` of a body that is none: the event as it is kept.
const CONTENT_TYPE: &str = "application/vnd.rosterd.unwritten+json";

/// The event in the form it is kept in. What the settings hide is not in it.
pub fn keep(event: &Event, settings: &BodySettings, id: EventId, previous: Option<EventId>) -> Body {
    let whole = BodySettings {
        format: BodyFormat::Standard,
        payload: Payload::Full,
        hidden: settings.hidden.clone(),
    };
    let bytes = body::standard(event, &whole, id, previous);
    Body { bytes, content_type: CONTENT_TYPE.to_owned() }
}

/// Whether a body of this `content-type` is an event that is still to be written.
pub fn is_unwritten(content_type: &str) -> bool {
    content_type == CONTENT_TYPE
}

/// Writes a kept event as the settings ask.
///
/// # Errors
/// [`BodyError`]: it still cannot be written.
pub fn write(kept: &[u8], settings: &BodySettings, id: EventId) -> Result<Body, BodyError> {
    let (event, previous) = read(kept, id).ok_or_else(|| BodyError {
        what: "the event was kept in a form that cannot be read".to_owned(),
        hint: "pass over it with `rosterd delivery skip`".to_owned(),
    })?;
    body::render(&event, settings, id, previous)
}

fn read(kept: &[u8], id: EventId) -> Option<(Event, Option<EventId>)> {
    let kept: Value = serde_json::from_slice(kept).ok()?;
    let kind: Kind = kept.get("type")?.as_str()?.parse().ok()?;
    let at = Timestamp::parse_rfc3339(kept.get("timestamp")?.as_str()?)?;
    let data = kept.get("data")?.as_object()?.clone();
    let previous = data.get("previous").and_then(place);
    let event = Event { kind, seq: id.seq, n: Some(id.n), resource: None, at, person: None, data };
    Some((event, previous))
}

fn place(value: &Value) -> Option<EventId> {
    let [epoch, seq, n] = value.as_array()?.as_slice() else { return None };
    let short = |value: &Value| u32::try_from(value.as_u64()?).ok();
    Some(EventId { epoch: Epoch(short(epoch)?), seq: Seq(seq.as_u64()?), n: short(n)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::event::{EXAMPLE_ID, EXAMPLE_PREVIOUS, KINDS, example};

    #[test]
    fn what_was_kept_is_written_as_it_would_have_been() {
        for payload in [Payload::Full, Payload::Thin] {
            let settings = BodySettings { payload, ..BodySettings::default() };
            for kind in KINDS {
                for bare in [false, true] {
                    let previous = (!bare).then_some(EXAMPLE_PREVIOUS);
                    let event = example(*kind, bare);
                    let kept = keep(&event, &settings, EXAMPLE_ID, previous);
                    assert!(is_unwritten(&kept.content_type));
                    let wanted = body::render(&event, &settings, EXAMPLE_ID, previous);
                    assert_eq!(write(&kept.bytes, &settings, EXAMPLE_ID), wanted, "{kind}");
                }
            }
        }
    }
}
