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
/// Whoever does not listen any more is let wait behind fewer of its address than these, and so long.
const FEW: usize = 4;
const SOON: Duration = Duration::from_secs(1);
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

    /// Whether this one has to wait for long: for [`FEW`] others of the same origin, or because its origin has
    /// no turn soon.
    pub(super) fn has_to_wait(&self, now: Nanos, ticket: Ticket) -> bool {
        let Some(waiting) = self.waiting.get(&ticket.origin) else { return false };
        let before = waiting.items.range(..ticket.number).take(FEW).count();
        before == FEW || waiting.place.is_some_and(|(at, _)| at > now.later(SOON))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> ClientAddress {
        ClientAddress::V4(std::net::Ipv4Addr::from_bits(number))
    }

    fn at(millis: u64) -> Nanos {
        Nanos(millis * 1_000_000)
    }

    /// Takes what is next, which must be something.
    fn now<T>(turns: &mut Turns<T>, millis: u64) -> (Origin, T) {
        match turns.next(at(millis)) {
            Next::Now(origin, item) => (origin, item),
            Next::At(moment) => panic!("nothing before {moment:?}"),
            Next::Nothing => panic!("nothing waits"),
        }
    }

    /// Verifies a token that is wrong.
    fn wrong(turns: &mut Turns<u32>, millis: u64, origin: Origin) {
        turns.push(at(millis), origin, 0);
        assert_eq!(now(turns, millis), (origin, 0));
        turns.done(at(millis), origin, true);
    }

    #[test]
    fn the_delay_doubles_with_each_wrong_token() {
        let (mut turns, origin) = (Turns::new(), Some(address(1)));
        let mut millis = 0;
        for delay in [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
            wrong(&mut turns, millis, origin);
            turns.push(at(millis), origin, 1);
            assert_eq!(turns.next(at(millis)), Next::At(at(millis + delay)));
            assert_eq!(turns.next(at(millis + delay - 1)), Next::At(at(millis + delay)));
            millis += delay;
            assert_eq!(now(&mut turns, millis), (origin, 1));
            // A right one between is forgiven nothing: whoever guesses may have one.
            turns.done(at(millis), origin, false);
        }
        assert_eq!(delay(u32::MAX), LONGEST_DELAY);
    }

    #[test]
    fn a_long_time_without_wrong_tokens_is_as_good_as_none() {
        let (mut turns, origin) = (Turns::new(), Some(address(1)));
        wrong(&mut turns, 0, origin);
        wrong(&mut turns, 100, origin);
        let later = 100 + FORGOTTEN_AFTER.as_millis() as u64;
        wrong(&mut turns, later, origin);
        turns.push(at(later), origin, 1);
        assert_eq!(turns.next(at(later)), Next::At(at(later + 100)));
        assert_eq!(turns.delays.by_address.len(), turns.delays.oldest.len());
    }

    #[test]
    fn an_address_that_is_delayed_holds_up_nobody_else() {
        let (mut turns, guesser, other) = (Turns::new(), Some(address(1)), Some(address(2)));
        wrong(&mut turns, 0, guesser);
        turns.push(at(1), guesser, 1);
        turns.push(at(2), other, 2);
        turns.push(at(3), None, 3);
        assert_eq!(now(&mut turns, 3), (other, 2));
        turns.done(at(3), other, false);
        assert_eq!(now(&mut turns, 3), (None, 3));
        turns.done(at(3), None, true);
        assert_eq!(turns.next(at(4)), Next::At(at(100)));
        // Unix sockets have no delay.
        turns.push(at(4), None, 4);
        assert_eq!(now(&mut turns, 4), (None, 4));
    }

    #[test]
    fn each_address_has_its_turn_however_many_wait_there() {
        let (mut turns, crowd, single) = (Turns::new(), Some(address(1)), Some(address(2)));
        for item in 0..1000 {
            turns.push(at(0), crowd, item);
        }
        turns.push(at(1), single, 7);
        assert_eq!(now(&mut turns, 1), (crowd, 0));
        // One at a time from each.
        assert_eq!(now(&mut turns, 1), (single, 7));
        assert_eq!(turns.next(at(1)), Next::Nothing);
        turns.done(at(2), crowd, false);
        assert_eq!(now(&mut turns, 2), (crowd, 1));
        assert_eq!(turns.len(), 998);
    }

    #[test]
    fn whoever_waits_while_its_address_guesses_wrong_waits_for_the_delay() {
        let (mut turns, origin) = (Turns::new(), Some(address(1)));
        turns.push(at(0), origin, 1);
        turns.push(at(0), origin, 2);
        assert_eq!(now(&mut turns, 0), (origin, 1));
        turns.push(at(5), origin, 3);
        turns.done(at(20), origin, true);
        assert_eq!(turns.next(at(21)), Next::At(at(120)));
        assert_eq!(now(&mut turns, 120), (origin, 2));
        turns.done(at(140), origin, true);
        assert_eq!(turns.next(at(140)), Next::At(at(340)));
    }

    #[test]
    fn nothing_is_left_of_those_who_give_up() {
        let mut turns = Turns::new();
        let tickets: Vec<_> =
            (0..100).map(|item| turns.push(at(0), Some(address(item % 7)), item)).collect();
        let (first, taken) = now(&mut turns, 0);
        for (item, ticket) in (0..).zip(tickets) {
            let removed = turns.remove(ticket);
            assert_eq!(removed, (item != taken).then_some(item));
            assert_eq!(turns.remove(ticket), None);
        }
        assert_eq!(turns.len(), 0);
        turns.done(at(1), first, true);
        assert_eq!(turns.next(at(1000)), Next::Nothing);
        assert!(turns.waiting.is_empty() && turns.order.is_empty());
        turns.push(at(1000), None, 1);
        assert_eq!((turns.drain(), turns.len()), (vec![1], 0));
    }

    #[test]
    fn only_so_many_addresses_are_counted() {
        let mut turns = Turns::new();
        let most = MOST_ADDRESSES as u32;
        for number in 0..most {
            wrong(&mut turns, u64::from(number) / 100, Some(address(number)));
        }
        // It is the youngest now, so that the one after it is forgotten.
        wrong(&mut turns, 200, Some(address(0)));
        wrong(&mut turns, 200, Some(address(most)));
        assert_eq!(turns.delays.by_address.len(), MOST_ADDRESSES);
        assert_eq!(turns.delays.oldest.len(), MOST_ADDRESSES);
        assert!(turns.delays.by_address.contains_key(&address(0)));
        assert!(!turns.delays.by_address.contains_key(&address(1)));
        turns.push(at(200), Some(address(0)), 1);
        assert_eq!(turns.next(at(200)), Next::At(at(400)));
    }
}
