//! The ready jobs of a tube, in the order in which they are reserved: by priority, then by id.
//!
//! Ids count up, so most jobs become ready in exactly that order, behind the existing ones, and a
//! released job comes before them. Such jobs stand in a *line*, a sorted list. Joining it at an end
//! and leaving it takes no search, and no memory beyond the job's own. A job that fits at neither
//! end of any line starts another one: soon there is one for each priority in use. If [`MAX_LINES`]
//! of them do not suffice, jobs go into a heap, which takes any order.

use crate::arena::Ix;
use crate::heap::JobHeap;
use crate::job::{Jobs, NONE, Place, ReadyKey};
use crate::list::{List, unlink};

/// Each push looks at all lines, and so does each removal of the tube's first job.
const MAX_LINES: usize = 8;

/// So many jobs are few enough to look at all of them.
const FEW: u64 = 8;

/// Jobs of a line, or of the heap, that are looked at if they are many; and the last of a line.
const FROM_EACH: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct ReadyJobs {
    first: Option<(ReadyKey, Ix)>,
    lines: Vec<Line>,
    rest: JobHeap<ReadyKey>,
}

/// Never empty.
#[derive(Debug)]
struct Line {
    jobs: List,
    first_key: ReadyKey,
    last_key: ReadyKey,
}

impl ReadyJobs {
    pub(crate) fn new() -> Self {
        Self { first: None, lines: Vec::new(), rest: JobHeap::new() }
    }

    /// The job to be reserved first.
    #[inline]
    pub(crate) fn first(&self) -> Option<(ReadyKey, Ix)> {
        self.first
    }

    /// All jobs, in no particular order.
    pub(crate) fn all(&self, jobs: &Jobs) -> impl Iterator<Item = Ix> {
        let lined = self.lines.iter().flat_map(|line| line.jobs.all(jobs));
        lined.chain(self.rest.jobs())
    }

    /// The jobs among which the oldest is looked for, at most a few dozen: all if they are few,
    /// otherwise some from the beginning of each line and its last. Within a line and a priority, jobs
    /// that were put later stand behind; but one that comes back stands before older ones.
    pub(crate) fn candidates(&self, jobs: &Jobs, count: u64) -> impl Iterator<Item = Ix> {
        let is_few = count <= FEW;
        let first = if is_few { FEW as usize } else { FROM_EACH };
        let lines = self.lines.iter().flat_map(move |line| {
            let last = Some(line.jobs.last).filter(|_| !is_few);
            line.jobs.all(jobs).take(first).chain(last)
        });
        lines.chain(self.rest.jobs().take(first))
    }

    /// How many places [`ReadyJobs::candidates`] looks at, at most.
    pub(crate) fn looks(&self, count: u64) -> usize {
        if count <= FEW { count as usize } else { (self.lines.len() + 1) * (FROM_EACH + 1) }
    }

    /// Takes a job in and sets its place.
    pub(crate) fn push(&mut self, key: ReadyKey, job: Ix, jobs: &mut Jobs) {
        if self.first.is_none_or(|(first, _)| key < first) {
            self.first = Some((key, job));
        }
        // Of the lines that it fits behind, take the one with the smallest gap: it wastes least.
        let behind = self.lines.iter_mut().filter(|line| line.last_key < key);
        if let Some(line) = behind.max_by_key(|line| line.last_key) {
            let previous = line.jobs.push_back(job, jobs);
            line.last_key = key;
            jobs[job].set_place(Place::Lined { previous, next: NONE });
            return;
        }
        let before = self.lines.iter_mut().filter(|line| key < line.first_key);
        if let Some(line) = before.min_by_key(|line| line.first_key) {
            let next = line.jobs.push_front(job, jobs);
            line.first_key = key;
            jobs[job].set_place(Place::Lined { previous: NONE, next });
            return;
        }
        if self.lines.len() == MAX_LINES {
            jobs[job].set_place(Place::Ready { position: 0 });
            return self.rest.push(key, job, jobs);
        }
        if self.lines.is_empty() {
            // Where there are many tubes, most need only one.
            self.lines.reserve_exact(1);
        }
        let alone = List { first: job, last: job };
        self.lines.push(Line { jobs: alone, first_key: key, last_key: key });
        jobs[job].set_place(Place::Lined { previous: NONE, next: NONE });
    }

    /// Takes out any job, and leaves everything but the jobs as it is: only for jobs that are all
    /// taken out so.
    pub(crate) fn take_any(&mut self, jobs: &Jobs) -> Option<Ix> {
        let Some(line) = self.lines.last_mut() else { return self.rest.take_last() };
        let job = line.jobs.take_first(jobs);
        if line.jobs.first == NONE {
            self.lines.pop();
        }
        job
    }

