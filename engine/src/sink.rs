//! How the engine reports the outcome of a request.

use beanstalk_protocol::{JobId, JobStats, Reply, ServerStats, TubeStats};

use crate::body::Body;
use crate::conn::WatchList;
use crate::engine::ConnId;
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
    /// To `stats-tube`.
    TubeStats(TubeStats<&'a str>),
    /// To the list commands.
    Tubes(TubeNames<'a>),
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

    /// Whether a change can be recorded. If not, the change is not made, and the client gets an
    /// error.
    #[inline]
    fn admits(&self, _change: Change) -> bool {
        true
    }

    /// This is true now. For a [`Record::Put`] or [`Record::Again`], returns which segment has the
    /// record.
    #[inline]
    fn record(&mut self, _record: Record<'_>) -> SegmentRef {
        SegmentRef::default()
    }

    /// The record of a job in this segment is no longer needed. `bytes` is the length of its tube's
    /// name and its body together.
    #[inline]
    fn forget(&mut self, _segment: SegmentRef, _bytes: usize) {}

    /// A job whose record is in this segment was moved: its tube's name and its body together were so
    /// many bytes before, and are so many after. So much will have to be recorded again, and
    /// [`Sink::forget`] will be called with that.
    #[inline]
    fn resize(&mut self, _segment: SegmentRef, _before: usize, _after: usize) {}

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

    fn admits(&self, change: Change) -> bool {
        (**self).admits(change)
    }

    fn record(&mut self, record: Record<'_>) -> SegmentRef {
        (**self).record(record)
    }

    fn forget(&mut self, segment: SegmentRef, bytes: usize) {
        (**self).forget(segment, bytes);
    }

    fn resize(&mut self, segment: SegmentRef, before: usize, after: usize) {
        (**self).resize(segment, before, after);
    }

    fn discard(&mut self, body: Body) {
        (**self).discard(body);
    }
}
