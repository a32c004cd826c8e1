//! What a principal, or a client address, has and does: all of its connections together.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jq_engine::{Nanos, TubeSums};

use crate::paced::Paced;

/// So much may be done at once after a pause: the commands of one second.
const BURST: u64 = 1_000_000_000;

/// What has to be remembered of one principal, or of one address.
#[derive(Default)]
pub(crate) struct Account {
    /// For people.
    name: Box<str>,
    connections: AtomicU32,
    /// When its next command would come if all came evenly, as [`Nanos`]: the generic cell rate algorithm.
    next_command: AtomicU64,
    bytes: AtomicU64,
    denied: Paced,
    turned_away: Paced,
    waits: AtomicU64,
    sums: Mutex<Option<Sums>>,
}

/// The sums over the tubes that a principal may see, and until when they are good enough.
#[derive(Debug, Clone, Copy)]
struct Sums {
    generation: u64,
    until: Nanos,
    sums: TubeSums,
}

/// Counts as one of the connections of an account until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Account>);

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Account").field(&self.name).finish()
    }
}

impl Account {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The principal or the address, for people.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Another connection, if there are fewer than `most`.
    pub(super) fn seat(self: &Arc<Self>, most: Option<u32>) -> Option<Seat> {
        let most = most.unwrap_or(u32::MAX);
        let more = |connections: u32| (connections < most).then(|| connections + 1);
        let counted = self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.is_ok().then(|| Seat(Arc::clone(self)))
    }

    /// Number of its connections.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many commands may come now, at a rate of so many a second.
    pub(super) fn commands_now(&self, now: Nanos, rate: u32) -> u64 {
        let next = self.next_command.load(Ordering::Relaxed);
        let ahead = next.saturating_sub(now.0);
        BURST.saturating_sub(ahead).saturating_mul(u64::from(rate)) / BURST
    }

    /// Counts commands that have come. Returns when the last of them would have been in time.
    pub(super) fn count_commands(&self, now: Nanos, rate: u32, commands: u64) -> Nanos {
        let cost = commands.saturating_mul(BURST) / u64::from(rate.max(1));
        let spent = |next: u64| Some(next.max(now.0).saturating_add(cost));
        let before = self.next_command.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent);
        let next = before.unwrap_or_default().max(now.0).saturating_add(cost);
        Nanos(next.saturating_sub(BURST))
    }

    /// A connection has to wait for its turn.
    pub(super) fn count_wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a connection had to wait for its turn.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// Bytes of bodies in the queue, of those that are counted.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove_bytes(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A command was refused. If that is to be logged, returns how many it is about.
    pub(super) fn count_denied(&self, now: Nanos) -> Option<u64> {
        self.denied.count(now)
    }

    /// How many commands were refused since the server started.
    pub(crate) fn denied(&self) -> u64 {
        self.denied.total()
    }

    /// A connection was one too many. If that is to be logged, returns how many it is about.
    pub(super) fn count_turned_away(&self, now: Nanos) -> Option<u64> {
        self.turned_away.count(now)
    }

    /// How many connections were too many since the server started.
    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.total()
    }

    /// The sums of the tubes that it may see, if those that are known are good enough.
    pub(crate) fn sums(&self, generation: u64, now: Nanos) -> Option<TubeSums> {
        let known = *self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.filter(|known| known.generation == generation && now < known.until);
        fresh.map(|known| known.sums)
    }

    pub(crate) fn set_sums(&self, generation: u64, until: Nanos, sums: TubeSums) {
        let known = Sums { generation, until, sums };
        *self.sums.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
}

impl Seat {
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Nanos {
        Nanos(Nanos::from_secs(1000).0 + millis * 1_000_000)
    }

    #[test]
    fn a_burst_of_a_second_and_then_an_even_rate() {
        let account = Account::new("a");
        assert_eq!(account.commands_now(at(0), 10), 10);
        assert!(account.count_commands(at(0), 10, 10) <= at(0));
        assert_eq!(account.commands_now(at(0), 10), 0);
        assert_eq!(account.commands_now(at(99), 10), 0);
        assert_eq!(account.commands_now(at(100), 10), 1);
        // Those who wait queue up, each with a turn of its own.
        assert_eq!(account.count_commands(at(50), 10, 1), at(100));
        assert_eq!(account.count_commands(at(50), 10, 1), at(200));
        assert_eq!(account.commands_now(at(200), 10), 0);
        assert_eq!(account.commands_now(at(5000), 10), 10);
    }

    #[test]
    fn any_rate_can_be_kept() {
        for rate in [1, 3, 7, 1_000_000, u32::MAX] {
            let account = Account::new("a");
            let mut done = 0;
            for millis in 0..3000 {
                let now = account.commands_now(at(millis), rate);
                account.count_commands(at(millis), rate, now);
                done += now;
            }
            // A second's burst, and three seconds.
            let most = 4 * u64::from(rate);
            assert!((most / 2..=most).contains(&done), "{done} at a rate of {rate}");
        }
    }

    #[test]
    fn connections_are_counted_while_they_last() {
        let account = Arc::new(Account::new("a"));
        let first = account.seat(Some(2)).unwrap();
        let second = account.seat(Some(2)).unwrap();
        assert!(account.seat(Some(2)).is_none());
        assert_eq!(account.connections(), 2);
        drop(first);
        assert!(account.seat(Some(2)).is_some());
        assert!(account.seat(None).is_some());
        drop(second);
        assert_eq!(account.connections(), 0);
    }
}
