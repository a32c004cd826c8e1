//! Which tubes a client wants, which its connection has, and the way from these to those.

use std::collections::{HashMap, HashSet};

use beanstalk_protocol::TubeName;

/// What the caller asked for. Outlives connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) used: TubeName,
    /// In the order in which they were watched; never empty.
    pub(super) watched: Vec<TubeName>,
    /// Grows with every change.
    version: u64,
}

/// What the server knows of it, on one connection. Right even if a future was dropped in the middle
/// of a step: then it is not known whether that step happened, and it is made again.
#[derive(Debug)]
pub(super) struct Applied {
    /// `None`: not known.
    used: Option<TubeName>,
    /// All tubes that may be watched, and whether they are for certain.
    watched: HashMap<TubeName, bool>,
    /// The version of [`Wanted`] that this is in accord with.
    version: Option<u64>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Use(TubeName),
    Watch(TubeName),
    Ignore(TubeName),
}

impl Wanted {
    /// As of a new connection.
    pub(super) fn new() -> Self {
        let tube = TubeName::default_tube;
        Self { used: tube(), watched: vec![tube()], version: 0 }
    }

    pub(super) fn use_tube(&mut self, tube: &TubeName) {
        self.used = tube.clone();
        self.version += 1;
    }

    pub(super) fn watch(&mut self, tube: &TubeName) {
        if !self.watched.contains(tube) {
            self.watched.push(tube.clone());
            self.version += 1;
        }
    }

    /// False if it is the last one, which stays.
    pub(super) fn ignore(&mut self, tube: &TubeName) -> bool {
        if self.watched == [tube.clone()] {
            return false;
        }
        self.watched.retain(|other| other != tube);
        self.version += 1;
        true
    }
}

impl Applied {
    /// As of a new connection.
    pub(super) fn new() -> Self {
        let tube = TubeName::default_tube;
        Self { used: Some(tube()), watched: HashMap::from([(tube(), true)]), version: None }
    }

    /// The steps to what is wanted. Ignores come last, since one tube must always be watched.
    pub(super) fn steps_to(&self, wanted: &Wanted) -> Vec<Step> {
        if self.version == Some(wanted.version) {
            return Vec::new();
        }
        let mut steps = Vec::new();
        if self.used.as_ref() != Some(&wanted.used) {
            steps.push(Step::Use(wanted.used.clone()));
        }
        let missing = wanted.watched.iter().filter(|tube| self.watched.get(*tube) != Some(&true));
        steps.extend(missing.cloned().map(Step::Watch));
        let keep: HashSet<_> = wanted.watched.iter().collect();
        let surplus = self.watched.keys().filter(|tube| !keep.contains(tube));
        steps.extend(surplus.cloned().map(Step::Ignore));
        steps
    }

    /// The step is about to be sent.
    pub(super) fn begin(&mut self, step: &Step) {
        match step {
            Step::Use(_) => self.used = None,
            Step::Watch(tube) | Step::Ignore(tube) => {
                self.watched.insert(tube.clone(), false);
            }
        }
    }

    /// The server has answered it.
    pub(super) fn confirm(&mut self, step: &Step) {
        match step {
            Step::Use(tube) => self.used = Some(tube.clone()),
            Step::Watch(tube) => {
                self.watched.insert(tube.clone(), true);
            }
            Step::Ignore(tube) => {
                self.watched.remove(tube);
            }
        }
    }

    /// A command is about to be sent that may leave another tube used. Returns what is known until
    /// then, for [`restore`](Self::restore).
    pub(super) fn forget_used(&mut self) -> Used {
        Used { tube: self.used.take(), version: self.version.take() }
    }

    /// The command left the used tube as it was.
    pub(super) fn restore(&mut self, Used { tube, version }: Used) {
        (self.used, self.version) = (tube, version);
    }

    /// All steps are made.
    pub(super) fn complete(&mut self, wanted: &Wanted) {
        self.version = Some(wanted.version);
    }
}

/// What is known of the used tube.
#[derive(Debug)]
pub(super) struct Used {
    tube: Option<TubeName>,
    version: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tube(name: &str) -> TubeName {
        name.parse().unwrap()
    }

    fn apply_all(applied: &mut Applied, wanted: &Wanted) -> Vec<Step> {
        let steps = applied.steps_to(wanted);
        for step in &steps {
            applied.begin(step);
            applied.confirm(step);
        }
        applied.complete(wanted);
        steps
    }

    #[test]
    fn a_new_connection_needs_nothing_for_the_defaults() {
        assert_eq!(Applied::new().steps_to(&Wanted::new()), []);
    }

    #[test]
    fn watches_in_order_and_ignores_last() {
        let mut wanted = Wanted::new();
        wanted.use_tube(&tube("u"));
        for name in ["c", "a", "b", "a"] {
            wanted.watch(&tube(name));
        }
        assert!(wanted.ignore(&tube("default")));
        let mut applied = Applied::new();
        assert_eq!(
            apply_all(&mut applied, &wanted),
            [
                Step::Use(tube("u")),
                Step::Watch(tube("c")),
                Step::Watch(tube("a")),
                Step::Watch(tube("b")),
                Step::Ignore(tube("default")),
            ]
        );
        assert_eq!(applied.steps_to(&wanted), []);
        assert!(wanted.ignore(&tube("a")));
        assert_eq!(apply_all(&mut applied, &wanted), [Step::Ignore(tube("a"))]);
    }

    #[test]
    fn the_last_tube_stays() {
        let mut wanted = Wanted::new();
        assert!(!wanted.ignore(&tube("default")));
        assert!(wanted.ignore(&tube("unwatched")));
        assert_eq!(wanted.watched, [tube("default")]);
    }

    #[test]
    fn a_step_that_was_interrupted_is_made_again_or_undone() {
        let mut wanted = Wanted::new();
        wanted.watch(&tube("a"));
        let mut applied = Applied::new();
        applied.begin(&Step::Watch(tube("a")));
        assert_eq!(applied.steps_to(&wanted), [Step::Watch(tube("a"))]);
        assert!(wanted.ignore(&tube("a")));
        assert_eq!(applied.steps_to(&wanted), [Step::Ignore(tube("a"))]);

        applied.begin(&Step::Ignore(tube("a")));
        wanted.watch(&tube("a"));
        assert_eq!(applied.steps_to(&wanted), [Step::Watch(tube("a"))]);

        let mut applied = Applied::new();
        applied.begin(&Step::Use(tube("u")));
        assert!(applied.steps_to(&wanted).contains(&Step::Use(tube("default"))));
    }

    #[test]
    fn a_used_tube_that_is_not_known_is_used_again() {
        let wanted = Wanted::new();
        let mut applied = Applied::new();
        apply_all(&mut applied, &wanted);
        drop(applied.forget_used());
        assert_eq!(apply_all(&mut applied, &wanted), [Step::Use(tube("default"))]);
        let used = applied.forget_used();
        applied.restore(used);
        assert_eq!(applied.steps_to(&wanted), []);
    }
}
