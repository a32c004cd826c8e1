//! The end of a server, the start of the next, and what that must show.

use jq_server::log::binlog::{ReplayError, SyncPolicy};

use crate::disk::{FakeDisk, Faults};
use crate::facts::Fact;
use crate::flip::Hit;
use crate::history::{Moment, Moments};
use crate::model::Model;
use crate::observe::{Seen, observe, restored};
use crate::server::Server;
use crate::sim::{Sim, Violation};

/// How often a start may be cut short in a row.
const FALSE_STARTS: usize = 3;

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is asked to.
    Closed,
    Killed,
    PowerLost,
}

impl Sim {
    /// The server ends somehow, and another one starts.
    pub(crate) fn restart(&mut self) -> Result<(), Violation> {
        let mut end = match self.rng.u8(..6) {
            0 if !self.disk.is_stopped() && !self.server.hands.are_busy() => End::Closed,
            // That nothing is ever synced is soon tested enough.
            1..5 if self.plan.options.policy == SyncPolicy::Never => End::Killed,
            0..3 => End::Killed,
            _ => End::PowerLost,
        };
        if end == End::Closed {
            let good = self.model.records && self.server.driver.close(&self.server.queue);
            end = if good { End::Closed } else { End::Killed };
        }
        self.tainted |= self.disk.take_lost_writes();
        let mut floor = self.floor(end);
        self.end(end);
        self.disk.set_faults(Faults { per_mille: 0, capacity: u64::MAX, ..self.disk.faults() });
        if (self.plan.options.policy, end) == (SyncPolicy::Never, End::PowerLost) {
            return self.begin_anew();
        }
        if self.rng.u8(..6) == 0 {
            return self.flip(floor);
        }
        if self.rng.u8(..6) == 0 {
            return self.lose(floor);
        }
        for _ in 0..FALSE_STARTS {
            if self.rng.u8(..4) > 0 {
                break;
            }
            // The next one does not get far.
            let operations = self.rng.u64(1..6);
            self.disk.stop_in(Some(operations));
            match Server::start(&self.disk, self.plan.options, &self.time, false) {
                Ok(server) => self.server = server,
                Err(ReplayError::Io { .. }) if self.disk.is_stopped() => {}
                Err(error) => return Err(format!("the server does not start: {error}")),
            }
            let next = self.next_end();
            floor = floor.min(self.floor(next));
            self.end(next);
        }
        match Server::start(&self.disk, self.plan.options, &self.time, false) {
            Ok(server) => self.server = server,
            Err(error) => return Err(format!("the server does not start: {error}")),
        }
        self.check(floor, None)
    }

    /// How a server ends that has just begun. Without any sync, it matters little how.
    fn next_end(&mut self) -> End {
        let never = self.plan.options.policy == SyncPolicy::Never;
        if never || self.rng.bool() { End::Killed } else { End::PowerLost }
    }

    /// Before which moment nothing may be lost.
    fn floor(&self, end: End) -> Moment {
        let (synced, promised) = (self.model.synced, self.model.promised);
        match (self.plan.options.policy, end) {
            (SyncPolicy::Always, _) => promised,
            (_, End::Closed) => self.model.moment,
            (_, End::Killed) if !self.tainted => promised,
            (SyncPolicy::Every(_), _) => synced,
            (SyncPolicy::Never, _) => 0,
        }
    }

    fn end(&mut self, end: End) {
        self.trace.note(format_args!("end {end:?}"));
        match end {
            End::Closed | End::Killed => self.disk.kill(),
            End::PowerLost => self.disk.lose_power(),
        }
        let nanos = self.rng.u64(..2_000_000_000);
        self.time.pass(nanos);
    }

    /// Starts on what is damaged. Returns whether all that is intact must be there. If the power is lost in
    /// the midst, the damage may look like a torn end: what tells it from that may not have been synced.
    pub(crate) fn repair(&mut self) -> Result<bool, Violation> {
        self.disk.kill();
        self.trace.note(format_args!("repair"));
        let mut is_whole = true;
        for _ in 0..FALSE_STARTS {
            if self.rng.bool() {
                break;
            }
            // It is killed in the midst, or just behind that.
            let operations = self.rng.u64(1..40);
            self.disk.stop_in(Some(operations));
            match Server::start(&self.disk, self.plan.options, &self.time, true) {
                Ok(server) => server.driver.finish_repair(&server.queue),
                Err(ReplayError::Io { .. }) if self.disk.is_stopped() => {}
                Err(error) => return Err(format!("cannot repair: {error}")),
            }
            let next = self.next_end();
            is_whole &= next == End::Killed;
            self.end(next);
        }
        let repaired = Server::start(&self.disk, self.plan.options, &self.time, true);
        self.server = repaired.map_err(|error| format!("cannot repair: {error}"))?;
        self.begin_server();
        self.server.driver.finish_repair(&self.server.queue);
        if self.server.binlog.needs().compact || !self.server.queue.taken_back().is_empty() {
            return Err("a repair fails on a good disk".into());
        }
        let again = self.next_end();
        self.end(again);
        let sound = Server::start(&self.disk, self.plan.options, &self.time, false);
        self.server = sound.map_err(|error| format!("still damaged after a repair: {error}"))?;
        Ok(is_whole)
    }

