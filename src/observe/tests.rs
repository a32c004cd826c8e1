//! The observatory over a real hub, on virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use beanstalk_protocol::{Command, PutHeader, Request, TubeName};
use futures_util::StreamExt;
use jq_api::server::{CountsEvent, MissedEvent, Reason, ServerEvent, ServerState};
use jq_engine::{ConnId, Nanos};

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::log::Opened;
use crate::server::hub::Batch;

/// A hub, somebody who uses it, and somebody who observes it.
pub(super) struct Observed {
    now: Arc<AtomicU64>,
    pub(super) hub: Arc<Hub>,
    conn: ConnId,
    pub(super) observatory: Arc<Observatory>,
}

const START: u64 = 1_800_000_000;

fn standing(_: &Hub, snapshot: &Snapshot) -> Standing {
    if !snapshot.server.draining {
        return (ServerState::Running, Vec::new());
    }
    let reason = Reason { name: "draining".into(), detail: "for a test".into() };
    (ServerState::Draining, vec![reason])
}

impl Observed {
    pub(super) fn new(options: Options) -> Self {
        let now = Arc::new(AtomicU64::new(Nanos::from_secs(START).0));
        let config = Config::from_args(["jq-server".into()]).expect("there are no wrong flags");
        let hub = Hub::new(&config, Clock::told(Arc::clone(&now)), Opened::in_memory(0));
        let conn = hub.connect(Waker::noop().clone());
        let observatory = Observatory::new(&hub, options, standing, &["draining", "log_full"]);
        Self { now, hub, conn, observatory }
    }

    pub(super) fn with_tubes(max_tubes: usize) -> Self {
        Self::new(Options { max_tubes, compat: Vec::new() })
    }

    pub(super) fn pass(&self, millis: u64) {
        self.now.fetch_add(millis * 1_000_000, Ordering::Relaxed);
        self.hub.tick();
    }

    fn requests(&self, requests: impl IntoIterator<Item = Request>) {
        let requests = requests.into_iter().zip(1..).collect();
        let mut batch = Batch { requests, ..Batch::default() };
        self.hub.apply(self.conn, &mut batch);
    }

    pub(super) fn command(&self, command: Command) {
        self.requests([Request::Command(command)]);
    }

    pub(super) fn put(&self, tube: &str) {
        let header = PutHeader { priority: 1, delay: 0, ttr: 600, size: 1 };
        self.requests([
            Request::Command(Command::Use(name(tube))),
            Request::Put(header),
            Request::Body(Box::new([b'x'])),
        ]);
    }

    /// A sample, whether the last one is old or not.
    async fn sample(&self) -> Arc<Snapshot> {
        self.observatory.snapshot(0).await
    }

    /// Samples every second, for so many seconds.
    async fn watch(&self, seconds: u32) {
        for _ in 0..seconds {
            self.pass(1000);
            self.sample().await;
        }
    }
}

pub(super) fn name(tube: &str) -> TubeName {
    TubeName::new(tube.as_bytes()).expect("a tube's name")
}

#[tokio::test]
async fn a_snapshot_shows_all_tubes_and_what_happened_since_the_last() {
    let it = Observed::with_tubes(10);
    it.put("a");
    it.put("b");
    let first = it.sample().await;
    assert_eq!(first.tubes.len(), 3);
    assert!(first.tube("a").is_some_and(|row| row.rates.is_none() && row.stats.ready == 1));
    it.pass(2000);
    (0..10).for_each(|_| it.put("a"));
    let second = it.sample().await;
    let a = second.tube("a").expect("it is there");
    // The queue gives each request a time of its own, so it is a bit more than two seconds.
    assert_eq!(a.rates.map(|rates| rates.put.round()), Some(5.0));
    assert_eq!(a.oldest.map(|oldest| age(second.at, oldest.since)).map(f64::floor), Some(2.0));
    assert_eq!((second.rates.put.round(), second.server.ready), (5.0, 12));
    let b = second.tube("b").expect("it is there");
    assert_eq!(b.rates, Some(jq_api::server::Rates::default()));
    assert!(Arc::ptr_eq(&b.name, &first.tube("b").unwrap().name), "a name is stored once");
    assert!(b.moved < a.moved);
}

#[tokio::test]
async fn a_tube_that_comes_back_is_another_tube() {
    let it = Observed::with_tubes(10);
    it.put("a");
    it.command(Command::Use(TubeName::default_tube()));
    let first = it.sample().await;
    it.command(Command::Delete(1));
    it.put("a");
    it.pass(1000);
    let second = it.sample().await;
    let numbers = [&first, &second].map(|snapshot| snapshot.tube("a").unwrap().number);
    assert!(numbers[0] < numbers[1]);
    assert_eq!(second.tube("a").unwrap().rates, None, "nothing is known of it");
}

