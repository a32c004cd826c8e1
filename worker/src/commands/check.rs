//! What a configuration would do, and whether it can.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use jq_client::{Connection, ConnectionLimits, Credentials, Endpoint};

use super::Failed;
use crate::config::{Artifacts, Config, Flags, Handler, Mode, OutputFrom};
use crate::exec::{Identity, Limits};
use crate::outbound::{Authorization, Credential, Outbound};
use crate::shared::{SharedOptions, SharedStore};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn check(flags: &Flags) -> Result<(), Failed> {
    let config = Config::load(flags)?;
    let mut report = Report { out: io::stdout(), problems: 0 };
    report.line(
        "configuration",
        &match &config.file {
            Some(path) => path.display().to_string(),
            None => "flags and defaults only".to_owned(),
        },
    )?;
    report.line("worker", &config.worker_id)?;
    if config.tubes.is_empty() {
        report.problem("tubes", &"none: give one with --tube")?;
    }
    for tube in &config.tubes {
        report.line("tube", tube)?;
    }
    for schedule in &config.schedules {
        let next = schedule.next(jiff::Timestamp::now());
        let next = next.map_or_else(|| "never".to_owned(), |next| format!("next at {next:.0}"));
        report.line("schedule", &format!("{}: {next}, in {}", schedule.name, schedule.tube))?;
    }
    let runtime = super::runtime()?;
    for server in &config.servers {
        match runtime.block_on(ask(&config.credentials, server)) {
            Ok(version) => report.line("server", &format!("{server}: version {version}"))?,
            Err(error) => report.problem("server", &error)?,
        }
    }
    handlers(&config, &mut report)?;
    match Outbound::new(&config.outbound) {
        Ok(_) if config.outbound.allow_urls.is_empty() => {
            report.line("URLs in jobs", &"any public address; private ones are refused")?;
        }
        Ok(_) => report.line("URLs in jobs", &config.outbound.allow_urls.join(" "))?,
        Err(error) => report.problem("allow_urls", &error)?,
    }
    for credential in &config.outbound.credentials {
        report.line("credentials", &shown(credential))?;
    }
    if let Some(proxy) = &config.outbound.proxy {
        let text = format!("{}, which resolves the names in URLs", proxy.url);
        report.line("proxy", &text)?;
    }
    let results = format!(
        "{}, for {} hours, sync {:?}",
        config.results.display(),
        config.retention.as_secs() / 3600,
        config.sync
    );
    report.line("results", &results.to_lowercase())?;
    let Artifacts { of_job, max_total } = config.artifacts;
    let (files, bytes) = (of_job.files, of_job.bytes);
    let artifacts = format!("at most {files} and {bytes} bytes of a job, {max_total} bytes in all");
    report.line("artifacts", &artifacts)?;
    if let Some(options) = &config.shared {
        match runtime.block_on(ask_store(options)) {
            Ok(name) => report.line("shared store", &name)?,
            Err(why) => report.problem("store", &why)?,
        }
    }
    match config.listen {
        None => report.line("served at", &"nowhere")?,
        Some(address) => {
            let with = if config.listen_tls.is_some() { " by TLS" } else { "" };
            report.line("served at", &format!("{address}{with}"))?;
            let nil = uuid::Uuid::nil();
            let url = config.result_url(nil).unwrap_or_default().replace(&nil.to_string(), "UUID");
            match (address.port(), &config.public_url) {
                (0, None) => report.line("as", &"UUID, on a free port that is logged")?,
                _ => report.line("as", &url)?,
            }
            // A worker that runs already with this configuration listens there.
            if let Err(error) = std::net::TcpListener::bind(address) {
                report.line("", &format!("(in use now: {error})"))?;
            }
        }
    }
    report.line(
        "callbacks",
        match config.callback_secrets.len() {
            0 => &"unsigned: there is no callbacks.secret_files",
            _ => &"signed",
        },
    )?;
    report.line(
        "control over HTTP",
        match config.token {
            None => &"no: there is no control.token_file",
            Some(_) => &"with a token",
        },
    )?;
    report.line("control groups", &crate::exec::Cgroups::detect())?;
    match report.problems {
        0 => Ok(()),
        1 => Err(Failed::other("1 problem")),
        many => Err(Failed::other(format!("{many} problems"))),
    }
}

/// Who is shown what; no secret.
fn shown(credential: &Credential) -> String {
    let Credential { prefix, headers, authorization, identity } = credential;
    let mut shown: Vec<_> = headers.iter().map(|(name, _)| format!("header {name}")).collect();
    shown.extend(match authorization {
        Authorization::None => None,
        Authorization::Basic { .. } => Some("a user and a password".to_owned()),
        Authorization::Bearer(_) => Some("a token".to_owned()),
        Authorization::Token(request) => {
            let mut url = request.url.clone();
            url.set_query(None);
            Some(format!("a token from {url}"))
        }
    });
    shown.extend(identity.as_ref().map(|_| "a certificate".to_owned()));
    format!("{prefix}: {}", shown.join(", "))
}

