//! The way of one request, from its head to its answer; see the module's page for the order.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::PublishApi;
use super::sets::BODY_BYTES_MAX;
use crate::http::answer::{Answer, BodyError, JSON, discard, read_body};
use crate::http::auth::{self, Denied};
use crate::http::content::Content;
use crate::http::limits::Settings as Limits;
use crate::http::metrics::{OPENMETRICS, RequestLabels, Waits};
use crate::http::server::{Handler, Peer};
use crate::http::{framing, network};
use crate::mirror::StoreError;
use crate::mirror::token::{self, Reader};
use crate::model::TargetName;

/// A request that was let in.
#[derive(Clone)]
pub(super) struct Call {
    /// Who asks.
    pub(super) reader: Reader,
    /// The token as presented, to be looked up again after a wait.
    presented: String,
}

/// A request's place among those who wait for news.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _waits: Waits,
}

/// An answer, whose body may still be coming into being.
pub(super) struct Given {
    /// Status and headers; with the body, if there is no stream.
    pub(super) answer: Answer,
    /// The body in pieces.
    pub(super) stream: Option<mpsc::Receiver<Bytes>>,
}

impl From<Answer> for Given {
    fn from(answer: Answer) -> Self {
        Self { answer, stream: None }
    }
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Route {
    Target(TargetName),
    Events,
    Poll,
    Start,
    Metrics,
    Unknown,
}

impl Route {
    /// Paths are compared as they come: no name of ours needs an escape, so that an escaped one is none.
    fn parse(path: &str) -> Self {
        match path {
            "/metrics" => Self::Metrics,
            "/events" => Self::Events,
            "/events/poll" => Self::Poll,
            "/events/poll/start" => Self::Start,
            _ => path
                .strip_prefix("/targets/")
                .and_then(|name| TargetName::parse(name).ok())
                .map_or(Self::Unknown, Self::Target),
        }
    }

    /// A name for metric and log.
    fn name(&self) -> &'static str {
        match self {
            Self::Target(_) => "targets/{name}",
            Self::Events => "events",
            Self::Poll => "events/poll",
            Self::Start => "events/poll/start",
            Self::Metrics => "metrics",
            Self::Unknown => "unknown",
        }
    }
}

/// The body of a request that has one; of all others it is read and forgotten.
async fn body_of(route: &Route, body: Incoming, limits: &Limits) -> Result<Bytes, Answer> {
    if !matches!(route, Route::Poll | Route::Start) {
        discard(body, limits).await;
        return Ok(Bytes::new());
    }
    read_body(body, BODY_BYTES_MAX, limits).await.map_err(|error| {
        let mut answer = match error {
            BodyError::TooLarge => {
                fault(413, "the body is longer than 256 KiB", "acknowledge in several polls")
            }
            BodyError::TooSlow => fault(408, "the body did not come in time", "send it again"),
            BodyError::Broken => fault(400, "the body broke off", "send it again"),
        };
        answer.close = true;
        answer
    })
}

/// An error as its reader gets it.
pub(super) fn fault(status: u16, message: &str, hint: &str) -> Answer {
    let body = json!({ "error": { "message": message, "hint": hint } });
    Answer::new(status, JSON, body.to_string())
}

/// The one answer to whatever is not there or not this reader's to know about.
pub(super) fn nowhere() -> Answer {
    fault(
        404,
        "there is nothing here that this token may read",
        "the operator says under `[[reader]]` what it may read: `targets`, `events`, `metrics`",
    )
}

fn unauthorized(denied: Denied) -> Answer {
    let message = match denied {
        Denied::Missing => "authentication is required: send the reader's token as `Authorization: Bearer …`",
        Denied::Malformed => "the Authorization header must be `Bearer` followed by the reader's token",
        Denied::Unknown => "the token is not valid here: it is mistyped, expired, revoked or no reader's",
        Denied::Certificate => denied.detail(),
    };
    fault(401, message, "`rosterd token new --reader NAME` makes one")
        .with(WWW_AUTHENTICATE, "Bearer realm=\"rosterd\"")
}

/// What the log line of a request says.
#[derive(Default)]
struct Noted {
    route: Option<&'static str>,
    reader: Option<String>,
}

impl Handler for PublishApi {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Content> {
        let started = Instant::now();
        let id = self.ids.next();
        let (head, body) = request.into_parts();
        let mut noted = Noted::default();
        let Given { answer, stream } =
            survive(self.guarded(&head, body, peer, &mut noted), id.as_str()).await;
        self.note(&head, &answer, &noted, id.as_str(), started);
        let mut response = answer.with(HeaderName::from_static("x-request-id"), id.as_str()).into_response();
        if let Some(pieces) = stream {
            *response.body_mut() = Content::Stream(pieces);
        }
        response
    }
}

