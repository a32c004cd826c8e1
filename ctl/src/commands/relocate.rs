//! `move` and `clear`: many jobs at once.

use std::time::Duration;

use jq_api::server::{Bulk, BulkAction, BulkRequest, BulkState, Changed, JobState, Move};
use jq_client::TubeName;
use reqwest::Method;
use tokio::time::sleep;

use super::server::NOTHING;
use super::{Context, missing};
use crate::cli::MoveArgs;
use crate::failed::{EXIT_NOT_FOUND, Failed};
use crate::http::{Api, POLL};
use crate::look::number;

pub(super) async fn relocate(context: &Context, args: &MoveArgs) -> Result<(), Failed> {
    let api = Api::new(&context.target, "move")?;
    match &args.from {
        Some(from) => move_tube(context, &api, args, from).await,
        None => move_jobs(context, &api, args).await,
    }
}

async fn move_jobs(context: &Context, api: &Api, args: &MoveArgs) -> Result<(), Failed> {
    let to = Move { tube: args.to.as_str().to_owned() };
    let (mut moved, mut absent) = (Vec::new(), Vec::new());
    for id in &args.ids {
        let path = ["api", "v1", "jobs", &id.to_string(), "move"];
        match api.send::<Changed>(Method::POST, &path, Some(&to)).await {
            Ok(_) => moved.push(*id),
            Err(failed) if failed.status == EXIT_NOT_FOUND => absent.push(*id),
            Err(failed) => return Err(failed),
        }
    }
    if context.look.json {
        context.look.document(&serde_json::json!({"moved": moved, "not_found": absent}))?;
    } else {
        context.look.done(format!("{} moved to {}", number(moved.len() as u64), args.to))?;
    }
    if absent.is_empty() { Ok(()) } else { Err(missing(&absent, "cannot be moved: not there")) }
}

async fn move_tube(
    context: &Context,
    api: &Api,
    args: &MoveArgs,
    from: &TubeName,
) -> Result<(), Failed> {
    let request = BulkRequest {
        action: BulkAction::Move,
        tube: from.as_str().to_owned(),
        state: args.state.map(JobState::from),
        older_than: None,
        younger_than: None,
        contains: None,
        to: Some(args.to.as_str().to_owned()),
        priority: None,
        delay: None,
        dry_run: true,
    };
    let count = run(context, api, &request).await?;
    let state = args.state.map(|state| format!("{} ", state.as_str())).unwrap_or_default();
    let jobs = format!("{} {state}jobs", number(count.matched));
    context.look.confirm(&format!("Move {jobs} from {from} to {}?", args.to))?;
    let done = run(context, api, &BulkRequest { dry_run: false, ..request }).await?;
    context.look.show(&done, |done, out| {
        writeln!(out, "{} of {} moved", number(done.changed), number(done.matched))
    })?;
    match done.state {
        BulkState::Failed | BulkState::Stopped => {
            Err(Failed::other(done.error.unwrap_or_else(|| "somebody has stopped it".to_owned())))
        }
        BulkState::Running | BulkState::Done => Ok(()),
    }
}

/// Starts an action on many jobs, and shows its progress until it is over.
async fn run(context: &Context, api: &Api, request: &BulkRequest) -> Result<Bulk, Failed> {
    let bar = context.look.bar(Some(1000));
    let mut bulk: Bulk = api.send(Method::POST, &["api", "v1", "bulk"], Some(request)).await?;
    let mut pause = Duration::from_millis(5);
    while bulk.state == BulkState::Running {
        sleep(pause).await;
        pause = (pause * 2).min(POLL);
        bulk = api.get(&["api", "v1", "bulk", &bulk.id.to_string()], &()).await?;
        bar.set_position((bulk.progress.unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0) as u64);
    }
    bar.finish_and_clear();
    Ok(bulk)
}

pub(super) async fn clear(context: &Context, tube: &TubeName) -> Result<(), Failed> {
    let api = Api::new(&context.target, "clear")?;
    context.look.confirm(&format!("Delete all jobs of tube {tube} that are not reserved?"))?;
    let path = ["api", "v1", "tubes", tube.as_str(), "clear"];
    let changed: Changed = api.send(Method::POST, &path, NOTHING).await?;
    context.look.show(&changed, |changed, out| writeln!(out, "{} deleted", number(changed.changed)))
}
