//! What is refused: limits of the server, and of a tube.

use beanstalk_protocol::{JobId, Seconds};

use super::Ruled;
use crate::arena::Ix;
use crate::engine::Engine;
use crate::refusals::Cause;
use crate::tube::Tube;

/// Limits of the whole server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of jobs, in any state.
    pub jobs: u64,
    /// Maximum number of bytes that jobs take: their bodies, and what each has besides.
    pub memory: u64,
}

impl Limits {
    /// Everything is allowed.
    pub const NONE: Self = Self { jobs: u64::MAX, memory: u64::MAX };
}

impl Default for Limits {
    fn default() -> Self {
        Self::NONE
    }
}

/// What the policy of its tube makes of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// A new job, with this time to run; 0 counts as 1.
    New { ttr: Seconds },
    /// The answer is this job, which is there already.
    Known(JobId),
    /// It is refused.
    Full(Cause),
}

impl Engine {
    /// Sets the limits of the whole server. They apply to puts from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.guard();
    }

    /// Call this when the server's settings or limits have changed: one look at each put tells that
    /// there are none.
    pub(crate) fn guard(&mut self) {
        self.guarded = self.settings.draining || self.limits != Limits::NONE;
    }

    /// The limits of the whole server.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the server takes another job with a body of this size; otherwise why not.
    #[cold]
    #[inline(never)]
    pub(crate) fn server_admits(&self, bytes: usize) -> Result<(), Cause> {
        let Limits { jobs, memory } = self.limits;
        if self.settings.draining {
            Err(Cause::Draining)
        } else if self.job_count() as u64 >= jobs {
            Err(Cause::MaxJobs)
        } else if self.jobs.held_with(bytes) > memory {
            Err(Cause::MaxMemory)
        } else {
            Ok(())
        }
    }

    /// What the policy of this tube makes of a put with this time to run, of a job that has this number if it
    /// is new. It is counted among those of the tube already.
    #[cold]
    #[inline(never)]
    pub(crate) fn ruled_put(&mut self, tube: Ix, new: JobId, ttr: Seconds, body: &[u8]) -> Ruling {
        let ruling = self.ruling(tube, new, ttr, body);
        match ruling {
            Ruling::New { .. } => {}
            Ruling::Known(_) => self.count_ruling(tube, |counts| counts.duplicates += 1),
            Ruling::Full(_) => self.count_ruling(tube, |counts| counts.refused += 1),
        }
        ruling
    }

    fn ruling(&mut self, tube: Ix, new: JobId, ttr: Seconds, body: &[u8]) -> Ruling {
        let Tube { ruled, jobs, bytes, .. } = &mut self.tubes[tube];
        let Some(Ruled { policy, unique, .. }) = ruled.as_deref_mut() else {
            return Ruling::New { ttr };
        };
        let hash = match unique.as_ref().map(|unique| unique.find(body, &self.jobs)) {
            Some(Ok(known)) => return Ruling::Known(self.jobs[known].id),
            Some(Err(hash)) => Some(hash),
            None => None,
        };
        if policy.max_jobs.is_some_and(|most| *jobs > most) {
            return Ruling::Full(Cause::TubeMaxJobs);
        }
        let after = bytes.saturating_add(body.len() as u64);
        if policy.max_bytes.is_some_and(|most| after > most) {
            return Ruling::Full(Cause::TubeMaxBytes);
        }
        if let (Some(unique), Some(hash)) = (unique, hash) {
            unique.expect(new, hash);
        }
        Ruling::New { ttr: if ttr == 0 { policy.default_ttr.unwrap_or(0) } else { ttr } }
    }
}
