//! The way of one request over TCP; see the module's page for the order.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use arc_swap::ArcSwap;
use base64::Engine as _;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderName, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};

use super::{Session, Settings, Site, Visit};
use crate::http::admin_api::{self, AdminError, AdminRole, AdminState, Caller, Refused, Reply, Users};
use crate::http::answer::{Answer, BodyError, discard, read_body};
use crate::http::content::Content;
use crate::http::limits::Settings as Limits;
use crate::http::metrics::{OPENMETRICS, RequestLabels};
use crate::http::request_id::RequestIds;
use crate::http::server::{Handler, Peer};
use crate::http::{framing, network};

/// Largest body of a page's form.
const FORM_BYTES_MAX: usize = 1 << 20;
/// The same of who is not signed in, or may only look: they have nothing to send but the forms that sign in and out.
/// Many at once must not fill the memory.
const LITTLE_BYTES_MAX: usize = 16 << 10;

/// The admin listener on TCP.
pub struct AdminTcp {
    state: Arc<AdminState>,
    users: Arc<Users>,
    running: ArcSwap<Settings>,
    site: Option<Arc<dyn Site>>,
    limits: Arc<Limits>,
    ids: RequestIds,
}

impl std::fmt::Debug for AdminTcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminTcp").finish_non_exhaustive()
    }
}

/// Where a request comes from.
struct From {
    address: Option<IpAddr>,
    trusted: bool,
    secure: bool,
    /// Sent by a process of this machine, not by a proxy for somebody else.
    local: bool,
}

/// Who asks.
struct Asked {
    caller: Caller,
    /// Which password it was; `None` for a session.
    stamp: Option<[u8; 32]>,
}

/// What the log line of a request says.
#[derive(Default)]
struct Noted {
    route: Option<&'static str>,
    user: Option<String>,
    /// The client's address, which behind a proxy is not the peer's.
    address: Option<IpAddr>,
}

impl AdminTcp {
    /// A handler over `state` for `users`. Without a `site` there is the API alone.
    pub(crate) fn new(
        state: Arc<AdminState>,
        users: Arc<Users>,
        settings: Settings,
        site: Option<Arc<dyn Site>>,
        limits: Arc<Limits>,
    ) -> Self {
        Self { state, users, running: ArcSwap::from_pointee(settings), site, limits, ids: RequestIds::new() }
    }

    /// Takes new settings over.
    pub fn reload(&self, settings: Settings) {
        self.running.store(Arc::new(settings));
    }

    fn from(
        head: &Parts,
        peer: Peer,
        running: &Settings,
    ) -> Result<(From, Option<String>), network::Disagree> {
        let near = peer.address.map(|address| address.ip());
        // Whoever connects to a unix socket was let in by its mode: a proxy on this machine.
        let trusted = near.is_none_or(|ip| running.trusted_proxies.iter().any(|one| one.contains(ip)));
        let told = if trusted {
            network::forwarded(&head.headers, &running.trusted_proxies)?
        } else {
            network::Forwarded::default()
        };
        let through_proxy = ["forwarded", "x-forwarded-for", "x-forwarded-host"]
            .iter()
            .any(|name| head.headers.contains_key(*name));
        let address = told.client.or(near).map(network::canonical);
        let from = From {
            address,
            trusted,
            secure: peer.tls || told.proto.as_deref() == Some("https"),
            local: !through_proxy && address.is_some_and(|ip| ip.is_loopback()),
        };
        Ok((from, told.host))
    }

    async fn guarded(&self, head: &Parts, body: Incoming, peer: Peer, noted: &mut Noted) -> Answer {
        let path = head.uri.path();
        if let Err(refused) = framing::check(head, &self.limits) {
            let mut answer = fault(path, refused.status, refused.detail, "");
            answer.close = true;
            return answer;
        }
        let running = self.running.load_full();
        let (from, asked) = match Self::from(head, peer, &running) {
            Ok(found) => found,
            Err(cause) => {
                tracing::warn!(proxy = ?peer.address, %cause, "a request is refused");
                discard(body, &self.limits).await;
                return fault(path, 400, &cause.to_string(), "docs/connecting.md has a proxy that does");
            }
        };
        noted.address = from.address;
        let refused = if !running.hosts.allows(head, asked.as_deref()) {
            Some((421, "this server does not go by that name", "name it in `[admin] public_url`"))
        } else if !running.allow_from.is_empty()
            && !from.address.is_some_and(|ip| running.allow_from.iter().any(|one| one.contains(ip)))
        {
            Some((403, "this address may not use this server", ""))
        } else {
            None
        };
        if let Some((status, message, hint)) = refused {
            discard(body, &self.limits).await;
            return fault(path, status, message, hint);
        }
        let mut answer = self.admitted(head, body, &from, noted).await;
        answer.close |= framing::must_close(head, from.trusted);
        answer
    }

