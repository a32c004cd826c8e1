//! Bytes that make no sense.

use crate::subject::Subject;
use crate::support::{Conn, Input, PATIENCE};

/// Pieces of commands. None of them leaves a state behind that outlives its connection, but for
/// jobs in the default tube.
const PIECES: [&[u8]; 24] = [
    b"put ",
    b"put 0 0 60 3\r\nabc\r\n",
    b"put 0 0 1 70000\r\n",
    b"put 4294967296 0 1 1\r\n",
    b"reserve",
    b"reserve-with-timeout 0",
    b"reserve-job 1",
    b"delete 1",
    b"release 1 0 0",
    b"bury 1 0",
    b"touch 1",
    b"watch ",
    b"ignore default",
    b"use default\r\n",
    b"peek-ready",
    b"kick 10",
    b"stats",
    b"stats-tube default",
    b"list-tubes",
    b" ",
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
];

with_one_and_four_threads!(random_bytes, random_pieces_of_commands);

fn random_bytes(threads: usize) {
    bombard(threads, |random, bytes| {
        let end = bytes.len() + random.usize(1..5000);
        bytes.resize_with(end, || random.u8(..));
    });
}

fn random_pieces_of_commands(threads: usize) {
    bombard(threads, |random, bytes| {
        for _ in 0..random.usize(1..300) {
            let piece = PIECES[random.usize(..PIECES.len())];
            bytes.extend_from_slice(piece);
            if random.u8(..) < 10 {
                bytes.push(random.u8(..));
            }
            if random.u8(..) < 200 {
                bytes.extend_from_slice(b"\r\n");
            }
        }
    });
}

/// Has clients send what `make` makes, and go in all the ways there are.
fn bombard(threads: usize, make: impl Fn(&mut fastrand::Rng, &mut Vec<u8>)) {
    let mut subject = Subject::start(threads, &[]);
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = Vec::new();
        make(&mut random, &mut bytes);
        let mut client = subject.connect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(random.usize(1..=rest.len()));
            // It may say `quit`.
            if client.try_send(piece).is_err() {
                break;
            }
            rest = left;
        }
        println!("seed {seed}");
        match seed % 3 {
            0 => drop(client),
            1 => client.reset(),
            _ => read_to_the_end(client),
        }
        subject.serve(1);
    }
    clear_default_tube(&mut subject);
    subject.finish();
}

/// After a FIN everything is answered, waits too, and then the server closes.
fn read_to_the_end(mut client: Conn) {
    client.finish();
    loop {
        match client.next(PATIENCE) {
            Input::Reply(reply) => assert!(reply.is_well_formed(), "{reply}"),
            Input::Closed(rest) => return assert_eq!(rest, b"", "no half reply"),
            Input::Silence => panic!("the server closes"),
        }
    }
}

fn clear_default_tube(subject: &mut Subject) {
    let mut client = subject.connect();
    client.ask("kick 1000000");
    loop {
        let reply = client.ask("reserve-with-timeout 0");
        if reply.line() == b"TIMED_OUT" {
            return;
        }
        let id = crate::subject::id_in(&reply, "RESERVED");
        assert_eq!(client.ask(format!("delete {id}")).line(), b"DELETED");
    }
}
