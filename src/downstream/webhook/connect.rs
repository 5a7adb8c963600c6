//! One connection to a receiver: TCP to a judged address, TLS, HTTP/2 where the receiver offers it, else HTTP/1.1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::endpoint::{Endpoint, Unreachable};
use super::proxy::Proxy;
use super::{ClientError, Settings};

/// Longest that a connection is kept, so that a changed DNS entry or certificate is noticed.
const AGE_MAX: Duration = Duration::from_mins(5);

/// Most header bytes taken of an answer.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// An open connection. Dropping it closes it, whatever is still under way on it.
#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
    pub(super) address: SocketAddr,
    opened: Instant,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// It may work later.
    Now(String),
    /// It leads where no webhook goes.
    Forbidden(String),
}

/// TLS as the machine trusts, plus the operator's own authorities; one provider, chosen here and not process-wide.
pub(super) fn tls(settings: &Settings) -> Result<TlsConnector, ClientError> {
    let failed = |error: rustls::Error| ClientError::Tls(error.to_string());
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(settings.extra_ca.iter().cloned(), Arc::clone(&provider))
        .map_err(failed)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &settings.identity {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(|error| ClientError::Tls(format!("the client certificate: {error}")))?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Connection {
    /// Looks the name up, judges every address, connects to one of exactly these.
    pub(super) async fn open(
        endpoint: &Endpoint,
        proxy: Option<&Proxy>,
        tls: Option<&TlsConnector>,
        within: Duration,
    ) -> Result<Self, ConnectError> {
        let started = Instant::now();
        let late = |what: &str| ConnectError::Now(format!("{what} took longer than {within:?}"));
        let addresses = async {
            match proxy {
                Some(proxy) => proxy.addresses().await,
                None => endpoint.addresses().await,
            }
        };
        let addresses = match timeout(within, addresses).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(Unreachable::Unknown(why))) => return Err(ConnectError::Now(why)),
            Ok(Err(Unreachable::Forbidden(why))) => return Err(ConnectError::Forbidden(why)),
            Err(_) => return Err(late("the name look-up")),
        };
        let (mut stream, address) = reach(&addresses, within.saturating_sub(started.elapsed())).await?;
        if let Some(proxy) = proxy {
            let left = within.saturating_sub(started.elapsed());
            let asked = timeout(left, proxy.tunnel(&mut stream, &endpoint.host, endpoint.port)).await;
            asked.map_err(|_| late("the proxy"))??;
        }
        let left = within.saturating_sub(started.elapsed());
        match timeout(left, Self::shake(endpoint, tls, stream, address)).await {
            Ok(opened) => opened,
            Err(_) => Err(late("connect and TLS")),
        }
    }

    async fn shake(
        endpoint: &Endpoint,
        tls: Option<&TlsConnector>,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<Self, ConnectError> {
        let (Some(tls), Some(name)) = (tls, &endpoint.tls_name) else {
            return Self::http1(stream, address).await;
        };
        let stream = tls.connect(name.clone(), stream).await;
        let stream =
            stream.map_err(|error| ConnectError::Now(format!("TLS with {address} failed: {error}")))?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Self::http2(stream, address).await
        } else {
            Self::http1(stream, address).await
        }
    }

    async fn http1<S>(stream: S, address: SocketAddr) -> Result<Self, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEADER_BYTES_MAX);
        let shaken = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            shaken.map_err(|error| ConnectError::Now(format!("HTTP/1.1 failed: {error}")))?;
        // What ends a connection is seen by the request on it; the driver has nobody to tell.
        let driver = tokio::spawn(async move {
            let _seen_by_the_request = connection.await;
        });
        Ok(Self { sender: Sender::Http1(sender), driver, address, opened: Instant::now() })
    }

    async fn http2<S>(stream: S, address: SocketAddr) -> Result<Self, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX));
        let shaken = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            shaken.map_err(|error| ConnectError::Now(format!("HTTP/2 failed: {error}")))?;
        let driver = tokio::spawn(async move {
            let _seen_by_the_request = connection.await;
        });
        Ok(Self { sender: Sender::Http2(sender), driver, address, opened: Instant::now() })
    }

    /// True if the request's URI must be absolute, without a `Host` header (RFC 9113 §8.3.1).
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// True if another request may go over it.
    pub(super) fn is_usable(&self) -> bool {
        let is_open = match &self.sender {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(sender) => !sender.is_closed(),
        };
        is_open && !self.driver.is_finished() && self.opened.elapsed() < AGE_MAX
    }

    /// Sends one request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Tries the addresses in turn; each gets a fair share of the time, so that one dead address does not use it up.
async fn reach(addresses: &[SocketAddr], within: Duration) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let started = Instant::now();
    let mut last = String::from("no address to connect to");
    for (n, &address) in addresses.iter().enumerate() {
        let still = u32::try_from(addresses.len().saturating_sub(n)).unwrap_or(u32::MAX).max(1);
        let share = within.saturating_sub(started.elapsed()) / still;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // One small request at a time: waiting for more to send would only add latency.
                let _slower_at_worst = stream.set_nodelay(true);
                return Ok((stream, address));
            }
            Ok(Err(error)) => last = format!("cannot connect to {address}: {error}"),
            Err(_) => last = format!("no connection to {address} within {share:?}"),
        }
    }
    Err(ConnectError::Now(last))
}
