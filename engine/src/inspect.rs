//! Inspecting the queue from outside a connection: one tube, one job, one connection, or all of
//! them, a page at a time. The results own their data, so they can be used after the queue is
//! unlocked.
//!
//! **Pages.** The cost of a page depends on its items and on the places looked at, both of which
//! the caller bounds. It is the same at the beginning and at the end of a million jobs. The queue
//! may change between two pages. The cursor is a place in the table of jobs (tubes, connections),
//! and each of them keeps its place for life. So the guarantees are those of Redis' SCAN, and one
//! more (the second):
//!
//! - what exists and matches from before the first page until after the last is returned;
//! - nothing is returned twice;
//! - what is created, removed or changed in between may be returned or not;
//! - a page may have fewer items than requested, or none: it is the last one only if it has no next
//!   cursor.
//!
//! The order is that of the table: mostly the order of creation, but that is not guaranteed.

use beanstalk_protocol::{JobId, JobState, Priority, Seconds, TubeName, TubeStats};

use crate::arena::Ix;
use crate::body::Body;
use crate::engine::{ConnId, Engine};
use crate::job::{Job, NONE, Place};
use crate::record::{JobCounters, SegmentRef};
use crate::time::Nanos;
use crate::tube::Tube;

/// If a state has at most this many jobs, these are looked at one by one, rather than the table of
/// all jobs.
const FEW: usize = 4096;

/// Where a page begins: 0 for the first page. Later ones begin at [`Page::next`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor(pub u32);

/// The limits of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize {
    /// Maximum number of items; 0 counts as 1.
    pub items: usize,
    /// Maximum number of places to look at, whether they match or not; 0 counts as 1. Ten thousand
    /// take about 50 microseconds, in which the queue does nothing else.
    pub looks: usize,
}

/// A part of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items that matched.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<Cursor>,
}

/// A job, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobInfo {
    /// Its id.
    pub id: JobId,
    /// Its tube.
    pub tube: TubeName,
    /// Whether it is ready, reserved, delayed or buried.
    pub state: JobState,
    /// As last given by put, release or bury.
    pub priority: Priority,
    /// As last given by put or release; a kick does not change it.
    pub delay: Seconds,
    /// Its time to run: how long it may be reserved.
    pub ttr: Seconds,
    /// When the server received the line of its put.
    pub created: Nanos,
    /// When its delay ends, or its time to run if it is reserved. `None` for ready and buried jobs.
    pub due: Option<Nanos>,
    /// The connection that has reserved it.
    pub holder: Option<ConnId>,
    /// Its counters.
    pub counters: JobCounters,
    /// Size of its body, in bytes.
    pub size: usize,
}

/// What the queue knows about a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnInfo {
    /// Its id, which may be reused when it is gone.
    pub id: ConnId,
    /// The tube that it uses.
    pub used: TubeName,
    /// The tubes that it watches, in the order of `list-tubes-watched`; at most the first
    /// [`ConnInfo::MAX_WATCHED`].
    pub watched: Vec<TubeName>,
    /// Number of tubes that it watches.
    pub watching: usize,
    /// Number of jobs that it has reserved.
    pub reserved: usize,
    /// Whether it is waiting for a job.
    pub waits: bool,
    /// Whether it has put a job.
    pub is_producer: bool,
    /// Whether it has asked for a job.
    pub is_worker: bool,
    /// When the first of its reserved jobs times out.
    pub due: Option<Nanos>,
}

impl ConnInfo {
    /// Maximum length of [`ConnInfo::watched`].
    pub const MAX_WATCHED: usize = 64;
}

impl PageSize {
    fn items(self) -> usize {
        self.items.max(1)
    }

    fn looks(self) -> usize {
        self.looks.max(1)
    }
}

