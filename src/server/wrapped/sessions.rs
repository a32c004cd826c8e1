//! The same sessions over all kinds of stream, byte for byte.

use super::cipher::READ_AHEAD;
use super::peer::Peer;
use super::secure::Version;
use super::{Between, Server};

/// Plays a session over a plain stream and each wrapped one, and compares what each client has received.
fn same_over_all(session: impl Fn(&Server) -> Vec<Peer>) {
    let play = |between| {
        let server = Server::start(between);
        session(&server).into_iter().map(|peer| peer.received).collect::<Vec<_>>()
    };
    let plain = play(Between::Nothing);
    for between in [Between::Cipher, Between::Tls(Version::Tls12), Between::Tls(Version::Tls13)] {
        assert!(plain == play(between), "the bytes are the same: {between:?}");
    }
}

#[test]
fn pipelining_in_pieces_of_any_size() {
    same_over_all(|server| {
        let large = "x".repeat(60_000);
        let mut peer = server.connect();
        // Behind the handshake, in one write with its end.
        peer.begin("list-tube-used\r\nuse t\r\nput 5 0 60 5\r\nhello\r\n");
        peer.expect("USING default\r\nUSING t\r\nINSERTED 1\r\n");
        peer.send(format!("put 4 0 60 60000\r\n{large}\r\nwatch t\r\nreserve\r\nreserve\r\n"));
        peer.expect("INSERTED 2\r\nWATCHING 2\r\n");
        peer.expect(format!("RESERVED 2 60000\r\n{large}\r\nRESERVED 1 5\r\nhello\r\n"));
        peer.send_slowly("release 1 7 0\r\npeek-ready\r\nput 1 0 60 3\r\nabc\r\ndelete 2\r\n");
        peer.expect("RELEASED\r\nFOUND 1 5\r\nhello\r\nINSERTED 3\r\nDELETED\r\n");
        peer.send("nonsense\r\ndelete 2\r\nquit\r\nlist-tubes\r\n");
        peer.expect("UNKNOWN_COMMAND\r\nNOT_FOUND\r\n");
        peer.expect_end();
        vec![peer]
    });
}

/// More replies than all buffers hold are on their way before the client reads the first.
#[test]
fn replies_that_are_not_read_for_long() {
    const COUNT: usize = 300;
    same_over_all(|server| {
        let large = "y".repeat(60_000);
        let mut peer = server.connect();
        peer.begin(format!("put 0 0 60 60000\r\n{large}\r\n"));
        peer.expect("INSERTED 1\r\n");
        peer.send("peek 1\r\n".repeat(COUNT));
        let found = format!("FOUND 1 60000\r\n{large}\r\n");
        (0..COUNT).for_each(|_| peer.expect(&found));
        peer.send("quit\r\n");
        peer.expect_end();
        vec![peer]
    });
}

#[test]
fn a_blocked_reserve_is_answered_by_another_connection() {
    same_over_all(|server| {
        let mut worker = server.connect();
        worker.begin("watch t\r\nreserve-with-timeout 0\r\nreserve\r\n");
        worker.expect("WATCHING 2\r\nTIMED_OUT\r\n");
        wait_for_a_blocked_one(server);
        // These wait until the reserve has its answer.
        worker.send("delete 1\r\ndelete 1\r\n");
        let mut producer = server.connect();
        producer.begin("use t\r\nput 0 0 60 5\r\nfirst\r\n");
        producer.expect("USING t\r\nINSERTED 1\r\n");
        worker.expect("RESERVED 1 5\r\nfirst\r\nDELETED\r\nNOT_FOUND\r\n");
        vec![worker, producer]
    });
}

/// Waits until another connection waits in a reserve.
fn wait_for_a_blocked_one(server: &Server) {
    let mut watcher = server.connect();
    watcher.begin("");
    while !watcher.ask_tube("default").contains("\ncurrent-waiting: 1\n") {}
}

/// The end may come with the reserve, or when the reserve has been waiting, behind unread requests.
#[test]
fn a_half_close_behind_a_blocked_reserve() {
    for waits_first in [false, true] {
        same_over_all(|server| {
            let mut worker = server.connect();
            worker.begin("reserve\r\n");
            if waits_first {
                wait_for_a_blocked_one(server);
            }
            worker.send("put 0 0 60 2\r\nhi\r\nreserve\r\ndelete 1\r\n");
            worker.half_close();
            worker.expect("TIMED_OUT\r\nINSERTED 1\r\nRESERVED 1 2\r\nhi\r\nDELETED\r\n");
            worker.expect_end();
            vec![worker]
        });
    }
}

/// The client hangs up below the cipher, behind more than that reads ahead.
#[test]
fn a_hang_up_behind_more_than_is_read_ahead() {
    same_over_all(|server| {
        const COUNT: usize = 10 * READ_AHEAD / "list-tube-used\r\n".len();
        let mut worker = server.connect();
        worker.begin("reserve\r\n");
        wait_for_a_blocked_one(server);
        worker.send("list-tube-used\r\n".repeat(COUNT));
        worker.hang_up();
        worker.expect("TIMED_OUT\r\n".to_owned() + &"USING default\r\n".repeat(COUNT));
        worker.expect_end();
        vec![worker]
    });
}

#[test]
fn a_server_that_stops_says_so() {
    same_over_all(|server| {
        let mut idle = server.connect();
        idle.begin("list-tube-used\r\n");
        idle.expect("USING default\r\n");
        let mut worker = server.connect();
        worker.begin("reserve\r\n");
        wait_for_a_blocked_one(server);
        server.hub.stop();
        idle.expect_end();
        worker.expect_end();
        vec![idle, worker]
    });
}
