//! A hash table of jobs, of which an operation reads one cache line.
//!
//! In a table of a million jobs, hardly anything that an operation needs is in a processor's caches, and to
//! wait for memory takes longer than all the rest of a put. General tables have what is compared first apart
//! from the entries, so they wait twice. Besides, where an operation will begin is known here from its hash
//! alone, so memory can be asked for in advance: see [`Table::touch`].

use crate::arena::Ix;

/// Number of entries in a line.
const ENTRIES: usize = 7;

/// One cache line. Entries for which there is no room are in one of the next lines.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Line {
    hashes: [u32; ENTRIES],
    /// Number of entries here, which come first.
    len: u32,
    jobs: [Ix; ENTRIES],
    /// Number of entries behind this line that would be here or before it if there had been room here.
    passed: u32,
}

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    /// A bit for each entry with this hash.
    #[inline]
    fn with_hash(&self, hash: u32) -> u32 {
        // Without a branch for each of them: the processor would guess it wrong.
        let mut found = 0;
        for (at, own) in self.hashes.iter().enumerate() {
            found |= u32::from(*own == hash) << at;
        }
        found & ((1 << self.len) - 1)
    }

    /// The first of the entries with this hash whose job is the one.
    #[inline]
    fn find(&self, hash: u32, mut is_it: impl FnMut(Ix) -> bool) -> Option<usize> {
        let mut found = self.with_hash(hash);
        while found != 0 {
            let at = found.trailing_zeros() as usize;
            if is_it(self.jobs[at]) {
                return Some(at);
            }
            found &= found - 1;
        }
        None
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// None, or a power of two.
    lines: Box<[Line]>,
    len: usize,
}

