//! All tubes at one moment, and the lists that are made of them.
//!
//! A snapshot is made off the hub's lock and never changes, so it can be sorted and searched for as
//! long as that takes. It takes about 250 bytes and the name for each tube, and twice that while the
//! next one is made. A list takes 4 bytes for each tube in it; a snapshot keeps at most
//! [`MAX_LISTS`].

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use beanstalk_protocol::{BinlogStats, ServerStats, TubeStats};
use jq_api::server::{JobCounts, Paused, Rates, Tube, TubeSort};
use jq_engine::{Activity, Nanos, Oldest, Overall, Refusals, Times};

/// The lists of a snapshot that are kept, the latest ones.
const MAX_LISTS: usize = 8;

/// Everything that a sample has found.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// When it was begun.
    pub at: Nanos,
    /// The tubes, in the order of their places in the engine.
    pub tubes: Vec<TubeRow>,
    /// The histograms of the tubes that have some: see [`TubeRow::times`].
    pub times: Vec<Times>,
    /// What belongs to no tube.
    pub overall: Overall,
    /// What has happened in the tubes without histograms of their own, those that are gone included. It
    /// never goes back.
    pub others: Activity,
    /// How often clients were refused.
    pub refusals: Refusals,
    /// What has happened in all tubes.
    pub activity: Activity,
    /// How often that was per second, since the snapshot before.
    pub rates: Rates,
    /// The engine's part of `stats`.
    pub server: ServerStats,
    /// About how many bytes the jobs take.
    pub held_bytes: u64,
    /// The log's part.
    pub log: BinlogStats,
    /// How often the queue was locked for it.
    pub locks: u64,
    pub(super) lists: Mutex<Vec<(Key, List)>>,
}

/// What a list has, and in which order.
pub(super) type Key = (Option<String>, TubeSort);

/// Positions in [`Snapshot::tubes`].
pub(super) type List = Arc<[u32]>;

/// A tube.
#[derive(Debug, Clone)]
pub struct TubeRow {
    /// Its place in the engine.
    pub place: u32,
    /// Its number, which no other tube has.
    pub number: u64,
    /// Its name.
    pub name: Arc<str>,
    /// The data of `stats-tube`.
    pub stats: TubeStats<()>,
    /// What has happened in it.
    pub activity: Activity,
    /// When a sample first found its activity as it is now.
    pub moved: Nanos,
    /// How much happened in it per second since the snapshot before; `None` if it is new.
    pub rates: Option<Rates>,
    /// The oldest of its ready jobs.
    pub oldest: Option<Oldest>,
    /// Where its histograms are in [`Snapshot::times`].
    pub times: Option<u32>,
}

/// Where a page of a list ends: the value that the list is sorted by, and the name, of its last tube.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// See [`value`]; larger ones come first.
    pub value: u64,
    /// The name of the tube.
    pub name: String,
}

/// A page of a list of tubes.
#[derive(Debug)]
pub struct TubePage<'a> {
    /// The tubes.
    pub tubes: Vec<&'a TubeRow>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Position>,
    /// How many tubes the list has.
    pub total: usize,
}

impl Snapshot {
    /// The tube of this name.
    pub fn tube(&self, name: &str) -> Option<&TubeRow> {
        self.tubes.iter().find(|row| &*row.name == name)
    }

    /// The histograms of a tube, if it has some of its own.
    pub fn times_of(&self, tube: &TubeRow) -> Option<&Times> {
        self.times.get(tube.times? as usize)
    }

    /// A page of the tubes whose name contains `filter` in whatever case, at most `limit` of them, that
    /// come after a position. The first page of a filter and an order sorts all tubes that match; later
    /// ones search for their beginning.
    pub fn page(
        &self,
        filter: Option<&str>,
        sort: TubeSort,
        after: Option<&Position>,
        limit: usize,
    ) -> TubePage<'_> {
        let list = self.list(filter.filter(|text| !text.is_empty()), sort);
        let start = after.map_or(0, |after| {
            list.partition_point(|at| {
                let row = self.row(*at);
                order(value(row, sort), &row.name, after.value, &after.name) != Ordering::Greater
            })
        });
        let end = list.len().min(start.saturating_add(limit.max(1)));
        let tubes: Vec<_> = list[start..end].iter().map(|at| self.row(*at)).collect();
        let last = tubes.last().filter(|_| end < list.len());
        let next = last
            .map(|row| Position { value: value(row, sort), name: row.name.as_ref().to_owned() });
        TubePage { tubes, next, total: list.len() }
    }

    fn row(&self, at: u32) -> &TubeRow {
        &self.tubes[at as usize]
    }

    fn list(&self, filter: Option<&str>, sort: TubeSort) -> List {
        let key = (filter.map(str::to_ascii_lowercase), sort);
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, list)) = lists.iter().find(|(known, _)| *known == key) {
            return Arc::clone(list);
        }
        let filter = key.0.as_deref().unwrap_or_default();
        let matches = |row: &TubeRow| filter.is_empty() || contains(&row.name, filter);
        let mut list: Vec<u32> = (0..self.tubes.len() as u32).collect();
        list.retain(|at| matches(self.row(*at)));
        list.sort_unstable_by(|a, b| {
            let (a, b) = (self.row(*a), self.row(*b));
            order(value(a, sort), &a.name, value(b, sort), &b.name)
        });
        let list = List::from(list);
        if lists.len() == MAX_LISTS {
            lists.remove(0);
        }
        lists.push((key, Arc::clone(&list)));
        list
    }
}

