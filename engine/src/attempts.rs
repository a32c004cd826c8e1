//! The end of an attempt: a job was reserved, and is not done.
//!
//! Whatever happens because of that happens in [`Engine::end_attempt`]: it is counted and recorded,
//! and the job goes where it can be tried again.

use beanstalk_protocol::{Priority, Seconds};

use crate::arena::Ix;
use crate::engine::{CloseReason, Engine};
use crate::record::{DurableState, Record};
use crate::sink::Sink;
use crate::time::Nanos;

/// Why an attempt at a job has ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    /// Its worker gave it back, to be tried again like this.
    Released { priority: Priority, delay: Seconds },
    /// Its time to run ran out.
    TimedOut,
    /// The connection that had it reserved ended.
    Closed(CloseReason),
}

impl Engine {
    /// An attempt at this reserved job has ended without success. Limits on attempts belong here:
    /// this is the only place that counts them, and that says where the job goes next.
    ///
    /// It is not the usual way of a job: kept out of the functions that are.
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
            // Given back on purpose, or by no fault of the worker.
            AttemptEnd::Closed(CloseReason::Quit | CloseReason::ServerStops) => DurableState::Ready,
        };
        self.make(now, ix, next, sink);
    }
}
