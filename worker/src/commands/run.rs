//! One job from a file, without a queue: how a handler is developed.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use jiff::Timestamp;

use super::{EXIT_CONFIG, Failed, job_file};
use crate::collect::Outputs;
use crate::config::{Config, Flags};
use crate::exec::{self, LogEvent};
use crate::executor::Places;
use crate::result::{JobResult, Status};
use crate::room::Units;
use crate::setup::{Setup, keepers};
use crate::store::remove_tree;
use crate::table::ActiveJob;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File with the job; "-": standard input. A job without an id is given one
    job: PathBuf,
    /// Directory in which the process leaves its artifacts. It is made if it is missing, and its files stay
    /// there [default: one that is removed afterwards]
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Result<(), Failed> {
    let config = Config::load(&args.flags)?;
    let (_, job) = job_file::read(&args.job)?;
    let kind = &job.kind;
    let handler = config.handlers.get(kind).cloned().ok_or_else(|| {
        Failed::new(EXIT_CONFIG, format!("there is no handler of the type {kind}"))
    })?;
    exec::adopt_orphans()?;
    let keepers = keepers(&config.handlers);
    let directory = std::env::temp_dir().join(format!("jq-worker-run-{}", uuid::Uuid::new_v4()));
    let output = match &args.artifacts {
        Some(path) => std::path::absolute(path)?,
        None => directory.with_extension("output"),
    };
    let made = [(&directory, true), (&output, args.artifacts.is_none())];
    for (path, is_ours) in made {
        if is_ours || !path.exists() {
            DirBuilder::new().mode(0o700).create(path)?;
            if let Some(exec::Identity { uid, gid }) = handler.limits.identity {
                std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
            }
        }
    }
    let given = handler.artifacts.then_some(&*output);
    let places = Places { work: Some(&directory), output: given };
    let result = super::runtime()?.block_on(async {
        let setup = Setup::new(config, keepers)?;
        let mut active = ActiveJob::new(job.id, kind.clone(), 1, None, job.created_at);
        // Nobody else takes any here.
        let units = handler
            .needs
            .iter()
            .map(|need| Units { name: need.name.clone(), numbers: (0..need.count).collect() });
        active.units = units.collect();
        let log = tokio::spawn(show(active.log.reader()));
        let interrupted = async {
            // If it cannot be listened for, it ends us as usual.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending().await
            }
        };
        let mut attempt =
            setup.executor.attempt(&job, &handler, &active, places, interrupted).await;
        if let Some(output) = given {
            let limits = setup.config.artifacts.of_job;
            attempt.collected = Outputs::look(output, limits)?.take(None, None)?;
        }
        active.log.finish();
        let _ = log.await;
        setup.executor.stop().await;
        let status = if attempt.failure.is_none() { Status::Successful } else { Status::Failed };
        let mut document = active.document(&setup.name);
        attempt.record(&mut document);
        Ok::<_, Failed>(attempt.into_result(document, status, job.custom.clone()))
    });
    for (path, _) in made.iter().filter(|(_, is_ours)| *is_ours) {
        remove_tree(path)?;
    }
    let result = result?;
    print(&result)?;
    if result.status == Status::Successful { Ok(()) } else { Err(Failed::other("")) }
}

/// What the process writes is shown as it comes.
async fn show(mut log: exec::LogReader) {
    while let Some(event) = log.next().await {
        // Nobody may be there to read it.
        let _ = match event {
            LogEvent::Output { text, .. } => io::stderr().write_all(&text),
            LogEvent::Progress(percent) => {
                writeln!(io::stderr(), "{} progress {percent} %", Timestamp::now())
            }
        };
    }
}

pub(super) fn print(result: &JobResult) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, result)?;
    out.write_all(b"\n")
}
