//! Where results and callbacks go: how many wait for each destination, and which are in trouble.
//!
//! A destination is what a URL begins with: scheme, host and port. After several failures in a row it is in
//! trouble: then one exchange at a time tries it, after pauses that grow, and all others wait. The first
//! success ends the trouble. So a dead host costs little, and holds nobody else up.
//!
//! Owns: counts, troubles and turns. Must not know: what is sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};
use url::Url;

use crate::retry::{Backoff, jitter};
use crate::room::Room;

/// So many failures in a row are trouble.
const FAILURES: u32 = 5;

/// Pauses between attempts at a destination in trouble.
const PAUSE: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };

/// A trouble is forgotten when nothing has failed for so long and nothing waits.
const FORGET: Duration = Duration::from_secs(600);

/// Most destinations that are named as being in trouble. Whoever queues jobs names the hosts.
const MAX_NAMED: usize = 20;

/// How many destinations are kept before those that nothing waits for are forgotten.
const MAX_KEPT: usize = 10_000;

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    name: String,
    /// The store that workers share, where every result goes.
    is_store: bool,
}

impl Place {
    /// Where this URL leads.
    pub fn of(url: &Url) -> Self {
        Self { name: url.origin().ascii_serialization(), is_store: false }
    }

    /// The store of this name that workers share.
    pub fn store(name: &str) -> Self {
        Self { name: name.to_owned(), is_store: true }
    }

    /// As it is shown.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Destinations {
    state: Mutex<State>,
    /// Told whenever somebody who waits for a turn may have it.
    changed: watch::Sender<()>,
    room: Arc<Room>,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<Place, Destination>,
    /// Most results that may wait for one of them.
    limit: usize,
}

#[derive(Debug)]
struct Destination {
    /// Results that wait to be sent.
    unsent: usize,
    /// Exchanges that wait or are under way, callbacks included.
    users: usize,
    /// In a row.
    failures: u32,
    /// Why the last one failed.
    message: String,
    last_failure: Instant,
    /// When it may be tried while it is in trouble.
    retry_at: Instant,
    /// Somebody tries it while it is in trouble.
    is_tried: bool,
}

impl Destination {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            unsent: 0,
            users: 0,
            failures: 0,
            message: String::new(),
            last_failure: now,
            retry_at: now,
            is_tried: false,
        }
    }

    fn is_in_trouble(&self) -> bool {
        self.failures >= FAILURES && (self.users > 0 || self.last_failure.elapsed() < FORGET)
    }

    /// For how many more results there is room.
    fn space(&self, limit: usize) -> usize {
        if !self.is_in_trouble() {
            limit.saturating_sub(self.unsent)
        } else {
            // A job is needed only if there is no result to try it with.
            usize::from(self.users == 0 && Instant::now() >= self.retry_at)
        }
    }

    fn is_idle(&self) -> bool {
        self.users == 0 && !self.is_in_trouble()
    }
}

impl Destinations {
    /// At most `limit` results may wait for each.
    pub fn new(limit: usize, room: Arc<Room>) -> Self {
        let state = Mutex::new(State { limit, ..State::default() });
        Self { state, changed: watch::Sender::new(()), room }
    }

    /// Changes the limit.
    pub fn set_limit(&self, limit: usize) {
        self.state().limit = limit;
        self.room.nudge();
    }

    /// Whether a job whose result goes there may be run now. In trouble, one may in a while, if nothing
    /// else tries it.
    pub fn admits(&self, place: &Place) -> bool {
        let mut state = self.state();
        let limit = state.limit;
        let Some(destination) = state.places.get_mut(place) else { return true };
        let admits = destination.space(limit) > 0;
        if admits && destination.is_in_trouble() {
            destination.retry_at = Instant::now() + PAUSE.delay(destination.failures, jitter());
        }
        admits
    }

    /// How many more jobs may be run whose results go there.
    pub fn space(&self, place: &Place) -> usize {
        let state = self.state();
        state.places.get(place).map_or(state.limit, |destination| destination.space(state.limit))
    }

    /// How many callbacks wait for it or are under way.
    pub fn callbacks(&self, place: &Place) -> usize {
        self.state().places.get(place).map_or(0, |it| it.users - it.unsent)
    }

    /// Counts an exchange until the returned value is dropped, as a result if it is one.
    pub fn enter(self: &Arc<Self>, place: Place, is_result: bool) -> User {
        let mut state = self.state();
        if state.places.len() >= MAX_KEPT {
            state.places.retain(|_, destination| destination.users > 0);
        }
        let destination = state.places.entry(place.clone()).or_insert_with(Destination::new);
        destination.users += 1;
        destination.unsent += usize::from(is_result);
        User { destinations: Arc::clone(self), place, is_result }
    }

