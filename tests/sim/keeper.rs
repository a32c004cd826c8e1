//! The hands of the keeper, as `src/server/keeper.rs` has them on threads: what each does next is
//! done here whenever the seed says so, so also in between what the others do.

use beanstalk_protocol::{BinlogHealth, Command, Request};
use jq_server::log::binlog::{Failure, Flushed, Step, SyncPolicy};

use crate::disk::Faults;
use crate::observe::tube_name;
use crate::sim::{Failing, Sim, Violation};

/// Rounds after which a disk that works must have brought everything in order.
const PATIENCE: usize = 3000;

impl Sim {
    fn always(&self) -> bool {
        self.plan.options.policy == SyncPolicy::Always
    }

    /// Lets one of the hands do something.
    pub(crate) fn keep(&mut self) -> Result<(), Violation> {
        let hands = if self.model.records { 12 } else { 20 };
        match self.rng.u8(..hands) {
            0..3 => self.flush(),
            3..5 => self.sync(),
            5 => self.prepare(),
            6 | 7 => self.record_recovered(),
            8..12 => self.compact(),
            12..16 => self.tell_failure(),
            _ => self.recover(),
        }
        self.note_health();
        Ok(())
    }

    fn note_health(&mut self) {
        let health = self.server.health();
        self.model.records = !matches!(health, BinlogHealth::Failed(_));
        self.trace.note(format_args!("{health:?}"));
        self.tainted |= self.disk.take_lost_writes();
    }

    fn flush(&mut self) {
        let may_sync = self.always() || self.rng.u8(..4) == 0;
        self.trace.note(format_args!("flush {may_sync}"));
        match self.server.binlog.flush(may_sync) {
            Ok(Flushed::All) => {}
            Ok(Flushed::NeedsSync) => {
                if let Err(failure) = self.server.binlog.flush(true) {
                    self.failed(failure);
                }
            }
            Err(failure) => self.failed(failure),
        }
    }

    fn sync(&mut self) {
        self.trace.note(format_args!("sync"));
        let before = self.server.health();
        match self.server.binlog.sync() {
            Ok(()) => {
                let failed = matches!(before, BinlogHealth::Failed(_));
                if !failed && self.plan.options.policy != SyncPolicy::Never {
                    self.model.synced = self.model.moment;
                }
            }
            Err(failure) => self.failed(failure),
        }
    }

    fn prepare(&mut self) {
        if self.server.binlog.needs().prepare {
            self.trace.note(format_args!("prepare"));
            self.server.binlog.prepare();
        }
    }

    fn recover(&mut self) {
        // The keeper's hand does this only when it has nothing left of the time before.
        if !self.server.binlog.needs().recover || !self.recovered.is_empty() {
            return;
        }
        self.trace.note(format_args!("recover"));
        if let Some(facts) = self.server.binlog.recover() {
            self.trace.note(format_args!("recovered, with {} facts", facts.len()));
            self.recovered = facts;
            // It is all in a new file now.
            self.tainted = false;
            self.disk.take_lost_writes();
            self.model.promised = self.model.moment;
            if self.plan.options.policy != SyncPolicy::Never {
                self.model.synced = self.model.moment;
            }
        }
    }

    fn record_recovered(&mut self) {
        let count = self.rng.usize(1..64).min(self.recovered.len());
        let facts: Vec<_> = self.recovered.drain(..count).collect();
        if !facts.is_empty() {
            self.trace.note(format_args!("again {facts:?}"));
            self.server.hub.record_again(&facts);
        }
    }

