//! Carries requests from a socket to a handler: one task per connection, HTTP/1.1 or HTTP/2 by ALPN, every wait
//! bounded, a drain at the end.
//!
//! INVARIANT: nothing here knows SCIM or the admin API; a request that reaches the handler has passed the limits
//! on its connection and on the time its head took.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::{HttpService, service_fn};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::activity::{Activity, Busy, Counted, Watched};
use super::client_certificate::ClientCertificate;
use super::content::Content;
use super::limits::{Connections, Full as NoPlace, Place, Settings as Limits};
use super::listener::{Holder, Socket};
use super::metrics::Metrics;
use super::network::Network;
use super::tls::{self, Refused, Tls};

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
            Socket::Tcp(listener, holder) => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let entrance = Entrance { serving, handler, stop, tasks: JoinSet::new() };
                loops.spawn(accept_tcp(listener, holder, entrance));
            }
            Socket::Unix(listener, path) => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::UnixListener::from_std(listener)?;
                let holder = if path.is_some() { Holder::Daemon } else { Holder::Manager };
                let serving = Serving { tls: None, ..serving };
                let entrance = Entrance { serving, handler, stop, tasks: JoinSet::new() };
                loops.spawn(async move {
                    accept_unix(listener, holder, entrance).await;
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

/// What each accepted connection of one socket is let in with.
struct Entrance<H> {
    serving: Serving,
    handler: Arc<H>,
    stop: watch::Receiver<bool>,
    tasks: JoinSet<()>,
}

async fn accept_tcp<H: Handler>(
    listener: tokio::net::TcpListener,
    holder: Holder,
    mut entrance: Entrance<H>,
) {
    let mut stop = entrance.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = entrance.tasks.join_next(), if !entrance.tasks.is_empty() => continue,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((stream, address)) => entrance.tcp(stream, address),
            Err(error) => accept_failed(&entrance.serving.metrics, &error).await,
        }
    }
    // What waits in the backlog of a socket that outlives us is the next process's; with our own it would be cut.
    if holder == Holder::Daemon {
        while let Poll::Ready(Ok((stream, address))) = at_once(|cx| listener.poll_accept(cx)).await {
            entrance.tcp(stream, address);
        }
    }
    drop(listener);
    drain(entrance.tasks, entrance.serving.limits.drain_timeout).await;
}

async fn accept_unix<H: Handler>(
    listener: tokio::net::UnixListener,
    holder: Holder,
    mut entrance: Entrance<H>,
) {
    let mut stop = entrance.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = entrance.tasks.join_next(), if !entrance.tasks.is_empty() => continue,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((stream, _)) => entrance.unix(stream),
            Err(error) => accept_failed(&entrance.serving.metrics, &error).await,
        }
    }
    if holder == Holder::Daemon {
        close_to_new(&listener);
        while let Poll::Ready(Ok((stream, _))) = at_once(|cx| listener.poll_accept(cx)).await {
            entrance.unix(stream);
        }
    }
    drop(listener);
    drain(entrance.tasks, entrance.serving.limits.drain_timeout).await;
}

/// From here on who connects is refused, and who waits in the backlog still comes out of it: nobody can slip in between
/// the last look at the backlog and the end of the socket. Unix sockets only: to a TCP socket Linux does the same as when
/// it is closed, backlog and all.
fn close_to_new(listener: &tokio::net::UnixListener) {
    // If the system refuses, the gap is what it is for TCP.
    let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Read);
}

/// What `poll` says now, ready or not.
async fn at_once<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    std::future::poll_fn(|cx| Poll::Ready(poll(cx))).await
}

impl<H: Handler> Entrance<H> {
    fn tcp(&mut self, stream: tokio::net::TcpStream, address: SocketAddr) {
        let serving = &self.serving;
        let counted = counted_address(address.ip(), &serving.trusted_proxies);
        let place = match serving.connections.enter(counted, &serving.limits) {
            Ok(place) => place,
            Err(full) => {
                serving.metrics.connection_refused(full);
                refuse(&stream, full, serving.tls.is_some());
                return;
            }
        };
        // An answer is one small packet; waiting to fill it only costs time.
        let _ = stream.set_nodelay(true);
        let peer = Peer { address: Some(address), uid: None, tls: serving.tls.is_some() };
        self.admit(stream, peer, place);
    }