#[tokio::test]
async fn a_fresh_snapshot_is_used_again() {
    let it = Observed::with_tubes(10);
    let first = it.observatory.fresh().await;
    it.pass(900);
    assert!(Arc::ptr_eq(&first, &it.observatory.fresh().await));
    it.pass(200);
    assert!(!Arc::ptr_eq(&first, &it.observatory.fresh().await));
}

/// However many tubes there are, each lock is short, and the series are limited.
#[tokio::test]
async fn a_hundred_thousand_tubes_hold_nobody_up() {
    const TUBES: usize = 100_000;
    let it = Observed::with_tubes(1000);
    for tube in 0..TUBES {
        it.put(&format!("tube-{tube}"));
    }
    let first = it.sample().await;
    assert_eq!(first.tubes.len(), TUBES + 1);
    // Each tube takes two looks: itself and its job.
    let locks = 2 * TUBES / LOOKS;
    let expected = locks as u64..=locks as u64 + 10;
    assert!(expected.contains(&first.locks), "{} locks", first.locks);
    assert_eq!(first.times.len(), 1000);
    let text = it.observatory.metrics().await;
    // A thousand tubes and the others: two histograms of 15 lines each, and 15 more lines.
    let lines = text.lines().filter(|line| line.contains("tube=")).count();
    assert!(lines < 1001 * 50, "{lines} lines");
    assert!(text.contains("jq_summed_tubes 99001\n"));
    assert!(text.contains("jq_jobs{tube=\"\",state=\"ready\"} 99000\n"));
    assert!(text.contains("jq_job_events_total{tube=\"\",event=\"put\"} 99000\n"));
}

#[tokio::test]
async fn others_are_served_between_the_locks_of_a_sample() {
    let it = Arc::new(Observed::with_tubes(10));
    for tube in 0..5_000 {
        it.put(&format!("tube-{tube}"));
    }
    let observer = Arc::clone(&it);
    let sample = tokio::spawn(async move { observer.sample().await });
    let mut turns: u64 = 0;
    while !sample.is_finished() {
        it.put("meanwhile");
        turns += 1;
        tokio::task::yield_now().await;
    }
    let snapshot = sample.await.expect("a sample");
    assert!(turns >= snapshot.locks - 2, "{turns} turns for {} locks", snapshot.locks);
}

/// What is summed never goes back, whatever comes and goes.
#[tokio::test]
async fn the_sum_of_the_others_never_goes_back() {
    let it = Observed::with_tubes(1);
    it.put("first");
    let (mut last, mut id) = (Default::default(), 1);
    for round in 0..20 {
        it.put(&format!("tube-{round}"));
        id += 1;
        if round % 3 == 0 {
            it.command(Command::Use(TubeName::default_tube()));
            it.command(Command::Delete(id));
        }
        it.pass(1000);
        let others = it.sample().await.others;
        assert_eq!(others.max(last), others);
        last = others;
    }
    assert_eq!((last.puts, last.deletes), (20, 7));
}

#[tokio::test]
async fn history_has_a_point_every_five_seconds_and_every_minute() {
    let it = Observed::with_tubes(10);
    it.sample().await;
    for _ in 0..130 {
        it.put("a");
        it.pass(500);
        it.command(Command::ReserveJob(it.hub.read(|engine, _| engine.next_id() - 1)));
        it.pass(500);
        it.sample().await;
    }
    let fine = it.observatory.history(Some("a"), FINE).expect("it moved");
    assert_eq!((fine.tube.as_deref(), fine.step), (Some("a"), 5));
    assert_eq!(fine.points.len(), 26);
    let point = fine.points.last().unwrap();
    assert_eq!((point.rates.put, point.rates.reserve), (1.0, 1.0));
    assert_eq!((point.jobs.reserved, point.oldest_ready), (130, None));
    let p50 = point.wait_p50.expect("jobs were reserved");
    assert!(p50 > 0.25 && p50 <= 0.5, "{p50}");
    let coarse = it.observatory.history(None, COARSE).expect("all together");
    assert_eq!((coarse.tube, coarse.points.len()), (None, 3));
    let point = &coarse.points[2];
    assert_eq!((point.rates.put, point.jobs.reserved), (1.0, 120));
    let seconds: Vec<_> = coarse.points.iter().map(|point| point.at.as_second() % 60).collect();
    assert_eq!(seconds, [0, 0, 0]);
    assert!(it.observatory.history(Some("b"), FINE).is_none());
}

#[tokio::test]
async fn history_is_limited_and_those_that_moved_last_have_one() {
    let it = Observed::with_tubes(10);
    for tube in 0..MAX_TUBES {
        it.put(&format!("old-{tube}"));
    }
    it.watch(10).await;
    assert_eq!(it.observatory.remembered().len(), MAX_TUBES);
    // One of the old ones moves, so others make room.
    it.put("old-7");
    it.watch(10).await;
    (0..MAX_TUBES / 2).for_each(|tube| it.put(&format!("new-{tube}")));
    it.watch(10).await;
    let remembered = it.observatory.remembered();
    let new = remembered.iter().filter(|name| name.starts_with("new")).count();
    assert_eq!((remembered.len(), new), (MAX_TUBES, MAX_TUBES / 2));
    assert!(remembered.contains(&"old-7".to_owned()));
    // More than there is room for.
    (0..2 * MAX_TUBES).for_each(|tube| it.put(&format!("many-{tube}")));
    it.watch(5).await;
    let remembered = it.observatory.remembered();
    assert!(remembered.iter().all(|name| name.starts_with("many")));
    assert_eq!(remembered.len(), MAX_TUBES);
}

