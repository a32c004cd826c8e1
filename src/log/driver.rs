//! The part of a log that works outside the hub's lock.
//!
//! A [`Log`](crate::log::Log) takes facts and does no I/O. What takes time (writing, syncing,
//! talking to other machines) is the work of its driver: it starts and stops its own threads or
//! tasks, which access the queue only through [`LoggedQueue`]. So the hub depends only on the
//! interface of a log, and a log only on the interface of a queue.

use std::fmt;
use std::io;
use std::sync::Arc;

use beanstalk_protocol::JobId;
use jq_engine::{Engine, Sink};

use crate::log::{Gated, Order, Progress};

/// The part of a log that works in parallel to the queue.
pub trait LogDriver: fmt::Debug + Send + Sync {
    /// How far the log is committed. Always returns the same value.
    fn progress(&self) -> &Arc<Progress>;

    /// Requests a commit of what was appended. Called after each operation that recorded something
    /// a client may wait for, on the thread of the operation and without the hub's lock. It should
    /// return quickly, unless `alone` is set: no other client has sent anything for a long time, so
    /// nobody is held up if the commit is done right here.
    fn commit_soon(&self, alone: bool);

    /// From how many bytes on the body of a put is to be staged; `None` if none is. Always returns the
    /// same value.
    fn stages_from(&self) -> Option<usize> {
        None
    }

    /// Begins to store a body whose put is not carried out yet. Returns at once. When the body is stored
    /// as durably as facts are, it is given back, and the put is carried out; the record of the job may
    /// then refer to it. Commits do not wait for it.
    fn stage(&self, order: Order) {
        order.give_back();
    }

    /// The put of a job whose body was to be staged is over. It may have been refused, and the body
    /// may not have been staged at all: then nothing of it needs to be kept.
    fn put_ended(&self, _job: JobId) {}

    /// Starts the driver's threads or tasks. Called once, before any client is served, within the
    /// runtime of the main thread.
    fn start(self: Arc<Self>, queue: Arc<dyn LoggedQueue>) -> io::Result<()>;

    /// Commits what is left, and ends what was started. Called once, when no client is served any
    /// more, outside of any runtime. Blocks until it is done.
    fn stop(&self);
}

/// The queue, as the driver of its log sees it. A driver must not hold a lock of the log when it
/// calls these functions.
pub trait LoggedQueue: fmt::Debug + Send + Sync {
    /// Changes the queue, and delivers the resulting answers. All other operations wait meanwhile,
    /// so a long change should be split into several calls. Returns what must be committed before
    /// any client may learn of the change.
    fn change(&self, change: &mut dyn FnMut(&mut Engine, &mut dyn Sink)) -> Gated;

    /// Removes new jobs that could not be recorded. Their puts were not acknowledged.
    fn take_back(&self, jobs: &[JobId]) {
        self.change(&mut |engine, mut sink| {
            for job in jobs {
                engine.take_back(*job, &mut sink);
            }
        });
    }
}
