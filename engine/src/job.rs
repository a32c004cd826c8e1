//! Jobs, and the table that finds them by id.

use beanstalk_protocol::{JobId, JobState, Priority, Seconds};

use crate::arena::{Arena, Ix};
use crate::body::Body;
use crate::heap::Positions;
use crate::index::Index;
use crate::record::{JobCounters, SegmentRef};
use crate::time::Nanos;

/// Stands for "no job" in links.
pub(crate) const NONE: Ix = Ix::MAX;

/// A job: one cache line, and the allocation of its body.
///
/// The line is full. The place is packed into three fields so that the segment fits beside it (see
/// [`Job::place`]). Only five bits are left, in the byte of [`State`]. Nothing can be added that
/// every job would pay for. What only some jobs have is stored elsewhere, and lazily, as the
/// counters are: [`Job::counters`] is either the complete value in 31 bits, or the place of an
/// entry in [`Jobs::counters`]. The entry is created when something happens that does not fit, and
/// removed with the job. A field added to [`Kept`] costs its size for each job with an entry, and
/// nothing for the others. Something rarer or larger deserves an arena of its own, with its place
/// in [`Kept`]. What is the same for all jobs of a tube belongs in the tube.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) body: Body,
    pub(crate) created: Nanos,
    pub(crate) tube: Ix,
    pub(crate) priority: Priority,
    /// As last given by put or release; a kick does not change it.
    pub(crate) delay: Seconds,
    pub(crate) ttr: Seconds,
    /// See [`Counters`].
    counters: Counters,
    state: State,
    /// The segment that holds its record, as returned by [`Sink::record`](crate::Sink::record).
    pub(crate) segment: SegmentRef,
    /// For a job in a heap, its position; for a job in a list, the previous job.
    link: u32,
    /// For a reserved job, its connection; for a job in a list, the next job.
    other: Ix,
}

const _: () = assert!(size_of::<Option<Job>>() == 64);

/// The kind of [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Nowhere,
    Lined,
    Ready,
    Delayed,
    Reserved,
    Buried,
}

/// The one place where a job is, with what is needed to remove it from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Between two places; only within an operation.
    Nowhere,
    /// In a line of its tube's ready jobs: see [`crate::ready`].
    Lined { previous: Ix, next: Ix },
    /// In the heap of its tube's other ready jobs.
    Ready { position: u32 },
    /// In its tube's delayed heap.
    Delayed { position: u32 },
    /// In the connection's heap of reserved jobs.
    Reserved { conn: Ix, position: u32 },
    /// In its tube's list of buried jobs.
    Buried { previous: Ix, next: Ix },
}

impl Place {
    /// Whether the job is ready.
    pub(crate) fn is_ready(self) -> bool {
        matches!(self, Self::Lined { .. } | Self::Ready { .. })
    }
}

/// The key of ready jobs: priority, then id. The id is stored in two halves so that a heap entry
/// takes 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReadyKey {
    priority: Priority,
    id: [u32; 2],
}

/// The key of delayed and reserved jobs. Of several with the same deadline, the one that was
/// delayed or reserved first comes first.
pub(crate) type DeadlineKey = (Nanos, Turn);

/// Numbers each time a job is delayed or reserved. Counts up over the life of the engine.
pub(crate) type Turn = u64;

impl Job {
    pub(crate) fn new(id: JobId, tube: Ix, body: Body, created: Nanos) -> Self {
        Self {
            id,
            body,
            created,
            tube,
            priority: 0,
            delay: 0,
            ttr: 1,
            counters: Counters::reserves(0),
            state: State::Nowhere,
            segment: SegmentRef::default(),
            link: 0,
            other: 0,
        }
    }

    /// Where the job is.
    #[inline]
    pub(crate) fn place(&self) -> Place {
        let (link, other) = (self.link, self.other);
        match self.state {
            State::Nowhere => Place::Nowhere,
            State::Lined => Place::Lined { previous: link, next: other },
            State::Ready => Place::Ready { position: link },
            State::Delayed => Place::Delayed { position: link },
            State::Reserved => Place::Reserved { conn: other, position: link },
            State::Buried => Place::Buried { previous: link, next: other },
        }
    }

    /// Sets where the job is.
    #[inline]
    pub(crate) fn set_place(&mut self, place: Place) {
        (self.state, self.link, self.other) = match place {
            Place::Nowhere => (State::Nowhere, 0, 0),
            Place::Lined { previous, next } => (State::Lined, previous, next),
            Place::Ready { position } => (State::Ready, position, 0),
            Place::Delayed { position } => (State::Delayed, position, 0),
            Place::Reserved { conn, position } => (State::Reserved, position, conn),
            Place::Buried { previous, next } => (State::Buried, previous, next),
        };
    }

