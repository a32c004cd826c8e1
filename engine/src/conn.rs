//! The state of a connection.

use std::collections::BTreeSet;
use std::hash::{BuildHasherDefault, DefaultHasher};

use beanstalk_protocol::{JobId, PutHeader};
use indexmap::IndexMap;

use crate::arena::Ix;
use crate::engine::CloseReason;
use crate::heap::JobHeap;
use crate::job::DeadlineKey;
use crate::steps::{Kicking, Seeking};
use crate::time::Nanos;
use crate::timers::Listed;
use crate::waiting::Ticket;
use crate::wide::Wide;

/// In this many seconds before the end of a reserved job's time to run, a reserve command answers
/// `DEADLINE_SOON` rather than waiting.
pub(crate) const SAFETY_MARGIN: u32 = 1;

/// The watched tubes, in the order of `list-tubes-watched`: the order of watching, except that the
/// last one takes the place of one that is ignored. The value is the ticket under which the
/// connection stands in the tube's queue, if it does.
pub(crate) type WatchList = IndexMap<Ix, Option<Ticket>, BuildHasherDefault<DefaultHasher>>;

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) used: Ix,
    pub(crate) watched: WatchList,
    /// Watched tubes whose queue the connection is not in.
    pub(crate) unqueued: BTreeSet<Ix>,
    /// Present while the connection watches many tubes.
    pub(crate) wide: Option<Box<Wide>>,
    pub(crate) reserved: JobHeap<DeadlineKey>,
    /// The put whose body is arriving.
    pub(crate) incoming: Option<Incoming>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) is_producer: bool,
    pub(crate) is_worker: bool,
    /// The client will send nothing more, so it must not wait either.
    pub(crate) half_closed: bool,
    /// The client is gone, for this reason, and its jobs are being given back.
    pub(crate) leaving: Option<CloseReason>,
    /// A `kick` in progress that takes many steps.
    pub(crate) kicking: Option<Box<Kicking>>,
    /// A reserve in progress that takes many steps.
    pub(crate) seeking: Option<Box<Seeking>>,
    /// When the next step of `leaving`, `kicking` or `seeking` is due.
    pub(crate) next_step: Nanos,
    pub(crate) listed: Listed,
}

#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) id: JobId,
    pub(crate) header: PutHeader,
    pub(crate) tube: Ix,
    /// Whether the tube was paused or had a policy when the line was received: one that is set later
    /// does not concern this put.
    pub(crate) special: bool,
    /// When the line was received: the job's age counts from here, its delay from when the body is
    /// complete.
    pub(crate) created: Nanos,
}

/// A reserve command that is not answered yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) ticket: Ticket,
    /// When the wait ends with `TIMED_OUT`.
    pub(crate) until: Nanos,
    /// For the first job of a batch.
    pub(crate) batch: bool,
}

impl Conn {
    /// A connection that uses and watches `tube`.
    pub(crate) fn new(tube: Ix) -> Self {
        Self {
            used: tube,
            watched: WatchList::from_iter([(tube, None)]),
            unqueued: BTreeSet::from([tube]),
            wide: None,
            reserved: JobHeap::new(),
            incoming: None,
            waiting: None,
            is_producer: false,
            is_worker: false,
            half_closed: false,
            leaving: None,
            kicking: None,
            seeking: None,
            next_step: Nanos::NEVER,
            listed: Listed::NOT,
        }
    }

    /// Takes a tube out of the watch list of a connection that is gone, with its ticket. The order in which
    /// idle tubes disappear is visible in `list-tubes`: the first watched tube, then the last, and on
    /// towards the second.
    pub(crate) fn next_unwatched(&mut self) -> Option<(Ix, Option<Ticket>)> {
        self.watched.swap_remove_index(0)
    }

    /// Whether a reserved job is within the last second of its time to run.
    pub(crate) fn deadline_soon(&self, now: Nanos) -> bool {
        self.soonest().is_some_and(|at| at.before(SAFETY_MARGIN) <= now)
    }

    /// When the first reserved job times out.
    fn soonest(&self) -> Option<Nanos> {
        self.reserved.first().map(|((at, _), _)| at)
    }

    /// When something is due for this connection: a reserved job times out, a wait ends, or a step
    /// is to be taken.
    pub(crate) fn deadline(&self) -> Nanos {
        let job = self.soonest().unwrap_or(Nanos::NEVER);
        match self.waiting {
            Some(waiting) => job.before(SAFETY_MARGIN).min(waiting.until),
            // The jobs of a connection that is gone do not time out: they are given back.
            None if self.leaving.is_some() => self.next_step,
            None => job.min(self.next_step),
        }
    }
}
