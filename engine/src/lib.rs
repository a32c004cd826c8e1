//! The beanstalk queue itself: jobs, tubes, connections and deadlines as one deterministic state
//! machine.
//!
//! Owns: every rule about which job goes where and when. [`Engine::handle`] handles one request of
//! one connection, [`Engine::tick`] lets time pass. Both report the outcome through a [`Sink`].
//!
//! Must not know: sockets, threads, the operating system's clock, logging. Time is an argument
//! ([`Nanos`]), so the same calls give the same answers, and a failure can be replayed from its
//! seed.
//!
//! Cost is proportional to the work done: no command and no timer scans all tubes, jobs,
//! connections or reservations. The data structures behind this are described in their modules:
//! `heap` for the ready and delayed jobs, `timers` for the deadlines, `wide` for connections
//! that watch many tubes, and `waiting` for the order in which waiting connections are served.

mod arena;
mod attempts;
mod body;
mod bulk;
mod clear;
mod commands;
mod conn;
mod dispatch;
mod engine;
mod extensions;
pub mod growth;
mod heap;
mod histogram;
mod index;
mod inspect;
mod job;
mod list;
mod moves;
mod observe;
mod operations;
mod places;
mod policy;
mod put;
mod ready;
mod record;
mod refusals;
mod restore;
mod scheduling;
mod settings;
mod sink;
mod stats;
mod steps;
mod time;
mod timers;
mod tube;
mod waiting;
mod wide;

pub use body::Body;
pub use bulk::{Bulk, BulkCounts, BulkFlow, Filter, StepSize};
pub use engine::{CloseReason, ConnId, Engine, Flow};
pub use histogram::Histogram;
pub use inspect::{ConnInfo, Cursor, JobInfo, Page, PageSize};
pub use observe::{Activity, Oldest, Overall, Times, TubeView};
pub use operations::{Action, JobChange, Refusal};
pub use places::{JobPlace, TubeRef, TubeSums};
pub use policy::{Limits, Policy};
pub use put::{Inserted, NewJob, PutRefusal};
pub use record::{
    Change, DurableState, JobCounters, JobIds, JobRecord, JobUpdate, Pause, Record, SegmentRef,
    ServerSettings, Subject, TubeSettings,
};
pub use refusals::{Cause, Refusals};
pub use sink::{Answer, JobBatch, Sink, TubeNames};
pub use time::Nanos;