    /// The next job in the list, or [`NONE`].
    pub(crate) fn next(&self) -> Ix {
        debug_assert!(
            matches!(self.state, State::Lined | State::Buried),
            "the neighbours of a job in a list are in it, too"
        );
        self.other
    }

    /// The previous and the next job of a job in a list.
    pub(crate) fn links(&mut self) -> (&mut Ix, &mut Ix) {
        debug_assert!(
            matches!(self.state, State::Lined | State::Buried),
            "the neighbours of a job in a list are in it, too"
        );
        (&mut self.link, &mut self.other)
    }

    pub(crate) fn ready_key(&self) -> ReadyKey {
        ReadyKey { priority: self.priority, id: [(self.id >> 32) as u32, self.id as u32] }
    }

    /// When the job is ready for the first time; `None` if something has happened to it since.
    #[inline]
    pub(crate) fn ready_at(&self) -> Option<Nanos> {
        (self.counters == Counters::reserves(0)).then(|| self.created.after(self.delay))
    }

    /// Counts a reserve, if there is room for it in the job itself. Returns whether there was.
    #[inline]
    pub(crate) fn count_reserve(&mut self) -> bool {
        match self.counters.get() {
            Ok(times) if times + 1 < Counters::ONLY_RESERVES => {
                self.counters = Counters::reserves(times + 1);
                true
            }
            _ => false,
        }
    }

    /// The state that statistics show.
    pub(crate) fn state(&self) -> JobState {
        match self.state {
            // `Nowhere` is never seen from outside: an operation ends with every job in a place.
            State::Nowhere | State::Lined | State::Ready => JobState::Ready,
            State::Delayed => JobState::Delayed,
            State::Reserved => JobState::Reserved,
            State::Buried => JobState::Buried,
        }
    }
}

/// The counters of a job, or where they are. Most jobs are reserved once and deleted. As long as a
/// job was only reserved, this is the number of reserves, with the top bit set. Otherwise it is the
/// place of an entry in [`Jobs::counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counters(u32);

impl Counters {
    const ONLY_RESERVES: u32 = 1 << 31;

    /// The job was reserved this many times, and nothing else happened to it.
    fn reserves(times: u32) -> Self {
        debug_assert!(times < Self::ONLY_RESERVES, "more need an entry");
        Self(Self::ONLY_RESERVES | times)
    }

    /// `Ok`: how often the job was reserved. `Err`: the place of its entry.
    fn get(self) -> Result<u32, Ix> {
        let number = self.0 & !Self::ONLY_RESERVES;
        if self.0 == number { Err(number) } else { Ok(number) }
    }
}

/// What is stored outside a job, once more than reserves has happened to it.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    counters: JobCounters,
    /// Higher for each job that is buried later. In two halves, to avoid padding.
    bury_turn: [u32; 2],
}

const _: () = assert!(size_of::<Option<Kept>>() == 36);

impl Kept {
    fn reserves(reserves: u32) -> Self {
        Self { counters: JobCounters { reserves, ..JobCounters::default() }, ..Self::default() }
    }
}

/// All jobs.
#[derive(Debug)]
pub(crate) struct Jobs {
    arena: Arena<Job>,
    /// Beside them, while somebody observes: when the job became ready, unless it is 0.
    counters: Arena<Kept, Nanos>,
    index: Index,
    /// See [`Jobs::held_bytes`].
    held_bytes: u64,
}

impl Jobs {
    pub(crate) fn new() -> Self {
        Self { arena: Arena::new(), counters: Arena::new(), index: Index::new(), held_bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.arena.len()
    }

    /// Bytes in the bodies of all jobs.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.held_bytes - (self.len() * size_of::<Job>()) as u64
    }

    /// Bytes in the bodies of all jobs, and in the jobs themselves.
    #[inline]
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// What [`Jobs::held_bytes`] would be with one more job, whose body has so many bytes.
    #[inline]
    pub(crate) fn held_with(&self, body_bytes: usize) -> u64 {
        self.held_bytes + (size_of::<Job>() + body_bytes) as u64
    }

