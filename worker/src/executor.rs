//! One attempt at a job: input, process, output.
//!
//! Owns: how a process is told what to do, and what its end means. Must not know: queues, or what
//! becomes of the result.

mod output;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::task::spawn_blocking;
use url::Url;

use crate::collect::Collected;
use crate::config::{
    EX_DATAERR, EX_TEMPFAIL, ExitMeaning, Handler, Handlers, InputMode, Mode, OutputFrom,
};
use crate::exec::{
    self, EndedBy, Exit, Keepers, LiveLog, Persistent, PersistentError, PersistentOptions,
    RunError, Spec,
};
use crate::fault::Part;
use crate::job::{Input, Job, JobType};
use crate::json;
use crate::outbound::{Digest, Outbound};
use crate::result::{
    AttemptMade, Failure, FailureKind, InputUsed, JobResult, Status, Usage, Written,
};
use crate::retry::Why;
use crate::room::Units;
use crate::table::{ActiveJob, Phase};
use crate::text::{MAX_LINE, escaped, last_line};

use output::{Given, written};

/// How long a process that does nothing may take.
const PROBE: Duration = Duration::from_secs(10);

/// What is needed to run jobs. A change of the configuration makes a new one.
#[derive(Debug)]
pub struct Executor {
    /// What is run.
    pub handlers: Handlers,
    outbound: Outbound,
    keepers: Keepers,
    persistent: HashMap<Option<JobType>, Persistent>,
    /// Whether results show the query of an input's URL.
    shows_query: bool,
}

/// Nobody needs it any more: its persistent processes end as they do when the worker stops.
impl Drop for Executor {
    fn drop(&mut self) {
        let persistent = std::mem::take(&mut self.persistent);
        // Without a runtime they are killed as they are dropped.
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !persistent.is_empty()
        {
            runtime.spawn(async move {
                for handler in persistent.values() {
                    handler.stop().await;
                }
            });
        }
    }
}

/// Where the files of a job are. The directories are fresh, and the caller's to remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places<'a> {
    /// Its working directory. It is there if the handler [needs](Handler::needs_directory) one.
    pub work: Option<&'a Path>,
    /// Where its process may leave artifacts.
    pub output: Option<&'a Path>,
}

/// What an attempt came to.
#[derive(Debug, Default)]
pub struct Attempt {
    /// The exit status, if the process exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// What was fetched.
    pub input: Option<InputUsed>,
    /// What was fetched besides.
    pub inputs: BTreeMap<String, InputUsed>,
    /// The output of the process: any JSON.
    pub output: Option<Box<RawValue>>,
    /// Why there is none, where that could surprise.
    pub output_note: Option<String>,
    /// The files that it left besides, as far as they were taken, and what was not.
    pub collected: Collected,
    /// The end of its standard output.
    pub stdout: Option<Written>,
    /// The end of its standard error.
    pub stderr: Option<Written>,
    /// Time and memory that it took.
    pub usage: Option<Usage>,
    /// Processes that were still there when it ended, and were killed.
    pub left_behind: u32,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// If it failed: whether another attempt may succeed.
    pub again: bool,
    /// If it failed because of this machine: which part of it. Then it is no attempt.
    pub fault: Option<Part>,
    /// Whether it did not come to an end, because the caller did not want that any more.
    pub broken_off: bool,
}

impl Attempt {
    /// The result, with this status. `document` has what was known before the attempt ended.
    pub fn into_result(
        self,
        document: JobResult,
        status: Status,
        custom: Option<Box<RawValue>>,
    ) -> JobResult {
        let Collected { artifacts, mut notes, .. } = self.collected;
        notes.splice(0..0, document.notes);
        JobResult {
            status,
            notes,
            artifacts,
            inputs: self.inputs,
            finished: Some(document.timestamp),
            exit_code: self.exit_code,
            signal: self.signal,
            input: self.input,
            output: self.output,
            output_note: self.output_note,
            stdout: self.stdout,
            stderr: self.stderr,
            usage: self.usage,
            progress: None,
            custom,
            error: self.failure,
            ..document
        }
    }

    /// Lists this attempt in its document, as over at the time of the document.
    pub fn record(&self, document: &mut JobResult) {
        let made = AttemptMade {
            attempt: document.attempt,
            started: document.started,
            finished: document.timestamp,
            exit_code: self.exit_code,
            signal: self.signal,
            message: self.failure.as_ref().map(|failure| escaped(&failure.message, MAX_LINE)),
            worker: document.worker.id.clone(),
        };
        document.record(made);
    }

