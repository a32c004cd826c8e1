//! `export`: the policy and the jobs of a tube, as lines of a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use indicatif::ProgressBar;
use jq_api::server::Policy;
use jq_client::{Command, Connection, JobState, Reply, Stats};
use serde::Serialize;

use super::jobs::{self, PAGE};
use super::policy;
use super::record::{PolicyLine, Record, RecordState};
use super::{Context, watch_only};
use crate::cli::ExportArgs;
use crate::failed::{EXIT_FILE, Failed, answered};
use crate::http::Api;
use crate::look::number;

/// Number of bodies in flight. They may be large.
const IN_FLIGHT: usize = 64;

pub(super) async fn export(context: &Context, args: &ExportArgs) -> Result<(), Failed> {
    let mut queue = context.queue().await?;
    let stats = queue.stats_tube(&args.tube).await?;
    let stats = stats.ok_or_else(|| Failed::not_found(format!("tube {}", args.tube)))?;
    let policy = match stats.flag("has-policy") {
        Some(true) => policy_line(context, args).await,
        _ => None,
    };
    let bar = context.look.bar(Some(expected(&stats, args)));
    let mut out = Output::create(&args.file)?;
    if let Some(line) = policy {
        out.write(&line)?;
    }
    let written = if args.by_reserving {
        by_reserving(queue, args, &mut out, &bar).await
    } else {
        by_listing(&mut queue, args, &mut out, &bar).await
    };
    bar.finish_and_clear();
    let written = written.map_err(|failed| {
        let message = format!("{}. The file is not complete", failed.message);
        Failed { message, ..failed }
    })?;
    out.finish()?;
    if out.is_stdout { Ok(()) } else { context.look.done(format!("{} exported", number(written))) }
}

/// The policy of the tube. The jobs are worth having without it, so if it cannot be had, that is said.
async fn policy_line(context: &Context, args: &ExportArgs) -> Option<PolicyLine> {
    let asked = match Api::new(&context.target, "it") {
        Ok(api) => policy::get(&api, &args.tube).await,
        Err(failed) => Err(failed),
    };
    match asked {
        // Where it is from is not what it says.
        Ok(policy) => Some(PolicyLine {
            tube: args.tube.to_string(),
            policy: Policy { source: None, ..policy },
        }),
        Err(failed) => {
            let why = failed.message;
            context.look.note(format!("the policy of tube {} is not exported: {why}", args.tube));
            None
        }
    }
}

fn expected(stats: &Stats, args: &ExportArgs) -> u64 {
    let count = |state: &str| stats.number(&format!("current-jobs-{state}")).unwrap_or(0);
    match args.state {
        Some(state) => count(state.as_str()),
        None if args.by_reserving => count("ready"),
        None => ["ready", "reserved", "delayed", "buried"].into_iter().map(count).sum(),
    }
}

/// Asks for the list of jobs, and for the body of each.
async fn by_listing(
    queue: &mut Connection,
    args: &ExportArgs,
    out: &mut Output,
    bar: &ProgressBar,
) -> Result<u64, Failed> {
    let mut written = 0;
    let mut cursor = 0;
    loop {
        let page = jobs::page(queue, &args.tube, args.state, cursor, PAGE).await?;
        for some in page.jobs.chunks(IN_FLIGHT) {
            let mut pipeline = queue.pipeline().await?;
            some.iter().for_each(|job| pipeline.send(&Command::Peek(job.id)));
            for job in some {
                let body = match pipeline.next().await? {
                    Some(Reply::Found(_, body)) => body,
                    // It has been deleted meanwhile.
                    Some(Reply::NotFound) => continue,
                    Some(reply) => {
                        return Err(answered(&Command::Peek(job.id), "FOUND or NOT_FOUND", &reply));
                    }
                    None => break,
                };
                let (state, delay) = match job.state {
                    JobState::Ready => (RecordState::Ready, 0),
                    JobState::Reserved => (RecordState::Reserved, 0),
                    JobState::Delayed => (RecordState::Delayed, job.time_left),
                    JobState::Buried => (RecordState::Buried, 0),
                };
                let record = Record {
                    id: Some(job.id),
                    tube: Some(args.tube.as_str().into()),
                    state: Some(state),
                    priority: job.priority,
                    delay: u32::try_from(delay).unwrap_or(u32::MAX),
                    ttr: job.ttr,
                    body: None,
                    body_base64: None,
                };
                out.write(&record.with_body(&body, args.base64))?;
                written += 1;
            }
            bar.set_position(written);
        }
        cursor = page.next;
        if cursor == 0 {
            return Ok(written);
        }
    }
}

/// Reserves all that is ready. With the end of the connection all goes back.
async fn by_reserving(
    mut queue: Connection,
    args: &ExportArgs,
    out: &mut Output,
    bar: &ProgressBar,
) -> Result<u64, Failed> {
    watch_only(&mut queue, std::slice::from_ref(&args.tube)).await?;
    let mut written = 0;
    while let Some(job) = queue.reserve_with_timeout(0).await?.into_job() {
        let stats = queue.stats_job(job.id).await?.unwrap_or_default();
        let record = Record {
            id: Some(job.id),
            tube: Some(args.tube.as_str().into()),
            state: Some(RecordState::Ready),
            priority: stats.parsed("pri").unwrap_or(jq_client::DEFAULT_PRIORITY),
            delay: 0,
            ttr: stats.parsed("ttr").unwrap_or(jq_client::DEFAULT_TTR),
            body: None,
            body_base64: None,
        };
        out.write(&record.with_body(&job.body, args.base64))?;
        written += 1;
        bar.set_position(written);
    }
    queue.quit().await?;
    Ok(written)
}

/// The file that is written.
struct Output {
    name: String,
    file: BufWriter<Box<dyn Write>>,
    is_stdout: bool,
}

impl Output {
    fn create(path: &Path) -> Result<Self, Failed> {
        let is_stdout = path == Path::new("-");
        let name = path.display().to_string();
        let file: Box<dyn Write> = if is_stdout {
            Box::new(io::stdout())
        } else {
            // What is there already may be an earlier export, and is not overwritten.
            let file = File::create_new(path);
            Box::new(file.map_err(|error| Failed::new(EXIT_FILE, format!("{name}: {error}")))?)
        };
        Ok(Self { name, file: BufWriter::with_capacity(1 << 20, file), is_stdout })
    }

    fn write(&mut self, record: &impl Serialize) -> Result<(), Failed> {
        let line = serde_json::to_writer(&mut self.file, record).map_err(io::Error::from);
        let line = line.and_then(|()| self.file.write_all(b"\n"));
        line.map_err(|error| self.failed(error))
    }

    fn finish(&mut self) -> Result<(), Failed> {
        self.file.flush().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> Failed {
        if self.is_stdout {
            return error.into();
        }
        Failed::new(EXIT_FILE, format!("{}: {error}", self.name))
    }
}
