//! What is run for each type of job.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::file::{File, HandlerSettings};
use super::identity;
use super::process::{self, ExitTable};
use super::{ConfigError, DEFAULT_HANDLERS, Flags, MAX_CONCURRENCY, Size};
use crate::exec::Limits;
use crate::job::{Job, JobType, MAX_TIMEOUT};
use crate::room::{Demand, Need};

/// What every process sees of the worker's own environment. The rest may be secret.
const PASSED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ"];

/// Output that is kept of a process unless told otherwise, in bytes.
const DEFAULT_OUTPUT: usize = 1 << 20;

/// Handlers by type.
#[derive(Debug, Clone)]
pub enum Handlers {
    /// Each type has its own.
    ByType(BTreeMap<JobType, Arc<Handler>>),
    /// One for all.
    Any(Arc<Handler>),
}

/// What is run for a type of job, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Handler {
    /// The executable: absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment, but for what differs with each job.
    pub env: Vec<(OsString, OsString)>,
    /// Whether it is started for each job.
    pub mode: Mode,
    /// Most jobs of this type at a time; 0 is without a limit of its own.
    pub concurrency: usize,
    /// How long it may take unless the job says otherwise.
    pub timeout: Duration,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How often a job is tried again unless it says otherwise.
    pub retry: u32,
    /// Whether a job is run that was done before.
    pub rerun: Rerun,
    /// How it gets what was fetched.
    pub input: InputMode,
    /// Whether it has a directory for artifacts.
    pub artifacts: bool,
    /// How much of its output is kept, in bytes. It is the most that a result's output can have.
    pub output: usize,
    /// Where the output is that it gives. Of no meaning for one that is persistent.
    pub output_from: OutputFrom,
    /// What it may use, and how it is treated.
    pub limits: Limits,
    /// What its exit statuses mean. Of no meaning for one that is persistent.
    pub exit: ExitTable,
    /// Where a part of its environment comes from.
    pub env_file: Option<PathBuf>,
    /// Where its processes start: absolute. `None`: in a directory of their own, or, if it is
    /// persistent, in `/`.
    pub working_directory: Option<PathBuf>,
    /// What a job of this type has for itself.
    pub needs: Vec<Need>,
}

impl Handler {
    /// What a job of this type counts against.
    pub fn demand(&self) -> Demand<'_> {
        Demand { limit: self.concurrency, needs: &self.needs }
    }

    /// Whether such a job needs a working directory: a process does, and so does an input that is
    /// a file.
    pub fn needs_directory(&self, job: &Job) -> bool {
        self.mode == Mode::Process
            || (job.input.is_some() && self.input == InputMode::File)
            || !job.inputs.is_empty()
    }
}

/// Whether a process is started for each job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    Process,
    /// Processes stay up and take one job after the other.
    Persistent(Persistence),
}

/// Processes that stay up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Persistence {
    /// How many.
    pub processes: usize,
    /// How many jobs each is sent before it has answered the first.
    pub pipeline: usize,
}

/// As it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModeName {
    Process,
    Persistent,
}

/// Whether a job is run whose id has a result already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rerun {
    /// It is answered by that result if it is the same job, and refused otherwise.
    #[default]
    Never,
    /// It is run, and its result takes the place of the one before.
    Always,
}

/// How a process gets the input that was fetched for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputMode {
    /// As a file, whose path is in `JQ_INPUT_FILE`.
    #[default]
    File,
    /// As `input.data` of the job on its standard input. It must be JSON.
    Merge,
}

/// Where the output is that a process gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputFrom {
    /// In the result file, if the process wrote one; or else on standard output, if that was meant to
    /// be JSON.
    #[default]
    Auto,
    /// In the result file, which must be there.
    File,
    /// On standard output, all of which must be JSON.
    Stdout,
    /// On the last line of standard output, which must be JSON. Other text may be before it.
    LastLine,
    /// Nowhere: whatever it writes, it gives no output.
    None,
}

impl OutputFrom {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::File => "file",
            Self::Stdout => "stdout",
            Self::LastLine => "last-line",
            Self::None => "none",
        }
    }
}

impl Handlers {
    /// The handler of a type.
    pub fn get(&self, kind: &JobType) -> Option<&Arc<Handler>> {
        match self {
            Self::ByType(handlers) => handlers.get(kind),
            Self::Any(handler) => Some(handler),
        }
    }

