//! What a connection asks of its socket beyond reading and writing.
//!
//! TCP and Unix sockets do it in the same way. A stream with a handshake and buffers of its own, as
//! TLS is, wraps one of them and stands in its place; `wrapped/` has one for the tests. All of it is
//! resolved at compile time, so what a plain socket does not need costs it nothing.

use std::io::{self, Read};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

/// A stream in the hands of tokio. If it has a handshake, that is done.
///
/// A stream may keep written bytes in a buffer of its own until it is flushed, and may have read
/// bytes that nobody has asked for. What reading makes it want to send, it sends by itself.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Reads what is there, past tokio's idea of whether there is anything. Fails with
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is nothing, and gives 0 at the end.
    fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Ready when something has happened on the reading side since [`Socket::hung_up`] said no, and
    /// for good when the peer has hung up: a stream may have read that with what came before it.
    fn poll_read_event(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the peer will send nothing more, whatever may still be unread. If not, forgets the
    /// event that made the caller ask.
    ///
    /// A socket with unread bytes is "readable" all the time, so readiness alone does not tell when
    /// the peer hangs up behind them. A stream that says so in band has to read ahead for it, as
    /// far as its buffer allows; beyond that, the end of the connection below tells.
    fn hung_up(&mut self) -> bool;

    /// Whether the connection is broken: the peer reads no more either. What it tells once it need not
    /// tell again.
    fn has_failed(&self) -> bool;

    /// Who is at the other end, for people.
    fn peer(&self) -> String;

    /// Whether it holds bytes that are still to be flushed.
    fn needs_flush(&self) -> bool;

    /// Tells the peer in band that nothing more comes, if the stream has a way to do so. Comes last,
    /// when all is flushed; the descriptor is closed after it.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

macro_rules! socket {
    ($stream:ty, $peer:expr) => {
        impl Socket for $stream {
            #[inline]
            fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                // Non-blocking, as all of tokio's are.
                (&*SockRef::from(&*self)).read(buffer)
            }

            #[inline]
            fn poll_read_event(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_read_ready(cx)
            }

            fn hung_up(&mut self) -> bool {
                // The kernel reports a hang-up as an event of its own, which tokio keeps for good.
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

            #[inline]
            fn needs_flush(&self) -> bool {
                false
            }

            /// Closing the descriptor says it.
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
