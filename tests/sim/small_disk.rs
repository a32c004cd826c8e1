//! A disk that gets full, on which nobody else makes room.

use beanstalk_protocol::{BinlogHealth, Command, JobId, Request};
use jq_engine::CloseReason;

use crate::facts::Fact;
use crate::server::replies;
use crate::sim::{Sim, Violation};

impl Sim {
    /// However full the disk is: the log comes to terms with that by itself, every job can be deleted, and
    /// then there is room again.
    pub(crate) fn make_room(&mut self) -> Result<(), Violation> {
        self.trace.note(format_args!("make room"));
        let now = self.tick()?;
        self.hang_up(now)?;
        self.bulk = None;
        let works = |sim: &Self| !matches!(sim.server.health(), BinlogHealth::Failed(_));
        // From the first to the last turn: what a hand has begun may be in its way.
        if !self.take_turns(|sim| works(sim) && !sim.server.hands.are_busy()) {
            return Err(format!("it stays so: {:?}", self.server.log_use()));
        }
        let there = self.model.jobs.iter().filter(|(_, job)| job.now.is_some());
        let there: Vec<JobId> = there.map(|(id, _)| *id).collect();
        let conn = self.server.connect();
        for id in there {
            if self.disk.is_stopped() {
                return Ok(());
            }
            let answers = self.apply(conn, vec![Request::Command(Command::Delete(id))])?;
            let reply = &replies(&answers.out)[0];
            // It may have expired meanwhile.
            let is_there = self.model.jobs.get(&id).is_some_and(|job| job.now.is_some());
            if !is_there && reply.line() == b"NOT_FOUND" {
                continue;
            }
            if reply.line() != b"DELETED" {
                let log = self.server.log_use();
                return Err(format!("job {id} cannot be deleted: {reply}: {log:?}"));
            }
            self.model.expect(|fact| *fact == Fact::Gone(id))?;
            self.model.delete(id)?;
            self.random_turn();
            // It may only now be seen that there is no room for the last jobs.
            if !self.take_turns(works) {
                return Err(format!("a delete made it fail: {:?}", self.server.log_use()));
            }
        }
        self.server.hub.disconnect(conn, CloseReason::Quit);
        let is_good = |sim: &Self| sim.server.health() == BinlogHealth::Good;
        if self.take_turns(is_good) && (self.disk.is_stopped() || is_good(self)) {
            return Ok(());
        }
        Err(format!("there is no room for a new job: {:?}", self.server.log_use()))
    }
}
