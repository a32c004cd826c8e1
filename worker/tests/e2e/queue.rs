//! A queue of either kind, and what a producer and an operator do there.

use std::net::SocketAddr;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::support::{
    Conn, Endpoint, PATIENCE, Server, beanstalkd, eventually, folder::Folder, jq_server,
};

/// The tube that workers take from unless a test says otherwise.
pub(crate) const TUBE: &str = "e2e";

/// Time to run of jobs unless a test says otherwise, in seconds.
pub(crate) const TTR: u32 = 10;

/// Priority of jobs unless a test says otherwise.
pub(crate) const PRIORITY: u32 = 100;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Jq,
    Beanstalkd,
}

impl Kind {
    /// Whether it is installed; says what is skipped if it is not.
    pub(crate) fn is_here(self, what: &str) -> bool {
        self == Self::Jq || beanstalkd(&format!("{what} with beanstalkd")).is_some()
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Jq => jq_server(),
            Self::Beanstalkd => beanstalkd("it").expect("it was looked for before"),
        }
    }
}

/// A running queue.
pub(crate) struct Queue {
    kind: Kind,
    /// `None` while it is down.
    server: Option<Server>,
    address: SocketAddr,
    binlog: Option<Folder>,
}

impl Queue {
    /// One that keeps its jobs in memory.
    pub(crate) fn start(kind: Kind) -> Self {
        Self::with(kind, None)
    }

    /// Ours, in memory, with its HTTP API, which takes the token `a-token`; and where that is.
    pub(crate) fn with_api() -> (Self, SocketAddr) {
        let folder = Folder::new();
        let tokens = folder.path().join("tokens.toml");
        let text =
            "[[token]]\nname = \"test\"\nrole = \"operate\"\ntoken = \"a-token-of-a-test\"\n";
        std::fs::write(&tokens, text).expect("the folder is writable");
        let tokens = tokens.to_str().expect("a path of ours").to_owned();
        let mut flags = vec!["--http".to_owned(), "127.0.0.1:0".to_owned()];
        flags.extend(["--http-token-file".to_owned(), tokens]);
        let mut server = Server::start(&Kind::Jq.program(), &flags);
        let Endpoint::Tcp(address) = *server.endpoint() else { panic!("it listens on TCP") };
        let line = server.process().await_output("serving HTTP");
        let api = line.split("address=\"").nth(1).and_then(|it| it.split('"').next());
        let api = api.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        (Self { kind: Kind::Jq, server: Some(server), address, binlog: Some(folder) }, api)
    }

    /// One that keeps its jobs on disk.
    pub(crate) fn durable(kind: Kind) -> Self {
        Self::with(kind, Some(Folder::new()))
    }

    fn with(kind: Kind, binlog: Option<Folder>) -> Self {
        let flags = binlog.as_ref().map_or_else(Vec::new, |folder| folder.flags(&[]));
        let server = Server::start(&kind.program(), &flags);
        let Endpoint::Tcp(address) = *server.endpoint() else { panic!("it listens on TCP") };
        Self { kind, server: Some(server), address, binlog }
    }

    /// Where it is, as `--server` takes it.
    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        let mut server = self.server.take().expect("it is up");
        server.signal(Signal::SIGKILL);
        server.exit_status(PATIENCE).expect("nothing survives this");
    }

    /// Starts it again at its address.
    pub(crate) fn revive(&mut self) {
        let flags = self.binlog.as_ref().map_or_else(Vec::new, |folder| folder.flags(&[]));
        self.server = Some(Server::start_at(&self.kind.program(), self.address, &flags));
    }

    /// Sends the program a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.server.as_ref().expect("it is up").signal(signal);
    }

    /// A connection that uses and watches [`TUBE`].
    pub(crate) fn connect(&self) -> Conn {
        let mut conn = self.server.as_ref().expect("it is up").connect();
        conn.ask(format!("use {TUBE}"));
        conn.ask(format!("watch {TUBE}"));
        conn
    }

    /// Puts a job.
    pub(crate) fn put(&self, body: impl AsRef<[u8]>) -> u64 {
        self.put_with(TTR, body)
    }

    /// Puts a job with this time to run, in seconds.
    pub(crate) fn put_with(&self, ttr: u32, body: impl AsRef<[u8]>) -> u64 {
        put(&mut self.connect(), ttr, body)
    }

    /// A value of `stats-job`; `None` if there is no such job.
    pub(crate) fn job(&self, id: u64, key: &str) -> Option<String> {
        self.connect().ask(format!("stats-job {id}")).value(key).map(str::to_owned)
    }

    /// Waits until there is no such job any more.
    pub(crate) fn await_deleted(&self, id: u64) {
        let mut conn = self.connect();
        eventually("the job is deleted", || {
            conn.ask(format!("stats-job {id}")).line() == b"NOT_FOUND"
        });
    }

    /// Waits until the job is in this state: `ready`, `delayed`, `reserved`, `buried`.
    pub(crate) fn await_state(&self, id: u64, state: &str) {
        let mut conn = self.connect();
        eventually(&format!("the job is {state}"), || {
            conn.ask(format!("stats-job {id}")).value("state") == Some(state)
        });
    }

    /// A count of a tube, such as `current-jobs-ready`; 0 if there is no such tube.
    pub(crate) fn count(&self, tube: &str, key: &str) -> u64 {
        let stats = self.connect().ask(format!("stats-tube {tube}"));
        stats.value(key).map_or(0, |value| value.parse().expect("it is a number"))
    }

    /// Waits until [`TUBE`] has no jobs of any state but buried.
    pub(crate) fn await_empty(&self) {
        eventually("the queue is empty", || {
            // All at once: a job can go from one to the other meanwhile.
            let stats = self.connect().ask(format!("stats-tube {TUBE}"));
            let is_zero = |state| {
                stats.value(&format!("current-jobs-{state}")).is_none_or(|count| count == "0")
            };
            ["ready", "reserved", "delayed"].into_iter().all(is_zero)
        });
    }
}

/// Puts a job over this connection.
pub(crate) fn put(conn: &mut Conn, ttr: u32, body: impl AsRef<[u8]>) -> u64 {
    let body = body.as_ref();
    let mut command = format!("put {PRIORITY} 0 {ttr} {}\r\n", body.len()).into_bytes();
    command.extend_from_slice(body);
    command.extend_from_slice(b"\r\n");
    conn.send(command);
    inserted(conn)
}

/// Reads the answer to a put.
pub(crate) fn inserted(conn: &mut Conn) -> u64 {
    let reply = conn.reply();
    let line = String::from_utf8_lossy(reply.line()).into_owned();
    let id = line.strip_prefix("INSERTED ").and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("the job is put, not {line}"))
}
