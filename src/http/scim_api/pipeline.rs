//! The way of one request, from its head to its answer; see the module's page for the order.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, IF_MATCH, IF_NONE_MATCH, USER_AGENT,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response};
use tokio::sync::SemaphorePermit;
use tracing::Instrument as _;

use super::route::{Route, query_pairs};
use super::session::{Ended, NotValid};
use super::{Running, ScimApi, base, error};
use crate::activity::{self, Refused};
use crate::http::answer::{Answer, BodyError, JSON, SCIM_JSON, discard, read_body};
use crate::http::auth::{self, Denied};
use crate::http::client_certificate::ClientCertificate;
use crate::http::content::Content;
use crate::http::metrics::RequestLabels;
use crate::http::server::{Handler, Peer};
use crate::http::{framing, network};
use crate::mirror::marks::Client;
use crate::mirror::token::Principal;
use crate::model::{Actor, Origin, RequestId};
use crate::scim::dialect::{Quirks, Used};
use crate::scim::etag::Precondition;
use crate::telemetry::span;

/// A request that was let in, with everything its meaning needs.
pub(super) struct Call {
    /// What the path names.
    pub route: Route,
    /// What to do.
    pub method: Method,
    /// Decoded pairs of the query.
    pub query: Vec<(String, String)>,
    /// `If-Match` and `If-None-Match`.
    pub precondition: Precondition,
    /// The body, empty where none was sent.
    pub body: Bytes,
    /// Who.
    pub principal: Arc<Principal>,
    /// Tolerances of that directory.
    pub quirks: Quirks,
    /// Absolute URL of the base path.
    pub base: String,
    /// Settings and schemas of this moment.
    pub running: Arc<Running>,
    /// Name of the request.
    pub request: RequestId,
}

impl Call {
    /// What the change log notes beside a change this request makes.
    pub(super) fn origin(&self) -> Origin {
        Origin { actor: Actor::Token(self.principal.token.clone()), request: Some(self.request.clone()) }
    }
}

/// What the log line of a request says, and the log of requests.
#[derive(Default)]
struct Noted {
    route: Option<&'static str>,
    directory: Option<Arc<Principal>>,
    /// Why it was not let in.
    refused: Option<Refused>,
    /// Of whose token that ended it came. For operators alone: the answer is that to any wrong token.
    ended: Option<Box<Ended>>,
    quirks: Vec<&'static str>,
    /// Its size, where it was read.
    body_bytes: usize,
    /// The body itself, where a person asked for it.
    body: Option<Bytes>,
    client: Client,
    address: Option<IpAddr>,
}

impl Handler for ScimApi {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Content> {
        let started = Instant::now();
        let id = self.ids.next();
        let (head, body) = request.into_parts();
        let mut noted = Noted::default();
        let span = span::request(method_name(&head.method), id.as_str());
        let mut answer = {
            let guarded = self.guarded(&head, body, peer, &id, &mut noted);
            survive(guarded, &id).instrument(span.clone()).await
        };
        if answer.media_type == SCIM_JSON && wants_plain_json(&head.headers) {
            answer.media_type = JSON;
        }
        let directory = noted.directory.as_ref().map_or("-", |who| who.directory.id.as_str());
        span::requested(&span, noted.route.unwrap_or("refused"), directory, answer.status);
        self.note(&head, &answer, noted, &id, started);
        answer.with(HeaderName::from_static("x-request-id"), id.as_str()).into_response()
    }
}

impl ScimApi {
    fn note(&self, head: &Parts, answer: &Answer, noted: Noted, id: &RequestId, started: Instant) {
        let took = started.elapsed();
        let route = noted.route.unwrap_or("refused");
        let directory = noted.directory.as_ref().map_or("-", |p| p.directory.id.as_str());
        let method = method_name(&head.method);
        self.metrics.request(&RequestLabels {
            listener: "scim",
            route,
            method,
            status: u32::from(answer.status),
        });
        self.metrics.took(took.as_secs_f64());
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(request = %id, directory, method, route, status = answer.status, ms, "scim request");
        if route != "health" {
            self.activity.note(self.entry(head, answer, noted, id, took));
        }
    }

