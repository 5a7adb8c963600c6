//! `/targets/NAME`: a published target's bytes as last applied, now or when they change.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED, RETRY_AFTER};
use hyper::http::request::Parts;
use tokio::time::Instant;

use super::condition::{Condition, last_modified, tag};
use super::pipeline::{Call, fault, nowhere};
use super::{PublishApi, prefer};
use crate::http::answer::Answer;
use crate::model::{TargetName, Timestamp};
use crate::reconcile::{Edition, Shown};

/// How long a request waits for the first run after a start, so that a restart of the daemon costs a reader neither
/// its copy nor its patience.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// A copy may be kept by the client and by nobody in between, and is asked about each time.
const PRIVATE: &str = "private, no-cache";

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

impl PublishApi {
    pub(super) async fn target(&self, call: &Call, head: &Parts, name: &TargetName) -> Answer {
        let Some(mut seen) = self.sources.shelf.watch(name) else { return nowhere() };
        let request = Request::of(&head.headers);
        // Only who waits for news takes a place; an answer at hand is given to everybody.
        let mut place = None;
        loop {
            let shown = seen.borrow_and_update().clone();
            let now = self.sources.mirror.now();
            let until = match &shown {
                Shown::Edition(edition) if !request.condition.has(edition, now) => {
                    let is_late = place.is_some();
                    return if is_late && !self.still_may(call, name) {
                        self.denied_meanwhile(call)
                    } else {
                        request.full(edition, now)
                    };
                }
                Shown::Edition(_) | Shown::Nothing => request.until(),
                Shown::Starting => request.until().max(request.began + START_PATIENCE),
            };
            if self.is_stopping() || until <= Instant::now() {
                return request.unchanged(&shown, now, self.is_stopping());
            }
            if let Err(full) = self.take_place(&mut place) {
                return full;
            }
            if !self.changed(&mut seen, until).await {
                return nowhere();
            }
        }
    }
}

/// What one request asks for.
struct Request {
    condition: Condition,
    wait: Option<Duration>,
    began: Instant,
}

impl Request {
    fn of(headers: &HeaderMap) -> Self {
        Self { condition: Condition::of(headers), wait: prefer::wait(headers), began: Instant::now() }
    }

    fn until(&self) -> Instant {
        self.began + self.wait.unwrap_or_default()
    }

    /// All of it.
    fn full(&self, edition: &Edition, now: Timestamp) -> Answer {
        let media_type = HeaderValue::from_static(edition.media_type);
        self.described(Answer::new(200, media_type, edition.bytes.clone()), edition, now)
    }

    /// Nothing new came in time.
    fn unchanged(&self, shown: &Shown, now: Timestamp, stopping: bool) -> Answer {
        let mut answer = match shown {
            // The media type says here too that waiting is supported: OPA looks at it on each answer.
            Shown::Edition(edition) => {
                self.described(Answer::empty(304), edition, now).with(CONTENT_TYPE, edition.media_type)
            }
            Shown::Starting => {
                fault(503, "the daemon is starting", "try again in a moment").with(RETRY_AFTER, "1")
            }
            Shown::Nothing => fault(503, "this target has never been applied", "`rosterd status` says why")
                .with(RETRY_AFTER, "5"),
        };
        answer.close = stopping;
        answer
    }

    fn described(&self, answer: Answer, edition: &Edition, now: Timestamp) -> Answer {
        let mut answer = answer.with(ETAG, &tag(edition)).with(CACHE_CONTROL, PRIVATE);
        if let Some(date) = last_modified(edition, now) {
            answer = answer.with(LAST_MODIFIED, &date);
        }
        match self.wait {
            Some(wait) => answer.with(PREFERENCE_APPLIED, &format!("wait={}", wait.as_secs())),
            None => answer,
        }
    }
}
