//! What the clients know of the jobs, all their knowledge taken together.

use std::collections::BTreeMap;

use beanstalk_protocol::{JobId, PutHeader};
use jq_engine::{CloseReason, ConnId, Nanos};

/// The jobs that were put and not deleted.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) jobs: BTreeMap<JobId, Job>,
    /// How many were ever put.
    pub(super) inserted: u64,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) body: Vec<u8>,
    ttr: u32,
    /// Who reserved it last and did not give it back, and when that ends. Nobody is told of the
    /// end, so it may be in the past.
    holder: Option<(ConnId, Nanos)>,
    /// How often its holder vanished: at least, and at most.
    disconnects: (u32, u32),
}

/// What is known about who has a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// There is no such job.
    NoJob,
    Nobody,
    /// For some time yet.
    Conn(ConnId),
    /// Its time is over, but it may take a tick to take effect.
    Overdue(ConnId),
}

impl Ledger {
    pub(super) fn insert(&mut self, id: JobId, header: PutHeader, body: Vec<u8>) {
        let old =
            self.jobs.insert(id, Job { body, ttr: header.ttr, holder: None, disconnects: (0, 0) });
        assert!(old.is_none(), "job {id} was there before");
        self.inserted += 1;
    }

    pub(super) fn holder(&self, now: Nanos, id: JobId) -> Holder {
        match self.jobs.get(&id).map(|job| job.holder) {
            None => Holder::NoJob,
            Some(None) => Holder::Nobody,
            Some(Some((conn, until))) if until > now => Holder::Conn(conn),
            Some(Some((conn, _))) => Holder::Overdue(conn),
        }
    }

    /// The job was shown to somebody.
    pub(super) fn seen(&self, id: JobId, body: &[u8]) {
        let job = self.jobs.get(&id).unwrap_or_else(|| panic!("there is no job {id}"));
        assert_eq!(job.body, body, "the body of job {id}");
    }

    /// The job was given to `conn`.
    pub(super) fn reserve(&mut self, now: Nanos, conn: ConnId, id: JobId, body: &[u8]) {
        self.seen(id, body);
        let holder = self.holder(now, id);
        assert!(
            matches!(holder, Holder::Nobody | Holder::Overdue(_)),
            "job {id} is given to {conn:?} but held: {holder:?}"
        );
        self.extend(now, conn, id);
    }

    /// `conn` has the job for all of its time from now on.
    pub(super) fn extend(&mut self, now: Nanos, conn: ConnId, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.holder = Some((conn, now.after(job.ttr)));
        }
    }

    /// The job is nobody's.
    pub(super) fn give_back(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.holder = None;
        }
    }

    /// `conn` is gone.
    pub(super) fn give_back_all(&mut self, now: Nanos, conn: ConnId, reason: CloseReason) {
        for job in self.jobs.values_mut() {
            let Some((_, until)) = job.holder.filter(|(holder, _)| *holder == conn) else {
                continue;
            };
            job.holder = None;
            if reason == CloseReason::Vanished {
                let (least, most) = &mut job.disconnects;
                *least += u32::from(until > now);
                *most += 1;
            }
        }
    }

    /// `stats-job` said so of the job.
    pub(super) fn counted(&self, id: JobId, disconnects: u32) {
        let job = self.jobs.get(&id).unwrap_or_else(|| panic!("there is no job {id}"));
        let (least, most) = job.disconnects;
        assert!((least..=most).contains(&disconnects), "job {id}: {least} {disconnects} {most}");
    }

    /// Everything that was due has happened: nobody holds a job beyond its time.
    pub(super) fn expire(&mut self, now: Nanos) {
        for job in self.jobs.values_mut() {
            job.holder = job.holder.filter(|(_, until)| *until > now);
        }
    }

    /// Whether a job of `conn` is within its last second.
    pub(super) fn deadline_soon(&self, now: Nanos, conn: ConnId) -> bool {
        let soon = |(holder, until): (ConnId, Nanos)| holder == conn && until.before(1) <= now;
        self.jobs.values().any(|job| job.holder.is_some_and(soon))
    }

    /// How many jobs must be reserved, and how many may be.
    pub(super) fn reserved(&self, now: Nanos) -> (u64, u64) {
        let until = || self.jobs.values().filter_map(|job| job.holder).map(|(_, until)| until);
        (until().filter(|until| *until > now).count() as u64, until().count() as u64)
    }
}