    /// What the log of requests is told; it scrubs what it keeps.
    fn entry(
        &self,
        head: &Parts,
        answer: &Answer,
        noted: Noted,
        id: &RequestId,
        took: Duration,
    ) -> activity::Entry {
        let header = |name: HeaderName| {
            head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let target = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
        let is_small = |bytes: &Bytes| bytes.len() <= activity::ONE_BYTES_MAX;
        let directory = noted.directory.as_ref().map(|one| one.directory.id.clone());
        let raw = noted.body.filter(|body| is_small(body) && is_small(&answer.body)).map(|body| {
            let base = self.running.load();
            let below = target.strip_prefix(base.settings.base_path.as_str()).unwrap_or(&target).to_owned();
            let headers = [
                ("User-Agent", USER_AGENT),
                ("Accept", ACCEPT),
                ("Content-Type", CONTENT_TYPE),
                ("If-Match", IF_MATCH),
                ("If-None-Match", IF_NONE_MATCH),
            ];
            let headers = headers.into_iter().filter_map(|(name, key)| Some((name, header(key)?))).collect();
            activity::Raw { target: below, headers, body, answer: answer.body.clone() }
        });
        let token = noted.directory.as_ref().map(|one| one.token.clone());
        let ended = noted.ended;
        // What fails within a bulk request is in the body of a good answer.
        let may_fail = answer.status >= 400 || noted.route == Some("Bulk");
        activity::Entry {
            request: id.clone(),
            at: self.mirror.now(),
            took,
            directory: directory.or_else(|| ended.as_ref().map(|one| one.directory.clone())),
            token: token.or_else(|| ended.as_ref().map(|one| one.token.clone())),
            refused: noted.refused,
            ended: ended.map(|one| one.at),
            client: noted.address,
            method: method_name(&head.method),
            route: noted.route.unwrap_or("refused"),
            target,
            agent: header(USER_AGENT),
            status: answer.status,
            quirks: noted.quirks,
            request_bytes: noted.body_bytes as u64,
            answer_bytes: answer.body.len() as u64,
            error: (may_fail && is_small(&answer.body)).then(|| answer.body.clone()),
            raw,
        }
    }

    /// Everything up to the token; whatever is refused here has not been looked at more closely.
    async fn guarded(
        &self,
        head: &Parts,
        body: Incoming,
        peer: Peer,
        id: &RequestId,
        noted: &mut Noted,
    ) -> Answer {
        if let Err(refused) = framing::check(head, &self.limits) {
            let mut answer = error::plain(refused.status, refused.detail);
            answer.close = true;
            return answer;
        }
        let path = head.uri.path();
        if let Some(answer) = self.health.answer(path, false) {
            noted.route = Some("health");
            let reads = head.method == Method::GET || head.method == Method::HEAD;
            return if reads { answer } else { error::method_not_allowed("GET, HEAD") };
        }
        let running = self.running.load_full();
        let near = peer.address.map(|address| address.ip());
        // Whoever connects to a unix socket was let in by its mode: a proxy on this machine.
        let trusted = near.is_none_or(|ip| running.settings.trusted_proxies.iter().any(|n| n.contains(ip)));
        let client = if trusted {
            network::forwarded(&head.headers, &running.settings.trusted_proxies).client.or(near)
        } else {
            near
        };
        noted.address = client;
        if !is_allowed(client, &running) {
            discard(body, &self.limits).await;
            return error::plain(403, "this address may not use this server");
        }
        let Some(_permit) = self.turn().await else {
            return error::later(429, Duration::from_secs(1), "too many requests at once; try again");
        };
        let principal = match self.authenticate(head, client, &running, id, noted) {
            Ok(principal) => principal,
            Err(answer) => {
                discard(body, &self.limits).await;
                return answer;
            }
        };
        noted.directory = Some(Arc::clone(&principal));
        let agent = head.headers.get(hyper::header::USER_AGENT).and_then(|value| value.to_str().ok());
        noted.client = Client::new(client, agent);
        let mut answer = self.admitted(head, body, peer, trusted, principal, running, id, noted).await;
        answer.close |= framing::must_close(head, trusted);
        answer
    }

    /// A place among the requests in flight; `None` if none came free in time.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.in_flight.try_acquire() {
            return Some(permit);
        }
        tokio::time::timeout(IN_FLIGHT_WAIT, self.in_flight.acquire()).await.ok()?.ok()
    }

    fn authenticate(
        &self,
        head: &Parts,
        client: Option<IpAddr>,
        running: &Running,
        id: &RequestId,
        noted: &mut Noted,
    ) -> Result<Arc<Principal>, Answer> {
        let denied = match auth::bearer(&head.headers) {
            Ok(presented) => {
                let newest = *self.newest.borrow();
                match self.sessions.principal(&self.mirror, newest, presented) {
                    Ok(Ok(principal)) => match tied(head, &principal, running) {
                        Ok(()) => return Ok(principal),
                        Err(denied) => {
                            noted.directory = Some(principal);
                            denied
                        }
                    },
                    Ok(Err(NotValid::Ended(ended))) => {
                        noted.ended = Some(ended);
                        Denied::Unknown
                    }
                    Ok(Err(NotValid::Unknown)) => Denied::Unknown,
                    Err(error) => return Err(error::from_store(&error, id)),
                }
            }
            Err(denied) => denied,
        };
        self.metrics.auth_failed(denied.reason());
        noted.refused = Some(match (denied, &noted.ended) {
            (Denied::Missing, _) => Refused::Missing,
            (Denied::Malformed, _) => Refused::Malformed,
            (Denied::Certificate, _) => Refused::ClientCertificate,
            (Denied::Unknown, None) => Refused::Unknown,
            (Denied::Unknown, Some(ended)) if ended.revoked => Refused::Revoked,
            (Denied::Unknown, Some(_)) => Refused::Expired,
        });
        Err(match self.failures.failed(client, Instant::now()) {
            Ok(()) => error::unauthorized(denied.detail()),
            Err(wait) => error::later(429, wait, "too many failed authentications from this address"),
        })
    }

    /// From the token to the body.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request, passed on once")]
    async fn admitted(
        &self,
        head: &Parts,
        body: Incoming,
        peer: Peer,
        trusted: bool,
        principal: Arc<Principal>,
        running: Arc<Running>,
        id: &RequestId,
        noted: &mut Noted,
    ) -> Answer {
        let route = Route::parse(&running.settings.base_path, head.uri.path());
        noted.route = Some(route.name());
        let limit = if route.takes_large_body() {
            self.limits.large_body_bytes_max
        } else {
            self.limits.body_bytes_max
        };
        let early = if principal.enabled {
            refuse_early(&route, head)
        } else {
            noted.refused = Some(Refused::Disabled);
            Some(error::later(503, Duration::from_mins(5), "this directory is disabled by its operator"))
        };
        if let Some(answer) = early {
            discard(body, &self.limits).await;
            return answer;
        }
        let body = match read_body(body, limit, &self.limits).await {
            Ok(body) => body,
            Err(failed) => return body_failed(failed, limit),
        };
        noted.body_bytes = body.len();
        if self.activity.wants_bodies(&principal.directory.id) {
            if body.len() > activity::ONE_BYTES_MAX {
                self.activity.body_too_large(&principal.directory.id);
            }
            noted.body = Some(body.clone());
        }
        let Some(query) = query_pairs(head.uri.query()) else {
            return error::plain(400, "the query is not UTF-8");
        };
        let quirks = running
            .quirks
            .get(&principal.directory.id)
            .copied()
            .unwrap_or_else(|| Quirks::for_kind(principal.kind));
        let call = Call {
            route,
            method: head.method.clone(),
            query,
            precondition: precondition(&head.headers),
            body,
            quirks,
            base: base::url(&running.settings, head, peer, trusted),
            principal,
            running,
            request: id.clone(),
        };
        let asks =
            matches!(call.method, Method::GET | Method::HEAD) || matches!(call.route, Route::Search(_));
        self.mirror.note_use(&call.principal, !asks, noted.client.clone());
        let mut used = Used::default();
        let answer = self.dispatch(&call, &mut used).await;
        for quirk in used.iter() {
            self.metrics.quirk(call.principal.directory.id.as_str(), quirk.name());
            noted.quirks.push(quirk.name());
        }
        answer
    }

    async fn dispatch(&self, call: &Call, used: &mut Used) -> Answer {
        let result = match &call.route {
            Route::Root | Route::Search(None) => self.query_everything(call, used).await,
            Route::Collection(kind) if call.method == Method::POST => self.create(call, *kind, used).await,
            Route::Collection(kind) | Route::Search(Some(kind)) => self.query(call, *kind, used).await,
            Route::Resource(kind, id) => match call.method {
                Method::PUT => self.replace(call, *kind, id, used).await,
                Method::PATCH => self.patch(call, *kind, id, used).await,
                Method::DELETE => self.delete(call, *kind, id).await,
                _ => self.read(call, *kind, id).await,
            },
            Route::Bulk => self.bulk(call, used).await,
            Route::Me => Ok(error::plain(501, "a directory's token is no user; there is no /Me")),
            Route::ServiceProviderConfig
            | Route::ResourceTypes
            | Route::ResourceTypeOne(_)
            | Route::Schemas
            | Route::SchemaOne(_) => self.discover(call),
            Route::Unknown => Ok(error::plain(404, "there is no such endpoint")),
        };
        result.unwrap_or_else(|failed| error::from_mirror(&failed, &call.request))
    }
}

