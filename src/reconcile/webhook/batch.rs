//! What one request carries: an event as it is kept, or several in one body. Pure.
//!
//! A batch is `{"type": "batch", "timestamp", "data": {"epoch", "first", "last", "previous", "count", "events": […]}}`
//! with the events' own bodies, unaltered and in order; its id is that of its last event, so that an acknowledged id
//! says "everything up to here" as it does for single events.

use serde_json::{Value, json};

use crate::mirror::delivery::Delivery;
use crate::model::EventId;

/// One request to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: EventId,
    pub(crate) body: Vec<u8>,
    pub(crate) content_type: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// The message that carries these deliveries; `None` if there is none.
pub(crate) fn request(rows: &[&Delivery], is_batch: bool) -> Option<Message> {
    let (first, last) = (rows.first()?, rows.last()?);
    let headers = last.event.headers.clone();
    if !is_batch {
        let (body, content_type) = (last.event.body.clone(), last.event.content_type.clone());
        return Some(Message { id: last.event.event, body, content_type, headers });
    }
    let place = |id: EventId| json!([id.epoch.0, id.seq.0, id.n]);
    let previous = serde_json::from_slice::<Value>(&first.event.body)
        .ok()
        .and_then(|body| body.pointer("/data/previous").cloned())
        .unwrap_or(Value::Null);
    let head = json!({
        "type": "batch",
        "timestamp": last.event.at.to_string(),
        "data": {
            "epoch": last.event.event.epoch.0,
            "first": place(first.event.event),
            "last": place(last.event.event),
            "previous": previous,
            "count": rows.len(),
            "events": [],
        }
    });
    // The bodies go in as bytes: parsed and written again they might not be the same.
    let head = head.to_string();
    let mut body = head.strip_suffix("]}}")?.as_bytes().to_vec();
    for (n, row) in rows.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&row.event.body);
    }
    body.extend_from_slice(b"]}}");
    Some(Message { id: last.event.event, body, content_type: "application/json".to_owned(), headers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::delivery::{New, State};
    use crate::model::{Epoch, Seq, TargetName, Timestamp};

    fn row(seq: u64) -> Delivery {
        let event = EventId { epoch: Epoch(1), seq: Seq(seq), n: 0 };
        let body = json!({"type": "user.created", "data": {"previous": [1, seq - 1, 0], "seq": seq}});
        Delivery {
            target: TargetName::parse("app").unwrap(),
            event: New {
                event,
                turn: event.seq,
                kind: "user.created".into(),
                resource: None,
                at: Timestamp(0),
                body: body.to_string().into_bytes(),
                content_type: "application/json".into(),
                headers: Vec::new(),
                state: State::Pending,
            },
            batch: None,
            attempts: 0,
            created_at: Timestamp(0),
            next_at: Timestamp(0),
            finished_at: None,
            last_status: None,
            last_error: None,
        }
    }

    #[test]
    fn a_batch_carries_the_bodies_as_they_are_and_the_id_of_its_last_event() {
        let rows = [row(5), row(7)];
        let message = request(&[&rows[0], &rows[1]], true).unwrap();
        assert_eq!(message.id.to_string(), "1-7-0");
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        let data = &body["data"];
        assert_eq!((&body["type"], &data["count"]), (&json!("batch"), &json!(2)));
        assert_eq!((&data["first"], &data["last"]), (&json!([1, 5, 0]), &json!([1, 7, 0])));
        assert_eq!(data["previous"], json!([1, 4, 0]), "a gap shows between batches");
        assert_eq!(data["events"][1]["data"]["seq"], 7);
        let text = String::from_utf8(message.body).unwrap();
        assert!(text.contains(std::str::from_utf8(&rows[0].event.body).unwrap()));
        assert_eq!(request(&[&rows[0]], false).unwrap().body, rows[0].event.body);
        assert_eq!(request(&[], true), None);
    }
}