impl Table {
    /// Number of jobs.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The first job with this hash that is the one.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(Ix) -> bool) -> Option<Ix> {
        let mut number = self.home(hash);
        // There are always lines with room, so this ends.
        while let Some(line) = self.lines.get(number) {
            if let Some(at) = line.find(hash, &mut is_it) {
                return Some(line.jobs[at]);
            }
            if line.passed == 0 {
                break;
            }
            number = self.behind(number);
        }
        None
    }

    /// Takes in a job that is not there.
    pub(super) fn insert(&mut self, hash: u32, job: Ix) {
        // Seven eighths of the entries at most are in use.
        if (self.len + 1) * 8 > self.lines.len() * ENTRIES * 7 {
            self.grow();
        }
        self.len += 1;
        self.place(hash, job);
    }

    /// Takes out a job, if it is there; another with the same hash takes its place.
    pub(super) fn replace(&mut self, hash: u32, job: Ix, other: Option<Ix>) {
        let home = self.home(hash);
        let mut number = home;
        while let Some(line) = self.lines.get_mut(number) {
            if let Some(at) = line.find(hash, |it| it == job) {
                if let Some(other) = other {
                    line.jobs[at] = other;
                    return;
                }
                let last = line.len as usize - 1;
                (line.hashes[at], line.jobs[at]) = (line.hashes[last], line.jobs[last]);
                line.len -= 1;
                self.len -= 1;
                let mut passed = home;
                while passed != number {
                    self.lines[passed].passed -= 1;
                    passed = self.behind(passed);
                }
                break;
            }
            if line.passed == 0 {
                break;
            }
            number = self.behind(number);
        }
        // A backlog that is gone needs no table.
        if self.len == 0 {
            self.lines = Box::default();
        }
    }

    /// Reads the line in which operations with this hash begin, so that it is in the processor's caches when
    /// they come. The processor goes on meanwhile.
    #[inline]
    pub(super) fn touch(&self, hash: u32) {
        std::hint::black_box(self.lines.get(self.home(hash)).map(|line| line.len));
    }

    /// Reads the line behind that one, if the operations will come to it. That one should be there by now.
    #[inline]
    pub(super) fn touch_behind(&self, hash: u32) {
        let home = self.home(hash);
        if let Some(line) = self.lines.get(home) {
            // Without a branch, which would wait for the line.
            let goes_on = line.len as usize == ENTRIES;
            let number = (home + usize::from(goes_on)) & (self.lines.len() - 1);
            std::hint::black_box(self.lines[number].len);
        }
    }

    #[cold]
    fn grow(&mut self) {
        let more = vec![Line::default(); (self.lines.len() * 2).max(1)];
        let lines = std::mem::replace(&mut self.lines, more.into());
        for line in lines {
            for (hash, job) in line.hashes.iter().zip(line.jobs).take(line.len as usize) {
                self.place(*hash, job);
            }
        }
    }

    /// Puts an entry where it belongs. There is room for it somewhere.
    #[inline]
    fn place(&mut self, hash: u32, job: Ix) {
        let mut number = self.home(hash);
        loop {
            let line = &mut self.lines[number];
            let at = line.len as usize;
            if at < ENTRIES {
                (line.hashes[at], line.jobs[at]) = (hash, job);
                line.len += 1;
                break;
            }
            line.passed += 1;
            number = self.behind(number);
        }
    }

    /// Where entries with this hash begin.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        hash as usize & self.lines.len().wrapping_sub(1)
    }

    /// The line behind this one.
    #[inline]
    fn behind(&self, number: usize) -> usize {
        (number + 1) & (self.lines.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// How many lines an entry takes at most: docs/policies.md says it in bytes.
    #[test]
    fn an_entry_takes_10_to_21_bytes() {
        let mut table = Table::default();
        for job in 0..100_000_u32 {
            table.insert(job.wrapping_mul(0x9E37_79B9), job);
            let bytes = table.lines.len() * size_of::<Line>();
            let each = bytes as f64 / table.len as f64;
            assert!(table.len < 100 || (10.0..=21.0).contains(&each), "{each} at {job}");
        }
    }

    proptest! {
        /// Against a set. With few hashes, most entries are not where they would like to be; with many, the
        /// table grows.
        #[test]
        fn behaves_like_a_set(
            hashes in prop::sample::select(vec![1, 9, 1000, u32::MAX]),
            steps in prop::collection::vec((any::<u32>(), any::<bool>()), 0..600),
        ) {
            let hash = |job: Ix| job.wrapping_mul(0x9E37_79B9) % hashes;
            let mut table = Table::default();
            let mut model = BTreeSet::new();
            for (job, comes) in steps {
                let job = job % 200;
                let there = table.find(hash(job), |it| it == job);
                prop_assert_eq!(there, model.get(&job).copied());
                match (comes, there.is_some()) {
                    (true, false) => {
                        table.insert(hash(job), job);
                        model.insert(job);
                    }
                    (true, true) => {
                        let other = job + 1000;
                        table.replace(hash(job), job, Some(other));
                        prop_assert_eq!(table.find(hash(job), |it| it == job), None);
                        prop_assert_eq!(table.find(hash(job), |it| it == other), Some(other));
                        table.replace(hash(job), other, Some(job));
                    }
                    (false, _) => {
                        table.replace(hash(job), job, None);
                        model.remove(&job);
                    }
                }
                table.touch(hash(job));
                table.touch_behind(hash(job));
                prop_assert_eq!(table.len, model.len());
                prop_assert_eq!(table.lines.is_empty(), model.is_empty());
                let passed: u32 = table.lines.iter().map(|line| line.passed).sum();
                prop_assert_eq!(passed, passed_by_all(&table));
            }
            for job in &model {
                prop_assert_eq!(table.find(hash(*job), |it| it == *job), Some(*job));
            }
        }
    }

    /// How many lines all entries together have passed.
    fn passed_by_all(table: &Table) -> u32 {
        let count = table.lines.len();
        let lines = table.lines.iter().enumerate();
        let passed = lines.flat_map(|(number, line)| {
            let hashes = line.hashes[..line.len as usize].iter();
            hashes.map(move |hash| ((number + count - table.home(*hash)) % count) as u32)
        });
        passed.sum()
    }
}