fn precondition(headers: &HeaderMap) -> Precondition {
    let joined = |name| {
        let values: Vec<&str> =
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    Precondition::new(joined(IF_MATCH).as_deref(), joined(IF_NONE_MATCH).as_deref())
}

/// A directory that is tied to a certificate takes its tokens only from who showed it (RFC 8705 §3, in spirit: a
/// token that got into other hands is worth nothing there).
fn tied(head: &Parts, principal: &Principal, running: &Running) -> Result<(), Denied> {
    let id = &principal.directory.id;
    let Some(wanted) = running.settings.client_subjects.get(id) else { return Ok(()) };
    let shown = head.extensions.get::<Arc<ClientCertificate>>();
    if shown.is_some_and(|shown| wanted.iter().any(|subject| shown.is(subject))) {
        return Ok(());
    }
    let shown = shown.map_or_else(|| "none".to_owned(), ToString::to_string);
    let wanted = wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    tracing::warn!(
        directory = %id, token = %principal.token, %wanted, %shown,
        "a valid token came without the certificate its directory is tied to, and is refused"
    );
    Err(Denied::Certificate)
}

/// How long a request over the in-flight bound waits for its turn before it gets 429.
const IN_FLIGHT_WAIT: Duration = Duration::from_secs(1);

fn is_allowed(client: Option<IpAddr>, running: &Running) -> bool {
    let allowed = &running.settings.allow_from;
    allowed.is_empty() || client.is_some_and(|client| allowed.iter().any(|network| network.contains(client)))
}

/// What can be said before the body is read.
fn refuse_early(route: &Route, head: &Parts) -> Option<Answer> {
    if *route == Route::Unknown {
        return Some(error::plain(404, "there is no such endpoint"));
    }
    let method = &head.method;
    if method == Method::OPTIONS {
        return Some(Answer::empty(204).with(hyper::header::ALLOW, route.allow()));
    }
    if !route.allow().split(", ").any(|allowed| allowed == method.as_str()) {
        return Some(error::method_not_allowed(route.allow()));
    }
    let has_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH) && *route != Route::Me;
    if has_body && !is_json(&head.headers) {
        return Some(error::plain(
            415,
            "the body must be application/scim+json or application/json in UTF-8, not compressed",
        ));
    }
    None
}