impl TubeRow {
    /// The document that describes it, without what is set for it.
    pub fn document(&self, at: Nanos) -> Tube {
        let stats = &self.stats;
        let pause = Paused { seconds: stats.pause, left: stats.pause_time_left };
        Tube {
            name: self.name.as_ref().to_owned(),
            jobs: job_counts(stats),
            total_jobs: stats.total_jobs,
            deletes: stats.deletes,
            using: stats.using,
            watching: stats.watching,
            waiting: stats.waiting,
            pauses: stats.pauses,
            pause: (stats.pause > 0).then_some(pause),
            body_bytes: stats.body_bytes,
            has_policy: stats.policy.is_some(),
            policy_counts: None,
            policy: None,
            rates: self.rates,
            oldest_ready: self.oldest.map(|oldest| age(at, oldest.since)),
        }
    }
}

/// The numbers of jobs of a tube.
pub(super) fn job_counts<N>(stats: &TubeStats<N>) -> JobCounts {
    JobCounts {
        ready: stats.ready,
        urgent: stats.urgent,
        reserved: stats.reserved,
        delayed: stats.delayed,
        buried: stats.buried,
    }
}

/// The seconds since a moment.
pub fn age(now: Nanos, since: Nanos) -> f64 {
    now.0.saturating_sub(since.0) as f64 / 1e9
}

/// How often something happened per second, if it took so many seconds.
pub(super) fn rates(activity: Activity, seconds: f64) -> Rates {
    let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    Rates {
        put: rate(activity.puts),
        reserve: rate(activity.reserves),
        delete: rate(activity.deletes),
        bury: rate(activity.buries),
        timeout: rate(activity.timeouts),
    }
}

/// What tubes are sorted by, as a number that is larger for those that come first; 0 for all if that is
/// the name.
fn value(row: &TubeRow, sort: TubeSort) -> u64 {
    // The bits of floats that are not negative are in the order of the floats.
    let rate =
        |rate: fn(&Rates) -> f64| row.rates.as_ref().map_or(0, |rates| rate(rates).to_bits());
    let stats = &row.stats;
    match sort {
        TubeSort::Name => 0,
        TubeSort::Ready => stats.ready,
        TubeSort::Urgent => stats.urgent,
        TubeSort::Reserved => stats.reserved,
        TubeSort::Delayed => stats.delayed,
        TubeSort::Buried => stats.buried,
        TubeSort::TotalJobs => stats.total_jobs,
        TubeSort::Using => stats.using,
        TubeSort::Watching => stats.watching,
        TubeSort::Waiting => stats.waiting,
        // The earlier, the older.
        TubeSort::OldestReady => row.oldest.map_or(0, |oldest| u64::MAX - oldest.since.0),
        TubeSort::Put => rate(|rates| rates.put),
        TubeSort::Reserve => rate(|rates| rates.reserve),
        TubeSort::Delete => rate(|rates| rates.delete),
        TubeSort::Bury => rate(|rates| rates.bury),
        TubeSort::Timeout => rate(|rates| rates.timeout),
    }
}

fn order(value: u64, name: &str, other_value: u64, other_name: &str) -> Ordering {
    other_value.cmp(&value).then_with(|| name.cmp(other_name))
}

