//! An ordered set of jobs: a heap with four children per node, whose jobs know their position.
//!
//! Four children per node halve the depth of a binary heap, and lie next to each other in memory. A
//! job that knows its position can be removed from the middle, which `delete`, `touch` and
//! `kick-job` need.

use crate::arena::Ix;
use crate::growth;

const ARITY: usize = 4;

/// Up to this many entries, a heap keeps its capacity. Above, it shrinks with its contents.
const SMALL: usize = 64;

/// Stores the positions of jobs.
pub(crate) trait Positions {
    /// The job is now at this position of its heap.
    fn set_position(&mut self, job: Ix, position: u32);
}

/// Jobs in the order of their keys. Keys are unique: each contains the job's id or a turn.
#[derive(Debug)]
pub(crate) struct JobHeap<K> {
    items: Vec<(K, Ix)>,
}

impl<K: Ord + Copy> JobHeap<K> {
    pub(crate) fn new() -> Self {
        Self { items: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// The entry with the smallest key.
    #[inline]
    pub(crate) fn first(&self) -> Option<(K, Ix)> {
        self.items.first().copied()
    }

    /// The key at a position, as reported to [`Positions`].
    pub(crate) fn key_at(&self, position: u32) -> K {
        self.items[position as usize].0
    }

    pub(crate) fn push(&mut self, key: K, job: Ix, positions: &mut impl Positions) {
        let at = self.items.len();
        growth::push(&mut self.items, (key, job));
        self.rise(at, positions);
    }

    /// Removes the entry at `position` and returns it.
    pub(crate) fn remove(&mut self, position: u32, positions: &mut impl Positions) -> (K, Ix) {
        let at = position as usize;
        let removed = self.items.swap_remove(at);
        if at < self.items.len() {
            self.settle(at, positions);
        }
        self.shrink();
        removed
    }

    /// Takes out the entry at the last position, which moves no other.
    pub(crate) fn take_last(&mut self) -> Option<Ix> {
        let (_, job) = self.items.pop()?;
        self.shrink();
        Some(job)
    }

    /// Frees memory when most of it is unused.
    #[inline]
    fn shrink(&mut self) {
        if self.items.capacity() > SMALL && self.items.len() < self.items.capacity() / 4 {
            self.items.shrink_to(self.items.capacity() / 2);
        }
    }

    /// All jobs, in no particular order.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = Ix> {
        self.items.iter().map(|(_, job)| *job)
    }

    /// All jobs, in the order of a part of their keys.
    pub(crate) fn in_order_of<P: Ord>(&self, part: impl Fn(K) -> P) -> Vec<Ix> {
        let mut items = self.items.clone();
        items.sort_by_key(|(key, _)| part(*key));
        items.into_iter().map(|(_, job)| job).collect()
    }

    /// Gives the entry at `position` another key.
    pub(crate) fn set_key(&mut self, position: u32, key: K, positions: &mut impl Positions) {
        self.items[position as usize].0 = key;
        self.settle(position as usize, positions);
    }

    /// Moves the entry at `at` to where it belongs.
    fn settle(&mut self, at: usize, positions: &mut impl Positions) {
        if at > 0 && self.items[at].0 < self.items[(at - 1) / ARITY].0 {
            self.rise(at, positions);
        } else {
            self.sink(at, positions);
        }
    }

    fn rise(&mut self, mut at: usize, positions: &mut impl Positions) {
        let item = self.items[at];
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if self.items[parent].0 <= item.0 {
                break;
            }
            self.place(at, self.items[parent], positions);
            at = parent;
        }
        self.place(at, item, positions);
    }

    fn sink(&mut self, mut at: usize, positions: &mut impl Positions) {
        let item = self.items[at];
        loop {
            let children = at * ARITY + 1;
            let end = (children + ARITY).min(self.items.len());
            let Some(child) = (children..end).min_by_key(|child| self.items[*child].0) else {
                break;
            };
            if item.0 <= self.items[child].0 {
                break;
            }
            self.place(at, self.items[child], positions);
            at = child;
        }
        self.place(at, item, positions);
    }

    fn place(&mut self, at: usize, item: (K, Ix), positions: &mut impl Positions) {
        self.items[at] = item;
        positions.set_position(item.1, at as u32);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    impl Positions for Vec<u32> {
        fn set_position(&mut self, job: Ix, position: u32) {
            self[job as usize] = position;
        }
    }

    /// A job and its key, to be pushed, changed or removed.
    #[derive(Debug, Clone)]
    enum Step {
        Put(Ix, u32),
        Remove(Ix),
        RemoveFirst,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0u32..40, 0u32..50).prop_map(|(job, key)| Step::Put(job, key)),
            1 => (0u32..40).prop_map(Step::Remove),
            1 => Just(Step::RemoveFirst),
        ]
    }

    proptest! {
        /// Against an ordered set: pushes, changes of keys, removals from the front and the middle.
        #[test]
        fn behaves_like_an_ordered_set(steps in prop::collection::vec(step(), 0..150)) {
            let mut heap = JobHeap::new();
            let mut positions = vec![u32::MAX; 40];
            let mut model: BTreeSet<(u32, Ix)> = BTreeSet::new();
            for step in steps {
                let key_of = |job| model.iter().find(|key| key.1 == job).copied();
                match step {
                    Step::Put(job, key) => {
                        match key_of(job) {
                            Some(old) => {
                                heap.set_key(positions[job as usize], (key, job), &mut positions);
                                model.remove(&old);
                            }
                            None => heap.push((key, job), job, &mut positions),
                        }
                        model.insert((key, job));
                    }
                    Step::Remove(job) => {
                        if let Some(key) = key_of(job) {
                            let position = positions[job as usize];
                            prop_assert_eq!(heap.remove(position, &mut positions).1, job);
                            model.remove(&key);
                        }
                    }
                    Step::RemoveFirst => {
                        if let Some((_, job)) = model.pop_first() {
                            prop_assert_eq!(heap.remove(0, &mut positions).1, job);
                        }
                    }
                }
                prop_assert_eq!(heap.first().map(|(key, _)| key), model.first().copied());
                let jobs: Vec<Ix> = model.iter().map(|key| key.1).collect();
                prop_assert_eq!(heap.in_order_of(|key| key), jobs);
                for key in &model {
                    prop_assert_eq!(heap.key_at(positions[key.1 as usize]), *key);
                }
            }
        }
    }

    #[test]
    fn memory_goes_back_when_entries_go() {
        let mut heap = JobHeap::new();
        let mut positions = vec![u32::MAX; 10_000];
        for job in 0..10_000 {
            heap.push(job, job, &mut positions);
        }
        while heap.first().is_some() {
            heap.remove(0, &mut positions);
        }
        assert!(heap.items.capacity() <= SMALL, "{} places are left", heap.items.capacity());
    }
}
