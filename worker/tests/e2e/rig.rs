//! What a scenario is played with: a folder, a website, and workers that are started in the folder.

use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::{self, Message};
use crate::queue::{Queue, TUBE};
use crate::site::Site;
use crate::support::{PATIENCE, Process, eventually, scratch_path};

/// What a handler does first, to show that it ran.
const RECORD: &str = r#"echo "$JQ_JOB_ID $JQ_ATTEMPT" >> "$HOME/runs";"#;

/// See the module.
pub(crate) struct Rig {
    pub(crate) dir: PathBuf,
    pub(crate) site: Site,
    /// What is in the configuration file.
    config: RefCell<String>,
}

impl Rig {
    /// An empty folder, and a website that is up.
    pub(crate) fn new() -> Self {
        Self::with(Site::start())
    }

    /// An empty folder, and this website.
    pub(crate) fn with(site: Site) -> Self {
        let dir = scratch_path("worker");
        fs::create_dir(&dir).expect("the temporary folder is writable");
        Self { dir, site, config: RefCell::default() }
    }

    /// Adds settings to the configuration file. Tables go last.
    pub(crate) fn configure(&self, toml: &str) -> &Self {
        let mut config = self.config.borrow_mut();
        config.push_str(toml);
        config.push('\n');
        fs::write(self.dir.join("jq-worker.toml"), &*config).expect("the folder is writable");
        self
    }

    /// Adds a handler to it: a shell script, which records that it runs, and further settings.
    pub(crate) fn handler(&self, kind: &str, script: &str, settings: &str) -> &Self {
        self.configure(&format!(
            "[handlers.{kind}]\ncommand = ['/bin/sh', '-c', '''{RECORD} {script}''']\n{settings}"
        ))
    }

    /// Begins the configuration file anew.
    pub(crate) fn clear(&self) -> &Self {
        self.config.borrow_mut().clear();
        self
    }

    /// Writes an executable file.
    pub(crate) fn script(&self, name: &str, script: &str) {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().expect("it is in the folder")).expect("it is writable");
        fs::write(&path, format!("#!/bin/sh\n{RECORD} {script}\n")).expect("it is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// Starts a worker of this queue that may speak to the website.
    pub(crate) fn work(&self, queue: &Queue, flags: &[&str]) -> Worker {
        self.work_on(&[queue], flags)
    }

    /// Starts a worker of these queues.
    pub(crate) fn work_on(&self, queues: &[&Queue], flags: &[&str]) -> Worker {
        let mut command = self.command();
        for queue in queues {
            command.args(["--server", &queue.name()]);
        }
        command.args(["--tube", TUBE, "--listen", "127.0.0.1:0", "-V"]);
        command.args(["--allow-url", &self.site.url("/")]).args(flags);
        Worker::start(command)
    }

    /// Starts a worker that is told everything by the configuration file.
    pub(crate) fn work_as_configured(&self) -> Worker {
        Worker::start(self.command())
    }

    /// Starts a worker by this command.
    pub(crate) fn work_with(&self, command: Command) -> Worker {
        Worker::start(command)
    }

    /// A command that runs our program in the folder.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jq-worker"));
        // Every process of a job has it too: by this they are counted.
        command.current_dir(&self.dir).env("HOME", &self.dir).env_remove("STATE_DIRECTORY");
        command
    }

    /// A job of this type whose result goes to the website.
    pub(crate) fn job(&self, kind: &str) -> Job {
        let id = Uuid::new_v4();
        let result = self.site.url(&format!("/{id}"));
        Job { id, value: json!({"id": id, "type": kind, "result": result, "retry": 0}) }
    }

    /// Waits for the result of a job at the website.
    pub(crate) fn result(&self, job: &Job) -> Value {
        self.site.await_request(&job.path()).json()
    }

    /// How often results of a job were sent to the website.
    pub(crate) fn sent(&self, job: &Job) -> usize {
        self.site.requests(&job.path()).len()
    }

    /// The attempts at a job for which a process was started, in that order.
    pub(crate) fn runs(&self, job: &Job) -> Vec<u32> {
        let text = fs::read_to_string(self.dir.join("runs")).unwrap_or_default();
        let of_job = text.lines().filter_map(|line| line.strip_prefix(&format!("{} ", job.id)));
        of_job.map(|attempt| attempt.parse().expect("an attempt is a number")).collect()
    }

