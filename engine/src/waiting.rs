//! Which waiting connection is served next: first come, first served.
//!
//! A connection that begins to wait draws a ticket. Each tube has a queue of `(ticket, connection)`
//! in which the connections that watch it stand, and a job that becomes ready goes to the first of
//! them. Joining and leaving the queue of *every* watched tube on every wait would cost a scan of
//! the watch list. So a connection stays in the queues after it was served, under its old ticket,
//! which is a lower bound of any ticket that it may draw later. When a connection with an old
//! ticket is found at the front of a queue, it is moved to its new ticket if it is waiting again,
//! and removed from the queue otherwise. The wait that made the ticket old has paid for this
//! repair.

use crate::arena::Ix;
use crate::conn::Waiting;
use crate::engine::Engine;
use crate::time::Nanos;
use crate::timers::Owner;

/// Position in the order of waiting. Counts up over the life of the engine.
pub(crate) type Ticket = u64;

impl Engine {
    /// Makes `conn` wait for a job of any watched tube.
    pub(crate) fn begin_wait(&mut self, conn: Ix, until: Nanos, batch: bool) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting += 1;
        let state = &mut self.conns[conn];
        state.waiting = Some(Waiting { ticket, until, batch });
        while let Some(tube) = state.unqueued.pop_first() {
            state.watched.insert(tube, Some(ticket));
            self.tubes[tube].queue.insert((ticket, conn));
        }
        self.count_waiting(conn, true);
        self.schedule_conn(conn);
    }

    /// Ends the wait of `conn`, which keeps its place in the queues. Returns whether it was a wait for
    /// a batch.
    pub(crate) fn end_wait(&mut self, conn: Ix) -> bool {
        let Some(waiting) = self.conns[conn].waiting.take() else { return false };
        self.waiting -= 1;
        self.count_waiting(conn, false);
        waiting.batch
    }

    /// Updates the number of waiting connections of each watched tube. Connections that watch many
    /// tubes are counted on demand instead.
    fn count_waiting(&mut self, conn: Ix, begins: bool) {
        let state = &self.conns[conn];
        if state.wide.is_some() {
            return;
        }
        for tube in state.watched.keys() {
            let waiting = &mut self.tubes[*tube].waiting;
            *waiting = if begins { *waiting + 1 } else { *waiting - 1 };
        }
    }

    /// The number of waiting connections that watch the tube.
    pub(crate) fn waiting_on(&self, tube: Ix) -> u64 {
        let tube = &self.tubes[tube];
        if tube.wide_watchers == 0 {
            return tube.waiting;
        }
        let waits =
            |conn: Ix| self.conns[conn].wide.is_some() && self.conns[conn].waiting.is_some();
        tube.waiting + tube.queue.iter().filter(|(_, conn)| waits(*conn)).count() as u64
    }

    /// The connection that has waited longest for this tube.
    pub(crate) fn first_waiting(&mut self, tube: Ix) -> Option<Ix> {
        loop {
            let (ticket, conn) = *self.tubes[tube].queue.first()?;
            let state = &mut self.conns[conn];
            let current = state.waiting.map(|waiting| waiting.ticket);
            if current == Some(ticket) {
                return Some(conn);
            }
            let queue = &mut self.tubes[tube].queue;
            queue.remove(&(ticket, conn));
            match current {
                Some(current) => {
                    queue.insert((current, conn));
                }
                None => {
                    state.unqueued.insert(tube);
                }
            }
            state.watched.insert(tube, current);
        }
    }

    /// Removes `conn`, which does not wait, from the queues of all tubes that it watches, and stops its
    /// ranking them.
    pub(crate) fn leave_queues(&mut self, conn: Ix) {
        let watched = std::mem::take(&mut self.conns[conn].watched);
        for (tube, ticket) in &watched {
            self.leave_queue_for_good(conn, *tube, *ticket);
        }
        self.conns[conn].wide = None;
        self.conns[conn].watched = watched;
    }

    /// Removes `conn`, which does not wait and will not, from the queue of a tube.
    pub(crate) fn leave_queue_for_good(&mut self, conn: Ix, tube: Ix, ticket: Option<Ticket>) {
        self.leave_queue(conn, tube, ticket);
        if self.conns[conn].wide.is_some() {
            let tube = &mut self.tubes[tube];
            tube.wide_watchers -= 1;
            tube.armed.remove(&conn);
        }
    }

    /// Removes `conn` from the queue of a tube that it no longer watches.
    pub(crate) fn leave_queue(&mut self, conn: Ix, tube: Ix, ticket: Option<Ticket>) {
        match ticket {
            Some(ticket) => {
                self.tubes[tube].queue.remove(&(ticket, conn));
            }
            None => {
                self.conns[conn].unqueued.remove(&tube);
            }
        }
    }

    /// Makes sure that the timers know the connection's next deadline.
    #[inline]
    pub(crate) fn schedule_conn(&mut self, conn: Ix) {
        let state = &mut self.conns[conn];
        let at = state.deadline();
        self.timers.at_latest(Owner::Conn(conn), &mut state.listed, at);
    }

    /// Makes sure that the timers know the tube's next deadline.
    #[inline]
    pub(crate) fn schedule_tube(&mut self, tube: Ix) {
        let state = &mut self.tubes[tube];
        let at = state.deadline();
        self.timers.at_latest(Owner::Tube(tube), &mut state.listed, at);
    }
}
