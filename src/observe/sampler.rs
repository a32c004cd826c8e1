//! Takes snapshots of the queue, a few tubes under each lock.
//!
//! A sample locks the queue once for what concerns all of it, and then once for each few hundred
//! places, for which nothing is allocated but the names of new tubes. Between two locks everybody else
//! has a turn. So what it shows of two tubes may be some milliseconds apart.

use std::sync::Arc;

use jq_engine::{Cursor, Nanos, TubeView};
use tokio::task::yield_now;

use super::snapshot::{Snapshot, TubeRow, age, rates};
use crate::server::hub::Hub;

/// Places that are looked at under one lock; see
/// [`Engine::view_tubes`](jq_engine::Engine::view_tubes). They take about 50 microseconds.
pub const LOOKS: usize = 512;

/// Makes one snapshot after the other.
#[derive(Debug)]
pub(super) struct Sampler {
    hub: Arc<Hub>,
    last: Arc<Snapshot>,
}

impl Sampler {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { hub, last: Arc::default() }
    }

    /// The last snapshot.
    pub(super) fn last(&self) -> &Arc<Snapshot> {
        &self.last
    }

    /// Makes a snapshot. If it is given up half-way, the last one stays.
    pub(super) async fn sample(&mut self) -> &Arc<Snapshot> {
        let last = Arc::clone(&self.last);
        let (_, log) = self.hub.stats();
        let mut snapshot = self.hub.read(|engine, now| Snapshot {
            at: now,
            overall: engine.overall(),
            activity: engine.activity(),
            server: engine.server_stats(),
            held_bytes: engine.held_bytes(),
            refusals: engine.refusals(),
            locks: 2,
            ..Snapshot::default()
        });
        snapshot.log = log;
        if last.at.0 > 0 {
            let happened = snapshot.activity.since(last.activity);
            snapshot.rates = rates(happened, age(snapshot.at, last.at));
        }
        snapshot.tubes.reserve(last.tubes.len());
        let mut known = Known { last: &last, next: 0 };
        let mut from = Some(Cursor::default());
        while let Some(cursor) = from {
            // Not under the lock.
            snapshot.tubes.reserve(LOOKS);
            snapshot.times.reserve(LOOKS);
            snapshot.locks += 1;
            let (tubes, times) = (&mut snapshot.tubes, &mut snapshot.times);
            from = self.hub.read(|engine, now| {
                engine.view_tubes(now, cursor, LOOKS, |view| {
                    let before = known.find(&view);
                    let mut row = TubeRow::new(&view, before);
                    if let Some(own) = view.times {
                        row.times = Some(times.len() as u32);
                        times.push(*own);
                    }
                    tubes.push(row);
                })
            });
            yield_now().await;
        }
        let times = snapshot.times.len();
        snapshot.times.shrink_to(times + times / 4);
        for row in &mut snapshot.tubes {
            row.settle(snapshot.at, known.before(row), age(snapshot.at, last.at));
        }
        let mut others = snapshot.overall.gone;
        for row in snapshot.tubes.iter().filter(|row| row.times.is_none()) {
            others.add(row.activity);
        }
        // A tube that went meanwhile may be missing from both.
        snapshot.others = others.max(last.others);
        self.last = Arc::new(snapshot);
        &self.last
    }
}

/// Finds tubes in the last snapshot: both are in the order of the places.
struct Known<'a> {
    last: &'a Snapshot,
    next: usize,
}

impl<'a> Known<'a> {
    fn find(&mut self, view: &TubeView<'_>) -> Option<&'a TubeRow> {
        while let Some(row) = self.last.tubes.get(self.next)
            && row.place <= view.place
        {
            self.next += 1;
            if row.place == view.place {
                return Some(row).filter(|row| row.number == view.number);
            }
        }
        None
    }

    /// The row of the last snapshot about the same tube.
    fn before(&self, row: &TubeRow) -> Option<&'a TubeRow> {
        let found = self.last.tubes.binary_search_by_key(&row.place, |row| row.place);
        let before = found.ok().map(|at| &self.last.tubes[at]);
        before.filter(|before| before.number == row.number)
    }
}

impl TubeRow {
    /// What is known of it while the queue is locked.
    fn new(view: &TubeView<'_>, before: Option<&Self>) -> Self {
        let name = match before {
            Some(before) => Arc::clone(&before.name),
            None => view.stats.name.as_str().into(),
        };
        Self {
            place: view.place,
            number: view.number,
            name,
            stats: view.stats.without_name(),
            activity: view.activity,
            moved: Nanos(0),
            rates: None,
            oldest: view.oldest_ready(before.and_then(|row| Some(row.oldest?.job))),
            times: None,
        }
    }

    /// The rest.
    fn settle(&mut self, at: Nanos, before: Option<&Self>, seconds: f64) {
        let Some(before) = before else {
            self.moved = at;
            return;
        };
        let is_same = before.activity == self.activity;
        self.moved = if is_same { before.moved } else { at };
        self.rates = Some(rates(self.activity.since(before.activity), seconds));
    }
}
