//! No more memory while the disk keeps what it was given waiting: what waits is small, and there is much.

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::subject::{Subject, id_in, put_bytes};
use crate::support::folder::{Folder, kill};
use crate::support::procfs::{address_space, thread};
use crate::support::{Conn, Reply, Server, eventually, skip};

/// Addresses that a server may have besides those that it begins with, in bytes.
const MORE: u64 = 120 << 20;

/// As many as a connection puts without waiting for any reply.
const EACH: usize = 15_000;

/// A thread of another process that stands still until this is dropped.
struct Halted(Pid);

impl Halted {
    /// `None` if this machine does not allow it.
    fn new(thread: i32) -> Option<Self> {
        let thread = Pid::from_raw(thread);
        match ptrace::seize(thread, ptrace::Options::empty()) {
            Err(Errno::EPERM | Errno::ENOSYS) => return None,
            seized => seized.expect("the thread is there"),
        }
        ptrace::interrupt(thread).expect("it can be interrupted");
        waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
        Some(Self(thread))
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        // If the process has ended, there is nothing to go on.
        let _ = ptrace::detach(self.0, None);
    }
}

fn stat(witness: &mut Conn, key: &str) -> usize {
    let stats = witness.ask("stats");
    stats.value(key).and_then(|value| value.parse().ok()).expect("it is a number")
}

/// Half a million jobs and their records, until there is no room for more: no table of those that wait asks
/// for more at a time than what is kept back. The server goes on, and what it acknowledges is there.
#[test]
fn small_records_until_there_is_no_room() {
    let folder = Folder::new();
    let flags = |more: &[&str]| {
        let mut flags = folder.flags(more);
        flags.extend(["--threads".to_owned(), "1".to_owned()]);
        flags
    };
    let begins = address_space(Server::jq(&flags(&["-f", "0"])).pid());
    let limit = format!("ulimit -v {} && exec \"$@\"", (begins + MORE) >> 10);
    let server = Server::jq_by_shell(&limit, &flags(&["-f", "0", "-s", "1000000000"]));
    let mut witness = server.connect();
    witness.send(put_bytes("put 0 0 60", b"first"));
    id_in(&witness.reply(), "INSERTED");
    let syncer = thread(server.pid(), "jq-binlog");
    let Some(halted) = Halted::new(syncer) else {
        return skip("a stopped disk", "ptrace is not allowed");
    };
    let mut clients: Vec<Conn> = Vec::new();
    for _ in 0..60 {
        let mut client = server.connect();
        client.send(put_bytes("put 0 0 60", b"").repeat(EACH));
        clients.push(client);
        let put = 1 + clients.len() * EACH;
        eventually("they are carried out", || stat(&mut witness, "cmd-put") == put);
        let jobs = stat(&mut witness, "current-jobs-ready");
        if jobs < put {
            break;
        }
    }
    let jobs = stat(&mut witness, "current-jobs-ready");
    let put = stat(&mut witness, "cmd-put");
    assert!((300_000..put).contains(&jobs), "{jobs} of {put}");
    // Others may look, and change what there is.
    assert_eq!(witness.ask("list-tube-used").line(), b"USING default");
    drop(halted);
    let replies = clients.iter_mut().flat_map(|client| (0..EACH).map(|_| client.reply()));
    let (taken, refused): (Vec<Reply>, Vec<Reply>) =
        replies.partition(|reply| reply.line().starts_with(b"INSERTED "));
    assert!(refused.iter().all(|reply| reply.line() == b"OUT_OF_MEMORY"));
    assert_eq!(taken.len() + 1, jobs);
    assert!(witness.ask("peek-ready").line().starts_with(b"FOUND 1 "));
    assert_eq!(witness.ask("delete 1").line(), b"DELETED");
    drop((witness, clients));
    kill(server);
    let mut subject = Subject::of(Server::jq(&flags(&[])));
    assert_eq!(subject.stat("current-jobs-ready"), taken.len() as u64);
}
