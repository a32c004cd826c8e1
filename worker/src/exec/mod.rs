//! Runs one command for one job, such that nothing of it is left afterwards.
//!
//! Owned here: processes. How a command is started with its limits, how its output is captured
//! without growing, how it is ended at its time limit, and how everything that it started is
//! found and killed, whatever session or process group it moved to. Not known here: jobs, queues,
//! results, HTTP, configuration. Who calls decides what a command means.
//!
//! # How nothing outlives its job
//!
//! A process group is not enough: one `setsid` leaves it. So each concurrent run has a *keeper*
//! ([`keeper`]): a tiny process of our own executable, to which the kernel hands every orphan of
//! the run (`PR_SET_CHILD_SUBREAPER`). It keeps one run at a time, so whatever is its descendant
//! belongs to that run, and a run is over when the kernel says that the keeper has no child left.
//!
//! - The worker dies, by `kill -9` too: the keeper's socket closes, it kills all and exits.
//! - The keeper dies: its command gets `SIGKILL` from the kernel (`PR_SET_PDEATHSIG`), and the
//!   rest becomes the worker's, if [`adopt_orphans`] was called, which kills it.
//! - Both die at the same moment: only the command itself is certain to die.
//!
//! # Layers, each knowing only those before it
//!
//! `command`: what to start. `wire`: what worker and keeper say to each other. [`keeper`]: the
//! other process. `cgroup`: limits for all processes of a run together. `orphans` and `keepers`:
//! the worker's end. `capture`, `pipes`, `livelog`: input and output. `clock`: the steps of an
//! end. `once`: one process for one job. `persistent`: one process for many.

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
mod procfs;
mod progress;
mod wire;

pub use capture::{Captured, TAIL};
pub use cgroup::Cgroups;
pub use command::Limits;
pub use error::{RunError, StartProblem};
pub use keepers::Keepers;
pub use livelog::{LiveLog, LogEvent, LogReader, Stream};
pub use once::{EndedBy, Finished, Spec, run};
pub use orphans::adopt_orphans;
pub use persistent::{Answer, Persistent, PersistentError, PersistentOptions};
pub use wire::{Exit, Usage};
