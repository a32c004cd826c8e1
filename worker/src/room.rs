//! How many jobs there is room for.
//!
//! A job is reserved only when it can be run. Whoever wants to reserve waits for room, and whoever
//! runs a job holds a [`Permit`].
//!
//! Owns: counts and limits. Must not know: queues and processes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::job::JobType;

/// What a job has for itself while it runs: so many units of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The resource.
    pub name: String,
    /// How many units a job has; at least 1.
    pub count: u32,
    /// How many there are.
    pub of: u32,
}

/// What a job of a type counts against, beside the limit for all jobs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demand<'a> {
    /// Most jobs of the type at a time; 0 is no limit.
    pub limit: usize,
    /// What it has for itself.
    pub needs: &'a [Need],
}

/// Units of a resource that a job has for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    /// The resource.
    pub name: String,
    /// Which of its units, counted from 0.
    pub numbers: Vec<u32>,
}

/// The limits and what counts against them.
#[derive(Debug)]
pub struct Room {
    state: Mutex<State>,
    /// Whether a job may be reserved.
    open: watch::Sender<bool>,
    /// Notified whenever a job is over.
    freed: Notify,
    /// The same, for any number of waiters.
    left: Notify,
    /// Becomes true when no jobs are taken any more.
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    limit: usize,
    /// Most jobs whose processes are not over yet; 0 is no limit.
    most: usize,
    running: usize,
    /// How many of these have only their result to be dealt with.
    finishing: usize,
    by_type: HashMap<JobType, usize>,
    /// The units of each resource that jobs have.
    taken: HashMap<String, BTreeSet<u32>>,
    max_unpublished: usize,
    unpublished: usize,
    max_unstored: usize,
    unstored: usize,
    held: bool,
    blocked: bool,
    closed: bool,
    /// A job runs that is to be the only one.
    alone: bool,
    /// Such a job waits for the others to end.
    draining: bool,
}

impl State {
    fn is_open(&self) -> bool {
        self.space() > 0
            && !self.is_in_debt()
            && !self.held
            && !self.blocked
            && !self.closed
            && !self.alone
            && !self.draining
    }

    fn is_in_debt(&self) -> bool {
        self.unpublished >= self.max_unpublished || self.unstored >= self.max_unstored
    }

    /// For how many more jobs there is room, as far as their number is concerned.
    fn space(&self) -> usize {
        let free = self.limit.saturating_sub(self.running);
        match self.most {
            0 => free,
            most => free.min(most.saturating_sub(self.running - self.finishing)),
        }
    }

    /// As if nothing ran.
    fn all(&self) -> usize {
        if self.most == 0 { self.limit } else { self.limit.min(self.most) }
    }

    /// What a job had of its type, and for itself, is free.
    fn give_up(&mut self, kind: Option<JobType>, units: Vec<Units>) {
        for Units { name, numbers } in units {
            if let Some(taken) = self.taken.get_mut(&name) {
                taken.retain(|unit| !numbers.contains(unit));
            }
        }
        let Some(kind) = kind else { return };
        if let Some(count) = self.by_type.get_mut(&kind) {
            *count -= 1;
            // Types come from jobs: there may be any number of them.
            if *count == 0 {
                self.by_type.remove(&kind);
            }
        }
    }

    /// Whether a job may run that is to be the only one.
    fn is_free_for_one(&self) -> bool {
        let is_open = !self.is_in_debt() && !self.held && !self.closed;
        is_open && self.running == 0
    }

    /// Counts one more of this type, and takes what it needs, if there is room for both.
    fn count(&mut self, kind: &JobType, demand: Demand<'_>) -> Option<Vec<Units>> {
        let count = self.by_type.get(kind).copied().unwrap_or(0);
        if demand.limit != 0 && count >= demand.limit {
            return None;
        }
        let units: Vec<_> =
            demand.needs.iter().map(|need| self.free(need)).collect::<Option<_>>()?;
        for Units { name, numbers } in &units {
            self.taken.entry(name.clone()).or_default().extend(numbers);
        }
        self.by_type.insert(kind.clone(), count + 1);
        Some(units)
    }