    fn unix(&mut self, stream: tokio::net::UnixStream) {
        let Ok(place) = self.serving.connections.enter(None, &self.serving.limits) else {
            self.serving.metrics.connection_refused(NoPlace::Total);
            return;
        };
        let uid =
            rustix::net::sockopt::socket_peercred(&stream).ok().map(|credentials| credentials.uid.as_raw());
        self.admit(stream, Peer { address: None, uid, tls: false }, place);
    }

    fn admit<S>(&mut self, stream: S, peer: Peer, place: Place)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (serving, handler, stop) = (self.serving.clone(), Arc::clone(&self.handler), self.stop.clone());
        self.tasks.spawn(connection(stream, peer, place, serving, handler, stop));
    }
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
    let stream = Watched::new(stream, &activity);
    let caller = Caller { peer, certificate: None };
    let limits = Arc::clone(&serving.limits);
    match serving.tls.clone() {
        None => http1(stream, caller, &serving, handler, &activity, stop).await,
        Some(tls) => {
            // Before the handshake: what is read anew during it may come too late for it.
            let authorities = tls.authorities();
            let handshake = tls.accept(stream);
            match tokio::time::timeout(serving.limits.handshake_timeout, handshake).await {
                Ok(Ok(stream)) => {
                    let session = stream.get_ref().1;
                    let certificate = session.peer_certificates().and_then(ClientCertificate::of);
                    let is_http2 = session.alpn_protocol() == Some(b"h2");
                    let certificate = certificate.map(Arc::new);
                    let caller = Caller { certificate: certificate.clone(), ..caller };
                    let carried = |stop| async move {
                        if is_http2 {
                            http2(stream, caller, &serving, handler, &activity, stop).await;
                        } else {
                            http1(stream, caller, &serving, handler, &activity, stop).await;
                        }
                    };
                    match certificate {
                        None => carried(stop).await,
                        Some(shown) => vouched(&shown, authorities, &limits, stop, carried).await,
                    }
                }
                // The ACME server has seen what it came for.
                Ok(Err(Refused::Challenge)) => {}
                Ok(Err(Refused::Handshake(cause))) => handshake_failed(&serving, peer, &cause),
                Err(_) => serving.metrics.handshake_failed("timeout"),
            }
        }
    }
    drop(place);
}

/// Carries a connection for as long as what let it in holds: the client's certificate, and the authorities it was
/// judged by. Then it is asked to finish, as at a stop, so that the client shakes hands anew; what does not finish, as a
/// stream of events, is cut.
async fn vouched<F: Future<Output = ()>>(
    shown: &ClientCertificate,
    mut authorities: watch::Receiver<u64>,
    limits: &Limits,
    mut stop: watch::Receiver<bool>,
    carried: impl FnOnce(watch::Receiver<bool>) -> F,
) {
    let (ending, ended) = watch::channel(false);
    let no_longer = async {
        loop {
            let left = shown.left(SystemTime::now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                // A clock that was put right is noticed within the hour.
                () = tokio::time::sleep(left.min(LOOK_EVERY)) => {}
                _ = authorities.changed() => return,
            }
        }
    };
    let watch = async {
        tokio::select! {
            () = stopped(&mut stop) => {
                ending.send_replace(true);
                std::future::pending::<()>().await;
            }
            () = no_longer => {
                ending.send_replace(true);
                tokio::time::sleep(limits.body_timeout.saturating_add(limits.drain_timeout)).await;
            }
        }
    };
    tokio::select! {
        () = carried(ended) => {}
        () = watch => {}
    }
}

/// How often it is looked whether a certificate has run out by a clock that moved.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// Counts a failed handshake. That of a client certificate is worth a line: somebody has to mend it.
fn handshake_failed(serving: &Serving, peer: Peer, cause: &io::Error) {
    let reason = tls::reason(cause);
    serving.metrics.handshake_failed(reason);
    if reason == tls::CLIENT_CERTIFICATE {
        let client = peer.address.map(|address| address.to_string()).unwrap_or_default();
        tracing::warn!(%client, %cause, "a TLS client's certificate is missing or not accepted");
    } else {
        tracing::debug!(%cause, "a TLS handshake failed");
    }
}

/// Who speaks on a connection.
#[derive(Clone)]
struct Caller {
    peer: Peer,
    certificate: Option<Arc<ClientCertificate>>,
}

