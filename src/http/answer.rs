//! An answer before it becomes bytes on the wire, and the request-side reading that both APIs share.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::content::Content;
use super::limits::Settings as Limits;

/// Media type of a SCIM answer (RFC 7644 §8.1).
pub(crate) const SCIM_JSON: HeaderValue = HeaderValue::from_static("application/scim+json");
/// Media type for clients that ask for plain JSON, and of the admin API.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Media type of `/healthz` and `/readyz`.
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Status, headers and body.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers beyond the ones every answer has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Media type, if there is a body.
    pub media_type: HeaderValue,
    /// The body; empty for 204 and 304.
    pub body: Bytes,
    /// Whether the connection ends with this answer.
    pub close: bool,
}

impl Answer {
    /// An answer with a body.
    pub(crate) fn new(status: u16, media_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), media_type, body: body.into(), close: false }
    }

    /// An answer without one.
    pub(crate) fn empty(status: u16) -> Self {
        Self::new(status, SCIM_JSON, Bytes::new())
    }

    /// Adds a header. A value that no header can hold is left out; callers pass texts of our own making.
    #[must_use]
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// The answer as hyper sends it. For HEAD hyper keeps `Content-Length` and drops the bytes.
    pub(crate) fn into_response(self) -> Response<Content> {
        let has_body = !self.body.is_empty();
        let mut response = Response::new(Content::from(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if has_body {
            headers.insert(CONTENT_TYPE, self.media_type);
            headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Over the limit: 413.
    TooLarge,
    /// Too slow: 408.
    TooSlow,
    /// The client broke off or sent a malformed chunk: 400.
    Broken,
}

/// Reads a body within `limit` bytes and the limits' times.
pub(crate) async fn read_body(mut body: Incoming, limit: usize, limits: &Limits) -> Result<Bytes, BodyError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > limit as u64 {
        discard(body, limits).await;
        return Err(BodyError::TooLarge);
    }
    let last = Instant::now() + limits.body_timeout;
    let mut first: Option<Bytes> = None;
    let mut joined: Vec<u8> = Vec::new();
    let mut length = 0_usize;
    loop {
        let until = last.min(Instant::now() + limits.body_idle_timeout);
        let frame = match timeout_at(until, body.frame()).await {
            Err(_) => return Err(BodyError::TooSlow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(BodyError::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > limit {
            discard(body, limits).await;
            return Err(BodyError::TooLarge);
        }
        // Most bodies come in one piece, and that piece is used as it is.
        match first.take() {
            None if joined.is_empty() => first = Some(data),
            None => joined.extend_from_slice(&data),
            Some(piece) => {
                joined.reserve(length);
                joined.extend_from_slice(&piece);
                joined.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| joined.into()))
}

/// Most bytes and longest time spent on a body nobody will look at. Without it the client, still writing, would
/// see a reset connection instead of the answer.
const DISCARD_BYTES_MAX: usize = 64 << 20;

/// Reads a body to its end, or as far as is worth it, and forgets it.
pub(crate) async fn discard(mut body: Incoming, limits: &Limits) {
    if body.is_end_stream() {
        return;
    }
    let until = Instant::now() + limits.body_idle_timeout.min(std::time::Duration::from_secs(5));
    let mut length = 0_usize;
    while length < DISCARD_BYTES_MAX {
        match timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => length = length.saturating_add(frame.data_ref().map_or(0, Bytes::len)),
            _ => break,
        }
    }
}
