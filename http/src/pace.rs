//! A connection that does not wait for its client without a limit.
//!
//! hyper limits the time from one answer to the next complete head. That is right for an idle
//! connection, but far too long for one that has begun to send a request and does not complete it:
//! a few hundred of those would keep everybody else out. And hyper waits forever for a client that
//! does not read its answer. Both are limited here, below hyper, where the bytes pass. This is also
//! where a connection is seen to be idle.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::Limits;
use crate::room::Seat;

/// The requests of one connection: how many have begun, and how many of those were answered.
pub(super) struct Requests {
    begun: AtomicU64,
    answered: AtomicU64,
    /// How many of the answers have left this process.
    sent: AtomicU64,
    seat: Arc<Seat>,
}

impl Requests {
    pub(super) fn new(seat: Arc<Seat>) -> Self {
        let zero = AtomicU64::default;
        Self { begun: zero(), answered: zero(), sent: zero(), seat }
    }

    /// Reports that the head of a request has arrived. The request is open until the returned value
    /// is dropped. `None`: the connection was closed to make room.
    pub(super) fn begin(self: &Arc<Self>) -> Option<OpenRequest> {
        self.seat.stir().then(|| {
            self.begun.fetch_add(1, Ordering::Relaxed);
            OpenRequest(Arc::clone(self))
        })
    }

    /// Reports that everything that was written has left.
    fn flushed(&self) {
        self.sent.store(self.answered(), Ordering::Relaxed);
    }

    /// Reports that nothing more can be read now. The connection is idle if there is nothing else
    /// to do, such as an answer that is not sent yet.
    fn drained(&self) {
        if !self.is_one_open() && self.sent.load(Ordering::Relaxed) == self.answered() {
            self.seat.rest();
        }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    fn is_one_open(&self) -> bool {
        self.begun() != self.answered()
    }
}

/// A request that is being answered.
pub(super) struct OpenRequest(Arc<Requests>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }
}

impl OpenRequest {
    /// Wraps the answer's body, so that the request ends with it.
    pub(super) fn until_end_of(self, body: Body) -> Body {
        Body::new(LastOf { body, _request: self })
    }
}

/// A body that keeps its request open until it ends.
struct LastOf {
    body: Body,
    _request: OpenRequest,
}

impl HttpBody for LastOf {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// A stream of bytes with both limits.
pub(super) struct Paced<S> {
    stream: S,
    requests: Arc<Requests>,
    head_time: Duration,
    stall_time: Duration,
    /// While a head is arriving: its number, counted like `begun`, and its deadline.
    head: Option<(u64, Pin<Box<Sleep>>)>,
    /// While nothing can be written: the deadline.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, requests: Arc<Requests>, limits: &Limits) -> Self {
        let Limits { head_time, stall_time, .. } = *limits;
        Self { stream, requests, head_time, stall_time, head: None, stall: None }
    }

    /// Whether the head that is arriving has taken too long. The task is woken when that happens.
    fn is_head_late(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.head {
            Some((which, _)) if *which != self.requests.begun() => {
                self.head = None;
                false
            }
            Some((_, until)) => until.as_mut().poll(cx).is_ready(),
            None => false,
        }
    }

    /// The result of a write: an error if the client has accepted nothing for too long.
    fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let time = self.stall_time;
        let until = self.stall.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Err(too_slow("the answer is not being read")))
    }
}

fn too_slow(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Checked before reading: a byte now and then must not postpone the deadline.
        if self.is_head_late(cx) {
            return Poll::Ready(Err(too_slow("the request took too long to arrive")));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_pending() {
            self.requests.drained();
        }
        ready!(read)?;
        // What arrives while a request is open is its body, or a pipelined request.
        if buf.filled().len() > before && self.head.is_none() && !self.requests.is_one_open() {
            let until = Box::pin(sleep(self.head_time));
            self.head = Some((self.requests.begun(), until));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.unless_stalled(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.unless_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.requests.flushed();
        }
        self.unless_stalled(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.unless_stalled(cx, shut)
    }
}
