//! Tubes, and the table that finds them by name.

use std::collections::BTreeSet;
use std::hash::BuildHasher;

use beanstalk_protocol::{Priority, TubeName, URGENT_PRIORITY};
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::arena::{Arena, Ix};
use crate::growth;
use crate::heap::JobHeap;
use crate::job::{DeadlineKey, Place, ReadyKey};
use crate::list::List;
use crate::observe::{Activity, Slot};
use crate::policy::{Policy, Ruled};
use crate::ready::ReadyJobs;
use crate::record::{Pause, TubeSettings};
use crate::time::Nanos;
use crate::timers::Listed;
use crate::waiting::Ticket;

/// A tube. It exists as long as [`Tube::is_needed`].
#[derive(Debug)]
pub(crate) struct Tube {
    pub(crate) name: TubeName,
    /// Of all tubes ever created.
    pub(crate) number: u64,
    /// Its position in [`Tubes::order`].
    order: u32,
    pub(crate) ready: ReadyJobs,
    pub(crate) delayed: JobHeap<DeadlineKey>,
    pub(crate) buried: List,
    pub(crate) counts: JobCounts,
    /// Its jobs in any state, including those whose body is still arriving.
    pub(crate) jobs: u64,
    pub(crate) total_jobs: u64,
    pub(crate) deletes: u64,
    pub(crate) buries: u64,
    pub(crate) timeouts: u64,
    pub(crate) slot: Slot,
    pub(crate) using: u64,
    pub(crate) watching: u64,
    /// Waiting connections that watch it, without those that watch many tubes.
    pub(crate) waiting: u64,
    /// Connections that watch it among many tubes.
    pub(crate) wide_watchers: u64,
    /// Connections to be served when there is a job: see [`crate::waiting`].
    pub(crate) queue: BTreeSet<(Ticket, Ix)>,
    /// Connections to be alerted to a better job: see [`crate::wide`].
    pub(crate) armed: BTreeSet<Ix>,
    /// Bytes in the bodies of its jobs.
    pub(crate) bytes: u64,
    pub(crate) pause: Option<Pause>,
    pub(crate) ruled: Option<Box<Ruled>>,
    /// Whether it is paused or has a policy: one look tells that neither is to be thought of.
    pub(crate) special: bool,
    /// Whether its jobs cannot be reserved: [`Tube::is_to_be_held`].
    pub(crate) held: bool,
    pub(crate) pauses: u64,
    pub(crate) listed: Listed,
}

/// The number of jobs in each state. Kept for each tube, and for all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JobCounts {
    pub(crate) urgent: u64,
    pub(crate) ready: u64,
    pub(crate) delayed: u64,
    pub(crate) reserved: u64,
    pub(crate) buried: u64,
    /// How often a job was reserved.
    pub(crate) reserves: u64,
}

impl JobCounts {
    pub(crate) fn enter(&mut self, place: Place, priority: Priority) {
        if let Some(count) = self.count_of(place) {
            *count += 1;
        }
        if let Place::Reserved { .. } = place {
            self.reserves += 1;
        }
        if place.is_ready() && priority < URGENT_PRIORITY {
            self.urgent += 1;
        }
    }

    pub(crate) fn leave(&mut self, place: Place, priority: Priority) {
        if let Some(count) = self.count_of(place) {
            *count -= 1;
        }
        if place.is_ready() && priority < URGENT_PRIORITY {
            self.urgent -= 1;
        }
    }

    /// Sets to zero what is not with a connection, and returns what that was.
    pub(crate) fn take_collections(&mut self) -> Self {
        let kept = Self { reserved: self.reserved, reserves: self.reserves, ..Self::default() };
        Self { reserved: 0, ..std::mem::replace(self, kept) }
    }

    pub(crate) fn subtract(&mut self, other: Self) {
        let Self { urgent, ready, delayed, reserved, buried, reserves: _ } = other;
        self.urgent -= urgent;
        self.ready -= ready;
        self.delayed -= delayed;
        self.reserved -= reserved;
        self.buried -= buried;
    }

    fn count_of(&mut self, place: Place) -> Option<&mut u64> {
        match place {
            Place::Nowhere => None,
            Place::Lined { .. } | Place::Ready { .. } => Some(&mut self.ready),
            Place::Delayed { .. } => Some(&mut self.delayed),
            Place::Reserved { .. } => Some(&mut self.reserved),
            Place::Buried { .. } => Some(&mut self.buried),
        }
    }
}

impl Tube {
    fn new(name: TubeName, number: u64, order: u32) -> Self {
        Self {
            name,
            number,
            order,
            ready: ReadyJobs::new(),
            delayed: JobHeap::new(),
            buried: List::EMPTY,
            counts: JobCounts::default(),
            jobs: 0,
            total_jobs: 0,
            deletes: 0,
            buries: 0,
            timeouts: 0,
            slot: Slot::UNDECIDED,
            using: 0,
            watching: 0,
            waiting: 0,
            wide_watchers: 0,
            queue: BTreeSet::new(),
            armed: BTreeSet::new(),
            bytes: 0,
            pause: None,
            ruled: None,
            special: false,
            held: false,
            pauses: 0,
            listed: Listed::NOT,
        }
    }

    /// The next job that a connection can reserve: none while the tube is held.
    #[inline]
    pub(crate) fn available(&self) -> Option<ReadyKey> {
        if self.held { None } else { self.ready.first().map(|(key, _)| key) }
    }

