//! Jobs that went back to the queue because there was no room for their type, or their destination was in
//! trouble.
//!
//! They are in the queue, delayed, and any worker can have them when the delay is over. When there is
//! room here before that, they are reserved by their number at once. So a type with a limit is as busy
//! as its limit allows, and no job stays reserved that is not run.
//!
//! Owns: which jobs these are. Must not know: how a job is run.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jq_client::JobId;
use uuid::Uuid;

use crate::job::JobType;
use crate::source::Source;

/// Most jobs that are remembered. Others wait until their delay is over.
const MAX_PARKED: usize = 100_000;

/// With more than this remembered, there is no hurry to find more.
const CROWD: usize = 1_000;

/// A job that went back to the queue.
#[derive(Debug)]
pub struct Parked {
    /// Where it is.
    pub source: Arc<Source>,
    /// Its number there.
    pub number: JobId,
    /// Its own id, by which it is known from others of the same number.
    pub id: Uuid,
}

/// A job that is in the queue and can be run here.
#[derive(Debug)]
pub struct Candidate {
    /// Its type.
    pub kind: JobType,
    /// Where it is.
    pub job: Parked,
}

/// The jobs that went back to the queue, by what they wait for: room of their type, or their destination.
/// Oldest first.
#[derive(Debug)]
pub struct Parking<K = JobType> {
    lot: Mutex<Lot<K>>,
}

#[derive(Debug)]
struct Lot<K> {
    /// Each with its number in the order of all.
    by_key: HashMap<K, VecDeque<(u64, Parked)>>,
    count: usize,
    /// How many there have been.
    total: u64,
}

impl<K> Default for Lot<K> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), count: 0, total: 0 }
    }
}

impl<K> Default for Parking<K> {
    fn default() -> Self {
        Self { lot: Mutex::default() }
    }
}

impl<K: Clone + Eq + Hash> Parking<K> {
    /// Remembers a job.
    pub fn park(&self, key: &K, job: Parked) {
        let mut lot = self.lot();
        if lot.count < MAX_PARKED {
            lot.count += 1;
            lot.total += 1;
            let number = lot.total;
            lot.by_key.entry(key.clone()).or_default().push_back((number, job));
        }
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        *self.lot() = Lot::default();
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lot().count == 0
    }

    /// Whether more than a thousand are remembered.
    pub fn is_crowded(&self) -> bool {
        self.lot().count > CROWD
    }

    /// What any wait for, that of the first job that waits first.
    pub fn keys(&self) -> Vec<K> {
        let lot = self.lot();
        let first = |jobs: &VecDeque<(u64, Parked)>| jobs.front().map(|(number, _)| *number);
        let mut keys: Vec<_> = lot.by_key.iter().map(|(key, jobs)| (first(jobs), key)).collect();
        keys.sort_by_key(|(number, _)| *number);
        keys.into_iter().map(|(_, key)| key.clone()).collect()
    }

    /// Takes out the job that has waited for this longest.
    pub fn next(&self, key: &K) -> Option<Parked> {
        let mut lot = self.lot();
        let jobs = lot.by_key.get_mut(key)?;
        let next = jobs.pop_front().map(|(_, job)| job);
        if jobs.is_empty() {
            lot.by_key.remove(key);
        }
        lot.count -= usize::from(next.is_some());
        next
    }

    fn lot(&self) -> MutexGuard<'_, Lot<K>> {
        // A panic between two of its statements leaves a wrong count at worst.
        self.lot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jq_client::ConnectOptions;

    use super::*;

    fn parked(number: JobId) -> Parked {
        let server = ConnectOptions::new("localhost:1".parse().unwrap());
        let source = Arc::new(Source::new(server, Vec::new()));
        Parked { source, number, id: Uuid::nil() }
    }

    #[test]
    fn first_come_first_served_by_key() {
        let parking = Parking::<JobType>::default();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        for number in 1..=3 {
            parking.park(&a, parked(number));
        }
        parking.park(&b, parked(7));
        assert_eq!(parking.keys(), [a.clone(), b.clone()]);
        let next = |kind| parking.next(kind).map(|job| job.number);
        assert_eq!((next(&a), next(&a), next(&b), next(&b)), (Some(1), Some(2), Some(7), None));
        assert_eq!(parking.keys(), [a]);
        assert!(!parking.is_crowded());
    }

    #[test]
    fn it_is_bounded() {
        let parking = Parking::<JobType>::default();
        let kind = "a".parse().unwrap();
        for number in 0..2 * MAX_PARKED as u64 {
            parking.park(&kind, parked(number));
        }
        assert!(parking.is_crowded());
        let mut count = 0;
        while parking.next(&kind).is_some() {
            count += 1;
        }
        assert_eq!(count, MAX_PARKED);
        assert!(parking.keys().is_empty());
    }
}
