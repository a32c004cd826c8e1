//! What is observed beyond the statistics, if somebody wants to know: how long jobs wait, and how
//! long they are worked on.
//!
//! Off until [`Engine::observe`] is called. A job has no room for another moment, and needs none: when
//! a job that nothing has happened to became ready follows from its put and its delay; when a job was
//! reserved is its turn among the reserved jobs. Only for a job that becomes ready again, that moment
//! is kept beside its counters (8 bytes, and 36 for a job that was only given back). A tube has two
//! histograms (528 bytes) from its first job on, up to a number of tubes. Those beyond it
//! share two.
//!
//! How often something happened is always counted: see [`Activity`].

use beanstalk_protocol::{JobId, TubeName, TubeStats};

use crate::arena::Ix;
use crate::engine::Engine;
use crate::histogram::Histogram;
use crate::inspect::Cursor;
use crate::record::DurableState;
use crate::time::Nanos;
use crate::tube::Tube;

/// How often something happened to jobs, in a tube or in all, since the tube was created or the
/// server started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Activity {
    /// Jobs that were put; for a tube, also those that were moved to it. Jobs that were read from a log
    /// are not counted.
    pub puts: u64,
    /// Jobs that a connection got, whether they were ready or not.
    pub reserves: u64,
    /// Jobs that were deleted.
    pub deletes: u64,
    /// Jobs that were buried.
    pub buries: u64,
    /// Jobs whose time to run expired.
    pub timeouts: u64,
}

/// How long jobs of a tube have waited, and how long they were worked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// From when a job became ready until a connection got it. A job that is ready more than once,
    /// after a release for example, counts each time. A put is when its line came, and the delay
    /// counts from there.
    pub wait: Histogram,
    /// From when a connection got a job until it was deleted while reserved. Of several that were
    /// reserved at one moment, each counts a nanosecond less than the one before.
    pub service: Histogram,
}

/// A tube as it is now.
#[derive(Debug)]
pub struct TubeView<'a> {
    /// Its place in the table of tubes. No other tube has it as long as this one exists.
    pub place: u32,
    /// Its number: the tubes are numbered as they are created. The default tube is number 0.
    pub number: u64,
    /// The data of `stats-tube`.
    pub stats: TubeStats<&'a TubeName>,
    /// What has happened in it.
    pub activity: Activity,
    /// Its histograms; `None` if it has none of its own: it had no job yet, the limit is reached, or
    /// nobody observes.
    pub times: Option<&'a Times>,
    engine: &'a Engine,
    tube: &'a Tube,
}

/// A ready job of a tube, and since when it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oldest {
    /// The job.
    pub job: JobId,
    /// When it became ready. If that was before observing began and is not known, when that began.
    pub since: Nanos,
}

/// What belongs to no single tube.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overall {
    /// The times of all jobs.
    pub all: Times,
    /// The times of the jobs of tubes without histograms of their own.
    pub shared: Times,
    /// What happened in tubes without histograms of their own that are gone.
    pub gone: Activity,
}

/// Kept by an engine that is observed.
#[derive(Debug)]
pub(crate) struct Observer {
    began: Nanos,
    /// By [`Slot`]. The first belongs to the tubes without a slot of their own.
    times: Vec<Times>,
    free: Vec<Slot>,
    /// Maximum length of `times`.
    most: usize,
    /// Of tubes that had a slot and are gone.
    past: Times,
    /// See [`Overall::gone`].
    gone: Activity,
}

/// Where the histograms of a tube are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u32);

impl Slot {
    /// No histogram has this slot, so the first observation finds that out.
    pub(crate) const UNDECIDED: Self = Self(u32::MAX);
    const SHARED: Self = Self(0);

    fn is_own(self) -> bool {
        self != Self::SHARED && self != Self::UNDECIDED
    }
}

impl Observer {
    /// The histograms of this slot.
    #[inline]
    pub(crate) fn times(&mut self, slot: &mut Slot) -> &mut Times {
        if slot.0 as usize >= self.times.len() {
            *slot = self.decide();
        }
        &mut self.times[slot.0 as usize]
    }

    #[cold]
    #[inline(never)]
    fn decide(&mut self) -> Slot {
        if let Some(free) = self.free.pop() {
            return free;
        }
        if self.times.len() == self.most {
            return Slot::SHARED;
        }
        self.times.push(Times::default());
        Slot(self.times.len() as u32 - 1)
    }
}

impl Times {
    /// Adds another one's durations.
    pub fn merge(&mut self, other: &Self) {
        self.wait.merge(&other.wait);
        self.service.merge(&other.service);
    }
}

impl TubeView<'_> {
    /// The oldest of its ready jobs, as far as a bounded look finds it; `known` is the one that an
    /// earlier look has found. `None` if no job is ready, or
    /// nobody observes.
    ///
    /// The job is ready since then, so the age is never too high. It is exact if up to 8 jobs are
    /// ready, or if all have one priority and were put without a delay and never given back. Otherwise
    /// an older job may be hidden behind others. A job that was once found to be the oldest is not
    /// lost sight of, whatever comes before it.
    pub fn oldest_ready(&self, known: Option<JobId>) -> Option<Oldest> {
        let Self { engine, tube, place, .. } = self;
        let began = engine.observer.as_ref()?.began;
        let known = known.and_then(|id| engine.find_job(id)).filter(|ix| {
            let job = &engine.jobs[*ix];
            job.tube == *place && job.place().is_ready()
        });
        let candidates = tube.ready.candidates(&engine.jobs, tube.counts.ready);
        let oldest = known.into_iter().chain(candidates).map(|ix| {
            let job = &engine.jobs[ix];
            Oldest { job: job.id, since: engine.jobs.ready_since(ix).unwrap_or(began) }
        });
        oldest.min_by_key(|oldest| (oldest.since, oldest.job))
    }
}

