//! Carries requests from a socket to a handler: one task per connection, HTTP/1.1 or HTTP/2 by ALPN, every wait
//! bounded, a drain at the end.
//!
//! INVARIANT: nothing here knows SCIM or the admin API; a request that reaches the handler has passed the limits
//! on its connection and on the time its head took.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::{HttpService, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::content::Content;
use super::limits::{Connections, Full as NoPlace, Place, Settings as Limits};
use super::listener::Socket;
use super::metrics::Metrics;
use super::network::Network;
use super::tls::Tls;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The address, `None` on a unix socket.
    pub address: Option<SocketAddr>,
    /// The user id of the peer's process, on a unix socket only (`SO_PEERCRED`).
    pub uid: Option<u32>,
    /// True if the connection is encrypted by us.
    pub tls: bool,
}

/// What answers requests. It never fails: every error is an answer.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
    ) -> impl Future<Output = Response<Content>> + Send;
}

/// Everything one listener needs besides its sockets.
#[derive(Debug, Clone)]
pub struct Serving {
    /// Bounds.
    pub limits: Arc<Limits>,
    /// Open connections, for all sockets of this listener.
    pub connections: Arc<Connections>,
    /// Certificate, if the TCP sockets speak TLS. Unix sockets never do.
    pub tls: Option<Arc<Tls>>,
    /// Proxies, whose connections are not counted per address.
    pub trusted_proxies: Arc<[Network]>,
    /// Whether a client that has ended its side still wants the answer. Where answers are waited for, it has gone.
    pub half_close: bool,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Serves `sockets` until `stop` turns true, then drains and returns.
///
/// # Errors
/// Only when a socket cannot be handed to the runtime; a failed accept is a metric and a short pause.
pub async fn serve<H: Handler>(
    sockets: Vec<Socket>,
    serving: Serving,
    handler: Arc<H>,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut loops = JoinSet::new();
    for socket in sockets {
        let (serving, handler, stop) = (serving.clone(), Arc::clone(&handler), stop.clone());
        match socket {
            Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                loops.spawn(accept_tcp(listener, serving, handler, stop));
            }
            Socket::Unix(listener, path) => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::UnixListener::from_std(listener)?;
                loops.spawn(async move {
                    accept_unix(listener, serving, handler, stop).await;
                    drop(path);
                });
            }
        }
    }
    while loops.join_next().await.is_some() {}
    Ok(())
}

/// Pause after a failed accept: out of descriptors, mostly, which another connection's end will mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

async fn accept_tcp<H: Handler>(
    listener: tokio::net::TcpListener,
    serving: Serving,
    handler: Arc<H>,
    mut stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            () = stopped(&mut stop) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&serving.metrics, &error).await;
                continue;
            }
        };
        let counted = counted_address(address.ip(), &serving.trusted_proxies);
        let place = match serving.connections.enter(counted, &serving.limits) {
            Ok(place) => place,
            Err(full) => {
                serving.metrics.connection_refused(full);
                refuse(&stream, full, serving.tls.is_some());
                continue;
            }
        };
        // An answer is one small packet; waiting to fill it only costs time.
        let _ = stream.set_nodelay(true);
        let peer = Peer { address: Some(address), uid: None, tls: serving.tls.is_some() };
        tasks.spawn(connection(stream, peer, place, serving.clone(), Arc::clone(&handler), stop.clone()));
    }
    drop(listener);
    drain(tasks, serving.limits.drain_timeout).await;
}

async fn accept_unix<H: Handler>(
    listener: tokio::net::UnixListener,
    serving: Serving,
    handler: Arc<H>,
    mut stop: watch::Receiver<bool>,
) {
    let serving = Serving { tls: None, ..serving };
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            () = stopped(&mut stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                accept_failed(&serving.metrics, &error).await;
                continue;
            }
        };
        let Ok(place) = serving.connections.enter(None, &serving.limits) else {
            serving.metrics.connection_refused(NoPlace::Total);
            continue;
        };
        let uid =
            rustix::net::sockopt::socket_peercred(&stream).ok().map(|credentials| credentials.uid.as_raw());
        let peer = Peer { address: None, uid, tls: false };
        tasks.spawn(connection(stream, peer, place, serving.clone(), Arc::clone(&handler), stop.clone()));
    }
    drop(listener);
    drain(tasks, serving.limits.drain_timeout).await;
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the process is ending, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept_failed(metrics: &Metrics, error: &io::Error) {
    metrics.accept_failed();
    tracing::warn!(%error, "cannot accept a connection; trying again");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn drain(mut tasks: JoinSet<()>, longest: Duration) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(longest, all).await.is_err() {
        tracing::warn!(left = tasks.len(), "connections did not finish in time and are cut");
    }
    tasks.shutdown().await;
}

