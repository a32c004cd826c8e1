//! The end of an attempt: a job was reserved, but not completed.
//!
//! All consequences are in [`Engine::end_attempt`]: the attempt is counted and recorded, and the
//! job goes to where it can be tried again.

use beanstalk_protocol::{Priority, Seconds};

use crate::arena::Ix;
use crate::engine::{CloseReason, Engine};
use crate::record::{Change, DurableState, Record};
use crate::sink::Sink;
use crate::time::Nanos;

/// Why an attempt at a job has ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    /// The worker released the job, with this priority and delay.
    Released { priority: Priority, delay: Seconds },
    /// The job's time to run expired.
    TimedOut,
    /// The connection that had the job reserved ended.
    Closed(CloseReason),
}

impl Engine {
    /// Ends an attempt at this reserved job that was not successful. Limits on attempts belong
    /// here: this is the only place that counts them and decides where the job goes next.
    ///
    /// This is not the common path, so it is kept out of the functions that are.
    #[inline(never)]
    pub(crate) fn end_attempt(
        &mut self,
        now: Nanos,
        ix: Ix,
        end: AttemptEnd,
        sink: &mut impl Sink,
    ) {
        self.detach(ix);
        let next = match end {
            AttemptEnd::Released { priority, delay } => {
                self.jobs.count(ix, |counters| counters.releases += 1);
                let job = &mut self.jobs[ix];
                (job.priority, job.delay) = (priority, delay);
                let next = DurableState::after(now, delay);
                sink.record(Record::Update(self.job_update(ix, next)));
                next
            }
            AttemptEnd::TimedOut => {
                self.timeouts += 1;
                let tube = self.jobs[ix].tube;
                self.tubes[tube].timeouts += 1;
                self.jobs.count(ix, |counters| counters.timeouts += 1);
                sink.record(Record::TimedOut(self.jobs[ix].id));
                DurableState::Ready
            }
            AttemptEnd::Closed(CloseReason::Vanished) => {
                self.disconnects += 1;
                self.jobs.count(ix, |counters| counters.disconnects += 1);
                sink.record(Record::Disconnected(self.jobs[ix].id));
                DurableState::Ready
            }
            // Given back on purpose, or through no fault of the worker.
            AttemptEnd::Closed(CloseReason::Quit | CloseReason::ServerStops) => DurableState::Ready,
        };
        if self.tubes[self.jobs[ix].tube].ruled.is_some() && self.gives_up(ix) {
            return self.give_up(now, ix, next, sink);
        }
        self.note_ready_again(now, ix, next);
        self.make(now, ix, next, sink);
    }

    /// Whether the policy of its tube says that the job is not to be tried again.
    fn gives_up(&self, ix: Ix) -> bool {
        let ruled = self.tubes[self.jobs[ix].tube].ruled.as_ref();
        ruled.is_some_and(|ruled| ruled.policy.gives_up(&self.jobs.counters(ix)))
    }

    /// Sets a detached job aside: it is moved to the tube that the policy names for that, or buried.
    /// If the log takes no more, the job is tried again after all, since its place must be one that a
    /// restart finds.
    #[cold]
    #[inline(never)]
    fn give_up(&mut self, now: Nanos, ix: Ix, next: DurableState, sink: &mut impl Sink) {
        let from = self.jobs[ix].tube;
        let tube = &self.tubes[from];
        let dead_letter = tube.ruled.as_ref().and_then(|ruled| ruled.policy.dead_letter.clone());
        let dead_letter = dead_letter.filter(|name| *name != tube.name);
        let change = if dead_letter.is_some() { Change::Move } else { Change::Existing(1) };
        if !sink.admits(change) {
            self.note_ready_again(now, ix, next);
            return self.make(now, ix, next, sink);
        }
        match dead_letter {
            Some(name) => {
                self.count_ruling(from, |counts| counts.dead_letters += 1);
                let tube = self.tubes.find_or_create(name);
                self.note_ready_again(now, ix, DurableState::Ready);
                self.relocate(now, ix, tube, DurableState::Ready, sink);
            }
            None => {
                self.count_ruling(from, |counts| counts.buried += 1);
                self.bury_one(ix, self.jobs[ix].priority, sink);
            }
        }
    }
}
