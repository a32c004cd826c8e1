//! No more memory: under a limit of addresses, as beanstalkd has it answer OUT_OF_MEMORY.

use crate::subject::{Subject, id_in, put_bytes};
use crate::support::folder::{Folder, kill};
use crate::support::procfs::address_space;
use crate::support::{Conn, Reply, Server, eventually};

/// Addresses that a server may have besides those that it begins with, in bytes.
const MORE: u64 = 160 << 20;

with_one_and_four_threads!(
    large_jobs_until_there_is_no_room,
    small_jobs_until_there_is_no_room,
    half_bodies_until_there_is_no_room,
    jobs_of_all_kinds_until_there_is_no_room,
    tubes_until_there_is_no_room,
    replies_that_nobody_reads,
);

fn limit(begins: u64) -> String {
    format!("ulimit -v {} && exec \"$@\"", (begins + MORE) >> 10)
}

fn flags(threads: usize, more: &[String]) -> Vec<String> {
    let flags =
        ["--threads".to_owned(), threads.to_string(), "-z".to_owned(), "100000000".to_owned()];
    flags.into_iter().chain(more.iter().cloned()).collect()
}

fn start(threads: usize) -> Server {
    let begins = Subject::start(threads, &[]).address_space();
    Server::jq_by_shell(&limit(begins), &flags(threads, &[]))
}

/// Puts jobs, made by their number, until one does not fit. Tells which fit.
fn fill(client: &mut Conn, make: impl Fn(usize) -> Vec<u8>) -> Vec<u64> {
    const TOGETHER: usize = 100;
    let mut ids = Vec::new();
    for round in 0.. {
        let (mut jobs, mut count) = (Vec::new(), 0);
        while count < TOGETHER && jobs.len() < 1_000_000 {
            jobs.extend(make(round * TOGETHER + count));
            count += 1;
        }
        client.send(jobs);
        let replies: Vec<Reply> = (0..count).map(|_| client.reply()).collect();
        let (refused, taken): (Vec<_>, Vec<_>) =
            replies.iter().partition(|reply| reply.line() == b"OUT_OF_MEMORY");
        ids.extend(taken.iter().map(|reply| id_in(reply, "INSERTED")));
        if !refused.is_empty() {
            break;
        }
    }
    ids
}

/// Whoever is there is served, and may take what is there: all of it, and nothing else.
fn expect_served(server: &Server, client: &mut Conn, ids: &[u64]) {
    let taken = client.ask("stats");
    let ready = ["ready", "delayed"].map(|state| {
        let count = taken.value(&format!("current-jobs-{state}"));
        count.and_then(|count| count.parse::<usize>().ok()).expect("it is a number")
    });
    assert_eq!(ready[0] + ready[1], ids.len());
    let id = ids[ids.len() / 2];
    assert_eq!(id_in(&client.ask(format!("peek {id}")), "FOUND"), id);
    assert_eq!(id_in(&client.ask(format!("reserve-job {id}")), "RESERVED"), id);
    assert_eq!(client.ask(format!("release {id} 5 0")).line(), b"RELEASED");
    for id in ids {
        assert_eq!(client.ask(format!("delete {id}")).line(), b"DELETED");
    }
    // There is room again, for clients too.
    eventually("there is room for jobs", || {
        client.send(put_bytes("put 0 0 60", &[b'x'; 50_000]));
        client.reply().line().starts_with(b"INSERTED ")
    });
    let mut other = server.connect();
    assert!(other.ask("reserve").line().starts_with(b"RESERVED "));
}

fn large_jobs_until_there_is_no_room(threads: usize) {
    for size in [50_000, 700_000, 30_000_000] {
        let server = start(threads);
        let mut client = server.connect();
        let ids = fill(&mut client, |_| put_bytes("put 0 0 60", &vec![b'x'; size]));
        assert!(ids.len() * size > (MORE / 4) as usize, "{} of {size}", ids.len());
        // As often as somebody tries, also with one that there will never be room for.
        for _ in 0..2 {
            client.send(put_bytes("put 0 0 60", &vec![b'x'; 60_000_000]));
            assert_eq!(client.reply().line(), b"OUT_OF_MEMORY");
        }
        expect_served(&server, &mut client, &ids);
    }
}

fn small_jobs_until_there_is_no_room(threads: usize) {
    let server = start(threads);
    let mut client = server.connect();
    let ids = fill(&mut client, |_| put_bytes("put 0 0 60", &[b'x'; 2000]));
    assert!(ids.len() > 20_000, "{}", ids.len());
    expect_served(&server, &mut client, &ids);
}

fn half_bodies_until_there_is_no_room(threads: usize) {
    let server = start(threads);
    let mut witness = server.connect();
    let mut clients: Vec<Conn> = Vec::new();
    for _ in 0..80 {
        let mut client = server.connect();
        client.send("put 0 0 60 50000000\r\n");
        client.send(vec![b'x'; 4_000_000]);
        assert_eq!(witness.ask("list-tube-used").line(), b"USING default");
        clients.push(client);
    }
    // Clients that come now are served.
    let mut client = server.connect();
    assert_eq!(client.ask("list-tube-used").line(), b"USING default");
    client.send(put_bytes("put 0 0 60", b"small"));
    // Whether it fits depends on what was refused meanwhile, and so is freed.
    let reply = client.reply();
    assert!(reply.line() == b"OUT_OF_MEMORY" || reply.line().starts_with(b"INSERTED "), "{reply}");
    // Whatever became of the first part, the second is read and the job refused.
    let last = clients.last_mut().expect("there are some");
    last.send(vec![b'x'; 46_000_000]);
    last.send("\r\nlist-tube-used\r\n");
    last.expect("OUT_OF_MEMORY\r\nUSING default\r\n");
    drop((client, clients));
    eventually("there is room again", || {
        witness.send(put_bytes("put 0 0 60", &vec![b'x'; 20_000_000]));
        witness.reply().line().starts_with(b"INSERTED ")
    });
}