/// Whether a name contains this text, which is in lower case.
fn contains(name: &str, text: &str) -> bool {
    let (name, text) = (name.as_bytes(), text.as_bytes());
    name.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, ready: u64, since: Option<u64>) -> TubeRow {
        let stats = TubeStats {
            name: (),
            urgent: 0,
            ready,
            reserved: 0,
            delayed: 0,
            buried: 0,
            total_jobs: 0,
            using: 0,
            watching: 0,
            waiting: 0,
            deletes: 0,
            pauses: 0,
            pause: 0,
            pause_time_left: 0,
            body_bytes: 0,
            policy: None,
        };
        TubeRow {
            place: 0,
            number: 0,
            name: name.into(),
            stats,
            activity: Activity::default(),
            moved: Nanos(0),
            rates: Some(Rates { put: ready as f64 / 7.0, ..Rates::default() }),
            oldest: since.map(|since| Oldest { job: 1, since: Nanos(since) }),
            times: None,
        }
    }

    impl Snapshot {
        /// Tubes with so many ready jobs, the oldest of the same age.
        pub(crate) fn of_ready(tubes: &[(&str, u64)]) -> Self {
            let row = |(name, ready): &(&str, u64)| row(name, *ready, (*ready > 0).then_some(1));
            Self {
                at: Nanos::from_secs(5),
                tubes: tubes.iter().map(row).collect(),
                ..Self::default()
            }
        }
    }

    fn snapshot() -> Snapshot {
        let rows = [
            ("mails", 5, Some(30)),
            ("Images", 9, Some(10)),
            ("images-old", 5, Some(20)),
            ("empty", 0, None),
            ("zips", 9, Some(40)),
        ];
        let tubes = rows.iter().map(|(name, ready, since)| row(name, *ready, *since)).collect();
        Snapshot { tubes, ..Snapshot::default() }
    }

    /// The names on all pages of a list, a few on each.
    fn names(snapshot: &Snapshot, filter: Option<&str>, sort: TubeSort) -> Vec<String> {
        let mut names = Vec::new();
        let mut after = None;
        loop {
            let page = snapshot.page(filter, sort, after.as_ref(), 2);
            names.extend(page.tubes.iter().map(|row| row.name.as_ref().to_owned()));
            match page.next {
                Some(next) => after = Some(next),
                None => {
                    assert_eq!(page.total, names.len());
                    return names;
                }
            }
        }
    }

    #[test]
    fn tubes_are_sorted_by_any_column() {
        let snapshot = snapshot();
        let sorted = |sort| names(&snapshot, None, sort);
        assert_eq!(sorted(TubeSort::Name), ["Images", "empty", "images-old", "mails", "zips"]);
        let by_ready = ["Images", "zips", "images-old", "mails", "empty"];
        assert_eq!(sorted(TubeSort::Ready), by_ready);
        assert_eq!(sorted(TubeSort::Put), by_ready);
        let by_age = ["Images", "images-old", "mails", "zips", "empty"];
        assert_eq!(sorted(TubeSort::OldestReady), by_age);
    }

    #[test]
    fn names_match_in_whatever_case() {
        let snapshot = snapshot();
        let found = names(&snapshot, Some("IMAGE"), TubeSort::Ready);
        assert_eq!(found, ["Images", "images-old"]);
        assert!(names(&snapshot, Some("no such tube"), TubeSort::Ready).is_empty());
        assert_eq!(names(&snapshot, Some(""), TubeSort::Name).len(), 5);
    }

    #[test]
    fn a_page_goes_on_where_the_one_before_ended_whatever_happened() {
        let position = Position { value: 5, name: "images-old".into() };
        let snapshot = snapshot();
        let page = snapshot.page(None, TubeSort::Ready, Some(&position), 10);
        let names: Vec<&str> = page.tubes.iter().map(|row| &*row.name).collect();
        assert_eq!(names, ["mails", "empty"]);
        // The tube itself is gone.
        let position = Position { value: 7, name: "gone".into() };
        let page = snapshot.page(None, TubeSort::Ready, Some(&position), 10);
        assert_eq!((page.tubes.len(), page.total), (3, 5));
        assert_eq!(page.next, None);
    }

    #[test]
    fn lists_are_kept_but_not_all() {
        let snapshot = snapshot();
        let first = snapshot.list(None, TubeSort::Name);
        assert!(Arc::ptr_eq(&first, &snapshot.list(None, TubeSort::Name)));
        for number in 0..2 * MAX_LISTS {
            snapshot.list(Some(&number.to_string()), TubeSort::Name);
        }
        assert_eq!(snapshot.lists.lock().unwrap().len(), MAX_LISTS);
        assert_eq!(first, snapshot.list(None, TubeSort::Name));
    }

    #[test]
    fn a_tube_is_found_by_its_name() {
        let snapshot = snapshot();
        assert_eq!(snapshot.tube("zips").map(|row| row.stats.ready), Some(9));
        assert!(snapshot.tube("images").is_none());
    }
}
