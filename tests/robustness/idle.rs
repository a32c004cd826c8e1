//! Thousands of connections that do nothing.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::subject::{Subject, id_in};
use crate::support::{Conn, eventually};

/// Connections of each server, unless the limit of descriptors allows fewer.
const CROWD: usize = 5000;

/// Fewer than this would show nothing.
const LEAST: usize = 500;

with_one_and_four_threads!(idle_connections_cost_the_others_nothing, all_of_a_crowd_are_served);

/// As many clients as this process may have: each test may run beside another one, and beside
/// their servers' own limits, which are the same as ours.
fn crowd_size() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit of descriptors");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit may be raised");
    let size = CROWD.min(usize::try_from(hard).unwrap_or(CROWD) / 4);
    assert!(size >= LEAST, "at most {hard} descriptors: not enough to test anything");
    size
}

fn idle_connections_cost_the_others_nothing(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let size = crowd_size();
    let before = subject.resident();
    let mut crowd: Vec<Conn> = (0..size).map(|_| subject.connect()).collect();
    for (number, client) in crowd.iter_mut().enumerate() {
        match number % 4 {
            0 => {}
            1 => client.send("reser"),
            2 => client.send("watch nothing\r\nignore default\r\nreserve\r\n"),
            _ => client.send("put 0 0 60 5\r\nbo"),
        }
    }
    eventually("all of them are connected and half of them do something", || {
        subject.stat("current-connections") as usize == 1 + size
            && subject.stat("current-waiting") as usize == size.div_ceil(4)
            && subject.stat("current-producers") as usize == 1 + size / 4
    });
    subject.serve(500);
    let each = subject.resident().saturating_sub(before) / size as u64;
    assert!(each < 16 << 10, "{each} bytes for each connection");
    drop(crowd);
    subject.serve(10);
    subject.finish();
}

fn all_of_a_crowd_are_served(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let size = crowd_size() / 2;
    let mut crowd: Vec<Conn> = (0..size).map(|_| subject.connect()).collect();
    crowd.iter_mut().for_each(|client| client.send("reserve\r\n"));
    eventually("all of them wait", || subject.stat("current-waiting") as usize == size);
    let mut producer = subject.connect();
    producer.send("put 0 0 60 4\r\nwork\r\n".repeat(size));
    let mut ids: Vec<u64> =
        crowd.iter_mut().map(|client| id_in(&client.reply(), "RESERVED")).collect();
    ids.iter().zip(&mut crowd).for_each(|(id, client)| client.send(format!("delete {id}\r\n")));
    crowd.iter_mut().for_each(|client| client.expect("DELETED\r\n"));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), size, "each got a job of its own");
    drop((producer, crowd));
    subject.finish();
}
