//! A connection over a wrapped stream, polled step by step.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::below::Below;
use super::cipher::{Cipher, Incoming, Key, keys};
use super::hub;
use crate::server::connection::Connection;

/// The client, and the socket below the cipher.
struct Client {
    below: Below,
    key: Key,
    incoming: Incoming,
}

impl Client {
    /// And the server's end.
    fn new() -> (Self, Cipher<Below>) {
        let (client, server) = (*b"client's", *b"server's");
        let below = Below::default();
        let [key, incoming] = keys(client, server);
        let cipher = Cipher::new(below.clone(), keys(client, server));
        (Self { below, key, incoming: Incoming::new(incoming) }, cipher)
    }

    fn seal(&mut self, request: &str) -> Vec<u8> {
        let mut out = Vec::new();
        self.key.seal(request.as_bytes(), &mut out);
        out
    }

    fn send(&mut self, request: &str) {
        let out = self.seal(request);
        self.below.state().to_read.extend(out);
    }

    /// Bytes that the server has not taken from the socket.
    fn unread(&self) -> usize {
        self.below.state().to_read.len()
    }

    fn make_room(&self, bytes: usize) {
        self.below.state().room = bytes;
    }

    /// Takes what was written since.
    fn receive(&mut self) -> String {
        let written = std::mem::take(&mut self.below.state().written);
        if !written.is_empty() {
            self.incoming.take(&written).expect("it is deciphered");
        }
        String::from_utf8(std::mem::take(&mut self.incoming.plain)).expect("it is text")
    }
}

fn poll(connection: &mut Pin<&mut Connection<Cipher<Below>>>) -> Poll<()> {
    connection.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn what_the_stream_holds_leaves_before_anything_else_happens() {
    const REPLY: &str = "USING t\r\n";
    const RECORD: usize = 2 + REPLY.len();
    let (mut client, cipher) = Client::new();
    let mut connection = pin!(Connection::new(cipher, hub()));

    client.send("use t\r\n");
    assert_eq!(poll(&mut connection), Poll::Pending);
    assert_eq!(client.unread(), 0, "it was carried out");
    // Its reply is out of the connection's hands, and yet nothing more is read.
    client.send("list-tube-used\r\nquit\r\n");
    let unread = client.unread();
    assert_eq!(poll(&mut connection), Poll::Pending);
    assert_eq!(client.unread(), unread);

    // It leaves as there is room, without another request.
    client.make_room(RECORD - 1);
    assert_eq!(poll(&mut connection), Poll::Pending);
    assert_eq!((client.receive(), client.unread()), (String::new(), unread));
    client.make_room(1);
    assert_eq!(poll(&mut connection), Poll::Pending);
    assert_eq!((client.receive(), client.unread()), (REPLY.to_owned(), 0));

    // The last reply, and then the end, are waited for like any other.
    client.make_room(RECORD);
    assert_eq!(poll(&mut connection), Poll::Pending);
    assert_eq!((client.receive(), client.incoming.ended), (REPLY.to_owned(), false));
    client.make_room(100);
    assert_eq!(poll(&mut connection), Poll::Ready(()));
    assert_eq!((client.receive(), client.incoming.ended), (String::new(), true));
}

/// Also what the stream has read and nobody has asked for. Half a record is nothing.
#[test]
fn all_that_has_arrived_when_the_server_stops_is_answered() {
    const COUNT: usize = 50;
    let (mut client, cipher) = Client::new();
    client.make_room(usize::MAX);
    let hub = hub();
    let mut connection = pin!(Connection::new(cipher, Arc::clone(&hub)));
    assert_eq!(poll(&mut connection), Poll::Pending);
    for _ in 0..COUNT {
        client.send(&"list-tube-used\r\n".repeat(10));
    }
    let half = client.seal("use t\r\n");
    client.below.state().to_read.extend(&half[..half.len() / 2]);
    hub.stop();
    assert_eq!(poll(&mut connection), Poll::Ready(()));
    assert_eq!(client.receive(), "USING default\r\n".repeat(10 * COUNT));
    assert!(client.incoming.ended);
}
