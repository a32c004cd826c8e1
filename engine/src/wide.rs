//! Reserving with a long watch list.
//!
//! A reserve takes the best job of all watched tubes. With a few tubes it is fastest to look at
//! each. With many, [`Wide`] keeps the watched tubes that had a job, ordered by their first job, so
//! that the best is found without looking at the others.
//!
//! Each watched tube is in one of two states:
//! - *armed*: the connection is in the tube's `armed` set, and the tube's entry in
//!   [`Wide::ranking`] is a lower bound of its first job (no entry: it had none). When the first
//!   job is taken, the bound becomes too low; this is noticed when the entry comes first.
//! - *unknown*: the tube may have a better first job. It is in [`Wide::unknown`], and the next
//!   reserve looks at it.
//!
//! A tube that gets a better first job becomes *unknown* for every connection in its `armed` set.
//! That is one step for each connection that has looked at it since the last time, so the cost is
//! covered by those looks.
//!
//! Others may cause more such looks than a reserve can make in one go. Then it makes the rest in steps
//! (`steps.rs`), and its client waits for its answer as that of a large kick does.

use std::collections::{BTreeMap, BTreeSet};

use crate::arena::Ix;
use crate::engine::Engine;
use crate::job::ReadyKey;
use crate::steps::AT_ONCE;

/// A connection that watches more tubes than this gets a [`Wide`],
const WIDE_ABOVE: usize = 16;
/// and keeps it until it watches no more than this many.
const NARROW_FROM: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Wide {
    ranking: BTreeSet<(ReadyKey, Ix)>,
    /// The key of each tube in the ranking.
    ranked: BTreeMap<Ix, ReadyKey>,
    unknown: BTreeSet<Ix>,
}

impl Wide {
    fn rank(&mut self, tube: Ix, key: Option<ReadyKey>) {
        let old = match key {
            Some(key) => self.ranked.insert(tube, key),
            None => self.ranked.remove(&tube),
        };
        if old == key {
            return;
        }
        if let Some(old) = old {
            self.ranking.remove(&(old, tube));
        }
        if let Some(key) = key {
            self.ranking.insert((key, tube));
        }
    }
}

/// Which of the watched tubes has the best job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Best {
    /// This one.
    Tube(Ix),
    /// There is no job that can be reserved.
    None,
    /// There is more to look at than can be in one go.
    Unknown,
}

impl Engine {
    /// The watched tube with the best job that can be reserved. If there are many, looks at so many of them
    /// at most, and takes that off.
    #[inline]
    pub(crate) fn best_tube(&mut self, conn: Ix, looks: &mut u64) -> Best {
        let state = &self.conns[conn];
        if state.wide.is_some() {
            return self.best_of_many(conn, looks);
        }
        let available = |tube: &Ix| self.tubes[*tube].available().map(|key| (key, *tube));
        let best = state.watched.keys().filter_map(available).min();
        best.map_or(Best::None, |(_, tube)| Best::Tube(tube))
    }

    #[inline(never)]
    fn best_of_many(&mut self, conn: Ix, looks: &mut u64) -> Best {
        let state = &mut self.conns[conn];
        let Some(wide) = &mut state.wide else { return Best::None };
        while *looks > 0 {
            *looks -= 1;
            if let Some(tube) = wide.unknown.pop_first() {
                wide.rank(tube, self.tubes[tube].available());
                self.tubes[tube].armed.insert(conn);
            } else if let Some(&(key, tube)) = wide.ranking.first() {
                let actual = self.tubes[tube].available();
                if actual == Some(key) {
                    return Best::Tube(tube);
                }
                wide.rank(tube, actual);
            } else if state.unqueued.len() as u64 > AT_ONCE {
                // It is going to wait, which must not begin with all of this.
                let ticket = self.next_ticket;
                if let Some(tube) = state.unqueued.pop_first() {
                    state.watched.insert(tube, Some(ticket));
                    self.tubes[tube].queue.insert((ticket, conn));
                }
            } else {
                return Best::None;
            }
        }
        Best::Unknown
    }

    /// Call this when the tube has got a better first job.
    #[inline]
    pub(crate) fn alert(&mut self, tube: Ix) {
        if self.tubes[tube].armed.is_empty() {
            return;
        }
        for conn in std::mem::take(&mut self.tubes[tube].armed) {
            if let Some(wide) = &mut self.conns[conn].wide {
                wide.unknown.insert(tube);
            }
        }
    }

    /// Call this when `conn`, which is not waiting, has begun to watch the tube.
    pub(crate) fn widen(&mut self, conn: Ix, tube: Ix) {
        let state = &mut self.conns[conn];
        if let Some(wide) = &mut state.wide {
            // Looks at it now, rather than at all of them at the next reserve.
            let watched = &mut self.tubes[tube];
            wide.rank(tube, watched.available());
            watched.armed.insert(conn);
            watched.wide_watchers += 1;
        } else if state.watched.len() > WIDE_ABOVE {
            let unknown: BTreeSet<Ix> = state.watched.keys().copied().collect();
            for tube in &unknown {
                self.tubes[*tube].wide_watchers += 1;
            }
            state.wide = Some(Box::new(Wide { unknown, ..Wide::default() }));
        }
    }

    /// Call this when `conn`, which is not waiting, no longer watches the tube.
    pub(crate) fn narrow(&mut self, conn: Ix, tube: Ix) {
        let state = &mut self.conns[conn];
        let Some(wide) = &mut state.wide else { return };
        wide.unknown.remove(&tube);
        wide.rank(tube, None);
        let left = &mut self.tubes[tube];
        left.wide_watchers -= 1;
        left.armed.remove(&conn);
        if state.watched.len() <= NARROW_FROM {
            state.wide = None;
            for tube in state.watched.keys() {
                let tube = &mut self.tubes[*tube];
                tube.wide_watchers -= 1;
                tube.armed.remove(&conn);
            }
        }
    }
}
