//! `/events/poll`: events as signed tokens that a reader fetches and acknowledges (RFC 8936), and `/events/poll/start`,
//! which says where its stream begins.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::http::request::Parts;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::events::refused;
use super::pipeline::{Call, Place, failed, nowhere};
use super::{PublishApi, Sets, prefer};
use crate::http::answer::{Answer, JSON};
use crate::model::EventId;
use crate::reconcile::pull::{Cursor, Handed, PullError, Refusal, Settled, UNACKNOWLEDGED_MAX, Wanted};

/// Longest body of a request. A thousand acknowledgements are a tenth of it.
pub(super) const BODY_BYTES_MAX: usize = 256 << 10;

/// Tokens of one answer, unless `maxEvents` says otherwise.
const EVENTS: usize = 100;

/// How long a poll that does not want to return immediately waits, unless `Prefer: wait` says otherwise.
const WAIT: Duration = Duration::from_secs(30);

/// One poll (RFC 8936 §2.4).
#[derive(Debug, Default)]
struct Poll {
    events: usize,
    is_immediate: bool,
    settled: Settled,
}

impl PublishApi {
    pub(super) async fn poll_sets(&self, call: &Call, head: &Parts, body: &Bytes) -> Answer {
        let poll = match object(&head.headers, body).and_then(|asked| poll(&asked)) {
            Ok(poll) => poll,
            Err(wrong) => return wrong.answer(),
        };
        let reader = call.reader.name.as_str();
        if (!poll.settled.acknowledged.is_empty() || !poll.settled.refused.is_empty())
            && let Err(error) = self.sources.pull.settle(reader, poll.settled.clone()).await
        {
            return failed(&error);
        }
        if poll.events == 0 {
            let Some(sets) = self.sets_of(call) else { return nowhere() };
            let wanted = Wanted { filter: sets.events, body: sets.body, limit: 1 };
            return match self.sources.pull.has_more(reader, wanted).await {
                Ok(more) => told(&Handed { tokens: Vec::new(), more }),
                Err(error) => gone(&error),
            };
        }
        let wait =
            if poll.is_immediate { Duration::ZERO } else { prefer::wait(&head.headers).unwrap_or(WAIT) };
        self.wait_for_sets(call, poll.events, wait).await
    }

    async fn wait_for_sets(&self, call: &Call, events: usize, wait: Duration) -> Answer {
        let until = Instant::now() + wait;
        let mut newest = self.sources.mirror.changes();
        let mut place: Option<Place> = None;
        loop {
            newest.borrow_and_update();
            if place.is_some() && !self.still_hears(call) {
                return self.denied_meanwhile(call);
            }
            let Some(sets) = self.sets_of(call) else { return nowhere() };
            let wanted = Wanted { filter: sets.events, body: sets.body, limit: events };
            let handed = match self.sources.pull.hand(&call.reader.name, wanted).await {
                Ok(handed) => handed,
                Err(error) => return gone(&error),
            };
            if handed.tokens.is_empty() && handed.more && !self.is_stopping() {
                // The way past what the reader is not told may be long.
                if !self.still_hears(call) {
                    return self.denied_meanwhile(call);
                }
                continue;
            }
            if !handed.tokens.is_empty() || self.is_stopping() || until <= Instant::now() {
                let mut answer = told(&handed);
                answer.close = self.is_stopping();
                return answer;
            }
            if let Err(full) = self.take_place(&mut place) {
                return full;
            }
            if !self.changed(&mut newest, until).await {
                return told(&handed);
            }
        }
    }

    /// What the reader's tokens look like, as the configuration says now.
    fn sets_of(&self, call: &Call) -> Option<Sets> {
        self.running.load().readers.get(&call.reader.name)?.sets.clone()
    }

    /// Body `{"after"}`: a cursor, `newest`, or `oldest` for where the log begins.
    pub(super) async fn start_sets(&self, call: &Call, head: &Parts, body: &Bytes) -> Answer {
        let asked = object(&head.headers, body).and_then(|asked| {
            let after = asked.get("after").and_then(Value::as_str);
            let after =
                after.ok_or_else(|| Wrong::form("`after` is missing: `newest`, `oldest` or a cursor"))?;
            match after {
                "newest" => Ok(Some(self.sources.pull.newest())),
                "oldest" => Ok(None),
                text => text.parse::<Cursor>().map(Some).map_err(|error| Wrong::form(&error.to_string())),
            }
        });
        let cursor = match asked {
            Ok(cursor) => cursor,
            Err(wrong) => return wrong.answer(),
        };
        match self.sources.pull.begin(&call.reader.name, cursor).await {
            Ok(cursor) => Answer::new(200, JSON, json!({ "after": cursor.to_string() }).to_string()),
            Err(error) => gone(&error),
        }
    }
}

/// Why a request is refused as it stands.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    status: u16,
    what: String,
}

impl Wrong {
    fn form(what: &str) -> Self {
        Self { status: 400, what: what.to_owned() }
    }

    /// With the error code that the registry of RFC 8935 has for it.
    fn answer(&self) -> Answer {
        let body = json!({
            "err": "invalid_request",
            "description": self.what,
            "error": { "message": self.what, "hint": "docs/publish.md has the members" },
        });
        Answer::new(self.status, JSON, body.to_string())
    }
}

