//! How the engine reports the outcome of a request.

use beanstalk_protocol::{JobId, JobListing, JobStats, Reply, ServerStats, TubeStats};

use crate::arena::Ix;
use crate::body::Body;
use crate::conn::WatchList;
use crate::engine::ConnId;
use crate::job::Jobs;
use crate::places::TubeRef;
use crate::record::{Change, Record, SegmentRef};
use crate::tube::Tubes;

/// The answer to one request.
pub enum Answer<'a> {
    /// A plain reply. Of the variants with a body, only those that carry a job occur.
    Reply(Reply<&'a Body>),
    /// To `stats`; the caller adds what concerns the process.
    ServerStats(Box<ServerStats>),
    /// To `stats-job`.
    JobStats(JobStats<'a>),
    /// To `stats-tube`. Boxed, as every answer is as large as the largest.
    TubeStats(Box<TubeStats<&'a str>>),
    /// To the list commands.
    Tubes(TubeNames<'a>),
    /// To `batch-reserve`, if there was a job.
    Batch(JobBatch<'a>),
    /// To `list-jobs`.
    Jobs(JobListing),
}

/// Jobs that were reserved together. They are looked up lazily.
#[derive(Debug, Clone, Copy)]
pub struct JobBatch<'a>(Batch<'a>);

#[derive(Debug, Clone, Copy)]
enum Batch<'a> {
    Places(&'a Jobs, &'a [Ix]),
    Listed(&'a [(JobId, &'a Body)]),
}

impl<'a> JobBatch<'a> {
    pub(crate) fn new(jobs: &'a Jobs, places: &'a [Ix]) -> Self {
        Self(Batch::Places(jobs, places))
    }

    /// These jobs, in this order.
    pub fn listed(jobs: &'a [(JobId, &'a Body)]) -> Self {
        Self(Batch::Listed(jobs))
    }

    /// Calls `tell` with what a server answers, reply by reply.
    pub fn for_each(self, mut tell: impl FnMut(Reply<&'a Body>)) {
        match self.0 {
            Batch::Places(jobs, places) => {
                tell(Reply::Batch(places.len() as u64));
                for job in places.iter().map(|ix| &jobs[*ix]) {
                    tell(Reply::Reserved(job.id, &job.body));
                }
            }
            Batch::Listed(jobs) => {
                tell(Reply::Batch(jobs.len() as u64));
                jobs.iter().for_each(|(id, body)| tell(Reply::Reserved(*id, body)));
            }
        }
    }
}

/// The names of tubes, in the order of a list command. They are looked up lazily.
#[derive(Debug, Clone, Copy)]
pub struct TubeNames<'a>(Names<'a>);

#[derive(Debug, Clone, Copy)]
enum Names<'a> {
    All(&'a Tubes),
    Watched(&'a Tubes, &'a WatchList),
    Listed(&'a [&'a str]),
}

impl<'a> TubeNames<'a> {
    pub(crate) fn all(tubes: &'a Tubes) -> Self {
        Self(Names::All(tubes))
    }

    pub(crate) fn watched(tubes: &'a Tubes, watched: &'a WatchList) -> Self {
        Self(Names::Watched(tubes, watched))
    }

    /// These names, in this order.
    pub fn listed(names: &'a [&'a str]) -> Self {
        Self(Names::Listed(names))
    }

    /// Calls `tell` with each name.
    pub fn for_each(self, mut tell: impl FnMut(&'a str)) {
        match self.0 {
            Names::All(tubes) => tubes.names().for_each(tell),
            Names::Watched(tubes, watched) => {
                watched.keys().for_each(|tube| tell(tubes[*tube].name.as_str()));
            }
            Names::Listed(names) => names.iter().for_each(|name| tell(name)),
        }
    }
}

/// Receives the answers and the records of an engine. Each connection's answers come in the order
/// of its requests: one for each request except `quit` and the line of a `put` (its body is
/// answered). An answer may be for a connection other than the one whose request is being handled:
/// it ends that connection's wait.
pub trait Sink {
    /// The answer to a request of `conn`.
    fn answer(&mut self, conn: ConnId, answer: Answer<'_>);

    /// The next answer to `conn` depends on what has been recorded about this job.
    #[inline]
    fn concerns(&mut self, _conn: ConnId, _job: JobId) {}

    /// What the caller of the engine is told depends on what has been recorded about this job.
    fn concerns_caller(&mut self, _job: JobId) {}

    /// Whether a change can be recorded. If not, the change is not made, and the client gets an
    /// error.
    #[inline]
    fn admits(&self, _change: Change) -> bool {
        true
    }

    /// Whether the connection may delete a job of this tube that it has not reserved. If not, the job stays,
    /// the command is not counted, and the client gets an error.
    #[inline]
    fn allows_delete(&mut self, _tube: TubeRef<'_>) -> bool {
        true
    }

    /// Whether there is memory for another tube, or another place in a watch list. If not, the client gets
    /// an error.
    fn has_room(&self) -> bool {
        true
    }

    /// This is true now. For a [`Record::Put`] or [`Record::Again`], returns which segment has the
    /// record.
    #[inline]
    fn record(&mut self, _record: Record<'_>) -> SegmentRef {
        SegmentRef::default()
    }

    /// The record of this job in this segment is no longer needed. `bytes` is the length of its
    /// tube's name and its body together.
    #[inline]
    fn forget(&mut self, _segment: SegmentRef, _job: JobId, _bytes: usize) {}

    /// A job whose record is in this segment was moved: its tube's name and its body together were so
    /// many bytes before, and are so many after. So much will have to be recorded again, and
    /// [`Sink::forget`] will be called with that.
    #[inline]
    fn resize(&mut self, _segment: SegmentRef, _before: usize, _after: usize) {}

    /// This job is gone for good.
    #[inline]
    fn removed(&mut self, _job: JobId) {}

    /// Takes the body of a job that is gone. Freeing a large one takes time, and a caller that
    /// holds a lock may want to do that later.
    fn discard(&mut self, body: Body) {
        drop(body);
    }
}

/// For a sink whose type is known only while the program runs.
impl<S: Sink + ?Sized> Sink for &mut S {
    fn answer(&mut self, conn: ConnId, answer: Answer<'_>) {
        (**self).answer(conn, answer);
    }

    fn concerns(&mut self, conn: ConnId, job: JobId) {
        (**self).concerns(conn, job);
    }

    fn concerns_caller(&mut self, job: JobId) {
        (**self).concerns_caller(job);
    }

    fn admits(&self, change: Change) -> bool {
        (**self).admits(change)
    }

    fn allows_delete(&mut self, tube: TubeRef<'_>) -> bool {
        (**self).allows_delete(tube)
    }

    fn has_room(&self) -> bool {
        (**self).has_room()
    }

    fn record(&mut self, record: Record<'_>) -> SegmentRef {
        (**self).record(record)
    }

    fn forget(&mut self, segment: SegmentRef, job: JobId, bytes: usize) {
        (**self).forget(segment, job, bytes);
    }

    fn resize(&mut self, segment: SegmentRef, before: usize, after: usize) {
        (**self).resize(segment, before, after);
    }

    fn removed(&mut self, job: JobId) {
        (**self).removed(job);
    }

    fn discard(&mut self, body: Body) {
        (**self).discard(body);
    }
}