fn counted_address(address: IpAddr, trusted: &[Network]) -> Option<IpAddr> {
    (!trusted.iter().any(|network| network.contains(address))).then_some(address)
}

/// Tells a plain-text client why it is sent away; a TLS client only sees the connection close.
fn refuse(stream: &tokio::net::TcpStream, full: NoPlace, tls: bool) {
    if !tls {
        let detail = match full {
            NoPlace::Total => "too many connections; try again in a moment",
            NoPlace::Address => "too many connections from this address; reuse the ones that are open",
        };
        let body = format!(
            r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"429","detail":"{detail}"}}"#
        );
        let text = format!(
            "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/scim+json\r\nRetry-After: 5\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // Best effort: a client that does not read it finds the connection closed.
        let _ = stream.try_write(text.as_bytes());
    }
}

async fn connection<H, S>(
    stream: S,
    peer: Peer,
    place: Place,
    serving: Serving,
    handler: Arc<H>,
    stop: watch::Receiver<bool>,
) where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::new());
    let stream = Watched { inner: stream, activity: Arc::clone(&activity) };
    match &serving.tls {
        None => http1(stream, peer, &serving, handler, &activity, stop).await,
        Some(tls) => {
            let handshake = tls.acceptor().accept(stream);
            match tokio::time::timeout(serving.limits.handshake_timeout, handshake).await {
                Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                    http2(stream, peer, &serving, handler, &activity, stop).await;
                }
                Ok(Ok(stream)) => http1(stream, peer, &serving, handler, &activity, stop).await,
                Ok(Err(_)) | Err(_) => serving.metrics.handshake_failed(),
            }
        }
    }
    drop(place);
}

/// What hyper calls for each request: the handler, with the request counted until its answer is whole.
fn service<H: Handler>(
    handler: Arc<H>,
    peer: Peer,
    activity: &Arc<Activity>,
) -> impl HttpService<Incoming, ResBody = Counted, Error = Infallible, Future: Send> + Send + use<H> {
    let activity = Arc::clone(activity);
    service_fn(move |request| {
        let (handler, busy) = (Arc::clone(&handler), Busy::begin(&activity));
        async move {
            let response = handler.answer(request, peer).await;
            Ok::<_, Infallible>(response.map(|content| Counted { content, _busy: busy }))
        }
    })
}

async fn http1<H, S>(
    stream: S,
    peer: Peer,
    serving: &Serving,
    handler: Arc<H>,
    activity: &Arc<Activity>,
    stop: watch::Receiver<bool>,
) where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &serving.limits;
    let service = service(handler, peer, activity);
    // hyper cuts at twice our own bounds with a bare 431; up to there our handler answers in SCIM form.
    let conn = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout.max(limits.header_timeout))
        .max_headers(limits.headers_max.saturating_mul(2))
        .max_buf_size(
            limits.header_bytes_max.saturating_mul(2).saturating_add(limits.uri_bytes_max).max(16 << 10),
        )
        .half_close(serving.half_close)
        .keep_alive(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut conn = std::pin::pin!(conn);
    guard(limits, activity, stop, |turn, cx| match turn {
        Turn::Stop => {
            conn.as_mut().graceful_shutdown();
            Poll::Pending
        }
        Turn::Poll => conn.as_mut().poll(cx).map(|_| ()),
    })
    .await;
}