    /// The type that [`iter`](Self::iter) has the handler of this type under.
    pub fn key(&self, kind: &JobType) -> Option<JobType> {
        match self {
            Self::ByType(_) => Some(kind.clone()),
            Self::Any(_) => None,
        }
    }

    /// All of them, with the type that each is for; `None` is for all.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&JobType>, &Arc<Handler>)> {
        let (by_type, any) = match self {
            Self::ByType(handlers) => (Some(handlers), None),
            Self::Any(handler) => (None, Some((None, handler))),
        };
        let by_type = by_type.into_iter().flatten().map(|(kind, handler)| (Some(kind), handler));
        by_type.chain(any)
    }

    /// Whether every job goes to a persistent process that is sent several at a time: all are short.
    pub fn are_pipelined(&self) -> bool {
        self.iter().all(|(_, handler)| {
            matches!(handler.mode, Mode::Persistent(Persistence { pipeline: 2.., .. }))
        })
    }

    /// Most jobs that can run at a time, as far as the handlers are concerned.
    pub fn concurrency(&self) -> usize {
        let limits = self.iter().map(|(_, handler)| match handler.concurrency {
            0 => MAX_CONCURRENCY,
            limit => limit,
        });
        limits.fold(0_usize, usize::saturating_add)
    }
}

/// Where the handlers come from: a command, a named folder, the file, or the usual folder.
pub(super) fn choose(
    flags: &Flags,
    file: &File,
    path: Option<&Path>,
    base: &Path,
) -> Result<Handlers, ConfigError> {
    if file.defaults.command.is_some() {
        return Err(ConfigError(
            "defaults: command is allowed only in a table [handlers.TYPE]".to_owned(),
        ));
    }
    if !flags.command.is_empty() {
        if flags.handlers.is_some() {
            return Err(ConfigError(
                "--handlers and a command are both given: expected one of them".to_owned(),
            ));
        }
        let from = From { command: Path::new(""), paths: base, resources: &file.resources };
        let handler = build("the command", &flags.command, &file.defaults, from)?;
        return Ok(Handlers::Any(Arc::new(handler)));
    }
    let mut handlers = BTreeMap::new();
    let folder = match (&flags.handlers, &file.handlers_dir) {
        (Some(folder), _) => Some(folder.clone()),
        (None, Some(folder)) => Some(base.join(folder)),
        (None, None) if path.is_none() => Some(PathBuf::from(DEFAULT_HANDLERS)),
        (None, None) => None,
    };
    if let Some(folder) = &folder {
        let from = From { command: Path::new(""), paths: base, resources: &file.resources };
        from_folder(folder, &file.defaults, from, &mut handlers)?;
    }
    for (kind, table) in &file.handlers {
        let name = format!("handlers.{kind}");
        let settings = table.over(&file.defaults);
        let command = settings.command.as_deref().unwrap_or_default();
        let from = From { command: base, paths: base, resources: &file.resources };
        let handler = build(&name, command, &settings, from)?;
        handlers.insert(kind.clone(), Arc::new(handler));
    }
    if handlers.is_empty() {
        return Err(ConfigError(match (&folder, path) {
            (Some(folder), _) => {
                format!("{}: no executable file in this directory", folder.display())
            }
            (None, Some(path)) => {
                format!("{}: it has no handlers: expected a table [handlers.TYPE]", path.display())
            }
            (None, None) => "there are no handlers".to_owned(),
        }));
    }
    Ok(Handlers::ByType(handlers))
}

/// What a handler is built from beside its settings.
#[derive(Clone, Copy)]
struct From<'a> {
    /// Its command is relative to this.
    command: &'a Path,
    /// The paths in its settings are relative to this.
    paths: &'a Path,
    /// How much there is of each resource.
    resources: &'a BTreeMap<String, u32>,
}