    fn begin_server(&mut self) {
        self.clients.clear();
        self.bulk = None;
        self.tainted = false;
    }

    /// Compares everything that there is with what there was.
    pub(crate) fn check(&mut self, floor: Moment, hit: Option<Hit>) -> Result<(), Violation> {
        self.begin_server();
        let mut restored = restored(&self.server);
        let mut seen = observe(&self.server, self.model.ids);
        self.trace.note(format_args!("since {floor}, {seen:?}"));
        // What a policy did meanwhile comes after what was restored.
        let now = self.server.tick();
        let mut facts = self.server.facts.take();
        for id in facts.iter().filter_map(Fact::job) {
            seen.jobs.extend(restored.remove_entry(&id));
        }
        let mut moments = Moments::new(floor, self.model.moment);
        self.check_sameness(&seen)?;
        for (id, job) in &self.model.jobs {
            let seen = seen.jobs.get(id);
            if hit.is_some_and(|hit| hit.concerns(*id, job)) {
                continue;
            }
            let only = moments.only(&job.kept, |kept| kept.is_shown(seen));
            only.map_err(|error| format!("job {id}: {seen:?} {error}"))?;
        }
        if hit != Some(Hit::Note) {
            for (tube, seen) in self.model.pauses.iter().zip(&seen.pauses) {
                let only = moments.only(tube, |pause| seen.shows(pause));
                only.map_err(|error| format!("pause: {seen:?} {error}"))?;
            }
            for (tube, seen) in self.model.policies.iter().zip(&seen.policies) {
                let only = moments.only(tube, |policy| policy == seen);
                only.map_err(|error| format!("policy: {seen:?} {error}"))?;
            }
            let only = moments.only(&self.model.draining, |draining| *draining == seen.draining);
            only.map_err(|error| format!("draining {}: {error}", seen.draining))?;
        }
        let moment = moments.last()?;
        self.trace.note(format_args!("as at {moment} of {}", self.model.moment));
        self.model.least_id = match hit {
            Some(Hit::Job(id)) => self.model.least_id_after(floor, Some(id)),
            _ => self.model.least_id_after(floor, None),
        };
        self.model.begin(&seen);
        let is_hit = |id| {
            let job = self.model.jobs.get(&id);
            hit.is_some_and(|hit| job.is_some_and(|job| hit.concerns(id, job)))
        };
        facts.retain(|fact| !fact.job().is_some_and(is_hit));
        self.trace.note(format_args!("then, {facts:?}"));
        self.model.advance(now);
        self.model.rules.told = facts;
        self.model.follow()?;
        match hit {
            Some(hit) => self.level(hit),
            None => {
                self.check_buried(&seen)?;
                self.check_counts()
            }
        }
    }

    /// What never changes in a job has not.
    fn check_sameness(&self, seen: &Seen) -> Result<(), Violation> {
        for (id, seen) in &seen.jobs {
            let job = self.model.jobs.get(id).ok_or_else(|| format!("job {id} is back"))?;
            if !job.is_same(seen) {
                return Err(format!("job {id} is another one: {seen:?}: {job:?}"));
            }
        }
        Ok(())
    }

    fn check_buried(&self, seen: &Seen) -> Result<(), Violation> {
        for (tube, first) in seen.first_buried.iter().enumerate() {
            let buried = self.model.buried(tube);
            if *first != buried.first().copied() {
                return Err(format!("{first:?} is the first buried job, not of {buried:?}"));
            }
        }
        Ok(())
    }

    /// Without any sync, the disk keeps what it likes. What can be served is as it was put.
    fn begin_anew(&mut self) -> Result<(), Violation> {
        match Server::start(&self.disk, self.plan.options, &self.time, false) {
            Ok(server) => self.server = server,
            Err(ReplayError::Io { what, error }) => return Err(format!("cannot {what}: {error}")),
            Err(_) => {
                self.repair()?;
            }
        }
        self.start_over()
    }

    /// What can be served is as it was put; more is not known. So another server begins on an empty
    /// disk.
    pub(crate) fn start_over(&mut self) -> Result<(), Violation> {
        self.check_sameness(&observe(&self.server, self.model.ids))?;
        self.disk = FakeDisk::new(self.rng.u64(..));
        self.model = Model::new();
        self.begin_server();
        let server = Server::start(&self.disk, self.plan.options, &self.time, false);
        self.server = server.map_err(|error| format!("an empty disk: {error}"))?;
        Ok(())
    }

    pub(crate) fn start_sound(&mut self, floor: Moment) -> Result<(), Violation> {
        let server = Server::start(&self.disk, self.plan.options, &self.time, false);
        self.server = server.map_err(|error| format!("the server does not start: {error}"))?;
        self.check(floor, None)
    }
}
