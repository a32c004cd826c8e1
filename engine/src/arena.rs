//! A table whose entries keep their place, and which frees memory when it shrinks.
//!
//! A `Vec` has two drawbacks. Growing one of millions of entries moves them all at once, which
//! stalls everybody. And it cannot shrink while its last entry is in use. So entries come in
//! chunks. The lowest free place that has memory is used first, so that high chunks run empty and
//! can be freed.

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

use crate::growth;

/// Entries in a chunk: one word of the free map for each 64.
const CHUNK: usize = 256;
const WORDS: usize = CHUNK / 64;

/// Place of an entry: stable until the entry is removed, then reused.
pub(crate) type Ix = u32;

/// The table, and optionally another of `B`s beside it: see [`Arena::place_beside`].
#[derive(Debug)]
pub(crate) struct Arena<T, B = ()> {
    chunks: Vec<Chunk<T, B>>,
    /// Chunks with memory and at least one free place.
    open: BTreeSet<u32>,
    /// Chunks whose memory was freed.
    hollow: BTreeSet<u32>,
    /// Number of chunks with memory and no entry. One is kept, so that a single entry that comes
    /// and goes does not allocate each time.
    empty: usize,
    len: usize,
    /// Whether there is something beside each place.
    is_wide: bool,
}

#[derive(Debug)]
struct Chunk<T, B> {
    /// Empty once the memory was freed.
    slots: Box<[Option<T>]>,
    /// Empty, or as long as `slots`.
    beside: Box<[B]>,
    /// A set bit is a free place.
    free: [u64; WORDS],
}

impl<T, B> Chunk<T, B> {
    fn is_empty(&self) -> bool {
        self.free == [u64::MAX; WORDS]
    }
}

