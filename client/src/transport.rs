//! Bytes out, replies in: the part that touches the stream.
//!
//! Owns the stream and the two buffers. All state between two polls is kept here and none in a
//! future, so a future may be dropped at any await and nothing is lost: what was to be written is
//! written later, what was read is decoded later. Knows nothing of which reply answers what.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use beanstalk_protocol::{Reply, ReplyDecoder, ReplyError};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Least free space for one read, in bytes.
const READ_SIZE: usize = 16 * 1024;

/// A buffer that grew beyond this many bytes is given back when it is empty.
const KEPT_BUFFER: usize = 1024 * 1024;

/// How an alert of TLS begins: its type, and the first byte of any version. No reply begins so.
const TLS_ALERT: &[u8] = b"\x15\x03";

/// What a connection runs over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(crate) struct Transport {
    /// `None` after a failure: the socket is closed at once, so that the server gives back the jobs
    /// that it reserved.
    stream: Option<Box<dyn Stream>>,
    output: BytesMut,
    /// The output outgrew [`KEPT_BUFFER`] since it was last empty.
    large_output: bool,
    /// Bytes written since the beginning.
    written: u64,
    /// Everything written was flushed too.
    flushed: bool,
    input: BytesMut,
    /// The input outgrew [`KEPT_BUFFER`] since it was last empty.
    large_input: bool,
    decoder: ReplyDecoder,
    /// A write that fails may have sent some of its bytes: records of TLS that are complete.
    is_ahead: bool,
}

/// Why a transport ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server closed, or an earlier failure did.
    Closed,
    Io(io::Error),
    Reply(ReplyError),
    /// Bytes came where none were due.
    Unsolicited,
}

impl Transport {
    pub(crate) fn new(stream: Box<dyn Stream>, max_body: usize) -> Self {
        Self {
            stream: Some(stream),
            output: BytesMut::new(),
            large_output: false,
            written: 0,
            flushed: true,
            input: BytesMut::new(),
            large_input: false,
            decoder: ReplyDecoder::new(max_body),
            is_ahead: false,
        }
    }

    /// The same, over a stream that takes bytes before it knows whether they can be sent.
    pub(crate) fn ahead(self, is_ahead: bool) -> Self {
        Self { is_ahead, ..self }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    pub(crate) fn close(&mut self) {
        self.stream = None;
    }

    /// Where bytes are queued. They are written when a reply is awaited, or by [`Self::flush`].
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Where the queued bytes end, counted from the beginning of the connection.
    pub(crate) fn end_of_output(&self) -> u64 {
        self.written + self.output.len() as u64
    }

    /// How many bytes the operating system took.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The next reply. Queued bytes are written before it is waited for, and while.
    pub(crate) async fn receive(&mut self) -> Result<Reply<Bytes>, Failure> {
        let result = poll_fn(|cx| self.poll_receive(cx)).await;
        let result = result.map_err(|failure| self.told_apart(failure));
        self.close_on_error(result)
    }

    /// Why the transport ended, if what came last tells more of it: an alert is what a server of TLS has to say
    /// to one who does not speak it.
    fn told_apart(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Closed | Failure::Io(_) if self.input.starts_with(TLS_ALERT) => {
                let why = "it answered by TLS: it is beanstalks://HOST:PORT";
                Failure::Io(io::Error::new(io::ErrorKind::InvalidData, why))
            }
            failure => failure,
        }
    }

    /// Writes what is queued. Replies that come meanwhile are read and kept, or else a server that
    /// waits for its replies to be taken and this end would wait for each other.
    pub(crate) async fn flush(&mut self) -> Result<(), Failure> {
        let result = poll_fn(|cx| self.poll_flush(cx)).await;
        self.close_on_error(result)
    }

