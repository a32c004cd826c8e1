//! What `top` knows: the last samples, what is selected, what was asked.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use jq_client::TubeName;

use super::sample::{Inside, Row, Sample};

/// Number of rates that are kept for each tube: as many as a sparkline shows.
pub(super) const KEPT: usize = 20;

/// The order of the tubes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// What hurts most comes first.
    Trouble,
    Ready,
    Buried,
    Rate,
    Name,
}

impl Sort {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Ready => "ready",
            Self::Buried => "buried",
            Self::Rate => "rate",
            Self::Name => "name",
        }
    }
}

/// What can be done with the selected tube.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Kick,
    Pause,
    Resume,
}

/// A question that is on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) what: Ask,
    pub(super) tube: TubeName,
}

/// What hurts about a tube, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    None,
    /// Jobs were set aside.
    Buried,
    /// More jobs come than go.
    Grows,
    /// Jobs are ready, and a pause keeps them.
    Paused,
    /// Its policy refuses new jobs.
    Refuses,
    /// Jobs are ready, and no connection watches the tube.
    Unwatched,
}

/// A tube, with what is known from the samples before.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) row: Row,
    pub(super) trouble: Trouble,
    /// Jobs per second: put, deleted.
    pub(super) puts: f64,
    pub(super) deletes: f64,
}

/// What happened in a tube between two samples.
#[derive(Debug, Clone)]
struct Past {
    at: Instant,
    row: Row,
    /// Deletes per second, the newest last.
    rates: VecDeque<u64>,
}

/// Everything that is on the screen.
#[derive(Debug)]
pub(super) struct View {
    pub(super) address: String,
    pub(super) lines: Vec<Line>,
    pub(super) tubes: u64,
    /// Which of them the lines are, if they are not all.
    pub(super) part: &'static str,
    pub(super) server: Vec<String>,
    pub(super) sort: Sort,
    pub(super) selected: usize,
    pub(super) ask: Option<Asked>,
    pub(super) inside: Option<Inside>,
    /// The last message.
    pub(super) said: String,
    past: HashMap<TubeName, Past>,
}

impl View {
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            lines: Vec::new(),
            tubes: 0,
            part: "",
            server: Vec::new(),
            sort: Sort::Trouble,
            selected: 0,
            ask: None,
            inside: None,
            said: String::new(),
            past: HashMap::new(),
        }
    }

    /// Takes a sample. The selected tube stays selected, wherever it goes.
    pub(super) fn take(&mut self, sample: Sample) {
        let selected = self.selected();
        let Sample { at, rows, tubes, part, server } = sample;
        let mut past = std::mem::take(&mut self.past);
        self.lines = rows
            .into_iter()
            .map(|row| {
                let before = past.remove(&row.name);
                let (line, now) = compare(at, row, before);
                self.past.insert(line.row.name.clone(), now);
                line
            })
            .collect();
        self.tubes = tubes;
        self.part = part;
        self.server = server;
        self.said.clear();
        self.order(selected.as_ref());
    }

    /// Says something, until the next sample comes.
    pub(super) fn say(&mut self, what: String) {
        self.said = what;
    }

    /// Deletes per second in the last samples, the newest last.
    pub(super) fn rates(&self, tube: &TubeName) -> Vec<u64> {
        self.past.get(tube).map(|past| past.rates.iter().copied().collect()).unwrap_or_default()
    }

    pub(super) fn selected(&self) -> Option<TubeName> {
        self.lines.get(self.selected).map(|line| line.row.name.clone())
    }

    pub(super) fn step(&mut self, by: isize) {
        let last = self.lines.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(by).min(last);
    }

    pub(super) fn next_sort(&mut self) {
        self.sort = match self.sort {
            Sort::Trouble => Sort::Ready,
            Sort::Ready => Sort::Buried,
            Sort::Buried => Sort::Rate,
            Sort::Rate => Sort::Name,
            Sort::Name => Sort::Trouble,
        };
        let selected = self.selected();
        self.order(selected.as_ref());
    }

    /// Asks whether to do this with the selected tube.
    pub(super) fn ask(&mut self, what: Ask) {
        self.ask = self.selected().map(|tube| Asked { what, tube });
    }

    fn order(&mut self, selected: Option<&TubeName>) {
        let name = |line: &Line| line.row.name.as_str().to_owned();
        self.lines.sort_by_key(name);
        match self.sort {
            Sort::Name => {}
            Sort::Trouble => self.lines.sort_by_key(|line| {
                Reverse((line.trouble, line.row.ready.saturating_add(line.row.buried)))
            }),
            Sort::Ready => self.lines.sort_by_key(|line| Reverse(line.row.ready)),
            Sort::Buried => self.lines.sort_by_key(|line| Reverse(line.row.buried)),
            Sort::Rate => self.lines.sort_by(|one, other| {
                (other.puts + other.deletes).total_cmp(&(one.puts + one.deletes))
            }),
        }
        let found = self.lines.iter().position(|line| Some(&line.row.name) == selected);
        self.selected = found.unwrap_or(self.selected.min(self.lines.len().saturating_sub(1)));
    }
}