    /// The units that a job could have. `None`: there are fewer than it needs.
    fn free(&self, need: &Need) -> Option<Units> {
        let taken = self.taken.get(&need.name);
        let free = (0..need.of).filter(|unit| !taken.is_some_and(|taken| taken.contains(unit)));
        let numbers: Vec<_> = free.take(need.count as usize).collect();
        let is_enough = numbers.len() == need.count as usize;
        is_enough.then(|| Units { name: need.name.clone(), numbers })
    }
}

impl Room {
    /// Room for `limit` running jobs, as long as fewer than `max_unpublished` results wait to be sent.
    pub fn new(limit: usize, max_unpublished: usize) -> Self {
        let max_unstored = usize::MAX;
        let state = State { limit, max_unpublished, max_unstored, ..State::default() };
        Self {
            open: watch::Sender::new(state.is_open()),
            freed: Notify::new(),
            left: Notify::new(),
            closed: watch::Sender::new(false),
            state: Mutex::new(state),
        }
    }

    /// Changes the limits. Jobs beyond them may finish.
    pub fn set_limits(&self, limit: usize, max_unpublished: usize) {
        self.change(|state| (state.limit, state.max_unpublished) = (limit, max_unpublished));
    }

    /// Takes no jobs while so many results wait for the store that workers share.
    pub fn set_max_unstored(&self, most: usize) {
        self.change(|state| state.max_unstored = most);
    }

    /// Changes how many jobs may have processes that are not over yet; 0 is any number.
    pub fn set_most_running(&self, most: usize) {
        self.change(|state| state.most = most);
    }

    /// Takes no jobs until told otherwise, or takes them again.
    pub fn set_held(&self, held: bool) {
        self.change(|state| state.held = held);
    }

    /// Takes no jobs while something of this machine does not work, or takes them again.
    pub fn set_blocked(&self, blocked: bool) {
        self.change(|state| state.blocked = blocked);
    }

    /// Takes no jobs any more.
    pub fn close(&self) {
        self.change(|state| state.closed = true);
        self.closed.send_replace(true);
    }

