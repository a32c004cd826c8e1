//! Clients that do not read their replies.

use crate::subject::{Subject, put};
use crate::support::Conn;

/// Replies that a client asks for: far more bytes than the sockets between the two hold.
const REPLIES: usize = 30_000;

/// Memory that clients who do not read may cost, each, in bytes: its limit of unread replies, one
/// read of input, and what the allocator keeps.
const EACH: u64 = 2 << 20;

with_one_and_four_threads!(
    readers_that_never_read,
    lists_that_nobody_reads,
    a_half_closed_client_that_does_not_read,
);

/// Has `client` ask for the job again and again.
fn ask_for_much(client: &mut Conn, id: u64) {
    client.send(format!("peek {id}\r\n").repeat(REPLIES));
}

/// Reads what was asked for. It must be complete and right.
fn read_much(client: &mut Conn, id: u64, body: &[u8]) {
    let mut one = format!("FOUND {id} {}\r\n", body.len()).into_bytes();
    one.extend_from_slice(body);
    one.extend_from_slice(b"\r\n");
    for number in 0..REPLIES {
        assert!(client.bytes(one.len()) == one, "reply {number} is right");
    }
}

/// Small bodies are copied into the replies, large ones are shared with them.
fn readers_that_never_read(threads: usize) {
    for size in [1000, 10_000] {
        let mut subject = Subject::start(threads, &[]);
        let mut producer = subject.connect();
        let body: Vec<u8> = (0..size).map(|n| n as u8).collect();
        let id = put(&mut producer, "put 0 0 60", &body);
        let before = subject.resident();
        let mut clients: Vec<Conn> = (0..5).map(|_| subject.connect()).collect();
        clients.iter_mut().for_each(|client| ask_for_much(client, id));
        subject.serve(100);
        let growth = subject.resident().saturating_sub(before);
        assert!(growth < EACH * clients.len() as u64, "{growth} bytes");
        let mut late = clients.pop().expect("there are some");
        read_much(&mut late, id, &body);
        late.ask("list-tube-used");
        // The job goes, but not the replies that carry it.
        let mut later = clients.pop().expect("there are more");
        assert_eq!(producer.ask(format!("delete {id}")).line(), b"DELETED");
        let first = later.reply();
        assert_eq!(first.body(), Some(&body[..]));
        drop((producer, late, later));
        clients.into_iter().for_each(Conn::reset);
        subject.finish();
    }
}

/// Replies of another kind, which are made while the queue is locked.
fn lists_that_nobody_reads(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let mut owner = subject.connect();
    let tubes = (0..500).map(|n| format!("watch {n}-{}\r\n", "x".repeat(190)));
    owner.send(tubes.collect::<String>());
    (0..500).for_each(|_| drop(owner.reply()));
    let before = subject.resident();
    let mut clients: Vec<Conn> = (0..5).map(|_| subject.connect()).collect();
    for client in &mut clients {
        client.send("list-tubes\r\nstats\r\nstats-tube default\r\n".repeat(500));
    }
    subject.serve(100);
    let growth = subject.resident().saturating_sub(before);
    assert!(growth < EACH * clients.len() as u64, "{growth} bytes");
    let mut late = clients.pop().expect("there are some");
    for _ in 0..500 {
        let list = late.reply();
        assert_eq!(list.body().expect("a list").split(|byte| *byte == b'\n').count(), 504);
        assert!(late.reply().value("pid").is_some());
        assert_eq!(late.reply().value("name"), Some("\"default\""));
    }
    drop((owner, clients, late));
    subject.finish();
}

/// Its FIN makes the socket readable for good, and its full buffers make it unwritable: neither is
/// a reason to look at it all the time.
fn a_half_closed_client_that_does_not_read(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let mut producer = subject.connect();
    let body = [b'b'; 10_000];
    let id = put(&mut producer, "put 0 0 60", &body);
    let mut client = subject.connect();
    ask_for_much(&mut client, id);
    client.finish();
    subject.serve(10);
    subject.expect_idle();
    read_much(&mut client, id, &body);
    client.expect_closed();
    assert_eq!(producer.ask(format!("delete {id}")).line(), b"DELETED");
    drop(producer);
    subject.finish();
}
