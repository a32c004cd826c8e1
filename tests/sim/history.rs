//! What was true when, and which moments a restart may go back to.
//!
//! The log is one sequence of facts, and what survives is a beginning of it. So after a restart
//! there must be one moment at which everything that is there now was true, and it must not be
//! before anything that somebody was promised.

/// A moment: so many facts have become true since the server started.
pub(crate) type Moment = u64;

/// How one thing changed: a job, a pause.
#[derive(Debug, Clone)]
pub(crate) struct History<S> {
    /// The oldest first.
    entries: Vec<Entry<S>>,
}

#[derive(Debug, Clone)]
struct Entry<S> {
    since: Moment,
    /// Whether the log took it on. If not, a restart may go back to what was before, even if it
    /// does not go back to before this.
    recorded: bool,
    /// Somebody may be promised it.
    urgent: bool,
    state: S,
}

impl<S> History<S> {
    /// Something that was so from the beginning.
    pub(crate) fn new(state: S) -> Self {
        Self { entries: vec![Entry { since: 0, recorded: true, urgent: true, state }] }
    }

    pub(crate) fn push(&mut self, since: Moment, recorded: bool, urgent: bool, state: S) {
        self.entries.push(Entry { since, recorded, urgent, state });
    }

    pub(crate) fn last(&self) -> &S {
        &self.entries.last().expect("there is one from the beginning").state
    }

    pub(crate) fn last_mut(&mut self) -> &mut S {
        &mut self.entries.last_mut().expect("there is one from the beginning").state
    }

    /// All that it ever was, the oldest first.
    pub(crate) fn states(&self) -> impl DoubleEndedIterator<Item = &S> {
        self.entries.iter().map(|entry| &entry.state)
    }

    /// When the last thing happened that somebody may be promised.
    pub(crate) fn last_urgent(&self) -> Moment {
        self.entries.iter().rev().find(|entry| entry.urgent).map_or(0, |entry| entry.since)
    }

    /// The moments, each from one up to another, that a restart may have gone back to if it now
    /// is as `matches` says. `end` is behind the last moment.
    fn spans(&self, end: Moment, mut matches: impl FnMut(&S) -> bool) -> Vec<(Moment, Moment)> {
        let mut spans = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            if matches(&entry.state) {
                let next = self.entries[at + 1..].iter().find(|next| next.recorded);
                spans.push((entry.since, next.map_or(end, |next| next.since)));
            }
        }
        spans
    }
}

/// The moments that a restart can have gone back to, as far as is known.
#[derive(Debug)]
pub(crate) struct Moments {
    /// By the moment: of how many things what is there now was true then.
    agreeing: Vec<u32>,
    things: u32,
    floor: Moment,
}

impl Moments {
    /// All from `floor`, before which nothing may be lost, up to `last`.
    pub(crate) fn new(floor: Moment, last: Moment) -> Self {
        Self { agreeing: vec![0; last as usize + 1], things: 0, floor }
    }

    /// Only those at which this thing was as it is now. Fails if there is none among those that
    /// are allowed.
    pub(crate) fn only<S: std::fmt::Debug>(
        &mut self,
        history: &History<S>,
        matches: impl FnMut(&S) -> bool,
    ) -> Result<(), String> {
        let end = self.agreeing.len() as Moment;
        let mut spans = history.spans(end, matches);
        spans.iter_mut().for_each(|span| span.0 = span.0.max(self.floor));
        spans.retain(|(start, end)| start < end);
        if spans.is_empty() {
            let floor = self.floor;
            return Err(format!("not as at any moment since {floor}: {:#?}", history.entries));
        }
        self.things += 1;
        // Spans may overlap where something was not recorded.
        for moment in self.floor..end {
            let inside = spans.iter().any(|(start, end)| (*start..*end).contains(&moment));
            self.agreeing[moment as usize] += u32::from(inside);
        }
        Ok(())
    }

    /// The last moment at which everything was as it is now.
    pub(crate) fn last(&self) -> Result<Moment, String> {
        let from = self.floor as usize;
        let at = self.agreeing[from..].iter().rposition(|count| *count == self.things);
        at.map(|at| (from + at) as Moment).ok_or_else(|| {
            format!("each thing is as at some moment since {from}, but no moment fits all")
        })
    }
}
