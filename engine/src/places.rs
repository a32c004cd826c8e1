//! Which tubes a request is about: for a caller that decides whether a connection may make it.
//!
//! Nothing here changes the queue but [`Engine::refuse_wait`] and [`Engine::refuse_body`], which end what was
//! begun while it was allowed.

use beanstalk_protocol::{JobId, Reply};

use crate::engine::{ConnId, Engine};
use crate::inspect::Cursor;
use crate::job::Place;
use crate::refusals::Cause;
use crate::sink::{Answer, Sink, TubeNames};
use crate::tube::Tube;

/// A tube, by its name and a number that no other tube gets, not even one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TubeRef<'a> {
    /// Counted from 0.
    pub number: u64,
    /// Its name.
    pub name: &'a str,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobPlace<'a> {
    /// Its tube.
    pub tube: TubeRef<'a>,
    /// Whether the connection that was asked for has reserved it.
    pub is_own: bool,
}

/// Sums over some tubes: the fields are those of `stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the keys of the text.
pub struct TubeSums {
    pub tubes: u64,
    pub urgent: u64,
    pub ready: u64,
    pub reserved: u64,
    pub delayed: u64,
    pub buried: u64,
    pub total_jobs: u64,
    pub body_bytes: u64,
}

impl Tube {
    #[inline]
    pub(crate) fn reference(&self) -> TubeRef<'_> {
        TubeRef { number: self.number, name: self.name.as_str() }
    }
}

impl Engine {
    /// The tube that the connection uses.
    #[inline]
    pub fn used_tube(&self, conn: ConnId) -> TubeRef<'_> {
        self.tubes[self.conns[conn.0].used].reference()
    }

    /// The tubes that the connection watches, from one of them on, in the order of `list-tubes-watched`.
    pub fn watched_tubes(&self, conn: ConnId, from: usize) -> impl Iterator<Item = TubeRef<'_>> {
        let watched = &self.conns[conn.0].watched;
        let some = watched.get_range(from..).into_iter().flat_map(|slice| slice.keys());
        some.map(|tube| self.tubes[*tube].reference())
    }

    /// How many tubes the connection watches.
    pub fn watching(&self, conn: ConnId) -> usize {
        self.conns[conn.0].watched.len()
    }

    /// Whether the connection has reserved a job.
    pub fn has_reserved(&self, conn: ConnId) -> bool {
        self.conns[conn.0].reserved.len() > 0
    }

    /// The names of all tubes, for the answer to `list-tubes`, which is counted as one.
    pub fn list_tubes(&mut self) -> TubeNames<'_> {
        self.commands.list_tubes += 1;
        TubeNames::all(&self.tubes)
    }

    /// The tube of this name, if the connection watches it.
    pub fn watched_tube(&self, conn: ConnId, name: &str) -> Option<TubeRef<'_>> {
        let tube = self.tubes.find(name)?;
        let watches = self.conns[conn.0].watched.contains_key(&tube);
        watches.then(|| self.tubes[tube].reference())
    }

    /// Where this job is; `None` if there is none.
    #[inline]
    pub fn job_place(&self, conn: ConnId, id: JobId) -> Option<JobPlace<'_>> {
        let job = &self.jobs[self.find_job(id)?];
        let is_own = matches!(job.place(), Place::Reserved { conn: owner, .. } if owner == conn.0);
        Some(JobPlace { tube: self.tubes[job.tube].reference(), is_own })
    }

    /// Adds up the tubes that `shows` picks by their names, of at most `looks` places from a cursor on.
    /// Returns where to go on; `None` after the last.
    pub fn add_up_tubes(
        &self,
        from: Cursor,
        looks: usize,
        shows: impl Fn(&str) -> bool,
        sums: &mut TubeSums,
    ) -> Option<Cursor> {
        let mut places = self.tubes.from(from.0);
        for (_, tube) in places.by_ref().take(looks.max(1)) {
            let Some(tube) = tube.filter(|tube| shows(tube.name.as_str())) else { continue };
            sums.tubes += 1;
            sums.urgent += tube.counts.urgent;
            sums.ready += tube.counts.ready;
            sums.reserved += tube.counts.reserved;
            sums.delayed += tube.counts.delayed;
            sums.buried += tube.counts.buried;
            sums.total_jobs += tube.total_jobs;
            sums.body_bytes += tube.bytes;
        }
        places.next().map(|(ix, _)| Cursor(ix))
    }

    /// The connection may not reserve any more: a reserve that waits, or looks for a job, ends with
    /// `INTERNAL_ERROR`. Returns whether there was one.
    pub fn refuse_wait(&mut self, conn: ConnId, sink: &mut impl Sink) -> bool {
        let seeks = self.conns[conn.0].seeking.take().is_some();
        if seeks {
            self.conns[conn.0].next_step = crate::time::Nanos::NEVER;
        }
        let waits = self.conns[conn.0].waiting.is_some();
        if waits {
            self.end_wait(conn.0);
        }
        if seeks || waits {
            self.schedule_conn(conn.0);
            sink.answer(conn, Answer::Reply(Reply::InternalError));
        }
        seeks || waits
    }

    /// The body of a put has arrived, and is refused for this cause: `OUT_OF_MEMORY`.
    pub fn refuse_body(
        &mut self,
        conn: ConnId,
        cause: Cause,
        body: Box<[u8]>,
        sink: &mut impl Sink,
    ) {
        self.refuse_put(conn, cause, body, sink);
    }
}
