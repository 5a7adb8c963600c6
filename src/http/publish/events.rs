//! `/events`: what changed behind a cursor, now or when it happens; as JSON, or as Server-Sent Events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pipeline::{Call, Given, Place, failed, fault};
use super::{PublishApi, WAIT_MAX, prefer};
use crate::http::answer::{Answer, JSON};
use crate::http::scim_api::query_pairs;
use crate::mirror::StoreError;
use crate::reconcile::event::body::BodySettings;
use crate::reconcile::event::{EventFilter, KINDS};
use crate::reconcile::pull::{Cursor, Page, Picture, PullError, Told, Wanted};

/// Events of one answer, unless `limit` says otherwise; and the most it may say.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// How often a stream shows that it lives, and how far it is.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Pieces that wait for a reader of a stream; past them the stream waits.
const PIECES_MAX: usize = 4;

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What one request asks for.
struct Question {
    after: Option<Cursor>,
    wait: Duration,
    snapshot: bool,
    stream: bool,
    wanted: Wanted,
}

impl PublishApi {
    pub(super) async fn events(self: &Arc<Self>, call: &Call, head: &Parts) -> Given {
        let question = match self.question(head) {
            Ok(question) => question,
            Err(message) => return fault(400, &message, "docs/publish.md has the parameters").into(),
        };
        if question.snapshot {
            let picture = match self.sources.pull.picture(question.wanted.clone()).await {
                Ok(picture) => picture,
                Err(error) => return refused(&error).into(),
            };
            return self.stream(call, question, Some(picture));
        }
        if question.stream {
            // A cursor that leads nowhere is told before the stream begins.
            let probe = Wanted { limit: 1, ..question.wanted.clone() };
            return match self.sources.pull.page(question.after, probe).await {
                Ok(_) => self.stream(call, question, None),
                Err(error) => refused(&error).into(),
            };
        }
        self.poll(call, question).await.into()
    }

    fn question(&self, head: &Parts) -> Result<Question, String> {
        let hidden = self.running.load().hidden.clone();
        let body = BodySettings { hidden, ..BodySettings::default() };
        let everything = EventFilter::parse(vec!["*".to_owned()]).map_err(|error| error.to_string())?;
        let mut question = Question {
            after: None,
            wait: prefer::wait(&head.headers).unwrap_or_default(),
            snapshot: false,
            stream: wants_stream(&head.headers),
            wanted: Wanted { filter: everything, body, limit: LIMIT },
        };
        for (name, value) in query_pairs(head.uri.query()).ok_or("the query is not UTF-8")? {
            match name.as_str() {
                "after" if value == "newest" => question.after = Some(self.sources.pull.newest()),
                "after" => question.after = Some(value.parse().map_err(|e| format!("`after`: {e}"))?),
                "wait" => {
                    question.wait = span(&value).ok_or("`wait` must be seconds, such as `30` or `30s`")?;
                }
                "limit" => question.wanted.limit = limit(&value)?,
                "snapshot" => question.snapshot = truth(&value).ok_or("`snapshot` must be 1 or 0")?,
                "events" => question.wanted.filter = filter(&value)?,
                other => return Err(format!("unknown parameter `{}`", crate::telemetry::escape(other))),
            }
        }
        // A stream that goes on where it broke off says so itself, under the address it began with.
        if let Some(last) = head.headers.get(LAST_EVENT_ID).filter(|_| question.stream) {
            let last = last.to_str().ok().and_then(|text| text.parse().ok());
            question.after = Some(last.ok_or("`Last-Event-ID` is no cursor")?);
            question.snapshot = false;
        }
        Ok(question)
    }

    async fn poll(&self, call: &Call, mut question: Question) -> Answer {
        let until = Instant::now() + question.wait;
        let mut newest = self.sources.mirror.changes();
        let mut after = question.after;
        let mut place: Option<Place> = None;
        loop {
            newest.borrow_and_update();
            let page = match self.sources.pull.page(after, question.wanted.clone()).await {
                Ok(page) => page,
                Err(error) => return refused(&error),
            };
            if place.is_some() && !self.still_hears(call) {
                return self.denied_meanwhile(call);
            }
            after = Some(page.next);
            if page.events.is_empty() && page.more && !self.is_stopping() {
                // The way past what nobody asked for may be long.
                if !self.still_hears(call) {
                    return self.denied_meanwhile(call);
                }
                question.wanted.body.hidden.clone_from(&self.running.load().hidden);
                continue;
            }
            if !page.events.is_empty() || self.is_stopping() || until <= Instant::now() {
                let mut answer = told(&page);
                answer.close = self.is_stopping();
                return answer;
            }
            if let Err(full) = self.take_place(&mut place) {
                return full;
            }
            if !self.changed(&mut newest, until).await {
                return told(&page);
            }
            question.wanted.body.hidden.clone_from(&self.running.load().hidden);
        }
    }