    /// Waits until it is closed.
    pub async fn closed(&self) {
        // The sender lives as long as `self`.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Whether no jobs are taken until told otherwise.
    pub fn is_held(&self) -> bool {
        self.state().held
    }

    /// Whether no jobs are taken any more.
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// How many jobs run.
    pub fn running(&self) -> usize {
        self.state().running
    }

    /// Whether there is room.
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Waits until there is room.
    pub async fn wait_open(&self) {
        // The sender lives as long as `self`.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    /// Waits until there is room for so many jobs, or for a quarter of all.
    pub async fn wait_for_some(&self, most: usize) {
        loop {
            let left = self.left.notified();
            {
                let state = self.state();
                if state.space() >= most.min(state.all() / 4) {
                    return;
                }
            }
            left.await;
        }
    }

    /// Waits until there is no room.
    pub async fn wait_full(&self) {
        let _ = self.open.subscribe().wait_for(|open| !*open).await;
    }

    /// Room for one more job, if there is any.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        self.change(|state| {
            let open = state.is_open();
            state.running += usize::from(open);
            open
        })
        .then(|| Permit::new(self))
    }

    /// Takes no more jobs, so that there will be room for one that is to run alone; or takes them again.
    pub fn set_draining(&self, draining: bool) {
        self.change(|state| state.draining = draining);
    }

    /// Whether a job runs that is to be the only one, or waits for the others to end.
    pub fn is_for_one(&self) -> bool {
        let state = self.state();
        state.alone || state.draining
    }

    /// Room for a job while nothing else runs, if nothing does. No other is taken until it is over.
    pub fn take_alone(self: &Arc<Self>) -> Option<Permit> {
        if !self.state().is_free_for_one() {
            return None;
        }
        let taken = self.change(|state| {
            let free = state.is_free_for_one();
            state.running += usize::from(free);
            state.alone |= free;
            free
        });
        taken.then(|| {
            let mut permit = Permit::new(self);
            permit.alone = true;
            permit
        })
    }

    /// Room for one more job of this type, with what it needs.
    pub fn take_for(self: &Arc<Self>, kind: &JobType, demand: Demand<'_>) -> Option<Permit> {
        let units = self.change(|state| {
            let units = if state.is_open() { state.count(kind, demand) } else { None };
            state.running += usize::from(units.is_some());
            units
        })?;
        let mut permit = Permit::new(self);
        (permit.kind, permit.units) = (Some(kind.clone()), units);
        Some(permit)
    }

    /// Whether one more job of this type could run, as far as its own limits are concerned.
    pub fn fits(&self, kind: &JobType, demand: Demand<'_>) -> bool {
        let state = self.state();
        let count = state.by_type.get(kind).copied().unwrap_or(0);
        (demand.limit == 0 || count < demand.limit)
            && demand.needs.iter().all(|need| state.free(need).is_some())
    }

    /// How many units of a resource jobs have.
    pub fn in_use(&self, resource: &str) -> usize {
        self.state().taken.get(resource).map_or(0, BTreeSet::len)
    }

    /// Whether there is too little of something that a job needs.
    pub fn lacks(&self, needs: &[Need]) -> bool {
        let state = self.state();
        needs.iter().any(|need| state.free(need).is_none())
    }

    /// Waits until a job is over, or one could run alone that has to. Returns at once if that was so since
    /// the last call. For one caller.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Has who waits for [`freed`](Self::freed) look again.
    pub fn nudge(&self) {
        self.freed.notify_one();
    }

    /// Whether so many results wait to be sent that no jobs are taken.
    pub fn is_in_debt(&self) -> bool {
        self.state().is_in_debt()
    }

    /// Counts a result that waits for the shared store until the returned value is dropped.
    pub fn unstored(self: &Arc<Self>) -> Unstored {
        self.change(|state| state.unstored += 1);
        Unstored { room: Arc::clone(self) }
    }

    /// Counts a result as unsent until the returned value is dropped.
    pub fn unpublished(self: &Arc<Self>) -> Unpublished {
        self.change(|state| state.unpublished += 1);
        Unpublished { room: Arc::clone(self) }
    }

    fn notify(&self) {
        self.freed.notify_one();
        self.left.notify_waiters();
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        let open = state.is_open();
        // Under the lock, so that the last word is the true one.
        self.open.send_if_modified(|was| std::mem::replace(was, open) != open);
        let is_awaited = state.draining && state.is_free_for_one();
        drop(state);
        if is_awaited {
            self.freed.notify_one();
        }
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are whole between two statements, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one job, until dropped.
#[derive(Debug)]
pub struct Permit {
    room: Arc<Room>,
    kind: Option<JobType>,
    alone: bool,
    units: Vec<Units>,
    is_finishing: bool,
}

impl Permit {
    fn new(room: &Arc<Room>) -> Self {
        let room = Arc::clone(room);
        Self { room, kind: None, alone: false, units: Vec::new(), is_finishing: false }
    }

    /// Whether nothing else runs until this is dropped.
    pub fn is_alone(&self) -> bool {
        self.alone || self.room.state().limit == 1
    }

    /// Has nothing else run until this is dropped. False: something does already.
    #[must_use = "others may run"]
    pub fn make_alone(&mut self) -> bool {
        if !self.alone {
            self.alone = self.room.change(|state| {
                state.alone = state.running == 1;
                state.alone
            });
        }
        self.alone
    }

    /// Whether it counts as one of this type already.
    pub fn is_for(&self, kind: &JobType) -> bool {
        self.kind.as_ref() == Some(kind)
    }

    /// Counts the job as one of this type, with what it needs, if there is room for it.
    #[must_use = "without room the job must be given back"]
    pub fn claim(&mut self, kind: &JobType, demand: Demand<'_>) -> bool {
        let claimed = self.room.state().count(kind, demand);
        claimed.is_some_and(|units| {
            self.kind = Some(kind.clone());
            self.units = units;
            true
        })
    }

    /// What the job has for itself.
    pub fn units(&self) -> &[Units] {
        &self.units
    }

    /// The processes of the job are over, and its result is left to be dealt with: what it had of its type, and
    /// for itself, is free. It counts among all jobs still.
    pub fn finish(&mut self) {
        if std::mem::replace(&mut self.is_finishing, true) {
            return;
        }
        let (kind, units) = (self.kind.take(), std::mem::take(&mut self.units));
        self.room.change(|state| {
            state.finishing += 1;
            state.give_up(kind, units);
        });
        self.room.notify();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (kind, units) = (self.kind.take(), std::mem::take(&mut self.units));
        self.room.change(|state| {
            state.running -= 1;
            state.finishing -= usize::from(self.is_finishing);
            state.alone &= !self.alone;
            state.give_up(kind, units);
        });
        self.room.notify();
    }
}

/// Counts a result as unsent, until dropped.
#[derive(Debug)]
pub struct Unpublished {
    room: Arc<Room>,
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        self.room.change(|state| state.unpublished -= 1);
    }
}

