//! Starts a server, waits until it answers, and ends it whatever happens.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::{
    affinity::Cpus,
    control::Control,
    failure::{Context, Failure},
    interrupt,
    ledger::Ids,
};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(30);
/// How often is looked whether it does.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// Somebody else may take the free port before the server does.
const ATTEMPTS: u32 = 3;
/// How much of a failed server's last words is shown, in bytes.
const LAST_WORDS: usize = 400;

/// A server as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) target: Target,
}

/// How to get at a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Words of a command with `{port}` and `{dir}` in them.
    Command(Vec<String>),
    /// The one built in.
    Echo,
    /// It is running; its process may be known.
    Running(SocketAddr, Option<u32>),
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, server) = text.split_once('=').ok_or("must be NAME=SERVER")?;
        if name.is_empty() {
            return Err("the name is missing".to_owned());
        }
        let target = if server == "builtin:echo" {
            Target::Echo
        } else if let Some(address) = server.strip_prefix("addr:") {
            let (address, pid) = match address.split_once('@') {
                Some((address, pid)) => {
                    (address, Some(pid.parse().map_err(|_| format!("'{pid}' is no process id"))?))
                }
                None => (address, None),
            };
            let mut found = address.to_socket_addrs().map_err(|e| format!("{address}: {e}"))?;
            Target::Running(found.next().ok_or_else(|| format!("{address}: no address"))?, pid)
        } else {
            let words: Vec<_> = server.split_ascii_whitespace().map(str::to_owned).collect();
            if !words.iter().any(|word| word.contains("{port}")) {
                return Err("the command must have {port} in it".to_owned());
            }
            Target::Command(words)
        };
        Ok(Self { name: name.to_owned(), target })
    }
}

/// A server that answers. Dropping it ends the process that was started for it, if any.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) pid: Option<u32>,
    pub(crate) ids: Ids,
    /// Whether somebody else started it and goes on using it.
    pub(crate) is_shared: bool,
    _process: Option<Process>,
}

impl Server {
    /// Starts the server on these cores and waits until it answers.
    pub(crate) fn start(spec: &Spec, cpus: &Cpus) -> Result<Self, Failure> {
        let (words, ids) = match &spec.target {
            Target::Running(addr, pid) => {
                answers(*addr)?;
                let (addr, pid, ids) = (*addr, *pid, Ids::Unique);
                return Ok(Self { addr, pid, ids, is_shared: true, _process: None });
            }
            Target::Command(words) => (words.clone(), Ids::Unique),
            Target::Echo => (own_command(["echo", "--port", "{port}"])?, Ids::Constant),
        };
        let mut attempt = 1;
        loop {
            match Self::start_on_free_port(&words, ids, cpus) {
                Err(Failure::Server(_)) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    fn start_on_free_port(words: &[String], ids: Ids, cpus: &Cpus) -> Result<Self, Failure> {
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .during(|| "cannot find a free port".to_owned())?;
        let mut process = Process::spawn(words, addr.port(), cpus)?;
        process.wait_for(addr)?;
        let pid = Some(process.child.id());
        Ok(Self { addr, pid, ids, is_shared: false, _process: Some(process) })
    }
}

fn own_command<const N: usize>(args: [&str; N]) -> Result<Vec<String>, Failure> {
    let own = env::current_exe().during(|| "cannot find this program".to_owned())?;
    let own = own.to_string_lossy().into_owned();
    Ok([own].into_iter().chain(args.map(str::to_owned)).collect())
}

fn answers(addr: SocketAddr) -> Result<(), Failure> {
    Control::connect(addr)?.ask("use default", "USING default")
}

/// A child process with a directory of its own.
struct Process {
    child: Child,
    home: PathBuf,
}

impl Process {
    fn spawn(words: &[String], port: u16, cpus: &Cpus) -> Result<Self, Failure> {
        let home = env::temp_dir().join(format!("jq-compare-{}-{port}", process::id()));
        let data = home.join("data");
        let prepare = || -> std::io::Result<fs::File> {
            fs::create_dir_all(&data)?;
            fs::File::create(home.join("stderr"))
        };
        let stderr = prepare().during(|| format!("cannot prepare {}", home.display()))?;
        let parent = process::id().to_string();
        let mut launch =
            own_command(["launch", "--parent", &parent, "--cpus", &cpus.to_string(), "--"])?;
        let (port, data) = (port.to_string(), data.to_string_lossy());
        launch.extend(words.iter().map(|w| w.replace("{port}", &port).replace("{dir}", &data)));
        let child = Command::new(&launch[0])
            .args(&launch[1..])
            // Ctrl-C is for us; the server ends when we are done with it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .during(|| format!("cannot start {}", launch[0]));
        match child {
            Ok(child) => Ok(Self { child, home }),
            Err(failure) => {
                remove(&home);
                Err(failure)
            }
        }
    }

    fn wait_for(&mut self, addr: SocketAddr) -> Result<(), Failure> {
        let deadline = Instant::now() + START;
        loop {
            let listens = TcpStream::connect(addr).is_ok();
            // Looked at after connecting: if it still runs, it is who listens.
            let ended = self.child.try_wait().during(|| "cannot wait for the server".to_owned())?;
            if let Some(status) = ended {
                let words = self.last_words();
                return Err(Failure::Server(format!(
                    "the server ended at once, {status}: {words}"
                )));
            }
            if listens {
                return answers(addr);
            }
            if interrupt::requested() {
                return Err(Failure::Interrupted);
            }
            if Instant::now() > deadline {
                let words = self.last_words();
                return Err(Failure::Server(format!(
                    "the server does not listen on {addr}: {words}"
                )));
            }
            thread::sleep(ASK_EVERY);
        }
    }

    fn last_words(&self) -> String {
        let text = fs::read(self.home.join("stderr")).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(LAST_WORDS)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        remove(&self.home);
    }
}

fn remove(home: &Path) {
    if let Err(error) = fs::remove_dir_all(home) {
        eprintln!("jq-compare: cannot remove {}: {error}", home.display());
    }
}

/// Turns this process into a server, pinned to some cores, that the kernel ends when `parent`
/// does: also when that is killed, or panics without unwinding. Returns only if it fails.
pub(crate) fn launch(cpus: &Cpus, parent: u32, command: &[String]) -> Failure {
    let prepare = || -> std::io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        cpus.pin()
    };
    if let Err(error) = prepare() {
        return Failure::Io("cannot prepare the server".to_owned(), error);
    }
    // The parent may have ended before the kernel was told.
    if getppid().map(Pid::as_raw_pid) != i32::try_from(parent).ok() {
        return Failure::Interrupted;
    }
    Failure::Io(
        format!("cannot run {}", command[0]),
        Command::new(&command[0]).args(&command[1..]).exec(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        let target = |text: &str| text.parse::<Spec>().map(|spec| spec.target);
        assert_eq!(target("e=builtin:echo"), Ok(Target::Echo));
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert_eq!(target("a=addr:127.0.0.1:7"), Ok(Target::Running(local(7), None)));
        assert_eq!(target("a=addr:127.0.0.1:7@42"), Ok(Target::Running(local(7), Some(42))));
        let words = ["x", "-o", "a=b", "-p{port}"].map(str::to_owned).to_vec();
        assert_eq!(target("a=x  -o a=b -p{port}"), Ok(Target::Command(words)));
        for wrong in ["x {port}", "=x {port}", "a=x", "a=addr:nowhere", "a=addr:127.0.0.1:7@x"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