    fn stream(self: &Arc<Self>, call: &Call, question: Question, picture: Option<Picture>) -> Given {
        let place = match self.wait_place() {
            Ok(place) => place,
            Err(full) => return full.into(),
        };
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let media_type = if question.stream { EVENT_STREAM } else { JSON };
        let teller = Teller { api: Arc::clone(self), call: call.clone(), sender, _place: Some(place) };
        tokio::spawn(async move {
            let ended = match (question.stream, picture) {
                (true, picture) => teller.tell(question, picture).await,
                (false, Some(picture)) => teller.picture_as_json(picture).await,
                (false, None) => Ok(()),
            };
            if let Err(End::Failed(error)) = ended {
                tracing::warn!(%error, "a stream of events broke off");
            }
        });
        let mut answer = Answer::new(200, media_type.clone(), Bytes::new());
        answer.headers.push((CONTENT_TYPE, media_type));
        answer.headers.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
        // Some proxies gather an answer before they pass it on.
        answer.headers.push((HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")));
        Given { answer, stream: Some(pieces) }
    }
}

/// Why a stream ends before its time.
enum End {
    /// The reader went, or the daemon stops.
    Gone,
    /// It cannot go on.
    Failed(PullError),
}

impl From<PullError> for End {
    fn from(error: PullError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// One stream under way.
pub(super) struct Teller {
    api: Arc<PublishApi>,
    call: Call,
    sender: mpsc::Sender<Bytes>,
    _place: Option<Place>,
}

#[cfg(test)]
impl Teller {
    /// One that tells whoever has this token, without a connection.
    pub(super) fn new(api: &Arc<PublishApi>, token: &str, sender: mpsc::Sender<Bytes>) -> Self {
        Self { api: Arc::clone(api), call: api.call_of(token), sender, _place: None }
    }

    /// Tells a picture; false if it ended before its end.
    pub(super) async fn whole(&self, mut picture: Picture, is_stream: bool) -> bool {
        let told =
            if is_stream { self.picture(&mut picture).await } else { self.picture_as_json(picture).await };
        told.is_ok()
    }
}

impl Teller {
    async fn send(&self, text: String) -> Result<(), End> {
        self.sender.send(text.into()).await.map_err(|_| End::Gone)
    }

    /// The next part of a picture. A reader may take it as slowly as it likes, so that its token is asked about for each.
    fn part(&self, picture: &mut Picture) -> Result<Vec<Told>, End> {
        if self.api.still_hears(&self.call) { Ok(picture.some(LIMIT)?) } else { Err(End::Gone) }
    }

    /// The picture as one JSON document of the form that a poll answers with.
    async fn picture_as_json(&self, mut picture: Picture) -> Result<(), End> {
        let mut text = String::from("{\"events\":[");
        let mut is_first = true;
        loop {
            let some = self.part(&mut picture)?;
            if some.is_empty() {
                break;
            }
            for one in some {
                if !std::mem::take(&mut is_first) {
                    text.push(',');
                }
                text.push_str(&json!(one.body).to_string());
            }
            self.send(std::mem::take(&mut text)).await?;
        }
        self.send(format!("],\"next\":\"{}\",\"more\":false}}", picture.next())).await
    }

    /// Events as they happen, after the picture if there is one.
    async fn tell(&self, mut question: Question, picture: Option<Picture>) -> Result<(), End> {
        let mut newest = self.api.sources.mirror.changes();
        let mut stopping = self.api.sources.stopping.clone();
        self.send("retry: 2000\n\n".to_owned()).await?;
        let mut after = question.after;
        if let Some(mut picture) = picture {
            self.picture(&mut picture).await?;
            after = Some(picture.next());
        }
        loop {
            newest.borrow_and_update();
            question.wanted.body.hidden.clone_from(&self.api.running.load().hidden);
            let page = self.api.sources.pull.page(after, question.wanted.clone()).await?;
            after = Some(page.next);
            if !self.api.still_hears(&self.call) {
                return Ok(());
            }
            if !page.events.is_empty() {
                self.send(page.events.iter().map(|one| frame(one, Some(&one.id.to_string()))).collect())
                    .await?;
            }
            if page.more {
                continue;
            }
            let is_quiet = tokio::select! {
                changed = newest.changed() => match changed {
                    Ok(()) => false,
                    Err(_) => return Ok(()),
                },
                () = tokio::time::sleep(HEARTBEAT) => true,
                _ = stopping.wait_for(|stop| *stop) => return Ok(()),
                () = self.sender.closed() => return Ok(()),
            };
            if is_quiet {
                // Without data this is no event; it only says where to go on.
                self.send(format!(": alive\nid: {}\n\n", page.next)).await?;
            }
        }
    }

    /// The picture, without a place to go on from before it is whole.
    async fn picture(&self, picture: &mut Picture) -> Result<(), End> {
        loop {
            let some = self.part(picture)?;
            if some.is_empty() {
                return self.send(format!("id: {}\n\n", picture.next())).await;
            }
            self.send(some.iter().map(|one| frame(one, None)).collect()).await?;
        }
    }
}

/// One event of a stream. JSON has no line breaks in it.
fn frame(told: &Told, id: Option<&str>) -> String {
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    format!("{id}event: {}\ndata: {}\n\n", told.kind, json!(told.body))
}

fn told(page: &Page) -> Answer {
    let events: Vec<_> = page.events.iter().map(|one| &one.body).collect();
    let body = json!({ "events": events, "next": page.next.to_string(), "more": page.more });
    Answer::new(200, JSON, body.to_string())
}

pub(super) fn refused(error: &PullError) -> Answer {
    match error {
        PullError::Gone { oldest } => {
            let body = json!({
                "error": {
                    "message": "what follows this cursor is no longer there: it was pruned, or the mirror was restored",
                    "hint": "read the present state with `snapshot`, then go on from its `next`",
                },
                "snapshot": "/events?snapshot=1",
                "oldest": oldest.to_string(),
            });
            Answer::new(410, JSON, body.to_string())
        }
        PullError::Store(error) => failed(error),
    }
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = texts.flat_map(|text| text.split(','));
    ranges.any(|range| {
        range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
    })
}

/// `30` or `30s`, at most [`WAIT_MAX`].
fn span(text: &str) -> Option<Duration> {
    let digits = text.strip_suffix('s').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(digits.parse().unwrap_or(u64::MAX)).min(WAIT_MAX))
}

fn limit(text: &str) -> Result<usize, String> {
    let found = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    found.ok_or_else(|| format!("`limit` must be from 1 to {LIMIT_MAX}"))
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "true" => Some(true),
        "0" | "false" | "" => Some(false),
        _ => None,
    }
}

/// Patterns parted by commas. Access is what a target enforces, so that there is none to tell without a target.
fn filter(text: &str) -> Result<EventFilter, String> {
    let patterns: Vec<String> = text.split(',').map(|one| one.trim().to_owned()).collect();
    if patterns.iter().any(|one| one.starts_with("access.")) {
        let known: Vec<&str> = KINDS
            .iter()
            .filter(|kind| !kind.is_access() && !kind.is_snapshot())
            .map(|kind| kind.as_str())
            .collect();
        return Err(format!(
            "`access.*` says what a target enforces and goes to webhooks only; known here: {}",
            known.join(" ")
        ));
    }
    EventFilter::parse(patterns).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_strictly() {
        assert_eq!(span("30"), span("30s"));
        assert_eq!(span("99999999999999999999"), Some(WAIT_MAX));
        for bad in ["", "s", "-1", "1.5", "1m", "3 0"] {
            assert_eq!(span(bad), None, "{bad}");
        }
        assert_eq!(limit("1000"), Ok(1_000));
        assert!(limit("0").is_err() && limit("1001").is_err() && limit("many").is_err());
        assert!(filter("user.*, group.user_added").is_ok());
        assert!(filter("access.granted").unwrap_err().contains("webhooks only"));
        assert!(filter("user.creatd").is_err() && filter("").is_err());
    }

    #[test]
    fn a_stream_is_asked_for_by_its_media_type() {
        let accept = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, text.parse().unwrap());
            wants_stream(&headers)
        };
        assert!(accept("text/event-stream") && accept("application/json, Text/Event-Stream;q=0.5"));
        assert!(!accept("*/*") && !accept("application/json") && !wants_stream(&HeaderMap::new()));
    }
}