    /// What is to be known about its failure before another attempt.
    pub fn why(&self) -> Why {
        if self.again { Why::Transient } else { Why::Permanent }
    }

    fn ended(&mut self, exit: Exit) {
        (self.exit_code, self.signal) = match exit {
            Exit::Code(code) => (Some(code), None),
            Exit::Signal(signal) => (None, Some(signal)),
        };
    }

    fn fail(&mut self, kind: FailureKind, message: impl ToString, again: bool) {
        self.failure = Some(Failure::new(kind, message));
        self.again = again;
    }

    /// The caller does not want it any more.
    fn break_off(&mut self) {
        self.fail(FailureKind::LeaseLost, "the job was lost", true);
        self.broken_off = true;
    }

    /// This machine is at fault, and the job is not.
    pub fn fault(&mut self, part: Part, message: impl ToString) {
        self.fail(FailureKind::System, message, true);
        self.fault = Some(part);
    }

    /// No process could be started, or what became of it is not known.
    fn fail_to_run(&mut self, error: &RunError, handler: Option<JobType>, in_ours: bool) {
        match Part::of(error, handler, in_ours) {
            Some(part) => self.fault(part, error),
            None => self.fail(FailureKind::Executor, error, true),
        }
    }

    /// As [`fail`](Self::fail), with what the process said last.
    fn fail_saying(
        &mut self,
        kind: FailureKind,
        message: impl Display,
        again: bool,
        stderr: &[u8],
    ) {
        match last_line(stderr, |line| exec::progress_of_line(line).is_some()) {
            Some(line) => self.fail(kind, format!("{message}: {line}"), again),
            None => self.fail(kind, message, again),
        }
    }
}

impl Executor {
    /// Makes handlers ready. No process is started. Inputs are fetched through `outbound`.
    /// `shows_query`: results show the query of an input's URL.
    pub fn new(
        handlers: Handlers,
        outbound: Outbound,
        keepers: Keepers,
        shows_query: bool,
    ) -> Self {
        let mut persistent = HashMap::new();
        for (kind, handler) in handlers.iter() {
            let Mode::Persistent(persistence) = handler.mode else { continue };
            let options = PersistentOptions {
                program: handler.program.clone(),
                args: handler.args.clone(),
                env: handler.env.clone(),
                directory: handler.working_directory.clone().unwrap_or_else(|| "/".into()),
                limits: handler.limits.clone(),
                grace: handler.grace,
                processes: persistence.processes,
                pipeline: persistence.pipeline,
                output_limit: handler.output,
            };
            persistent.insert(kind.cloned(), Persistent::new(keepers.clone(), options));
        }
        Self { handlers, outbound, keepers, persistent, shows_query }
    }

    /// Ends the persistent processes, and waits until they are gone.
    pub async fn stop(&self) {
        for persistent in self.persistent.values() {
            persistent.stop().await;
        }
    }

    /// Starts a process that does nothing.
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub async fn probe(&self) -> Result<(), RunError> {
        let spec = Spec {
            // This very program, whatever else is missing on this machine.
            program: "/proc/self/exe".into(),
            args: vec!["--version".into()],
            env: Vec::new(),
            directory: "/".into(),
            limits: exec::Limits::default(),
            stdin: Bytes::new(),
            timeout: PROBE,
            grace: Duration::ZERO,
            output_limit: 0,
            tail_limit: 0,
        };
        let log = Arc::new(LiveLog::new());
        exec::run(&self.keepers, spec, log, std::future::pending()).await.map(drop)
    }

