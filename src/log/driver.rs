//! What a log brings along besides the half that stands under the hub's lock.
//!
//! A [`Log`](crate::log::Log) takes facts and does no I/O. What takes time (writing, syncing, asking
//! other machines) is its driver's work: threads or tasks of its own, which it starts and stops, and
//! which reach the queue only through [`LoggedQueue`]. So the hub knows of logs in general, and a log
//! knows of queues in general; neither names the other.

use std::fmt;
use std::io;
use std::sync::Arc;

use beanstalk_protocol::JobId;
use jq_engine::{Engine, Sink};

use crate::log::{Gated, Progress};

/// The half of a log that works beside the queue.
pub trait LogDriver: fmt::Debug + Send + Sync {
    /// How far the log is committed. Always the same one.
    fn progress(&self) -> &Arc<Progress>;

    /// Somebody waits for what was appended. Called after each operation that recorded something,
    /// without the hub's lock, on the thread of the operation; so it must not take long. `alone` says
    /// that nobody else has asked for anything for a long time, so that nobody would be held up if it
    /// did.
    fn commit_soon(&self, alone: bool);

    /// Starts what works beside the queue. Called once, before anybody is served, within the runtime
    /// of the main thread.
    fn start(self: Arc<Self>, queue: Arc<dyn LoggedQueue>) -> io::Result<()>;

    /// Commits what is left, and ends what was started. Called once, when nobody is served any more,
    /// outside of any runtime; blocks until it is done.
    fn stop(&self);
}

/// The queue, as the driver of its log sees it. Never called with a lock of the log's held.
pub trait LoggedQueue: fmt::Debug + Send + Sync {
    /// Changes the queue, and delivers what comes of that. Everybody waits meanwhile, so a long
    /// change is made of several calls. Returns what must be committed before anybody may be told.
    fn change(&self, change: &mut dyn FnMut(&mut Engine, &mut dyn Sink)) -> Gated;

    /// Takes back new jobs whose records failed, of which nobody has been told.
    fn take_back(&self, jobs: &[JobId]) {
        self.change(&mut |engine, mut sink| {
            for job in jobs {
                engine.take_back(*job, &mut sink);
            }
        });
    }
}