/// True for either media type, with any parameters but a foreign charset, and for none at all.
fn is_json(headers: &HeaderMap) -> bool {
    if headers.get(CONTENT_ENCODING).is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return false;
    }
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let known = essence.eq_ignore_ascii_case("application/scim+json")
        || essence.eq_ignore_ascii_case("application/json")
        || essence.is_empty();
    known
        && parts.all(|part| match part.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                let value = value.trim().trim_matches('"');
                value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
            }
            _ => true,
        })
}

/// True if the client asks for `application/json` and not for `application/scim+json` (OneLogin wants back what it
/// asked for).
fn wants_plain_json(headers: &HeaderMap) -> bool {
    let mut plain = false;
    for value in headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()) {
        for range in value.split(',') {
            let essence = range.split(';').next().unwrap_or_default().trim();
            if essence.eq_ignore_ascii_case("application/scim+json") {
                return false;
            }
            plain |= essence.eq_ignore_ascii_case("application/json");
        }
    }
    plain
}

fn body_failed(failed: BodyError, limit: usize) -> Answer {
    let mut answer = match failed {
        BodyError::TooLarge => error::plain(413, &format!("the body is larger than {limit} bytes")),
        BodyError::TooSlow => error::plain(408, "the body took too long to arrive"),
        BodyError::Broken => error::plain(400, "the body ended early or is malformed"),
    };
    answer.close = true;
    answer
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// One request's bug must not take the others' connection down: a panic is a 500 of its own.
async fn survive(work: impl Future<Output = Answer>, id: &RequestId) -> Answer {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))).unwrap_or_else(|_| {
            tracing::error!(request = %id, "a request ended in a panic; please report it");
            Poll::Ready(error::failed(id))
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn both_media_types_are_read_in_utf8_only() {
        for good in [
            "application/scim+json",
            "application/json",
            "Application/SCIM+JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"; x=y",
        ] {
            assert!(is_json(&with(CONTENT_TYPE, good)), "{good}");
        }
        assert!(is_json(&HeaderMap::new()));
        for bad in ["text/plain", "application/xml", "application/json; charset=latin-1"] {
            assert!(!is_json(&with(CONTENT_TYPE, bad)), "{bad}");
        }
        assert!(!is_json(&with(CONTENT_ENCODING, "gzip")));
    }

    #[test]
    fn plain_json_goes_to_those_who_ask_for_it_alone() {
        assert!(wants_plain_json(&with(ACCEPT, "application/json")));
        assert!(!wants_plain_json(&with(ACCEPT, "application/json, application/scim+json")));
        assert!(!wants_plain_json(&with(ACCEPT, "*/*")));
        assert!(!wants_plain_json(&HeaderMap::new()));
    }
}