/// A row beside the one before it.
fn compare(at: Instant, row: Row, before: Option<Past>) -> (Line, Past) {
    let (mut puts, mut deletes) = (0.0, 0.0);
    let (mut grows, mut refuses) = (false, false);
    let mut rates = VecDeque::with_capacity(KEPT);
    if let Some(before) = before {
        let seconds = at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        // The tube may have been gone in between, and its counters begun anew.
        puts = row.puts.saturating_sub(before.row.puts) as f64 / seconds;
        deletes = row.deletes.saturating_sub(before.row.deletes) as f64 / seconds;
        grows = row.ready > before.row.ready;
        refuses = row.refused > before.row.refused;
        rates = before.rates;
        rates.push_back(deletes.round() as u64);
        if rates.len() > KEPT {
            rates.pop_front();
        }
    }
    let trouble = if row.ready > 0 && row.watching == 0 {
        Trouble::Unwatched
    } else if refuses {
        Trouble::Refuses
    } else if row.ready > 0 && row.paused.is_some() {
        Trouble::Paused
    } else if grows {
        Trouble::Grows
    } else if row.buried > 0 {
        Trouble::Buried
    } else {
        Trouble::None
    };
    let line = Line { row: row.clone(), trouble, puts, deletes };
    (line, Past { at, row, rates })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(name: &str, ready: u64) -> Row {
        Row {
            name: name.parse().unwrap(),
            ready,
            reserved: 0,
            delayed: 0,
            buried: 0,
            watching: 1,
            waiting: 0,
            paused: None,
            puts: 0,
            deletes: 0,
            refused: 0,
            oldest: None,
        }
    }

    fn sample(at: Instant, rows: Vec<Row>) -> Sample {
        Sample { at, tubes: rows.len() as u64, part: "", rows, server: Vec::new() }
    }

    fn names(view: &View) -> Vec<&str> {
        view.lines.iter().map(|line| line.row.name.as_str()).collect()
    }

    #[test]
    fn what_hurts_comes_first() {
        let begin = Instant::now();
        let mut view = View::new(String::new());
        view.take(sample(begin, vec![row("grows", 5), Row { refused: 3, ..row("refuses", 1) }]));
        let rows = vec![
            row("fine", 100),
            Row { buried: 1, ..row("buried", 0) },
            row("grows", 6),
            Row { paused: Some(9), ..row("paused", 1) },
            Row { refused: 4, ..row("refuses", 1) },
            Row { refused: 4, ..row("refused", 1) },
            Row { watching: 0, ..row("unwatched", 1) },
            Row { watching: 0, ..row("empty", 0) },
        ];
        view.take(sample(begin + Duration::from_secs(1), rows));
        let expected =
            ["unwatched", "refuses", "paused", "grows", "buried", "fine", "refused", "empty"];
        assert_eq!(names(&view), expected);
        view.next_sort();
        assert_eq!(names(&view)[0], "fine");
    }

    #[test]
    fn rates_are_differences() {
        let begin = Instant::now();
        let mut view = View::new(String::new());
        let at = |seconds| begin + Duration::from_secs(seconds);
        view.take(sample(at(0), vec![Row { puts: 10, deletes: 4, ..row("t", 0) }]));
        view.take(sample(at(2), vec![Row { puts: 30, deletes: 8, ..row("t", 0) }]));
        assert_eq!((view.lines[0].puts, view.lines[0].deletes), (10.0, 2.0));
        // It was gone, and is there again.
        view.take(sample(at(3), vec![row("t", 0)]));
        assert_eq!(view.rates(&"t".parse().unwrap()), [2, 0]);
        for second in 4..100 {
            view.take(sample(at(second), vec![row("t", 0)]));
        }
        assert_eq!(view.rates(&"t".parse().unwrap()).len(), KEPT);
        // What is gone is not kept.
        view.take(sample(at(100), vec![]));
        assert!(view.past.is_empty());
    }

    #[test]
    fn the_selected_tube_stays_selected() {
        let begin = Instant::now();
        let mut view = View::new(String::new());
        view.take(sample(begin, vec![row("a", 3), row("b", 2), row("c", 1)]));
        view.step(1);
        assert_eq!(view.selected().unwrap().as_str(), "b");
        view.take(sample(begin, vec![row("a", 1), row("b", 2), row("c", 3)]));
        assert_eq!(view.selected().unwrap().as_str(), "b");
        view.take(sample(begin, vec![row("a", 1)]));
        assert_eq!(view.selected().unwrap().as_str(), "a");
        view.step(isize::MAX);
        view.step(isize::MIN);
        assert_eq!(view.selected, 0);
        view.ask(Ask::Kick);
        assert_eq!(view.ask.as_ref().unwrap().tube.as_str(), "a");
        view.take(sample(begin, vec![]));
        assert_eq!(view.selected(), None);
    }
}
