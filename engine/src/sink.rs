//! How the engine says what came of a request.

use beanstalk_protocol::{JobStats, Reply, ServerStats, TubeStats};

use crate::body::Body;
use crate::engine::ConnId;

/// An answer to one request.
pub enum Answer<'a> {
    /// A plain reply; of its variants with a body only those that carry a job.
    Reply(Reply<&'a Body>),
    /// To `stats`; the caller adds what it knows of the process.
    ServerStats(Box<ServerStats>),
    /// To `stats-job`.
    JobStats(JobStats<'a>),
    /// To `stats-tube`.
    TubeStats(TubeStats<'a>),
    /// To the list commands: the names, in order.
    Tubes(Vec<&'a str>),
}

/// Takes the answers. They come in the order in which each connection asked, one for each request
/// but for `put` lines (whose body is answered) and `quit`; an answer may belong to a connection
/// other than the one being handled, whose wait it ends.
pub trait Sink {
    /// `conn` gets this answer.
    fn answer(&mut self, conn: ConnId, answer: Answer<'_>);

    /// The body of a job that is gone. To free a large one takes time, which a caller that holds a
    /// lock may want to spend later.
    fn discard(&mut self, body: Body) {
        drop(body);
    }
}