/// Every executable file is a handler, named as its type: its name without an extension.
fn from_folder(
    folder: &Path,
    settings: &HandlerSettings,
    from: From<'_>,
    handlers: &mut BTreeMap<JobType, Arc<Handler>>,
) -> Result<(), ConfigError> {
    let failed =
        |error: std::io::Error| ConfigError(format!("handlers: {}: {error}", folder.display()));
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if is_executable(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        let named = |why: &dyn std::fmt::Display| {
            ConfigError(format!("handlers: {}: {why}", path.display()))
        };
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let stem = stem.ok_or_else(|| named(&"its name is not UTF-8"))?;
        let kind: JobType = stem.parse().map_err(|error| named(&error))?;
        let command = [path.to_string_lossy().into_owned()];
        let handler = build(&format!("handlers: {kind}"), &command, settings, from)?;
        if let Some(other) = handlers.insert(kind.clone(), Arc::new(handler)) {
            let other = other.program.display();
            return Err(named(&format!("{other} is also a handler of the type {kind}")));
        }
    }
    Ok(())
}

fn build(
    name: &str,
    command: &[String],
    settings: &HandlerSettings,
    from: From<'_>,
) -> Result<Handler, ConfigError> {
    let bad = |why: String| ConfigError(format!("{name}: {why}"));
    let Some((program, args)) = command.split_first() else {
        return Err(bad("command is empty: expected a program and its arguments".to_owned()));
    };
    let positive = |setting: &str, value: Option<usize>, default: usize| match value {
        Some(value) if !(1..=MAX_CONCURRENCY).contains(&value) => {
            Err(bad(format!("{setting} is {value}: expected 1 to {MAX_CONCURRENCY}")))
        }
        value => Ok(value.unwrap_or(default)),
    };
    let mode = match settings.mode.unwrap_or(ModeName::Process) {
        ModeName::Process => {
            if settings.processes.is_some() || settings.pipeline.is_some() {
                let why = "processes and pipeline require mode = \"persistent\"";
                return Err(bad(why.to_owned()));
            }
            Mode::Process
        }
        ModeName::Persistent => Mode::Persistent(Persistence {
            processes: positive("processes", settings.processes, 1)?,
            pipeline: positive("pipeline", settings.pipeline, 1)?,
        }),
    };
    let concurrency = match mode {
        Mode::Process => positive("concurrency", settings.concurrency, 0)?,
        // More would wait in memory.
        Mode::Persistent(Persistence { processes, pipeline }) => {
            positive("concurrency", settings.concurrency, processes * pipeline)?
                .min(processes * pipeline)
        }
    };
    let most = u64::from(MAX_TIMEOUT);
    if let Some(timeout) = settings.timeout.filter(|timeout| !(1..=most).contains(timeout)) {
        return Err(bad(format!("timeout is {timeout}: expected 1 to {most} seconds")));
    }
    if let Some(grace) = settings.grace.filter(|grace| *grace > most) {
        return Err(bad(format!("grace is {grace}: expected at most {most} seconds")));
    }
    if let Some(cores) = settings.cpu_cores
        && !(cores.is_finite() && cores >= 0.01)
    {
        return Err(bad(format!("cpu_cores is {cores}: expected 0.01 or more")));
    }
    let output = settings.output.map_or(DEFAULT_OUTPUT as u64, |size| size.0);
    let output = usize::try_from(output).ok().filter(|it| (1..=1 << 30).contains(it));
    let passed = PASSED.iter().copied().chain(settings.pass_env.iter().map(String::as_str));
    let passed = passed.filter_map(|name| Some((OsString::from(name), env::var_os(name)?)));
    let in_file = process::env_file(settings, from.paths).map_err(bad)?;
    let in_file = in_file.iter().map(|(name, value)| (name.into(), value.into()));
    let given = settings.env.iter().map(|(name, value)| (name.into(), value.into()));
    process::check_strings(settings, program, args).map_err(bad)?;
    let named = identity::identity(settings.user.as_deref(), settings.group.as_deref());
    let (identity, of_user) = named.map_err(bad)?;
    // By way of a map: what is given goes before what is in the file, that before what is of the user, and
    // that before what is passed.
    let env: BTreeMap<OsString, OsString> =
        passed.chain(of_user).chain(in_file).chain(given).collect();
    let needs = process::needs(settings, from.resources).map_err(bad)?;
    if mode != Mode::Process && !needs.is_empty() {
        let why = "needs requires mode = \"process\": a process that stays up has what it has even \
                   while no job needs it";
        return Err(bad(why.to_owned()));
    }
    let (nice, io_priority) = process::priorities(settings, identity).map_err(bad)?;
    Ok(Handler {
        program: find(program, from.command).map_err(bad)?,
        args: args.iter().map(OsString::from).collect(),
        env: env.into_iter().collect(),
        mode,
        concurrency,
        timeout: Duration::from_secs(settings.timeout.unwrap_or(3600)),
        grace: Duration::from_secs(settings.grace.unwrap_or(10)),
        retry: settings.retry.unwrap_or(3),
        rerun: settings.rerun.unwrap_or_default(),
        input: settings.input.unwrap_or_default(),
        // A persistent one may take microseconds for a job, and a directory takes as long.
        artifacts: settings.artifacts.unwrap_or(mode == Mode::Process),
        output: output.ok_or_else(|| bad("output: expected 1 byte to 1 GiB".to_owned()))?,
        output_from: settings.output_from.unwrap_or_default(),
        limits: Limits {
            cpu_seconds: settings.cpu_seconds,
            memory_bytes: settings.memory.map(|Size(bytes)| bytes),
            open_files: settings.open_files,
            processes: settings.max_processes,
            file_bytes: settings.file_size.map(|Size(bytes)| bytes),
            cpu_cores: settings.cpu_cores,
            umask: process::umask(settings).map_err(bad)?,
            nice,
            io_priority,
            identity,
        },
        env_file: settings.env_file.as_ref().map(|path| from.paths.join(path)),
        exit: ExitTable::read(&settings.exit).map_err(bad)?,
        working_directory: process::working_directory(settings, from.paths).map_err(bad)?,
        needs,
    })
}

