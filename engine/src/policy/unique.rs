//! Unique bodies: a put of a body that is already in the tube is answered with the job that has it.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::arena::Ix;
use crate::job::Jobs;

/// Number of tables. Each grows by itself, so that no put waits for all entries to be moved.
const TABLES: usize = 64;

/// Number of bytes that are hashed at the beginning and at the end of a body. What is between them
/// is compared, but not hashed: a lock is held meanwhile.
const HASHED: usize = 2048;

/// The jobs that wait in a tube, by their bodies. Takes 10 to 21 bytes for each: 9 in a table, which may be
/// half empty.
#[derive(Debug)]
pub(super) struct Unique {
    tables: Box<[HashTable<Entry>]>,
    hasher: DefaultHashBuilder,
}

/// A job, and a part of its body's hash: when a table grows, no body needs to be read.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    job: Ix,
}

impl Default for Unique {
    fn default() -> Self {
        Self {
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl Unique {
    /// A job with this body.
    pub(super) fn find(&self, body: &[u8], jobs: &Jobs) -> Option<Ix> {
        let hash = self.hash(body);
        let same = |entry: &Entry| entry.hash == hash && jobs[entry.job].body.as_ref() == body;
        self.tables[table(hash)].find(spread(hash), same).map(|entry| entry.job)
    }

    /// Takes a job in, unless it is there already.
    pub(super) fn insert(&mut self, job: Ix, jobs: &Jobs) {
        let hash = self.hash(jobs[job].body.as_ref());
        let table = &mut self.tables[table(hash)];
        if table.find(spread(hash), |entry| entry.job == job).is_none() {
            table.insert_unique(spread(hash), Entry { hash, job }, |entry| spread(entry.hash));
        }
    }

    pub(super) fn remove(&mut self, job: Ix, jobs: &Jobs) {
        let hash = self.hash(jobs[job].body.as_ref());
        let table = &mut self.tables[table(hash)];
        if let Ok(entry) = table.find_entry(spread(hash), |entry| entry.job == job) {
            entry.remove();
        }
        // A backlog that is gone needs no tables.
        if table.is_empty() {
            *table = HashTable::new();
        }
    }

    fn hash(&self, body: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_usize(body.len());
        if body.len() <= 2 * HASHED {
            hasher.write(body);
        } else {
            hasher.write(&body[..HASHED]);
            hasher.write(&body[body.len() - HASHED..]);
        }
        // The upper half: some hash functions mix it better.
        (hasher.finish() >> 32) as u32
    }
}

/// The table of a hash.
fn table(hash: u32) -> usize {
    hash as usize % TABLES
}

/// What the table needs, whose upper bits matter as well as the lower ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash / TABLES as u32).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/policies.md says what a job costs: an entry and a byte of the table, of which at least seven
    /// sixteenths and at most seven eighths are in use.
    #[test]
    fn a_job_takes_an_entry() {
        assert_eq!(size_of::<Entry>(), 8);
    }
}
