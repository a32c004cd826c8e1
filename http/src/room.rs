//! The limit on the number of connections. An idle connection makes room for a new one.
//!
//! A connection rests (is idle) while it only waits for a request of its client: before the first
//! request, while a head is arriving, and between two requests. It still occupies a place, so a few
//! hundred resting connections would keep everybody else out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Places for connections.
#[derive(Debug)]
pub(crate) struct Room {
    places: Arc<Semaphore>,
    resting: Mutex<Resting>,
    /// Notified when a connection begins to rest.
    rested: Notify,
}

/// The connections that rest.
#[derive(Debug)]
struct Resting {
    /// Notifies each that it is closed; in the order in which they began to rest.
    since: BTreeMap<u64, Arc<Notify>>,
    next: u64,
}

impl Room {
    /// Room for this many connections, at least 1.
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(places.max(1))),
            resting: Mutex::new(Resting { since: BTreeMap::new(), next: BUSY + 1 }),
            rested: Notify::new(),
        })
    }

    /// Waits for a place. If there is none, the connection that has rested longest is closed; if
    /// none rests, the first that ends or begins to rest makes room.
    pub(crate) async fn enter(self: &Arc<Self>) -> Seat {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
                break Ok(permit);
            }
            let next = Arc::clone(&self.places).acquire_owned();
            if self.close_oldest() {
                break next.await;
            }
            tokio::select! {
                permit = next => break permit,
                () = self.rested.notified() => {}
            }
        };
        Seat {
            room: Arc::clone(self),
            closed: Arc::new(Notify::new()),
            since: AtomicU64::new(BUSY),
            _place: permit.expect("it is never closed"),
        }
    }

    /// Closes the connection that has rested longest, if any rests.
    fn close_oldest(&self) -> bool {
        let oldest = self.resting().since.pop_first();
        oldest.inspect(|(_, closed)| closed.notify_one()).is_some()
    }

    fn resting(&self) -> MutexGuard<'_, Resting> {
        // Consistent between any two statements, so a panic elsewhere does no harm.
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands for "not resting" in [`Seat::since`].
const BUSY: u64 = 0;

/// The place of one connection, occupied until dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    room: Arc<Room>,
    closed: Arc<Notify>,
    /// When it began to rest, in its room's count, or [`BUSY`]. Changed only under the room's lock.
    since: AtomicU64,
    _place: OwnedSemaphorePermit,
}

impl Seat {
    /// Reports that the connection rests, so that it can be closed. It may be resting already.
    pub(crate) fn rest(&self) {
        if self.since() != BUSY {
            return;
        }
        let mut resting = self.room.resting();
        let since = resting.next;
        resting.next += 1;
        resting.since.insert(since, Arc::clone(&self.closed));
        self.since.store(since, Ordering::Relaxed);
        drop(resting);
        self.room.rested.notify_one();
    }

    /// Reports that the connection no longer rests. False if it was closed: then no request may
    /// begin on it.
    #[must_use = "nothing may be begun on a connection that has been closed"]
    pub(crate) fn stir(&self) -> bool {
        let mut resting = self.room.resting();
        let since = self.since();
        if since != BUSY && resting.since.remove(&since).is_none() {
            return false;
        }
        self.since.store(BUSY, Ordering::Relaxed);
        true
    }

    /// Waits until the connection is closed to make room.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.resting().since.remove(&self.since());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_one_that_has_rested_for_longest_makes_room() {
        let room = Room::new(3);
        let (one, two, three) = (room.enter().await, room.enter().await, room.enter().await);
        three.rest();
        one.rest();
        two.rest();
        // It has been active since.
        assert!(three.stir());
        three.rest();
        // It continues to rest.
        one.rest();

        let mut four = Box::pin(room.enter());
        assert!((&mut four).now_or_never().is_none());
        assert!(one.closed().now_or_never().is_some());
        assert!(two.closed().now_or_never().is_none() && three.closed().now_or_never().is_none());
        // Too late, however often it tries.
        assert!(!one.stir() && !one.stir());
        one.rest();
        assert!(two.stir() && three.stir());
        drop(one);
        four.await;
        assert!(room.resting().since.is_empty());
    }

    #[tokio::test]
    async fn who_is_busy_stays() {
        let room = Room::new(1);
        let busy = room.enter().await;
        let mut next = Box::pin(room.enter());
        assert!((&mut next).now_or_never().is_none());
        assert!(busy.closed().now_or_never().is_none());
        busy.rest();
        assert!((&mut next).now_or_never().is_none());
        assert!(busy.closed().now_or_never().is_some());
        drop(busy);
        let seat = next.await;
        seat.rest();
        drop(seat);
        // A connection that is gone cannot make room.
        assert!(room.resting().since.is_empty());
        assert!(room.enter().now_or_never().is_some());
    }

    #[tokio::test]
    async fn nobody_makes_room_while_there_is_some() {
        let room = Room::new(2);
        let one = room.enter().await;
        one.rest();
        let _two = room.enter().await;
        assert!(one.stir());
    }
}
