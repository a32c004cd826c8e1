//! Runs one command for one job, so that nothing of it is left afterwards.
//!
//! Owns: processes. How a command is started with its limits, how its output is captured in bounded
//! memory, how it is ended at its time limit, and how everything that it started is found and
//! killed, whatever session or process group it moved to. Must not know: jobs, queues, results,
//! HTTP, configuration. The caller decides what a command means.
//!
//! # How nothing outlives its job
//!
//! A process group is not enough: one `setsid` leaves it. So each concurrent run has a *keeper*
//! ([`keeper`]): a tiny process of our own executable, to which the kernel reparents every orphan
//! of the run (`PR_SET_CHILD_SUBREAPER`). It handles one run at a time, so all of its descendants
//! belong to that run, and a run is over when the keeper has no children left.
//!
//! - The worker dies, even by `kill -9`: the keeper's socket closes, and it kills everything and
//!   exits.
//! - The keeper dies: its command gets `SIGKILL` from the kernel (`PR_SET_PDEATHSIG`). The other
//!   processes become children of the worker, if [`adopt_orphans`] was called, and the worker kills
//!   them.
//! - Both die at the same moment: only the command itself is certain to die.
//!
//! # Layers, each knowing only those before it
//!
//! `command`: what to start. `wire`: the messages between worker and keeper. [`keeper`]: the keeper
//! process. `cgroup`: limits for all processes of a run together. `orphans` and `keepers`: the
//! worker's end. `capture`, `pipes`, `livelog`: input and output. `clock`: the steps of ending a
//! run. `once`: one process for one job. `persistent`: one process for many jobs.

mod capture;
mod cgroup;
mod clock;
mod command;
mod error;
pub mod keeper;
mod keepers;
mod livelog;
mod once;
mod orphans;
mod persistent;
mod pipes;
mod priority;
mod procfs;
mod progress;
mod wire;

pub use capture::{Captured, TAIL};
pub use cgroup::Cgroups;
pub use command::{Identity, Limits};
pub use error::{RunError, StartProblem};
pub use keepers::Keepers;
pub use livelog::{LiveLog, LogEvent, LogReader, Stream};
pub use once::{EndedBy, Finished, Spec, run};
pub use orphans::{adopt_orphans, keep_keepers_going};
pub use persistent::{Answer, Persistent, PersistentError, PersistentOptions};
pub use priority::{IoPriority, may_have as may_have_priority};
pub use progress::of_line as progress_of_line;
pub use wire::{Exit, Usage};