impl Engine {
    /// Begins to observe. At most `max_tubes` tubes get histograms of their own, each with its first
    /// job, and keep them as long as they exist. Calling it again changes nothing.
    pub fn observe(&mut self, now: Nanos, max_tubes: usize) {
        if self.observer.is_some() {
            return;
        }
        self.observer = Some(Box::new(Observer {
            began: now,
            times: vec![Times::default()],
            free: Vec::new(),
            most: max_tubes.saturating_add(1).min(Slot::UNDECIDED.0 as usize),
            past: Times::default(),
            gone: Activity::default(),
        }));
        self.jobs.keep_moments();
        for place in self.tubes.places() {
            if self.tubes[place].jobs > 0 {
                self.note_first_job(place);
            }
        }
    }

    /// What has happened to jobs since the server started.
    pub fn activity(&self) -> Activity {
        Activity {
            puts: self.total_jobs,
            reserves: self.counts.reserves,
            deletes: self.deletes,
            buries: self.buries,
            timeouts: self.timeouts,
        }
    }

    /// What belongs to no single tube; all zero if nobody observes. Looks at each tube's histograms,
    /// which takes about 30 microseconds for a thousand.
    pub fn overall(&self) -> Overall {
        let Some(observer) = &self.observer else { return Overall::default() };
        let mut all = observer.past;
        observer.times.iter().for_each(|times| all.merge(times));
        Overall { all, shared: observer.times[0], gone: observer.gone }
    }

    /// Shows tubes, with the guarantees of [`Engine::tubes_page`], but copies nothing. Looks at
    /// `looks` places at most, or at one tube: a tube costs several, for the oldest of its ready jobs,
    /// and for the connections that watch it and many others, since those have to be counted. Returns
    /// where to go on; `None` after the last tube.
    pub fn view_tubes(
        &self,
        now: Nanos,
        from: Cursor,
        looks: usize,
        mut tell: impl FnMut(TubeView<'_>),
    ) -> Option<Cursor> {
        let mut left = looks;
        let mut places = self.tubes.from(from.0);
        for (place, tube) in places.by_ref() {
            left = left.saturating_sub(1);
            if let Some(tube) = tube {
                tell(self.view_tube(now, place));
                let counted = if tube.wide_watchers > 0 { tube.queue.len() } else { 0 };
                left = left.saturating_sub(counted + tube.ready.looks(tube.counts.ready));
            }
            if left == 0 {
                break;
            }
        }
        places.next().map(|(place, _)| Cursor(place))
    }

    /// Shows one tube; `None` if there is none of that name.
    pub fn view_tube_named(&self, now: Nanos, name: &str) -> Option<TubeView<'_>> {
        self.tubes.find(name).map(|place| self.view_tube(now, place))
    }

    fn view_tube(&self, now: Nanos, place: Ix) -> TubeView<'_> {
        let tube = &self.tubes[place];
        let observer = self.observer.as_ref().filter(|_| tube.slot.is_own());
        TubeView {
            place,
            number: tube.number,
            stats: self.stats_of_tube(now, place, |name| name),
            activity: tube.activity(),
            times: observer.map(|observer| &observer.times[tube.slot.0 as usize]),
            engine: self,
            tube,
        }
    }

    /// A tube has its first job, as far as it knows.
    #[cold]
    pub(crate) fn note_first_job(&mut self, tube: Ix) {
        if let Some(observer) = &mut self.observer {
            observer.times(&mut self.tubes[tube].slot);
        }
    }

    /// A job that something has happened to gets into this state.
    #[inline]
    pub(crate) fn note_ready_again(&mut self, now: Nanos, ix: Ix, state: DurableState) {
        if self.observer.is_some() {
            match state {
                DurableState::Ready => self.jobs.ready_again(ix, now),
                DurableState::Delayed(until) => self.jobs.ready_again(ix, until),
                DurableState::Buried(_) => {}
            }
        }
    }

    /// A tube is gone.
    pub(crate) fn note_tube_gone(&mut self, slot: Slot, activity: Activity) {
        let Some(observer) = &mut self.observer else { return };
        if slot.is_own() {
            let times = std::mem::take(&mut observer.times[slot.0 as usize]);
            observer.past.merge(&times);
            observer.free.push(slot);
        } else {
            observer.gone.add(activity);
        }
    }
}

impl Activity {
    /// Adds another one's numbers.
    pub fn add(&mut self, other: Self) {
        let Self { puts, reserves, deletes, buries, timeouts } = other;
        self.puts += puts;
        self.reserves += reserves;
        self.deletes += deletes;
        self.buries += buries;
        self.timeouts += timeouts;
    }

    /// What happened after `earlier`. A number that was higher then, because a put was undone, is 0.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            puts: self.puts.saturating_sub(earlier.puts),
            reserves: self.reserves.saturating_sub(earlier.reserves),
            deletes: self.deletes.saturating_sub(earlier.deletes),
            buries: self.buries.saturating_sub(earlier.buries),
            timeouts: self.timeouts.saturating_sub(earlier.timeouts),
        }
    }

    /// The larger of each pair of numbers.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            puts: self.puts.max(other.puts),
            reserves: self.reserves.max(other.reserves),
            deletes: self.deletes.max(other.deletes),
            buries: self.buries.max(other.buries),
            timeouts: self.timeouts.max(other.timeouts),
        }
    }

    /// All numbers together.
    pub fn sum(self) -> u64 {
        self.puts + self.reserves + self.deletes + self.buries + self.timeouts
    }
}
