//! Finds jobs by id.
//!
//! Ids count up, so most existing jobs have neighbours. These share a *page*, which has a slot for
//! each id of a range. A page is found with few instructions, neighbours are close in memory, and
//! growing moves nothing. A page with few jobs left would be mostly empty. It is freed, and its
//! jobs are *scattered* over hash tables, which need about 8 bytes for each.

use hashbrown::HashTable;

use beanstalk_protocol::JobId;

use crate::arena::Ix;
use crate::job::NONE;

/// Ids on a page, each of which takes 4 bytes.
const PAGE: usize = 1024;

/// A page with fewer jobs than this is freed, unless it is the newest: so no job takes more than 32
/// bytes here.
const SPARSE: usize = PAGE / 8;

/// The number of hash tables. With a single one, a put could have to wait while millions of entries
/// are rehashed.
const SHARDS: usize = 64;

/// A table with capacity for fewer entries than this is not worth shrinking.
const SHRINK_FROM: usize = 256;

/// See the module. The hash tables store no ids: `id_of` returns the id of the job at a place.
#[derive(Debug)]
pub(crate) struct Index {
    /// Contains the greatest id so far.
    newest: Page,
    /// Older pages. If the page of an id is here, the id is looked up nowhere else.
    pages: HashTable<Page>,
    scattered: Vec<HashTable<Ix>>,
}

#[derive(Debug)]
struct Page {
    /// Number of the page: its ids divided by [`PAGE`].
    number: u64,
    used: usize,
    /// By the remainder of that division; [`NONE`] where there is no job.
    places: Box<[Ix]>,
}

impl Page {
    fn new(number: u64) -> Self {
        Self { number, used: 0, places: vec![NONE; PAGE].into_boxed_slice() }
    }

    fn get(&self, id: JobId) -> Option<Ix> {
        Some(self.places[slot(id)]).filter(|ix| *ix != NONE)
    }

    fn set(&mut self, id: JobId, ix: Ix) {
        self.places[slot(id)] = ix;
        self.used += 1;
    }

    fn clear(&mut self, id: JobId) {
        self.places[slot(id)] = NONE;
        self.used -= 1;
    }

    /// The jobs on the page.
    fn all(&self) -> impl Iterator<Item = Ix> {
        self.places.iter().copied().filter(|ix| *ix != NONE)
    }
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            newest: Page::new(0),
            pages: HashTable::new(),
            scattered: std::iter::repeat_with(HashTable::new).take(SHARDS).collect(),
        }
    }

    #[inline(always)]
    pub(crate) fn find(&self, id: JobId, id_of: impl Fn(Ix) -> JobId) -> Option<Ix> {
        let number = page(id);
        if number == self.newest.number {
            return self.newest.get(id);
        }
        if let Some(page) = self.pages.find(hash(number), |page| page.number == number) {
            return page.get(id);
        }
        self.scattered[shard(id)].find(hash(id), |ix| id_of(*ix) == id).copied()
    }

    /// Adds a job, whose id no other job has.
    pub(crate) fn insert(&mut self, id: JobId, ix: Ix, id_of: impl Fn(Ix) -> JobId) {
        let number = page(id);
        if number > self.newest.number {
            let page = std::mem::replace(&mut self.newest, Page::new(number));
            self.retire(page, &id_of);
        }
        if number == self.newest.number {
            return self.newest.set(id, ix);
        }
        match self.pages.find_mut(hash(number), |page| page.number == number) {
            Some(page) => page.set(id, ix),
            None => self.scatter(id, ix, id_of),
        }
    }

    /// Removes a job, which must be present.
    pub(crate) fn remove(&mut self, id: JobId, ix: Ix, id_of: impl Fn(Ix) -> JobId) {
        let number = page(id);
        if number == self.newest.number {
            return self.newest.clear(id);
        }
        if let Ok(mut entry) = self.pages.find_entry(hash(number), |page| page.number == number) {
            let page = entry.get_mut();
            page.clear(id);
            if page.used < SPARSE {
                let (page, _) = entry.remove();
                shrink(&mut self.pages, |page| hash(page.number));
                self.retire(page, &id_of);
            }
            return;
        }
        let table = &mut self.scattered[shard(id)];
        if let Ok(entry) = table.find_entry(hash(id), |found| *found == ix) {
            entry.remove();
            shrink(table, |ix| hash(id_of(*ix)));
        }
    }

    /// All jobs, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Ix> {
        let scattered = self.scattered.iter().flatten().copied();
        self.pages.iter().chain([&self.newest]).flat_map(Page::all).chain(scattered)
    }

    /// Keeps a page that is no longer the newest if it has enough jobs; scatters the jobs
    /// otherwise.
    fn retire(&mut self, page: Page, id_of: &impl Fn(Ix) -> JobId) {
        if page.used >= SPARSE {
            self.pages.insert_unique(hash(page.number), page, |page| hash(page.number));
            return;
        }
        for ix in page.all() {
            self.scatter(id_of(ix), ix, id_of);
        }
    }

    fn scatter(&mut self, id: JobId, ix: Ix, id_of: impl Fn(Ix) -> JobId) {
        self.scattered[shard(id)].insert_unique(hash(id), ix, |ix| hash(id_of(*ix)));
    }
}