/// What hyper calls for each request: the handler, with the request counted until its answer is whole. The client's
/// certificate, if it showed one, is among the request's extensions.
fn service<H: Handler>(
    handler: Arc<H>,
    caller: Caller,
    activity: &Arc<Activity>,
    stop: watch::Receiver<bool>,
) -> impl HttpService<Incoming, ResBody = Counted, Error = Infallible, Future: Send> + Send + use<H> {
    let activity = Arc::clone(activity);
    service_fn(move |mut request: Request<Incoming>| {
        let (handler, busy) = (Arc::clone(&handler), Busy::begin(&activity));
        let (peer, stop) = (caller.peer, stop.clone());
        if let Some(certificate) = &caller.certificate {
            request.extensions_mut().insert(Arc::clone(certificate));
        }
        async move {
            let may_close = request.version() < Version::HTTP_2;
            let mut response = handler.answer(request, peer).await;
            // RFC 9112 §9.6: whoever closes after an answer says so in it. HTTP/2 has GOAWAY for that.
            if may_close && *stop.borrow() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|content| Counted::new(content, busy)))
        }
    })
}

async fn http1<H, S>(
    stream: S,
    caller: Caller,
    serving: &Serving,
    handler: Arc<H>,
    activity: &Arc<Activity>,
    stop: watch::Receiver<bool>,
) where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &serving.limits;
    let service = service(handler, caller, activity, stop.clone());
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
    caller: Caller,
    serving: &Serving,
    handler: Arc<H>,
    activity: &Arc<Activity>,
    stop: watch::Receiver<bool>,
) where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &serving.limits;
    let service = service(handler, caller, activity, stop.clone());
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

/// How long after a stop the first request of a connection, or the rest of a head, is waited for: whoever was let in
/// is answered.
const HEAD_GRACE: Duration = Duration::from_secs(1);

/// How long after a stop an idle connection stays open: for a request that is on its way already.
const IDLE_GRACE: Duration = Duration::from_millis(100);

/// Drives a connection to its end; cuts it when a head takes too long, when it idles too long or when its answers
/// are not read; asks it to finish when the daemon stops: at once while a request is being answered, else after a
/// moment in which one may still arrive.
async fn guard(
    limits: &Limits,
    activity: &Activity,
    mut stop: watch::Receiver<bool>,
    mut connection: impl FnMut(Turn, &mut Context<'_>) -> Poll<()>,
) {
    let stop = stopped(&mut stop);
    let mut stop = std::pin::pin!(stop);
    let mut stopping = Stopping::No;
    let mut timer = std::pin::pin!(tokio::time::sleep(limits.header_timeout.min(CHECK_EVERY)));
    std::future::poll_fn(|cx| {
        if connection(Turn::Poll, cx).is_ready() {
            return Poll::Ready(());
        }
        let now = tokio::time::Instant::now();
        if matches!(stopping, Stopping::No) && stop.as_mut().poll(cx).is_ready() {
            let grace = if activity.awaits_head() { HEAD_GRACE } else { IDLE_GRACE };
            stopping = Stopping::At(now + grace);
        }
        if let Stopping::At(until) = stopping {
            if activity.is_busy() || now >= until {
                stopping = Stopping::Asked;
                connection(Turn::Stop, cx).is_ready();
                if connection(Turn::Poll, cx).is_ready() {
                    return Poll::Ready(());
                }
            } else if timer.deadline() > until {
                timer.as_mut().reset(until);
            }
        }
        while timer.as_mut().poll(cx).is_ready() {
            if activity.is_overdue(limits) {
                return Poll::Ready(());
            }
            if matches!(stopping, Stopping::At(until) if tokio::time::Instant::now() >= until) {
                stopping = Stopping::Asked;
                connection(Turn::Stop, cx).is_ready();
                if connection(Turn::Poll, cx).is_ready() {
                    return Poll::Ready(());
                }
            }
            let next = tokio::time::Instant::now() + limits.header_timeout.min(CHECK_EVERY);
            timer.as_mut().reset(next);
        }
        Poll::Pending
    })
    .await;
}

/// How far a connection is on its way to its end.
enum Stopping {
    /// The daemon runs.
    No,
    /// The daemon stops; the connection is asked to finish then, or as soon as a request is being answered.
    At(tokio::time::Instant),
    /// It was asked.
    Asked,
}

/// How often a connection's clock is looked at; the bounds are exact to this much.
const CHECK_EVERY: Duration = Duration::from_millis(2_500);

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
