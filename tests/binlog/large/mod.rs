//! Large jobs, whose bodies are in files of their own.

mod gone;
mod looked_at;
mod turned_down;

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::small_disk::SmallDisk;
use crate::support::folder::{Folder, flags, kill, name, stop};
use crate::support::{Conn, Server, eventually};

/// Large enough for all of these tests, in bytes.
const LIMIT: &str = "-z50000000";

/// Of a large body, in bytes.
const LARGE: usize = 1_500_000;

/// A body of so many bytes, unlike that of any other number.
fn body(number: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(number);
    let mut body = vec![0; len];
    rng.fill(&mut body);
    body
}

/// The bytes of a put.
fn put(body: &[u8]) -> Vec<u8> {
    [format!("put 0 0 600 {}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
}

fn put_large(conn: &mut Conn, id: u64) {
    conn.send(put(&body(id, LARGE)));
    conn.expect(format!("INSERTED {id}\r\n"));
}

fn assert_there(conn: &mut Conn, id: u64) {
    let found = conn.ask(format!("peek {id}"));
    assert!(found.body() == Some(&body(id, LARGE)), "job {id}: {:.80}", found.to_string());
}

fn serve(folder: &Folder, policy: &str) -> Server {
    folder.serve(&[policy, LIMIT, "-s", "65536"])
}

/// The files with a body each, in order.
fn bodies(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("jq-binlog")).expect("the server has made it");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let mut bodies: Vec<PathBuf> = paths.filter(|path| name(path).starts_with("body-")).collect();
    bodies.sort();
    bodies
}

fn path_of(folder: &Folder, id: u64) -> PathBuf {
    folder.inner().join(format!("body-{id:010}"))
}

#[test]
fn a_body_is_in_a_file_until_its_job_is_deleted() {
    for policy in ["-f0", "-f50", "-F"] {
        let folder = Folder::new();
        let server = serve(&folder, policy);
        let mut conn = server.connect();
        put_large(&mut conn, 1);
        put_large(&mut conn, 2);
        let file = fs::read(path_of(&folder, 1)).expect("it is there, and the put is answered");
        assert!(file == body(1, LARGE), "the file is the body, and nothing else");
        let segments = folder.segments();
        let sizes = segments.iter().map(|path| fs::metadata(path).expect("it is there").len());
        assert!(sizes.sum::<u64>() < 500_000, "it is not in a segment as well");
        let stats = conn.ask("stats");
        let number = |key: &str| -> usize {
            stats.value(key).and_then(|value| value.parse().ok()).expect("it is a number")
        };
        assert!((2 * LARGE..2 * LARGE + 1000).contains(&number("binlog-live-bytes")), "{stats}");
        assert!((2 * LARGE..2 * LARGE + 1000).contains(&number("binlog-bytes")), "{stats}");
        kill(server);

        let server = serve(&folder, policy);
        let mut conn = server.connect();
        assert_there(&mut conn, 1);
        assert_eq!(conn.ask("delete 1").line(), b"DELETED");
        eventually("its file goes", || !path_of(&folder, 1).exists());
        // Its put is still in a segment. That does not matter.
        kill(server);
        let server = serve(&folder, policy);
        let mut conn = server.connect();
        assert_eq!(conn.ask("peek 1").line(), b"NOT_FOUND");
        assert_there(&mut conn, 2);
        stop(server);
        assert_eq!(bodies(folder.path()), [path_of(&folder, 2)]);
    }
}

#[test]
fn what_is_pipelined_behind_comes_after() {
    let folder = Folder::new();
    let server = serve(&folder, "-f0");
    let mut conn = server.connect();
    let [first, second] = [1, 2].map(|number| put(&body(number, LARGE)));
    let rest: [&[u8]; 5] = [b"use a\r\n", &first, b"list-tube-used\r\n", &second, b"use b\r\n"];
    conn.send(rest.concat());
    conn.expect("USING a\r\nINSERTED 1\r\nUSING a\r\nINSERTED 2\r\nUSING b\r\n");
    // The tube is the one that was used when the line of the put came.
    assert_eq!(conn.ask("stats-job 2").value("tube"), Some("\"a\""));
}

/// The bodies of several connections are stored in turns. Each job has its own.
#[test]
fn many_at_once() {
    const CLIENTS: u64 = 12;
    let folder = Folder::new();
    let server = serve(&folder, "-f50");
    let mut conns: Vec<Conn> = (0..CLIENTS).map(|_| server.connect()).collect();
    std::thread::scope(|scope| {
        for (number, conn) in (1..).zip(&mut conns) {
            // Some are much longer than others.
            let len = LARGE + number as usize % 3 * 3_000_000;
            scope.spawn(move || conn.send(put(&body(number, len))));
        }
    });
    let mut ids: Vec<(u64, u64)> = Vec::new();
    for (number, conn) in (1..).zip(&mut conns) {
        let reply = conn.reply();
        let line = String::from_utf8_lossy(reply.line()).into_owned();
        let id = line.strip_prefix("INSERTED ").and_then(|id| id.parse().ok());
        ids.push((id.unwrap_or_else(|| panic!("{line}")), number));
    }
    kill(server);
    let server = serve(&folder, "-f50");
    let mut conn = server.connect();
    for (id, number) in ids {
        let found = conn.ask(format!("peek {id}"));
        let len = LARGE + number as usize % 3 * 3_000_000;
        assert!(found.body() == Some(&body(number, len)), "job {id}");
    }
}

/// Old segments are reclaimed, and jobs recorded again; their bodies stay where they are.
#[test]
fn compaction_does_not_copy_it() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new();
    let server = serve(&folder, "-f50");
    let mut conn = server.connect();
    put_large(&mut conn, 1);
    let file = fs::metadata(path_of(&folder, 1)).expect("it is there").ino();
    let small = "x".repeat(1000);
    for id in 2..=300 {
        conn.send(format!("put 0 0 600 1000\r\n{small}\r\ndelete {id}\r\n"));
        conn.expect(format!("INSERTED {id}\r\nDELETED\r\n"));
    }
    eventually("the first segment is reclaimed", || {
        folder.segments().iter().all(|path| name(path) != "segment-0000000001")
    });
    assert_eq!(fs::metadata(path_of(&folder, 1)).expect("it is there").ino(), file);
    let stats = conn.ask("stats");
    assert_eq!(stats.value("binlog-state"), Some("good"), "{stats}");
    kill(server);
    let server = serve(&folder, "-f50");
    assert_there(&mut server.connect(), 1);
}