    async fn admitted(&self, head: &Parts, body: Incoming, from: &From, noted: &mut Noted) -> Answer {
        let path = head.uri.path();
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        if path == "/api/v1" || path.starts_with("/api/v1/") {
            noted.route = Some("api");
            return self.api(head, body, from, noted).await;
        }
        if reads && (path == "/healthz" || path == "/readyz" || path == "/metrics") {
            discard(body, &self.limits).await;
            noted.route = Some("probe");
            return self.probe(head, from, noted).await;
        }
        let Some(site) = &self.site else {
            discard(body, &self.limits).await;
            return fault(path, 404, "there is nothing here", "the API stands below /api/v1/");
        };
        noted.route = Some("console");
        let limit = match site.session(head, from.address) {
            _ if reads => None,
            Session::Unproven(role) if role > AdminRole::View => Some(FORM_BYTES_MAX),
            Session::Of(caller) if caller.role() > AdminRole::View => Some(FORM_BYTES_MAX),
            Session::None | Session::Unproven(_) | Session::Of(_) => Some(LITTLE_BYTES_MAX),
        };
        let read = if let Some(limit) = limit {
            read_body(body, limit, &self.limits).await
        } else {
            discard(body, &self.limits).await;
            Ok(Bytes::new())
        };
        match read {
            Ok(body) => {
                let visit = Visit { head, body, address: from.address, secure: from.secure };
                site.answer(visit).await
            }
            Err(BodyError::TooLarge) => fault(path, 413, "the body is too large", ""),
            Err(BodyError::TooSlow | BodyError::Broken) => {
                fault(path, 400, "the body is too slow or broken", "")
            }
        }
    }

    async fn probe(&self, head: &Parts, from: &From, noted: &mut Noted) -> Answer {
        let path = head.uri.path();
        // A probe that sends no credentials is the rule; a wrong one is told so.
        let caller = match self.caller(head, from, noted).await {
            Ok(caller) => Some(caller),
            Err(answer) if head.headers.contains_key(AUTHORIZATION) => return answer,
            Err(_) => None,
        };
        if path != "/metrics" {
            let found = self.state.health.answer(path, caller.is_some());
            return found.unwrap_or_else(|| fault(path, 404, "there is nothing here", ""));
        }
        if caller.is_none() && !from.local {
            return unauthorized(path, "sign in to read the metrics from another machine");
        }
        Answer::new(200, OPENMETRICS, self.state.exposition().await)
    }

    async fn api(&self, head: &Parts, body: Incoming, from: &From, noted: &mut Noted) -> Answer {
        let path = head.uri.path();
        let asked = match self.caller(head, from, noted).await {
            Ok(asked) => asked,
            Err(answer) => {
                discard(body, &self.limits).await;
                return answer;
            }
        };
        if let Err(reply) = admin_api::may(&self.state, &asked.caller, &head.method, path) {
            discard(body, &self.limits).await;
            return admin_api::json_answer(&reply, path);
        }
        let body = match admin_api::body(body, &head.method, path, &self.limits).await {
            Ok(body) => body,
            Err(error) => return admin_api::json_answer(&error.into(), path),
        };
        let caller = asked.caller.clone();
        let reply = admin_api::handle(&self.state, caller, &head.method, path, head.uri.query(), &body).await;
        // Reading may wait long for news; who lost the right meanwhile is not told any more. What was done is done,
        // and its answer is the only place where it is said.
        if head.method == Method::GET && !self.is_still(&asked, head) {
            return unauthorized(path, "the user, the password or the session is no longer valid");
        }
        admin_api::json_answer(&reply, path)
    }

    /// Whether who asked may still ask as much, by the same password or session.
    fn is_still(&self, asked: &Asked, head: &Parts) -> bool {
        let Caller::User { name, role, .. } = &asked.caller else { return true };
        let found = self.users.find(name).filter(|found| found.role >= *role);
        found.is_some_and(|found| match asked.stamp {
            Some(stamp) => found.stamp == stamp,
            None => self.site.as_ref().is_some_and(
                |site| matches!(site.session(head, None), Session::Of(caller) if caller.role() >= *role),
            ),
        })
    }

