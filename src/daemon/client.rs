//! One HTTP/1.1 request to a daemon on this machine: over the admin socket, or over TCP on loopback.
//!
//! A new connection per request: commands ask once or twice, and a connection that outlives a restarted daemon
//! would only make a new kind of error.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Longest wait for a connection. A local socket answers at once or never.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Longest answer read, in bytes; a page of a thousand users stays far below.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP without TLS.
    Tcp(SocketAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Error {
    /// Nobody listens there.
    NotListening(io::Error),
    /// The caller may not connect.
    Denied(io::Error),
    /// The connection broke, or the answer is not HTTP.
    Broken(String),
    /// No answer in time.
    TooSlow(Duration),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListening(cause) | Self::Denied(cause) => write!(f, "cannot connect: {cause}"),
            Self::Broken(cause) => write!(f, "the connection broke: {cause}"),
            Self::TooSlow(patience) => write!(f, "no answer within {} s", patience.as_secs()),
        }
    }
}

impl std::error::Error for Error {}

/// Sends `request` to `peer` and reads the whole answer, within `patience`.
/// # Errors
/// As [`Error`] lists them; an HTTP error status is an answer, not an error.
pub async fn ask(peer: &Peer, request: Request<Full<Bytes>>, patience: Duration) -> Result<Answer, Error> {
    let exchange = async {
        match peer {
            Peer::Unix(path) => exchange(connect(UnixStream::connect(path)).await?, request).await,
            Peer::Tcp(address) => exchange(connect(TcpStream::connect(address)).await?, request).await,
        }
    };
    tokio::time::timeout(patience, exchange).await.map_err(|_| Error::TooSlow(patience))?
}

async fn connect<S>(connecting: impl Future<Output = io::Result<S>>) -> Result<S, Error> {
    match tokio::time::timeout(CONNECT_PATIENCE, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(cause)) if cause.kind() == io::ErrorKind::PermissionDenied => Err(Error::Denied(cause)),
        Ok(Err(cause)) => Err(Error::NotListening(cause)),
        Err(_) => Err(Error::TooSlow(CONNECT_PATIENCE)),
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |cause: &dyn fmt::Display| Error::Broken(cause.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|cause| broken(&cause))?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|cause| broken(&cause))?;
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|cause| broken(&cause))?
        .to_bytes();
    driver.abort();
    Ok(Answer { status, headers, body })
}
