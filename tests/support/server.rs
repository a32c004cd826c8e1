//! Server processes: started on a free address, waited for, and always ended.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Conn, Input, PATIENCE, Process, eventually, program};

/// Another process may take a free port between our finding it and the server's binding it.
const PORT_ATTEMPTS: usize = 10;

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    /// On a loopback address.
    Tcp(SocketAddr),
    /// On a unix socket.
    Unix(PathBuf),
}

/// A running server. Dropping it ends the process.
///
/// Waiting until it is ready costs one connection and one `stats`, which the server's counters
/// show from then on.
pub(crate) struct Server {
    process: Process,
    endpoint: Endpoint,
}

impl Server {
    /// Starts our server on a free port with further flags. See [`jq_server`].
    pub(crate) fn jq(flags: &[impl AsRef<OsStr>]) -> Self {
        Self::start(&jq_server(), flags)
    }

    /// Starts our server on a unix socket with further flags.
    pub(crate) fn jq_unix(flags: &[impl AsRef<OsStr>]) -> Self {
        Self::start_unix(&jq_server(), flags)
    }

    /// Starts a program that takes beanstalkd's `-l` and `-p` on a free port of 127.0.0.1.
    pub(crate) fn start(program: &Path, flags: &[impl AsRef<OsStr>]) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            let (command, endpoint) = on_free_port(Command::new(program), flags);
            if let Some(server) = Self::spawn(command, endpoint) {
                return server;
            }
        }
        panic!("{} does not start", program.display());
    }

    /// Starts such a program on this very address, where another has ended.
    pub(crate) fn start_at(
        program: &Path,
        address: SocketAddr,
        flags: &[impl AsRef<OsStr>],
    ) -> Self {
        let mut started = None;
        eventually(&format!("{} starts on {address}", program.display()), || {
            let command = on(address, Command::new(program), flags);
            started = Self::spawn(command, Endpoint::Tcp(address));
            started.is_some()
        });
        started.expect("it was just started")
    }

    /// Starts our server on a free port by a shell command, which does what it has to do first and
    /// then becomes the server with `exec "$@"`.
    pub(crate) fn jq_by_shell(script: &str, flags: &[impl AsRef<OsStr>]) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            let (command, endpoint) = on_free_port(by_shell(script), flags);
            if let Some(server) = Self::spawn(command, endpoint) {
                return server;
            }
        }
        panic!("{script} does not start a server");
    }

    /// Starts a program that takes beanstalkd's `-l unix:PATH`.
    pub(crate) fn start_unix(program: &Path, flags: &[impl AsRef<OsStr>]) -> Self {
        let path = scratch_path("socket");
        let mut command = Command::new(program);
        command.arg("-l").arg(format!("unix:{}", path.display())).args(flags);
        Self::spawn(command, Endpoint::Unix(path))
            .unwrap_or_else(|| panic!("{} does not start", program.display()))
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The TCP port it listens on.
    ///
    /// # Panics
    ///
    /// If it listens on a unix socket.
    pub(crate) fn port(&self) -> u16 {
        match &self.endpoint {
            Endpoint::Tcp(address) => address.port(),
            Endpoint::Unix(path) => panic!("{} has no port", path.display()),
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A new connection to it.
    pub(crate) fn connect(&self) -> Conn {
        Conn::open(&self.endpoint).expect("the server accepts")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until it has ended by itself; `None` if it has not within `patience`.
    pub(crate) fn exit_status(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.process.exit_status(patience)
    }

    /// The process that serves.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Everything it has written to standard output and standard error.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// `None` if the process ended instead of serving, or another process has its address.
    fn spawn(command: Command, endpoint: Endpoint) -> Option<Self> {
        let mut server = Self { process: Process::spawn(command), endpoint };
        server.await_ready().then_some(server)
    }

    fn await_ready(&mut self) -> bool {
        let mut ready = None;
        eventually("the server listens", || {
            if let Ok(mut conn) = Conn::open(&self.endpoint) {
                ready = Some(self.answers(&mut conn));
            } else if self.exit_status(Duration::ZERO).is_some() {
                ready = Some(false);
            }
            ready.is_some()
        });
        ready == Some(true)
    }

    /// Whether it is this process that has the address.
    fn answers(&mut self, conn: &mut Conn) -> bool {
        if conn.try_send("stats\r\n").is_err() {
            return false;
        }
        let Input::Reply(stats) = conn.next(PATIENCE) else { return false };
        if stats.line() == b"INTERNAL_ERROR" {
            // One with --auth tells nobody who it is. Another server would have the address to itself.
            return self.exit_status(Duration::ZERO).is_none();
        }
        stats.value("pid") == Some(&self.pid().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Endpoint::Unix(path) = &self.endpoint {
            let _ = fs::remove_file(path);
        }
    }
}

/// The program under test: our server, or what `JQ_TEST_SERVER` names.
///
/// Naming the real beanstalkd there shows whether the tests themselves are right.
pub(crate) fn jq_server() -> PathBuf {
    env::var_os("JQ_TEST_SERVER").map_or_else(built_server, PathBuf::from)
}

fn built_server() -> PathBuf {
    option_env!("CARGO_BIN_EXE_jq-server").map_or_else(|| program("jq-server"), PathBuf::from)
}

/// Whether the program under test is ours, and not a beanstalkd that stands in for it.
pub(crate) fn is_our_server() -> bool {
    jq_server().file_name().is_some_and(|name| name == "jq-server")
}

/// A path that nothing else uses. In the system's temporary folder, not in the build's, because
/// the path of a unix socket holds 107 bytes at most.
pub(crate) fn scratch_path(suffix: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("jq-test-{}-{number}.{suffix}", std::process::id()))
}

/// What a program exits with when it is given these flags, and `None` if it serves instead.
pub(crate) fn exit_status(program: &Path, flags: &[impl AsRef<OsStr>]) -> Option<ExitStatus> {
    let (command, endpoint) = on_free_port(Command::new(program), flags);
    let mut server = Server { process: Process::spawn(command), endpoint };
    if server.await_ready() { None } else { server.exit_status(PATIENCE) }
}

/// A command that runs a shell script with our server as the first of its arguments.
pub(crate) fn by_shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).arg(jq_server());
    command
}

fn on_free_port(command: Command, flags: &[impl AsRef<OsStr>]) -> (Command, Endpoint) {
    let address = free_address();
    (on(address, command, flags), Endpoint::Tcp(address))
}

fn on(address: SocketAddr, mut command: Command, flags: &[impl AsRef<OsStr>]) -> Command {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    command.args(["-l", &host, "-p", &port]).args(flags);
    command
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
    listener.local_addr().expect("a bound socket has an address")
}
