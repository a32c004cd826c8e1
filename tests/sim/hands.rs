//! The hands of the log's driver: who takes a turn next is what the seed says.

use beanstalk_protocol::{BinlogHealth, Command, Request};
use jq_engine::{CloseReason, Nanos};
use jq_server::log::LogDriver;
use jq_server::log::binlog::SyncPolicy;
use jq_server::log::binlog::driver::Turn;
use jq_server::log::binlog::format::DELETE_LEN;

use crate::disk::Faults;
use crate::job::Job;
use crate::observe::tube_name;
use crate::server::Hand;
use crate::sim::{Sim, Violation};

/// Turns after which a disk that works must have brought everything in order.
const PATIENCE: usize = 20_000;

/// What is set for a tube takes at most so many bytes.
const SET_LEN: u64 = 120;

impl Sim {
    /// Lets one of the hands do something, whether it was called or not.
    pub(crate) fn random_turn(&mut self) {
        let hand = match self.rng.u8(..10) {
            2..7 if self.plan.starves && self.rng.u8(..40) > 0 => Hand::Flusher,
            0..2 => Hand::Flusher,
            2..6 => Hand::Syncer,
            6 => Hand::Stager,
            7 if self.rng.u8(..4) == 0 => {
                // As if somebody had been alone for a long time.
                self.trace.note(format_args!("commit"));
                self.server.driver.commit_soon(true);
                return self.look_around(false);
            }
            _ => Hand::Compactor,
        };
        self.turn(hand);
    }

    /// Has one of the hands take a turn, and notes what came of it.
    pub(crate) fn turn(&mut self, hand: Hand) -> Turn {
        let failed = matches!(self.server.health(), BinlogHealth::Failed(_));
        let turn = self.server.turn(hand);
        self.trace.note(format_args!("{hand:?} {turn:?}"));
        self.look_around(failed);
        turn
    }

    /// What the log says of itself, which had `failed` before.
    fn look_around(&mut self, failed: bool) {
        for id in self.server.queue.taken_back() {
            self.trace.note(format_args!("take back {id}"));
            self.model.take_back(id);
        }
        let log = self.server.log_use();
        self.trace.note(format_args!("{:?}", log.health));
        self.model.records = !matches!(log.health, BinlogHealth::Failed(_));
        self.model.has_failed |= !self.model.records;
        self.model.is_good = log.health == BinlogHealth::Good;
        if failed && self.model.records {
            // What was not surely on the disk is in a new file now.
            self.tainted = false;
            self.disk.take_lost_writes();
            self.model.promised = self.model.moment;
        }
        if self.model.records
            && log.unsynced_bytes == 0
            && self.plan.options.policy != SyncPolicy::Never
        {
            self.model.synced = self.model.moment;
        }
        self.tainted |= self.disk.take_lost_writes();
    }

    /// The disk works from now on. The server must recover, and reclaim what it does not need.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        self.trace.note(format_args!("settle"));
        self.disk.stop_in(None);
        let faults = Faults { lies: self.plan.lies, ..Faults::NONE };
        self.disk.set_faults(Faults { cannot_allocate: self.plan.cannot_allocate, ..faults });
        let now = self.tick()?;
        self.hang_up(now)?;
        self.bulk = None;
        self.bring_in_order()?;
        if self.is_settled().is_err() {
            // What was written anew after a failure may be a segment that is larger than others. It
            // is reclaimed when there is another one.
            let conn = self.server.connect();
            let pause = Command::PauseTube(tube_name(0), 0);
            let answers = self.apply(conn, vec![Request::Command(pause)])?;
            self.model.pause(0, 0, answers.at);
            self.server.hub.disconnect(conn, CloseReason::Quit);
            self.bring_in_order()?;
        }
        self.is_settled()
    }

    /// The hands take turns until none has anything more to do.
    fn bring_in_order(&mut self) -> Result<(), Violation> {
        if self.take_turns(|_| false) {
            return Ok(());
        }
        let live = self.model.sizes(self.plan.options.store_from).0;
        Err(format!("never in order: {live} bytes are live: {:?}", self.server.log_use()))
    }

    /// The hands take turns as they do in a server: when they are called, or when it is time. A call
    /// that is forgotten, or a time that is not set, shows in what is left. Returns whether they have
    /// come to an end, or to what is `enough`.
    pub(crate) fn take_turns(&mut self, enough: impl Fn(&Self) -> bool) -> bool {
        let hands = [Hand::Flusher, Hand::Syncer, Hand::Compactor, Hand::Stager];
        // Each may have been called, and have gone back to waiting, by a turn that nobody waited for.
        let mut next = [Turn::Again; 4];
        for _ in 0..PATIENCE {
            let now = Nanos(self.time.pass(0));
            let mut idle = true;
            for (hand, next) in hands.into_iter().zip(&mut next) {
                let due = match *next {
                    Turn::Again => true,
                    Turn::Wait(until) => until.is_some_and(|at| at <= now),
                };
                if self.server.is_called(hand) || due {
                    *next = self.turn(hand);
                    idle = false;
                }
            }
            if self.disk.is_stopped() || enough(self) {
                return true;
            }
            if !idle {
                continue;
            }
            let until = next.iter().filter_map(|turn| match turn {
                Turn::Wait(until) => *until,
                Turn::Again => None,
            });
            match until.min() {
                Some(at) => drop(self.time.pass(at.0.saturating_sub(now.0))),
                None => return true,
            }
        }
        false
    }

    fn is_settled(&self) -> Result<(), Violation> {
        let log = self.server.log_use();
        if log.health != BinlogHealth::Good {
            return Err(format!("the disk is good, the log says {:?}", log.health));
        }
        if (log.pending_bytes, log.unsynced_bytes) != (0, 0) {
            return Err(format!("something is left to be written: {log:?}"));
        }
        let (live, largest) = self.model.sizes(self.plan.options.store_from);
        if log.live_bytes != live {
            return Err(format!("{live} bytes are live: {log:?}"));
        }
        let is_stored =
            |job: &Job| job.now.is_some() && job.body.len() >= self.plan.options.store_from;
        let stored = self.model.jobs.iter().filter(|(_, job)| is_stored(job));
        let (bodies, stored) = (self.disk.bodies(), stored.map(|(id, _)| *id).collect::<Vec<_>>());
        // Unless one could not be removed, which the next start does.
        if self.plan.per_mille == 0 && bodies != stored {
            return Err(format!("the bodies of {bodies:?} are in files, not of {stored:?}"));
        }
        let segment = self.plan.options.segment_size;
        let set = self.model.policies.iter().filter(|policy| !policy.last().is_empty()).count();
        let most = 2 * (live + set as u64 * SET_LEN) + 2 * segment + largest;
        if log.bytes > most {
            return Err(format!("{most} bytes would do: {log:?}"));
        }
        // Room may be set aside in the last segment, and in the next.
        let jobs = self.model.jobs.values().filter(|job| job.now.is_some()).count();
        let aside = 2 * ((segment / 8).max(4096) + 4096 + (jobs * DELETE_LEN) as u64);
        let used: usize = self.disk.segments().iter().map(|(_, bytes)| bytes.len()).sum();
        let used = used as u64;
        // Unless it could not be given back, which is not tried twice.
        if self.plan.per_mille == 0 && used > most + aside {
            return Err(format!("{used} bytes of files: {log:?}"));
        }
        Ok(())
    }
}
