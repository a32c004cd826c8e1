//! More connections than descriptors.

use std::collections::VecDeque;

use crate::subject::Subject;
use crate::support::{Conn, eventually};

/// The limit, soft and hard: the server raises the soft one.
const LIMIT: usize = 64;

/// What the log says when the limit is reached.
const FULL: &str = "cannot accept connections";

with_one_and_four_threads!(connections_wait_for_descriptors, a_full_house_is_reported_once);

fn start(threads: usize) -> Subject {
    Subject::start_by_shell(threads, &format!("ulimit -n {LIMIT} && exec \"$@\""))
}

/// Connects more clients than there are descriptors, each with a command. Tells how many of them
/// are accepted, or one fewer: the first so many, since the kernel keeps their order.
fn overfill(subject: &mut Subject) -> (VecDeque<Conn>, usize) {
    let clients = (0..2 * LIMIT).map(|_| new_client(subject)).collect();
    subject.server.process().await_output(FULL);
    let new = subject.new_descriptors();
    assert!(new > LIMIT / 4, "{new} of {LIMIT}");
    // They may be on their way between threads.
    let mut accepted = 0;
    eventually("all that have a descriptor are connected", || {
        accepted = subject.stat("current-connections") as usize - 1;
        accepted >= new
    });
    (clients, accepted)
}

fn new_client(subject: &Subject) -> Conn {
    let mut client = subject.connect();
    client.send("list-tube-used\r\n");
    client
}

fn is_served(client: &mut Conn) {
    client.expect("USING default\r\n");
}

fn connections_wait_for_descriptors(threads: usize) {
    let mut subject = start(threads);
    let (mut clients, accepted) = overfill(&mut subject);
    subject.serve(100);
    subject.expect_idle();
    let mut waiting = clients.split_off(accepted);
    clients.iter_mut().for_each(is_served);
    waiting.iter_mut().skip(1).for_each(|client| client.expect_silence(&mut subject.witness));
    // Those who go make room for others.
    while !waiting.is_empty() {
        let room = clients.len().min(waiting.len());
        drop(clients);
        clients = waiting.drain(..room).collect();
        clients.iter_mut().for_each(is_served);
        subject.serve(1);
    }
    subject.server.process().await_output("accepting connections again");
    drop(clients);
    subject.finish();
}

/// A crowd that comes and goes at the limit must not flood the log.
fn a_full_house_is_reported_once(threads: usize) {
    let mut subject = start(threads);
    let (mut clients, accepted) = overfill(&mut subject);
    clients.iter_mut().take(accepted).for_each(is_served);
    // With a long queue before the door, with one client there, and with nobody most of the time.
    for queue in [clients.len() - accepted, 1, 0] {
        clients.truncate(accepted + queue);
        for _ in 0..50 {
            drop(clients.pop_front());
            clients.push_back(new_client(&subject));
            is_served(&mut clients[accepted - 1]);
        }
        subject.serve(1);
    }
    let output = subject.server.output();
    assert_eq!(output.lines().filter(|line| line.contains(FULL)).count(), 1, "{output}");
    drop(clients);
    subject.finish();
}
