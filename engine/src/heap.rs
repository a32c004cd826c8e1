//! An ordered set of jobs: a heap with four children to a node, whose jobs know their position.
//!
//! Four children halve the depth of two, and lie side by side in memory. A job that knows its
//! position can leave from the middle, which `delete`, `touch` and `kick-job` need.

use crate::arena::Ix;

const ARITY: usize = 4;

/// A heap keeps its capacity below this many entries; above it shrinks with its contents.
const SMALL: usize = 64;

/// Where the positions are kept.
pub(crate) trait Positions {
    /// The job is at this position of its heap now.
    fn set_position(&mut self, job: Ix, position: u32);
}

/// Jobs in the order of their keys. Keys are unique: each has the job's number in it.
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

    /// The key at a position that [`Positions`] was told.
    pub(crate) fn key_at(&self, position: u32) -> K {
        self.items[position as usize].0
    }

    pub(crate) fn push(&mut self, key: K, job: Ix, positions: &mut impl Positions) {
        self.items.push((key, job));
        self.rise(self.items.len() - 1, positions);
    }

    /// Takes the entry at `position` out and returns its job.
    pub(crate) fn remove(&mut self, position: u32, positions: &mut impl Positions) -> Ix {
        let at = position as usize;
        let (_, job) = self.items.swap_remove(at);
        if at < self.items.len() {
            self.settle(at, positions);
        }
        if self.items.capacity() > SMALL && self.items.len() < self.items.capacity() / 4 {
            self.items.shrink_to(self.items.capacity() / 2);
        }
        job
    }

    /// Takes the entry with the smallest key out.
    pub(crate) fn pop(&mut self, positions: &mut impl Positions) -> Option<(K, Ix)> {
        let first = self.first()?;
        self.remove(0, positions);
        Some(first)
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

    proptest! {
        /// Against an ordered set: pushes, pops, removals from the middle, changes of key.
        #[test]
        fn behaves_like_an_ordered_set(steps in prop::collection::vec((0u8..4, 0u32..40, 0u32..50), 0..300)) {
            let mut heap = JobHeap::new();
            let mut positions = vec![u32::MAX; 40];
            let mut keys = [None; 40];
            let mut model = BTreeSet::new();
            for (what, job, key) in steps {
                let key = (key, job);
                match (what, keys[job as usize]) {
                    (0 | 1, None) => {
                        heap.push(key, job, &mut positions);
                        model.insert(key);
                        keys[job as usize] = Some(key);
                    }
                    (0, Some(old)) => {
                        heap.set_key(positions[job as usize], key, &mut positions);
                        model.remove(&old);
                        model.insert(key);
                        keys[job as usize] = Some(key);
                    }
                    (1 | 2, Some(old)) => {
                        prop_assert_eq!(heap.remove(positions[job as usize], &mut positions), job);
                        model.remove(&old);
                        keys[job as usize] = None;
                    }
                    (3, _) => {
                        let popped = heap.pop(&mut positions).map(|(key, _)| key);
                        prop_assert_eq!(popped, model.pop_first());
                        if let Some((_, job)) = popped {
                            keys[job as usize] = None;
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(heap.first().map(|(key, _)| key), model.first().copied());
                prop_assert_eq!(heap.len(), model.len());
                for (job, key) in keys.iter().enumerate() {
                    if let Some(key) = key {
                        prop_assert_eq!(heap.key_at(positions[job]), *key);
                    }
                }
            }
        }
    }
}
