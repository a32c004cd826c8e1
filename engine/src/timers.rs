//! The one structure that holds every deadline.
//!
//! It lists tubes (the first delayed job, the end of a pause) and connections (the first reserved
//! job to time out, the end of a wait), each at most once. An entry is a *lower bound*: it may be
//! earlier than the deadline that it stands for, but never later. So a deadline that moves further
//! away, as on every `delete` of a reserved job, costs nothing. When the entry falls due, the owner
//! looks at its actual deadline and is listed again with that.

use std::collections::BTreeSet;

use crate::arena::Ix;
use crate::time::Nanos;

/// What a deadline belongs to. Tubes come first when both are due at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Tube(Ix),
    Conn(Ix),
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    entries: BTreeSet<(Nanos, Owner)>,
}

/// The owner's side of its entry: the moment at which it is listed, [`Nanos::NEVER`] if it is not
/// listed.
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

    /// The first entry. A caller that acts on it must take its owner off the list.
    pub(crate) fn first(&self) -> Option<(Nanos, Owner)> {
        self.entries.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each owner is listed at most once, at the earliest moment requested since it was last
        /// taken off. The first entry is the earliest, tubes before connections.
        #[test]
        fn holds_the_earliest_of_each(
            steps in prop::collection::vec((0..8usize, prop::option::of(0u64..20)), 0..100),
        ) {
            let mut timers = Timers::default();
            let mut owners = [(Listed::NOT, None); 8];
            for (number, at) in steps {
                let (listed, expected) = &mut owners[number];
                match at {
                    Some(at) => {
                        timers.at_latest(owner(number), listed, Nanos(at));
                        *expected = Some(expected.map_or(at, |before: u64| before.min(at)));
                    }
                    None => {
                        timers.remove(owner(number), listed);
                        *expected = None;
                    }
                }
                let all = owners.iter().enumerate();
                let listed = all.filter_map(|(n, (_, at))| Some((Nanos((*at)?), owner(n))));
                let mut listed: Vec<_> = listed.collect();
                listed.sort_unstable();
                prop_assert_eq!(timers.first(), listed.first().copied());
                prop_assert_eq!(timers.entries.len(), listed.len());
            }
        }
    }

    /// Tubes and connections alternate, with the same numbers.
    fn owner(number: usize) -> Owner {
        let ix = number as Ix / 2;
        if number.is_multiple_of(2) { Owner::Conn(ix) } else { Owner::Tube(ix) }
    }

    #[test]
    fn never_is_not_listed() {
        let mut timers = Timers::default();
        let mut listed = Listed::NOT;
        timers.at_latest(Owner::Tube(0), &mut listed, Nanos::NEVER);
        assert_eq!((timers.first(), listed), (None, Listed::NOT));
    }
}