/// A result that waits for the shared store, until dropped.
#[derive(Debug)]
pub struct Unstored {
    room: Arc<Room>,
}

impl Drop for Unstored {
    fn drop(&mut self) {
        self.room.change(|state| state.unstored -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(limit: usize) -> Demand<'static> {
        Demand { limit, needs: &[] }
    }

    #[test]
    fn each_has_for_itself_what_it_needs() {
        let room = Arc::new(Room::new(10, 10));
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let need = |count, of| [Need { name: "gpu".into(), count, of }];
        let (one, two) = (need(1, 3), need(2, 3));
        let of_one = Demand { limit: 0, needs: &one };
        let of_two = Demand { limit: 0, needs: &two };
        let first = room.take_for(&a, of_one).unwrap();
        assert_eq!(first.units(), [Units { name: "gpu".into(), numbers: vec![0] }]);
        let mut second = room.take().unwrap();
        assert!(second.claim(&b, of_two));
        assert_eq!(second.units()[0].numbers, [1, 2]);
        assert!(room.take_for(&a, of_one).is_none() && room.lacks(&one));
        assert!(!room.fits(&a, of_one) && room.fits(&a, most(0)) && !room.fits(&b, most(1)));
        assert_eq!((room.in_use("gpu"), room.in_use("other")), (3, 0));
        // What needs nothing of it runs beside them, and what does not fit takes nothing.
        assert!(room.take_for(&a, most(0)).is_some());
        drop(first);
        assert!(room.take_for(&b, of_two).is_none() && !room.lacks(&one));
        let third = room.take_for(&a, of_one).unwrap();
        assert_eq!(third.units()[0].numbers, [0]);
        // There may be fewer than there were.
        drop((second, third));
        let fewer = need(1, 1);
        let _only = room.take_for(&a, Demand { limit: 0, needs: &fewer }).unwrap();
        assert!(room.take_for(&a, Demand { limit: 0, needs: &fewer }).is_none());
        assert_eq!(room.state().by_type.len(), 1);
    }

    #[test]
    fn as_many_as_the_limit() {
        let room = Arc::new(Room::new(2, 10));
        let first = room.take().unwrap();
        assert!(room.is_open());
        let second = room.take().unwrap();
        assert!(!room.is_open());
        assert!(room.take().is_none());
        drop(first);
        assert!(room.is_open() && room.running() == 1);
        room.set_limits(1, 10);
        assert!(room.take().is_none());
        drop(second);
        assert!(room.take().is_some());
    }

    #[test]
    fn as_many_of_a_type_as_its_limit() {
        let room = Arc::new(Room::new(10, 10));
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let (mut one, mut two, mut three) =
            (room.take().unwrap(), room.take().unwrap(), room.take().unwrap());
        assert!(one.claim(&a, most(1)));
        assert!(!two.claim(&a, most(1)));
        assert!(two.claim(&b, most(0)) && three.claim(&b, most(0)));
        assert!(room.take_for(&a, most(1)).is_none());
        drop(one);
        let again = room.take_for(&a, most(1)).unwrap();
        assert!(!room.take().unwrap().claim(&a, most(1)));
        drop(again);
        drop((two, three));
        assert!(room.state().by_type.is_empty());
        assert_eq!(room.running(), 0);
    }

    #[test]
    fn a_job_that_is_finishing_leaves_room_for_its_type_but_not_among_all() {
        let room = Arc::new(Room::new(3, 10));
        room.set_most_running(1);
        let kind = "a".parse().unwrap();
        let needs = [Need { name: "gpu".into(), count: 1, of: 1 }];
        let demand = Demand { limit: 1, needs: &needs };
        let mut permits = Vec::new();
        for _ in 0..3 {
            let mut permit = room.take_for(&kind, demand).unwrap();
            assert!(!room.is_open() && room.lacks(&needs));
            permit.finish();
            permit.finish();
            assert!(!room.lacks(&needs));
            permits.push(permit);
        }
        assert!(!room.is_open() && room.running() == 3);
        permits.pop();
        let running = room.take_for(&kind, demand).unwrap();
        permits.clear();
        assert!(!room.is_open() && room.running() == 1);
        room.set_most_running(0);
        assert!(room.is_open());
        drop(running);
        assert!(room.state().by_type.is_empty());
    }

    #[test]
    fn one_alone() {
        let room = Arc::new(Room::new(3, 10));
        let (mut first, mut second) = (room.take().unwrap(), room.take().unwrap());
        assert!(!first.make_alone() && !second.make_alone() && !first.is_alone());
        assert!(room.is_open() && room.take_alone().is_none() && !room.is_for_one());
        room.set_draining(true);
        assert!(room.take().is_none() && room.is_for_one());
        drop(second);
        assert!(first.make_alone() && first.is_alone());
        room.set_draining(false);
        assert!(room.take().is_none() && room.take_alone().is_none() && room.is_for_one());
        drop(first);
        assert!(!room.is_for_one());
        let alone = room.take_alone().unwrap();
        assert!(alone.is_alone() && room.take().is_none());
        drop(alone);
        assert!(room.take().is_some_and(|permit| !permit.is_alone()));
        room.set_held(true);
        assert!(room.take_alone().is_none());
    }

    #[tokio::test]
    async fn one_that_is_to_run_alone_is_told_when_it_can() {
        let room = Arc::new(Room::new(3, 1));
        room.set_held(true);
        room.set_draining(true);
        room.set_held(false);
        room.freed().await;
        let unpublished = room.unpublished();
        assert!(room.take_alone().is_none());
        drop(unpublished);
        room.freed().await;
        assert!(room.take_alone().is_some());
    }

    #[tokio::test]
    async fn some_room_is_waited_for() {
        let room = Arc::new(Room::new(8, 10));
        room.wait_for_some(4).await;
        let mut permits: Vec<_> = (0..7).map(|_| room.take().unwrap()).collect();
        let mut waiting = std::pin::pin!(room.wait_for_some(4));
        let is_pending = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending())
        });
        assert!(is_pending.await);
        permits.pop();
        // A quarter.
        waiting.await;
        permits.pop();
        permits.pop();
        room.wait_for_some(4).await;
    }

    #[tokio::test]
    async fn what_keeps_it_closed() {
        let room = Arc::new(Room::new(1, 1));
        room.wait_open().await;
        room.set_held(true);
        room.wait_full().await;
        room.set_held(false);
        room.set_blocked(true);
        assert!(room.take().is_none());
        room.set_blocked(false);
        let unpublished = room.unpublished();
        assert!(room.take().is_none());
        drop(unpublished);
        room.wait_open().await;
        room.close();
        assert!(room.take().is_none() && room.is_closed());
    }
}
