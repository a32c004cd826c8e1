//! Looks for a job in a queue by its own id, which the queue does not know.
//!
//! A server that [lists its jobs](Connection::list_jobs) is looked through. Of others only the first job of each
//! state of each tube can be seen. Nothing is reserved, and nothing is counted.
//!
//! Owns: where it is looked, and for how long. Must not know: what a job is for.

use std::sync::Arc;
use std::time::Duration;

use jq_client::{Command, Connection, Error, JobId, JobState, Reply, TubeName};
use tokio::time::timeout;
use tracing::debug;

use crate::source::Source;

/// How long one server is looked through.
pub const SEARCH: Duration = Duration::from_secs(3);

/// How many jobs are listed at a time: as many as the server gives.
const PAGE: u32 = 1000;

/// How many bodies are looked at at a time.
const BATCH: usize = 50;

/// The number of the job of which this is the body, if the server is known to have it and nobody has reserved it.
/// `None` also if the server cannot be asked, or does not answer within [`SEARCH`].
pub async fn find(source: &Arc<Source>, is_it: impl Fn(&[u8]) -> bool) -> Option<JobId> {
    match timeout(SEARCH, look(source, is_it)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            debug!(server = source.name(), %error, "cannot look for a job");
            None
        }
        // What is still to be answered goes with its connection.
        Err(_) => None,
    }
}

async fn look(source: &Source, is_it: impl Fn(&[u8]) -> bool) -> Result<Option<JobId>, Error> {
    let mut connection = source.connection().await?;
    let mut found = None;
    for tube in source.tubes() {
        found = match look_through(&mut connection, tube, &is_it).await {
            // It lists no jobs, or not these, or not to this worker.
            Err(Error::Refused { .. }) => look_at_first(&mut connection, tube, &is_it).await?,
            found => found?,
        };
        if found.is_some() {
            break;
        }
    }
    source.give(connection);
    Ok(found)
}

async fn look_through(
    connection: &mut Connection,
    tube: &TubeName,
    is_it: &impl Fn(&[u8]) -> bool,
) -> Result<Option<JobId>, Error> {
    let mut cursor = 0;
    loop {
        let Some(page) = connection.list_jobs(tube, None, cursor, PAGE).await? else {
            return Ok(None);
        };
        let jobs = page.jobs.into_iter().filter(|job| job.state != JobState::Reserved);
        let jobs: Vec<_> = jobs.map(|job| job.id).collect();
        for jobs in jobs.chunks(BATCH) {
            let mut pipeline = connection.pipeline().await?;
            jobs.iter().for_each(|job| pipeline.send(&Command::Peek(*job)));
            let replies = pipeline.collect().await?;
            let found = replies.into_iter().find_map(|reply| match reply {
                Reply::Found(number, body) if is_it(&body) => Some(number),
                _ => None,
            });
            if found.is_some() {
                return Ok(found);
            }
        }
        if page.next == 0 {
            return Ok(None);
        }
        cursor = page.next;
    }
}

async fn look_at_first(
    connection: &mut Connection,
    tube: &TubeName,
    is_it: &impl Fn(&[u8]) -> bool,
) -> Result<Option<JobId>, Error> {
    connection.use_tube(tube).await?;
    let first = [
        connection.peek_ready().await?,
        connection.peek_delayed().await?,
        connection.peek_buried().await?,
    ];
    Ok(first.into_iter().flatten().find(|job| is_it(&job.body)).map(|job| job.id))
}