    pub(crate) fn compact(&mut self) {
        let binlog = &self.server.binlog;
        if !self.compacted.is_empty() {
            // Fewer at a time than in the server, so that there is an end in between now and then.
            let count = self.rng.usize(1..5).min(self.compacted.len());
            let facts: Vec<_> = self.compacted.drain(..count).collect();
            self.trace.note(format_args!("compact {facts:?}"));
            self.server.hub.record_again(&facts);
            if let Err(failure) = binlog.flush(true) {
                self.compacted.clear();
                self.failed(failure);
            }
            return;
        }
        match binlog.compact() {
            Ok(step) => {
                self.trace.note(format_args!("compact {step:?}"));
                match step {
                    Step::Idle => {}
                    Step::Again(facts) => self.compacted = facts,
                    Step::Await(_) => self.sync(),
                }
            }
            Err(error) => self.trace.note(format_args!("compact {error}")),
        }
    }

    fn failed(&mut self, failure: Failure) {
        self.trace.note(format_args!("failed {:?}", failure.jobs));
        self.failing.push(Failing::TakeBack(failure.jobs));
    }

    /// The hand that met a failure goes on with it.
    fn tell_failure(&mut self) {
        let Some(failing) = self.failing.pop() else { return };
        match failing {
            Failing::TakeBack(jobs) => {
                self.trace.note(format_args!("take back {jobs:?}"));
                self.server.hub.take_back(&jobs);
                jobs.into_iter().for_each(|id| self.model.take_back(id));
                self.failing.push(Failing::Tell);
            }
            Failing::Tell => {
                self.trace.note(format_args!("taken back"));
                self.server.binlog.taken_back();
            }
        }
    }

    /// The disk works from now on. The server must recover, and give up what it does not need.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        self.trace.note(format_args!("settle"));
        self.disk.stop_in(None);
        let faults = Faults { lies: self.plan.lies, ..Faults::NONE };
        self.disk.set_faults(Faults { cannot_allocate: self.plan.cannot_allocate, ..faults });
        let now = self.server.tick();
        self.model.advance(now);
        self.hang_up(now)?;
        self.bring_in_order()?;
        if self.is_settled().is_err() {
            // What was written anew after a failure may be a segment that is larger than others. It
            // is given up when there is another one.
            self.model.pause(0, 0, now);
            let conn = self.server.connect();
            let pause = Command::PauseTube(tube_name(0), 0);
            self.server.apply(conn, vec![Request::Command(pause)]);
            self.server.hub.disconnect(conn);
            self.bring_in_order()?;
        }
        self.is_settled()
    }

    fn bring_in_order(&mut self) -> Result<(), Violation> {
        for _ in 0..PATIENCE {
            while !self.failing.is_empty() {
                self.tell_failure();
            }
            self.recover();
            self.note_health();
            while !self.recovered.is_empty() {
                self.record_recovered();
            }
            let needs = self.server.binlog.needs();
            self.prepare();
            self.compact();
            self.sync();
            self.note_health();
            if !(needs.compact || needs.recover || needs.sync) && self.compacted.is_empty() {
                return Ok(());
            }
        }
        let live = self.model.sizes().0;
        Err(format!("never in order: {live} bytes are live: {:?}", self.server.log_use()))
    }

    fn is_settled(&self) -> Result<(), Violation> {
        let log = self.server.log_use();
        if log.health != BinlogHealth::Good {
            return Err(format!("the disk is good, the log says {:?}", log.health));
        }
        if (log.pending_bytes, log.unsynced_bytes) != (0, 0) {
            return Err(format!("something is left to be written: {log:?}"));
        }
        let (live, largest) = self.model.sizes();
        if log.live_bytes != live {
            return Err(format!("{live} bytes are live: {log:?}"));
        }
        let segment = self.plan.options.segment_size;
        let most = 2 * live + 2 * segment + largest;
        if log.bytes > most {
            return Err(format!("{most} bytes would do: {log:?}"));
        }
        // Room may be set aside in the last segment, and in the next.
        let aside = 2 * (segment / 8).max(4096);
        let used: usize = self.disk.segments().iter().map(|(_, bytes)| bytes.len()).sum();
        let used = used as u64;
        // Unless it could not be given back, which is not tried twice.
        if self.plan.per_mille == 0 && used > most + aside {
            return Err(format!("{used} bytes of files: {log:?}"));
        }
        Ok(())
    }
}
