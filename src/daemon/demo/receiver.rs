//! The demo's webhook receiver: an application that checks what it is told.
//!
//! It verifies Standard Webhooks signatures by itself, with none of the code that made them, so that "verified"
//! means what it would mean in somebody's own application.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How far a message's timestamp may be from the receiver's clock, as Standard Webhooks advises.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// Longest body taken, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A webhook that arrived.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    /// The `webhook-id`.
    pub(super) id: String,
    /// The event's type, such as `access.revoked`.
    pub(super) kind: String,
    /// The whole body.
    pub(super) body: Value,
    /// The signature is right and the time is now.
    pub(super) verified: bool,
}

/// The running receiver.
#[derive(Debug)]
pub(super) struct Receiver {
    address: SocketAddr,
    arrived: watch::Receiver<Vec<Arrival>>,
}

impl Receiver {
    /// Listens on loopback and acknowledges what is signed with `secret` (`whsec_…`).
    pub(super) async fn start(secret: &str) -> std::io::Result<Self> {
        let key = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        let key = Arc::new(key.ok_or_else(|| std::io::Error::other("not a webhook secret"))?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, arrived) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (key, sender) = (Arc::clone(&key), Arc::clone(&sender));
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (key, sender) = (Arc::clone(&key), Arc::clone(&sender));
                        async move { Ok::<_, std::convert::Infallible>(take(request, &key, &sender).await) }
                    });
                    // A connection that breaks is the sender's to retry.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self { address, arrived })
    }

    /// Where it listens.
    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks/roster", self.address)
    }

    /// Everything that arrived so far, in order.
    pub(super) fn arrived(&self) -> Vec<Arrival> {
        self.arrived.borrow().clone()
    }

    /// Waits until what arrived satisfies `enough`, at most `patience`; says whether it did.
    pub(super) async fn wait(&self, patience: Duration, enough: impl Fn(&[Arrival]) -> bool) -> bool {
        let mut arrived = self.arrived.clone();
        tokio::time::timeout(patience, arrived.wait_for(|all| enough(all)))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }
}

async fn take(
    request: Request<Incoming>,
    key: &[u8],
    arrived: &watch::Sender<Vec<Arrival>>,
) -> Response<Empty<Bytes>> {
    let (head, body) = request.into_parts();
    let mut answer = Response::new(Empty::new());
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        *answer.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return answer;
    };
    let body = body.to_bytes();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let verified = verify(&head.headers, &body, key, now);
    *answer.status_mut() = if verified { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let id = header(&head.headers, "webhook-id").unwrap_or_default().to_owned();
    let kind = body.get("type").and_then(Value::as_str).unwrap_or("?").to_owned();
    arrived.send_modify(|all| {
        // At least once: the same id again is the same event.
        if !all.iter().any(|seen| seen.id == id && seen.verified == verified) {
            all.push(Arrival { id, kind, body, verified });
        }
    });
    answer
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Standard Webhooks 1.0: one of the `v1,` signatures is the HMAC-SHA256 over `id.timestamp.body`.
fn verify(headers: &HeaderMap, body: &[u8], key: &[u8], now: Duration) -> bool {
    let read = || {
        let id = header(headers, "webhook-id")?;
        let timestamp = header(headers, "webhook-timestamp")?;
        let at = Duration::from_secs(timestamp.parse().ok()?);
        let mut signed = format!("{id}.{timestamp}.").into_bytes();
        signed.extend_from_slice(body);
        let fresh = now.abs_diff(at) <= CLOCK_TOLERANCE;
        let signatures = header(headers, "webhook-signature")?.split(' ');
        let genuine =
            signatures.filter_map(|text| STANDARD.decode(text.strip_prefix("v1,")?).ok()).any(|mac| {
                Hmac::<Sha256>::new_from_slice(key).is_ok_and(|mut expected| {
                    expected.update(&signed);
                    expected.verify_slice(&mac).is_ok()
                })
            });
        Some(fresh && genuine)
    };
    read().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the Standard Webhooks text.
    fn vector() -> (HeaderMap, &'static [u8], Vec<u8>) {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".parse().unwrap());
        headers.insert("webhook-timestamp", "1614265330".parse().unwrap());
        let signature =
            "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        headers.insert("webhook-signature", signature.parse().unwrap());
        (headers, br#"{"test": 2432232314}"#, STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap())
    }

    #[test]
    fn the_published_vector_verifies_and_anything_altered_does_not() {
        let (headers, body, key) = vector();
        let now = Duration::from_secs(1_614_265_330);
        assert!(verify(&headers, body, &key, now));
        assert!(!verify(&headers, b"{}", &key, now));
        assert!(!verify(&headers, body, b"another key of some length", now));
        assert!(!verify(&headers, body, &key, now + Duration::from_secs(301)));
        assert!(!verify(&HeaderMap::new(), body, &key, now));
    }
}