    /// Takes a job in, whose body has so many bytes: the caller has them at hand.
    pub(crate) fn insert(&mut self, job: Job, body_bytes: usize) -> Ix {
        debug_assert_eq!(job.body.as_ref().len(), body_bytes, "it is counted as it will be");
        let id = job.id;
        self.held_bytes += (size_of::<Job>() + body_bytes) as u64;
        let ix = self.arena.insert(job);
        self.index.insert(id, ix, |ix| self.arena[ix].id);
        ix
    }

    /// Replaces the body of a job.
    pub(crate) fn set_body(&mut self, ix: Ix, body: Body) {
        let job = &mut self.arena[ix];
        let before = std::mem::replace(&mut job.body, body);
        self.held_bytes += job.body.as_ref().len() as u64;
        self.held_bytes -= before.as_ref().len() as u64;
    }

    #[inline]
    pub(crate) fn find(&self, id: JobId) -> Option<Ix> {
        self.index.find(id, |ix| self.arena[ix].id)
    }

    pub(crate) fn remove(&mut self, ix: Ix) -> Option<Job> {
        let id = self.arena.get(ix)?.id;
        self.index.remove(id, ix, |ix| self.arena[ix].id);
        let job = self.arena.remove(ix)?;
        self.held_bytes -= (size_of::<Job>() + job.body.as_ref().len()) as u64;
        if let Err(entry) = job.counters.get() {
            self.counters.remove(entry);
        }
        Some(job)
    }

    /// From now on, it is kept when a job becomes ready again.
    pub(crate) fn keep_moments(&mut self) {
        self.counters.place_beside();
    }

    /// Keeps that the job becomes ready now, or at the end of its delay, and not for the first time.
    pub(crate) fn ready_again(&mut self, ix: Ix, since: Nanos) {
        self.kept_mut(ix);
        if let Err(entry) = self.arena[ix].counters.get()
            && let Some(moment) = self.counters.beside_mut(entry)
        {
            *moment = since;
        }
    }

    /// When a ready job became ready, if that is known.
    pub(crate) fn ready_since(&self, ix: Ix) -> Option<Nanos> {
        self.arena[ix].ready_at().or_else(|| self.ready_again_since(ix))
    }

    /// The same for a job that something has happened to.
    #[cold]
    pub(crate) fn ready_again_since(&self, ix: Ix) -> Option<Nanos> {
        let entry = self.arena[ix].counters.get().err()?;
        self.counters.beside(entry).copied().filter(|since| *since > Nanos(0))
    }

    pub(crate) fn counters(&self, ix: Ix) -> JobCounters {
        self.kept(ix).counters
    }

    pub(crate) fn counters_of(&self, job: &Job) -> JobCounters {
        self.kept_of(job).counters
    }

    /// The places from `ix` on, in order, with their jobs.
    pub(crate) fn from(&self, ix: Ix) -> impl Iterator<Item = (Ix, Option<&Job>)> {
        self.arena.from(ix)
    }

    /// Counts a reserve of the job.
    pub(crate) fn count_reserve(&mut self, ix: Ix) {
        if !self.arena[ix].count_reserve() {
            self.count_reserve_beside(ix);
        }
    }

    /// Counts a reserve of a job that has no room for it: see [`Job::count_reserve`].
    #[cold]
    #[inline(never)]
    pub(crate) fn count_reserve_beside(&mut self, ix: Ix) {
        self.count(ix, |counters| counters.reserves += 1);
    }

    /// Changes the counters of a job.
    pub(crate) fn count(&mut self, ix: Ix, change: impl FnOnce(&mut JobCounters)) {
        change(&mut self.kept_mut(ix).counters);
    }

    /// Sets the counters of a job.
    pub(crate) fn set_counters(&mut self, ix: Ix, counters: JobCounters) {
        if counters == self.counters(ix) {
            return;
        }
        let job = &mut self.arena[ix];
        let only_reserves = JobCounters { reserves: counters.reserves, ..JobCounters::default() };
        if job.counters.get().is_ok()
            && counters == only_reserves
            && counters.reserves < Counters::ONLY_RESERVES
        {
            job.counters = Counters::reserves(counters.reserves);
        } else {
            self.kept_mut(ix).counters = counters;
        }
    }

    /// The position of a buried job in the order of all burials.
    pub(crate) fn bury_turn(&self, ix: Ix) -> u64 {
        let [high, low] = self.kept(ix).bury_turn;
        (u64::from(high) << 32) | u64::from(low)
    }

    pub(crate) fn set_bury_turn(&mut self, ix: Ix, turn: u64) {
        self.kept_mut(ix).bury_turn = [(turn >> 32) as u32, turn as u32];
    }

