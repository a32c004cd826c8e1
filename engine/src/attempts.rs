//! The end of an attempt: a job was reserved, but not completed.
//!
//! All consequences are in [`Engine::end_attempt`]: the attempt is counted and recorded, and the
//! job goes to where it can be tried again.

use beanstalk_protocol::{Priority, Seconds};

use crate::arena::Ix;
use crate::engine::{CloseReason, Engine};
use crate::record::{DurableState, Record};
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
        self.note_ready_again(now, ix, next);
        self.make(now, ix, next, sink);
    }
}
