//! Keys that are good for so many records only.

use super::secure::{Secrets, Version};
use super::{Between, Server};

/// Records that a key is good for.
const RECORDS: u64 = 10;

#[test]
fn with_tls_1_3_they_are_replaced() {
    let server = Server::start_with(Between::Tls(Version::Tls13), Secrets::wearing_out(RECORDS));
    let mut peer = server.connect();
    peer.begin("use t\r\n");
    peer.expect("USING t\r\n");
    for _ in 0..10 * RECORDS {
        peer.send("list-tube-used\r\n");
        peer.expect("USING t\r\n");
    }
}

/// The client is not left to wait for a reply that cannot come.
#[test]
fn with_tls_1_2_the_connection_ends() {
    let server = Server::start_with(Between::Tls(Version::Tls12), Secrets::wearing_out(RECORDS));
    let mut peer = server.connect();
    peer.begin("use t\r\n");
    peer.expect("USING t\r\n");
    let mut replies = 0;
    while peer.asks("list-tube-used\r\n") {
        replies += 1;
        assert!(replies < RECORDS, "it goes on");
    }
    assert!(replies > RECORDS / 2, "{replies}");
    // Nobody is left behind.
    let mut other = server.connect();
    other.begin("use t\r\n");
    other.expect("USING t\r\n");
    while server.hub.connections() > 1 {
        std::thread::yield_now();
    }
}
