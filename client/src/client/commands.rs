//! The operations of a client.

use beanstalk_protocol::{Command, JobId, Priority, Seconds, TubeName};

use super::{Client, Lease, Repeat};
use crate::call;
use crate::error::{Error, PutError};
use crate::job::{Job, Outcome, PutOptions, ReleaseOptions, Released, Reservation};
use crate::stats::Stats;

/// Putting jobs.
impl Client {
    /// Puts a job into the used tube, and returns its id.
    ///
    /// # Errors
    ///
    /// If the connection is lost after the job was sent, it may be in the queue or not:
    /// [`Error::may_have_had_effect`] is true then.
    /// [`resend_puts`](crate::ClientOptions::resend_puts) is the alternative.
    pub async fn put(&mut self, body: &[u8], options: PutOptions) -> Result<JobId, PutError> {
        let repeat =
            if self.options.resend_puts { Repeat::Always } else { Repeat::IfWithoutEffect };
        let result = self.run(&call::put(body, options)?, repeat).await?;
        result.map_err(|refusal| refusal.into_error(body.len()))
    }
}

/// Reserving jobs, and finishing them.
impl Client {
    /// Reserves the most urgent ready job of the watched tubes, waiting for one as long as
    /// necessary, and over as many connections as it takes.
    pub async fn reserve(&mut self) -> Result<Reservation<Lease>, Error> {
        self.reserve_within(None).await
    }

    /// Like [`reserve`](Self::reserve), but waits for at most this many seconds: 0 to
    /// 2,147,483,647. If the server cannot be reached, it can take longer, up to the time after
    /// which the client gives up.
    pub async fn reserve_with_timeout(
        &mut self,
        seconds: Seconds,
    ) -> Result<Reservation<Lease>, Error> {
        self.reserve_within(Some(seconds)).await
    }

    /// Reserves this job, whether it is ready, delayed or buried. `None`: there is no such job, or
    /// it is already reserved.
    pub async fn reserve_job(&mut self, id: JobId) -> Result<Option<Lease>, Error> {
        let job = self.run(&call::reserve_job(id), Repeat::Always).await?;
        Ok(job.map(|job| self.lease(job)))
    }

    /// Deletes a reserved job.
    pub async fn delete(&mut self, lease: &Lease) -> Result<Outcome, Error> {
        self.run_leased(lease, call::delete(lease.id()), Outcome::NotFound).await
    }

    /// Gives a reserved job back.
    pub async fn release(
        &mut self,
        lease: &Lease,
        options: ReleaseOptions,
    ) -> Result<Released, Error> {
        self.run_leased(lease, call::release(lease.id(), options), Released::NotFound).await
    }

    /// Buries a reserved job: sets it aside, with this priority, until it is kicked.
    pub async fn bury(&mut self, lease: &Lease, priority: Priority) -> Result<Outcome, Error> {
        self.run_leased(lease, call::bury(lease.id(), priority), Outcome::NotFound).await
    }

    /// Restarts the time to run of a reserved job. [`Outcome::NotFound`]: the lease is lost, and
    /// another worker may have the job.
    pub async fn touch(&mut self, lease: &Lease) -> Result<Outcome, Error> {
        self.run_leased(lease, call::touch(lease.id()), Outcome::NotFound).await
    }
}

/// Inspecting and managing.
impl Client {
    /// Deletes a job that is not reserved. For one with a [`Lease`], use [`delete`](Self::delete).
    pub async fn delete_job(&mut self, id: JobId) -> Result<Outcome, Error> {
        self.run(&call::delete(id), Repeat::IfWithoutEffect).await
    }

    /// Shows a job.
    pub async fn peek(&mut self, id: JobId) -> Result<Option<Job>, Error> {
        self.run(&call::peek(Command::Peek(id)), Repeat::Always).await
    }

    /// Shows the next ready job of the used tube.
    pub async fn peek_ready(&mut self) -> Result<Option<Job>, Error> {
        self.run(&call::peek(Command::PeekReady), Repeat::Always).await
    }

    /// Shows the delayed job of the used tube that becomes ready first.
    pub async fn peek_delayed(&mut self) -> Result<Option<Job>, Error> {
        self.run(&call::peek(Command::PeekDelayed), Repeat::Always).await
    }

    /// Shows the job of the used tube that was buried first.
    pub async fn peek_buried(&mut self) -> Result<Option<Job>, Error> {
        self.run(&call::peek(Command::PeekBuried), Repeat::Always).await
    }

    /// Makes up to `bound` buried jobs of the used tube ready or, if none is buried, delayed ones;
    /// returns how many.
    pub async fn kick(&mut self, bound: u32) -> Result<u64, Error> {
        self.run(&call::kick(bound), Repeat::IfWithoutEffect).await
    }

    /// Makes this buried or delayed job ready.
    pub async fn kick_job(&mut self, id: JobId) -> Result<Outcome, Error> {
        self.run(&call::kick_job(id), Repeat::IfWithoutEffect).await
    }

    /// Statistics of the server.
    pub async fn stats(&mut self) -> Result<Stats, Error> {
        self.run(&call::stats(), Repeat::Always).await
    }

    /// Statistics of a job; `None` if it does not exist.
    pub async fn stats_job(&mut self, id: JobId) -> Result<Option<Stats>, Error> {
        self.run(&call::stats_of(Command::StatsJob(id)), Repeat::Always).await
    }

    /// Statistics of a tube; `None` if it does not exist.
    pub async fn stats_tube(&mut self, tube: &TubeName) -> Result<Option<Stats>, Error> {
        self.run(&call::stats_of(Command::StatsTube(tube.clone())), Repeat::Always).await
    }

    /// All tubes.
    pub async fn list_tubes(&mut self) -> Result<Vec<TubeName>, Error> {
        self.run(&call::list(Command::ListTubes), Repeat::Always).await
    }

    /// Lets no job of the tube be reserved for this many seconds; 0 ends a pause.
    pub async fn pause_tube(
        &mut self,
        tube: &TubeName,
        seconds: Seconds,
    ) -> Result<Outcome, Error> {
        self.run(&call::pause_tube(tube, seconds), Repeat::IfWithoutEffect).await
    }
}
