//! The engine.

use beanstalk_protocol::{Command, Request};
use jq_engine::{ConnId, Flow};

use self::session::Session;
use crate::{BATCH, TIMES};

#[path = "../../../engine/benches/support/mod.rs"]
mod session;

/// Jobs that lie in the queue.
const DEPTH: u32 = 10_000;

/// A queue in some state, with a connection that works and one that waits for jobs.
#[derive(Debug)]
pub struct Queue {
    session: Session,
    waiter: ConnId,
}

impl Queue {
    fn of(mut session: Session) -> Self {
        let waiter = session.engine.connect();
        Self { session, waiter }
    }

    /// Nothing in it.
    pub fn empty() -> Self {
        Self::of(Session::default())
    }

    /// Many ready jobs of one priority.
    pub fn deep() -> Self {
        Self::of(Session::with_jobs(DEPTH, |_| 1))
    }

    /// This queue, observed.
    #[must_use]
    pub fn observed(mut self) -> Self {
        self.session.engine.observe(self.session.now, 1000);
        self
    }

    /// Many ready jobs in no order.
    pub fn mixed() -> Self {
        // Multiplied by a prime that has nothing to do with the modulus: all priorities, shuffled.
        Self::of(Session::with_jobs(DEPTH, |job| job * 7919 % 1000))
    }

    /// Jobs that the connection has reserved.
    pub fn reserved() -> Self {
        let mut session = Session::with_jobs(TIMES, |_| 1);
        for _ in 0..TIMES {
            session.command(Command::Reserve);
        }
        Self::of(session)
    }

    /// Jobs that are delayed.
    pub fn delayed() -> Self {
        let mut session = Session::default();
        for _ in 0..TIMES {
            session.put(1, 60);
        }
        Self::of(session)
    }

    /// Buried jobs.
    pub fn buried() -> Self {
        let mut queue = Self::reserved();
        for id in 1..=u64::from(TIMES) {
            queue.session.command(Command::Bury { id, priority: 1 });
        }
        queue
    }

    /// Puts jobs.
    #[must_use]
    pub fn put(mut self) -> Self {
        for _ in 0..TIMES {
            self.session.put(1, 0);
        }
        self
    }

    /// Reserves jobs and deletes them.
    #[must_use]
    pub fn take(mut self) -> Self {
        for _ in 0..TIMES {
            self.session.take();
        }
        self
    }

    /// Takes jobs, and puts others of many priorities.
    #[must_use]
    pub fn exchange(mut self) -> Self {
        for job in 0..TIMES {
            self.session.take();
            self.session.put(job * 7919 % 1000, 0);
        }
        self
    }

    /// Somebody waits for a job, gets it when it is put, and deletes it.
    #[must_use]
    pub fn wake(mut self) -> Self {
        for _ in 0..TIMES {
            let flow = self.session.request(self.waiter, Request::Command(Command::Reserve));
            assert_eq!(flow, Flow::Blocked);
            self.session.put(1, 0);
            let delete = Command::Delete(self.session.sink.0);
            self.session.request(self.waiter, Request::Command(delete));
        }
        self
    }

    /// Touches jobs, one after the other.
    #[must_use]
    pub fn touch(mut self) -> Self {
        for id in 1..=u64::from(TIMES) {
            self.session.command(Command::Touch(id));
        }
        self
    }

    /// Lets delays end.
    #[must_use]
    pub fn fall_due(mut self) -> Self {
        self.session.tick(self.session.now.after(61));
        self
    }

    /// Kicks buried jobs, some at a time.
    #[must_use]
    pub fn kick(mut self) -> Self {
        for _ in 0..TIMES as usize / BATCH {
            self.session.command(Command::Kick(BATCH as u32));
        }
        self
    }
}
