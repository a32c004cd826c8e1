//! Memory, when the jobs are from the binlog.

use crate::support::folder::{Folder, kill};
use crate::support::{Conn, comes_true, procfs::resident};

const JOBS: u64 = 600;
const SIZE: usize = 300_000;
const MIB: u64 = 1 << 20;

fn drain(conn: &mut Conn) {
    for id in 1..=JOBS {
        assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
    }
}

/// Whatever reading them back has left behind, and whoever has their memory.
#[test]
fn a_backlog_from_before_a_restart_gives_its_memory_back() {
    let folder = Folder::new();
    let server = folder.serve(&["-z", "1000000"]);
    let mut conn = server.connect();
    let body = "x".repeat(SIZE);
    for id in 1..=JOBS {
        conn.send(format!("put 0 0 60 {SIZE}\r\n{body}\r\n"));
        conn.expect(format!("INSERTED {id}\r\n"));
    }
    kill(server);
    let server = folder.serve(&["-z", "1000000"]);
    let most = resident(server.pid());
    assert!(most > JOBS * SIZE as u64, "{most} bytes hold them");
    drain(&mut server.connect());
    let mut now = 0;
    let back = comes_true(|| {
        now = resident(server.pid());
        now < 60 * MIB
    });
    assert!(back, "{now} of {most} bytes are left");
    kill(server);
    // With nothing in it, there is nothing to begin with.
    let server = folder.serve(&[]);
    let little = comes_true(|| resident(server.pid()) < 60 * MIB);
    assert!(little, "{} bytes without a job", resident(server.pid()));
}
