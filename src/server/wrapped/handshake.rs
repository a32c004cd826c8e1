//! Who has not finished the handshake is nobody to the queue.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use super::cipher::HELLO;
use super::peer::connect;
use super::{Between, Server};

#[test]
fn nobody_hears_of_a_connection_before_its_handshake() {
    let server = Server::start(Between::Cipher);

    // One says nothing, one stops halfway, one has only its proof left to say.
    let _silent = connect(server.address);
    let mut halfway = connect(server.address);
    halfway.write_all(HELLO).expect("the server takes it");
    let mut unproved = connect(server.address);
    unproved.write_all(&[HELLO, b"a number"].concat()).expect("the server takes it");
    unproved.read_exact(&mut [0; 8]).expect("the server answers");
    assert_eq!(server.hub.connections(), 0);

    // Three fail: by another protocol, by a wrong proof, by leaving.
    for words in [&b"put 0 0 60 5\r\nhello\r\n"[..], b"XOR1a number\x00\x05wrong", HELLO] {
        let mut failing = connect(server.address);
        failing.write_all(words).expect("the server takes it");
        // It may be closed already; and closing with unread bytes resets it.
        let _ = failing.shutdown(Shutdown::Write);
        if let Err(error) = failing.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
    assert_eq!(server.hub.connections(), 0);

    // Meanwhile others are served, and are all that the queue has seen.
    let mut peer = server.connect();
    peer.begin("put 0 0 60 5\r\nhello\r\nreserve\r\n");
    peer.expect("INSERTED 1\r\nRESERVED 1 5\r\nhello\r\n");
    assert_eq!(server.hub.connections(), 1);
    peer.send("stats\r\n");
    peer.expect("OK ");
    peer.send("quit\r\n");
    let stats = peer.rest();
    assert!(stats.contains("\ntotal-connections: 1\n"), "{stats}");
    assert!(stats.contains("\ncurrent-connections: 1\n"), "{stats}");
}