/// The request's object; nothing at all is one without members.
fn object(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, Wrong> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Wrong { status: 415, what: "the body must be `application/json`".to_owned() });
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(asked)) => Ok(asked),
        Ok(_) => Err(Wrong::form("the body must be an object")),
        Err(error) => Err(Wrong::form(&format!("the body is no JSON: {error}"))),
    }
}

fn poll(asked: &Map<String, Value>) -> Result<Poll, Wrong> {
    let present = |name: &str| asked.get(name).filter(|value| !value.is_null());
    let events = match present("maxEvents") {
        None => EVENTS,
        Some(value) => {
            let count = value.as_u64().ok_or_else(|| Wrong::form("`maxEvents` must be a number from 0"))?;
            usize::try_from(count).unwrap_or(usize::MAX).min(UNACKNOWLEDGED_MAX)
        }
    };
    let is_immediate = match present("returnImmediately") {
        None => false,
        Some(value) => {
            value.as_bool().ok_or_else(|| Wrong::form("`returnImmediately` must be true or false"))?
        }
    };
    let mut settled = Settled::default();
    if let Some(value) = present("ack") {
        let ids = value.as_array().ok_or_else(|| Wrong::form("`ack` must be a list of `jti`"))?;
        for id in ids {
            let id = id.as_str().ok_or_else(|| Wrong::form("`ack` must be a list of `jti`"))?;
            // One that is none of ours is as good as one acknowledged long ago.
            settled.acknowledged.extend(EventId::parse(id));
        }
    }
    if let Some(value) = present("setErrs") {
        let all = value.as_object().ok_or_else(|| Wrong::form("`setErrs` must be an object by `jti`"))?;
        for (id, why) in all {
            let text = |name: &str| why.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let refusal = Refusal { err: text("err"), description: text("description") };
            if refusal.err.is_empty() {
                return Err(Wrong::form(&format!(
                    "`setErrs` of `{}` has no `err`",
                    crate::telemetry::escape(id)
                )));
            }
            settled.refused.extend(EventId::parse(id).map(|id| (id, refusal)));
        }
    }
    Ok(Poll { events, is_immediate, settled })
}

/// Written by hand so that the tokens stand in their order, for readers that keep it.
fn told(handed: &Handed) -> Answer {
    let mut text = String::from("{\"sets\":{");
    for (n, (id, token)) in handed.tokens.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        // Neither an id nor base64 needs an escape; writing into a String does not fail.
        let _ = write!(text, "{comma}\"{id}\":\"{token}\"");
    }
    let _ = write!(text, "}},\"moreAvailable\":{}}}", handed.more);
    Answer::new(200, JSON, text)
}

fn gone(error: &PullError) -> Answer {
    let PullError::Gone { oldest } = error else { return refused(error) };
    let body = json!({
        "error": {
            "message": "what comes next for this stream is no longer there: it was pruned, or the mirror was restored",
            "hint": "build the state anew from `/events?snapshot=1`, then POST its `next` as `after` to \
                     `/events/poll/start`",
        },
        "state": "needs_snapshot",
        "snapshot": "/events?snapshot=1",
        "start": "/events/poll/start",
        "oldest": oldest.to_string(),
    });
    Answer::new(410, JSON, body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<Poll, String> {
        let Value::Object(asked) = value else { unreachable!() };
        poll(&asked).map_err(|wrong| wrong.what)
    }

    #[test]
    fn a_poll_is_read_as_the_rfc_has_it() {
        let empty = read(json!({})).unwrap();
        assert_eq!((empty.events, empty.is_immediate), (EVENTS, false));
        let all = read(json!({"maxEvents": 0, "returnImmediately": true, "ack": ["1-2-3", "a stranger's"],
            "setErrs": {"1-4-0": {"err": "invalid_key", "description": "?"}, "b": {"err": "x"}}, "more": 1}));
        let all = all.unwrap();
        assert_eq!((all.events, all.is_immediate), (0, true));
        assert_eq!(all.settled.acknowledged, [EventId::parse("1-2-3").unwrap()]);
        assert_eq!(all.settled.refused.len(), 1);
        assert_eq!(read(json!({"maxEvents": u64::MAX})).unwrap().events, UNACKNOWLEDGED_MAX);
        for bad in [
            json!({"maxEvents": -1}),
            json!({"maxEvents": "5"}),
            json!({"maxEvents": 1.5}),
            json!({"returnImmediately": "yes"}),
            json!({"ack": "1-2-3"}),
            json!({"ack": [1]}),
            json!({"setErrs": ["1-2-3"]}),
            json!({"setErrs": {"1-2-3": "no"}}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_stand_in_their_order() {
        let ids = ["1-9-0", "1-10-0", "1-100-0"];
        let tokens = ids.iter().map(|id| (EventId::parse(id).unwrap(), "a.b.c".to_owned())).collect();
        let answer = told(&Handed { tokens, more: true });
        assert_eq!(
            answer.body,
            "{\"sets\":{\"1-9-0\":\"a.b.c\",\"1-10-0\":\"a.b.c\",\"1-100-0\":\"a.b.c\"},\"moreAvailable\":true}"
        );
    }
}
