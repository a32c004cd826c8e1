//! TLS on one connection, without its socket: bytes in, bytes out.
//!
//! rustls' unbuffered interface is used: an idle connection then has the keys and nothing else. Bytes are
//! read into buffers of the thread, deciphered there, and enciphered from there.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use tokio::io::ReadBuf;

use super::names::names_of;

/// The most bytes that are kept because they are no whole record or no whole message of a handshake. A record
/// has 16 KiB and some more; the rest is for long chains of certificates.
pub(super) const MAX_RAW: usize = 32 * 1024;

/// What a record has beyond its data, at most, in bytes; also the size of a record with an alert or new keys.
const RECORD_OVERHEAD: usize = 64;

/// The most data in a record, in bytes.
const RECORD_DATA: usize = 16 * 1024;

/// The state of TLS, and the bytes that wait for something.
pub(crate) struct Session {
    tls: UnbufferedServerConnection,
    /// What came last and is not whole yet.
    raw: Vec<u8>,
    /// Deciphered bytes that nobody has taken, from `given` on.
    plain: Vec<u8>,
    given: usize,
    /// Nothing comes any more.
    ended: bool,
    /// The end is said.
    said_end: bool,
    /// Nothing can be read or written any more.
    failed: bool,
}

/// Enciphered bytes to be written. Its memory is used again.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    bytes: Vec<u8>,
    used: usize,
}

