//! Many commands at once, and a client that goes.

use crate::subject::{Subject, id_in};
use crate::support::{Conn, Endpoint, eventually};

const MANY: usize = 10_000;

with_one_and_four_threads!(
    ten_thousand_commands_and_a_half_close,
    ten_thousand_commands_and_a_close,
    commands_and_a_reset,
    input_behind_a_blocked_reserve,
    input_behind_a_reserve_that_is_served,
);

const PUT: &str = "put 0 0 60 1\r\nx\r\n";

/// Waits until so many jobs are there and nobody else is, and deletes them.
fn expect_jobs(subject: &mut Subject, count: usize) {
    eventually("all is carried out", || {
        subject.stat("current-jobs-ready") as usize == count
            && subject.stat("current-connections") == 1
    });
    let mut worker = subject.connect();
    worker.send("reserve-with-timeout 0\r\n".repeat(count));
    let ids: Vec<u64> = (0..count).map(|_| id_in(&worker.reply(), "RESERVED")).collect();
    worker.send(ids.iter().map(|id| format!("delete {id}\r\n")).collect::<String>());
    worker.expect("DELETED\r\n".repeat(count));
}

/// No reply is read before everything is carried out, and then all of them are there.
fn ten_thousand_commands_and_a_half_close(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let mut client = subject.connect();
    client.send(PUT.repeat(MANY));
    client.finish();
    eventually("all is carried out", || subject.stat("current-jobs-ready") as usize == MANY);
    let ids: Vec<u64> = (0..MANY).map(|_| id_in(&client.reply(), "INSERTED")).collect();
    assert!(ids.is_sorted(), "in order");
    client.expect_closed();
    expect_jobs(&mut subject, MANY);
    subject.finish();
}

/// The client sees none of its replies, but what it sent is carried out. (On a unix socket, since
/// on TCP the client's own kernel throws away what it has not sent yet when replies come to a
/// closed socket.)
fn ten_thousand_commands_and_a_close(threads: usize) {
    let mut subject = Subject::start_unix(threads, &[]);
    let mut client = subject.connect();
    client.send(PUT.repeat(MANY));
    drop(client);
    expect_jobs(&mut subject, MANY);
    subject.finish();
}

fn commands_and_a_reset(threads: usize) {
    /// So few that they fit into the first window: then they are with the server's kernel.
    const FEW: usize = 2000;
    let mut subject = Subject::start(threads, &[]);
    for _ in 0..5 {
        let mut client = subject.connect();
        client.ask("list-tube-used");
        client.send(PUT.repeat(FEW));
        client.reset();
        expect_jobs(&mut subject, FEW);
    }
    subject.finish();
}

/// Sends a reserve that waits, and commands behind it. Tells their replies.
fn block(client: &mut Conn, in_one_go: bool, commands: usize) -> String {
    let reserve = "watch quiet\r\nignore default\r\nreserve\r\n";
    let rest = "list-tube-used\r\nuse a-tube-with-a-name-of-some-length\r\n".repeat(commands / 2);
    if in_one_go {
        client.send(format!("{reserve}{rest}"));
    } else {
        client.send(reserve);
        client.send(rest);
    }
    client.expect("WATCHING 2\r\nWATCHING 1\r\n");
    let using = "USING a-tube-with-a-name-of-some-length\r\n";
    format!("USING default\r\n{}", using.repeat(commands - 1))
}

/// A FIN behind more input than the server has read is noticed while the connection waits.
fn input_behind_a_blocked_reserve(threads: usize) {
    // How much a socket takes in while nobody reads differs.
    for (mut subject, in_one_go, commands) in [
        (Subject::start(threads, &[]), true, 4000),
        (Subject::start(threads, &[]), false, 1500),
        (Subject::start_unix(threads, &[]), true, 5000),
        (Subject::start_unix(threads, &[]), false, 4000),
    ] {
        let is_unix = matches!(subject.server.endpoint(), Endpoint::Unix(_));
        println!("unix: {is_unix}, in one go: {in_one_go}");
        let mut client = subject.connect();
        let rest = block(&mut client, in_one_go, commands);
        client.expect_silence(&mut subject.witness);
        assert_eq!(subject.stat("current-waiting"), 1);
        client.finish();
        client.expect("TIMED_OUT\r\n");
        client.expect(rest);
        client.expect_closed();
        subject.finish();
    }
}

fn input_behind_a_reserve_that_is_served(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let mut producer = subject.connect();
    producer.ask("use quiet");
    let mut client = subject.connect();
    let rest = block(&mut client, true, 4000);
    client.expect_silence(&mut subject.witness);
    let id = crate::subject::put(&mut producer, "put 0 0 60", b"at last");
    client.expect(format!("RESERVED {id} 7\r\nat last\r\n{rest}"));
    assert_eq!(client.ask(format!("delete {id}")).line(), b"DELETED");
    drop((producer, client));
    subject.finish();
}
