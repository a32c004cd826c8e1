//! How the engine says what came of a request.

use beanstalk_protocol::{JobId, JobStats, Reply, ServerStats, TubeStats};

use crate::body::Body;
use crate::conn::WatchList;
use crate::engine::ConnId;
use crate::record::{Change, Record, SegmentRef};
use crate::tube::Tubes;

/// An answer to one request.
pub enum Answer<'a> {
    /// A plain reply; of its variants with a body only those that carry a job.
    Reply(Reply<&'a Body>),
    /// To `stats`; the caller adds what it knows of the process.
    ServerStats(Box<ServerStats>),
    /// To `stats-job`.
    JobStats(JobStats<'a>),
    /// To `stats-tube`.
    TubeStats(TubeStats<&'a str>),
    /// To the list commands.
    Tubes(TubeNames<'a>),
}

/// The names of tubes, in the order of a list command. They are looked up only when somebody asks.
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

    /// These.
    pub fn listed(names: &'a [&'a str]) -> Self {
        Self(Names::Listed(names))
    }

    /// Tells each of them.
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

/// Takes the answers. They come in the order in which each connection asked, one for each request
/// but for `put` lines (whose body is answered) and `quit`; an answer may belong to a connection
/// other than the one being handled, whose wait it ends.
pub trait Sink {
    /// `conn` gets this answer.
    fn answer(&mut self, conn: ConnId, answer: Answer<'_>);

    /// What `conn` is told next depends on what is recorded of this job.
    #[inline]
    fn concerns(&mut self, _conn: ConnId, _job: JobId) {}

    /// Whether a change can be recorded. If not, it does not happen, and who asked for it is told.
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

    /// The record of a job in this segment is needed no more. The names of its tube and its body
    /// are so many bytes together.
    #[inline]
    fn forget(&mut self, _segment: SegmentRef, _bytes: usize) {}

    /// The body of a job that is gone. To free a large one takes time, which a caller that holds a
    /// lock may want to spend later.
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

    fn discard(&mut self, body: Body) {
        (**self).discard(body);
    }
}