impl Sealed {
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// Room for so many more bytes at least.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.bytes.len() < self.used + bytes {
            self.bytes.resize(self.used + bytes, 0);
        }
        &mut self.bytes[self.used..]
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// What is to be said once everything that came is deciphered.
#[derive(Clone, Copy)]
enum Say<'a> {
    Nothing,
    Data(&'a [u8]),
    End,
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = UnbufferedServerConnection::new(config).map_err(invalid)?;
        Ok(Self {
            tls,
            raw: Vec::new(),
            plain: Vec::new(),
            given: 0,
            ended: false,
            said_end: false,
            failed: false,
        })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether nothing comes any more, though bytes may be left to be given.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether nothing can be read or written any more.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Number of deciphered bytes that nobody has taken.
    pub(super) fn ahead(&self) -> usize {
        self.plain.len() - self.given
    }

    /// Bytes of memory for what is not whole, or not taken.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.raw.capacity() + self.plain.capacity()
    }

    /// The names in the client's certificate, if it has shown one; it is verified.
    pub(super) fn names(&self) -> Vec<String> {
        let certificate = self.tls.peer_certificates().and_then(<[_]>::first);
        certificate.map(|it| names_of(it)).unwrap_or_default()
    }

    /// Bytes that came and are not whole yet: copies them to the beginning of `input`, and returns how
    /// many there are.
    pub(super) fn begin(&self, input: &mut [u8]) -> usize {
        input[..self.raw.len()].copy_from_slice(&self.raw);
        self.raw.len()
    }

    /// Moves deciphered bytes that were kept to `room`. Returns whether there were some.
    pub(super) fn give(&mut self, room: &mut ReadBuf<'_>) -> bool {
        let count = self.ahead().min(room.remaining());
        if count == 0 {
            return false;
        }
        room.put_slice(&self.plain[self.given..self.given + count]);
        self.given += count;
        if self.ahead() == 0 {
            (self.plain, self.given) = (Vec::new(), 0);
        }
        true
    }

    /// Deciphers what came: `input` begins with what [`Session::begin`] put there, and `is_end` says that
    /// nothing came behind it, ever. What does not fit into `room` is kept. What is to be sent because of
    /// it, an alert for example, is added to `sealed`, also with an error.
    ///
    /// An end without `close_notify` is an end like any other, as it is without TLS.
    pub(super) fn take(
        &mut self,
        input: &mut [u8],
        is_end: bool,
        room: &mut ReadBuf<'_>,
        sealed: &mut Sealed,
    ) -> io::Result<()> {
        self.ended |= is_end;
        let taken = self.advance(input, room, sealed, Say::Nothing);
        let at = match taken {
            Ok(at) => at,
            Err(error) => {
                self.raw = Vec::new();
                return Err(error);
            }
        };
        let rest = &input[at..];
        if rest.is_empty() {
            self.raw = Vec::new();
        } else if rest.len() > MAX_RAW {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of TLS is too long"));
        } else {
            self.raw.clear();
            self.raw.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Enciphers data. With an error, `sealed` may have an alert: with TLS 1.2, a key is good for so many
    /// records only.
    pub(super) fn seal(&mut self, data: &[u8], sealed: &mut Sealed) -> io::Result<()> {
        self.say(Say::Data(data), sealed)
    }

    /// Says that nothing more is sent, once.
    pub(super) fn seal_end(&mut self, sealed: &mut Sealed) -> io::Result<()> {
        if std::mem::replace(&mut self.said_end, true) {
            return Ok(());
        }
        self.say(Say::End, sealed)
    }

    fn say(&mut self, what: Say<'_>, sealed: &mut Sealed) -> io::Result<()> {
        // What is not whole belongs to rustls' state.
        let mut raw = std::mem::take(&mut self.raw);
        let said = self.advance(&mut raw, &mut ReadBuf::new(&mut []), sealed, what);
        if let Ok(at) = &said {
            raw.drain(..*at);
        }
        self.raw = raw;
        said.map(drop)
    }

    /// Nothing goes on from here. There may be an alert, which tells the client; rustls must not be asked for
    /// more than that.
    fn fail(&mut self, mut input: &mut [u8], sealed: &mut Sealed) -> io::Result<()> {
        self.failed = true;
        while self.tls.wants_write() {
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(input);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { break };
            encode(sealed, |room| data.encode(room))?;
            input = &mut input[discard..];
        }
        Ok(())
    }

    /// Has rustls do all that it can do. Returns how many bytes of `input` are done with.
    fn advance(
        &mut self,
        input: &mut [u8],
        room: &mut ReadBuf<'_>,
        sealed: &mut Sealed,
        say: Say<'_>,
    ) -> io::Result<usize> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut at = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.tls.process_tls_records(&mut input[at..]);
            let mut is_done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        let (now, later) =
                            record.payload.split_at(record.payload.len().min(room.remaining()));
                        room.put_slice(now);
                        self.plain.extend_from_slice(later);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(sealed, |room| data.encode(room))?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(ConnectionState::Closed) => {
                    self.ended = true;
                    is_done = true;
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let said = match say {
                        Say::Nothing => Ok(()),
                        Say::Data(data) => {
                            encrypt(sealed, data.len(), |room| traffic.encrypt(data, room))
                        }
                        Say::End => encrypt(sealed, 0, |room| traffic.queue_close_notify(room)),
                    };
                    if let Err(error) = said {
                        self.fail(&mut input[at + discard..], sealed)?;
                        return Err(error);
                    }
                    is_done = true;
                }
                Ok(ConnectionState::BlockedHandshake) => is_done = true,
                // Early data is not offered, and there are no other states.
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) => {
                    self.fail(&mut input[at + discard..], sealed)?;
                    return Err(invalid(error));
                }
            }
            at += discard;
            if is_done {
                return Ok(at);
            }
        }
    }
}

fn encode(
    sealed: &mut Sealed,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> io::Result<()> {
    let mut needed = RECORD_OVERHEAD;
    loop {
        match encode(sealed.room(needed)) {
            Ok(count) => {
                sealed.used += count;
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                needed = required_size;
            }
            Err(error) => return Err(invalid(error)),
        }
    }
}

fn encrypt(
    sealed: &mut Sealed,
    data: usize,
    mut encrypt: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> io::Result<()> {
    let mut needed = data + (data / RECORD_DATA + 2) * RECORD_OVERHEAD;
    loop {
        match encrypt(sealed.room(needed)) {
            Ok(count) => {
                sealed.used += count;
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                needed = required_size;
            }
            Err(error) => return Err(invalid(error)),
        }
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