#[test]
fn a_full_disk_refuses_it_and_goes_on() {
    let Some(disk) = SmallDisk::mount() else { return };
    let folder = disk.folder();
    for policy in ["-f0", "-f50"] {
        let server = Server::jq(&flags(&folder, &[policy, LIMIT, "-s", "65536"]));
        let mut conn = server.connect();
        // The file system has room for one.
        let large = put(&body(7, 1_200_000));
        conn.send(&large);
        let first = conn.reply();
        let line = String::from_utf8_lossy(first.line()).into_owned();
        let id = line.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("{line}"));
        for _ in 0..3 {
            conn.send(&large);
            conn.expect("OUT_OF_MEMORY\r\n");
        }
        assert_eq!(bodies(&folder).len(), 1, "nothing is left of those");
        // There is room for small ones.
        eventually("there is room for a small one", || {
            conn.send("put 1 0 600 1\r\nx\r\n");
            conn.reply().line().starts_with(b"INSERTED")
        });
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
        eventually("there is room for a large one", || {
            conn.send(&large);
            conn.reply().line().starts_with(b"INSERTED")
        });
        kill(server);
        let server = Server::jq(&flags(&folder, &[policy, LIMIT, "-s", "65536"]));
        let mut conn = server.connect();
        let found = conn.ask("peek-ready");
        assert!(found.body() == Some(&body(7, 1_200_000)));
        let line = String::from_utf8_lossy(found.line()).into_owned();
        let id = line.split(' ').nth(1).expect("it has an id");
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
        stop(server);
        assert!(bodies(&folder).is_empty());
    }
}

/// Clients have taken all descriptors. Those that are kept back for the log are not for this, and so the
/// body goes where all others go.
#[test]
fn without_a_descriptor_it_goes_to_the_segment() {
    let folder = Folder::new();
    let flags = folder.flags(&["-f0", LIMIT, "-s", "65536"]);
    let server = Server::jq_by_shell(r#"ulimit -n 64; exec "$@""#, &flags);
    let mut conn = server.connect();
    let address = ("127.0.0.1", server.port());
    let connect = |_| std::net::TcpStream::connect(address).expect("the kernel accepts");
    let idle: Vec<std::net::TcpStream> = (0..74).map(connect).collect();
    eventually("no descriptor is left", || server.output().contains("Too many open files"));
    put_large(&mut conn, 1);
    assert!(bodies(folder.path()).is_empty(), "it is not in a file of its own");
    assert_eq!(conn.ask("stats").value("binlog-state"), Some("good"));
    drop(idle);
    eventually("there are some again", || server.connect().ask("list-tubes").body().is_some());
    put_large(&mut conn, 2);
    kill(server);
    assert_eq!(bodies(folder.path()), [path_of(&folder, 2)]);
    let server = serve(&folder, "-f0");
    let mut conn = server.connect();
    assert_there(&mut conn, 1);
    assert_there(&mut conn, 2);
}

/// Whatever the client was told is so, and nothing is left of what it was not told.
#[test]
fn a_server_that_is_stopped_meanwhile() {
    let folder = Folder::new();
    for round in 0..4 {
        let server = serve(&folder, "-f0");
        let mut conn = server.connect();
        let large = body(100 + round, 20_000_000);
        conn.send(put(&large));
        let said = if round % 2 == 0 {
            let mut server = server;
            server.signal(Signal::SIGTERM);
            assert_eq!(server.process().exit_code(), 0, "{}", server.output());
            conn.next(crate::support::PATIENCE)
        } else {
            kill(server);
            conn.next(crate::support::PATIENCE)
        };
        let there = bodies(folder.path()).len();
        let server = serve(&folder, "-f0");
        let mut conn = server.connect();
        let found = conn.ask("peek-ready");
        let told = matches!(&said, crate::support::Input::Reply(reply) if reply.line().starts_with(b"INSERTED"));
        assert!(!told || found.body() == Some(&large), "round {round}: {there} files");
        if found.body().is_some() {
            let line = String::from_utf8_lossy(found.line()).into_owned();
            let id = line.split(' ').nth(1).expect("it has an id").to_owned();
            assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
        }
        stop(server);
        assert!(bodies(folder.path()).is_empty(), "round {round}");
    }
}
