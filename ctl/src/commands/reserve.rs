//! `reserve`: shows jobs by reserving them.

use jq_client::{Outcome, ReleaseOptions, Released, Reservation};

use super::show::print_body;
use super::{Context, watch_only};
use crate::cli::{ReserveArgs, Then};
use crate::failed::{EXIT_FAILED, EXIT_TIMED_OUT, Failed};

pub(super) async fn reserve(context: &Context, args: &ReserveArgs) -> Result<(), Failed> {
    let mut queue = context.queue().await?;
    watch_only(&mut queue, &args.tubes).await?;
    for _ in 0..args.count {
        let reservation = match args.within {
            Some(seconds) => queue.reserve_with_timeout(seconds).await?,
            None => queue.reserve().await?,
        };
        let job = match reservation {
            Reservation::Reserved(job) => job,
            Reservation::TimedOut | Reservation::DeadlineSoon => {
                return Err(Failed::new(EXIT_TIMED_OUT, "no job came in time"));
            }
        };
        let stats = queue.stats_job(job.id).await?;
        let priority = stats.and_then(|stats| stats.parsed("pri"));
        let priority = priority.unwrap_or(jq_client::DEFAULT_PRIORITY);
        // If it cannot be printed, it is not done with either: it goes back with the connection.
        print_body(context, job.id, &job.body)?;
        let kept = match args.then {
            Then::Release => {
                let options = ReleaseOptions { priority, delay: 0 };
                queue.release(job.id, options).await? != Released::NotFound
            }
            Then::Delete => queue.delete(job.id).await? == Outcome::Done,
            Then::Bury => queue.bury(job.id, priority).await? == Outcome::Done,
        };
        if !kept {
            let message = format!("job {} timed out meanwhile, and others may have it", job.id);
            return Err(Failed::new(EXIT_FAILED, message));
        }
    }
    Ok(queue.quit().await?)
}
