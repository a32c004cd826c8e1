//! Memory, when the jobs are from the binlog.

use crate::support::folder::{Folder, kill};
use crate::support::{Conn, Server, comes_true, procfs::resident};

const MIB: u64 = 1 << 20;

/// What may remain: what a server without a job has, and some.
const REMAINS: u64 = 48 * MIB;

/// Sizes of jobs that take some 80 to 200 MiB with all that belongs to them.
fn backlogs() -> [(&'static str, Vec<usize>); 4] {
    const MIX: [usize; 7] = [10, 100, 1000, 10_000, 100_000, 300_000, 900_000];
    [
        ("300 kB", vec![300_000; 600]),
        ("100 kB", vec![100_000; 1800]),
        ("a mix", (0..900).map(|number| MIX[number * 5 % MIX.len()]).collect()),
        ("100 bytes", vec![100; 400_000]),
    ]
}

/// Puts jobs of these sizes, the first of which gets the number 1.
fn put_all(conn: &mut Conn, sizes: &[usize]) {
    let mut at = 0;
    while at < sizes.len() {
        let (mut bytes, first) = (Vec::new(), at);
        while at < sizes.len() && bytes.len() < 400_000 && at < first + 1000 {
            bytes.extend(format!("put 0 0 600 {}\r\n", sizes[at]).bytes());
            bytes.resize(bytes.len() + sizes[at], b'x');
            bytes.extend(b"\r\n");
            at += 1;
        }
        conn.send(bytes);
        conn.expect((first + 1..=at).map(|id| format!("INSERTED {id}\r\n")).collect::<String>());
    }
}

fn drain(conn: &mut Conn, jobs: usize) {
    const TOGETHER: usize = 1000;
    for first in (1..=jobs).step_by(TOGETHER) {
        let ids = first..=jobs.min(first + TOGETHER - 1);
        let count = ids.clone().count();
        conn.send(ids.map(|id| format!("delete {id}\r\n")).collect::<String>());
        conn.expect("DELETED\r\n".repeat(count));
    }
}

/// Whatever reading them back has left behind, and whoever has their memory.
#[test]
fn a_backlog_from_before_a_restart_gives_its_memory_back() {
    for (what, sizes) in backlogs() {
        let folder = Folder::new();
        let server = folder.serve(&["-z", "1000000"]);
        put_all(&mut server.connect(), &sizes);
        kill(server);
        let server = folder.serve(&["-z", "1000000"]);
        let most = resident(server.pid());
        assert!(most > REMAINS + 20 * MIB, "{most} bytes hold {what}");
        drain(&mut server.connect(), sizes.len());
        expect_little(&server, &format!("of {most} bytes for {what}"));
        kill(server);
        // With nothing in it, there is nothing to begin with.
        let server = folder.serve(&[]);
        expect_little(&server, "without a job");
    }
}

fn expect_little(server: &Server, of: &str) {
    let mut now = 0;
    let little = comes_true(|| {
        now = resident(server.pid());
        now < REMAINS
    });
    assert!(little, "{now} bytes are left {of}");
}
