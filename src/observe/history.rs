//! What there was, over time: a ring of points in memory for all tubes together, and one for each of
//! some tubes.
//!
//! A point every 5 seconds for an hour, and every minute for a day. A point takes 60 bytes, so a series
//! takes 130 kB when it is full, and all together 13 MB: there are at most [`MAX_TUBES`] series of
//! tubes. If more tubes move, those that moved last have one; the history of one that is dropped is
//! gone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use jq_api::server::{History as Document, HistoryPoint, JobCounts};
use jq_engine::{Activity, Histogram, Nanos};

use super::snapshot::{Snapshot, TubeRow, age, job_counts, rates};

/// Maximum number of tubes with a history of their own.
pub const MAX_TUBES: usize = 100;

/// Seconds between two points of the last hour.
pub const FINE: u32 = 5;

/// Seconds between two points of the last day.
pub const COARSE: u32 = 60;

const FINE_POINTS: usize = 3600 / FINE as usize;
const COARSE_POINTS: usize = 86_400 / COARSE as usize;

/// A ring grows by this many points at a time.
const GROWTH: usize = 120;

/// All histories.
#[derive(Debug, Default)]
pub(super) struct History {
    all: Series,
    tubes: HashMap<Arc<str>, Tracked>,
    /// When the last points were made.
    last: Nanos,
    /// The highest number of a tube then.
    last_number: u64,
}

#[derive(Debug)]
struct Tracked {
    /// The number of the tube that the series is about now.
    number: u64,
    moved: Nanos,
    series: Series,
}

#[derive(Debug, Default)]
struct Series {
    fine: VecDeque<Point>,
    coarse: VecDeque<Point>,
    /// At the last fine point.
    activity: Activity,
    waits: Histogram,
    /// Since the last coarse point.
    minute: Minute,
}

#[derive(Debug, Default)]
struct Minute {
    millis: u64,
    activity: Activity,
    waits: Histogram,
    oldest: Option<f64>,
}

/// What there was at a moment, and what happened since the point before.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// Seconds since 1970.
    at: u32,
    /// Milliseconds since the point before.
    millis: u32,
    ready: u32,
    urgent: u32,
    reserved: u32,
    delayed: u32,
    buried: u32,
    puts: u32,
    reserves: u32,
    deletes: u32,
    buries: u32,
    timeouts: u32,
    /// In seconds; not a number if there is none. So are the others.
    oldest: f32,
    wait_p50: f32,
    wait_p99: f32,
}

const _: () = assert!(size_of::<Point>() == 60);

/// What a snapshot says about a series.
struct Now<'a> {
    at: Nanos,
    jobs: JobCounts,
    activity: Activity,
    waits: Option<&'a Histogram>,
    oldest: Option<f64>,
}

impl History {
    /// Whether it is time for points: [`FINE`] seconds have passed, counted from the origin of time.
    pub(super) fn is_due(&self, now: Nanos) -> bool {
        let period = |at: Nanos| at.0 / Nanos::from_secs(u64::from(FINE)).0;
        period(now) > period(self.last)
    }

    /// When that will be.
    pub(super) fn due(&self, now: Nanos) -> Nanos {
        let period = Nanos::from_secs(u64::from(FINE)).0;
        Nanos((now.0 / period + 1) * period)
    }

    /// Adds a point to each series.
    pub(super) fn add(&mut self, snapshot: &Snapshot) {
        let at = snapshot.at;
        let oldest = snapshot.tubes.iter().filter_map(|row| row.oldest).map(|oldest| oldest.since);
        let server = &snapshot.server;
        let all = Now {
            at,
            jobs: JobCounts {
                ready: server.ready,
                urgent: server.urgent,
                reserved: server.reserved,
                delayed: server.delayed,
                buried: server.buried,
            },
            activity: snapshot.activity,
            waits: Some(&snapshot.overall.all.wait),
            oldest: oldest.min().map(|since| age(at, since)),
        };
        let since = self.last;
        self.all.add(&all, since);
        self.track(snapshot);
        for row in &snapshot.tubes {
            let Some(tracked) = self.tubes.get_mut(&row.name) else { continue };
            if tracked.number != row.number {
                // Another tube under the same name: it began at zero.
                tracked.number = row.number;
                (tracked.series.activity, tracked.series.waits) = Default::default();
            }
            tracked.moved = row.moved;
            let now = Now {
                at,
                jobs: job_counts(&row.stats),
                activity: row.activity,
                waits: snapshot.times_of(row).map(|times| &times.wait),
                oldest: row.oldest.map(|oldest| age(at, oldest.since)),
            };
            tracked.series.add(&now, since);
        }
        self.last = at;
        let highest = snapshot.tubes.iter().map(|row| row.number).max();
        self.last_number = highest.unwrap_or(0).max(self.last_number);
    }

