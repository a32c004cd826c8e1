//! Jobs that go from one tube to another.

use beanstalk_protocol::{JobId, TubeName};

use crate::arena::Ix;
use crate::engine::Engine;
use crate::job::Place;
use crate::operations::Refusal;
use crate::record::{Change, DurableState, Record};
use crate::sink::Sink;
use crate::time::Nanos;

impl Engine {
    /// Moves a job that nobody has reserved to another tube, which is created if it does not exist.
    /// The job keeps its id, its body, its counters and its state: a delay goes on, and a buried job
    /// goes behind the last buried one. A job that is in the tube already stays as it is.
    ///
    /// The tube that it comes to counts it among its total jobs.
    pub fn move_job(
        &mut self,
        now: Nanos,
        id: JobId,
        tube: &TubeName,
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        let ix = self.find_free(id)?;
        self.may_move(ix, tube, sink)?;
        self.move_to(now, ix, tube, sink);
        Ok(())
    }

    /// Whether the log can record the move, if there is anything to record.
    pub(crate) fn may_move(
        &self,
        ix: Ix,
        tube: &TubeName,
        sink: &mut impl Sink,
    ) -> Result<(), Refusal> {
        let stays = self.tubes[self.jobs[ix].tube].name == *tube;
        if stays || sink.admits(Change::Move) { Ok(()) } else { Err(Refusal::NotRecorded) }
    }

    /// Moves a job in any state, which the log has admitted. One that is reserved is ready
    /// afterwards.
    pub(crate) fn move_to(&mut self, now: Nanos, ix: Ix, tube: &TubeName, sink: &mut impl Sink) {
        let job = &self.jobs[ix];
        if self.tubes[job.tube].name == *tube {
            if matches!(job.place(), Place::Reserved { .. }) {
                // It would be restored as ready: there is nothing to record.
                self.detach(ix);
                self.note_ready_again(now, ix, DurableState::Ready);
                self.make_ready(now, ix, sink);
            }
            return;
        }
        let state = match self.durable_state(ix) {
            DurableState::Buried(_) => DurableState::Buried(self.next_bury_turn()),
            state => state,
        };
        if self.detach(ix).is_some() {
            self.note_ready_again(now, ix, state);
        }
        let tube = self.tubes.find_or_create(tube.clone());
        self.relocate(now, ix, tube, state, sink);
    }

    /// Moves a detached job to another tube, in this state, and records that with everything else
    /// about the job that can change. The log must have admitted it.
    pub(crate) fn relocate(
        &mut self,
        now: Nanos,
        ix: Ix,
        tube: Ix,
        state: DurableState,
        sink: &mut impl Sink,
    ) {
        let before = self.change_tube(ix, tube, sink);
        self.tubes[tube].total_jobs += 1;
        self.note_first_job(tube);
        let tube = self.tubes[tube].name.as_str();
        sink.record(Record::Moved { tube, now: self.job_update(ix, state) });
        self.make(now, ix, state, sink);
        self.drop_if_idle(before);
    }

    /// Makes another tube that of a detached job. Returns the one before, which may be idle now.
    pub(crate) fn change_tube(&mut self, ix: Ix, tube: Ix, sink: &mut impl Sink) -> Ix {
        let job = &mut self.jobs[ix];
        let before = std::mem::replace(&mut job.tube, tube);
        let body = job.body.as_ref().len();
        let bytes = |tube: Ix| self.tubes[tube].name.as_bytes().len() + body;
        sink.resize(job.segment, bytes(before), bytes(tube));
        let from = &mut self.tubes[before];
        from.jobs -= 1;
        from.bytes -= body as u64;
        let tube = &mut self.tubes[tube];
        tube.jobs += 1;
        tube.bytes += body as u64;
        before
    }
}