    /// Waits until a process was started for a job so often.
    pub(crate) fn await_runs(&self, job: &Job, count: usize) {
        eventually(&format!("{count} processes for {}", job.id), || self.runs(job).len() >= count);
    }

    /// The processes of jobs that there are.
    pub(crate) fn processes(&self, workers: &[&Worker]) -> Vec<u32> {
        let mark = format!("HOME={}", self.dir.display());
        let entries = fs::read_dir("/proc").expect("it is mounted");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| !workers.iter().any(|worker| worker.pid() == *pid))
            .filter(|pid| {
                // Empty for those that have ended and were not waited for yet.
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
            })
            .collect()
    }

    /// Waits until no job has a process.
    pub(crate) fn await_no_process(&self, workers: &[&Worker]) {
        eventually("no process of a job is left", || self.processes(workers).is_empty());
    }

    /// Asserts that no job has a process now.
    pub(crate) fn assert_no_process(&self, workers: &[&Worker]) {
        let processes = self.processes(workers);
        assert!(processes.is_empty(), "processes of jobs are left: {processes:?}");
    }

    /// Ends a scenario: no process of a job is left while the worker is up, nor when it has stopped,
    /// which it does as it was asked to.
    pub(crate) fn finish(&self, mut worker: Worker) -> String {
        self.await_no_process(&[&worker]);
        worker.stop();
        self.assert_no_process(&[]);
        worker.output()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A job that a producer queues.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: Uuid,
    pub(crate) value: Value,
}

impl Job {
    /// With this member, in the place of one of the same name.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.value[name] = value.into();
        self
    }

    /// Without this member.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.value.as_object_mut().expect("a job is an object").remove(name);
        self
    }

    /// Where its result is, at the website as well as at the worker.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.id)
    }

    /// As it is put.
    pub(crate) fn body(&self) -> String {
        self.value.to_string()
    }
}

/// A worker that runs. Dropping it ends it.
pub(crate) struct Worker {
    process: Process,
    listen: SocketAddr,
}

impl Worker {
    pub(crate) fn start(command: Command) -> Self {
        let process = Process::spawn(command);
        let line = process.await_output("serving results");
        let address = line.split("address=").nth(1).expect("it says where").trim();
        let listen = address.parse().unwrap_or_else(|_| panic!("an address, not {address:?}"));
        Self { process, listen }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it serves results.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.process.exit_status(PATIENCE).expect("nothing survives this");
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.exit_status(Duration::ZERO).is_some()
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.await_exit();
    }

    /// Waits until it has ended by itself, with success.
    pub(crate) fn await_exit(&mut self) {
        assert_eq!(self.process.exit_code(), 0);
    }

    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// Waits for a line of its log, and returns it.
    pub(crate) fn await_log(&self, text: &str) -> String {
        self.process.await_output(text)
    }

    pub(crate) fn get(&self, path: &str) -> Message {
        http::ask(self.listen, "GET", path, "")
    }

    /// Asks it for something with these header lines.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str) -> Message {
        http::ask(self.listen, method, path, headers)
    }

    pub(crate) fn status(&self) -> Value {
        self.get("/api/v1/status").json()
    }

    /// The sum of a metric over all of its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").body).expect("metrics are text");
        let values = text.lines().filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            let key = key.split('{').next()?;
            (key == name).then(|| value.parse::<f64>().expect("a number"))
        });
        values.sum()
    }

    /// Waits until a metric has this value.
    pub(crate) fn await_metric(&self, name: &str, value: f64) {
        eventually(&format!("{name} is {value}"), || self.metric(name) == value);
    }

    /// Waits for the worker's own result of a job.
    pub(crate) fn result(&self, job: &Job) -> Value {
        let mut answer = None;
        eventually("the worker has a result", || {
            let got = self.get(&job.path());
            let is_there = got.status() == 200;
            answer = Some(got);
            is_there
        });
        answer.expect("it was just asked").json()
    }
}

/// The text of a file; nothing if it is not there.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