impl PublishApi {
    fn note(&self, head: &Parts, answer: &Answer, noted: &Noted, id: &str, started: Instant) {
        let route = noted.route.unwrap_or("refused");
        let method = match head.method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            _ => "OTHER",
        };
        let status = answer.status;
        self.sources.metrics.request(&RequestLabels {
            listener: "publish",
            route,
            method,
            status: u32::from(status),
        });
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let reader = noted.reader.as_deref().unwrap_or("-");
        tracing::info!(request = %id, reader, method, route, status, ms, "publish request");
    }

    /// Everything up to the token; whatever is refused here has not been looked at more closely.
    async fn guarded(self: &Arc<Self>, head: &Parts, body: Incoming, peer: Peer, noted: &mut Noted) -> Given {
        if let Err(refused) = framing::check(head, &self.limits) {
            let mut answer = fault(refused.status, refused.detail, "");
            answer.close = true;
            return answer.into();
        }
        let running = self.running.load_full();
        let near = peer.address.map(|address| address.ip());
        // Whoever connects to a unix socket was let in by its mode: a proxy on this machine.
        let trusted = near.is_none_or(|ip| running.trusted_proxies.iter().any(|n| n.contains(ip)));
        let client = if trusted {
            network::forwarded(&head.headers, &running.trusted_proxies).client.or(near)
        } else {
            near
        };
        let is_allowed = running.allow_from.is_empty()
            || client.is_some_and(|client| running.allow_from.iter().any(|n| n.contains(client)));
        drop(running);
        if !is_allowed {
            discard(body, &self.limits).await;
            return fault(403, "this address may not use this server", "").into();
        }
        let mut given = match self.authenticate(head, client) {
            Ok(call) => {
                noted.reader = Some(call.reader.name.clone());
                self.admitted(&call, head, body, noted).await
            }
            Err(answer) => {
                discard(body, &self.limits).await;
                answer.into()
            }
        };
        given.answer.close |= framing::must_close(head, trusted);
        given
    }

    fn authenticate(&self, head: &Parts, client: Option<IpAddr>) -> Result<Call, Answer> {
        let denied = match auth::bearer(&head.headers) {
            Ok(presented) => match self.reader(presented) {
                Ok(Some(reader)) => {
                    self.sources.mirror.note_reader_use(&reader);
                    return Ok(Call { reader, presented: presented.to_owned() });
                }
                Ok(None) => Denied::Unknown,
                Err(error) => return Err(failed(&error)),
            },
            Err(denied) => denied,
        };
        self.sources.metrics.auth_failed(denied.reason());
        Err(match self.failures.failed(client, Instant::now()) {
            Ok(()) => unauthorized(denied),
            Err(wait) => {
                fault(429, "too many failed authentications from this address", "wait before the next")
                    .with(RETRY_AFTER, &wait.as_secs().max(1).to_string())
            }
        })
    }

    /// Whose token this is; a reader the configuration does not name may read nothing and is nobody.
    fn reader(&self, presented: &str) -> Result<Option<Reader>, StoreError> {
        let found =
            self.sources.mirror.read_one::<_, StoreError>(|tx| token::authenticate_reader(tx, presented))?;
        Ok(found.filter(|reader| self.running.load().readers.contains_key(&reader.name)))
    }

    async fn admitted(
        self: &Arc<Self>,
        call: &Call,
        head: &Parts,
        body: Incoming,
        noted: &mut Noted,
    ) -> Given {
        let route = Route::parse(head.uri.path());
        let may = self.running.load().readers.get(&call.reader.name).cloned().unwrap_or_default();
        let is_open = match &route {
            Route::Target(name) => may.targets.contains(name),
            Route::Events => may.events,
            Route::Poll | Route::Start => may.events && may.sets.is_some(),
            Route::Metrics => may.metrics,
            Route::Unknown => false,
        };
        let body = match body_of(&route, body, &self.limits).await {
            Ok(body) => body,
            Err(answer) => return answer.into(),
        };
        if !is_open {
            noted.route = Some("unknown");
            return nowhere().into();
        }
        noted.route = Some(route.name());
        // What is told of events has no head without the events.
        let (allow, message) = match route {
            Route::Events => ("GET", "this can only be read"),
            Route::Poll | Route::Start => ("POST", "this is asked by POST"),
            _ => ("GET, HEAD", "this can only be read"),
        };
        if !allow.split(", ").any(|method| method == head.method.as_str()) {
            return fault(405, message, "").with(ALLOW, allow).into();
        }
        match route {
            Route::Target(name) => self.target(call, head, &name).await.into(),
            Route::Events => self.events(call, head).await,
            Route::Poll => self.poll_sets(call, head, &body).await.into(),
            Route::Start => self.start_sets(call, head, &body).await.into(),
            Route::Metrics => Answer::new(200, OPENMETRICS, (self.sources.exposition)().await).into(),
            Route::Unknown => nowhere().into(),
        }
    }

    /// Whether the token still holds and its reader still lists `target`: asked again after a wait.
    pub(super) fn still_may(&self, call: &Call, target: &TargetName) -> bool {
        let holds = self.reader(&call.presented).is_ok_and(|reader| reader.is_some());
        let running = self.running.load();
        holds && running.readers.get(&call.reader.name).is_some_and(|may| may.targets.contains(target))
    }

    /// The same for events.
    pub(super) fn still_hears(&self, call: &Call) -> bool {
        let holds = self.reader(&call.presented).is_ok_and(|reader| reader.is_some());
        holds && self.running.load().readers.get(&call.reader.name).is_some_and(|may| may.events)
    }

    /// What a reader is told whose token ended, or whose right to the target, while it waited.
    pub(super) fn denied_meanwhile(&self, call: &Call) -> Answer {
        match self.reader(&call.presented) {
            Ok(Some(_)) => nowhere(),
            Ok(None) => unauthorized(Denied::Unknown),
            Err(error) => failed(&error),
        }
    }

    /// A place among those who wait for news, or what to answer where there is none.
    pub(super) fn wait_place(&self) -> Result<Place, Answer> {
        match Arc::clone(&self.waiting).try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit, _waits: self.sources.metrics.waits() }),
            Err(_) => {
                Err(fault(429, "too many requests wait for news", "try again in a while")
                    .with(RETRY_AFTER, "30"))
            }
        }
    }

    /// Sees to it that `place` is one, before the first wait of a request.
    pub(super) fn take_place(&self, place: &mut Option<Place>) -> Result<(), Answer> {
        if place.is_none() {
            *place = Some(self.wait_place()?);
        }
        Ok(())
    }

    /// Waits for news, for `until` or for the daemon's end. False if no more news can come.
    pub(super) async fn changed<T>(
        &self,
        news: &mut watch::Receiver<T>,
        until: tokio::time::Instant,
    ) -> bool {
        let mut stopping = self.sources.stopping.clone();
        tokio::select! {
            changed = news.changed() => changed.is_ok(),
            () = tokio::time::sleep_until(until) => true,
            _ = stopping.wait_for(|stop| *stop) => true,
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.sources.stopping.borrow()
    }
}