/// Frees memory when most of it is unused.
fn shrink<T>(table: &mut HashTable<T>, hash: impl Fn(&T) -> u64) {
    if table.capacity() > SHRINK_FROM && table.len() < table.capacity() / 8 {
        table.shrink_to(table.len() * 2, hash);
    }
}

fn page(id: JobId) -> u64 {
    id / PAGE as u64
}

fn slot(id: JobId) -> usize {
    id as usize % PAGE
}

/// Neighbours go to different tables, so the tables grow one after the other.
fn shard(id: JobId) -> usize {
    id as usize % SHARDS
}

/// Spreads consecutive numbers over all 64 bits (the tables use the high and the low ones). The
/// server assigns the ids, so nobody can choose them to collide.
fn hash(number: u64) -> u64 {
    let product = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ (product >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The id of a job follows from its place.
    fn id_of(ix: Ix) -> JobId {
        JobId::from(ix) * 3
    }

    /// Inserts or removes a range of ids.
    #[derive(Debug, Clone)]
    struct Step {
        from: u32,
        len: u32,
        /// Takes one of this many ids.
        every: usize,
        inserts: bool,
    }

    fn step() -> impl Strategy<Value = Step> {
        (0..12_000u32, 1..3000u32, 1..20usize, any::<bool>())
            .prop_map(|(from, len, every, inserts)| Step { from, len, every, inserts })
    }

    proptest! {
        #[test]
        fn agrees_with_an_ordered_map(steps in prop::collection::vec(step(), 1..12)) {
            let mut index = Index::new();
            let mut model = BTreeMap::new();
            for Step { from, len, every, inserts } in steps {
                for ix in (from..from + len).step_by(every) {
                    let id = id_of(ix);
                    match (inserts, model.contains_key(&id)) {
                        (true, false) => {
                            index.insert(id, ix, id_of);
                            model.insert(id, ix);
                        }
                        (false, true) => {
                            index.remove(id, ix, id_of);
                            model.remove(&id);
                        }
                        _ => {}
                    }
                    prop_assert_eq!(index.find(id, id_of), model.get(&id).copied());
                }
                for id in (0..id_of(16_000)).step_by(1997) {
                    prop_assert_eq!(index.find(id, id_of), model.get(&id).copied());
                }
                let mut all: Vec<Ix> = index.all().collect();
                all.sort_unstable();
                prop_assert_eq!(all, model.values().copied().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn memory_goes_back_when_jobs_go() {
        let mut index = Index::new();
        let last = 300_000;
        let stays = |ix: &Ix| ix.is_multiple_of(1000);
        for ix in 0..last {
            index.insert(id_of(ix), ix, id_of);
        }
        for ix in (0..last).filter(|ix| !stays(ix)) {
            index.remove(id_of(ix), ix, id_of);
        }
        assert_eq!(index.pages.len(), 0);
        assert!(index.pages.capacity() <= 2 * SHRINK_FROM);
        assert!((0..last).filter(stays).all(|ix| index.find(id_of(ix), id_of) == Some(ix)));
        for ix in (0..last).filter(stays) {
            index.remove(id_of(ix), ix, id_of);
        }
        assert_eq!(index.all().count(), 0);
        let room: usize = index.scattered.iter().map(HashTable::capacity).sum();
        assert!(room <= SHARDS * SHRINK_FROM, "{room} places are left");
    }
}