impl<T, B: Copy + Default> Arena<T, B> {
    pub(crate) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            open: BTreeSet::new(),
            hollow: BTreeSet::new(),
            empty: 0,
            len: 0,
            is_wide: false,
        }
    }

    /// From now on, there is a `B` beside each place, whether there is an entry or not. It stays as it
    /// is when an entry comes or goes.
    pub(crate) fn place_beside(&mut self) {
        self.is_wide = true;
        for chunk in &mut self.chunks {
            chunk.beside = vec![B::default(); chunk.slots.len()].into();
        }
    }

    /// What is beside this place; `None` if nothing is beside any.
    #[inline]
    pub(crate) fn beside_mut(&mut self, ix: Ix) -> Option<&mut B> {
        let (number, slot) = split(ix);
        self.chunks.get_mut(number)?.beside.get_mut(slot)
    }

    pub(crate) fn beside(&self, ix: Ix) -> Option<&B> {
        let (number, slot) = split(ix);
        self.chunks.get(number)?.beside.get(slot)
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Stores `value` and returns its place.
    pub(crate) fn insert(&mut self, value: T) -> Ix {
        let number = match self.open.first() {
            Some(number) => *number,
            None => self.new_chunk(),
        };
        let chunk = &mut self.chunks[number as usize];
        if chunk.is_empty() {
            self.empty -= 1;
        }
        let word = chunk.free.iter().position(|word| *word != 0).unwrap_or(0);
        let bit = chunk.free[word].trailing_zeros() as usize;
        chunk.free[word] &= !(1 << bit);
        let slot = word * 64 + bit;
        chunk.slots[slot] = Some(value);
        if chunk.free == [0; WORDS] {
            self.open.remove(&number);
        }
        self.len += 1;
        number * CHUNK as u32 + slot as u32
    }

    /// Removes the entry at `ix`.
    pub(crate) fn remove(&mut self, ix: Ix) -> Option<T> {
        let (number, slot) = split(ix);
        let chunk = self.chunks.get_mut(number)?;
        let value = chunk.slots.get_mut(slot)?.take()?;
        if chunk.free == [0; WORDS] {
            self.open.insert(number as u32);
        }
        chunk.free[slot / 64] |= 1 << (slot % 64);
        self.len -= 1;
        if chunk.is_empty() {
            self.empty += 1;
            if self.empty > 1 {
                self.give_back_one();
            }
        }
        Some(value)
    }

    pub(crate) fn get(&self, ix: Ix) -> Option<&T> {
        let (number, slot) = split(ix);
        self.chunks.get(number)?.slots.get(slot)?.as_ref()
    }

    /// The places from `ix` on, in order, with their entries. A chunk without memory counts as one
    /// place.
    pub(crate) fn from(&self, ix: Ix) -> impl Iterator<Item = (Ix, Option<&T>)> {
        let (first, skip) = split(ix);
        let chunks = self.chunks.iter().enumerate().skip(first);
        chunks.flat_map(move |(number, chunk)| {
            let start = (number * CHUNK) as Ix;
            let slots = chunk.slots.iter().map(Option::as_ref);
            let hollow = chunk.slots.is_empty().then_some(None);
            let skip = if number == first { skip } else { 0 };
            slots.chain(hollow).enumerate().skip(skip).map(move |(at, it)| (start + at as Ix, it))
        })
    }

    fn new_chunk(&mut self) -> u32 {
        let slots = std::iter::repeat_with(|| None).take(CHUNK).collect();
        let beside = vec![B::default(); if self.is_wide { CHUNK } else { 0 }].into();
        let chunk = Chunk { slots, beside, free: [u64::MAX; WORDS] };
        let number = match self.hollow.pop_first() {
            Some(number) => {
                self.chunks[number as usize] = chunk;
                number
            }
            None => {
                growth::push(&mut self.chunks, chunk);
                (self.chunks.len() - 1) as u32
            }
        };
        self.open.insert(number);
        self.empty += 1;
        number
    }

    /// Frees the highest chunk without entries.
    fn give_back_one(&mut self) {
        let found = self.open.iter().rev().find(|number| self.chunks[**number as usize].is_empty());
        if let Some(&number) = found {
            self.open.remove(&number);
            self.hollow.insert(number);
            let chunk = &mut self.chunks[number as usize];
            (chunk.slots, chunk.beside) = (Box::default(), Box::default());
            self.empty -= 1;
        }
        while self.chunks.last().is_some_and(|chunk| chunk.slots.is_empty()) {
            self.chunks.pop();
            self.hollow.remove(&(self.chunks.len() as u32));
        }
    }
}

fn split(ix: Ix) -> (usize, usize) {
    (ix as usize / CHUNK, ix as usize % CHUNK)
}

impl<T, B> Index<Ix> for Arena<T, B> {
    type Output = T;

    #[inline]
    fn index(&self, ix: Ix) -> &T {
        let (number, slot) = split(ix);
        self.chunks[number].slots[slot].as_ref().expect("an index kept by the engine is live")
    }
}