    /// Begins the series of tubes that have moved since the last points, in the place of those that
    /// have not for the longest time.
    fn track(&mut self, snapshot: &Snapshot) {
        let is_new = |row: &&TubeRow| row.moved > self.last && !self.tubes.contains_key(&row.name);
        let mut movers: Vec<&TubeRow> = snapshot.tubes.iter().filter(is_new).collect();
        movers.sort_by_key(|row| std::cmp::Reverse(row.moved));
        movers.truncate(MAX_TUBES);
        let mut resting: Vec<(Nanos, Arc<str>)> = Vec::new();
        if self.tubes.len() + movers.len() > MAX_TUBES {
            // Who moved since the last points stays; a tube that is gone has not.
            let moved: HashMap<&str, Nanos> =
                snapshot.tubes.iter().map(|row| (&*row.name, row.moved)).collect();
            let rests = |(name, tracked): (&Arc<str>, &Tracked)| {
                let now = moved.get(&**name).copied();
                let moved = now.unwrap_or(Nanos(0)).max(tracked.moved);
                (moved <= self.last).then(|| (moved, Arc::clone(name)))
            };
            resting = self.tubes.iter().filter_map(rests).collect();
            resting.sort_unstable_by(|a, b| b.cmp(a));
        }
        for row in movers {
            if self.tubes.len() >= MAX_TUBES {
                match resting.pop() {
                    Some((_, name)) => self.tubes.remove(&name),
                    None => break,
                };
            }
            let mut series = Series::default();
            // What happened in a tube that is not new, nobody knows when.
            if row.number <= self.last_number && self.last > Nanos(0) {
                series.activity = row.activity;
                series.waits = snapshot.times_of(row).map(|times| times.wait).unwrap_or_default();
            }
            let tracked = Tracked { number: row.number, moved: row.moved, series };
            self.tubes.insert(Arc::clone(&row.name), tracked);
        }
    }

    /// The history of a tube, or of all together, with a point every [`FINE`] or [`COARSE`] seconds.
    /// `None` if the tube has none.
    pub(super) fn document(&self, tube: Option<&str>, step: u32) -> Option<Document> {
        let series = match tube {
            Some(name) => &self.tubes.get(name)?.series,
            None => &self.all,
        };
        let points = if step == FINE { &series.fine } else { &series.coarse };
        let points = points.iter().map(Point::document).collect();
        Some(Document { tube: tube.map(str::to_owned), step, points })
    }

    /// The tubes that have a history.
    pub(super) fn tubes(&self) -> impl Iterator<Item = &str> {
        self.tubes.keys().map(|name| &**name)
    }
}

impl Series {
    fn add(&mut self, now: &Now<'_>, last: Nanos) {
        // Nobody knows what happened before the first point.
        let millis = if last.0 == 0 { 0 } else { now.at.0.saturating_sub(last.0) / 1_000_000 };
        let activity = now.activity.since(self.activity);
        let waits = now.waits.map(|waits| waits.since(&self.waits)).unwrap_or_default();
        self.activity = now.activity;
        self.waits = now.waits.copied().unwrap_or_default();
        push(&mut self.fine, FINE_POINTS, Point::new(now, millis, activity, &waits, now.oldest));
        let minute = &mut self.minute;
        minute.millis += millis;
        minute.activity.add(activity);
        minute.waits.merge(&waits);
        minute.oldest = [minute.oldest, now.oldest].into_iter().flatten().reduce(f64::max);
        let number = |at: Nanos| at.0 / Nanos::from_secs(u64::from(COARSE)).0;
        if number(now.at) > number(last) {
            let Minute { millis, activity, waits, oldest } = std::mem::take(minute);
            push(
                &mut self.coarse,
                COARSE_POINTS,
                Point::new(now, millis, activity, &waits, oldest),
            );
        }
    }
}

fn push(ring: &mut VecDeque<Point>, most: usize, point: Point) {
    if ring.len() == most {
        ring.pop_front();
    } else if ring.len() == ring.capacity() {
        ring.reserve_exact(GROWTH.min(most - ring.len()));
    }
    ring.push_back(point);
}

impl Point {
    fn new(
        now: &Now<'_>,
        millis: u64,
        activity: Activity,
        waits: &Histogram,
        oldest: Option<f64>,
    ) -> Self {
        let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let seconds = |seconds: Option<f64>| seconds.map_or(f32::NAN, |seconds| seconds as f32);
        Self {
            at: count(now.at.seconds_since(Nanos(0))),
            millis: count(millis),
            ready: count(now.jobs.ready),
            urgent: count(now.jobs.urgent),
            reserved: count(now.jobs.reserved),
            delayed: count(now.jobs.delayed),
            buried: count(now.jobs.buried),
            puts: count(activity.puts),
            reserves: count(activity.reserves),
            deletes: count(activity.deletes),
            buries: count(activity.buries),
            timeouts: count(activity.timeouts),
            oldest: seconds(oldest),
            wait_p50: seconds(waits.quantile(0.5)),
            wait_p99: seconds(waits.quantile(0.99)),
        }
    }

    fn document(&self) -> HistoryPoint {
        let count = u64::from;
        let seconds = |seconds: f32| Some(f64::from(seconds)).filter(|seconds| !seconds.is_nan());
        let activity = Activity {
            puts: count(self.puts),
            reserves: count(self.reserves),
            deletes: count(self.deletes),
            buries: count(self.buries),
            timeouts: count(self.timeouts),
        };
        HistoryPoint {
            at: Timestamp::from_second(i64::from(self.at)).unwrap_or_default(),
            jobs: JobCounts {
                ready: count(self.ready),
                urgent: count(self.urgent),
                reserved: count(self.reserved),
                delayed: count(self.delayed),
                buried: count(self.buried),
            },
            rates: rates(activity, f64::from(self.millis) / 1e3),
            oldest_ready: seconds(self.oldest),
            wait_p50: seconds(self.wait_p50),
            wait_p99: seconds(self.wait_p99),
        }
    }
}
