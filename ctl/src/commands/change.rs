//! Commands that change jobs and tubes.

use jq_client::{Command, Connection, JobId, Outcome, Reply, TubeName};
use serde_json::json;

use super::{Context, missing};
use crate::cli::KickArgs;
use crate::failed::{Failed, answered};
use crate::look::number;

/// Number of jobs that a `kick` may be asked for at once: beanstalkd does nothing else meanwhile.
const KICK_AT_ONCE: u32 = 1000;

pub(super) async fn kick(context: &Context, args: &KickArgs) -> Result<(), Failed> {
    let mut queue = context.queue().await?;
    let kicked = match &args.tube {
        Some(tube) => {
            queue.use_tube(tube).await?;
            kick_tube(&mut queue, tube, args.count).await?
        }
        None => return each(context, &args.job, Command::KickJob, "kicked").await,
    };
    if context.look.json {
        return context.look.document(&json!({"kicked": kicked}));
    }
    context.look.done(format!("{} kicked", number(kicked)))
}

/// Kicks so many jobs of the used tube; `None`: all that are buried or, if none is, delayed.
pub(super) async fn kick_tube(
    queue: &mut Connection,
    tube: &TubeName,
    count: Option<u32>,
) -> Result<u64, Failed> {
    // A kick goes on with delayed jobs once no buried ones are left, so all that are buried are
    // counted first.
    let mut left = match count {
        Some(count) => u64::from(count),
        None => {
            let stats = queue.stats_tube(tube).await?;
            let stats = stats.ok_or_else(|| Failed::not_found(format!("tube {tube}")))?;
            let count = |key| stats.number(key).unwrap_or(0);
            match count("current-jobs-buried") {
                0 => count("current-jobs-delayed"),
                buried => buried,
            }
        }
    };
    let mut kicked = 0;
    while left > 0 {
        let bound = u32::try_from(left).unwrap_or(u32::MAX).min(KICK_AT_ONCE);
        let done = queue.kick(bound).await?;
        kicked += done;
        left -= u64::from(bound);
        if done < u64::from(bound) {
            break;
        }
    }
    Ok(kicked)
}

pub(super) async fn delete(context: &Context, ids: &[JobId]) -> Result<(), Failed> {
    let question = match ids {
        [id] => format!("Delete job {id}?"),
        _ => format!("Delete {} jobs?", ids.len()),
    };
    context.look.confirm(&question)?;
    each(context, ids, Command::Delete, "deleted").await
}

/// Sends a command for each of the jobs. Those that it fails for are named at the end.
async fn each(
    context: &Context,
    ids: &[JobId],
    command: impl Fn(JobId) -> Command,
    done: &str,
) -> Result<(), Failed> {
    let mut queue = context.queue().await?;
    let mut pipeline = queue.pipeline().await?;
    ids.iter().for_each(|id| pipeline.send(&command(*id)));
    let replies = pipeline.collect().await?;
    let (mut changed, mut absent) = (Vec::new(), Vec::new());
    for (id, reply) in ids.iter().zip(replies) {
        match reply {
            Reply::Deleted | Reply::KickedJob => changed.push(*id),
            Reply::NotFound => absent.push(*id),
            reply => {
                return Err(answered(&command(*id), "that it is done, or NOT_FOUND", &reply));
            }
        }
    }
    finish(context, done, &changed, &absent)
}

/// Says what was done, and fails if something was not.
fn finish(
    context: &Context,
    done: &str,
    changed: &[JobId],
    absent: &[JobId],
) -> Result<(), Failed> {
    if context.look.json {
        context.look.document(&json!({done: changed, "not_found": absent}))?;
    } else if !changed.is_empty() {
        context.look.done(format!("{} {done}", number(changed.len() as u64)))?;
    }
    match absent {
        [] => Ok(()),
        _ => Err(missing(absent, &format!("cannot be {done}: not there, or in another state"))),
    }
}

/// The protocol buries only what is reserved, so each job is reserved first.
pub(super) async fn bury(context: &Context, ids: &[JobId]) -> Result<(), Failed> {
    let mut queue = context.queue().await?;
    let (mut changed, mut absent) = (Vec::new(), Vec::new());
    for id in ids {
        let stats = queue.stats_job(*id).await?;
        let priority = stats.and_then(|stats| stats.parsed("pri"));
        let buried = match (priority, queue.reserve_job(*id).await?) {
            (Some(priority), Some(_)) => queue.bury(*id, priority).await?,
            _ => Outcome::NotFound,
        };
        if buried.is_done() { &mut changed } else { &mut absent }.push(*id);
    }
    // Says goodbye, so that nothing counts as a worker that has vanished.
    queue.quit().await?;
    finish(context, "buried", &changed, &absent)
}

pub(super) async fn pause(context: &Context, tube: &TubeName, seconds: u32) -> Result<(), Failed> {
    set_pause(context, tube, seconds).await?;
    context.look.done(format!("{tube} is paused for {} s", number(seconds.into())))
}

pub(super) async fn resume(context: &Context, tube: &TubeName) -> Result<(), Failed> {
    set_pause(context, tube, 0).await?;
    context.look.done(format!("{tube} is not paused"))
}

async fn set_pause(context: &Context, tube: &TubeName, seconds: u32) -> Result<(), Failed> {
    match context.queue().await?.pause_tube(tube, seconds).await? {
        Outcome::Done if context.look.json => {
            context.look.document(&json!({"tube": tube.as_str(), "pause": seconds}))
        }
        Outcome::Done => Ok(()),
        Outcome::NotFound => Err(Failed::not_found(format!("tube {tube}"))),
    }
}
