//! The admin API on its socket. Who may connect is the socket's mode to say; who is there is `SO_PEERCRED`'s.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderName};
use hyper::{Method, Request, Response};

use super::{AdminError, AdminState, Caller, Reply, body_bytes_max, handle, methods_at};
use crate::http::answer::{Answer, BodyError, JSON, discard, read_body};
use crate::http::content::Content;
use crate::http::limits::Settings as Limits;
use crate::http::metrics::{OPENMETRICS, RequestLabels};
use crate::http::request_id::RequestIds;
use crate::http::server::{Handler, Peer};

/// Serves `/api/v1/…`, `/metrics`, `/healthz` and `/readyz` with reasons.
#[derive(Debug)]
pub struct AdminSocket {
    state: Arc<AdminState>,
    limits: Arc<Limits>,
    ids: RequestIds,
}

impl AdminSocket {
    /// A handler over `state`.
    pub fn new(state: Arc<AdminState>, limits: Arc<Limits>) -> Self {
        Self { state, limits, ids: RequestIds::new() }
    }

    async fn answered(&self, request: Request<Incoming>, peer: Peer) -> Answer {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if head.method == Method::GET || head.method == Method::HEAD {
            if let Some(answer) = self.state.health.answer(path, true) {
                return answer;
            }
            if path == "/metrics" {
                return Answer::new(200, OPENMETRICS, self.state.exposition().await);
            }
        }
        // Without a uid nobody can be held to account; only a unix socket has one.
        let Some(uid) = peer.uid else {
            discard(body, &self.limits).await;
            let error = AdminError::new(403, "this is the admin API of a unix socket only", "");
            return json_answer(&Reply::from(error), path);
        };
        let body = match self::body(body, &head.method, path, &self.limits).await {
            Ok(body) => body,
            Err(error) => return json_answer(&Reply::from(error), path),
        };
        let query = head.uri.query();
        let reply = handle(&self.state, Caller::Peer(uid), &head.method, path, query, &body).await;
        json_answer(&reply, path)
    }
}

/// A reply as it goes over the wire. `path` is where it was asked.
pub(crate) fn json_answer(reply: &Reply, path: &str) -> Answer {
    let body = if reply.body.is_null() { Vec::new() } else { reply.body.to_string().into_bytes() };
    let answer = Answer::new(reply.status, JSON, body);
    if reply.status == 405 { answer.with(ALLOW, &methods_at(path).join(", ")) } else { answer }
}

/// Reads a body of at most what `path` takes. One that nobody looks at is not kept.
pub(crate) async fn body(
    body: Incoming,
    method: &Method,
    path: &str,
    limits: &Limits,
) -> Result<Bytes, AdminError> {
    let Some(most) = body_bytes_max(method, path) else {
        discard(body, limits).await;
        return Ok(Bytes::new());
    };
    read_body(body, most, limits).await.map_err(|failed| {
        let (status, message) = match failed {
            BodyError::TooLarge => (413, "the body is too large"),
            BodyError::TooSlow => (408, "the body took too long"),
            BodyError::Broken => (400, "the body ended early"),
        };
        AdminError::new(status, message, "")
    })
}

impl Handler for AdminSocket {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Content> {
        let started = Instant::now();
        let id = self.ids.next();
        let method = match *request.method() {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            _ => "OTHER",
        };
        let reads = method == "GET";
        let answer = self.answered(request, peer).await;
        let status = answer.status;
        self.state.metrics.request(&RequestLabels {
            listener: "admin",
            route: "api",
            method,
            status: u32::from(status),
        });
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let uid = peer.uid;
        if reads {
            tracing::debug!(request = %id, uid, method, status, ms, "admin request");
        } else {
            tracing::info!(request = %id, uid, method, status, ms, "admin request");
        }
        answer.with(HeaderName::from_static("x-request-id"), id.as_str()).into_response()
    }
}
