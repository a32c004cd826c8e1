//! Puts that are made again: an `Idempotency-Key` stands for the job that the first request with it
//! has put.
//!
//! Keys are kept in memory, for [`KEPT`] and at most [`MAX_KEYS`] of them; beyond that the oldest are
//! forgotten. Each takes about 200 bytes. They do not outlive the server.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use beanstalk_protocol::JobId;
use jq_engine::Nanos;
use sha2::{Digest, Sha256};

/// How long a key is kept.
pub(crate) const KEPT: Duration = Duration::from_secs(60 * 60);

/// The most keys that are kept.
pub(crate) const MAX_KEYS: usize = 100_000;

/// The longest key, in bytes.
pub(crate) const MAX_KEY: usize = 255;

/// A hash of a key and its owner, or of a request.
pub(crate) type Hash = [u8; 32];

/// The keys of the last puts.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    keys: HashMap<Hash, Entry>,
    /// The keys of `keys` and their serial numbers, from the oldest. A key that was given up may be in
    /// it with an older number.
    order: VecDeque<(Hash, u64)>,
    last: u64,
}

#[derive(Debug)]
struct Entry {
    serial: u64,
    request: Hash,
    since: Nanos,
    /// `None` while the first request is being carried out.
    job: Option<JobId>,
}

/// What a key says about a request.
#[derive(Debug)]
pub(crate) enum Claim<'a> {
    /// It is the first with this key.
    First(Claimed<'a>),
    /// It was made before, and has put this job.
    Repeated(JobId),
    /// It was made before, and is being carried out.
    InUse,
    /// Another request was made with the key.
    Reused,
}

/// A key whose request is being carried out. Dropping it gives the key up, so that another request
/// can be the first.
#[derive(Debug)]
pub(crate) struct Claimed<'a> {
    keys: &'a Keys,
    key: Hash,
    is_done: bool,
}

impl Keys {
    /// A request with a key. `owner` is who makes it: others may have the same key. `request` is the
    /// hash of all that makes it another.
    pub(crate) fn claim(&self, now: Nanos, owner: &str, key: &[u8], request: Hash) -> Claim<'_> {
        let key = hash(&[owner.as_bytes(), key]);
        let mut table = self.lock();
        table.forget(now);
        if let Some(entry) = table.keys.get(&key) {
            return match entry.job {
                _ if entry.request != request => Claim::Reused,
                Some(job) => Claim::Repeated(job),
                None => Claim::InUse,
            };
        }
        table.last += 1;
        let serial = table.last;
        table.keys.insert(key, Entry { serial, request, since: now, job: None });
        table.order.push_back((key, serial));
        Claim::First(Claimed { keys: self, key, is_done: false })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Consistent between any two statements that can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets keys that are too old, or too many.
    fn forget(&mut self, now: Nanos) {
        while let Some((key, serial)) = self.order.front() {
            let entry = self.keys.get(key).filter(|entry| entry.serial == *serial);
            let is_due = entry.is_none_or(|entry| entry.since.later(KEPT) <= now);
            if !is_due && self.order.len() < MAX_KEYS {
                break;
            }
            if entry.is_some() {
                self.keys.remove(key);
            }
            self.order.pop_front();
        }
    }
}

impl Claimed<'_> {
    /// The request has put this job.
    pub(crate) fn done(mut self, job: JobId) {
        self.is_done = true;
        if let Some(entry) = self.keys.lock().keys.get_mut(&self.key) {
            entry.job = Some(job);
        }
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.keys.lock().keys.remove(&self.key);
        }
    }
}

/// Of texts, each with its length, so that none runs into the next.
pub(crate) fn hash(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Nanos = Nanos::from_secs(1);

    fn put(keys: &Keys, now: Nanos, key: usize, job: JobId) {
        match keys.claim(now, "a", &key.to_le_bytes(), hash(&[b"x"])) {
            Claim::First(claimed) => claimed.done(job),
            claim => panic!("{claim:?}"),
        }
    }

    #[test]
    fn a_key_stands_for_one_request_of_one_owner() {
        let keys = Keys::default();
        let claim = |owner, request| keys.claim(START, owner, b"k", hash(&[request]));
        let Claim::First(claimed) = claim("a", b"x") else { panic!("it is new") };
        assert!(matches!(claim("a", b"x"), Claim::InUse));
        assert!(matches!(claim("a", b"y"), Claim::Reused));
        claimed.done(7);
        assert!(matches!(claim("a", b"x"), Claim::Repeated(7)));
        assert!(matches!(claim("a", b"y"), Claim::Reused));
        assert!(matches!(claim("b", b"x"), Claim::First(_)));
        // It did not succeed, so it may be made again.
        let Claim::First(claimed) = claim("b", b"y") else { panic!("it was given up") };
        drop(claimed);
        let split = keys.claim(START, "ab", b"c", hash(&[b"x"]));
        let Claim::First(split) = split else { panic!("{split:?}") };
        split.done(8);
        assert!(matches!(keys.claim(START, "a", b"bc", hash(&[b"x"])), Claim::First(_)));
    }

    #[test]
    fn keys_are_forgotten_after_their_time() {
        let keys = Keys::default();
        put(&keys, START, 1, 7);
        let almost = Nanos(START.later(KEPT).0 - 1);
        assert!(matches!(
            keys.claim(almost, "a", &1_usize.to_le_bytes(), hash(&[b"x"])),
            Claim::Repeated(7)
        ));
        put(&keys, START.later(KEPT), 1, 8);
        assert_eq!(keys.lock().order.len(), 1);
    }

    #[test]
    fn there_are_at_most_so_many() {
        let keys = Keys::default();
        for number in 0..MAX_KEYS + 10 {
            put(&keys, START, number, number as JobId);
        }
        let table = keys.lock();
        assert_eq!((table.keys.len(), table.order.len()), (MAX_KEYS, MAX_KEYS));
        drop(table);
        put(&keys, START, 0, 5);
        // Keys that are given up and claimed again do not pile up either.
        for _ in 0..MAX_KEYS + 10 {
            drop(keys.claim(START, "b", b"k", hash(&[b"x"])));
        }
        assert!(keys.lock().order.len() <= MAX_KEYS);
    }
}