impl<T, B> IndexMut<Ix> for Arena<T, B> {
    #[inline]
    fn index_mut(&mut self, ix: Ix) -> &mut T {
        let (number, slot) = split(ix);
        self.chunks[number].slots[slot].as_mut().expect("an index kept by the engine is live")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lowest_free_place_is_used_first() {
        let mut arena: Arena<_> = Arena::new();
        let all: Vec<Ix> = (0..1000).map(|n| arena.insert(n)).collect();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        for ix in [700, 3, 300] {
            assert_eq!(arena.remove(ix), Some(ix));
        }
        assert_eq!(arena.remove(3), None);
        assert_eq!([arena.insert(1), arena.insert(2), arena.insert(3)], [3, 300, 700]);
        assert_eq!(arena.len(), 1000);
    }

    #[test]
    fn memory_goes_back_when_entries_go() {
        let mut arena: Arena<_> = Arena::new();
        for n in 0..100_000 {
            arena.insert(n);
        }
        for ix in 0..100_000 {
            assert_eq!(arena.remove(ix), Some(ix));
        }
        assert!(arena.chunks.iter().filter(|chunk| !chunk.slots.is_empty()).count() <= 1);
        assert_eq!(arena.insert(7), arena.insert(8) - 1);
    }

    #[test]
    fn what_is_beside_comes_and_goes_with_the_memory() {
        let mut arena: Arena<u32, u8> = Arena::new();
        let first = arena.insert(1);
        assert_eq!(arena.beside(first), None);
        assert_eq!(arena.beside_mut(first), None);
        arena.place_beside();
        *arena.beside_mut(first).unwrap() = 7;
        assert_eq!(arena.beside(first), Some(&7));
        for n in 1..2000 {
            let ix = arena.insert(n);
            assert_eq!(arena.beside(ix), Some(&0));
        }
        assert!((1..2000).all(|ix| arena.remove(ix) == Some(ix)));
        assert_eq!(arena.beside(first), Some(&7));
        let wide = arena.chunks.iter().filter(|chunk| !chunk.beside.is_empty()).count();
        assert!(wide <= 2, "the one in use, and one that is kept");
        assert_eq!(arena.beside(1_000_000), None);
    }

    #[test]
    fn holes_are_refilled() {
        let mut arena: Arena<_> = Arena::new();
        for n in 0..2000 {
            arena.insert(n);
        }
        for ix in 0..1800 {
            arena.remove(ix);
        }
        let again: BTreeSet<Ix> = (0..1800).map(|n| arena.insert(n)).collect();
        assert_eq!(again.len(), 1800);
        assert!(again.iter().all(|ix| *ix < 2048), "no chunk was added");
        assert_eq!(arena[1900], 1900);
    }

    /// What happens to an arena, dozens at a time so that it has several chunks.
    #[derive(Debug, Clone)]
    enum Step {
        Insert(usize),
        /// Removes this many entries, from this far into the used ones.
        Remove(prop::sample::Index, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..400usize).prop_map(Step::Insert),
            (any::<prop::sample::Index>(), 1..500usize).prop_map(|(at, n)| Step::Remove(at, n)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against an ordered map: entries keep their place and value, a place is used by one entry
        /// at a time, the lowest first, and at most one empty chunk is kept.
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec(step(), 0..40)) {
            let mut arena: Arena<_> = Arena::new();
            let mut model = BTreeMap::new();
            let mut next = 0;
            for step in steps {
                match step {
                    Step::Insert(count) => {
                        let lowest = lowest_with_memory(&arena);
                        for n in 0..count {
                            let ix = arena.insert(next);
                            prop_assert!(n > 0 || lowest.is_none_or(|lowest| ix == lowest));
                            prop_assert_eq!(model.insert(ix, next), None);
                            next += 1;
                        }
                    }
                    Step::Remove(at, count) => {
                        let first = if model.is_empty() { 0 } else { at.index(model.len()) };
                        let gone: Vec<Ix> = model.keys().skip(first).take(count).copied().collect();
                        for ix in gone {
                            prop_assert_eq!(arena.remove(ix), model.remove(&ix));
                            prop_assert_eq!(arena.remove(ix), None);
                        }
                    }
                }
                prop_assert_eq!(arena.len(), model.len());
                for (ix, value) in &model {
                    prop_assert_eq!(arena.get(*ix), Some(value));
                }
                let with_memory = arena.chunks.iter().filter(|chunk| !chunk.slots.is_empty());
                prop_assert!(with_memory.filter(|chunk| chunk.is_empty()).count() <= 1);
            }
        }
    }

    fn lowest_with_memory(arena: &Arena<i32>) -> Option<Ix> {
        let with_memory = |chunk: &Chunk<i32, ()>| !chunk.slots.is_empty();
        let mut places = 0..(arena.chunks.len() * CHUNK) as Ix;
        places.find(|ix| with_memory(&arena.chunks[split(*ix).0]) && arena.get(*ix).is_none())
    }
}
