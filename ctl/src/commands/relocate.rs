//! `move` and `clear`: many jobs at once.

use std::time::Duration;

use jq_api::server::{Bulk, BulkAction, BulkRequest, BulkState, JobState};
use jq_client::{Error, Outcome, Refusal, TubeName};
use reqwest::Method;
use tokio::time::sleep;

use super::{Context, missing};
use crate::cli::{MoveArgs, State};
use crate::failed::Failed;
use crate::http::Api;
use crate::look::number;

/// Longest time between two looks at a bulk action.
const EVERY: Duration = Duration::from_millis(200);

pub(super) async fn relocate(context: &Context, args: &MoveArgs) -> Result<(), Failed> {
    match &args.from {
        Some(from) => {
            let api = Api::new(&context.target, "moving all jobs of a tube")?;
            move_tube(context, &api, args, from).await
        }
        None => move_jobs(context, args).await,
    }
}

async fn move_jobs(context: &Context, args: &MoveArgs) -> Result<(), Failed> {
    let mut queue = context.queue().await?;
    let (mut moved, mut absent) = (Vec::new(), Vec::new());
    for id in &args.ids {
        match queue.move_job(*id, &args.to).await {
            Ok(Outcome::Done) => moved.push(*id),
            Ok(Outcome::NotFound) => absent.push(*id),
            Err(Error::Refused { refusal: Refusal::UnknownCommand, .. }) => {
                return Err(Failed::other("this server cannot move jobs: it is no jq-server"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if context.look.json {
        context.look.document(&serde_json::json!({"moved": moved, "not_found": absent}))?;
    } else {
        context.look.done(format!("{} moved to {}", number(moved.len() as u64), args.to))?;
    }
    if absent.is_empty() {
        Ok(())
    } else {
        Err(missing(&absent, "cannot be moved: not there, or reserved"))
    }
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
        state: args.state.map(api_state),
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
        pause = (pause * 2).min(EVERY);
        bulk = api.get(&["api", "v1", "bulk", &bulk.id.to_string()], &()).await?;
        bar.set_position((bulk.progress.unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0) as u64);
    }
    bar.finish_and_clear();
    Ok(bulk)
}

fn api_state(state: State) -> JobState {
    match state {
        State::Ready => JobState::Ready,
        State::Reserved => JobState::Reserved,
        State::Delayed => JobState::Delayed,
        State::Buried => JobState::Buried,
    }
}

pub(super) async fn clear(context: &Context, tube: &TubeName) -> Result<(), Failed> {
    context.look.confirm(&format!("Delete all jobs of tube {tube} that are not reserved?"))?;
    let deleted = context.queue().await?.clear_tube(tube).await?;
    let deleted = deleted.ok_or_else(|| Failed::not_found(format!("tube {tube}")))?;
    if context.look.json {
        return context.look.document(&serde_json::json!({"deleted": deleted}));
    }
    context.look.done(format!("{} deleted", number(deleted)))
}
