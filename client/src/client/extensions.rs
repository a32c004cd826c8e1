//! Commands that jq-server has and beanstalkd has not.
//!
//! Which of them a server has is a matter of the connection: behind the next one there may be
//! another server, or a newer one. So nothing that is known of it outlives the connection.

use std::time::Duration;

use beanstalk_protocol::{JobId, JobListing, JobQuery, JobState, Seconds, TubeName};
use tokio::time::Instant;

use super::{Client, Lease, Repeat, seconds_until};
use crate::call;
use crate::error::Error;
use crate::job::{Outcome, Reservation};

/// Commands that beanstalkd does not have, and what to do without them.
impl Client {
    /// Reserves up to `max` jobs of the watched tubes (0 counts as 1): those that are ready or, if
    /// none is, the first within so many seconds. There is at least one in
    /// [`Reservation::Reserved`]. The time to run of all of them begins at once.
    ///
    /// It is repeated after a loss, as every reserve, with what is left of the time. Of a batch
    /// that arrived in part nothing is returned: the server gives its jobs to others.
    ///
    /// On a server without `batch-reserve`, it reserves one job; such a server is asked once per
    /// connection.
    pub async fn reserve_batch(
        &mut self,
        max: u32,
        seconds: Seconds,
    ) -> Result<Reservation<Vec<Lease>>, Error> {
        let until = Instant::now() + Duration::from_secs(seconds.into());
        self.pace.begin();
        loop {
            let live = self.ready().await?;
            let result = live.connection.reserve_batch(max, seconds_until(until)).await;
            if matches!(&result, Err(error) if error.is_loss()) && self.may_go_on() {
                continue;
            }
            return self.note(result).map(|reserved| {
                reserved.map(|jobs| jobs.into_iter().map(|job| self.lease(job)).collect())
            });
        }
    }

    /// Removes all jobs of a tube that are ready, delayed or buried; returns how many. `None`: there
    /// is no such tube. Reserved jobs stay with those who have them.
    ///
    /// On a server without `clear-tube`, it looks at the next job of the tube and deletes it, as
    /// often as there were jobs when it began.
    ///
    /// # Errors
    ///
    /// If the connection is lost when jobs may have been removed, it is not known how many:
    /// [`Error::may_have_had_effect`] is true then. Nor is it if the server refuses one of the
    /// deletes. To remove the rest, clear the tube again.
    pub async fn clear_tube(&mut self, tube: &TubeName) -> Result<Option<u64>, Error> {
        self.pace.begin();
        loop {
            let live = self.ready().await?;
            // Without `clear-tube` it uses that tube for a while. If it fails or is dropped
            // meanwhile, nobody knows which tube is used.
            let applied = live.applied.forget_used();
            let result = live.connection.clear_tube(tube).await;
            if matches!(result, Ok(_) | Err(Error::ReservePending)) {
                live.applied.restore(applied);
            } else if let Err(error) = &result
                && error.is_loss()
                && !error.may_have_had_effect()
                && self.may_go_on()
            {
                continue;
            }
            return self.note(result);
        }
    }

    /// A page of the jobs of a tube, in this state or in any, without their bodies. `None`: there is
    /// no such tube. `cursor` is 0 for the first page, and [`JobListing::next`] of the page before
    /// for each later one, until that is 0. A page has up to `count` jobs, and not more than 1000.
    ///
    /// A cursor means nothing to a server that was restarted since: jobs may then be shown twice or
    /// not at all.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownCommand`](crate::Refusal::UnknownCommand) from a server without
    /// `list-jobs`. [`Refusal::BadFormat`](crate::Refusal::BadFormat) if the name of the tube is so
    /// long that the command has more than 224 bytes.
    pub async fn list_jobs(
        &mut self,
        tube: &TubeName,
        state: Option<JobState>,
        cursor: u32,
        count: u32,
    ) -> Result<Option<JobListing>, Error> {
        let query = JobQuery { tube: Some(tube.clone()), state, cursor, count };
        self.run(&call::list_jobs(query), Repeat::Always).await
    }

    /// Moves a job that is not reserved to another tube, with its id, its counters and its state.
    /// For one with a [`Lease`], use [`move_reserved`](Self::move_reserved).
    /// [`Outcome::NotFound`]: there is no such job, or another connection has it reserved.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownCommand`](crate::Refusal::UnknownCommand) from a server without `move`;
    /// there is no substitute.
    pub async fn move_job(&mut self, id: JobId, to: &TubeName) -> Result<Outcome, Error> {
        self.run(&call::move_job(id, to), Repeat::IfWithoutEffect).await
    }

    /// Moves a reserved job to another tube, where it is ready: hands it on to the next step of its
    /// work. The lease ends with that.
    ///
    /// # Errors
    ///
    /// As of [`move_job`](Self::move_job). The lease is still good if the server has no `move`.
    pub async fn move_reserved(&mut self, lease: &Lease, to: &TubeName) -> Result<Outcome, Error> {
        self.run_leased(lease, call::move_job(lease.id(), to), Outcome::NotFound).await
    }
}
