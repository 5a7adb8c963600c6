//! From any failure to the one answer the client gets: always a SCIM error object (RFC 7644 §3.12), never a cause
//! from below. Causes are logged once, here, under the request id that the client sees.

use std::time::Duration;

use hyper::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};

use crate::http::answer::{Answer, SCIM_JSON};
use crate::mirror::{self, StoreError};
use crate::model::RequestId;
use crate::scim::error::Error;

/// A SCIM error as an answer.
pub(super) fn answer(error: &Error) -> Answer {
    Answer::new(error.status, SCIM_JSON, error.to_json())
}

/// A SCIM error without keyword.
pub(super) fn plain(status: u16, detail: &str) -> Answer {
    answer(&Error::plain(status, detail))
}

/// 401 with the challenge of RFC 6750 §3.
pub(super) fn unauthorized(detail: &str) -> Answer {
    plain(401, detail).with(WWW_AUTHENTICATE, "Bearer realm=\"rosterd\"")
}

/// 405 with `Allow` (RFC 9110 §15.5.6).
pub(super) fn method_not_allowed(allow: &'static str) -> Answer {
    plain(405, &format!("this endpoint serves {allow}")).with(ALLOW, allow)
}

/// An error that passes by itself.
pub(super) fn later(status: u16, after: Duration, detail: &str) -> Answer {
    plain(status, detail).with(RETRY_AFTER, &after.as_secs().max(1).to_string())
}

/// No resource of that id here: the same words for one that never was, one that is gone and one of another
/// directory.
pub(super) fn no_such_resource() -> Error {
    Error::not_found("there is no such resource in this directory")
}

/// What the mirror says, as an answer.
pub(super) fn from_mirror(error: &mirror::Error, request: &RequestId) -> Answer {
    match error {
        mirror::Error::Scim(error) => answer(error),
        mirror::Error::Store(error) => from_store(error, request),
        // Operators' commands raise these; no SCIM request runs one.
        mirror::Error::Refused(refusal) => {
            tracing::error!(%request, %refusal, "a SCIM request met a refusal meant for operators");
            failed(request)
        }
    }
}

/// The one place where a store's failure becomes an answer.
pub(super) fn from_store(error: &StoreError, request: &RequestId) -> Answer {
    if error.kind() == mirror::ErrorKind::Transient {
        tracing::warn!(%request, %error, hint = error.hint(), "the mirror cannot take this now; the client is asked to come again");
        let detail = format!("the server cannot do this now; try again (request {request})");
        return later(503, Duration::from_secs(5), &detail);
    }
    tracing::error!(%request, %error, "the mirror failed");
    failed(request)
}

/// 500, without the cause.
pub(super) fn failed(request: &RequestId) -> Answer {
    plain(500, &format!("the server failed; its log says why under request {request}"))
}
