//! A toy cipher over another socket. It has what makes a wrapped stream different: a handshake,
//! records that are useless until they are whole, an end that is said in band, and a buffer on
//! either side. It protects nothing.
//!
//! The client says hello with a number, the server answers with its own, and both make the keys of
//! these. The client's first record proves that it knows them; what it sends behind that may arrive
//! with it. A record is its length in two bytes and so many enciphered bytes, or a length of 0, and
//! nothing comes after that.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::server::socket::Socket;

/// How a client begins. Its number of 8 bytes follows.
pub(super) const HELLO: &[u8] = b"XOR1";

/// What the first record of a client holds.
pub(super) const PROOF: &[u8] = b"ready";

/// The most bytes in one record. Small, so that a body takes many.
pub(super) const MAX_RECORD: usize = 1000;

/// The record that ends the stream.
pub(super) const END: [u8; 2] = [0, 0];

/// Enciphered bytes that are taken from the socket below at a time.
const READ_SIZE: usize = 3000;

/// Deciphered bytes that are held to find the end behind them.
pub(super) const READ_AHEAD: usize = 4096;

/// Enciphered bytes that are held before they must be written.
const WRITE_BUFFER: usize = 16 * 1024;

/// The keys of both directions: what the client sends, and what it receives.
pub(super) fn keys(client: [u8; 8], server: [u8; 8]) -> [Key; 2] {
    [Key { key: [client, server], at: 0 }, Key { key: [server, client], at: 0 }]
}

/// A key, and how far it is used. A byte that is lost or moved garbles all that follows.
pub(super) struct Key {
    key: [[u8; 8]; 2],
    at: usize,
}

impl Key {
    fn apply(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            let key = self.key[self.at / 8 % 2][self.at % 8];
            *byte ^= key.wrapping_add((self.at % 251) as u8);
            self.at += 1;
        }
    }

    /// Appends a record to `out`.
    pub(super) fn seal(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        assert!((1..=MAX_RECORD).contains(&bytes.len()), "it fits into a record");
        out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        let begin = out.len();
        out.extend_from_slice(bytes);
        self.apply(&mut out[begin..]);
    }
}

/// What arrives: enciphered bytes that are no whole record yet, and what has been made of the rest.
pub(super) struct Incoming {
    key: Key,
    raw: Vec<u8>,
    pub(super) plain: Vec<u8>,
    /// Nothing comes any more.
    pub(super) ended: bool,
}

impl Incoming {
    pub(super) fn new(key: Key) -> Self {
        Self { key, raw: Vec::new(), plain: Vec::new(), ended: false }
    }

    /// Deciphers what is whole. No bytes are the end of the stream below.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() && !self.raw.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.ended |= bytes.is_empty();
        self.raw.extend_from_slice(bytes);
        while !self.ended
            && let Some((length, rest)) = self.raw.split_first_chunk()
        {
            let length = usize::from(u16::from_be_bytes(*length));
            if length > MAX_RECORD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if length > rest.len() {
                break;
            }
            let begin = self.plain.len();
            self.plain.extend_from_slice(&rest[..length]);
            self.key.apply(&mut self.plain[begin..]);
            self.ended = length == 0;
            self.raw.drain(..END.len() + length);
        }
        Ok(())
    }

    fn give(&mut self, most: usize) -> Vec<u8> {
        self.plain.drain(..most.min(self.plain.len())).collect()
    }
}

/// The server's end, over the socket `S`.
pub(super) struct Cipher<S> {
    below: S,
    incoming: Incoming,
    key: Key,
    unsent: Vec<u8>,
    has_ended: bool,
}

impl<S: Socket> Cipher<S> {
    /// With the handshake behind it.
    pub(super) fn new(below: S, [incoming, outgoing]: [Key; 2]) -> Self {
        let incoming = Incoming::new(incoming);
        Self { below, incoming, key: outgoing, unsent: Vec::new(), has_ended: false }
    }

    /// The server's side of the handshake. `number` should differ each time.
    pub(super) async fn accept(mut below: S, number: [u8; 8]) -> io::Result<Self> {
        let mut hello = [0; HELLO.len() + 8];
        below.read_exact(&mut hello).await?;
        let Some(client) = hello.strip_prefix(HELLO).and_then(|it| it.try_into().ok()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        below.write_all(&number).await?;
        below.flush().await?;
        let mut cipher = Self::new(below, keys(client, number));
        let mut proof = [0; PROOF.len()];
        cipher.read_exact(&mut proof).await?;
        if proof == PROOF { Ok(cipher) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut chunk = [0; READ_SIZE];
        let mut buffer = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.below).poll_read(cx, &mut buffer))?;
        Poll::Ready(self.incoming.take(buffer.filled()))
    }

    fn fill_now(&mut self) -> io::Result<()> {
        let mut chunk = [0; READ_SIZE];
        let count = self.below.read_now(&mut chunk)?;
        self.incoming.take(&chunk[..count])
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let count = ready!(Pin::new(&mut self.below).poll_write(cx, &self.unsent))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_ended {
            self.has_ended = true;
            self.unsent.extend(END);
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.below).poll_flush(cx)
    }
}

impl<S: Socket> AsyncRead for Cipher<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.incoming.plain.is_empty() && !this.incoming.ended {
            ready!(this.poll_fill(cx))?;
        }
        buffer.put_slice(&this.incoming.give(buffer.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> AsyncWrite for Cipher<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.unsent.len() >= WRITE_BUFFER {
            ready!(this.poll_drain(cx))?;
        }
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        let bytes: Vec<u8> = bytes.take(MAX_RECORD).collect();
        this.key.seal(&bytes, &mut this.unsent);
        Poll::Ready(Ok(bytes.len()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.below).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_end(cx))?;
        Pin::new(&mut this.below).poll_shutdown(cx)
    }
}

impl<S: Socket> Socket for Cipher<S> {
    fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.incoming.plain.is_empty() && !self.incoming.ended {
            self.fill_now()?;
        }
        let bytes = self.incoming.give(buffer.len());
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn poll_read_event(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The end may have come with the last bytes that were read; no event follows it.
        if self.incoming.ended { Poll::Ready(Ok(())) } else { self.below.poll_read_event(cx) }
    }

    fn hung_up(&mut self) -> bool {
        // Before the reading, or an event after it would be forgotten.
        if self.below.hung_up() {
            return true;
        }
        while self.incoming.plain.len() < READ_AHEAD && !self.incoming.ended {
            match self.fill_now() {
                Ok(()) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        self.incoming.ended
    }

    fn has_failed(&self) -> bool {
        self.below.has_failed()
    }

    fn peer(&self) -> String {
        self.below.peer()
    }

    fn needs_flush(&self) -> bool {
        !self.unsent.is_empty() || self.below.needs_flush()
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_end(cx))?;
        self.below.poll_close(cx)
    }
}
