//! Assigns jobs to processes.
//!
//! Owns: the jobs that no process has been sent yet. Each goes to the process with the fewest jobs,
//! and waits while all have the maximum. Must not know: processes.

use super::job::Job;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// One for each process: notified when there is something for it.
    bells: Vec<Notify>,
    /// Maximum number of unanswered jobs of a process.
    pipeline: usize,
}

#[derive(Debug)]
struct State {
    lanes: Vec<Lane>,
    /// Jobs for whichever process has room first.
    waiting: VecDeque<Job>,
    is_stopped: bool,
}

#[derive(Debug, Default)]
struct Lane {
    /// The number of its jobs that are not done, including those in `inbox`.
    assigned: usize,
    inbox: Vec<Job>,
}

/// What a process has to do next.
#[derive(Debug)]
pub(super) enum Next {
    Jobs(Vec<Job>),
    Stop,
}

impl Queue {
    pub(super) fn new(lanes: usize, pipeline: usize) -> Self {
        let state = State {
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            waiting: VecDeque::new(),
            is_stopped: false,
        };
        let bells = (0..lanes).map(|_| Notify::new()).collect();
        Self { state: Mutex::new(state), bells, pipeline }
    }

    pub(super) fn lanes(&self) -> usize {
        self.bells.len()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_stopped
    }

    /// Returns the job if no more are accepted.
    pub(super) fn push(&self, job: Job) -> Result<(), Job> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_stopped {
            return Err(job);
        }
        let least = (0..state.lanes.len()).min_by_key(|&lane| state.lanes[lane].assigned);
        match least {
            Some(lane) if state.lanes[lane].assigned < self.pipeline => {
                state.lanes[lane].assigned += 1;
                state.lanes[lane].inbox.push(job);
                drop(state);
                self.bells[lane].notify_one();
            }
            _ => state.waiting.push_back(job),
        }
        Ok(())
    }

    /// Waits until there is something for this process. Cancel safe.
    pub(super) async fn next(&self, lane: usize) -> Next {
        loop {
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.is_stopped {
                    return Next::Stop;
                }
                let inbox = &mut state.lanes[lane].inbox;
                if !inbox.is_empty() {
                    return Next::Jobs(std::mem::take(inbox));
                }
            }
            self.bells[lane].notified().await;
        }
    }

    /// What there is for this process by now.
    pub(super) fn take(&self, lane: usize) -> Vec<Job> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.lanes[lane].inbox)
    }

    /// This many jobs of this process are done: it has room for others.
    pub(super) fn done(&self, lane: usize, jobs: usize) {
        if jobs == 0 {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { lanes, waiting, .. } = &mut *state;
        lanes[lane].assigned -= jobs;
        while lanes[lane].assigned < self.pipeline
            && let Some(job) = waiting.pop_front()
        {
            // A cancelled job needs no process.
            if job.is_wanted() {
                lanes[lane].assigned += 1;
                lanes[lane].inbox.push(job);
            }
        }
        let has_more = !lanes[lane].inbox.is_empty();
        drop(state);
        if has_more {
            self.bells[lane].notify_one();
        }
    }

    /// Accepts no more jobs. Those that were not sent to any process are dropped, which tells their
    /// callers.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_stopped = true;
        state.waiting.clear();
        state.lanes.iter_mut().for_each(|lane| lane.inbox.clear());
        drop(state);
        self.bells.iter().for_each(Notify::notify_one);
    }
}