impl Engine {
    /// The data of `stats-tube`; `None` if there is no tube of that name.
    pub fn tube_stats(&self, now: Nanos, name: &str) -> Option<TubeStats<TubeName>> {
        let ix = self.tubes.find(name)?;
        Some(self.stats_of_tube(now, ix, TubeName::clone))
    }

    /// One page of all tubes. From the first page to the last, a tube that exists throughout is
    /// returned exactly once. One that is created or removed in between is returned once or not at
    /// all.
    pub fn tubes_page(
        &self,
        now: Nanos,
        from: Cursor,
        size: PageSize,
    ) -> Page<TubeStats<TubeName>> {
        let tubes = self.tubes.from(from.0);
        page(size, tubes, |ix, _: &Tube| Some(self.stats_of_tube(now, ix, TubeName::clone)))
    }

    /// One page of the jobs whose record is in this segment. From the first page to the last, each job whose
    /// record stays there is in one of them.
    pub fn jobs_in(&self, segment: SegmentRef, from: Cursor, size: PageSize) -> Page<JobId> {
        let is_there = |job: &Job| job.segment == segment;
        page(size, self.jobs_from(from), |_, job| is_there(job).then_some(job.id))
    }

    /// A job and its body; `None` if there is no job with that id.
    pub fn job(&self, id: JobId) -> Option<(JobInfo, Body)> {
        let job = &self.jobs[self.find_job(id)?];
        Some((self.job_info(job), job.body.clone()))
    }

    /// One page of the jobs of a tube, in one state or in any. From the first page to the last, a
    /// job that exists and matches throughout is returned exactly once; other jobs once or not at
    /// all. A page may have fewer items than requested, or none, and still have a next page. `None`
    /// if there is no tube of that name.
    pub fn jobs_page(
        &self,
        tube: &str,
        state: Option<JobState>,
        from: Cursor,
        size: PageSize,
    ) -> Option<Page<JobInfo>> {
        let tube = self.tubes.find(tube)?;
        Some(self.page_of_jobs(tube, state, from, size, |job| self.job_info(job)))
    }

    /// The same, with what `tell` says of each job.
    pub(crate) fn page_of_jobs<I>(
        &self,
        tube: Ix,
        state: Option<JobState>,
        from: Cursor,
        size: PageSize,
        tell: impl Fn(&Job) -> I,
    ) -> Page<I> {
        if let Some(few) = self.few_jobs(tube, state, from) {
            let jobs = few.into_iter().map(|ix| (ix, Some(&self.jobs[ix])));
            return page(size, jobs, |_, job| Some(tell(job)));
        }
        page(size, self.jobs_from(from), |_, job| {
            let matches = job.tube == tube && state.is_none_or(|state| job.state() == state);
            matches.then(|| tell(job))
        })
    }

    /// One page of all connections, with the guarantees of [`Engine::tubes_page`].
    pub fn connections_page(&self, from: Cursor, size: PageSize) -> Page<ConnInfo> {
        page(size, self.conns.from(from.0), |ix, _| self.connection(ConnId(ix)))
    }

    /// A connection; `None` if there is none with that id, or if its client is gone.
    pub fn connection(&self, id: ConnId) -> Option<ConnInfo> {
        let conn = self.conns.get(id.0).filter(|conn| conn.leaving.is_none())?;
        let name = |tube: Ix| self.tubes[tube].name.clone();
        let watched = conn.watched.keys().take(ConnInfo::MAX_WATCHED);
        Some(ConnInfo {
            id,
            used: name(conn.used),
            watched: watched.map(|tube| name(*tube)).collect(),
            watching: conn.watched.len(),
            reserved: conn.reserved.len(),
            waits: conn.waiting.is_some(),
            is_producer: conn.is_producer,
            is_worker: conn.is_worker,
            due: conn.reserved.first().map(|((at, _), _)| at),
        })
    }