/// Delayed and of mixed priorities, which have entries in tables that grow.
fn jobs_of_all_kinds_until_there_is_no_room(threads: usize) {
    let server = start(threads);
    let mut client = server.connect();
    let ids = fill(&mut client, |number| {
        let (priority, delay) = (number * 7919 % 100_000, number % 2 * 1000);
        put_bytes(&format!("put {priority} {delay} 60"), &[b'x'; 300])
    });
    assert!(ids.len() > 50_000, "{}", ids.len());
    expect_served(&server, &mut client, &ids);
}

/// Watched by one client, whose list grows by much at a time; and listed, which takes much at a time too.
fn tubes_until_there_is_no_room(threads: usize) {
    const TOGETHER: usize = 500;
    let server = start(threads);
    let (mut witness, mut client) = (server.connect(), server.connect());
    let mut watched = 1;
    for round in 0.. {
        let names = (0..TOGETHER).map(|number| format!("{:0>200}", round * TOGETHER + number));
        client.send(names.map(|name| format!("watch {name}\r\n")).collect::<String>());
        let replies: Vec<Reply> = (0..TOGETHER).map(|_| client.reply()).collect();
        let taken = replies.iter().filter(|reply| reply.line().starts_with(b"WATCHING ")).count();
        watched += taken;
        if taken < TOGETHER {
            assert!(replies[TOGETHER - 1].line() == b"OUT_OF_MEMORY");
            break;
        }
    }
    assert!(watched > 50_000, "{watched}");
    for list in ["list-tubes", "list-tubes-watched"] {
        assert_eq!(client.ask(list).line(), b"OUT_OF_MEMORY", "{list} of {watched}");
    }
    assert_eq!(witness.ask("use another").line(), b"OUT_OF_MEMORY");
    assert_eq!(witness.ask("stats").value("current-tubes"), Some(&*watched.to_string()));
    assert_eq!(client.ask("reserve-with-timeout 0").line(), b"TIMED_OUT");
    drop(client);
    eventually("there is room again", || {
        witness.ask("use another").line() == b"USING another"
            && witness.ask("stats").value("current-tubes") == Some("2")
    });
}

/// Without room for jobs, many clients ask for much and read nothing: they are closed, one by one, before the
/// memory for those who do read is gone.
fn replies_that_nobody_reads(threads: usize) {
    const MOST: usize = 600;
    let server = start(threads);
    let mut witness = server.connect();
    let ids = fill(&mut witness, |_| put_bytes("put 0 0 60", &[b'x'; 3000]));
    let mut clients: Vec<Conn> = Vec::new();
    let mut connections = usize::MAX;
    while clients.len() < MOST && connections > clients.len() * 3 / 4 {
        // While the last of the memory is gone, nobody else is accepted.
        let Ok(mut client) = Conn::open(server.endpoint()) else { continue };
        // More than any socket takes. If the client is closed meanwhile, this fails.
        let _ = client.try_send("stats\r\n".repeat(4000));
        clients.push(client);
        let stats = witness.ask("stats");
        let value = stats.value("current-connections").and_then(|it| it.parse().ok());
        connections = value.expect("it is a number");
        // A few may be about to begin.
        connections += 8;
    }
    assert!(clients.len() < MOST, "{connections} connections");
    drop(clients);
    expect_served(&server, &mut witness, &ids);
}

/// With a log too; and what was acknowledged is there for a server that has more memory.
#[test]
fn what_was_acknowledged_is_kept() {
    for size in [50_000, 5_000_000] {
        let folder = Folder::new();
        // The log's threads have addresses of their own, more when they have begun to work.
        let begins = address_space(Server::jq(&flags(1, &folder.flags(&[]))).pid()) + (200 << 20);
        let flags_of_log = flags(1, &folder.flags(&["-f", "1000"]));
        let server = Server::jq_by_shell(&limit(begins), &flags_of_log);
        let mut client = server.connect();
        let ids = fill(&mut client, |_| put_bytes("put 0 0 60", &vec![b'x'; size]));
        assert!(ids.len() * size > (MORE / 4) as usize, "{} of {size}", ids.len());
        assert_eq!(client.ask("list-tube-used").line(), b"USING default");
        let peeked = client.ask(format!("peek {}", ids[0]));
        assert_eq!(id_in(&peeked, "FOUND"), ids[0]);
        assert_eq!(client.ask(format!("delete {}", ids[0])).line(), b"DELETED");
        kill(server);
        let server = Server::jq(&flags(1, &folder.flags(&[])));
        let mut client = server.connect();
        for id in &ids[1..] {
            assert_eq!(client.ask(format!("delete {id}")).line(), b"DELETED");
        }
        assert_eq!(client.ask("stats").value("current-jobs-ready"), Some("0"));
    }
}
