//! The client side of one attempt.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Response, Uri, Version};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::connect::{self, ConnectError, Connection};
use super::endpoint::Endpoint;
use super::judge::{self, judge};
use super::{ANSWER_KEPT_BYTES, ANSWER_READ_BYTES, Attempt, Authorization, Outcome, Request, Settings, sign};
use crate::model::{Epoch, EventId, Seq, Timestamp};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The media type of RFC 8935.
const SECURITY_EVENT: &str = "application/secevent+jwt";

/// A webhook target's client: its checked URL, its TLS set-up and its kept-alive connections. Share it by `Arc`.
///
/// Several attempts may be under way at once; as many connections are kept between them.
pub struct Client {
    settings: Settings,
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
    authorization: Option<HeaderValue>,
    idle: Mutex<Vec<Connection>>,
}

/// Why a client cannot be made from its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientError {
    /// The URL breaks a rule; the text says which.
    Url(String),
    /// The `authorization` credential cannot stand in a header.
    Authorization,
    /// The proxy's address breaks a rule; the text says which.
    Proxy(String),
    /// A certificate authority or the machine's trust store cannot be used.
    Tls(String),
}

/// What was seen so far of an attempt; outlives its time limit.
#[derive(Debug, Default)]
struct Seen {
    status: Option<u16>,
    address: Option<SocketAddr>,
    answer: Vec<u8>,
}

impl Client {
    /// Checks the settings (no network, no name look-up) and prepares TLS.
    ///
    /// # Errors
    /// The URL breaks a rule of operations §8, or the trust store cannot be read.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let endpoint = Endpoint::parse(&settings)?;
        if settings.proxy.is_some() && endpoint.tls_name.is_none() {
            return Err(ClientError::Proxy("only https goes through a proxy".into()));
        }
        let authorization = settings.authorization.as_ref().map(authorization).transpose()?;
        let tls = if endpoint.tls_name.is_some() { Some(connect::tls(&settings)?) } else { None };
        Ok(Self { settings, endpoint, tls, authorization, idle: Mutex::default() })
    }

    /// One attempt: connect (or reuse), sign for `request.at`, POST, read the answer, judge it. Never fails and never
    /// takes longer than the settings' `timeout`: whatever happens is an [`Attempt`].
    pub async fn send(&self, request: &Request) -> Attempt {
        let started = Instant::now();
        let mut seen = Seen::default();
        let outcome =
            match tokio::time::timeout(self.settings.timeout, self.attempt(request, &mut seen)).await {
                Ok(outcome) => outcome,
                Err(_) => retry(format!("no whole answer within {:?}", self.settings.timeout)),
            };
        Attempt {
            status: seen.status,
            latency: started.elapsed(),
            address: seen.address,
            answer: seen.answer,
            outcome,
        }
    }

    /// Connects, TLS included, and closes without a word.
    ///
    /// # Errors
    /// Why there is no connection, in words.
    pub async fn reach(&self) -> Result<SocketAddr, String> {
        let proxy = self.settings.proxy.as_ref();
        let open = Connection::open(&self.endpoint, proxy, self.tls.as_ref(), self.settings.connect_timeout);
        open.await.map(|connection| connection.address).map_err(|error| match error {
            ConnectError::Now(why) | ConnectError::Forbidden(why) => why,
        })
    }

    /// Asks for the URL itself with GET and says with which status it was answered.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn status(&self) -> Result<u16, String> {
        let proxy = self.settings.proxy.as_ref();
        let open = Connection::open(&self.endpoint, proxy, self.tls.as_ref(), self.settings.connect_timeout);
        let mut connection = open.await.map_err(|error| match error {
            ConnectError::Now(why) | ConnectError::Forbidden(why) => why,
        })?;
        let sample = Request {
            id: EventId { epoch: Epoch(0), seq: Seq(0), n: 0 },
            at: Timestamp(0),
            body: Bytes::new(),
            content_type: "text/plain".to_owned(),
            headers: Vec::new(),
        };
        let asked = self.message(&sample, connection.is_http2());
        let mut asked = asked.map_err(|error| error.to_string())?;
        *asked.method_mut() = hyper::Method::GET;
        let answer = connection.send(asked).await.map_err(|error| causes(&error))?;
        Ok(answer.status().as_u16())
    }

    async fn attempt(&self, request: &Request, seen: &mut Seen) -> Outcome {
        if let Some(connection) = self.take_idle() {
            match self.exchange(connection, request, seen).await {
                Ok(outcome) => return outcome,
                // The receiver may close a kept connection at any time; that says nothing about a new one.
                Err(_) => *seen = Seen::default(),
            }
        }
        let proxy = self.settings.proxy.as_ref();
        let open = Connection::open(&self.endpoint, proxy, self.tls.as_ref(), self.settings.connect_timeout);
        let connection = match open.await {
            Ok(connection) => connection,
            Err(ConnectError::Now(why)) => return retry(why),
            Err(ConnectError::Forbidden(why)) => return Outcome::Refused { why },
        };
        match self.exchange(connection, request, seen).await {
            Ok(outcome) => outcome,
            Err(error) => retry(format!("the connection ended before an answer: {}", causes(&error))),
        }
    }

    /// One request and its answer; an error only if no answer began.
    async fn exchange(
        &self,
        mut connection: Connection,
        request: &Request,
        seen: &mut Seen,
    ) -> hyper::Result<Outcome> {
        seen.address = Some(connection.address);
        let Ok(message) = self.message(request, connection.is_http2()) else {
            return Ok(Outcome::Refused {
                why: "the request cannot be written; please report this fault".into(),
            });
        };
        let answer = connection.send(message).await?;
        let status = answer.status().as_u16();
        seen.status = Some(status);
        let outcome = judge(status, answer.headers(), SystemTime::now());
        let body = read(answer, seen).await;
        let outcome = told_by_receiver(request, status, outcome, &seen.answer);
        Ok(match (body, outcome) {
            (Body::Whole, outcome) => {
                self.keep(connection);
                outcome
            }
            (Body::CutOff(why), Outcome::Acknowledged) => {
                retry(format!("the receiver answered {status}, but the answer was cut off: {why}"))
            }
            (Body::TooLong | Body::CutOff(_), outcome) => outcome,
        })
    }

    fn message(
        &self,
        request: &Request,
        is_http2: bool,
    ) -> Result<hyper::Request<Full<Bytes>>, hyper::http::Error> {
        let id = request.id.to_string();
        let seconds = request.at.0.div_euclid(1_000_000);
        let mut message = hyper::Request::builder()
            .method(Method::POST)
            .header(CONTENT_TYPE, &request.content_type)
            .header(USER_AGENT, concat!("rosterd/", env!("CARGO_PKG_VERSION")))
            .header(WEBHOOK_ID, &id)
            .header(WEBHOOK_TIMESTAMP, seconds);
        if request.content_type == SECURITY_EVENT {
            // RFC 8935 §2.1: its errors are JSON.
            message = message.header(ACCEPT, "application/json");
        }
        if !self.settings.secrets.is_empty() {
            let signature = sign::header(&self.settings.secrets, &id, seconds, &request.body);
            message = message.header(WEBHOOK_SIGNATURE, signature);
        }
        if let Some(value) = &self.authorization {
            message = message.header(AUTHORIZATION, value);
        }
        for (name, value) in &self.settings.headers {
            message = message.header(name, value);
        }
        for (name, value) in request.headers.iter().filter(|(name, _)| !is_own(name)) {
            message = message.header(name, value);
        }
        let message = if is_http2 {
            let uri = Uri::builder()
                .scheme("https")
                .authority(self.endpoint.authority.as_bytes())
                .path_and_query(self.endpoint.path.clone())
                .build()?;
            message.version(Version::HTTP_2).uri(uri)
        } else {
            message.uri(Uri::from(self.endpoint.path.clone())).header(HOST, &self.endpoint.authority)
        };
        message.body(Full::new(request.body.clone()))
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(kept) = idle.pop() {
            if kept.is_usable() {
                return Some(kept);
            }
        }
        None
    }

    fn keep(&self, connection: Connection) {
        if connection.is_usable() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.truncate(self.settings.concurrency.saturating_sub(1));
            idle.push(connection);
        }
    }
}

