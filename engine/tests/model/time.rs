//! What falls due, in the model.

use beanstalk_protocol::{JobId, Reply, TubeName};
use jq_engine::{Answer, ConnId, Nanos, Sink};

use super::{Model, Place};

/// Something that happens when its time comes.
#[derive(Debug, Clone)]
enum Event {
    /// The job's delay ends.
    Ripens(JobId),
    /// The tube's pause ends.
    Resumes(TubeName),
    /// The tube's reserves are possible again.
    Refills(TubeName),
    /// Nobody has taken the job in time.
    Expires(JobId),
    /// A reserved job of the waiting connection enters its last second.
    DeadlineSoon(ConnId),
    /// The connection's wait times out.
    TimedOut(ConnId),
    /// The job's time to run expires.
    TimesOut(JobId),
}

/// When an event is due, and which of several at one moment comes first: tubes before connections,
/// lower numbers before higher, delays before pauses and these before policies, the end of a wait before the end of a time to
/// run, `DEADLINE_SOON` before `TIMED_OUT`, what began earlier before what began later.
type Due = (Nanos, bool, u32, u8, u64);

impl Model {
    /// Carries out the first event that is due at `now`. Returns whether there was one.
    pub(crate) fn step(&mut self, now: Nanos, sink: &mut impl Sink) -> bool {
        let events = self.events();
        let Some((due, event)) = events.into_iter().min_by_key(|(due, _)| *due) else {
            return false;
        };
        if due.0 > now {
            return false;
        }
        match event {
            Event::Ripens(job) => self.make_ready(now, job, sink),
            Event::Resumes(tube) => self.resume(now, &tube, sink),
            Event::Refills(tube) => self.end_throttle(now, &tube, sink),
            Event::Expires(job) => self.expire(now, job, sink),
            Event::DeadlineSoon(conn) => {
                self.conn(conn).waiting = None;
                sink.answer(conn, Answer::Reply(Reply::DeadlineSoon));
            }
            Event::TimedOut(conn) => {
                self.conn(conn).waiting = None;
                sink.answer(conn, Answer::Reply(Reply::TimedOut));
            }
            Event::TimesOut(job) => {
                self.timeouts += 1;
                self.see(job, |seen, _| seen.activity.timeouts += 1);
                self.job(job).timeouts += 1;
                if !self.gives_up(now, job, sink) {
                    self.job(job).ready_at = now;
                    self.make_ready(now, job, sink);
                }
            }
        }
        true
    }

    /// When the next event is due.
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        self.events().iter().map(|(due, _)| due.0).min().filter(|at| *at < Nanos::NEVER)
    }

    fn events(&self) -> Vec<(Due, Event)> {
        let mut events = Vec::new();
        for tube in &self.tubes {
            if let Some(pause) = tube.pause {
                let due = (pause.until, false, tube.number, 1, 0);
                events.push((due, Event::Resumes(tube.name.clone())));
            }
            if let Some(until) = Self::throttled_until(tube) {
                let due = (until, false, tube.number, 2, 0);
                events.push((due, Event::Refills(tube.name.clone())));
            }
        }
        for job in &self.jobs {
            if let Some((at, order)) = self.expiry(job) {
                let tube = self.tubes.iter().find(|tube| tube.name == job.tube);
                let number = tube.expect("a job keeps its tube").number;
                events.push(((at, false, number, 3, order), Event::Expires(job.id)));
            }
            match job.place {
                Place::Delayed { until, order } => {
                    let tube = self.tubes.iter().find(|tube| tube.name == job.tube);
                    let number = tube.expect("a job keeps its tube").number;
                    events.push(((until, false, number, 0, order), Event::Ripens(job.id)));
                }
                Place::Reserved { by, until, order } => {
                    events.push(((until, true, by.0, 2, order), Event::TimesOut(job.id)));
                    let owner = self.conns.iter().find(|conn| conn.id == by);
                    if owner.expect("an owner is connected").waiting.is_some() {
                        let due = (until.before(1), true, by.0, 0, order);
                        events.push((due, Event::DeadlineSoon(by)));
                    }
                }
                Place::Arriving { .. } | Place::Ready | Place::Buried { .. } => {}
            }
        }
        for conn in &self.conns {
            if let Some(waiting) = conn.waiting {
                let due = (waiting.until, true, conn.id.0, 1, 0);
                events.push((due, Event::TimedOut(conn.id)));
            }
        }
        events
    }
}