    /// Those in trouble, with the number of results that wait for each, and why. At most 20.
    pub fn troubles(&self) -> Vec<(Place, usize, String)> {
        let state = self.state();
        let troubles = state.places.iter().filter(|(_, it)| it.is_in_trouble());
        let mut troubles: Vec<_> =
            troubles.map(|(place, it)| (place.clone(), it.unsent, it.message.clone())).collect();
        troubles.sort();
        troubles.truncate(MAX_NAMED);
        troubles
    }

    /// Those that most results wait for, most first. At most 20.
    pub fn owing(&self) -> Vec<(Place, usize)> {
        let state = self.state();
        let owing = state.places.iter().filter(|(_, it)| it.unsent > 0);
        let mut owing: Vec<_> = owing.map(|(place, it)| (place.clone(), it.unsent)).collect();
        owing.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        owing.truncate(MAX_NAMED);
        owing
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole between two statements, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exchange that wants to speak to a destination.
#[derive(Debug)]
pub struct User {
    destinations: Arc<Destinations>,
    place: Place,
    is_result: bool,
}

impl User {
    /// Waits until it may try. Without trouble that is at once.
    pub async fn turn(&self) -> Turn<'_> {
        let mut changed = self.destinations.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let at = match self.take_turn() {
                Ok(turn) => return turn,
                Err(at) => at,
            };
            tokio::select! {
                () = sleep_until(at) => {}
                // The sender is in `self`.
                _ = changed.changed() => {}
            }
        }
    }

    /// The error is when to ask again, unless something changes before.
    fn take_turn(&self) -> Result<Turn<'_>, Instant> {
        let mut state = self.destinations.state();
        let now = Instant::now();
        match state.places.get_mut(&self.place) {
            Some(destination) if destination.is_in_trouble() => {
                if destination.is_tried {
                    Err(now + PAUSE.max)
                } else if now < destination.retry_at {
                    Err(destination.retry_at)
                } else {
                    destination.is_tried = true;
                    Ok(Turn { user: self, tries: true })
                }
            }
            _ => Ok(Turn { user: self, tries: false }),
        }
    }

    /// Why it is in trouble, if it is.
    pub fn trouble(&self) -> Option<String> {
        let state = self.destinations.state();
        let destination = state.places.get(&self.place).filter(|it| it.is_in_trouble())?;
        Some(destination.message.clone())
    }

    /// Notes that an exchange succeeded.
    pub fn succeeded(&self) {
        let mut state = self.destinations.state();
        let Some(destination) = state.places.get_mut(&self.place) else { return };
        if destination.failures == 0 {
            return;
        }
        let was_in_trouble = destination.is_in_trouble();
        destination.failures = 0;
        drop(state);
        if was_in_trouble {
            info!(reason = "destination", "over: {} takes results again", self.place.as_str());
            self.destinations.changed.send_replace(());
            self.destinations.room.nudge();
        }
    }

    /// Notes that an exchange failed in a way that others are likely to. It is left alone for
    /// `retry_after` at least, if it is in trouble.
    pub fn failed(&self, message: &str, retry_after: Option<Duration>) {
        let mut state = self.destinations.state();
        let Some(destination) = state.places.get_mut(&self.place) else { return };
        let was_in_trouble = destination.is_in_trouble();
        let now = Instant::now();
        destination.last_failure = now;
        message.clone_into(&mut destination.message);
        // Of what was under way when the pause began, each would make it longer.
        let is_paused = was_in_trouble && now < destination.retry_at;
        if is_paused {
            let least = now + retry_after.unwrap_or_default();
            destination.retry_at = destination.retry_at.max(least);
            return;
        }
        destination.failures = destination.failures.saturating_add(1);
        if destination.is_in_trouble() {
            let pauses = destination.failures - FAILURES + 1;
            let pause = PAUSE.delay(pauses, jitter()).max(retry_after.unwrap_or_default());
            destination.retry_at = destination.retry_at.max(now + pause);
        }
        let is_new = destination.is_in_trouble() && !was_in_trouble;
        drop(state);
        if is_new {
            let place = self.place.as_str();
            if self.place.is_store {
                warn!(reason = "destination", "results wait for {place}: {message}");
            } else {
                warn!(
                    reason = "destination",
                    "taking no jobs whose results go to {place}: {message}"
                );
            }
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut state = self.destinations.state();
        if let Some(destination) = state.places.get_mut(&self.place) {
            destination.users -= 1;
            destination.unsent -= usize::from(self.is_result);
            if destination.is_idle() && destination.failures == 0 {
                state.places.remove(&self.place);
            }
        }
        drop(state);
        self.destinations.room.nudge();
    }
}

