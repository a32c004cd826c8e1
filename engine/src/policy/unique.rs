//! Unique bodies: a put of a body that is already in the tube is answered with the job that has it.

mod table;
mod twins;

use std::hash::{BuildHasher, Hasher};

use beanstalk_protocol::JobId;
use hashbrown::DefaultHashBuilder;

use crate::arena::Ix;
use crate::job::{Job, Jobs};

use table::Table;
use twins::Twins;

/// Number of tables. Each grows by itself, so that no put waits for all entries to be moved.
const TABLES: usize = 64;

/// Number of bytes that are hashed at the beginning and at the end of a body. What is between them
/// is compared, but not hashed: a lock is held meanwhile. Of jobs as large as they may be without `-z`, nothing
/// is left out: each look would be at all jobs that differ only there.
const HASHED: usize = 32 * 1024;

/// Number of bodies that are hashed before the tables are looked at for them.
const WARMED: usize = 32;

/// For a body of more bytes, memory is not read in advance: hashing it takes longer than to wait.
const WARMED_UP_TO: usize = 1024;

/// The jobs that wait in a tube, by their bodies. Takes 10 to 21 bytes for each body: 64 for 7 in a table, of
/// which half may be in use. Jobs with the same body take more: see [`Twins`].
#[derive(Debug)]
pub(super) struct Unique {
    /// One job for each body.
    tables: Box<[Table]>,
    /// Those that have the same body as another.
    twins: Twins,
    hasher: DefaultHashBuilder,
    /// A new job whose body no other has, and the hash of that.
    expected: Option<(JobId, u32)>,
}

impl Default for Unique {
    fn default() -> Self {
        Self {
            tables: (0..TABLES).map(|_| Table::default()).collect(),
            twins: Twins::default(),
            hasher: DefaultHashBuilder::default(),
            expected: None,
        }
    }
}

impl Unique {
    /// A job with this body; without one, the body's hash.
    pub(super) fn find(&self, body: &[u8], jobs: &Jobs) -> Result<Ix, u32> {
        let hash = self.hash(body);
        let known = self.tables[table(hash)].find(rest(hash), |it| has_body(&jobs[it], body));
        known.ok_or(hash)
    }

    /// The next job that is taken in is this one. It is new, and [`Unique::find`] gave this for its body.
    pub(super) fn expect(&mut self, job: JobId, hash: u32) {
        self.expected = Some((job, hash));
    }

    /// Takes a job in, unless it is there already.
    pub(super) fn insert(&mut self, ix: Ix, jobs: &Jobs) {
        let job = &jobs[ix];
        if let Some((_, hash)) = self.expected.take().filter(|(expected, _)| *expected == job.id) {
            self.tables[table(hash)].insert(rest(hash), ix);
            return;
        }
        let body = job.body.as_ref();
        let hash = self.hash(body);
        let table = &mut self.tables[table(hash)];
        match table.find(rest(hash), |other| other == ix || has_body(&jobs[other], body)) {
            None => table.insert(rest(hash), ix),
            Some(other) if other == ix => {}
            Some(other) => self.twins.join(ix, other),
        }
    }

    pub(super) fn remove(&mut self, ix: Ix, jobs: &Jobs) {
        let twin = self.twins.leave(ix);
        let hash = self.hash(jobs[ix].body.as_ref());
        self.tables[table(hash)].replace(rest(hash), ix, twin);
    }

