//! An operator closes a connection, whatever it is doing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, Waker};

use jq_engine::ConnId;
use jq_server::log::binlog::{Options, SyncPolicy};
use jq_server::server::connection::Connection;

use crate::disk::FakeDisk;
use crate::pipe::Pipe;
use crate::server::{Hand, Server, Time};

struct Client {
    pipe: Pipe,
    connection: Pin<Box<Connection<Pipe>>>,
}

impl Client {
    fn new(server: &Server) -> Self {
        let pipe = Pipe::default();
        pipe.ends().room = usize::MAX;
        let connection = Box::pin(Connection::new(pipe.clone(), Arc::clone(&server.hub)));
        Self { pipe, connection }
    }

    /// Sends this, and receives what the server answers, as far as there is room for it.
    fn send(&mut self, server: &mut Server, bytes: &str) -> Poll<()> {
        self.pipe.ends().sent.extend(bytes.bytes());
        for hand in [Hand::Flusher, Hand::Syncer] {
            if self.poll().is_ready() {
                return Poll::Ready(());
            }
            server.turn(hand);
        }
        self.poll()
    }

    fn poll(&mut self) -> Poll<()> {
        self.connection.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn received(&self) -> String {
        String::from_utf8_lossy(&self.pipe.ends().received).into_owned()
    }
}

fn server() -> Server {
    let time = Time(Arc::new(AtomicU64::new(1_790_000_000 * 1_000_000_000)));
    let options = Options {
        policy: SyncPolicy::Never,
        segment_size: 100_000,
        shown_size: 0,
        store_from: usize::MAX,
    };
    Server::start(&FakeDisk::new(1), options, &time, false).expect("an empty disk is good")
}

#[test]
fn whatever_it_does_it_ends_and_gives_its_jobs_back() {
    let busy: [(&str, &str, usize); 5] = [
        ("idle", "", usize::MAX),
        ("in the middle of a line", "pee", usize::MAX),
        ("in the middle of a put", "put 0 0 1 100\r\nhalf", usize::MAX),
        ("waiting for a job", "watch empty\r\nignore default\r\nreserve\r\n", usize::MAX),
        ("not reading", "stats\r\nstats\r\n", 5),
    ];
    for (what, asks, room) in busy {
        let mut server = server();
        let mut client = Client::new(&server);
        assert!(client.send(&mut server, "put 0 0 100 1\r\nx\r\nreserve\r\n").is_pending());
        assert!(client.received().ends_with("RESERVED 1 1\r\nx\r\n"), "{}", client.received());
        client.pipe.ends().room = room;
        assert!(client.send(&mut server, asks).is_pending(), "{what}");
        let conn = ConnId(0);
        assert!(server.hub.close(conn), "{what}");
        assert!(server.hub.close(conn), "it is not gone yet: {what}");
        assert_eq!(client.poll(), Poll::Ready(()), "{what}");
        drop(client);
        assert!(!server.hub.close(conn), "{what}");
        server.hub.read(|engine, _| {
            let (job, _) = engine.job(1).expect("it is back");
            assert_eq!((job.holder, job.counters.disconnects), (None, 0), "{what}");
            assert_eq!(engine.server_stats().connections, 0, "{what}");
        });
        // The next connection with the same id is another one.
        let mut next = Client::new(&server);
        assert!(next.send(&mut server, "reserve\r\n").is_pending(), "{what}");
        assert_eq!(next.received(), "RESERVED 1 1\r\nx\r\n", "{what}");
    }
}

#[test]
fn a_connection_that_does_not_exist_is_not_closed() {
    let server = server();
    assert!(!server.hub.close(ConnId(0)));
    assert!(!server.hub.close(ConnId(u32::MAX)));
}