    /// All jobs, in no particular order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Ix> {
        self.index.all()
    }

    fn kept(&self, ix: Ix) -> Kept {
        self.kept_of(&self.arena[ix])
    }

    fn kept_of(&self, job: &Job) -> Kept {
        match job.counters.get() {
            Ok(times) => Kept::reserves(times),
            Err(entry) => self.counters[entry],
        }
    }

    fn kept_mut(&mut self, ix: Ix) -> &mut Kept {
        let job = &mut self.arena[ix];
        let entry = match job.counters.get() {
            Ok(times) => {
                let entry = self.counters.insert(Kept::reserves(times));
                if let Some(moment) = self.counters.beside_mut(entry) {
                    *moment = Nanos(0);
                }
                entry
            }
            Err(entry) => entry,
        };
        job.counters = Counters(entry);
        &mut self.counters[entry]
    }
}

impl Positions for Jobs {
    #[inline]
    fn set_position(&mut self, job: Ix, position: u32) {
        let job = &mut self.arena[job];
        debug_assert!(
            matches!(job.state, State::Ready | State::Delayed | State::Reserved),
            "only jobs in a heap have a position"
        );
        job.link = position;
    }
}

impl std::ops::Index<Ix> for Jobs {
    type Output = Job;

    #[inline]
    fn index(&self, ix: Ix) -> &Job {
        &self.arena[ix]
    }
}

impl std::ops::IndexMut<Ix> for Jobs {
    #[inline]
    fn index_mut(&mut self, ix: Ix) -> &mut Job {
        &mut self.arena[ix]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough for the index to have pages, and to drop them again.
    const MANY: JobId = 50_000;

    #[test]
    fn counters_that_are_only_reserves_need_no_room() {
        let mut jobs = Jobs::new();
        let job = jobs.insert(Job::new(1, 0, Body::from(Box::<[u8]>::default()), Nanos(0)), 0);
        for _ in 0..3 {
            jobs.count_reserve(job);
        }
        let reserves = |reserves| JobCounters { reserves, ..JobCounters::default() };
        assert_eq!(jobs.counters(job), reserves(3));
        assert_eq!(jobs.counters.len(), 0);
        jobs.count(job, |counters| counters.kicks += 1);
        jobs.count_reserve(job);
        assert_eq!(jobs.counters(job), JobCounters { kicks: 1, ..reserves(4) });
        assert_eq!(jobs.counters.len(), 1);
        jobs.set_counters(job, reserves(Counters::ONLY_RESERVES - 1));
        jobs.count_reserve(job);
        assert_eq!(jobs.counters(job), reserves(Counters::ONLY_RESERVES));
        jobs.remove(job);
        assert_eq!(jobs.counters.len(), 0);
        let next = jobs.insert(Job::new(2, 0, Body::from(Box::<[u8]>::default()), Nanos(0)), 0);
        jobs.set_counters(next, reserves(Counters::ONLY_RESERVES - 1));
        assert_eq!(jobs.counters.len(), 0);
        jobs.count_reserve(next);
        assert_eq!(jobs.counters(next), reserves(Counters::ONLY_RESERVES));
    }

    #[test]
    fn jobs_are_found_by_number_whatever_comes_and_goes() {
        let mut jobs = Jobs::new();
        let body = || Body::from(Box::<[u8]>::default());
        let places: Vec<Ix> =
            (1..=MANY).map(|id| jobs.insert(Job::new(id, 0, body(), Nanos(id)), 0)).collect();
        let stays = |id: JobId| id % 1000 == 7;
        for (id, ix) in (1..=MANY).zip(&places) {
            assert_eq!(jobs.find(id), Some(*ix));
            jobs.count(*ix, |counters| counters.kicks = id as u32);
            if !stays(id) {
                assert_eq!(jobs.remove(*ix).map(|job| job.id), Some(id));
            }
        }
        for (id, ix) in (1..=MANY).zip(&places) {
            assert_eq!(jobs.find(id), stays(id).then_some(*ix));
        }
        assert_eq!(jobs.len(), 50);
        let first = places[6];
        assert_eq!(jobs.counters(first), JobCounters { kicks: 7, ..JobCounters::default() });
        // Counters are removed with their job: the next one begins at 0.
        let next = jobs.insert(Job::new(MANY + 1, 0, body(), Nanos(0)), 0);
        assert_eq!(jobs.counters(next), JobCounters::default());
    }
}
