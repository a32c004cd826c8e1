//! Bodies in files of their own: which there are, and which of them nobody needs any more.
//!
//! A large body is stored in the file `body-N` of job N before its put is carried out, so that nobody
//! else waits for it. The job's record says how long the body is and what its checksum is. The file
//! holds the body and nothing else, is on the disk before a record refers to it, and never changes. It
//! is removed when the deletion of the job is as durable as it will be.

use std::collections::{HashMap, VecDeque};

use beanstalk_protocol::JobId;

use crate::log::Position;
use crate::log::binlog::format::StoredBody;

const PREFIX: &str = "body-";

/// The name of the file with the body of this job.
pub fn body_name(job: JobId) -> String {
    format!("{PREFIX}{job:010}")
}

/// The job whose body is in a file of this name.
pub fn body_job(name: &str) -> Option<JobId> {
    let job = name.strip_prefix(PREFIX)?.parse().ok()?;
    (body_name(job) == name).then_some(job)
}

/// The bodies in files of their own.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    jobs: HashMap<JobId, Kept>,
    /// Jobs whose bodies are needed no more, each with the position up to which the log must be durable
    /// before the file goes, in order.
    unneeded: VecDeque<(Position, JobId)>,
    /// Bytes of all.
    bytes: u64,
    /// Bytes of those that are recorded.
    live: u64,
}

/// A body in a file.
#[derive(Debug)]
struct Kept {
    body: StoredBody,
    /// How many records of the job there are that are not forgotten: two for a moment when it is
    /// recorded again, otherwise one. None before its put is carried out.
    records: u32,
}

impl Bodies {
    /// Those that a replay has found, all of jobs that there are.
    pub(crate) fn found(found: impl Iterator<Item = (JobId, StoredBody)>) -> Self {
        let mut bodies = Self::default();
        for (job, body) in found {
            bodies.stored(job, body);
            bodies.recorded(job);
        }
        bodies
    }

    /// The length of the shortest, in bytes.
    pub(crate) fn shortest(&self) -> Option<usize> {
        self.jobs.values().map(|kept| kept.body.len as usize).min()
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of those whose jobs there are.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live
    }

    /// The body of this job is on the disk. Its put comes next, or [`Self::put_ended`].
    pub(crate) fn stored(&mut self, job: JobId, body: StoredBody) {
        self.bytes += u64::from(body.len);
        self.jobs.insert(job, Kept { body, records: 0 });
    }

    /// There is a record of this job, or another one. Returns the job's body, if that is stored.
    #[cold]
    #[inline(never)]
    pub(crate) fn recorded(&mut self, job: JobId) -> Option<StoredBody> {
        let kept = self.jobs.get_mut(&job)?;
        kept.records += 1;
        if kept.records == 1 {
            self.live += u64::from(kept.body.len);
        }
        Some(kept.body)
    }

    /// The put of this job is over. If it was refused, the body is not needed. Returns whether that is
    /// so.
    pub(crate) fn put_ended(&mut self, job: JobId) -> bool {
        if self.jobs.get(&job).is_none_or(|kept| kept.records > 0) {
            return false;
        }
        // It may also have been carried out, and the job be gone already.
        if !self.unneeded.iter().any(|(_, other)| *other == job) {
            self.unneeded.push_front((0, job));
        }
        true
    }

    /// A record of this job is needed no more. If there is no other, neither is the body, as soon as all
    /// is durable that was recorded up to this position: the job was deleted, or its put was taken back.
    /// Returns the body, if that is stored.
    #[cold]
    #[inline(never)]
    pub(crate) fn forgotten(&mut self, job: JobId, position: Position) -> Option<StoredBody> {
        let kept = self.jobs.get_mut(&job)?;
        kept.records = kept.records.saturating_sub(1);
        if kept.records == 0 {
            self.live -= u64::from(kept.body.len);
            self.unneeded.push_back((position, job));
        }
        Some(kept.body)
    }

    /// Whether there is a body that nobody needs, now that the log is durable up to this position.
    pub(crate) fn has_unneeded(&self, durable: Position) -> bool {
        self.unneeded.front().is_some_and(|(position, _)| *position <= durable)
    }

    /// The next of these. From here on it is not known any more.
    pub(crate) fn next_unneeded(&mut self, durable: Position) -> Option<JobId> {
        if !self.has_unneeded(durable) {
            return None;
        }
        let (_, job) = self.unneeded.pop_front()?;
        if let Some(kept) = self.jobs.remove(&job) {
            self.bytes -= u64::from(kept.body.len);
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: StoredBody = StoredBody { len: 1000, crc: 7 };

    #[test]
    fn a_body_goes_when_its_deletion_is_durable() {
        let mut bodies = Bodies::default();
        bodies.stored(5, BODY);
        assert_eq!((bodies.bytes(), bodies.live_bytes()), (1000, 0));
        assert_eq!(bodies.recorded(5), Some(BODY));
        assert!(!bodies.put_ended(5), "it was not refused");
        // Recorded again, by compaction.
        assert_eq!(bodies.recorded(5), Some(BODY));
        assert_eq!(bodies.forgotten(5, 60), Some(BODY));
        assert!(!bodies.has_unneeded(u64::MAX));
        assert_eq!((bodies.bytes(), bodies.live_bytes()), (1000, 1000));
        assert_eq!(bodies.forgotten(5, 70), Some(BODY));
        assert_eq!((bodies.bytes(), bodies.live_bytes()), (1000, 0));
        assert_eq!(bodies.next_unneeded(69), None);
        assert_eq!(bodies.next_unneeded(70), Some(5));
        assert_eq!((bodies.bytes(), bodies.forgotten(5, 80)), (0, None));
    }

    #[test]
    fn a_body_whose_put_is_refused_goes_at_once() {
        let mut bodies = Bodies::default();
        for job in [5, 6] {
            bodies.stored(job, BODY);
        }
        bodies.recorded(5);
        bodies.forgotten(5, 70);
        assert!(bodies.put_ended(5), "it was carried out, and the job is gone");
        assert!(bodies.put_ended(6));
        assert_eq!(bodies.next_unneeded(0), Some(6), "although another one has to wait");
        assert_eq!(bodies.next_unneeded(0), None);
        assert_eq!(bodies.bytes(), 1000);
    }

    #[test]
    fn names_are_of_jobs() {
        assert_eq!(body_name(7), "body-0000000007");
        for job in [0, 7, u64::MAX] {
            assert_eq!(body_job(&body_name(job)), Some(job));
        }
        for name in ["body-7", "body-", "body-00000000x7", "segment-0000000007"] {
            assert_eq!(body_job(name), None, "{name}");
        }
    }
}
