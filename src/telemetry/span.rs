//! The spans that traces are made of: what a request, a commit, a run and a delivery took.
//!
//! Each is below every log level, so that no log line changes for them; only the feature `otlp` asks for them.
//! INVARIANT: a span carries ids, names the operator gave and counts, never what a client sent.

use tracing::Span;
use tracing::field::Empty;

/// What the exporter picks them by.
pub const TARGET: &str = "rosterd::span";

/// One request of an identity provider; see [`requested`].
pub fn request(method: &'static str, id: &str) -> Span {
    tracing::trace_span!(
        target: TARGET, "scim request", otel.kind = "server", http.request.method = method, http.route = Empty,
        http.response.status_code = Empty, rosterd.directory = Empty, rosterd.request = id
    )
}

/// Says how a request ended.
pub fn requested(span: &Span, route: &'static str, directory: &str, status: u16) {
    span.record("http.route", route);
    span.record("rosterd.directory", directory);
    span.record("http.response.status_code", status);
}

/// One commit of the writer, with all commands in it; see [`committed`].
pub fn commit() -> Span {
    tracing::trace_span!(target: TARGET, "mirror commit", rosterd.commands = Empty, rosterd.failed = Empty)
}

/// Says what a commit held.
pub fn committed(span: &Span, commands: usize, failed: usize) {
    span.record("rosterd.commands", commands);
    span.record("rosterd.failed", failed);
}

/// One run of a target; see [`ran`].
pub fn run(target_name: &str) -> Span {
    tracing::trace_span!(target: TARGET, "target run", rosterd.target = target_name, rosterd.state = Empty)
}

/// Says what state a run left.
pub fn ran(span: &Span, state: &'static str) {
    span.record("rosterd.state", state);
}

/// One attempt to deliver.
pub fn delivery(id: &str) -> Span {
    tracing::trace_span!(
        target: TARGET, "delivery", otel.kind = "client", rosterd.webhook_id = id, http.response.status_code = Empty
    )
}

/// Says what the receiver answered, if it did.
pub fn delivered(span: &Span, status: Option<u16>) {
    if let Some(status) = status {
        span.record("http.response.status_code", status);
    }
}