/// The store cannot be asked. The cause goes to the log, not to the client.
pub(super) fn failed(error: &StoreError) -> Answer {
    tracing::warn!(%error, hint = error.hint(), "the mirror cannot be asked; a reader is told to come again");
    fault(503, "the server cannot do this now", "try again")
        .with(RETRY_AFTER, &Duration::from_secs(5).as_secs().to_string())
}

/// One request's bug must not take the others' connection down: a panic is a 500 of its own.
async fn survive(work: impl Future<Output = Given>, id: &str) -> Given {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))).unwrap_or_else(|_| {
            tracing::error!(request = %id, "a request ended in a panic; please report it");
            Poll::Ready(fault(500, "the server failed", "its log says why").into())
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_target_letter_by_letter_or_nothing() {
        let opa = Route::Target(TargetName::parse("opa").unwrap());
        assert_eq!(Route::parse("/targets/opa"), opa);
        assert_eq!(Route::parse("/metrics"), Route::Metrics);
        assert_eq!(Route::parse("/events"), Route::Events);
        for path in [
            "/",
            "",
            "/targets",
            "/targets/",
            "/targets//opa",
            "//targets/opa",
            "/targets/opa/",
            "/targets/../opa",
            "/targets/%6fpa",
            "/targets/opa%00",
            "/targets/OPA",
            "/./targets/opa",
            "/metrics/",
            "/Targets/opa",
            "/targets/..%2f..%2fetc%2fpasswd",
            "/targets/.",
            "/targets/..",
            "/healthz",
            "/readyz",
            "/api/v1/status",
        ] {
            assert_eq!(Route::parse(path), Route::Unknown, "{path}");
        }
    }
}
