//! What a connection needs from its socket beyond reading and writing.
//!
//! TCP and Unix sockets work the same way. A stream with a handshake and buffers of its own, such
//! as TLS, wraps one of them and takes its place; `wrapped/` has one for tests. Everything is
//! resolved at compile time, so a plain socket does not pay for what it does not need.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

/// A stream registered with tokio. If it has a handshake, that is done.
///
/// A stream may buffer written bytes until it is flushed, and may have read ahead. If reading makes
/// it necessary to send something, the stream does that itself.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Reads what has arrived, regardless of whether tokio considers the socket readable. Fails
    /// with [`WouldBlock`](io::ErrorKind::WouldBlock) if there is nothing, and returns 0 at the
    /// end.
    fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Ready when something has happened on the reading side since [`Socket::hung_up`] returned
    /// false, and forever once the peer has hung up: a stream may have read the end together with
    /// the bytes before it.
    fn poll_read_event(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the peer will send nothing more, even if bytes are still unread. If not, clears the
    /// event that made the caller ask.
    ///
    /// A socket with unread bytes is always "readable", so readiness alone does not show when the
    /// peer hangs up after them. A stream that signals its end in band has to read ahead for it, as
    /// far as its buffer allows; beyond that, the end of the underlying connection counts.
    fn hung_up(&mut self) -> bool;

    /// Whether the connection is broken, so that the peer no longer reads either. May report a
    /// failure only once.
    fn has_failed(&self) -> bool;

    /// The address of the peer, for people.
    fn peer(&self) -> String;

    /// The kernel's socket, if there is one.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Whether there are bytes still to be flushed.
    fn needs_flush(&self) -> bool;

    /// Signals the end to the peer in band, if the stream has a way to do so. Called last, when
    /// everything is flushed; the descriptor is closed afterwards.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

macro_rules! socket {
    ($stream:ty, $peer:expr) => {
        impl Socket for $stream {
            #[inline]
            fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                // Non-blocking, like all sockets of tokio.
                (&*SockRef::from(&*self)).read(buffer)
            }

            #[inline]
            fn poll_read_event(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_read_ready(cx)
            }

            fn hung_up(&mut self) -> bool {
                // The kernel reports a hang-up as a separate event, which tokio never clears.
                let mut cx = Context::from_waker(Waker::noop());
                let events = pin!(self.ready(Interest::READABLE)).poll(&mut cx);
                if matches!(events, Poll::Ready(Ok(events)) if events.is_read_closed()) {
                    return true;
                }
                let forget = || Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock));
                let _ = self.try_io(Interest::READABLE, forget);
                false
            }

            fn has_failed(&self) -> bool {
                !matches!(self.take_error(), Ok(None))
            }

            fn peer(&self) -> String {
                $peer(self)
            }

            fn descriptor(&self) -> Option<BorrowedFd<'_>> {
                Some(self.as_fd())
            }

            #[inline]
            fn needs_flush(&self) -> bool {
                false
            }

            /// Closing the descriptor is the signal.
            #[inline]
            fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
    };
}

socket!(TcpStream, |stream: &TcpStream| match stream.peer_addr() {
    Ok(address) => address.to_string(),
    Err(_) => "a client that is gone".to_owned(),
});
socket!(UnixStream, |_: &UnixStream| "a client on a Unix socket".to_owned());
