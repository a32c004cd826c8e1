//! Commands that jq-server has and beanstalkd has not, and what to do without them.

use beanstalk_protocol::{
    Command, JobId, JobListing, JobQuery, JobState, Reply, Seconds, TubeName,
};
use bytes::Bytes;

use crate::call::{self, Request};
use crate::connection::{Connection, with_sent};
use crate::error::{Error, Refusal};
use crate::job::{Job, Outcome, Reservation};

impl Connection {
    /// Reserves up to `max` jobs of the watched tubes (0 counts as 1): those that are ready or, if
    /// none is, the first within so many seconds. There is at least one in
    /// [`Reservation::Reserved`]. The time to run of all of them begins at once.
    ///
    /// On a server without `batch-reserve`, it reserves one job; such a server is asked once per
    /// connection.
    ///
    /// If the future is dropped, it is with this as with a reserve: see
    /// [Dropped futures](Connection#dropped-futures). Then, or when an earlier reserve was dropped,
    /// there may be fewer jobs than are ready.
    pub async fn reserve_batch(
        &mut self,
        max: u32,
        seconds: Seconds,
    ) -> Result<Reservation<Vec<Job>>, Error> {
        let max = max.max(1);
        if !self.is_reserve_pending() && !self.has_unclaimed() {
            // That may bring jobs of a batch that was dropped.
            self.settle().await?;
        }
        let is_new = !self.is_reserve_pending() && !self.has_unclaimed();
        if is_new && !self.lacks_batches {
            let command = Command::BatchReserve { max, timeout: seconds };
            let call = call::batch_reserve(command);
            let reply = self.exchange(&call.request).await?;
            if let Reply::Batch(count) = reply
                && (1..=u64::from(max)).contains(&count)
            {
                for _ in 0..count {
                    self.take_job_of_batch().await?;
                }
                return Ok(Reservation::Reserved(self.claim_all(count as usize)));
            }
            match self.finish(&call, reply) {
                Err(Error::Refused { refusal: Refusal::UnknownCommand, .. }) => {
                    self.lacks_batches = true;
                }
                Err(error) => return Err(error),
                Ok(ended) => return Ok(ended),
            }
        }
        Ok(match self.reserve_within(Some(seconds)).await? {
            Reservation::Reserved(job) => {
                let mut jobs = vec![job];
                jobs.extend(self.claim_all((max - 1) as usize));
                Reservation::Reserved(jobs)
            }
            other => other.map(|job| vec![job]),
        })
    }

    /// Removes all jobs of a tube that are ready, delayed or buried; returns how many. `None`: there
    /// is no such tube. Reserved jobs stay with those who have them.
    ///
    /// On a server without `clear-tube`, it looks at the next job of the tube and deletes it, as
    /// often as there were jobs when it began. If the future is dropped meanwhile, the connection may
    /// use the tube that was to be cleared.
    ///
    /// # Errors
    ///
    /// If the connection is lost, [`Error::may_have_had_effect`] is true if jobs may have been
    /// removed. What the server refuses tells nothing of jobs that were removed before.
    pub async fn clear_tube(&mut self, tube: &TubeName) -> Result<Option<u64>, Error> {
        match self.call(&call::clear_tube(tube)).await {
            Err(Error::Refused { refusal: Refusal::UnknownCommand, .. }) => {}
            result => return result,
        }
        let mut deleted = 0;
        match self.clear_one_by_one(tube, &mut deleted).await {
            Ok(true) => Ok(Some(deleted)),
            Ok(false) => Ok(None),
            Err(error) if deleted > 0 => Err(with_sent(error, true)),
            Err(error) => Err(error),
        }
    }

    /// Deletes as many jobs of a tube as it has now, and counts them. False: there is no such tube.
    async fn clear_one_by_one(
        &mut self,
        tube: &TubeName,
        deleted: &mut u64,
    ) -> Result<bool, Error> {
        let without_effect = |error| with_sent(error, false);
        let stats = self.stats_tube(tube).await.map_err(without_effect)?;
        let Some(stats) = stats else { return Ok(false) };
        let count = |key: &str| stats.number(key).unwrap_or(0);
        let jobs = ["current-jobs-ready", "current-jobs-delayed", "current-jobs-buried"];
        let most: u64 = jobs.into_iter().map(count).sum();
        let used = self.list_tube_used().await.map_err(without_effect)?;
        self.use_tube(tube).await.map_err(without_effect)?;
        let result = self.delete_one_by_one(most, deleted).await;
        // On a connection that is lost it is of no use, and its error says less.
        let restored = self.use_tube(&used).await.map_err(without_effect);
        result.and(restored).map(|()| true)
    }

    /// Deletes so many jobs of the used tube, if there are that many, and counts them.
    async fn delete_one_by_one(&mut self, most: u64, deleted: &mut u64) -> Result<(), Error> {
        for _ in 0..most {
            let next = self.peek_any().await.map_err(|error| with_sent(error, false))?;
            let Some(job) = next else { break };
            // Somebody else may have it by now.
            *deleted += u64::from(self.delete(job.id).await?.is_done());
        }
        Ok(())
    }

    /// Shows a job of the used tube that is not reserved.
    async fn peek_any(&mut self) -> Result<Option<Job>, Error> {
        let mut next = self.peek_ready().await?;
        if next.is_none() {
            next = self.peek_buried().await?;
        }
        if next.is_none() {
            next = self.peek_delayed().await?;
        }
        Ok(next)
    }

    /// A page of the jobs of a tube, in this state or in any, without their bodies. `None`: there is
    /// no such tube. `cursor` is 0 for the first page, and [`JobListing::next`] of the page before
    /// for each later one, until that is 0. A page has up to `count` jobs, and not more than 1000.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownCommand`] from a server without `list-jobs`. [`Refusal::BadFormat`] if the
    /// name of the tube is so long that the command has more than 224 bytes.
    pub async fn list_jobs(
        &mut self,
        tube: &TubeName,
        state: Option<JobState>,
        cursor: u32,
        count: u32,
    ) -> Result<Option<JobListing>, Error> {
        let query = JobQuery { tube: Some(tube.clone()), state, cursor, count };
        self.call(&call::list_jobs(query)).await
    }

    /// Moves a job to another tube, with its id, its counters and its state. A job that this
    /// connection has reserved is ready afterwards. [`Outcome::NotFound`]: there is no such job, or
    /// another connection has it reserved.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownCommand`] from a server without `move`. There is no substitute: a put into
    /// the other tube and a delete give the job another id, and if one of them fails, there are two
    /// jobs or none.
    pub async fn move_job(&mut self, id: JobId, to: &TubeName) -> Result<Outcome, Error> {
        self.call(&call::move_job(id, to)).await
    }

    /// Sends a request over a connection that is settled, and returns its reply.
    async fn exchange(&mut self, request: &Request<'_>) -> Result<Reply<Bytes>, Error> {
        self.queue(request);
        Ok(self.next_in_time(Some(request)).await?.1)
    }

    /// Takes the next job of a batch in among those that are not claimed: there it is safe if the
    /// future is dropped.
    async fn take_job_of_batch(&mut self) -> Result<(), Error> {
        let (_, reply) = self.next_in_time(None).await?;
        let job = self.finish(&call::job_of_batch(), reply)?;
        self.keep(job);
        Ok(())
    }
}
