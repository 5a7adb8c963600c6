//! What a connection is doing: reading a head, answering, idling, waiting for a client that does not read.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::content::Content;
use super::limits::Settings as Limits;

/// What a connection is doing, told by the stream below and the service above the protocol code.
#[derive(Debug)]
pub(super) struct Activity {
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
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.head.store(0, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

/// A body that keeps its request counted: a long answer is no idle connection.
pub(super) struct Counted {
    content: Content,
    _busy: Busy,
}

impl Counted {
    /// `content`, counted by `busy` until its last byte is gone.
    pub(super) fn new(content: Content, busy: Busy) -> Self {
        Self { content, _busy: busy }
    }
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
    /// A connection that was just accepted.
    pub(super) fn new() -> Self {
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

    /// True while a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.requests.load(Ordering::Relaxed) != 0
    }

    /// True while the head of a request is awaited or being read: of the first one, from the connection's birth.
    pub(super) fn awaits_head(&self) -> bool {
        !self.is_busy() && self.head.load(Ordering::Relaxed) != 0
    }

    /// True if a bound on the client's time has passed.
    pub(super) fn is_overdue(&self, limits: &Limits) -> bool {
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
pub(super) struct Watched<S> {
    inner: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    /// `inner`, watched.
    pub(super) fn new(inner: S, activity: &Arc<Activity>) -> Self {
        Self { inner, activity: Arc::clone(activity) }
    }
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
