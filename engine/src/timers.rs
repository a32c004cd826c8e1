//! The one structure that holds every deadline.
//!
//! It knows tubes (the first delayed job, the end of a pause) and connections (the first reserved
//! job to time out, the end of a wait), each at most once. An entry is a *lower bound*: it may be
//! earlier than the deadline that it stands for, never later. So a deadline that moves away, as on
//! every `delete` of a reserved job, costs nothing; when the entry comes due the owner looks at
//! its real deadline and comes back with that.

use std::collections::BTreeSet;

use crate::arena::Ix;
use crate::time::Nanos;

/// What a deadline belongs to. Tubes come first when both are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Tube(Ix),
    Conn(Ix),
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    entries: BTreeSet<(Nanos, Owner)>,
}

/// The owner's side of its entry: when it is listed, [`Nanos::NEVER`] if it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed(Nanos);

impl Listed {
    pub(crate) const NOT: Self = Self(Nanos::NEVER);
}

impl Timers {
    /// Makes sure that the owner is listed at `at` or before.
    #[inline]
    pub(crate) fn at_latest(&mut self, owner: Owner, listed: &mut Listed, at: Nanos) {
        if at < listed.0 {
            self.remove(owner, listed);
            self.entries.insert((at, owner));
            listed.0 = at;
        }
    }

    /// Takes the owner off the list.
    pub(crate) fn remove(&mut self, owner: Owner, listed: &mut Listed) {
        if listed.0 != Nanos::NEVER {
            self.entries.remove(&(listed.0, owner));
            listed.0 = Nanos::NEVER;
        }
    }

    /// The first entry, if it is due at `now`. The owner must be taken off by its caller.
    pub(crate) fn due(&self, now: Nanos) -> Option<Owner> {
        self.entries.first().filter(|(at, _)| *at <= now).map(|(_, owner)| *owner)
    }

    /// When the first entry is due.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.entries.first().map(|(at, _)| *at)
    }
}