    /// Runs a job once, in these places. When `cancelled` is done,
    /// all that was started is killed before this returns, and the attempt is [broken off](Attempt::broken_off)
    /// if it was not over before.
    pub async fn attempt(
        &self,
        job: &Job,
        handler: &Handler,
        active: &ActiveJob,
        places: Places<'_>,
        cancelled: impl Future<Output = ()>,
    ) -> Attempt {
        let mut attempt = Attempt::default();
        let mut cancelled = std::pin::pin!(cancelled);
        let fetched = match &job.input {
            None => None,
            Some(input) => {
                let url = self.shown(&input.url);
                attempt.input = Some(InputUsed { url: url.clone(), digest: None });
                let fetched = tokio::select! {
                    fetched = self.fetch(input, "the input") => fetched,
                    () = &mut cancelled => {
                        attempt.break_off();
                        return attempt;
                    }
                };
                match fetched {
                    Ok((bytes, digest)) => {
                        let used = InputUsed { url, digest: Some(digest) };
                        attempt.input = Some(used);
                        Some(bytes)
                    }
                    Err((message, again)) => {
                        attempt.fail(FailureKind::Input, message, again);
                        return attempt;
                    }
                }
            }
        };
        let directory = places.work.unwrap_or(Path::new("/"));
        let input_file = directory.join("input");
        let mut data = None;
        match (&fetched, handler.input) {
            (None, _) => {}
            (Some(bytes), InputMode::Merge) => match json::value(bytes) {
                Ok(value) => data = Some(value),
                Err(why) => {
                    let message = format!("the input is not JSON, which the handler wants: {why}");
                    attempt.fail(FailureKind::Input, message, false);
                    return attempt;
                }
            },
            (Some(bytes), InputMode::File) => {
                let (path, bytes) = (input_file.clone(), bytes.clone());
                let written = spawn_blocking(move || std::fs::write(path, bytes)).await;
                if let Err(error) = written.unwrap_or_else(|error| Err(error.into())) {
                    let message = format!(
                        "cannot write the input ({} bytes) to a file: {error}",
                        fetched.as_ref().map_or(0, Bytes::len)
                    );
                    // The disk may have room for other inputs.
                    attempt.fault(Part::Handler(self.handlers.key(&job.kind)), message);
                    return attempt;
                }
            }
        }
        let inputs = directory.join("inputs");
        if !job.inputs.is_empty() {
            let bytes = fetched.as_ref().map_or(0, Bytes::len) as u64;
            let fetching = self.fetch_files(job, &inputs, bytes, &mut attempt);
            let fetched = tokio::select! {
                fetched = fetching => fetched,
                () = &mut cancelled => {
                    attempt.break_off();
                    return attempt;
                }
            };
            if !fetched {
                return attempt;
            }
        }
        let inputs = (!job.inputs.is_empty()).then_some(&*inputs);
        let has_file = fetched.is_some() && handler.input == InputMode::File;
        let document = job.document(active.attempt, data.as_deref());
        let timeout = job.timeout.unwrap_or(handler.timeout);
        active.set_phase(Phase::Running);
        match handler.mode {
            Mode::Process => {
                let mut spec = Spec {
                    program: handler.program.clone(),
                    args: handler.args.clone(),
                    env: handler.env.clone(),
                    directory: handler.working_directory.clone().unwrap_or(directory.to_owned()),
                    limits: handler.limits.clone(),
                    stdin: document.into(),
                    timeout,
                    grace: handler.grace,
                    output_limit: handler.output,
                    tail_limit: match handler.output_from {
                        // And a little for the white space at its end.
                        OutputFrom::LastLine => handler.output.saturating_add(64),
                        _ => 0,
                    },
                };
                let result_file = directory.join("result.json");
                let input_file = has_file.then_some(input_file);
                if !spec.env.iter().any(|(name, _)| name == "TMPDIR") {
                    // Temporary files go with the job.
                    spec.env.push(("TMPDIR".into(), directory.into()));
                }
                spec.env.extend(variables(job, active, timeout, &result_file, input_file));
                spec.env.extend(inputs.map(|path| ("JQ_INPUTS_DIR".into(), path.into())));
                spec.env.extend(places.output.map(|path| ("JQ_OUTPUT_DIR".into(), path.into())));
                self.run_process(spec, handler, &result_file, active, cancelled, &mut attempt)
                    .await;
            }
            Mode::Persistent(_) => {
                let file = has_file.then_some(input_file.as_path());
                let mut line = document;
                add_path(&mut line, "input_file", file);
                add_path(&mut line, "inputs_dir", inputs);
                add_path(&mut line, "output_dir", places.output);
                self.run_line(line, timeout, active, cancelled, &mut attempt).await;
            }
        }
        attempt
    }

