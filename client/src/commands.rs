//! A method for each command of the protocol.

use beanstalk_protocol::{Command, JobId, Priority, Seconds, TubeName};

use crate::call;
use crate::connection::Connection;
use crate::error::{Error, PutError};
use crate::job::{Ignored, Job, Outcome, PutOptions, ReleaseOptions, Released, Reservation};
use crate::stats::Stats;

/// Putting jobs.
impl Connection {
    /// Puts a job into the used tube, and returns its id. The body is copied once, into the
    /// connection's buffer; it may have up to [`MAX_JOB_SIZE`](crate::MAX_JOB_SIZE) bytes, but
    /// most servers accept only [`DEFAULT_MAX_JOB_SIZE`](crate::DEFAULT_MAX_JOB_SIZE).
    pub async fn put(&mut self, body: &[u8], options: PutOptions) -> Result<JobId, PutError> {
        let result = self.call(&call::put(body, options)?).await?;
        result.map_err(|refusal| refusal.into_error(body.len()))
    }

    /// Makes later puts, peeks and kicks apply to this tube, which is created if necessary. The
    /// initial tube is `default`.
    pub async fn use_tube(&mut self, tube: &TubeName) -> Result<(), Error> {
        self.call(&call::use_tube(tube)).await
    }
}

/// Reserving jobs, and finishing them.
impl Connection {
    /// Watches this tube too; returns the number of watched tubes. A new connection watches
    /// `default`.
    pub async fn watch(&mut self, tube: &TubeName) -> Result<u64, Error> {
        self.call(&call::watch(tube)).await
    }

    /// Stops watching this tube.
    pub async fn ignore(&mut self, tube: &TubeName) -> Result<Ignored, Error> {
        self.call(&call::ignore(tube)).await
    }

    /// Reserves the most urgent ready job of the watched tubes, waiting for one as long as
    /// necessary. [`Reservation::TimedOut`] does not occur here. If the future is dropped, the wait
    /// continues: see [Dropped futures](Connection#dropped-futures).
    pub async fn reserve(&mut self) -> Result<Reservation, Error> {
        self.reserve_within(None).await
    }

    /// Like [`reserve`](Self::reserve), but waits for at most this many seconds: 0 to
    /// 2,147,483,647.
    pub async fn reserve_with_timeout(&mut self, seconds: Seconds) -> Result<Reservation, Error> {
        self.reserve_within(Some(seconds)).await
    }

    /// Reserves this job, whether it is ready, delayed or buried. `None`: there is no such job, or
    /// it is already reserved.
    pub async fn reserve_job(&mut self, id: JobId) -> Result<Option<Job>, Error> {
        self.call(&call::reserve_job(id)).await
    }

    /// Deletes a job that this connection has reserved, or that is not reserved.
    pub async fn delete(&mut self, id: JobId) -> Result<Outcome, Error> {
        self.call(&call::delete(id)).await
    }

    /// Gives a reserved job back.
    pub async fn release(&mut self, id: JobId, options: ReleaseOptions) -> Result<Released, Error> {
        self.call(&call::release(id, options)).await
    }

    /// Buries a reserved job: sets it aside, with this priority, until it is kicked.
    pub async fn bury(&mut self, id: JobId, priority: Priority) -> Result<Outcome, Error> {
        self.call(&call::bury(id, priority)).await
    }

    /// Restarts the time to run of a reserved job.
    pub async fn touch(&mut self, id: JobId) -> Result<Outcome, Error> {
        self.call(&call::touch(id)).await
    }
}

/// Inspecting and managing.
impl Connection {
    /// Shows a job.
    pub async fn peek(&mut self, id: JobId) -> Result<Option<Job>, Error> {
        self.call(&call::peek(Command::Peek(id))).await
    }

    /// Shows the next ready job of the used tube.
    pub async fn peek_ready(&mut self) -> Result<Option<Job>, Error> {
        self.call(&call::peek(Command::PeekReady)).await
    }

    /// Shows the delayed job of the used tube that becomes ready first.
    pub async fn peek_delayed(&mut self) -> Result<Option<Job>, Error> {
        self.call(&call::peek(Command::PeekDelayed)).await
    }

    /// Shows the job of the used tube that was buried first.
    pub async fn peek_buried(&mut self) -> Result<Option<Job>, Error> {
        self.call(&call::peek(Command::PeekBuried)).await
    }

    /// Makes up to `bound` buried jobs of the used tube ready or, if none is buried, delayed ones;
    /// returns how many.
    pub async fn kick(&mut self, bound: u32) -> Result<u64, Error> {
        self.call(&call::kick(bound)).await
    }

    /// Makes this buried or delayed job ready.
    pub async fn kick_job(&mut self, id: JobId) -> Result<Outcome, Error> {
        self.call(&call::kick_job(id)).await
    }

    /// Statistics of the server.
    pub async fn stats(&mut self) -> Result<Stats, Error> {
        self.call(&call::stats()).await
    }

    /// Statistics of a job; `None` if it does not exist.
    pub async fn stats_job(&mut self, id: JobId) -> Result<Option<Stats>, Error> {
        self.call(&call::stats_of(Command::StatsJob(id))).await
    }

    /// Statistics of a tube; `None` if it does not exist.
    pub async fn stats_tube(&mut self, tube: &TubeName) -> Result<Option<Stats>, Error> {
        self.call(&call::stats_of(Command::StatsTube(tube.clone()))).await
    }

    /// All tubes.
    pub async fn list_tubes(&mut self) -> Result<Vec<TubeName>, Error> {
        self.call(&call::list(Command::ListTubes)).await
    }

    /// The used tube.
    pub async fn list_tube_used(&mut self) -> Result<TubeName, Error> {
        self.call(&call::list_tube_used()).await
    }

    /// The watched tubes.
    pub async fn list_tubes_watched(&mut self) -> Result<Vec<TubeName>, Error> {
        self.call(&call::list(Command::ListTubesWatched)).await
    }

    /// Lets no job of the tube be reserved for this many seconds; 0 ends a pause.
    pub async fn pause_tube(
        &mut self,
        tube: &TubeName,
        seconds: Seconds,
    ) -> Result<Outcome, Error> {
        self.call(&call::pause_tube(tube, seconds)).await
    }
}
