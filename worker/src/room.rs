//! How many jobs there is room for.
//!
//! A job is reserved only when it can be run. Whoever wants to reserve waits for room, and whoever
//! runs a job holds a [`Permit`].
//!
//! Owns: counts and limits. Must not know: queues and processes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::job::JobType;

/// The limits and what counts against them.
#[derive(Debug)]
pub struct Room {
    state: Mutex<State>,
    /// Whether a job may be reserved.
    open: watch::Sender<bool>,
    /// Notified whenever a job is over.
    freed: Notify,
    /// Becomes true when no jobs are taken any more.
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    limit: usize,
    running: usize,
    by_type: HashMap<JobType, usize>,
    max_unpublished: usize,
    unpublished: usize,
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
        self.running < self.limit
            && self.unpublished < self.max_unpublished
            && !self.held
            && !self.blocked
            && !self.closed
            && !self.alone
            && !self.draining
    }

    /// Whether a job may run that is to be the only one.
    fn is_free_for_one(&self) -> bool {
        let is_open = self.unpublished < self.max_unpublished && !self.held && !self.closed;
        is_open && self.running == 0
    }

    /// Counts one more of this type, unless there are `limit` of them.
    fn count(&mut self, kind: &JobType, limit: usize) -> bool {
        let count = self.by_type.entry(kind.clone()).or_default();
        let has_room = limit == 0 || *count < limit;
        *count += usize::from(has_room);
        has_room
    }
}

impl Room {
    /// Room for `limit` running jobs, as long as fewer than `max_unpublished` results wait to be sent.
    pub fn new(limit: usize, max_unpublished: usize) -> Self {
        let state = State { limit, max_unpublished, ..State::default() };
        Self {
            open: watch::Sender::new(state.is_open()),
            freed: Notify::new(),
            closed: watch::Sender::new(false),
            state: Mutex::new(state),
        }
    }

    /// Changes the limits. Jobs beyond them may finish.
    pub fn set_limits(&self, limit: usize, max_unpublished: usize) {
        self.change(|state| (state.limit, state.max_unpublished) = (limit, max_unpublished));
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
        .then(|| Permit { room: Arc::clone(self), kind: None, alone: false })
    }

    /// Takes no more jobs, so that there will be room for one that is to run alone; or takes them again.
    pub fn set_draining(&self, draining: bool) {
        self.change(|state| state.draining = draining);
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
        taken.then(|| Permit { room: Arc::clone(self), kind: None, alone: true })
    }

    /// Room for one more job of this type, of which there are `limit` at most; 0 is no limit.
    pub fn take_for(self: &Arc<Self>, kind: &JobType, limit: usize) -> Option<Permit> {
        let taken = self.change(|state| {
            let open = state.is_open() && state.count(kind, limit);
            state.running += usize::from(open);
            open
        });
        taken.then(|| Permit { room: Arc::clone(self), kind: Some(kind.clone()), alone: false })
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
        let state = self.state();
        state.unpublished >= state.max_unpublished
    }

    /// Counts a result as unsent until the returned value is dropped.
    pub fn unpublished(self: &Arc<Self>) -> Unpublished {
        self.change(|state| state.unpublished += 1);
        Unpublished { room: Arc::clone(self) }
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
}

impl Permit {
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

    /// Counts the job as one of this type, unless there are `limit` of them; 0 is no limit.
    #[must_use = "without room the job must be given back"]
    pub fn claim(&mut self, kind: &JobType, limit: usize) -> bool {
        let has_room = self.room.state().count(kind, limit);
        if has_room {
            self.kind = Some(kind.clone());
        }
        has_room
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let kind = self.kind.take();
        self.room.change(|state| {
            state.running -= 1;
            state.alone &= !self.alone;
            let Some(kind) = kind else { return };
            if let Some(count) = state.by_type.get_mut(&kind) {
                *count -= 1;
                // Types come from jobs: there may be any number of them.
                if *count == 0 {
                    state.by_type.remove(&kind);
                }
            }
        });
        self.room.freed.notify_one();
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(one.claim(&a, 1));
        assert!(!two.claim(&a, 1));
        assert!(two.claim(&b, 0) && three.claim(&b, 0));
        assert!(room.take_for(&a, 1).is_none());
        drop(one);
        let again = room.take_for(&a, 1).unwrap();
        assert!(!room.take().unwrap().claim(&a, 1));
        drop(again);
        drop((two, three));
        assert!(room.state().by_type.is_empty());
        assert_eq!(room.running(), 0);
    }

    #[test]
    fn one_alone() {
        let room = Arc::new(Room::new(3, 10));
        let (mut first, mut second) = (room.take().unwrap(), room.take().unwrap());
        assert!(!first.make_alone() && !second.make_alone() && !first.is_alone());
        assert!(room.is_open() && room.take_alone().is_none());
        room.set_draining(true);
        assert!(room.take().is_none());
        drop(second);
        assert!(first.make_alone() && first.is_alone());
        room.set_draining(false);
        assert!(room.take().is_none() && room.take_alone().is_none());
        drop(first);
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