/// Headers that are ours to set; a template cannot replace them.
fn is_own(name: &str) -> bool {
    let own =
        [CONTENT_TYPE, CONTENT_LENGTH, HOST, AUTHORIZATION, WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE];
    own.iter().any(|known| name.eq_ignore_ascii_case(known.as_str()))
}

fn authorization(credential: &Authorization) -> Result<HeaderValue, ClientError> {
    let text = Zeroizing::new(match credential {
        Authorization::Bearer(token) => format!("Bearer {}", token.expose().trim()),
        Authorization::Basic(pair) => format!("Basic {}", STANDARD.encode(pair.expose().trim())),
    });
    let mut value = HeaderValue::from_str(&text).map_err(|_| ClientError::Authorization)?;
    // Keeps it out of `Debug` and out of HPACK's tables.
    value.set_sensitive(true);
    Ok(value)
}

/// A receiver of security event tokens says in JSON why it refuses one (RFC 8935 §2.3): that is worth keeping.
fn told_by_receiver(request: &Request, status: u16, outcome: Outcome, answer: &[u8]) -> Outcome {
    let is_token = request.content_type == SECURITY_EVENT;
    match outcome {
        Outcome::Refused { why } if is_token => match judge::token_error(answer) {
            Some(told) => Outcome::Refused { why: format!("the receiver answered {status}: {told}") },
            None => Outcome::Refused { why },
        },
        other => other,
    }
}

/// How much of an answer came.
enum Body {
    Whole,
    /// More than is read; the connection is given up.
    TooLong,
    CutOff(String),
}

async fn read(answer: Response<Incoming>, seen: &mut Seen) -> Body {
    let mut body = answer.into_body();
    let mut read = 0usize;
    while let Some(frame) = body.frame().await {
        let data = match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => data,
            Ok(Err(_trailers)) => continue,
            Err(error) => return Body::CutOff(causes(&error)),
        };
        let room = ANSWER_KEPT_BYTES.saturating_sub(seen.answer.len());
        seen.answer.extend(data.iter().take(room));
        read = read.saturating_add(data.len());
        if read > ANSWER_READ_BYTES {
            return Body::TooLong;
        }
    }
    Body::Whole
}

fn retry(why: String) -> Outcome {
    Outcome::Retry { after: None, why }
}

/// An error with its causes on one line; hyper's own text says little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => write!(f, "the webhook url cannot be used: {why}"),
            Self::Authorization => f.write_str(
                "the credential for `authorization` cannot stand in a header; it must be one line of visible ASCII",
            ),
            Self::Proxy(why) => write!(f, "the proxy cannot be used: {why}"),
            Self::Tls(why) => {
                write!(f, "cannot set up TLS: {why}; install `ca-certificates` or check the extra CA")
            }
        }
    }
}

impl std::error::Error for ClientError {}

/// The default time limits, for the settings.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// See [`CONNECT_TIMEOUT`].
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);
