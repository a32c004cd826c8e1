//! Starts a server, waits until it answers, and ends it whatever happens.

use std::{
    env, fs, io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use crate::{
    affinity::Cpus,
    control::{Control, PATIENCE},
    failure::{Context, Failure},
    interrupt,
    spec::{DIR, Dialect, PORT, Spec, Target},
    way::{Credentials, Way},
};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(30);
/// How often is looked whether it does.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// Somebody else may take the free port before the server does.
const ATTEMPTS: u32 = 3;
/// How much of a failed server's last words is shown, in bytes.
const LAST_WORDS: usize = 400;

/// The unit in which the kernel counts the blocks of a file, whatever the file system's own.
const BLOCK: u64 = 512;

/// A server that answers. Dropping it ends the process that was started for it, if any.
pub(crate) struct Server {
    pub(crate) way: Way,
    pub(crate) pid: Option<u32>,
    pub(crate) dialect: Dialect,
    /// Whether somebody else started it and goes on using it.
    pub(crate) is_shared: bool,
    process: Option<Process>,
}

impl Server {
    /// Starts the server on these cores and waits until it answers.
    pub(crate) fn start(
        spec: &Spec,
        cpus: &Cpus,
        credentials: &Credentials,
    ) -> Result<Self, Failure> {
        let dialect = spec.dialect;
        let words = match &spec.target {
            Target::Running { addr, pid, .. } => {
                let way = credentials.way_to(spec, *addr)?;
                answers(&way, dialect)?;
                return Ok(Self { way, pid: *pid, dialect, is_shared: true, process: None });
            }
            Target::Command(words) => words.clone(),
            Target::Echo => own_command(["echo", "--port", PORT])?,
        };
        let mut attempt = 1;
        loop {
            match Self::start_on_free_port(&words, spec, cpus, credentials) {
                Err(Failure::Server(_)) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    fn start_on_free_port(
        words: &[String],
        spec: &Spec,
        cpus: &Cpus,
        credentials: &Credentials,
    ) -> Result<Self, Failure> {
        let dialect = spec.dialect;
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .during(|| "cannot find a free port".to_owned())?;
        let mut process = Process::spawn(words, addr.port(), cpus)?;
        let way = credentials.way_to(spec, addr)?;
        process.wait_for(&way, dialect)?;
        let pid = Some(process.child.id());
        Ok(Self { way, pid, dialect, is_shared: false, process: Some(process) })
    }

    /// Sends a signal to the server's process, if it was started for this round: `false` if not.
    pub(crate) fn signal(&self, signal: Signal) -> Result<bool, Failure> {
        let Some(process) = &self.process else { return Ok(false) };
        kill_process(Pid::from_child(&process.child), signal)
            .during(|| "cannot send a signal to the server".to_owned())?;
        Ok(true)
    }

    /// Ends the server with SIGTERM: how long that took.
    pub(crate) fn stop(&mut self) -> Result<Duration, Failure> {
        let sent = Instant::now();
        self.signal(Signal::TERM)?;
        let child = &mut self.own()?.child;
        while child.try_wait().during(waiting)?.is_none() {
            if interrupt::requested() {
                return Err(Failure::Interrupted);
            }
            if sent.elapsed() > PATIENCE {
                return Err(Failure::Server(format!("SIGTERM had no effect for {PATIENCE:?}")));
            }
            thread::sleep(ASK_EVERY);
        }
        Ok(sent.elapsed())
    }

    /// Starts a server that was stopped once more, with the same port and files: how long it took
    /// until it had answered a command.
    pub(crate) fn start_again(&mut self) -> Result<Duration, Failure> {
        let (way, dialect) = (self.way.clone(), self.dialect);
        let started = Instant::now();
        let process = self.own()?;
        process.child = launch_child(&process.launch, &process.home)?;
        process.wait_for(&way, dialect)?;
        let taken = started.elapsed();
        self.pid = Some(self.own()?.child.id());
        Ok(taken)
    }

    /// What the server's files take on disk, in bytes.
    pub(crate) fn disk(&mut self) -> Result<u64, Failure> {
        let data = self.own()?.home.join(DATA);
        disk_use(&data).during(|| format!("cannot look through {}", data.display()))
    }

    fn own(&mut self) -> Result<&mut Process, Failure> {
        let started_by_others = || Failure::Server("jq-compare did not start it".to_owned());
        self.process.as_mut().ok_or_else(started_by_others)
    }
}

/// Bytes that all files below a directory take. Holes take none, preallocated space does.
fn disk_use(directory: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { disk_use(&entry.path())? } else { metadata.blocks() * BLOCK };
    }
    Ok(sum)
}

fn waiting() -> String {
    "cannot wait for the server".to_owned()
}

fn own_command<const N: usize>(args: [&str; N]) -> Result<Vec<String>, Failure> {
    let own = env::current_exe().during(|| "cannot find this program".to_owned())?;
    let own = own.to_string_lossy().into_owned();
    Ok([own].into_iter().chain(args.map(str::to_owned)).collect())
}

fn answers(way: &Way, dialect: Dialect) -> Result<(), Failure> {
    let mut control = Control::connect(way)?;
    match dialect {
        Dialect::Queue | Dialect::Echo => control.ask("use default", "USING default"),
        Dialect::Redis => control.ask("PING", "+PONG"),
    }
}

/// The directory for the server's files within its home.
const DATA: &str = "data";
/// The file with what it wrote to its standard error output.
const STDERR: &str = "stderr";

/// A child process with a directory of its own.
struct Process {
    child: Child,
    /// The command that starts it.
    launch: Vec<String>,
    home: PathBuf,
}

impl Process {
    fn spawn(words: &[String], port: u16, cpus: &Cpus) -> Result<Self, Failure> {
        let home = env::temp_dir().join(format!("jq-compare-{}-{port}", process::id()));
        let data = home.join(DATA);
        let parent = process::id().to_string();
        let mut launch =
            own_command(["launch", "--parent", &parent, "--cpus", &cpus.to_string(), "--"])?;
        let (port, directory) = (port.to_string(), data.to_string_lossy());
        launch.extend(words.iter().map(|w| w.replace(PORT, &port).replace(DIR, &directory)));
        let child = fs::create_dir_all(&data)
            .during(|| format!("cannot prepare {}", home.display()))
            .and_then(|()| launch_child(&launch, &home));
        match child {
            Ok(child) => Ok(Self { child, launch, home }),
            Err(failure) => {
                remove(&home);
                Err(failure)
            }
        }
    }

    fn wait_for(&mut self, way: &Way, dialect: Dialect) -> Result<(), Failure> {
        let deadline = Instant::now() + START;
        loop {
            let listens = TcpStream::connect(way.addr).is_ok();
            // Looked at after connecting: if it still runs, it is who listens.
            let ended = self.child.try_wait().during(waiting)?;
            if let Some(status) = ended {
                let words = self.last_words();
                return Err(Failure::Server(format!(
                    "the server ended at once, {status}: {words}"
                )));
            }
            if listens {
                return answers(way, dialect);
            }
            if interrupt::requested() {
                return Err(Failure::Interrupted);
            }
            if Instant::now() > deadline {
                let words = self.last_words();
                return Err(Failure::Server(format!(
                    "the server does not listen on {}: {words}",
                    way.addr
                )));
            }
            thread::sleep(ASK_EVERY);
        }
    }

    fn last_words(&self) -> String {
        let text = fs::read(self.home.join(STDERR)).unwrap_or_default();
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

fn launch_child(launch: &[String], home: &Path) -> Result<Child, Failure> {
    let stderr = fs::File::create(home.join(STDERR))
        .during(|| format!("cannot prepare {}", home.display()))?;
    Command::new(&launch[0])
        .args(&launch[1..])
        // Ctrl-C is for us; the server ends when we are done with it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .during(|| format!("cannot start {}", launch[0]))
}

fn remove(home: &Path) {
    if let Err(error) = fs::remove_dir_all(home) {
        eprintln!("jq-compare: cannot remove {}: {error}", home.display());
    }
}

/// Turns this process into a server, pinned to some cores, that the kernel ends when `parent`
/// does: also when that is killed, or panics without unwinding. Returns only if it fails.
pub(crate) fn launch(cpus: &Cpus, parent: u32, command: &[String]) -> Failure {
    let prepare = || -> io::Result<()> {
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
