//! What each command does.

mod bench;
mod change;
mod export;
mod import;
mod jobs;
mod policy;
mod put;
mod record;
mod relocate;
mod reserve;
mod server;
mod show;
mod tail;
mod top;
mod wait;

use std::io::{self, Write};

use clap::CommandFactory;
use jq_client::{Connection, JobId, TubeName};

use crate::cli::{Cli, Command};
use crate::completions::completions;
use crate::config::Target;
use crate::failed::{EXIT_NOT_FOUND, Failed};
use crate::look::Look;

/// The server, and how to show what it says.
#[derive(Debug)]
struct Context {
    target: Target,
    look: Look,
}

impl Context {
    /// A connection to the queue.
    async fn queue(&self) -> Result<Connection, Failed> {
        Ok(Connection::connect(&self.target.queue()).await?)
    }
}

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<(), Failed> {
    if let Command::Completions { shell } = cli.command {
        let script = completions(shell, &mut Cli::command());
        return Ok(io::stdout().write_all(script.as_bytes())?);
    }
    let look = Look::new(&cli.global);
    let context = Context { target: Target::load(&cli.global)?, look };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(dispatch(&context, cli.command));
    done.map_err(|failed| failed.with_hint(context.target.hint.as_ref()))
}

async fn dispatch(context: &Context, command: Command) -> Result<(), Failed> {
    match command {
        Command::Stats { filter } => show::stats(context, filter.as_deref()).await,
        Command::Tubes(args) => show::tubes(context, &args).await,
        Command::Tube { tube } => show::tube(context, &tube).await,
        Command::Jobs(args) => jobs::jobs(context, &args).await,
        Command::Job { id } => show::job(context, id).await,
        Command::Peek { tube, state } => show::peek(context, &tube, state).await,
        Command::Put(args) => put::put(context, &args).await,
        Command::Reserve(args) => reserve::reserve(context, &args).await,
        Command::Kick(args) => change::kick(context, &args).await,
        Command::Bury { ids } => change::bury(context, &ids).await,
        Command::Delete { ids } => change::delete(context, &ids).await,
        Command::Pause { tube, seconds } => change::pause(context, &tube, seconds).await,
        Command::Resume { tube } => change::resume(context, &tube).await,
        Command::Export(args) => export::export(context, &args).await,
        Command::Import(args) => import::import(context, &args).await,
        Command::Bench(args) => bench::bench(context, &args).await,
        Command::Wait(args) => wait::wait(context, &args).await,
        Command::Tail { tubes } => tail::tail(context, &tubes).await,
        Command::Move(args) => relocate::relocate(context, &args).await,
        Command::Clear { tube } => relocate::clear(context, &tube).await,
        Command::Policy(args) => policy::policy(context, &args).await,
        Command::Drain => server::set_draining(context, true).await,
        Command::Undrain => server::set_draining(context, false).await,
        Command::Connections(args) => server::connections(context, &args).await,
        Command::Top { interval } => top::top(context, interval).await,
        // Needs no server, so it is dealt with before.
        Command::Completions { .. } => Ok(()),
    }
}

/// Some of the jobs are not there, or not in a state that allows what was asked for.
fn missing(ids: &[JobId], what: &str) -> Failed {
    let list: Vec<String> = ids.iter().map(JobId::to_string).collect();
    let jobs = if ids.len() == 1 { "job" } else { "jobs" };
    Failed::new(EXIT_NOT_FOUND, format!("{jobs} {} {what}", list.join(", ")))
}

/// Watches these tubes, of which there is at least one, and no other.
async fn watch_only(queue: &mut Connection, tubes: &[TubeName]) -> Result<(), Failed> {
    for tube in tubes {
        queue.watch(tube).await?;
    }
    let default = TubeName::default_tube();
    if !tubes.contains(&default) {
        // There is another one by now, so it is no longer the last.
        let _ = queue.ignore(&default).await?;
    }
    Ok(())
}