    /// The URL without credentials, which it may not have anyway, and, unless it is asked for, without its
    /// query, where signatures are: everybody may read results.
    fn shown(&self, url: &Url) -> Url {
        let mut url = url.clone();
        // Both fail only where there cannot be any.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        if !self.shows_query {
            url.set_query(None);
        }
        url
    }

    /// What an input is, and its digest. `which` names it in messages.
    async fn fetch(&self, input: &Input, which: &str) -> Result<(Bytes, String), (String, bool)> {
        let expected = input.digest.as_deref().map(str::parse::<Digest>).transpose();
        let expected =
            expected.map_err(|error| (format!("\"digest\" of {which}: {error}"), false))?;
        match self.outbound.fetch(&input.url, expected.as_ref()).await {
            Ok(fetched) => Ok((fetched.bytes, fetched.digest.to_string())),
            Err(error) => Err((format!("cannot fetch {which}: {error}"), error.is_temporary())),
        }
    }

    /// Fetches the further inputs into files of this directory. `bytes` were fetched before. Returns false if the
    /// attempt has failed.
    async fn fetch_files(
        &self,
        job: &Job,
        directory: &Path,
        mut bytes: u64,
        attempt: &mut Attempt,
    ) -> bool {
        for (name, input) in &job.inputs {
            let used = InputUsed { url: self.shown(&input.url), digest: None };
            attempt.inputs.insert(name.clone(), used);
            let which = format!("the input {name:?}");
            let (content, digest) = match self.fetch(input, &which).await {
                Ok(fetched) => fetched,
                Err((message, again)) => {
                    attempt.fail(FailureKind::Input, message, again);
                    return false;
                }
            };
            bytes = bytes.saturating_add(content.len() as u64);
            let most = self.outbound.max_input();
            if bytes > most {
                let message = format!(
                    "the inputs are longer than {most} bytes together, the maximum (http.max_input)"
                );
                attempt.fail(FailureKind::Input, message, false);
                return false;
            }
            let length = content.len();
            let (folder, file) = (directory.to_owned(), name.clone());
            let written = spawn_blocking(move || write_input(&folder, &file, &content)).await;
            if let Err(error) = written.unwrap_or_else(|error| Err(error.into())) {
                let message = format!("cannot write {which} ({length} bytes) to a file: {error}");
                // The disk may have room for other inputs.
                attempt.fault(Part::Handler(self.handlers.key(&job.kind)), message);
                return false;
            }
            attempt.inputs.entry(name.clone()).and_modify(|used| used.digest = Some(digest));
        }
        true
    }

    async fn run_process(
        &self,
        spec: Spec,
        handler: &Handler,
        result_file: &Path,
        active: &ActiveJob,
        cancelled: impl Future<Output = ()>,
        attempt: &mut Attempt,
    ) {
        let (limit, timeout) = (spec.output_limit, spec.timeout);
        let finished =
            match exec::run(&self.keepers, spec, Arc::clone(&active.log), cancelled).await {
                Ok(finished) => finished,
                Err(error) => {
                    let (key, own) = (self.handlers.key(&active.kind), &handler.working_directory);
                    return attempt.fail_to_run(&error, key, own.is_none());
                }
            };
        attempt.left_behind = finished.left_behind;
        attempt.usage = Some(usage(&finished.usage));
        attempt.ended(finished.exit);
        attempt.stdout = Some(written(&finished.stdout));
        attempt.stderr = Some(written(&finished.stderr));
        let stderr = finished.stderr.tail.as_slice();
        match finished.ended_by {
            EndedBy::Cancelled => {
                return attempt.break_off();
            }
            EndedBy::Timeout => {
                let message = late(timeout);
                return attempt.fail_saying(FailureKind::Timeout, message, true, stderr);
            }
            EndedBy::Itself => {}
        }
        let code = match finished.exit {
            Exit::Code(code) => code,
            Exit::Signal(_) if finished.oom_killed => {
                let message = "ended by the kernel: it took more memory than it may";
                return attempt.fail_saying(FailureKind::Executor, message, true, stderr);
            }
            Exit::Signal(signal) => {
                let message = format!("ended by signal {signal}");
                return attempt.fail_saying(FailureKind::Executor, message, true, stderr);
            }
        };
        let meaning = handler.exit.meaning(code);
        let (message, again) = match meaning {
            ExitMeaning::Success => {
                match output::given(handler.output_from, result_file, limit, &finished.stdout) {
                    Given::Json(output) => attempt.output = Some(output),
                    Given::Nothing(note) => attempt.output_note = note,
                    // The process would do the same again.
                    Given::Unusable(why) => attempt.fail(FailureKind::Executor, why, false),
                    Given::Unreadable(why) => attempt.fault(Part::StateDirectory, why),
                }
                return;
            }
            ExitMeaning::Bury if code == EX_DATAERR => {
                ("the process says that the job cannot be done (exit status 65)".to_owned(), false)
            }
            ExitMeaning::Retry if code == EX_TEMPFAIL => {
                ("the process asks to be tried again later (exit status 75)".to_owned(), true)
            }
            ExitMeaning::Bury | ExitMeaning::Retry => {
                (format!("exit status {code}"), meaning == ExitMeaning::Retry)
            }
        };
        attempt.fail_saying(FailureKind::Executor, message, again, stderr);
    }

    async fn run_line(
        &self,
        line: Vec<u8>,
        timeout: Duration,
        active: &ActiveJob,
        cancelled: impl Future<Output = ()>,
        attempt: &mut Attempt,
    ) {
        let handler =
            self.persistent.get(&Some(active.kind.clone())).or(self.persistent.get(&None));
        let Some(handler) = handler else {
            return attempt.fault(Part::Handler(self.handlers.key(&active.kind)), "it is gone");
        };
        let answer = handler.run(line.into(), timeout, Arc::clone(&active.log), cancelled).await;
        match answer {
            Ok(answer) => {
                attempt.usage =
                    Some(Usage { wall_ms: output::milliseconds(answer.wall), ..Usage::default() });
                attempt.stderr = Some(output::last_words(&answer.stderr_tail));
                output::read_answer(&answer.line, attempt);
            }
            Err(PersistentError::Cancelled) => {
                attempt.break_off();
            }
            Err(PersistentError::Timeout { stderr_tail }) => {
                attempt.stderr = Some(output::last_words(&stderr_tail));
                attempt.fail_saying(FailureKind::Timeout, late(timeout), true, &stderr_tail);
            }
            Err(PersistentError::Mute { stderr_tail }) => {
                attempt.stderr = Some(output::last_words(&stderr_tail));
                let message = "the process closed its standard output before it answered";
                attempt.fail_saying(FailureKind::Executor, message, true, &stderr_tail);
            }
            Err(PersistentError::Died { exit, stderr_tail }) => {
                attempt.stderr = Some(output::last_words(&stderr_tail));
                attempt.ended(exit);
                let message = match exit {
                    Exit::Code(code) => format!("the process ended with exit status {code}"),
                    Exit::Signal(signal) => format!("the process ended by signal {signal}"),
                };
                attempt.fail_saying(FailureKind::Executor, message, true, &stderr_tail);
            }
            Err(PersistentError::BadLine { text }) => {
                // What was meant to be JSON would be no better the next time.
                let again = !json::begins(text.as_bytes());
                attempt.fail(FailureKind::Executor, output::bad_line(&text), again);
            }
            Err(error @ PersistentError::LineTooLong { .. }) => {
                attempt.fail(FailureKind::Executor, error, false);
            }
            Err(PersistentError::Run(error)) => {
                attempt.fail_to_run(&error, self.handlers.key(&active.kind), false);
            }
            Err(error @ PersistentError::Stopped) => {
                attempt.fault(Part::Handler(self.handlers.key(&active.kind)), error);
            }
            Err(error) => attempt.fail(FailureKind::Executor, error, true),
        }
    }
}