    /// When the delay or the time to run of a job ends.
    pub(crate) fn due(&self, job: &Job) -> Option<Nanos> {
        match job.place() {
            Place::Delayed { position } => Some(self.tubes[job.tube].delayed.key_at(position).0),
            Place::Reserved { conn, position } => {
                Some(self.conns[conn].reserved.key_at(position).0)
            }
            Place::Nowhere | Place::Lined { .. } | Place::Ready { .. } | Place::Buried { .. } => {
                None
            }
        }
    }

    fn job_info(&self, job: &Job) -> JobInfo {
        JobInfo {
            id: job.id,
            tube: self.tubes[job.tube].name.clone(),
            state: job.state(),
            priority: job.priority,
            delay: job.delay,
            ttr: job.ttr,
            created: job.created,
            due: self.due(job),
            holder: match job.place() {
                Place::Reserved { conn, .. } => Some(ConnId(conn)),
                _ => None,
            },
            counters: self.jobs.counters_of(job),
            size: job.body.as_ref().len(),
        }
    }

    pub(crate) fn find_tube(&self, name: &str) -> Option<Ix> {
        self.tubes.find(name)
    }

    /// The job at a place.
    pub(crate) fn job_at(&self, ix: Ix) -> Option<&Job> {
        Some(&self.jobs[ix])
    }

    /// The places from a cursor on, with their jobs.
    pub(crate) fn jobs_from(&self, from: Cursor) -> impl Iterator<Item = (Ix, Option<&Job>)> {
        self.jobs.from(from.0).map(|(ix, job)| (ix, job.filter(|job| !self.is_dead(job))))
    }

    /// The jobs of a tube in a state, or in any, from a place in the table on and in its order, if
    /// they are few and can be found without scanning the table.
    pub(crate) fn few_jobs(
        &self,
        tube: Ix,
        state: Option<JobState>,
        from: Cursor,
    ) -> Option<Vec<Ix>> {
        let Tube { counts, ready, delayed, buried, .. } = &self.tubes[tube];
        let wants = |wanted: JobState| state.is_none_or(|state| state == wanted);
        let mut found = Vec::new();
        if wants(JobState::Reserved) && counts.reserved > 0 {
            // The connections have them.
            if self.counts.reserved > FEW as u64 || self.conns.len() > FEW {
                return None;
            }
            let conns = self.conns.from(0).filter_map(|(_, conn)| conn);
            let jobs = conns.flat_map(|conn| conn.reserved.jobs());
            found.extend(jobs.filter(|job| self.jobs[*job].tube == tube));
        }
        let others = [
            (JobState::Ready, counts.ready),
            (JobState::Delayed, counts.delayed),
            (JobState::Buried, counts.buried),
        ];
        let others = others.into_iter().filter(|(state, _)| wants(*state));
        if others.map(|(_, count)| count).sum::<u64>() > FEW as u64 {
            return None;
        }
        if wants(JobState::Ready) {
            found.extend(ready.all(&self.jobs));
        }
        if wants(JobState::Delayed) {
            found.extend(delayed.jobs());
        }
        if wants(JobState::Buried) {
            found.extend(buried.all(&self.jobs));
        }
        found.retain(|ix| *ix >= from.0);
        found.sort_unstable();
        debug_assert!(!found.contains(&NONE), "every link leads to a job");
        Some(found)
    }
}

/// Fills a page from the places of a table, in their order. Free places, and those for which `tell`
/// returns `None`, give no item.
fn page<'a, T: 'a, I>(
    size: PageSize,
    mut places: impl Iterator<Item = (Ix, Option<&'a T>)>,
    tell: impl Fn(Ix, &'a T) -> Option<I>,
) -> Page<I> {
    let mut items = Vec::new();
    for (ix, place) in places.by_ref().take(size.looks()) {
        items.extend(place.and_then(|found| tell(ix, found)));
        if items.len() == size.items() {
            break;
        }
    }
    Page { items, next: places.next().map(|(ix, _)| Cursor(ix)) }
}

#[cfg(test)]
mod tests;