    /// Whether somebody is to be told of another ready job.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        !self.queue.is_empty() || !self.armed.is_empty()
    }

    /// What has happened in it.
    pub(crate) fn activity(&self) -> Activity {
        Activity {
            puts: self.total_jobs,
            reserves: self.counts.reserves,
            deletes: self.deletes,
            buries: self.buries,
            timeouts: self.timeouts,
        }
    }

    /// Call this when the pause or the policy has changed.
    pub(crate) fn has_changed(&mut self) {
        self.special = self.has_settings();
        self.held = self.is_to_be_held();
    }

    /// Whether the tube is paused, or its rate of reserves is used up.
    pub(crate) fn is_to_be_held(&self) -> bool {
        self.pause.is_some() || self.ruled.as_ref().is_some_and(|ruled| ruled.is_throttled())
    }

    /// When something is due for this tube: the first delayed job, the end of the pause, or what its
    /// policy says.
    #[inline]
    pub(crate) fn deadline(&self) -> Nanos {
        let delayed = self.delayed.first().map_or(Nanos::NEVER, |((at, _), _)| at);
        if self.special { delayed.min(self.special_deadline()) } else { delayed }
    }

    #[cold]
    fn special_deadline(&self) -> Nanos {
        let pause = self.pause.map_or(Nanos::NEVER, |pause| pause.until);
        let ruled = self.ruled.as_ref().map_or(Nanos::NEVER, |ruled| ruled.deadline());
        pause.min(ruled)
    }

    /// Everything that is set for it.
    pub(crate) fn settings(&self) -> TubeSettings<'_> {
        let policy = self.ruled.as_ref().map(|ruled| Policy::recorded(&ruled.policy));
        TubeSettings { pause: self.pause, policy }
    }

    /// Whether something is set for it.
    #[inline]
    pub(crate) fn has_settings(&self) -> bool {
        self.pause.is_some() || self.ruled.is_some()
    }

    /// Whether the tube has to exist: a connection uses or watches it, it has a job, or it has
    /// settings. The default tube always exists.
    fn is_needed(&self) -> bool {
        self.using + self.watching + self.jobs > 0 || self.special
    }
}

/// The number of hash tables for names. A single one of millions of tubes would grow in one long step, and ask
/// for much memory at a time.
const SHARDS: usize = 64;

/// By bits that the table itself makes little use of.
fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

/// All tubes.
#[derive(Debug)]
pub(crate) struct Tubes {
    arena: Arena<Tube>,
    /// [`SHARDS`] tables.
    index: Box<[HashTable<Ix>]>,
    hasher: DefaultHashBuilder,
    /// The order of `list-tubes`: the order of creation, except that the last one takes the place
    /// of one that is removed.
    order: Vec<Ix>,
    created: u64,
}

/// What a tube leaves behind.
#[derive(Debug)]
pub(crate) struct Gone {
    /// Its timer entry.
    pub(crate) listed: Listed,
    pub(crate) slot: Slot,
    pub(crate) activity: Activity,
}

impl Tubes {
    /// The tube that always exists.
    pub(crate) const DEFAULT: Ix = 0;

    pub(crate) fn new() -> Self {
        let mut tubes = Self {
            arena: Arena::new(),
            index: std::iter::repeat_with(HashTable::new).take(SHARDS).collect(),
            hasher: DefaultHashBuilder::default(),
            order: Vec::new(),
            created: 0,
        };
        tubes.find_or_create(TubeName::default_tube());
        tubes
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(|ix| self.arena[*ix].name.as_str())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Tube> {
        self.order.iter().map(|ix| &self.arena[*ix])
    }

    /// The places from `ix` on, in order, with their tubes.
    pub(crate) fn from(&self, ix: Ix) -> impl Iterator<Item = (Ix, Option<&Tube>)> {
        self.arena.from(ix)
    }

    /// The current places of all tubes.
    pub(crate) fn places(&self) -> Vec<Ix> {
        self.order.clone()
    }

    pub(crate) fn find(&self, name: &str) -> Option<Ix> {
        let hash = self.hasher.hash_one(name);
        self.index[shard(hash)].find(hash, |ix| self.arena[*ix].name.as_str() == name).copied()
    }

    pub(crate) fn find_or_create(&mut self, name: TubeName) -> Ix {
        if let Some(ix) = self.find(name.as_str()) {
            return ix;
        }
        let hash = self.hasher.hash_one(name.as_str());
        let ix = self.arena.insert(Tube::new(name, self.created, self.order.len() as u32));
        self.created += 1;
        growth::push(&mut self.order, ix);
        let (arena, hasher) = (&self.arena, &self.hasher);
        self.index[shard(hash)]
            .insert_unique(hash, ix, |ix| hasher.hash_one(arena[*ix].name.as_str()));
        ix
    }

    /// Removes the tube if it is no longer needed. Returns what it leaves behind.
    #[inline]
    pub(crate) fn remove_if_idle(&mut self, ix: Ix) -> Option<Gone> {
        if ix == Self::DEFAULT || self.arena[ix].is_needed() { None } else { self.remove(ix) }
    }

    #[inline(never)]
    fn remove(&mut self, ix: Ix) -> Option<Gone> {
        let tube = self.arena.remove(ix)?;
        let hash = self.hasher.hash_one(tube.name.as_str());
        if let Ok(entry) = self.index[shard(hash)].find_entry(hash, |found| *found == ix) {
            entry.remove();
        }
        self.order.swap_remove(tube.order as usize);
        if let Some(moved) = self.order.get(tube.order as usize) {
            self.arena[*moved].order = tube.order;
        }
        Some(Gone { listed: tube.listed, slot: tube.slot, activity: tube.activity() })
    }
}

impl std::ops::Index<Ix> for Tubes {
    type Output = Tube;

    #[inline]
    fn index(&self, ix: Ix) -> &Tube {
        &self.arena[ix]
    }
}

impl std::ops::IndexMut<Ix> for Tubes {
    #[inline]
    fn index_mut(&mut self, ix: Ix) -> &mut Tube {
        &mut self.arena[ix]
    }
}
