//! Jobs with the same body.
//!
//! They had it before the tube took no body twice, or came back when another had been put meanwhile. There may
//! be a million of them. So they are in rings: a job comes and goes at the same cost, however many there are.

use hashbrown::HashTable;

use crate::arena::Ix;

/// Number of tables. Each grows by itself, so that nobody waits for all entries to be moved.
const TABLES: usize = 64;

/// A job in a ring of jobs with the same body, of which there are at least two.
#[derive(Debug, Clone, Copy)]
struct Twin {
    job: Ix,
    before: Ix,
    behind: Ix,
}

/// The jobs that have the same body as another. Takes 15 to 30 bytes for each: 13 in a table, which may be
/// half empty.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// [`TABLES`], or none as long as no two jobs had the same body.
    tables: Box<[HashTable<Twin>]>,
}

impl Twins {
    /// Bytes of its tables when no job is there any more.
    #[cfg(test)]
    pub(super) const MOST_WHEN_EMPTY: usize = TABLES * size_of::<HashTable<Twin>>();

    /// Takes a job in that has the same body as the other, unless it is there already.
    pub(super) fn join(&mut self, job: Ix, other: Ix) {
        if self.tables.is_empty() {
            self.tables = (0..TABLES).map(|_| HashTable::new()).collect();
        }
        if self.get(job).is_some() {
            return;
        }
        let behind = match self.get(other) {
            Some(twin) => twin.behind,
            None => {
                self.add(Twin { job: other, before: other, behind: other });
                other
            }
        };
        self.add(Twin { job, before: other, behind });
        self.change(other, |twin| twin.behind = job);
        self.change(behind, |twin| twin.before = job);
    }

    /// Takes a job out, if it is there. Returns another job with the same body, if there is one.
    pub(super) fn leave(&mut self, job: Ix) -> Option<Ix> {
        if self.tables.is_empty() {
            return None;
        }
        let Twin { before, behind, .. } = self.take(job)?;
        if before == behind {
            // It is alone now.
            self.take(before);
        } else {
            self.change(before, |twin| twin.behind = behind);
            self.change(behind, |twin| twin.before = before);
        }
        Some(before)
    }

    fn get(&self, job: Ix) -> Option<&Twin> {
        self.tables[table(job)].find(hash(job), |twin| twin.job == job)
    }

    fn change(&mut self, job: Ix, change: impl FnOnce(&mut Twin)) {
        if let Some(twin) = self.tables[table(job)].find_mut(hash(job), |twin| twin.job == job) {
            change(twin);
        }
    }

    fn add(&mut self, twin: Twin) {
        self.tables[table(twin.job)].insert_unique(hash(twin.job), twin, |twin| hash(twin.job));
    }

    fn take(&mut self, job: Ix) -> Option<Twin> {
        let table = &mut self.tables[table(job)];
        let (twin, _) = table.find_entry(hash(job), |twin| twin.job == job).ok()?.remove();
        // Those that are gone need no table.
        if table.is_empty() {
            *table = HashTable::new();
        }
        Some(twin)
    }
}

/// The table of a job.
fn table(job: Ix) -> usize {
    job as usize % TABLES
}

/// What the table needs, whose upper bits matter as well as the lower ones.
fn hash(job: Ix) -> u64 {
    u64::from(job / TABLES as u32).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// docs/policies.md says what a job costs: an entry and a byte of the table, of which at least seven
    /// sixteenths and at most seven eighths are in use.
    #[test]
    fn a_job_takes_an_entry() {
        assert_eq!(size_of::<Twin>(), 12);
    }

    proptest! {
        /// Jobs have one of three bodies. Against sets: a job that leaves tells of another with its body, as
        /// long as there is one.
        #[test]
        fn a_job_that_leaves_knows_another(steps in prop::collection::vec(0..300u32, 0..400)) {
            let body = |job: Ix| job % 3;
            let mut twins = Twins::default();
            let mut model: BTreeMap<u32, BTreeSet<Ix>> = BTreeMap::new();
            for job in steps {
                let same = model.entry(body(job)).or_default();
                if same.remove(&job) {
                    match twins.leave(job) {
                        Some(other) => prop_assert!(same.contains(&other)),
                        None => prop_assert!(same.is_empty()),
                    }
                } else {
                    if let Some(other) = same.iter().nth(same.len() / 2) {
                        twins.join(job, *other);
                        twins.join(job, *other);
                    }
                    same.insert(job);
                }
                let rings = model.values().map(BTreeSet::len).filter(|len| *len > 1);
                let held: usize = twins.tables.iter().map(HashTable::len).sum();
                prop_assert_eq!(held, rings.sum::<usize>());
            }
            for (_, same) in model {
                let mut left = same;
                while let Some(job) = left.pop_first() {
                    let other = twins.leave(job);
                    prop_assert_eq!(other.is_some(), !left.is_empty());
                    prop_assert!(other.is_none_or(|other| left.contains(&other)));
                }
            }
            prop_assert!(twins.tables.iter().all(|table| table.capacity() == 0));
        }
    }
}