async fn http2<H, S>(
    stream: S,
    peer: Peer,
    serving: &Serving,
    handler: Arc<H>,
    activity: &Arc<Activity>,
    stop: watch::Receiver<bool>,
) where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &serving.limits;
    let service = service(handler, peer, activity);
    let conn = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(limits.header_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut conn = std::pin::pin!(conn);
    guard(limits, activity, stop, |turn, cx| match turn {
        Turn::Stop => {
            conn.as_mut().graceful_shutdown();
            Poll::Pending
        }
        Turn::Poll => conn.as_mut().poll(cx).map(|_| ()),
    })
    .await;
}

/// What [`guard`] asks of the connection.
enum Turn {
    Poll,
    Stop,
}

/// Drives a connection to its end; cuts it when a head takes too long, when it idles too long or when its answers
/// are not read; asks it to finish when the daemon stops.
async fn guard(
    limits: &Limits,
    activity: &Activity,
    mut stop: watch::Receiver<bool>,
    mut connection: impl FnMut(Turn, &mut Context<'_>) -> Poll<()>,
) {
    let stop = stopped(&mut stop);
    let mut stop = std::pin::pin!(stop);
    let mut stopping = false;
    let mut timer = std::pin::pin!(tokio::time::sleep(limits.header_timeout.min(CHECK_EVERY)));
    std::future::poll_fn(|cx| {
        if connection(Turn::Poll, cx).is_ready() {
            return Poll::Ready(());
        }
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection(Turn::Stop, cx).is_ready();
            if connection(Turn::Poll, cx).is_ready() {
                return Poll::Ready(());
            }
        }
        while timer.as_mut().poll(cx).is_ready() {
            if activity.is_overdue(limits) {
                return Poll::Ready(());
            }
            let next = tokio::time::Instant::now() + limits.header_timeout.min(CHECK_EVERY);
            timer.as_mut().reset(next);
        }
        Poll::Pending
    })
    .await;
}

/// How often a connection's clock is looked at; the bounds are exact to this much.
const CHECK_EVERY: Duration = Duration::from_millis(2_500);

/// What a connection is doing, told by the stream below and the service above the protocol code.
#[derive(Debug)]
struct Activity {
    born: Instant,
    /// Requests being answered.
    requests: AtomicU32,
    /// When the head being read began, in milliseconds after `born`, plus one; 0: no head has begun.
    head: AtomicU64,
    /// When the connection last became idle, likewise.
    idle: AtomicU64,
    /// Since when the peer has taken nothing although we have something to write, likewise.
    stalled: AtomicU64,
}

/// A request being answered, counted until dropped: with the last byte of its answer.
struct Busy(Arc<Activity>);

impl Busy {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.head.store(0, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

/// A body that keeps its request counted: a long answer is no idle connection.
struct Counted {
    content: Content,
    _busy: Busy,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.content).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

impl Activity {
    fn new() -> Self {
        // The first head begins with the connection: a silent client has not earned the idle bound.
        Self {
            born: Instant::now(),
            requests: AtomicU32::new(0),
            head: AtomicU64::new(1),
            idle: AtomicU64::new(1),
            stalled: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn has_read(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 && self.head.load(Ordering::Relaxed) == 0 {
            self.head.store(self.now(), Ordering::Relaxed);
        }
    }

    fn has_written(&self, pending: bool) {
        if !pending {
            if self.stalled.load(Ordering::Relaxed) != 0 {
                self.stalled.store(0, Ordering::Relaxed);
            }
        } else if self.stalled.load(Ordering::Relaxed) == 0 {
            self.stalled.store(self.now(), Ordering::Relaxed);
        }
    }

    fn is_overdue(&self, limits: &Limits) -> bool {
        let now = self.now();
        let older = |since: u64, bound: Duration| {
            since != 0 && u128::from(now.saturating_sub(since)) >= bound.as_millis()
        };
        if older(self.stalled.load(Ordering::Relaxed), limits.write_timeout) {
            return true;
        }
        self.requests.load(Ordering::Relaxed) == 0
            && (older(self.head.load(Ordering::Relaxed), limits.header_timeout)
                || older(self.idle.load(Ordering::Relaxed), limits.idle_timeout))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle.store(self.0.now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that tells [`Activity`] what happens on it.
struct Watched<S> {
    inner: S,
    activity: Arc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if polled.is_ready() {
            self.activity.has_read();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.activity.has_written(polled.is_pending());
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.activity.has_written(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
