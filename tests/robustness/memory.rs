//! Memory comes back, or at least does not grow.

use crate::subject::{Subject, id_in, put_bytes};
use crate::support::{Conn, comes_true, eventually};

with_one_and_four_threads!(
    half_sent_bodies_give_their_memory_back,
    a_drained_backlog_gives_its_memory_back,
    few_large_jobs_give_their_memory_back,
    comings_and_goings_do_not_add_up,
);

const MIB: u64 = 1 << 20;

fn half_sent_bodies_give_their_memory_back(threads: usize) {
    let subject = Subject::start(threads, &["-z", "1073741824"]);
    let before = subject.resident();
    let mut clients: Vec<Conn> = (0..10).map(|_| subject.connect()).collect();
    for client in &mut clients {
        client.send("put 0 0 60 1073741824\r\n");
        client.send(vec![b'x'; 16 << 20]);
    }
    eventually("160 MiB are there", || subject.resident() > before + 150 * MIB);
    // At most twice what has come, and no gigabyte.
    assert!(subject.resident() < before + 350 * MIB);
    clients.into_iter().for_each(Conn::reset);
    eventually("the memory is back", || subject.resident() < before + 30 * MIB);
    // Smaller ones, which the allocator would keep: each took a place between others.
    let mut clients: Vec<Conn> = (0..300).map(|_| subject.connect()).collect();
    for client in &mut clients {
        client.send("put 0 0 60 1000000\r\n");
        client.send(vec![b'x'; 500_000]);
    }
    eventually("150 MB are there", || subject.resident() > before + 140 * MIB);
    // Every other one stays, and half of it is back.
    for number in (0..150).rev() {
        clients.remove(2 * number).reset();
    }
    eventually("half is back", || subject.resident() < before + 110 * MIB);
    clients.into_iter().for_each(Conn::reset);
    eventually("the memory is back", || subject.resident() < before + 30 * MIB);
    subject.finish();
}

/// Puts so many jobs and deletes them again. Tells how much memory there was in between.
fn fill_and_drain(subject: &Subject, client: &mut Conn, jobs: usize, size: usize) -> u64 {
    let together = (2_000_000 / size).clamp(1, 500).min(jobs);
    let step = put_bytes("put 0 0 60", &vec![b'x'; size]).repeat(together);
    let mut ids = Vec::new();
    while ids.len() < jobs {
        client.send(&step);
        ids.extend((0..together).map(|_| id_in(&client.reply(), "INSERTED")));
    }
    let most = subject.resident();
    for ids in ids.chunks(together) {
        client.send(ids.iter().map(|id| format!("delete {id}\r\n")).collect::<String>());
        client.expect("DELETED\r\n".repeat(ids.len()));
    }
    most
}

fn a_drained_backlog_gives_its_memory_back(threads: usize) {
    // What small jobs leave behind with several threads shows nothing: the allocator keeps a few
    // megabytes for each thread, however many there were.
    let backlogs: &[_] =
        if threads == 1 { &[(50_000, 100), (20_000, 4000)] } else { &[(20_000, 4000)] };
    for &(jobs, size) in backlogs {
        let subject = Subject::start(threads, &[]);
        let mut client = subject.connect();
        let before = subject.resident();
        let most = fill_and_drain(&subject, &mut client, jobs, size) - before;
        assert!(most > (jobs * size) as u64, "{most} bytes hold {jobs} jobs of {size}");
        let mut now = 0;
        let back = comes_true(|| {
            now = subject.resident().saturating_sub(before);
            now < most / 2
        });
        assert!(back, "{now} of {most} bytes are left");
        drop(client);
        subject.finish();
    }
}

/// However few they are, and at whatever size the allocator begins to treat them otherwise.
fn few_large_jobs_give_their_memory_back(threads: usize) {
    // The main thread's memory goes back whole. The allocator may keep up to 64 MiB of another's.
    let kept = if threads == 1 { 15 * MIB } else { 80 * MIB };
    for (jobs, size) in [(1500, 100_000), (500, 300_000), (500, 300_000), (50, 3_000_000)] {
        let subject = Subject::start(threads, &["-z", "4000000"]);
        let mut client = subject.connect();
        let before = subject.resident();
        // Large ones that come and go first: from then on the allocator keeps those of their size.
        fill_and_drain(&subject, &mut client, 5, size);
        let most = fill_and_drain(&subject, &mut client, jobs, size) - before;
        assert!(most > (jobs * size) as u64, "{most} bytes hold {jobs} jobs of {size}");
        let mut now = 0;
        let back = comes_true(|| {
            now = subject.resident().saturating_sub(before);
            now < kept
        });
        assert!(back, "{now} of {most} bytes are left of {jobs} jobs of {size}");
        drop(client);
        subject.finish();
    }
}

fn comings_and_goings_do_not_add_up(threads: usize) {
    let mut subject = Subject::start(threads, &[]);
    let round = |subject: &mut Subject| {
        let mut clients: Vec<Conn> = (0..200).map(|_| subject.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("use tube-{number}\r\nwatch tube-{number}\r\n"));
            client.send("put 0 0 60 5\r\nhello\r\nreserve\r\n");
        }
        for client in &mut clients {
            client.reply();
            client.reply();
            let id = id_in(&client.reply(), "INSERTED");
            assert_eq!(id_in(&client.reply(), "RESERVED"), id);
            assert_eq!(client.ask(format!("delete {id}")).line(), b"DELETED");
            client.send("put 0 0 60 60000\r\nhalf a body");
        }
        drop(clients);
        subject.settle();
    };
    round(&mut subject);
    let before = subject.resident();
    for _ in 0..10 {
        round(&mut subject);
    }
    let growth = subject.resident().saturating_sub(before);
    assert!(growth < 4 * MIB, "{growth} bytes more");
    subject.finish();
}
