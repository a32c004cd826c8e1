//! What a connection asks of its socket beyond reading and writing: the same for TCP and Unix.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

/// A stream socket in the hands of tokio.
pub(crate) trait Socket: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static {
    /// Ready when something has happened on the reading side since [`Socket::hung_up`] said no.
    fn poll_read_event(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the peer will send nothing more, whatever may still be unread. If not, forgets the
    /// event that made the caller ask.
    ///
    /// A socket with unread bytes is "readable" all the time, so readiness alone does not tell when
    /// the peer hangs up behind them.
    fn hung_up(&self) -> bool;
}

macro_rules! socket {
    ($stream:ty) => {
        impl Socket for $stream {
            fn poll_read_event(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_read_ready(cx)
            }

            fn hung_up(&self) -> bool {
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
        }
    };
}

socket!(TcpStream);
socket!(UnixStream);

/// Reads what is there, past tokio's idea of whether there is anything. The socket is non-blocking,
/// as all of tokio's are.
pub(crate) fn read_now(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    (&*SockRef::from(socket)).read(buffer)
}