/// Whether the shared store answers.
async fn ask_store(options: &SharedOptions) -> Result<String, String> {
    let store = SharedStore::open(options)?;
    match store.check().await {
        Ok(()) => Ok(store.name().to_owned()),
        Err(error) => Err(format!("{}: {error}", store.name())),
    }
}

fn handlers(config: &Config, report: &mut Report) -> Result<(), Failed> {
    report.line("concurrency", &config.concurrency)?;
    for (name, count) in &config.resources {
        report.line("resource", &format!("{name}: {count}"))?;
    }
    for (kind, handler) in config.handlers.iter() {
        let name = kind.map_or("any type", |kind| kind.as_str());
        let mode = match handler.mode {
            Mode::Process => "a process for each job".to_owned(),
            Mode::Persistent(it) => {
                format!("{} persistent processes, {} jobs sent ahead", it.processes, it.pipeline)
            }
        };
        let limit = match handler.concurrency {
            0 => String::new(),
            limit => format!(", {limit} at a time"),
        };
        let user = match handler.limits.identity {
            None => String::new(),
            Some(Identity { uid, gid }) => format!(", as user {uid} and group {gid}"),
        };
        let args: Vec<_> = handler.args.iter().map(|arg| arg.to_string_lossy()).collect();
        let command = format!("{} {}", handler.program.display(), args.join(" "));
        let (timeout, retry) = (handler.timeout.as_secs(), handler.retry);
        let text = format!(
            "{name}: {} ({mode}{limit}{user}, {timeout} s, {retry} retries)",
            command.trim_end()
        );
        report.line("handler", &text)?;
        for text in details(handler) {
            report.line("", &text)?;
        }
        let path = handler.env.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or_else(OsString::new, |(_, path)| path.clone());
        if let Some(why) = super::scripts::problem(&handler.program, &path) {
            report.problem("", &format!("{}: {why}", handler.program.display()))?;
        }
    }
    Ok(())
}

/// What a handler has that is not the default, in lines of their own.
fn details(handler: &Handler) -> Vec<String> {
    let mut lines = Vec::new();
    if handler.mode == Mode::Process {
        if handler.output_from != OutputFrom::Auto {
            lines.push(format!("output from {}", handler.output_from.as_str()));
        }
        let exit =
            handler.exit.iter().map(|(code, meaning)| format!("{code} {}", meaning.as_str()));
        let exit: Vec<_> = exit.collect();
        if !exit.is_empty() {
            lines.push(format!("exit status {}", exit.join(", ")));
        }
    }
    if let Some(path) = &handler.working_directory {
        lines.push(format!("in {}", path.display()));
    }
    if let Some(path) = &handler.env_file {
        lines.push(format!("environment from {}", path.display()));
    }
    let Limits { umask, nice, io_priority, .. } = &handler.limits;
    let priorities = [
        umask.map(|mask| format!("umask {mask:03o}")),
        nice.map(|nice| format!("nice {nice}")),
        io_priority.map(|priority| format!("ionice {priority}")),
    ];
    let priorities: Vec<_> = priorities.into_iter().flatten().collect();
    if !priorities.is_empty() {
        lines.push(priorities.join(", "));
    }
    let needs = handler.needs.iter().map(|need| format!("{} {}", need.count, need.name));
    let needs: Vec<_> = needs.collect();
    if !needs.is_empty() {
        lines.push(format!("needs {}", needs.join(", ")));
    }
    lines
}

async fn ask(credentials: &Credentials, server: &Endpoint) -> Result<String, String> {
    let limits = ConnectionLimits { reply_timeout: Some(PATIENCE), ..ConnectionLimits::default() };
    let options = credentials.connect_to(server).timeout(PATIENCE).limits(limits);
    let said = |error: &dyn Display| format!("{server}: {error}");
    let mut connection = Connection::connect(&options).await.map_err(|error| said(&error))?;
    let stats = connection.stats().await.map_err(|error| said(&error))?;
    Ok(stats.get("version").unwrap_or("unknown").to_owned())
}

struct Report {
    out: io::Stdout,
    problems: usize,
}

impl Report {
    fn line(&mut self, name: &str, value: &(impl Display + ?Sized)) -> io::Result<()> {
        writeln!(self.out, "{name:>18}  {value}")
    }

    fn problem(&mut self, name: &str, value: &impl Display) -> io::Result<()> {
        self.problems += 1;
        writeln!(self.out, "{name:>18}  PROBLEM: {value}")
    }
}
