//! One action on many jobs of a tube, in steps.
//!
//! A [`Bulk`] goes once through the table of jobs, as the pages of a listing do (see
//! [`Engine::jobs_page`]), and does a bounded part of it in each step. Others change the queue in
//! between. What holds from the first step to the last:
//!
//! - a job that exists and matches throughout is acted on, exactly once;
//! - no job is acted on twice;
//! - a job that is put after the beginning is left alone, so a bulk comes to an end whatever others
//!   do;
//! - what is changed or moved into the tube in between may be acted on or not.

use beanstalk_protocol::{JobId, JobState, TubeName};
use memchr::memmem::Finder;

use crate::arena::Ix;
use crate::engine::Engine;
use crate::inspect::Cursor;
use crate::job::Job;
use crate::operations::{Action, Refusal};
use crate::sink::Sink;
use crate::time::Nanos;

/// A text is looked for in this many bytes at the beginning of each body. It is the default limit
/// of a body.
const SEARCHED: usize = 65_535;

/// A step ends after looking for the text in this many bytes.
const SEARCHED_IN_A_STEP: usize = 1 << 20;

/// Which jobs of a tube an action is for: those that match all of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those in this state.
    pub state: Option<JobState>,
    /// Those that were put at this time or later.
    pub put_from: Option<Nanos>,
    /// Those that were put before this time.
    pub put_before: Option<Nanos>,
    /// Those with these bytes in the first 65,535 bytes of their body.
    pub body: Option<Vec<u8>>,
}

/// How much a step may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepSize {
    /// Maximum number of places to look at, whether there is a job that matches or not; 0 counts as
    /// 1.
    pub looks: usize,
    /// Maximum number of jobs to act on; 0 counts as 1.
    pub changes: usize,
}

impl Default for StepSize {
    /// Takes less than a millisecond.
    fn default() -> Self {
        Self { looks: 5000, changes: 500 }
    }
}

/// What a bulk has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BulkCounts {
    /// Places of the table of jobs that were looked at. There are about as many as jobs.
    pub looked: u64,
    /// Jobs that matched.
    pub matched: u64,
    /// Jobs that were acted on; in a dry run, that would have been.
    pub changed: u64,
    /// Jobs that matched, and were in a state in which the action is not possible.
    pub refused: u64,
}

/// How a bulk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkFlow {
    /// There is more to do.
    More,
    /// It is done.
    Done,
    /// The log cannot record the next change. A later step tries that again.
    NotRecorded,
}

/// An action on many jobs: see the [module](self).
#[derive(Debug, Clone)]
pub struct Bulk {
    tube: TubeName,
    filter: Filter,
    finder: Option<Finder<'static>>,
    action: Action,
    dry_run: bool,
    /// Only jobs with smaller ids: those that there were at the beginning.
    before: JobId,
    /// Where the next step begins; `None` when it is done.
    next: Option<Cursor>,
    counts: BulkCounts,
}

impl Bulk {
    /// An action on the jobs of this tube that match and exist now. A dry run changes nothing, and
    /// counts what it would change.
    pub fn new(
        engine: &Engine,
        tube: TubeName,
        filter: Filter,
        action: Action,
        dry_run: bool,
    ) -> Self {
        let finder = filter.body.as_deref().map(|text| Finder::new(text).into_owned());
        let (before, next) = (engine.next_id(), Some(Cursor::default()));
        let counts = BulkCounts::default();
        Self { tube, filter, finder, action, dry_run, before, next, counts }
    }

    /// What was done so far.
    pub fn counts(&self) -> BulkCounts {
        self.counts
    }

    /// Whether there is nothing more to do.
    pub fn is_done(&self) -> bool {
        self.next.is_none()
    }

    /// Ends it where it is.
    pub fn stop(&mut self) {
        self.next = None;
    }

    /// Does a part of the work. All other operations wait meanwhile.
    pub fn step(
        &mut self,
        engine: &mut Engine,
        now: Nanos,
        size: StepSize,
        sink: &mut impl Sink,
    ) -> BulkFlow {
        let Some(from) = self.next else { return BulkFlow::Done };
        // A tube that is gone has no jobs; one of the same name that comes later has new ones.
        let Some(tube) = engine.find_tube(self.tube.as_str()) else {
            self.next = None;
            return BulkFlow::Done;
        };
        let (found, next) = self.look(engine, tube, from, size);
        for ix in found {
            if self.act(engine, now, ix, sink).is_err() {
                self.next = Some(Cursor(ix));
                return BulkFlow::NotRecorded;
            }
        }
        self.next = next;
        if next.is_some() { BulkFlow::More } else { BulkFlow::Done }
    }

    /// The next places with a job that matches, and where to go on.
    fn look(
        &mut self,
        engine: &Engine,
        tube: Ix,
        from: Cursor,
        size: StepSize,
    ) -> (Vec<Ix>, Option<Cursor>) {
        let (looks, changes) = (size.looks.max(1), size.changes.max(1));
        let few = engine.few_jobs(tube, self.filter.state, from);
        let mut few = few.map(|few| few.into_iter().map(|ix| (ix, engine.job_at(ix))));
        let mut all = engine.jobs_from(from);
        let places: &mut dyn Iterator<Item = (Ix, Option<&Job>)> = match &mut few {
            Some(few) => few,
            None => &mut all,
        };
        let (mut found, mut searched) = (Vec::new(), 0);
        for (ix, job) in (&mut *places).take(looks) {
            self.counts.looked += 1;
            if job.is_some_and(|job| job.tube == tube && self.matches(job, &mut searched)) {
                found.push(ix);
            }
            if found.len() == changes || searched >= SEARCHED_IN_A_STEP {
                break;
            }
        }
        (found, places.next().map(|(ix, _)| Cursor(ix)))
    }

    /// Whether a job of the tube matches. `searched` counts the bytes that were searched for a text.
    fn matches(&self, job: &Job, searched: &mut usize) -> bool {
        let Filter { state, put_from, put_before, body: _ } = &self.filter;
        let matches = job.id < self.before
            && state.is_none_or(|state| job.state() == state)
            && put_from.is_none_or(|from| job.created >= from)
            && put_before.is_none_or(|before| job.created < before);
        let Some(finder) = self.finder.as_ref().filter(|_| matches) else { return matches };
        let body = job.body.as_ref();
        let body = &body[..body.len().min(SEARCHED)];
        *searched += body.len();
        finder.find(body).is_some()
    }

    /// Acts on the job at this place, and counts it. `Err` if the log cannot record it.
    fn act(
        &mut self,
        engine: &mut Engine,
        now: Nanos,
        ix: Ix,
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        let result = match engine.may_act(ix, &self.action) {
            Ok(()) if !self.dry_run => engine.act_on(now, ix, &self.action, sink),
            result => result,
        };
        match result {
            Err(Refusal::NotRecorded) => return result,
            Ok(()) => self.counts.changed += 1,
            Err(_) => self.counts.refused += 1,
        }
        self.counts.matched += 1;
        Ok(())
    }
}
