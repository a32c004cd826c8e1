//! Clients that send a byte now and then.

use crate::subject::{Subject, id_in};
use crate::support::{Conn, eventually};

/// The largest `-z`: 1 GiB.
const LARGEST: usize = 1 << 30;

with_one_and_four_threads!(
    lines_that_drip,
    an_endless_line,
    bodies_that_drip,
    the_largest_size_announced,
    a_large_body_in_pieces,
);

fn lines_that_drip(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let mut clients: Vec<Conn> = (0..50).map(|_| subject.connect()).collect();
    for byte in b"list-tube-used\r\n" {
        clients.iter_mut().for_each(|client| client.send([*byte]));
        subject.serve(1);
    }
    clients.iter_mut().for_each(|client| client.expect("USING default\r\n"));
    drop(clients);
    subject.finish();
}

fn an_endless_line(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let mut client = subject.connect();
    for _ in 0..1000 {
        client.send("no end ");
    }
    subject.serve(1);
    // More than the server would hold if it held it.
    let before = subject.resident();
    client.send(vec![b'x'; 32 << 20]);
    client.send("\r\nlist-tube-used\r\n");
    client.expect("BAD_FORMAT\r\nUSING default\r\n");
    assert!(subject.resident() < before + (8 << 20), "the line was not kept");
    drop(client);
    subject.finish();
}

fn bodies_that_drip(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let mut clients: Vec<Conn> = (0..50).map(|_| subject.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("put 0 0 60 20\r\n"));
    for byte in b"twenty bytes of body\r\n" {
        subject.serve(1);
        clients.iter_mut().for_each(|client| client.send([*byte]));
    }
    let ids: Vec<u64> =
        clients.iter_mut().map(|client| id_in(&client.reply(), "INSERTED")).collect();
    for id in ids {
        let found = clients[0].ask(format!("peek {id}"));
        assert_eq!(found.body(), Some(&b"twenty bytes of body"[..]));
        assert_eq!(clients[0].ask(format!("delete {id}")).line(), b"DELETED");
    }
    drop(clients);
    subject.finish();
}

/// A sender costs what it has sent, not what it has announced.
fn the_largest_size_announced(threads: usize) {
    const CLIENTS: usize = 300;
    let mut subject = Subject::start(threads, &["-z", &LARGEST.to_string()]);
    let before = subject.resident();
    let reserved = subject.address_space();
    let mut clients: Vec<Conn> = (0..CLIENTS).map(|_| subject.connect()).collect();
    for client in &mut clients {
        client.send(format!("put 0 0 60 {LARGEST}\r\n"));
        client.send([b'x'; 100]);
    }
    subject.serve(10);
    eventually("all puts have begun", || subject.stat("current-producers") == 1 + CLIENTS as u64);
    for _ in 0..10 {
        clients.iter_mut().for_each(|client| client.send("drip"));
        subject.serve(1);
    }
    let each = subject.resident().saturating_sub(before) / CLIENTS as u64;
    assert!(each < 16 << 10, "{each} bytes for each client");
    // Nor is memory set aside that is not used yet: systems that are strict would refuse it.
    let growth = subject.address_space().saturating_sub(reserved);
    assert!(growth < LARGEST as u64, "{growth} bytes of address space");
    // Half of them say goodbye, half vanish.
    for (number, client) in clients.into_iter().enumerate() {
        if number % 2 == 0 {
            client.reset();
        }
    }
    subject.finish();
}

fn a_large_body_in_pieces(threads: usize) {
    let mut subject = Subject::start(threads, &["-z", &LARGEST.to_string()]);
    let mut random = fastrand::Rng::with_seed(7);
    let mut body = vec![0; 24 << 20];
    random.fill(&mut body);
    let mut producer = subject.connect();
    producer.send(format!("put 0 0 60 {}\r\n", body.len()));
    let mut rest = &body[..];
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(random.usize(1..=1 << 20).min(rest.len()));
        producer.send(piece);
        rest = left;
        subject.serve(1);
    }
    producer.send("\r\n");
    let id = id_in(&producer.reply(), "INSERTED");
    let reserved = producer.ask("reserve");
    assert!(reserved.body() == Some(&body), "the body comes back as it was");
    // Its reservation ends with a client, even in the middle of another reply.
    producer.send(format!("peek {id}\r\n"));
    producer.bytes(1000);
    producer.reset();
    let mut consumer = subject.connect();
    let again = consumer.ask("reserve");
    assert!(again.body() == Some(&body), "the body is still as it was");
    assert_eq!(consumer.ask(format!("delete {id}")).line(), b"DELETED");
    drop(consumer);
    subject.finish();
}