impl HandlerSettings {
    /// These, and where they say nothing, those.
    fn over(&self, defaults: &Self) -> Self {
        let mut env = defaults.env.clone();
        env.extend(self.env.clone());
        let mut exit = defaults.exit.clone();
        exit.extend(self.exit.clone());
        let mut needs = defaults.needs.clone();
        needs.extend(self.needs.clone());
        let mut pass_env = defaults.pass_env.clone();
        pass_env.extend(self.pass_env.iter().cloned());
        Self {
            command: self.command.clone(),
            mode: self.mode.or(defaults.mode),
            concurrency: self.concurrency.or(defaults.concurrency),
            processes: self.processes.or(defaults.processes),
            pipeline: self.pipeline.or(defaults.pipeline),
            timeout: self.timeout.or(defaults.timeout),
            grace: self.grace.or(defaults.grace),
            retry: self.retry.or(defaults.retry),
            rerun: self.rerun.or(defaults.rerun),
            input: self.input.or(defaults.input),
            artifacts: self.artifacts.or(defaults.artifacts),
            env,
            pass_env,
            output: self.output.or(defaults.output),
            output_from: self.output_from.or(defaults.output_from),
            user: self.user.clone().or_else(|| defaults.user.clone()),
            group: self.group.clone().or_else(|| defaults.group.clone()),
            memory: self.memory.or(defaults.memory),
            cpu_cores: self.cpu_cores.or(defaults.cpu_cores),
            cpu_seconds: self.cpu_seconds.or(defaults.cpu_seconds),
            open_files: self.open_files.or(defaults.open_files),
            max_processes: self.max_processes.or(defaults.max_processes),
            file_size: self.file_size.or(defaults.file_size),
            exit,
            working_directory: first(&self.working_directory, &defaults.working_directory),
            env_file: first(&self.env_file, &defaults.env_file),
            umask: first(&self.umask, &defaults.umask),
            nice: self.nice.or(defaults.nice),
            ionice: first(&self.ionice, &defaults.ionice),
            needs,
        }
    }
}

fn first<T: Clone>(first: &Option<T>, second: &Option<T>) -> Option<T> {
    first.as_ref().or(second.as_ref()).cloned()
}

/// A program: by a path, which is relative to the configuration file, or by name on PATH.
fn find(program: &str, base: &Path) -> Result<PathBuf, String> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![base.join(program)]
    } else {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).map(|folder| folder.join(program)).collect()
    };
    match candidates.iter().find(|path| is_executable(path)) {
        Some(path) => std::path::absolute(path).map_err(|error| format!("{program}: {error}")),
        None if !program.contains('/') => Err(format!("{program}: no such program on PATH")),
        None if candidates[0].exists() => Err(format!("{program}: not an executable file")),
        None => Err(format!("{program}: no such file")),
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
