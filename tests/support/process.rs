//! Processes of any kind: their output is kept, they are waited for with a deadline, and always
//! ended.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{PATIENCE, POLL_INTERVAL, eventually, scratch_path};

/// A running process, or one that has ended and left its output. Dropping it ends the process.
pub(crate) struct Process {
    child: Child,
    /// What the process says, shown when a test fails.
    output: PathBuf,
}

impl Process {
    /// Starts a command without input, its standard output and standard error kept together.
    pub(crate) fn spawn(command: Command) -> Self {
        Self::spawn_on(command, Stdio::null())
    }

    /// Starts a command with this as its descriptor 0.
    pub(crate) fn spawn_on(mut command: Command, stdin: Stdio) -> Self {
        let output = scratch_path("log");
        let file = File::create(&output).expect("the temporary folder is writable");
        let child = command
            .stdin(stdin)
            .stdout(file.try_clone().expect("a file can be duplicated"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} starts: {error}"));
        Self { child, output }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(self.pid(), signal).expect("the process is running");
    }

    /// Waits until it has ended by itself; `None` if it has not within `patience`.
    pub(crate) fn exit_status(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("the process is our child") {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits until it has ended by itself, and tells the exit status.
    ///
    /// # Panics
    ///
    /// If it does not end within [`PATIENCE`], or by a signal.
    pub(crate) fn exit_code(&mut self) -> i32 {
        let Some(status) = self.exit_status(PATIENCE) else { panic!("the process ends") };
        status.code().unwrap_or_else(|| panic!("the process exits, but: {status}"))
    }

    /// Everything it has written to standard output and standard error.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Waits until it has written a line that contains `text`, and returns the first such line.
    pub(crate) fn await_output(&self, text: &str) -> String {
        let mut found = None;
        eventually(&format!("the process writes {text:?}"), || {
            let output = self.output();
            // The last line may be half written.
            let mut lines = output.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            found = lines.find(|line| line.contains(text)).map(|line| line.trim_end().to_owned());
            found.is_some()
        });
        found.expect("it was just found")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may be gone already; either way it is reaped.
        if self.exit_status(Duration::ZERO).is_none() {
            let _ = send_signal(self.pid(), Signal::SIGTERM);
            if self.exit_status(Duration::from_secs(6)).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        if thread::panicking() {
            eprintln!("-- output of process {}:\n{}--", self.child.id(), self.output());
        }
        let _ = fs::remove_file(&self.output);
    }
}

/// Sends a signal to a process, which need not be a child.
pub(crate) fn send_signal(pid: u32, signal: Signal) -> nix::Result<()> {
    kill(Pid::from_raw(pid.try_into().expect("a process id is positive")), signal)
}