/// Whatever the umask is, the job's user can read it. Nobody else gets to its directory.
fn write_input(folder: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    if !folder.exists() {
        std::fs::create_dir(folder)?;
        std::fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    let path = folder.join(name);
    std::fs::write(&path, content)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o644))
}

fn late(timeout: Duration) -> String {
    format!("not done within {} seconds", timeout.as_secs())
}

fn usage(usage: &exec::Usage) -> Usage {
    Usage {
        wall_ms: output::milliseconds(usage.wall),
        cpu_ms: Some(output::milliseconds(usage.cpu)),
        max_rss_bytes: Some(usage.max_rss_bytes),
    }
}

/// What differs with each job in the environment of its process.
fn variables(
    job: &Job,
    active: &ActiveJob,
    timeout: Duration,
    result_file: &Path,
    input_file: Option<PathBuf>,
) -> Vec<(OsString, OsString)> {
    let deadline = Timestamp::now() + timeout;
    let mut variables = BTreeMap::from([
        ("JQ_JOB_ID", OsString::from(job.id.to_string())),
        ("JQ_TYPE", job.kind.as_str().into()),
        ("JQ_ATTEMPT", active.attempt.to_string().into()),
        ("JQ_RESULT_FILE", result_file.into()),
        ("JQ_DEADLINE", format!("{deadline:.3}").into()),
    ]);
    if let Some(path) = input_file {
        variables.insert("JQ_INPUT_FILE", path.into());
    }
    let units = active.units.iter().map(|Units { name, numbers }| {
        let name = name.to_ascii_uppercase();
        let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
        (format!("JQ_RESOURCE_{name}").into(), numbers.join(",").into())
    });
    let variables = variables.into_iter().map(|(name, value)| (name.into(), value));
    variables.chain(units).collect()
}

/// A persistent process has no environment of its own for each job, so paths go into the job itself.
fn add_path(document: &mut Vec<u8>, name: &str, path: Option<&Path>) {
    let Some(path) = path else { return };
    let path = serde_json::Value::from(path.to_string_lossy()).to_string();
    // The document is an object that is not empty.
    document.pop();
    document.extend_from_slice(format!(",\"{name}\":{path}}}").as_bytes());
}