    /// With no reply due: whether the connection is as good as can be told without waiting.
    pub(crate) async fn probe(&mut self) -> Result<(), Failure> {
        let result = poll_fn(|cx| match self.poll_silence(cx) {
            Poll::Ready(failure) => Poll::Ready(Err(failure)),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await;
        self.close_on_error(result)
    }

    /// With no reply due: waits until the connection ends.
    pub(crate) async fn closed(&mut self) -> Failure {
        let failure = poll_fn(|cx| self.poll_silence(cx)).await;
        self.close();
        failure
    }

    fn close_on_error<T>(&mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        if result.is_err() {
            self.close();
        }
        result
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply<Bytes>, Failure>> {
        loop {
            let decoded = self.decoder.decode(&mut self.input);
            self.large_input |= self.input.capacity() > KEPT_BUFFER;
            if let Some(reply) = decoded.map_err(Failure::Reply)? {
                if self.large_input && self.input.is_empty() {
                    (self.input, self.large_input) = (BytesMut::new(), false);
                }
                return Poll::Ready(Ok(reply));
            }
            let output = self.poll_output(cx);
            // A failed write does not end it yet: the server may have answered before it closed.
            match (self.poll_input(cx), output) {
                (Poll::Ready(Ok(())), _) => {}
                (Poll::Ready(Err(failure)), _) => return Poll::Ready(Err(failure)),
                (Poll::Pending, Poll::Ready(Err(failure))) => return Poll::Ready(Err(failure)),
                (Poll::Pending, _) => return Poll::Pending,
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            if let Poll::Ready(result) = self.poll_output(cx) {
                return Poll::Ready(result);
            }
            ready!(self.poll_input(cx))?;
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        if !self.input.is_empty() {
            return Poll::Ready(Failure::Unsolicited);
        }
        match ready!(self.poll_input(cx)) {
            Ok(()) => Poll::Ready(Failure::Unsolicited),
            Err(failure) => Poll::Ready(failure),
        }
    }

    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let stream = self.stream.as_mut().ok_or(Failure::Closed)?;
        while !self.output.is_empty() {
            self.large_output |= self.output.capacity() > KEPT_BUFFER;
            let sent = ready!(Pin::new(&mut *stream).poll_write(cx, &self.output));
            if sent.is_err() && self.is_ahead {
                // Any of them may have arrived.
                self.written += self.output.len() as u64;
                self.output.clear();
            }
            let sent = sent.map_err(lost)?;
            if sent == 0 {
                return Poll::Ready(Err(Failure::Io(io::ErrorKind::WriteZero.into())));
            }
            self.output.advance(sent);
            self.written += sent as u64;
            self.flushed = false;
        }
        if self.large_output {
            (self.output, self.large_output) = (BytesMut::new(), false);
        }
        if !self.flushed {
            ready!(Pin::new(stream).poll_flush(cx)).map_err(lost)?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once. The end of the stream is [`Failure::Closed`].
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let stream = self.stream.as_mut().ok_or(Failure::Closed)?;
        if self.input.capacity() - self.input.len() < READ_SIZE {
            self.input.reserve(READ_SIZE);
        }
        let read = std::pin::pin!(stream.read_buf(&mut self.input));
        Poll::Ready(match ready!(read.poll(cx)) {
            Ok(0) => Err(Failure::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(lost(error)),
        })
    }
}

fn lost(error: io::Error) -> Failure {
    #[cfg(feature = "tls")]
    if let Some(why) = jq_tls::explain(&error) {
        return Failure::Io(io::Error::new(error.kind(), why));
    }
    Failure::Io(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::BufMut;
    use tokio::io::{AsyncWriteExt, duplex};

    const LARGE: usize = 4 * KEPT_BUFFER;

    fn transport() -> (Transport, tokio::io::DuplexStream) {
        let (ours, theirs) = duplex(64 * 1024);
        (Transport::new(Box::new(ours), LARGE), theirs)
    }

    #[tokio::test]
    async fn the_memory_of_a_large_body_goes_with_the_body() {
        let (mut transport, mut peer) = transport();
        let server = async {
            peer.write_all(format!("FOUND 1 {LARGE}\r\n").as_bytes()).await.unwrap();
            peer.write_all(&vec![b'x'; LARGE]).await.unwrap();
            peer.write_all(b"\r\n").await.unwrap();
        };
        let (reply, ()) = tokio::join!(transport.receive(), server);
        let Ok(Reply::Found(1, body)) = reply else { panic!("{reply:?}") };
        assert_eq!(body.len(), LARGE);
        drop(body);
        // What it held would be taken back into use here.
        transport.probe().await.unwrap();
        assert!(transport.input.capacity() < KEPT_BUFFER, "{}", transport.input.capacity());
    }

    #[tokio::test]
    async fn the_memory_of_a_large_put_is_given_back() {
        let (mut transport, mut peer) = transport();
        transport.output().put_bytes(b'x', LARGE);
        assert_eq!((transport.written(), transport.end_of_output()), (0, LARGE as u64));
        let mut taken = vec![0; LARGE];
        let (flushed, read) = tokio::join!(transport.flush(), peer.read_exact(&mut taken));
        flushed.unwrap();
        read.unwrap();
        assert_eq!((transport.written(), transport.end_of_output()), (LARGE as u64, LARGE as u64));
        transport.output().reserve(1);
        assert!(transport.output.capacity() < KEPT_BUFFER, "{}", transport.output.capacity());
    }

    #[tokio::test]
    async fn a_failed_write_ends_a_wait_for_a_reply() {
        let (reader, mut peer) = duplex(100);
        let (writer, _) = duplex(100);
        let mut transport = Transport::new(Box::new(tokio::io::join(reader, writer)), LARGE);
        transport.output().put_slice(b"touch 1\r\n");
        // What had been answered counts.
        peer.write_all(b"TOUCHED\r\n").await.unwrap();
        assert!(matches!(transport.receive().await, Ok(Reply::Touched)));
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(30), transport.receive());
        assert!(matches!(waiting.await, Ok(Err(Failure::Io(_)))));
        assert_eq!((transport.is_open(), transport.written()), (false, 0));
    }

    /// A stream that has a part of what it was given on its way when it fails.
    struct Half;

    impl AsyncWrite for Half {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// TLS sends a large write in several records, of which the first may arrive: nothing of it may be
    /// taken for unsent.
    #[tokio::test]
    async fn what_a_failed_write_may_have_sent_counts_as_sent() {
        for is_ahead in [true, false] {
            let (reader, _peer) = duplex(100);
            let stream = Box::new(tokio::io::join(reader, Half));
            let mut transport = Transport::new(stream, LARGE).ahead(is_ahead);
            transport.output().put_slice(b"delete 1\r\ndelete 2\r\n");
            assert!(matches!(transport.flush().await, Err(Failure::Io(_))));
            assert_eq!(transport.written(), if is_ahead { 20 } else { 0 });
        }
    }
}
