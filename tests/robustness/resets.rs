//! Clients that vanish in the middle of something.

use crate::subject::{Subject, id_in, put, put_bytes};
use crate::support::{Conn, eventually};

with_one_and_four_threads!(
    resets_in_the_middle_of_a_request,
    resets_in_the_middle_of_a_reply,
    jobs_of_who_does_not_wait,
    nothing_behind_a_wait_of_who_is_gone,
);

/// What a client may have sent when it vanishes. All of them use tubes that go with them.
fn unfinished(number: usize) -> Vec<u8> {
    let large = put_bytes("put 0 0 60", &[b'x'; 60_000]);
    match number % 8 {
        0 => b"use half".to_vec(),
        1 => b"put 0 0 60 10\r\nhalf".to_vec(),
        2 => b"put 0 0 60 10\r\nall of it!".to_vec(),
        3 => b"put 0 0 60 10\r\nall of it!\r".to_vec(),
        4 => large[..50_000].to_vec(),
        5 => b"use gone\r\nwatch gone\r\nignore default\r\nput 0 0 60 1\r\n".to_vec(),
        6 => b"watch gone\r\nignore default\r\nreserve-with-timeout 1000\r\n".to_vec(),
        // Too big: the body would have to be discarded.
        _ => b"put 0 0 60 100000\r\ndiscard me".to_vec(),
    }
}

fn resets_in_the_middle_of_a_request(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    for round in 0..5 {
        let mut clients: Vec<Conn> = (0..80).map(|_| subject.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(unfinished(number));
        }
        if round % 2 == 0 {
            // All of it has arrived; otherwise the reset is close behind.
            eventually("the waits have begun", || subject.stat("current-waiting") == 10);
        }
        clients.into_iter().for_each(Conn::reset);
        subject.serve(5);
    }
    subject.finish();
}

fn resets_in_the_middle_of_a_reply(threads: usize) {
    let mut subject = Subject::start(threads, &["-z", "10000000"]);
    let mut producer = subject.connect();
    let small = put(&mut producer, "put 1 0 60", b"small");
    // Far more than the sockets between the two hold.
    let large = put(&mut producer, "put 0 0 60", &vec![b'L'; 10_000_000]);
    for number in 0..40 {
        let mut client = subject.connect();
        client.send("reserve-with-timeout 0\r\nreserve-with-timeout 0\r\n");
        client.send(format!("peek {large}\r\n").repeat(1 + number % 3));
        if number % 4 != 0 {
            client.bytes(1 + number * 100);
        }
        client.reset();
        subject.serve(1);
    }
    eventually("the jobs are ready again", || subject.stat("current-jobs-ready") == 2);
    for id in [small, large] {
        assert_eq!(producer.ask(format!("delete {id}")).line(), b"DELETED");
    }
    drop(producer);
    subject.finish();
}

/// Who sends jobs and closes at once without a reply has them put, all of them.
fn jobs_of_who_does_not_wait(threads: usize) {
    const JOBS: u64 = 1000;
    let mut subject = Subject::start(threads, &[]);
    let mut client = subject.connect();
    client.send(put_bytes("put 0 0 60", b"x").repeat(JOBS as usize));
    drop(client);
    eventually("they are there", || subject.stat("current-jobs-ready") == JOBS);
    let mut worker = subject.connect();
    for _ in 0..JOBS {
        let reserved = worker.ask("reserve");
        let id = id_in(&reserved, "RESERVED");
        assert_eq!(worker.ask(format!("delete {id}")).line(), b"DELETED");
    }
    drop(worker);
    subject.finish();
}

/// However it goes, except by a half-close.
fn nothing_behind_a_wait_of_who_is_gone(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let puts = subject.stat("cmd-put");
    // Within one read and beyond; before the reserve waits and after.
    for (number, jobs) in [(0, 1), (1, 300), (2, 5000), (3, 1), (4, 300), (5, 5000)] {
        let mut client = subject.connect();
        client.send("reserve\r\n");
        if number >= 3 {
            eventually("the reserve waits", || subject.stat("current-waiting") == 1);
        }
        client.send(put_bytes("put 0 0 60", b"x").repeat(jobs));
        eventually("the reserve waits", || subject.stat("current-waiting") == 1);
        if number % 2 == 0 {
            client.reset();
        } else {
            drop(client);
        }
        eventually("it is gone", || subject.stat("current-connections") == 1);
    }
    assert_eq!(subject.stat("cmd-put"), puts);
    subject.finish();
}
