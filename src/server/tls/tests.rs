//! Random clients: what they send is damaged, and comes in pieces of any size.

use std::io::{Read, Write};

use fastrand::Rng;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::ring::cipher_suite::TLS13_AES_256_GCM_SHA384;
use rustls::{
    ClientConnection, ConnectionTrafficSecrets, ContentType, ExtractedSecrets, ProtocolVersion,
};
use tokio::io::ReadBuf;

use super::session::{MAX_RAW, Sealed, Session};
use crate::server::wrapped::secure::{Secrets, Version};

/// Handshakes that are tried.
const CASES: u64 = 400;

/// The most bytes that come at a time.
const PIECE: usize = 20_000;

struct Server {
    session: Session,
    input: Vec<u8>,
    sealed: Sealed,
    received: Vec<u8>,
}

impl Server {
    fn hear(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let kept = self.session.begin(&mut self.input);
        assert!(kept <= MAX_RAW);
        self.input[kept..kept + bytes.len()].copy_from_slice(bytes);
        // Little room, so that some is kept.
        let mut room = [0; 50];
        let mut room = ReadBuf::new(&mut room);
        let input = &mut self.input[..kept + bytes.len()];
        let heard = self.session.take(input, false, &mut room, &mut self.sealed);
        self.received.extend_from_slice(room.filled());
        loop {
            let mut more = [0; 50];
            let mut more = ReadBuf::new(&mut more);
            if !self.session.give(&mut more) {
                return heard;
            }
            self.received.extend_from_slice(more.filled());
        }
    }
}

/// Changes bytes, or leaves some out, or adds some.
fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.usize(..bytes.len());
    match rng.u8(..4) {
        0 => bytes[at] = rng.u8(..),
        1 => bytes.truncate(at),
        2 => drop(bytes.drain(at..(at + rng.usize(1..10)).min(bytes.len()))),
        _ => {
            let added: Vec<u8> = (0..rng.usize(1..100)).map(|_| rng.u8(..)).collect();
            bytes.splice(at..at, added);
        }
    }
}

fn written(client: &mut ClientConnection) -> Vec<u8> {
    let mut out = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut out).expect("it has no limit");
    }
    out
}

impl Server {
    fn new(secrets: &Secrets) -> Self {
        Self {
            session: Session::new(secrets.config()).expect("the configuration is right"),
            input: vec![0; MAX_RAW + PIECE],
            sealed: Sealed::default(),
            received: Vec::new(),
        }
    }
}

/// A client and a server talk until one of them has had enough. Returns whether all was right.
fn talk(secrets: &Secrets, rng: &mut Rng, damages: bool) -> bool {
    let version = if rng.bool() { Version::Tls12 } else { Version::Tls13 };
    let mut client = secrets.client(version);
    let mut server = Server::new(secrets);
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        if !client.is_handshaking() {
            let request = vec![rng.u8(..); rng.usize(1..30_000)];
            client.writer().write_all(&request).expect("there is no limit");
            asked.extend(request);
        }
        let mut bytes = written(&mut client);
        if damages && !bytes.is_empty() && rng.u8(..3) == 0 {
            damage(&mut bytes, rng);
        }
        let mut rest = &bytes[..];
        let mut heard = Ok(());
        while !rest.is_empty() && heard.is_ok() {
            let (piece, more) = rest.split_at(rng.usize(1..=rest.len().min(PIECE)));
            heard = server.hear(piece);
            rest = more;
        }
        if heard.is_err() {
            // Nothing goes on from here, and nothing panics.
            assert!(server.hear(b"more").is_err());
            assert!(server.session.seal(b"late", &mut server.sealed).is_err());
            assert!(server.session.seal_end(&mut server.sealed).is_err());
            return false;
        }
        if !server.session.is_handshaking() {
            let reply = vec![rng.u8(..); rng.usize(1..30_000)];
            server.session.seal(&reply, &mut server.sealed).expect("it can speak");
            answered.extend(reply);
        }
        let mut said = server.sealed.filled();
        while !said.is_empty() {
            if client.read_tls(&mut said).is_err() || client.process_new_packets().is_err() {
                return false;
            }
            let mut reply = Vec::new();
            // There may be nothing yet.
            let _ = client.reader().read_to_end(&mut reply);
            assert!(answered.starts_with(&reply), "what was said is heard");
            answered.drain(..reply.len());
        }
        server.sealed.clear();
    }
    if !damages {
        assert!(!asked.is_empty() && asked == server.received, "all of it is heard");
        assert!(answered.is_empty());
        assert_eq!(server.session.held(), 0, "nothing is kept for an idle client");
    }
    true
}

#[test]
fn damaged_clients() {
    let secrets = Secrets::new();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let right = (0..CASES).filter(|_| talk(&secrets, &mut rng, true)).count() as u64;
    assert!(right < CASES, "some were damaged");
}

#[test]
fn pieces_of_any_size() {
    let secrets = Secrets::new();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    for _ in 0..20 {
        assert!(talk(&secrets, &mut rng, false));
    }
}

/// Makes records of a client whose handshake is done.
struct Records {
    encrypter: Box<dyn MessageEncrypter>,
    number: u64,
}

impl Records {
    fn of(client: ClientConnection) -> Self {
        let ExtractedSecrets { tx: (number, secrets), .. } =
            client.dangerous_extract_secrets().expect("the handshake is done");
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            panic!("the best suite of both is another one")
        };
        let suite = TLS13_AES_256_GCM_SHA384.tls13().expect("it is of TLS 1.3");
        Self { encrypter: suite.aead_alg.encrypter(key, iv), number }
    }

    fn record(&mut self, data: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(data),
        };
        let sealed = self.encrypter.encrypt(message, self.number).expect("the key is good");
        self.number += 1;
        sealed.encode()
    }
}

#[test]
fn records_without_data() {
    let secrets = Secrets::new();
    let mut client = secrets.client(Version::Tls13);
    let mut server = Server::new(&secrets);
    while server.session.is_handshaking() {
        server.hear(&written(&mut client)).expect("the client is right");
        client.read_tls(&mut server.sealed.filled()).expect("there is room");
        client.process_new_packets().expect("the server is right");
        server.sealed.clear();
    }
    let mut records = Records::of(client);
    // Some are fine, again and again.
    for _ in 0..1000 {
        (0..10).for_each(|_| server.hear(&records.record(&[])).expect("these are few"));
        server.hear(&records.record(b"x")).expect("it has data");
    }
    assert_eq!(server.received, [b'x'; 1000]);
    let ended = (0..100).any(|_| server.hear(&records.record(&[])).is_err());
    assert!(ended, "it goes on for ever");
}
