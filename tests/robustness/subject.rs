//! The server under test, and what it holds for its clients.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Conn, Reply, Server, comes_true, eventually, procfs};

/// What the stats count for as long as it is there.
const HELD: [&str; 9] = [
    "current-jobs-ready",
    "current-jobs-reserved",
    "current-jobs-delayed",
    "current-jobs-buried",
    "current-tubes",
    "current-connections",
    "current-producers",
    "current-workers",
    "current-waiting",
];

/// Processor time that an idle server may use in a second. It uses next to none, and one that spins
/// all that it gets.
const IDLE_SECOND: Duration = Duration::from_millis(150);

/// A server, and a witness: a client that behaves, and looks at what others cause.
pub(crate) struct Subject {
    pub(crate) server: Server,
    pub(crate) witness: Conn,
    before: Holdings,
}

/// What a server holds for its clients.
#[derive(Debug)]
struct Holdings {
    descriptors: usize,
    stats: [u64; HELD.len()],
}

impl Subject {
    /// Starts a server with so many threads and further flags.
    pub(crate) fn start(threads: usize, flags: &[&str]) -> Self {
        Self::of(Server::jq(&with_threads(threads, flags)))
    }

    /// Starts a server on a unix socket.
    pub(crate) fn start_unix(threads: usize, flags: &[&str]) -> Self {
        Self::of(Server::jq_unix(&with_threads(threads, flags)))
    }

    /// Starts a server by a shell command that ends in `exec "$@"`.
    pub(crate) fn start_by_shell(threads: usize, script: &str) -> Self {
        Self::of(Server::jq_by_shell(script, &with_threads(threads, &[])))
    }

    /// Looks at a server that has just been started.
    pub(crate) fn of(server: Server) -> Self {
        let witness = server.connect();
        let before = Holdings { descriptors: 0, stats: [0; HELD.len()] };
        let mut subject = Self { server, witness, before };
        subject.witness.ask("use witness");
        subject.witness.ask("watch witness");
        subject.witness.ask("ignore default");
        subject.serve(1);
        eventually("the connection of the readiness check is gone", || {
            subject.stat("current-connections") == 1
        });
        subject.before = subject.holdings();
        subject
    }

    /// A new client.
    pub(crate) fn connect(&self) -> Conn {
        self.server.connect()
    }

    /// Has the witness put, reserve and delete so many jobs, one command at a time.
    pub(crate) fn serve(&mut self, cycles: usize) {
        for cycle in 0..cycles {
            let body = format!("job {cycle}");
            let id = put(&mut self.witness, "put 0 0 60", body.as_bytes());
            let reserved = self.witness.ask("reserve-with-timeout 10");
            assert_eq!(reserved.line(), format!("RESERVED {id} {}", body.len()).as_bytes());
            assert_eq!(reserved.body(), Some(body.as_bytes()));
            assert_eq!(self.witness.ask(format!("delete {id}")).line(), b"DELETED");
        }
    }

    /// A number in the stats.
    pub(crate) fn stat(&mut self, key: &str) -> u64 {
        number(&self.witness.ask("stats"), key)
    }

    /// Resident memory of the server, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        procfs::resident(self.server.pid())
    }

    /// Memory that the server has set aside, used or not, in bytes.
    pub(crate) fn address_space(&self) -> u64 {
        procfs::address_space(self.server.pid())
    }

    /// Descriptors that the server has and had not at the start; possibly one fewer, since then a
    /// last one may have been about to be closed.
    pub(crate) fn new_descriptors(&self) -> usize {
        procfs::descriptors(self.server.pid()).saturating_sub(self.before.descriptors)
    }

    /// Asserts that the server does next to nothing for a second of its own clock.
    pub(crate) fn expect_idle(&mut self) {
        let before = procfs::cpu_time(self.server.pid());
        assert_eq!(self.witness.ask("reserve-with-timeout 1").line(), b"TIMED_OUT");
        let used = procfs::cpu_time(self.server.pid()) - before;
        assert!(used < IDLE_SECOND, "{used:?} of processor time");
    }

    /// Waits until the server holds nothing for clients that it did not hold at the start.
    pub(crate) fn settle(&mut self) {
        self.settle_with(0);
    }

    /// The same, but that it may have so many more descriptors for itself.
    pub(crate) fn settle_with(&mut self, descriptors: usize) {
        let mut now = self.holdings();
        let settled = comes_true(|| {
            now = self.holdings();
            now.stats == self.before.stats
                && now.descriptors <= self.before.descriptors + descriptors
        });
        assert!(settled, "{HELD:?}\nbefore: {:?}\nnow: {now:?}", self.before);
    }

    /// Settles, and has the server end as it should.
    pub(crate) fn finish(mut self) {
        self.settle();
        self.server.signal(Signal::SIGTERM);
        assert_eq!(self.server.process().exit_code(), 0);
    }

    fn holdings(&mut self) -> Holdings {
        let reply = self.witness.ask("stats");
        Holdings {
            descriptors: procfs::descriptors(self.server.pid()),
            stats: HELD.map(|key| number(&reply, key)),
        }
    }
}

/// Puts a job by a command line without its size, and tells its number.
pub(crate) fn put(conn: &mut Conn, line: &str, body: &[u8]) -> u64 {
    conn.send(put_bytes(line, body));
    id_in(&conn.reply(), "INSERTED")
}

/// The number of the job in a reply that must begin with `word`.
pub(crate) fn id_in(reply: &Reply, word: &str) -> u64 {
    let line = String::from_utf8_lossy(reply.line()).into_owned();
    let id = match line.split(' ').collect::<Vec<_>>()[..] {
        [first, id, ..] if first == word => id.parse().ok(),
        _ => None,
    };
    id.unwrap_or_else(|| panic!("{word}, not {line:?}"))
}

/// The bytes that put a job.
pub(crate) fn put_bytes(line: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{line} {}\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn with_threads(threads: usize, flags: &[&str]) -> Vec<String> {
    let threads = ["--threads".to_owned(), threads.to_string()];
    threads.into_iter().chain(flags.iter().map(|flag| (*flag).to_owned())).collect()
}

fn number(reply: &Reply, key: &str) -> u64 {
    let value = reply.value(key).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{key} in {reply}"))
}
