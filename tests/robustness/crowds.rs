//! Many jobs that change their state at once.

use crate::subject::{Subject, id_in};
use crate::support::Conn;

const JOBS: usize = 10_000;

with_one_and_four_threads!(many_kicked_jobs, many_deadlines_on_a_silent_server);

/// Puts jobs by a command line without its size.
fn put_many(client: &mut Conn, line: &str, count: usize) {
    client.send(format!("{line} 1\r\nx\r\n").repeat(count));
    for _ in 0..count {
        id_in(&client.reply(), "INSERTED");
    }
}

/// Reserves so many jobs and does something to each by a command that is answered with `reply`. A
/// few hundred at a time, so that none runs out of time meanwhile.
fn reserve_many(client: &mut Conn, count: usize, command: impl Fn(u64) -> String, reply: &str) {
    const STEP: usize = 500;
    for _ in 0..count / STEP {
        client.send("reserve-with-timeout 0\r\n".repeat(STEP));
        let ids: Vec<u64> = (0..STEP).map(|_| id_in(&client.reply(), "RESERVED")).collect();
        client.send(ids.into_iter().map(&command).collect::<String>());
        client.expect(format!("{reply}\r\n").repeat(STEP));
    }
}

fn many_kicked_jobs(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let mut client = subject.connect();
    put_many(&mut client, "put 0 0 60", JOBS);
    reserve_many(&mut client, JOBS, |id| format!("bury {id} 0\r\n"), "BURIED");
    put_many(&mut client, "put 0 1000 60", JOBS);
    for _ in 0..2 {
        client.send(format!("kick {}\r\n", u32::MAX));
        subject.serve(1);
        client.expect(format!("KICKED {JOBS}\r\n"));
    }
    assert_eq!(subject.stat("current-jobs-ready") as usize, 2 * JOBS);
    reserve_many(&mut client, 2 * JOBS, |id| format!("delete {id}\r\n"), "DELETED");
    drop(client);
    subject.finish();
}

/// Reservations that run out and delays that end, while nobody says a word.
fn many_deadlines_on_a_silent_server(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let mut clients: Vec<Conn> = (0..20).map(|_| subject.connect()).collect();
    let share = JOBS / clients.len();
    for client in &mut clients {
        put_many(client, "put 0 0 1", share);
        client.send("reserve-with-timeout 0\r\n".repeat(share));
        for _ in 0..share {
            id_in(&client.reply(), "RESERVED");
        }
    }
    let mut producer = subject.connect();
    put_many(&mut producer, "put 0 2 60", JOBS);
    // By the time that this is answered, all have been due for a while.
    let silence = subject.witness.ask("reserve-with-timeout 4");
    assert_eq!(silence.line(), b"TIMED_OUT");
    // The command itself would let a few hundred more happen, so most are due to the clock.
    assert_eq!(subject.stat("current-jobs-ready") as usize, 2 * JOBS);
    drop(clients);
    reserve_many(&mut producer, 2 * JOBS, |id| format!("delete {id}\r\n"), "DELETED");
    drop(producer);
    subject.finish();
}
