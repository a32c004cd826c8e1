//! Whether a job kills its workers.
//!
//! Two things are known. This worker notes which jobs run, so after its death the next start counts them
//! ([`Crashes`]); and the queue counts how often a connection that had reserved the job vanished. Neither
//! is proof: the other jobs that ran died with the worker too, and connections are lost for many reasons.
//! beanstalkd does not even tell a connection that vanished from one that gave the job back by its end,
//! which any worker does that cannot run it: there its number alone makes nobody suspicious.
//! So a job that is suspected runs while nothing else does. Then it is done, and all is well, or the
//! worker dies again, and it is known which job is the cause.
//!
//! Owns: the verdict, as a pure function. Must not know: where the numbers come from.

use crate::store::Crashes;

/// From so many vanished connections on, a job is suspected by workers that know nothing else against it.
/// One is what any outage of the network leaves.
const SUSPECTED_FROM: u32 = 2;

/// A job is buried without a crash of this worker if so many times as many connections vanished as crashes
/// are allowed: then workers die that do not keep their state.
const WITHOUT_STATE: u32 = 10;

/// What speaks against a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// How often a worker with this state directory died while it ran.
    pub own: Crashes,
    /// How often, by the queue, a connection that had reserved it vanished, less what this worker knows the
    /// reason of.
    pub vanished: u32,
    /// Whether the queue counts exactly that. Otherwise it is what is left of the reserves, and whoever gave
    /// the job back is counted too.
    pub is_exact: bool,
}

/// What is to be done with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspicion {
    /// It is run as any other.
    None,
    /// It is run while nothing else runs.
    RunAlone,
    /// It is not run any more, for this reason.
    Guilty(String),
}

impl Evidence {
    /// What is to be done. `max_crashes` is how often workers may die; 0: nobody counts.
    pub fn judge(self, max_crashes: u32) -> Suspicion {
        let Self { own, vanished, is_exact } = self;
        if max_crashes == 0 {
            return Suspicion::None;
        }
        let crashes = own.all.max(vanished);
        if own.alone > 0 && crashes >= max_crashes {
            let times = if crashes == 1 { "once".to_owned() } else { format!("{crashes} times") };
            return Suspicion::Guilty(format!("a worker died {times} while this job ran"));
        }
        if is_exact && vanished >= max_crashes.saturating_mul(WITHOUT_STATE) {
            let why = "the connection of a worker was lost";
            return Suspicion::Guilty(format!("{why} {vanished} times while this job ran"));
        }
        if own.all > 0 || (is_exact && vanished >= SUSPECTED_FROM) {
            return Suspicion::RunAlone;
        }
        Suspicion::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(all: u32, alone: u32, vanished: u32) -> Suspicion {
        Evidence { own: Crashes { all, alone }, vanished, is_exact: true }.judge(3)
    }

    #[test]
    fn only_a_job_that_ran_alone_is_guilty() {
        assert_eq!(judge(0, 0, 0), Suspicion::None);
        assert_eq!(judge(0, 0, 1), Suspicion::None);
        assert_eq!(judge(0, 0, 2), Suspicion::RunAlone);
        assert_eq!(judge(1, 0, 1), Suspicion::RunAlone);
        assert_eq!(judge(5, 0, 9), Suspicion::RunAlone);
        assert_eq!(judge(1, 1, 2), Suspicion::RunAlone);
        assert!(matches!(judge(3, 2, 3), Suspicion::Guilty(_)));
        assert!(matches!(judge(1, 1, 3), Suspicion::Guilty(_)));
    }

    #[test]
    fn it_ends_also_where_no_worker_remembers() {
        assert_eq!(judge(0, 0, 29), Suspicion::RunAlone);
        assert!(matches!(judge(0, 0, 30), Suspicion::Guilty(_)));
        let inexact = Evidence { vanished: 1000, ..Evidence::default() };
        assert_eq!(inexact.judge(3), Suspicion::None);
        let own = |all, alone| Evidence { own: Crashes { all, alone }, ..inexact }.judge(3);
        assert_eq!(own(1, 0), Suspicion::RunAlone);
        assert!(matches!(own(2, 1), Suspicion::Guilty(_)));
        assert_eq!(Evidence { is_exact: true, ..inexact }.judge(0), Suspicion::None);
    }
}
