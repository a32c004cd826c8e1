//! Looking at the queue from outside of a connection: one tube, one job, one connection, or all of
//! them, a page at a time. What is told owns what it tells, so it can be looked at when the queue is
//! no longer locked.
//!
//! **Pages.** A page costs what is on it and what it looks at, which its caller bounds; it costs the
//! same at the beginning and at the end of a million jobs. Between two pages the queue goes on. The
//! cursor is a place in the table of jobs (tubes, connections), where each of them stays as long as it
//! lives, so the promises are those of Redis' SCAN, and one more:
//!
//! - what is there, and matches, from before the first page until after the last is told of;
//! - nothing is told of twice;
//! - what comes, goes, or changes meanwhile may be told of or not;
//! - a page may have less on it than was asked for, or nothing: only without a next cursor was it the
//!   last.
//!
//! The order is that of the table: mostly that of creation, never promised.

use beanstalk_protocol::{JobId, JobState, Priority, Seconds, TubeName, TubeStats};

use crate::arena::Ix;
use crate::body::Body;
use crate::engine::{ConnId, Engine};
use crate::job::{Job, NONE, Place};
use crate::record::JobCounters;
use crate::time::Nanos;
use crate::tube::Tube;

/// Where there are at most so many jobs in a state, they are looked at one by one, rather than the
/// table of all jobs.
const FEW: usize = 4096;

/// Where a page begins: 0 for the first. See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor(pub u32);

/// How long a page may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize {
    /// Items on it, at most; 0 is taken as 1.
    pub items: usize,
    /// Places that are looked at, at most, whether they match or not; 0 is taken as 1. Ten thousand
    /// take some 50 microseconds, in which the queue does nothing else.
    pub looks: usize,
}

/// Some of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What matched.
    pub items: Vec<T>,
    /// Where to go on, unless this was the last page.
    pub next: Option<Cursor>,
}

/// A job, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobInfo {
    /// Its number.
    pub id: JobId,
    /// Where it is.
    pub tube: TubeName,
    /// Whether it is ready, reserved, delayed or buried.
    pub state: JobState,
    /// As last given by put, release or bury.
    pub priority: Priority,
    /// As last given by put or release; kicks leave it.
    pub delay: Seconds,
    /// How long it may be reserved.
    pub ttr: Seconds,
    /// When its put began.
    pub created: Nanos,
    /// When its delay, or the time to run of whoever has it, is over; of ready and buried jobs nothing
    /// is due.
    pub due: Option<Nanos>,
    /// Who has reserved it.
    pub holder: Option<ConnId>,
    /// How often things happened to it.
    pub counters: JobCounters,
    /// Bytes of its body.
    pub size: usize,
}

/// A connection, as far as the queue knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnInfo {
    /// Its number, which another one gets when it is gone.
    pub id: ConnId,
    /// The tube that it puts into.
    pub used: TubeName,
    /// The tubes that it reserves from, in the order of `list-tubes-watched`; the first
    /// [`ConnInfo::MAX_WATCHED`].
    pub watched: Vec<TubeName>,
    /// How many it watches.
    pub watching: usize,
    /// Jobs that it has reserved.
    pub reserved: usize,
    /// It waits for a job.
    pub waits: bool,
    /// It has put a job.
    pub is_producer: bool,
    /// It has asked for a job.
    pub is_worker: bool,
    /// When the first of its jobs times out.
    pub due: Option<Nanos>,
}

impl ConnInfo {
    /// Watched tubes that are named.
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
    /// What `stats-tube` tells of a tube; `None` if there is none of that name.
    pub fn tube_stats(&self, now: Nanos, name: &str) -> Option<TubeStats<TubeName>> {
        let ix = self.tubes.find(name)?;
        Some(self.stats_of_tube(now, ix, TubeName::clone))
    }

    /// The tubes, a page of them: see the module.
    pub fn tubes_page(
        &self,
        now: Nanos,
        from: Cursor,
        size: PageSize,
    ) -> Page<TubeStats<TubeName>> {
        let tubes = self.tubes.from(from.0);
        page(size, tubes, |ix, _: &Tube| Some(self.stats_of_tube(now, ix, TubeName::clone)))
    }

    /// A job, and its body; `None` if there is none of that number.
    pub fn job(&self, id: JobId) -> Option<(JobInfo, Body)> {
        let job = &self.jobs[self.jobs.find(id)?];
        Some((self.job_info(job), job.body.clone()))
    }

    /// The jobs of a tube in a state, or in any, a page of them: see the module. `None` if there is no
    /// tube of that name.
    pub fn jobs_page(
        &self,
        tube: &str,
        state: Option<JobState>,
        from: Cursor,
        size: PageSize,
    ) -> Option<Page<JobInfo>> {
        let tube = self.tubes.find(tube)?;
        if let Some(few) = state.and_then(|state| self.few_jobs(tube, state, from)) {
            let jobs = few.into_iter().map(|ix| (ix, Some(&self.jobs[ix])));
            return Some(page(size, jobs, |_, job| Some(self.job_info(job))));
        }
        Some(page(size, self.jobs.from(from.0), |_, job| {
            let matches = job.tube == tube && state.is_none_or(|state| job.state() == state);
            matches.then(|| self.job_info(job))
        }))
    }

    /// The connections, a page of them: see the module.
    pub fn connections_page(&self, from: Cursor, size: PageSize) -> Page<ConnInfo> {
        page(size, self.conns.from(from.0), |ix, _| self.connection(ConnId(ix)))
    }

    /// A connection; `None` if there is none of that number, or its client is gone.
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

    /// When the delay or the time to run of a job is over.
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

    /// The jobs of a tube in a state from a place in the table on, in its order, if they can be found
    /// without it and are few.
    fn few_jobs(&self, tube: Ix, state: JobState, from: Cursor) -> Option<Vec<Ix>> {
        let Tube { counts, ready, delayed, buried, .. } = &self.tubes[tube];
        let few = |count: u64| count <= FEW as u64;
        let mut found: Vec<Ix> = match state {
            JobState::Ready if few(counts.ready) => ready.all(&self.jobs).collect(),
            JobState::Delayed if few(counts.delayed) => delayed.jobs().collect(),
            JobState::Buried if few(counts.buried) => buried.all(&self.jobs).collect(),
            // They are with the connections that have them.
            JobState::Reserved if few(self.counts.reserved) && self.conns.len() <= FEW => {
                let conns = self.conns.from(0).filter_map(|(_, conn)| conn);
                let jobs = conns.flat_map(|conn| conn.reserved.jobs());
                jobs.filter(|job| self.jobs[*job].tube == tube).collect()
            }
            _ => return None,
        };
        found.retain(|ix| *ix >= from.0);
        found.sort_unstable();
        debug_assert!(!found.contains(&NONE), "every link leads to a job");
        Some(found)
    }
}

/// Fills a page from the places of a table, in its order; of those that nobody takes up, there is no
/// item.
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