/// The right to speak to a destination once.
#[derive(Debug)]
pub struct Turn<'a> {
    user: &'a User,
    tries: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.tries {
            let destinations = &self.user.destinations;
            if let Some(destination) = destinations.state().places.get_mut(&self.user.place) {
                destination.is_tried = false;
            }
            destinations.changed.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn destinations(limit: usize) -> Arc<Destinations> {
        Arc::new(Destinations::new(limit, Arc::new(Room::new(1, 1))))
    }

    fn place(url: &str) -> Place {
        Place::of(&url.parse().unwrap())
    }

    #[test]
    fn pauses_are_those_of_the_manual() {
        assert_eq!((PAUSE.first, PAUSE.max), (Duration::from_secs(1), Duration::from_secs(60)));
        let docs = include_str!("../../docs/worker.md");
        assert!(docs.contains(&format!("After {FAILURES} failures in a row it is in trouble")));
        assert!(docs.contains("after pauses that grow from a second\n  to a minute"));
    }

    #[test]
    fn a_place_is_scheme_host_and_port() {
        assert_eq!(place("http://a.example/x?y"), place("http://A.example:80/z"));
        for other in ["https://a.example/", "http://a.example:81/", "http://b.example/"] {
            assert_ne!(place("http://a.example/"), place(other));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_a_limit_of_its_own() {
        let (all, a, b) = (destinations(2), place("http://a/"), place("http://b/"));
        let one = all.enter(a.clone(), true);
        let _callback = all.enter(a.clone(), false);
        assert!(all.admits(&a));
        let _two = all.enter(a.clone(), true);
        assert!(!all.admits(&a) && all.admits(&b));
        assert_eq!((all.space(&a), all.space(&b)), (0, 2));
        assert_eq!(all.owing(), [(a.clone(), 2)]);
        drop(one);
        assert!(all.admits(&a));
    }

    #[tokio::test(start_paused = true)]
    async fn in_trouble_one_at_a_time_tries() {
        let (all, a) = (destinations(10), place("http://a/"));
        let (one, other) = (all.enter(a.clone(), true), all.enter(a.clone(), true));
        for failure in 1..=FAILURES {
            assert!(all.troubles().is_empty(), "{failure}");
            assert!(!one.turn().await.tries);
            one.failed("dead", None);
        }
        assert_eq!(all.troubles(), [(a.clone(), 2, "dead".to_owned())]);
        assert_eq!(other.trouble().as_deref(), Some("dead"));
        assert!(!all.admits(&a), "there are results to try it with");
        let turn = one.turn().await;
        assert!(turn.tries);
        assert!(other.turn().now_or_never().is_none());
        drop(turn);
        // It did not say how it went: the next one tries.
        let turn = other.turn().await;
        other.failed("dead", Some(Duration::from_secs(1000)));
        drop(turn);
        let before = Instant::now();
        let turn = one.turn().await;
        assert!(before.elapsed() >= Duration::from_secs(1000), "as it has asked for");
        one.succeeded();
        drop(turn);
        assert!(all.troubles().is_empty() && all.admits(&a));
        assert!(!other.turn().await.tries);
        drop((one, other));
        assert!(all.state().places.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_at_once_makes_no_long_pause() {
        let (all, a) = (destinations(50), place("http://a/"));
        let many: Vec<_> = (0..50).map(|_| all.enter(a.clone(), true)).collect();
        many.iter().for_each(|one| one.failed("dead", None));
        let before = Instant::now();
        let turn = many[0].turn().await;
        assert!(turn.tries && before.elapsed() <= 2 * PAUSE.first);
        // But whoever tries and fails does.
        for _ in 0..20 {
            many[0].failed("dead", None);
            drop(many[1].turn().now_or_never());
            tokio::time::advance(PAUSE.max).await;
        }
        many[0].failed("dead", None);
        tokio::time::advance(2 * PAUSE.first).await;
        assert!(many[2].turn().now_or_never().is_none());
        drop(turn);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_result_a_job_tries_now_and_then() {
        let (all, a) = (destinations(10), place("http://a/"));
        let one = all.enter(a.clone(), true);
        (0..FAILURES).for_each(|_| one.failed("gone", None));
        drop(one);
        assert!(!all.admits(&a), "not at once");
        tokio::time::advance(PAUSE.max).await;
        assert!(all.admits(&a));
        assert!(!all.admits(&a), "one is enough");
        tokio::time::advance(FORGET).await;
        assert!(all.admits(&a) && all.admits(&a), "it is forgotten");
    }
}
