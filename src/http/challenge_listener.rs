//! Answers HTTP-01 (RFC 8555 §8.3) and nothing else, on a listener of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::acme::challenge::Challenges;
use super::content::Content;
use super::server::{Handler, Peer};

/// Path below which it is answered.
const PATH: &str = "/.well-known/acme-challenge/";

/// The handler: it knows nothing but the tokens of the orders under way.
#[derive(Debug)]
pub struct Http01(pub Arc<Challenges>);

impl Handler for Http01 {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Content> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let found = request.uri().path().strip_prefix(PATH).and_then(|token| self.0.http(token));
        let (status, text) = match found.filter(|_| is_read) {
            Some(authorization) => {
                let client = peer.address.as_ref().map(SocketAddr::ip);
                tracing::debug!(?client, "an ACME challenge was answered over HTTP");
                (StatusCode::OK, Bytes::from(authorization))
            }
            None => (StatusCode::NOT_FOUND, Bytes::from_static(b"not found\n")),
        };
        let mut response = Response::new(Content::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        response
    }
}