    /// Removes a job that stands between these two in its line.
    pub(crate) fn remove_lined(&mut self, job: Ix, previous: Ix, next: Ix, jobs: &mut Jobs) {
        let end = match (previous, next) {
            (NONE, _) => self.lines.iter().position(|line| line.jobs.first == job),
            (_, NONE) => self.lines.iter().position(|line| line.jobs.last == job),
            _ => None,
        };
        match end.map(|at| (at, &mut self.lines[at])) {
            // It was in the middle: the ends stay.
            None => unlink(previous, next, jobs),
            Some((at, _)) if previous == next => {
                self.lines.swap_remove(at);
            }
            Some((_, line)) if previous == NONE => {
                let first = &mut jobs[next];
                *first.links().0 = NONE;
                (line.jobs.first, line.first_key) = (next, first.ready_key());
            }
            Some((_, line)) => {
                let last = &mut jobs[previous];
                *last.links().1 = NONE;
                (line.jobs.last, line.last_key) = (previous, last.ready_key());
            }
        }
        self.gone(job);
    }

    /// Removes the job at this position of the heap.
    pub(crate) fn remove_other(&mut self, position: u32, jobs: &mut Jobs) {
        let (_, job) = self.rest.remove(position, jobs);
        self.gone(job);
    }

    fn gone(&mut self, job: Ix) {
        if self.first.is_some_and(|(_, first)| first == job) {
            let lines = self.lines.iter().map(|line| (line.first_key, line.jobs.first));
            self.first = lines.chain(self.rest.first()).min();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::body::Body;
    use crate::job::Job;
    use crate::time::Nanos;

    /// Jobs become ready, with a priority, and leave, by position.
    #[derive(Debug, Clone)]
    enum Step {
        New(u32),
        /// A job that left comes back.
        Back(usize),
        Leave(usize),
        LeaveFirst,
    }

    fn step(priorities: u32) -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..priorities).prop_map(Step::New),
            1 => (0..100usize).prop_map(Step::Back),
            1 => (0..100usize).prop_map(Step::Leave),
            2 => Just(Step::LeaveFirst),
        ]
    }

    struct Play {
        jobs: Jobs,
        ready: ReadyJobs,
        model: BTreeMap<ReadyKey, Ix>,
        outside: Vec<Ix>,
        /// How many were in the heap.
        heaped: usize,
    }

    impl Play {
        fn push(&mut self, job: Ix) {
            let key = self.jobs[job].ready_key();
            self.ready.push(key, job, &mut self.jobs);
            self.model.insert(key, job);
            self.heaped += usize::from(matches!(self.jobs[job].place(), Place::Ready { .. }));
        }

        fn leave(&mut self, job: Ix) {
            let place = self.jobs[job].place();
            self.jobs[job].set_place(Place::Nowhere);
            match place {
                Place::Ready { position } => self.ready.remove_other(position, &mut self.jobs),
                Place::Lined { previous, next } => {
                    self.ready.remove_lined(job, previous, next, &mut self.jobs);
                }
                other => panic!("a ready job is at {other:?}"),
            }
            self.model.remove(&self.jobs[job].ready_key());
            self.outside.push(job);
        }

        /// The `n`th ready job (modulo their number), if there is any.
        fn nth(&self, n: usize) -> Option<Ix> {
            self.model.values().nth(n % self.model.len().max(1)).copied()
        }
    }

    /// Returns how many jobs went into the heap.
    fn play(steps: Vec<Step>) -> Result<usize, TestCaseError> {
        let mut play = Play {
            jobs: Jobs::new(),
            ready: ReadyJobs::new(),
            model: BTreeMap::new(),
            outside: Vec::new(),
            heaped: 0,
        };
        for (id, step) in (1..).zip(steps) {
            match step {
                Step::New(priority) => {
                    let body = Body::from(Box::<[u8]>::default());
                    let mut job = Job::new(id, 0, body, Nanos(0));
                    job.priority = priority;
                    let job = play.jobs.insert(job, 0);
                    play.push(job);
                }
                Step::Back(n) if !play.outside.is_empty() => {
                    let job = play.outside.swap_remove(n % play.outside.len());
                    play.push(job);
                }
                Step::Leave(n) => play.nth(n).into_iter().for_each(|job| play.leave(job)),
                Step::LeaveFirst => play.nth(0).into_iter().for_each(|job| play.leave(job)),
                Step::Back(_) => {}
            }
            let first = play.model.first_key_value().map(|(key, job)| (*key, *job));
            prop_assert_eq!(play.ready.first(), first);
            for line in &play.ready.lines {
                prop_assert_eq!(line.first_key, play.jobs[line.jobs.first].ready_key());
                prop_assert_eq!(line.last_key, play.jobs[line.jobs.last].ready_key());
            }
        }
        // All jobs are there, in order.
        while let Some((_, job)) = play.model.pop_first() {
            prop_assert_eq!(play.ready.first().map(|(_, first)| first), Some(job));
            play.leave(job);
        }
        prop_assert!(play.ready.first().is_none() && play.ready.lines.is_empty());
        Ok(play.heaped)
    }

    proptest! {
        #[test]
        fn agrees_with_an_ordered_set(
            steps in prop_oneof![
                prop::collection::vec(step(3), 0..200),
                prop::collection::vec(step(1000), 0..200),
            ],
        ) {
            play(steps)?;
        }
    }

    #[test]
    fn few_priorities_need_no_heap_and_many_do() {
        let heaped = |priorities: u32| {
            play((0..1000).map(|n| Step::New(n * 7 % priorities)).collect()).expect("agrees")
        };
        assert_eq!(heaped(MAX_LINES as u32), 0);
        assert!(heaped(101) > 0);
    }
}
