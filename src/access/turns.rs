//! Whose token is verified next, and when: sans I/O, with the time as an argument.
//!
//! Addresses take turns, so that one with ten thousand tokens to verify is asked as often as one with
//! a single token. After a wrong token, an address has no turn for a time that doubles with each. What waits
//! is as much as there are connections that wait: whoever gives up is removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jq_engine::Nanos;

use super::address::ClientAddress;

/// The delay after a wrong token; each further one doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// An address that has shown no wrong token for so long is as good as any.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Most addresses whose wrong tokens are counted. Beyond it, the one whose last is the oldest is forgotten.
const MOST_ADDRESSES: usize = 10_000;

/// Where a token came from; `None` for Unix sockets, which have no delay.
pub(super) type Origin = Option<ClientAddress>;

/// Tokens that wait to be verified.
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// Those origins from which something waits, or is being verified.
    waiting: HashMap<Origin, Waiting<T>>,
    /// Those that can have a turn, by the moment from which on.
    order: BTreeSet<(Nanos, u64, Origin)>,
    delays: Delays,
    /// The number of the next ticket and of the next place in `order`.
    next: u64,
    count: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    /// In `order`. `None` while one of it is being verified.
    place: Option<(Nanos, u64)>,
    items: BTreeMap<u64, T>,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    origin: Origin,
    number: u64,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// This is to be verified now; then [`Turns::done`].
    Now(Origin, T),
    /// Nothing before this moment.
    At(Nanos),
    /// Nothing waits.
    Nothing,
}

impl<T> Turns<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: HashMap::new(),
            order: BTreeSet::new(),
            delays: Delays::default(),
            next: 0,
            count: 0,
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Something from this origin is to be verified.
    pub(super) fn push(&mut self, now: Nanos, origin: Origin, item: T) -> Ticket {
        let number = self.number();
        let free = self.delays.free_at(origin, now);
        let waiting = self.waiting.entry(origin).or_insert_with(|| {
            let place = (free, number);
            self.order.insert((place.0, place.1, origin));
            Waiting { place: Some(place), items: BTreeMap::new() }
        });
        waiting.items.insert(number, item);
        self.count += 1;
        Ticket { origin, number }
    }

    /// Whoever has this ticket does not wait any more. `None` if it has had its turn.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let waiting = self.waiting.get_mut(&ticket.origin)?;
        let item = waiting.items.remove(&ticket.number)?;
        self.count -= 1;
        if waiting.items.is_empty()
            && let Some((at, number)) = waiting.place
        {
            self.order.remove(&(at, number, ticket.origin));
            self.waiting.remove(&ticket.origin);
        }
        Some(item)
    }

    /// What is to be verified now. Its origin has no other turn before [`Turns::done`].
    pub(super) fn next(&mut self, now: Nanos) -> Next<T> {
        let Some((at, _, origin)) = self.order.first().copied() else { return Next::Nothing };
        if at > now {
            return Next::At(at);
        }
        self.order.pop_first();
        let waiting = self.waiting.get_mut(&origin).expect("what is in the order waits");
        waiting.place = None;
        let (_, item) = waiting.items.pop_first().expect("an origin in the order has items");
        self.count -= 1;
        Next::Now(origin, item)
    }

    /// What came from this origin is verified.
    pub(super) fn done(&mut self, now: Nanos, origin: Origin, was_wrong: bool) {
        if was_wrong && let Some(address) = origin {
            self.delays.count_wrong(address, now);
        }
        let number = self.number();
        let Some(waiting) = self.waiting.get_mut(&origin) else { return };
        if waiting.items.is_empty() {
            self.waiting.remove(&origin);
        } else {
            let at = self.delays.free_at(origin, now);
            waiting.place = Some((at, number));
            self.order.insert((at, number, origin));
        }
    }

    /// Everything that waits.
    pub(super) fn drain(&mut self) -> Vec<T> {
        let waiting = std::mem::take(&mut self.waiting);
        self.order.clear();
        self.count = 0;
        waiting.into_values().flat_map(|waiting| waiting.items.into_values()).collect()
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// Addresses that have shown wrong tokens.
#[derive(Debug, Default)]
struct Delays {
    by_address: HashMap<ClientAddress, Wrong>,
    /// By the moment of the last wrong token.
    oldest: BTreeSet<(Nanos, ClientAddress)>,
}

#[derive(Debug, Clone, Copy)]
struct Wrong {
    count: u32,
    last: Nanos,
}

impl Delays {
    /// From when on a token from there can be verified.
    fn free_at(&self, origin: Origin, now: Nanos) -> Nanos {
        let wrong = origin.and_then(|address| self.by_address.get(&address));
        wrong.map_or(now, |wrong| wrong.last.later(delay(wrong.count)).max(now))
    }

    fn count_wrong(&mut self, address: ClientAddress, now: Nanos) {
        self.forget(now);
        let before = self.by_address.get(&address).copied();
        if let Some(before) = before {
            self.oldest.remove(&(before.last, address));
        } else if self.by_address.len() >= MOST_ADDRESSES
            && let Some((_, oldest)) = self.oldest.pop_first()
        {
            self.by_address.remove(&oldest);
        }
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        self.by_address.insert(address, Wrong { count, last: now });
        self.oldest.insert((now, address));
    }

    /// Forgets what is long ago.
    fn forget(&mut self, now: Nanos) {
        while let Some((last, address)) = self.oldest.first().copied() {
            if last.later(FORGOTTEN_AFTER) > now {
                break;
            }
            self.oldest.pop_first();
            self.by_address.remove(&address);
        }
    }
}

/// The delay after so many wrong tokens.
fn delay(wrong: u32) -> Duration {
    let doubled = wrong.saturating_sub(1).min(16);
    (FIRST_DELAY * (1 << doubled)).min(LONGEST_DELAY)
}
