//! A log that commits when the test says so: the second implementation of the seam, and the one that
//! shows what a log of other machines would.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use beanstalk_protocol::{BinlogStats, JobId};
use jq_engine::{Change, Engine, Record, SegmentRef};
use jq_server::log::{
    Appended, Log, LogDriver, LoggedQueue, Opened, Order, Position, Progress, Uncommitted,
};

/// Bodies of so many bytes are stored before their puts are carried out.
pub(crate) const STAGED_FROM: usize = 100_000;

/// What the two halves share, and the test.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    progress: Arc<Progress>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Facts that were appended; a position is a number of them.
    appended: Position,
    committed: Position,
    uncommitted: Uncommitted,
    queue: Option<Arc<dyn LoggedQueue>>,
    /// Somebody has asked for a commit since the last.
    asked: bool,
    /// Bodies to be stored, in the order in which they came.
    orders: VecDeque<Order>,
    /// Jobs whose puts are over, of those whose bodies were to be stored.
    ended: Vec<JobId>,
    /// How often `start` and `stop` were called.
    started: usize,
    stopped: usize,
}

impl Fake {
    /// An empty queue with such a log.
    pub(crate) fn open() -> (Opened, Arc<Self>) {
        let fake = Arc::new(Self::default());
        let log = Box::new(Half(Arc::clone(&fake)));
        let driver = Arc::clone(&fake) as Arc<dyn LogDriver>;
        (Opened { engine: Engine::new(), log, driver }, fake)
    }

    /// How many facts were appended.
    pub(crate) fn appended(&self) -> Position {
        self.lock().appended
    }

    /// How often it was started, and stopped.
    pub(crate) fn lives(&self) -> (usize, usize) {
        let state = self.lock();
        (state.started, state.stopped)
    }

    /// Whether somebody asked for a commit since this was last asked.
    pub(crate) fn is_asked(&self) -> bool {
        std::mem::take(&mut self.lock().asked)
    }

    /// The jobs whose bodies are to be stored.
    pub(crate) fn orders(&self) -> Vec<JobId> {
        self.lock().orders.iter().map(Order::job).collect()
    }

    /// Takes the body that is to be stored next. It is stored, or cannot be, when this is given back or
    /// dropped.
    pub(crate) fn take_order(&self) -> Order {
        self.lock().orders.pop_front().expect("there is one")
    }

    /// The jobs whose puts are over, of those whose bodies were to be stored.
    pub(crate) fn ended(&self) -> Vec<JobId> {
        self.lock().ended.clone()
    }

    /// Everything up to there is committed.
    pub(crate) fn commit(&self, position: Position) {
        let mut state = self.lock();
        state.uncommitted.take();
        let all = position == state.appended;
        state.uncommitted.commit(position, all);
        state.committed = position;
        drop(state);
        self.progress.commit(position);
    }

    /// What is not committed has failed, and new jobs among it are taken back.
    pub(crate) fn fail(&self) {
        let mut state = self.lock();
        let fresh = state.uncommitted.take_fresh();
        let (committed, queue) = (state.committed, state.queue.clone());
        drop(state);
        queue.expect("it was started").take_back(&fresh);
        self.progress.fail(committed);
    }

    /// Another server may write the log from now on.
    pub(crate) fn lose(&self, why: &str) {
        self.progress.lose(why);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding this lock")
    }
}

/// The half under the hub's lock.
#[derive(Debug)]
struct Half(Arc<Fake>);

impl Log for Half {
    fn is_durable(&self) -> bool {
        true
    }

    fn append(&mut self, record: &Record<'_>, urgent: bool) -> Appended {
        let mut state = self.0.lock();
        state.appended += 1;
        let position = state.appended;
        let (id, fresh) = match record {
            Record::Put(job) => (Some(job.now.id), true),
            Record::Update(update) | Record::Moved { now: update, .. } => (Some(update.id), false),
            Record::Delete(id) | Record::Kicked(id) => (Some(*id), false),
            Record::Cleared { .. } => {
                state.uncommitted.add_all();
                (None, false)
            }
            _ => (None, false),
        };
        if let Some(id) = id.filter(|_| urgent) {
            state.uncommitted.add(id);
            if fresh {
                state.uncommitted.add_fresh(id, position);
            }
        }
        Appended { position, ..Appended::default() }
    }

    fn forget(&mut self, _: SegmentRef, _: JobId, _: usize) {}

    fn resize(&mut self, _: SegmentRef, _: usize, _: usize) {}

    fn admits(&self, _: Change) -> bool {
        true
    }

    fn concern(&self, job: JobId) -> Position {
        let state = self.0.lock();
        state.uncommitted.concern(job, state.appended, state.appended)
    }

    fn segment_number(&self, _: SegmentRef) -> u64 {
        0
    }

    fn stats(&self) -> BinlogStats {
        BinlogStats::default()
    }
}

impl LogDriver for Fake {
    fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    fn commit_soon(&self, _: bool) {
        self.lock().asked = true;
    }

    fn stages_from(&self) -> Option<usize> {
        Some(STAGED_FROM)
    }

    fn stage(&self, order: Order) {
        self.lock().orders.push_back(order);
    }

    fn put_ended(&self, job: JobId) {
        self.lock().ended.push(job);
    }

    fn start(self: Arc<Self>, queue: Arc<dyn LoggedQueue>) -> io::Result<()> {
        let mut state = self.lock();
        state.started += 1;
        state.queue = Some(queue);
        Ok(())
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopped += 1;
        // The queue has this log, too.
        state.queue = None;
    }
}
