//! A client that speaks plainly, through the cipher or by TLS, for sessions that are the same in all.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustls::ClientConnection;

use super::cipher::{END, HELLO, Incoming, Key, MAX_RECORD, PROOF, keys};

/// Longest time that a test may wait for anything. Never reached when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Peer {
    stream: TcpStream,
    layer: Layer,
    /// Bytes that nobody has expected yet.
    unread: Vec<u8>,
    /// Everything that came.
    pub(super) received: Vec<u8>,
}

enum Layer {
    Plain,
    Cipher { key: Key, incoming: Incoming },
    Tls { client: Box<ClientConnection>, ended: bool },
}

/// A connection without any handshake.
pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("it is a TCP socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("it is not zero");
    stream
}

impl Peer {
    pub(super) fn plain(address: SocketAddr) -> Self {
        Self::over(connect(address), Layer::Plain)
    }

    /// With the handshake done, but for the proof, which comes with the first bytes that are sent.
    pub(super) fn wrapped(address: SocketAddr) -> Self {
        let mut stream = connect(address);
        let client = *b"client's";
        stream.write_all(&[HELLO, &client].concat()).expect("the server takes it");
        let mut server = [0; 8];
        stream.read_exact(&mut server).expect("the server answers");
        let [key, incoming] = keys(client, server);
        let layer = Layer::Cipher { key, incoming: Incoming::new(incoming) };
        Self::over(stream, layer)
    }

    /// With the handshake done, but for what this client says last: that comes with the first bytes that are
    /// sent, if the server does not wait for it.
    pub(super) fn secure(address: SocketAddr, mut client: ClientConnection) -> Self {
        let mut stream = connect(address);
        while client.is_handshaking() {
            while client.wants_write() {
                client.write_tls(&mut stream).expect("the server takes it");
            }
            client.read_tls(&mut stream).expect("the server answers");
            client.process_new_packets().expect("the server is right");
        }
        Self::over(stream, Layer::Tls { client: Box::new(client), ended: false })
    }

    fn over(stream: TcpStream, layer: Layer) -> Self {
        Self { stream, layer, unread: Vec::new(), received: Vec::new() }
    }

    /// What is to be written so that the server gets these bytes, behind the proof if `first`.
    fn on_the_wire(&mut self, bytes: &[u8], first: bool) -> Vec<u8> {
        match &mut self.layer {
            Layer::Plain => bytes.to_vec(),
            Layer::Cipher { key, .. } => {
                let mut out = Vec::new();
                if first {
                    key.seal(PROOF, &mut out);
                }
                bytes.chunks(MAX_RECORD).for_each(|bytes| key.seal(bytes, &mut out));
                out
            }
            Layer::Tls { client, .. } => {
                client.writer().write_all(bytes).expect("it has no limit");
                written(client)
            }
        }
    }

    /// Sends the first bytes of all.
    pub(super) fn begin(&mut self, bytes: impl AsRef<[u8]>) {
        let out = self.on_the_wire(bytes.as_ref(), true);
        self.stream.write_all(&out).expect("the server takes it");
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let out = self.on_the_wire(bytes.as_ref(), false);
        self.stream.write_all(&out).expect("the server takes it");
    }

    /// Sends each byte of the wire by itself.
    pub(super) fn send_slowly(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in self.on_the_wire(bytes.as_ref(), false) {
            self.stream.write_all(&[byte]).expect("the server takes it");
        }
    }

    /// Says that nothing more comes: in band if there is a way, and the connection stays open.
    pub(super) fn half_close(&mut self) {
        match &mut self.layer {
            Layer::Plain => self.stream.shutdown(Shutdown::Write).expect("it is connected"),
            Layer::Cipher { .. } => {
                self.stream.write_all(&END).expect("the server takes it");
            }
            Layer::Tls { client, .. } => {
                client.send_close_notify();
                self.stream.write_all(&written(client)).expect("the server takes it");
            }
        }
    }

    /// Closes the sending side of the connection itself, and says nothing in band.
    pub(super) fn hang_up(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("it is connected");
    }

    /// Reads exactly this.
    pub(super) fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let expected = bytes.as_ref();
        while self.unread.len() < expected.len() {
            assert!(self.receive(), "closed after {}", self.unread.escape_ascii());
        }
        let found: Vec<u8> = self.unread.drain(..expected.len()).collect();
        let shown = |bytes: &[u8]| bytes[..bytes.len().min(200)].escape_ascii().to_string();
        assert!(found == expected, "{} instead of {}", shown(&found), shown(expected));
    }

    /// Asks something, and reads a piece of the reply. False: the server has said the end instead.
    pub(super) fn asks(&mut self, request: &str) -> bool {
        self.send(request);
        let goes_on = self.receive();
        self.unread.clear();
        goes_on
    }

    /// The statistics of a tube.
    pub(super) fn ask_tube(&mut self, tube: &str) -> String {
        self.send(format!("stats-tube {tube}\r\n"));
        while !self.unread.ends_with(b"\n\r\n") {
            assert!(self.receive(), "closed after {}", self.unread.escape_ascii());
        }
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    /// Reads to the end, as text.
    pub(super) fn rest(&mut self) -> String {
        while self.receive() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    /// Reads the end: said in band if there is a way, and then the connection's.
    pub(super) fn expect_end(&mut self) {
        assert!(!self.receive(), "{} instead of the end", self.unread.escape_ascii());
        match &self.layer {
            Layer::Plain => {}
            Layer::Cipher { incoming: Incoming { ended, .. }, .. } | Layer::Tls { ended, .. } => {
                assert!(*ended, "the end was said");
            }
        }
        assert_eq!(self.stream.read(&mut [0]).expect("it is closed in good order"), 0);
    }

    /// Reads what comes next. False at the end.
    fn receive(&mut self) -> bool {
        let mut chunk = [0; 10_000];
        let before = self.received.len();
        while self.received.len() == before {
            match &self.layer {
                Layer::Cipher { incoming: Incoming { ended, .. }, .. }
                | Layer::Tls { ended, .. }
                    if *ended =>
                {
                    return false;
                }
                _ => {}
            }
            let count = self.stream.read(&mut chunk).expect("the server goes on");
            match &mut self.layer {
                Layer::Plain if count == 0 => return false,
                Layer::Plain => self.received.extend_from_slice(&chunk[..count]),
                Layer::Cipher { incoming, .. } => {
                    assert!(count > 0, "the connection ended without a word");
                    incoming.take(&chunk[..count]).expect("the records are whole");
                    self.received.append(&mut incoming.plain);
                }
                Layer::Tls { client, ended } => {
                    assert!(count > 0, "the connection ended without a word");
                    let mut raw = &chunk[..count];
                    while !raw.is_empty() {
                        client.read_tls(&mut raw).expect("there is room");
                        let state = client.process_new_packets().expect("the records are whole");
                        *ended |= state.peer_has_closed();
                        let mut data = vec![0; state.plaintext_bytes_to_read()];
                        client.reader().read_exact(&mut data).expect("it is there");
                        self.received.append(&mut data);
                    }
                }
            }
        }
        self.unread.extend_from_slice(&self.received[before..]);
        true
    }
}

/// What the client has to say.
fn written(client: &mut ClientConnection) -> Vec<u8> {
    let mut out = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut out).expect("it has no limit");
    }
    out
}