    /// Reads those parts of the tables in which the bodies of coming puts will be sought. They lie all over the
    /// memory, so a processor waits for each; here it can wait for many at the same time.
    pub(super) fn warm<'a>(&self, bodies: impl Iterator<Item = &'a [u8]>) {
        let mut bodies = bodies.filter(|body| body.len() <= WARMED_UP_TO).peekable();
        while bodies.peek().is_some() {
            let (mut hashes, mut count) = ([0; WARMED], 0);
            for (hash, body) in hashes.iter_mut().zip(bodies.by_ref()) {
                *hash = self.hash(body);
                count += 1;
            }
            let hashes = &hashes[..count];
            hashes.iter().for_each(|hash| self.tables[table(*hash)].touch(rest(*hash)));
            hashes.iter().for_each(|hash| self.tables[table(*hash)].touch_behind(rest(*hash)));
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

fn has_body(job: &Job, body: &[u8]) -> bool {
    job.body.as_ref() == body
}

/// The table of a hash.
fn table(hash: u32) -> usize {
    hash as usize % TABLES
}

/// What distinguishes hashes within a table.
fn rest(hash: u32) -> u32 {
    hash / TABLES as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::body::Body;
    use crate::time::Nanos;

    fn job(jobs: &mut Jobs, id: JobId, body: &[u8]) -> Ix {
        let job = Job::new(id, 0, Body::from(Box::from(body)), Nanos(0));
        jobs.insert(job, body.len())
    }

    /// Number of entries for bodies.
    fn bodies(unique: &Unique) -> usize {
        unique.tables.iter().map(Table::len).sum()
    }

    /// If all were entries with the same hash, each would be looked at whenever one comes or goes.
    #[test]
    fn equal_jobs_are_one_entry() {
        let (mut jobs, mut unique) = (Jobs::new(), Unique::default());
        let all: Vec<Ix> = (1..=10_000).map(|id| job(&mut jobs, id, b"same")).collect();
        all.iter().for_each(|ix| unique.insert(*ix, &jobs));
        all.iter().for_each(|ix| unique.insert(*ix, &jobs));
        assert_eq!(bodies(&unique), 1);
        for gone in &all {
            assert!(unique.find(b"same", &jobs).is_ok_and(|ix| ix >= *gone));
            unique.remove(*gone, &jobs);
            assert_eq!(bodies(&unique), usize::from(gone != all.last().unwrap()));
        }
        assert!(unique.find(b"same", &jobs).is_err());
    }

    /// docs/policies.md says what the tube takes, and twice as much when there are twins.
    #[test]
    fn an_empty_one_takes_up_to_2_kib() {
        let unique = Unique::default();
        assert!((1024..=2048).contains(&(size_of_val(&unique) + size_of_val(&*unique.tables))));
        assert_eq!(Twins::MOST_WHEN_EMPTY, 2048);
    }

    /// Likewise if those had the same hash that differ only somewhere in the middle.
    #[test]
    fn all_bytes_of_usual_jobs_are_hashed() {
        let unique = Unique::default();
        let mut body = vec![b'x'; 65_535];
        let same = unique.hash(&body);
        for at in (0..body.len()).step_by(97) {
            body[at] = b'y';
            assert_ne!(unique.hash(&body), same, "byte {at}");
            body[at] = b'x';
        }
        assert_eq!(unique.hash(&body), same);
    }

    #[test]
    fn what_was_expected_and_did_not_come_is_forgotten() {
        let (mut jobs, mut unique) = (Jobs::new(), Unique::default());
        let hash = unique.find(b"expected", &jobs).expect_err("there is no job");
        unique.expect(2, hash);
        let other = job(&mut jobs, 1, b"other");
        unique.insert(other, &jobs);
        let late = job(&mut jobs, 2, b"late");
        unique.insert(late, &jobs);
        assert_eq!(unique.find(b"other", &jobs), Ok(other));
        assert_eq!(unique.find(b"late", &jobs), Ok(late));
        assert!(unique.find(b"expected", &jobs).is_err());
    }

    proptest! {
        /// Jobs come and go, several with the same body; some are put, and were sought before. Against a list:
        /// a body is found exactly as long as a job has it.
        #[test]
        fn a_body_is_found_as_long_as_a_job_has_it(
            steps in prop::collection::vec((0..40u64, any::<bool>()), 0..300),
            different in 1..40u64,
        ) {
            let body = |number: JobId| (number % different).to_string().into_bytes();
            let (mut jobs, mut unique) = (Jobs::new(), Unique::default());
            let mut waiting: Vec<Ix> = Vec::new();
            let all: Vec<Ix> = (0..40).map(|id| job(&mut jobs, id + 1, &body(id))).collect();
            for (number, is_sought) in steps {
                let (ix, body) = (all[number as usize], body(number));
                unique.warm([&body[..], &[b'x'; WARMED_UP_TO + 1]].into_iter());
                let same = |ix: &Ix| jobs[*ix].body.as_ref() == body;
                let found = unique.find(&body, &jobs);
                match found {
                    Ok(found) => prop_assert!(waiting.contains(&found) && same(&found)),
                    Err(_) => prop_assert!(!waiting.iter().any(same)),
                }
                if waiting.contains(&ix) {
                    unique.remove(ix, &jobs);
                    waiting.retain(|other| *other != ix);
                } else {
                    if let Some(hash) = found.err().filter(|_| is_sought) {
                        unique.expect(number + 1, hash);
                    }
                    unique.insert(ix, &jobs);
                    waiting.push(ix);
                }
            }
            for ix in waiting {
                unique.remove(ix, &jobs);
            }
            prop_assert_eq!(bodies(&unique), 0);
        }
    }
}
