//! The last questions of a run: everything is taken out of the queue, in its order.

use beanstalk_protocol::{Command, JobId, PutHeader, Request};
use jq_engine::{CloseReason, ConnId};

use crate::client::{Ask, Client, Exchange, believe, requests};
use crate::job::{Kept, Place};
use crate::model::{Policy, TUBES};
use crate::observe::{number, tube_name};
use crate::server::replies;
use crate::sim::{Sim, Violation};
use crate::support::Reply;

/// Longer than any pause or delay, in nanoseconds.
const LONG: u64 = 20_000_000_000;

impl Sim {
    /// Takes all jobs out of the queue, then has an empty one started once more.
    pub(crate) fn empty(&mut self) -> Result<(), Violation> {
        for tube in 0..TUBES.len() {
            if !self.rule(tube, Policy::default()) {
                return Err("a policy cannot be removed on a good disk".into());
            }
        }
        let conn = self.server.connect();
        for tube in 0..TUBES.len() {
            self.one(conn, Command::Use(tube_name(tube)))?;
            self.kick_all(conn, tube)?;
        }
        self.time.pass(LONG);
        self.tick()?;
        for tube in 0..TUBES.len() {
            self.one(conn, Command::Watch(tube_name(tube)))?;
            for other in (0..TUBES.len()).filter(|other| *other != tube) {
                self.one(conn, Command::Ignore(tube_name(other)))?;
            }
            self.reserve_all(conn, tube)?;
        }
        self.server.hub.disconnect(conn, CloseReason::Quit);
        self.server.drain(false);
        self.model.drain(false);
        self.settle()?;
        self.restart()?;
        self.put_one()
    }

    fn one(&mut self, conn: ConnId, command: Command) -> Result<Reply, Violation> {
        let answers = self.apply(conn, vec![Request::Command(command)])?;
        Ok(replies(&answers.out).swap_remove(0))
    }

    fn kick_all(&mut self, conn: ConnId, tube: usize) -> Result<(), Violation> {
        for id in self.model.buried(tube) {
            let first = number(&self.one(conn, Command::PeekBuried)?);
            let kicked = self.one(conn, Command::Kick(1))?;
            if first != Some(id) || number(&kicked) != Some(1) {
                return Err(format!("{kicked}: {first:?} is buried where {id} should be"));
            }
            self.model.kick_job(id)?;
        }
        Ok(())
    }

    fn reserve_all(&mut self, conn: ConnId, tube: usize) -> Result<(), Violation> {
        let ready = self.model.jobs.iter().filter_map(|(id, job)| {
            let now = job.now.as_ref().filter(|now| now.tube == tube)?;
            match (job.kept.last(), now.place) {
                (Kept::There(kept), Place::Ready) => Some((kept.priority, *id)),
                _ => None,
            }
        });
        let mut ready: Vec<(u32, JobId)> = ready.collect();
        ready.sort_unstable();
        for (_, id) in ready {
            let reserved = self.one(conn, Command::ReserveWithTimeout(Some(0)))?;
            let deleted = self.one(conn, Command::Delete(id))?;
            if number(&reserved) != Some(id) || deleted.line() != b"DELETED" {
                return Err(format!("{id} should be next: {reserved}, {deleted}"));
            }
            self.model.delete(id)?;
        }
        let none = self.one(conn, Command::ReserveWithTimeout(Some(0)))?;
        if none.line() == b"TIMED_OUT" { Ok(()) } else { Err(format!("one too many: {none}")) }
    }

    /// A new job has a number that none had before.
    fn put_one(&mut self) -> Result<(), Violation> {
        let mut client = Client::new(self.server.connect());
        let header = PutHeader { priority: 0, delay: 0, ttr: 1, size: 1 };
        let ask = Ask::Put(header, vec![b'x']);
        let answers = self.apply(client.conn, requests(&ask))?;
        let reply = &replies(&answers.out)[0];
        self.model.ids += 1;
        let (at, late) = (answers.at, None);
        let exchange = Exchange { who: 0, ask: &ask, reply, at, late, undisturbed: true };
        believe(&mut self.model, &mut client, &exchange)?;
        if reply.line().starts_with(b"INSERTED") { Ok(()) } else { Err(format!("{reply}")) }
    }
}