#[tokio::test]
async fn a_ring_is_full_after_an_hour_and_a_day() {
    let it = Observed::with_tubes(10);
    for minute in 0..1500 {
        it.pass(60_000);
        if minute == 1499 {
            it.put("late");
        }
        it.sample().await;
    }
    let all = |step| it.observatory.history(None, step).unwrap().points;
    assert_eq!((all(FINE).len(), all(COARSE).len()), (720, 1440));
    // A point has its own time, so a gap is seen.
    let times: Vec<_> = all(FINE).iter().map(|point| point.at.as_second()).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 60));
    assert_eq!(it.observatory.history(Some("late"), FINE).unwrap().points.len(), 1);
}

fn document<T: serde::de::DeserializeOwned>(event: &Event, expected: &str) -> T {
    assert_eq!(event.name, expected, "{}", event.data);
    serde_json::from_str(&event.data).expect("a document")
}

#[tokio::test]
async fn whoever_follows_is_told_what_happens() {
    let it = Observed::with_tubes(10);
    it.put("a");
    let mut events = Box::pin(it.observatory.follow().await);
    let server: ServerEvent = document(&events.next().await.unwrap(), "server");
    assert_eq!((server.state, server.reasons.len()), (ServerState::Running, 0));
    it.put("a");
    it.command(Command::ReserveJob(1));
    it.command(Command::Delete(1));
    it.pass(1000);
    it.sample().await;
    let counts: CountsEvent = document(&events.next().await.unwrap(), "counts");
    assert_eq!((counts.all.put, counts.all.reserve, counts.all.delete), (1, 1, 1));
    assert_eq!((counts.tubes.len(), counts.unlisted), (1, 0));
    assert_eq!((&*counts.tubes[0].tube, counts.tubes[0].counts), ("a", counts.all));
    it.hub.change(|engine, mut sink, _| engine.set_draining(true, &mut sink));
    it.pass(1000);
    it.sample().await;
    let server: ServerEvent = document(&events.next().await.unwrap(), "server");
    assert_eq!((server.state, &*server.reasons[0].name), (ServerState::Draining, "draining"));
    let counts: CountsEvent = document(&events.next().await.unwrap(), "counts");
    assert!(counts.tubes.is_empty());
}

#[tokio::test]
async fn an_event_lists_the_tubes_with_the_most() {
    let it = Observed::with_tubes(10);
    let mut events = Box::pin(it.observatory.follow().await);
    events.next().await;
    for tube in 0..MAX_LISTED + 7 {
        it.put(&format!("tube-{tube}"));
    }
    (0..3).for_each(|_| it.put("busy"));
    it.watch(1).await;
    let counts: CountsEvent = document(&events.next().await.unwrap(), "counts");
    assert_eq!((counts.tubes.len(), counts.unlisted), (MAX_LISTED, 8));
    assert_eq!((&*counts.tubes[0].tube, counts.tubes[0].counts.put), ("busy", 3));
    assert_eq!(counts.all.put, MAX_LISTED as u64 + 10);
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_has_missed() {
    let it = Observed::with_tubes(10);
    let mut events = Box::pin(it.observatory.follow().await);
    it.watch(KEPT as u32 + 5).await;
    document::<ServerEvent>(&events.next().await.unwrap(), "server");
    let missed: MissedEvent = document(&events.next().await.unwrap(), "missed");
    assert_eq!(missed.events, 5);
    for _ in 0..KEPT {
        document::<CountsEvent>(&events.next().await.unwrap(), "counts");
    }
}

/// While nobody follows, a sample is taken when a point of the history is due, and else every second.
#[tokio::test(start_paused = true)]
async fn samples_are_taken_when_they_are_due() {
    let it = Observed::with_tubes(10);
    let observatory = Arc::clone(&it.observatory);
    let running = tokio::spawn(async move { observatory.run().await });
    let at = async || it.observatory.last().await.at.seconds_since(Nanos::from_secs(START));
    let wait = async |seconds: u64| {
        for _ in 0..seconds * 10 {
            it.pass(100);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    wait(14).await;
    assert_eq!(at().await, 10);
    let mut events = Box::pin(it.observatory.follow().await);
    events.next().await;
    wait(10).await;
    assert!(at().await >= 23);
    let mut counts = 0;
    while let Some(Some(event)) = futures_util::FutureExt::now_or_never(events.next()) {
        counts += usize::from(event.name == "counts");
    }
    assert!((9..=12).contains(&counts), "{counts} events in 10 seconds");
    running.abort();
}
