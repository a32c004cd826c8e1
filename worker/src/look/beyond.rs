//! What is behind the jobs that a look saw, on a server that [lists its jobs](Connection::list_jobs).
//!
//! Nobody is kept from having these jobs, and nothing is counted: a list and a peek change nothing.
//!
//! Owns: how far the list has been read. Must not know: which jobs can be run.

use std::collections::HashSet;
use std::sync::Arc;

use jq_client::{Command, Connection, Error, JobId, JobState, ListedJob, Refusal, Reply};
use tokio::time::{Instant, timeout};

use super::{BATCH, Extent, PATIENCE, exchange, no_reply};
use crate::parked::Candidate;
use crate::source::{Source, Taker};

/// How many jobs are listed at a time: as many as the server gives.
const PAGE: u32 = 1000;

/// How far the list has been read. A look goes on where the last one stopped.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Beyond {
    tube: usize,
    cursor: u32,
}

/// Whether the server lists its jobs.
///
/// # Errors
///
/// It cannot be asked.
pub(super) async fn can_list(source: &Arc<Source>) -> Result<bool, Error> {
    let Some(tube) = source.tubes().first() else { return Ok(false) };
    let mut connection = source.connection().await?;
    let listed = timeout(PATIENCE, connection.list_jobs(tube, Some(JobState::Ready), 0, 1));
    let can_list = match listed.await.unwrap_or_else(|_| Err(no_reply())) {
        Ok(_) => true,
        Err(Error::Refused { refusal: Refusal::UnknownCommand | Refusal::BadFormat, .. }) => false,
        Err(error) => return Err(error),
    };
    source.give(connection);
    Ok(can_list)
}

impl Beyond {
    /// Finds jobs that can be run, apart from those that were seen: the most urgent first, but only among
    /// those that this call comes to.
    ///
    /// # Errors
    ///
    /// The server cannot be asked.
    pub(super) async fn find(
        &mut self,
        source: &Arc<Source>,
        taker: &impl Taker,
        seen: &HashSet<JobId>,
        extent: Extent,
    ) -> Result<Vec<Candidate>, Error> {
        let until = Instant::now() + extent.time;
        let mut connection = source.connection().await?;
        let mut found = Vec::new();
        let mut tubes_left = source.tubes().len();
        while tubes_left > 0 && found.len() < extent.least && Instant::now() < until {
            let tube = &source.tubes()[self.tube % source.tubes().len()];
            let listed = connection.list_jobs(tube, Some(JobState::Ready), self.cursor, PAGE);
            let listed = match timeout(PATIENCE, listed).await.unwrap_or_else(|_| Err(no_reply())) {
                // Its name is too long for a list.
                Err(Error::Refused { .. }) => None,
                listed => listed?,
            };
            let (next, jobs) = listed.map_or((0, Vec::new()), |page| (page.next, page.jobs));
            let unseen: Vec<_> = jobs.into_iter().filter(|it| !seen.contains(&it.id)).collect();
            for jobs in unseen.chunks(BATCH) {
                choose(&mut connection, source, taker, jobs, &mut found).await?;
            }
            self.cursor = next;
            if next == 0 {
                self.tube = self.tube.wrapping_add(1);
                tubes_left -= 1;
            }
        }
        source.give(connection);
        found.sort_by_key(|(order, _)| *order);
        Ok(found.into_iter().map(|(_, found)| found).collect())
    }
}

/// Adds those of these jobs that can be run, with what orders them.
async fn choose(
    connection: &mut Connection,
    source: &Arc<Source>,
    taker: &impl Taker,
    jobs: &[ListedJob],
    found: &mut Vec<((u32, JobId), Candidate)>,
) -> Result<(), Error> {
    let replies = exchange(connection, jobs.iter().map(|job| Command::Peek(job.id))).await?;
    for (job, reply) in jobs.iter().zip(replies) {
        // Somebody may have deleted it.
        let Reply::Found(number, body) = reply else { continue };
        let (candidate, is_runnable) = taker.choose(source, number, &body);
        if is_runnable {
            found.push(((job.priority, number), candidate));
        }
    }
    Ok(())
}