    /// Who asks: by password, else by the console's session.
    async fn caller(&self, head: &Parts, from: &From, noted: &mut Noted) -> Result<Asked, Answer> {
        let path = head.uri.path();
        let mut stamp = None;
        let caller = if head.headers.contains_key(AUTHORIZATION) {
            let Some((name, password)) = basic(head) else {
                self.state.metrics.auth_failed("malformed");
                return Err(unauthorized(
                    path,
                    "the Authorization header must be `Basic` with a user's name and password",
                ));
            };
            let signed = self.users.sign_in(&name, &password, from.address).await;
            let signed = signed.map_err(|refused| self.turned_away(path, refused))?;
            stamp = Some(signed.stamp);
            Caller::User { name: signed.name, role: signed.role, address: from.address }
        } else {
            let session = self.site.as_ref().map_or(Session::None, |site| site.session(head, from.address));
            match session {
                Session::Of(caller) => caller,
                Session::Unproven(_) => {
                    return Err(fault(
                        path,
                        403,
                        "the session's token is missing",
                        "send it as `X-CSRF-Token`",
                    ));
                }
                Session::None => {
                    return Err(unauthorized(
                        path,
                        "authentication is required: a name and password of `[[admin.user]]`",
                    ));
                }
            }
        };
        if let Caller::User { name, .. } = &caller {
            noted.user = Some(name.to_string());
        }
        Ok(Asked { caller, stamp })
    }

    fn turned_away(&self, path: &str, refused: Refused) -> Answer {
        match refused {
            Refused::Wrong => {
                self.state.metrics.auth_failed("password");
                unauthorized(path, "the name or the password is wrong")
            }
            Refused::Wait(wait) => {
                self.state.metrics.auth_failed("rate");
                fault(path, 429, "too many failed sign-ins", "wait before the next")
                    .with(RETRY_AFTER, &seconds(wait))
            }
            Refused::Busy(wait) => fault(path, 503, "too many people sign in at this moment", "try again")
                .with(RETRY_AFTER, &seconds(wait)),
        }
    }

    fn note(&self, head: &Parts, peer: Peer, answer: &Answer, noted: &Noted, id: &str, started: Instant) {
        let route = noted.route.unwrap_or("refused");
        let method = match head.method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            _ => "OTHER",
        };
        let status = answer.status;
        self.state.metrics.request(&RequestLabels {
            listener: "admin",
            route,
            method,
            status: u32::from(status),
        });
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let user = noted.user.as_deref().unwrap_or("-");
        let address = noted.address.or_else(|| peer.address.map(|address| address.ip()));
        let address = address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        if (method == "GET" || method == "HEAD") && status < 400 {
            tracing::debug!(request = %id, user, address, method, route, status, ms, "admin request");
        } else {
            tracing::info!(request = %id, user, address, method, route, status, ms, "admin request");
        }
    }
}

fn seconds(wait: std::time::Duration) -> String {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1).to_string()
}

fn fault(path: &str, status: u16, message: &str, hint: &str) -> Answer {
    admin_api::json_answer(&Reply::from(AdminError::new(status, message, hint)), path)
}

/// Without a challenge: a browser that was asked would keep the password and send it along from any page.
fn unauthorized(path: &str, message: &str) -> Answer {
    fault(
        path,
        401,
        message,
        "send `Authorization: Basic …`; users are `[[admin.user]]` of the configuration",
    )
}

/// Name and password of the `Authorization` header (RFC 7617).
fn basic(head: &Parts) -> Option<(String, String)> {
    let value = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

impl Handler for AdminTcp {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Content> {
        let started = Instant::now();
        let id = self.ids.next();
        let (head, body) = request.into_parts();
        let mut noted = Noted::default();
        let answer = survive(self.guarded(&head, body, peer, &mut noted), head.uri.path(), id.as_str()).await;
        self.note(&head, peer, &answer, &noted, id.as_str(), started);
        answer
            .with(HeaderName::from_static("x-request-id"), id.as_str())
            // No page of another origin may load an answer, not even to look away from it.
            .with(HeaderName::from_static("cross-origin-resource-policy"), "same-origin")
            .into_response()
    }
}

/// One request's bug must not take the others' connection down: a panic is a 500 of its own.
async fn survive(work: impl Future<Output = Answer>, path: &str, id: &str) -> Answer {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))).unwrap_or_else(|_| {
            tracing::error!(request = %id, "a request ended in a panic; please report it");
            Poll::Ready(fault(path, 500, "the server failed", "its log says why"))
        })
    })
    .await
}
