//! When there is a look, how far it goes, and what is set aside.

use jq_client::{Job, PutOptions, TubeName};

use super::*;
use crate::commands::PrivateQueue;
use crate::parked::{Parked, Wait};
use crate::room::Permit;

#[test]
fn limits_are_those_of_the_manual() {
    let docs = include_str!("../../../docs/worker.md").replace("\n  ", " ");
    for (what, text) in [
        (EXTENT.most == 20_000, "looks through the first 20,000 that are ready"),
        (EXTENT.most == 20_000, "| ready jobs looked through at a time | 20,000 |"),
        (EXTENT.time == Duration::from_secs(1), "for at most a second"),
        (LOOK_AGAIN == Duration::from_secs(30), "or after half a minute"),
        (PAUSE == 4, "at most a fifth of the time"),
        (EXTENT.aside == 2_000, "the first 2000 go back"),
        (SET_ASIDE.first == Duration::from_secs(30), "a delay of half a minute at first"),
        (SET_ASIDE.max == Duration::from_secs(600), "and up to ten minutes"),
    ] {
        assert!(what && docs.contains(text), "{text}");
    }
}

#[test]
fn what_may_be_new_is_looked_at() {
    let before = Counts { total: 10, ready: 5, aside: 2 };
    let has_new = |counts: Counts| counts.has_new(before, 5);
    assert!(!has_new(before));
    assert!(!has_new(Counts { ready: 4, ..before }), "one was taken");
    assert!(!has_new(Counts { aside: 3, ..before }), "one was set aside");
    assert!(has_new(Counts { total: 11, ready: 4, ..before }), "one was put");
    assert!(has_new(Counts { ready: 6, ..before }), "one was given back");
    assert!(before.has_new(before, 4), "one was taken here, and given back");
    let before = Counts { ready: 4, aside: 3, ..before }.least(before);
    assert!(Counts { ready: 5, ..before }.has_new(before, 5), "one was given back");
    assert!(Counts { aside: 2, ..before }.has_new(before, 5), "one is due");
}

/// Can run nothing; may set aside all but what says that it may not be.
#[derive(Clone)]
struct Full;

impl Taker for Full {
    fn take(&self, _: Arc<Source>, _: Connection, _: Job, _: Permit) {}

    fn take_all(&self, _: Arc<Source>, _: Connection, _: Vec<Job>, _: Vec<Permit>) {}

    fn may_share(&self) -> bool {
        false
    }

    fn is_selective(&self, _: &Arc<Source>) -> bool {
        true
    }

    fn wants_any(&self) -> bool {
        true
    }

    fn begin_look(&self, _: &Arc<Source>) {}

    fn choose(&self, source: &Arc<Source>, number: JobId, body: &[u8]) -> (Candidate, bool) {
        let kind = (body != b"mine").then(|| "other".parse().unwrap());
        let job = Parked { source: Arc::clone(source), number, id: None };
        (Candidate { wait: Wait { kind, place: None }, job, is_second: false }, body == b"good")
    }

    fn may_set_aside(&self, found: &Candidate) -> bool {
        found.wait.kind.is_some()
    }

    fn note_set_aside(&self, _: &Arc<Source>, _: JobId) -> u32 {
        1
    }

    fn end_look(&self, _: &Arc<Source>, _: Vec<Candidate>, _: bool) {}

    fn known(&self, _: &Arc<Source>) -> usize {
        0
    }

    fn has_runnable(&self, _: &Arc<Source>) -> bool {
        false
    }
}

/// A queue that takes jobs, and what is asked of it.
struct Asked {
    _queue: PrivateQueue,
    source: Arc<Source>,
    tube: TubeName,
}

impl Asked {
    async fn start() -> Self {
        let (queue, tube) = (PrivateQueue::start().unwrap(), "t".parse::<TubeName>().unwrap());
        let source = Arc::new(Source::new(queue.address().into(), vec![tube.clone()]));
        // It may not listen yet.
        while source.connection().await.map(|it| source.give(it)).is_err() {
            sleep(TAKEN).await;
        }
        Self { _queue: queue, source, tube }
    }

    async fn connection(&self) -> Connection {
        self.source.connection().await.unwrap()
    }

    async fn put(&self, bodies: impl Iterator<Item = &[u8]>) -> JobId {
        let mut producer = self.connection().await;
        producer.use_tube(&self.tube).await.unwrap();
        let mut last = 0;
        for body in bodies {
            let options = PutOptions { priority: 7, ..PutOptions::default() };
            last = producer.put(body, options).await.unwrap();
        }
        last
    }

    async fn count(&self, state: &str) -> usize {
        let mut connection = self.connection().await;
        let stats = connection.stats_tube(&self.tube).await.unwrap().unwrap();
        self.source.give(connection);
        stats.number(&format!("current-jobs-{state}")).unwrap() as usize
    }
}

/// A look sees two batches, and may set one aside.
const SHORT: Extent = Extent { least: 1, most: 2 * BATCH, aside: BATCH, ..EXTENT };

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_front_of_the_others_is_set_aside_if_nothing_else_helps() {
    let asked = Asked::start().await;
    // One that has to stay, and more than a look sees.
    let others = std::iter::repeat_n(&b"other"[..], 4 * BATCH);
    asked.put(std::iter::once(&b"mine"[..]).chain(others)).await;
    let good = asked.put([&b"good"[..]].into_iter()).await;
    let (source, beyond) = (&asked.source, &mut Beyond::default());
    // As with a server that does not list its jobs.
    let look = async || {
        let (mut seen, mut connection) = (Seen::default(), asked.connection().await);
        seen.reserve(&mut connection, source, &Full, SHORT).await.unwrap();
        if !seen.is_all && !seen.has_runnable {
            seen.set_aside(&mut connection, source, &Full, SHORT.aside).await.unwrap();
        }
        connection.quit().await.unwrap();
        seen.await_return(source).await.unwrap();
        seen
    };
    for looks in 1..=2 {
        let seen = look().await;
        assert!(!seen.is_all && !seen.has_runnable && seen.jobs.len() == 2 * BATCH);
        assert_eq!(asked.count("delayed").await, looks * BATCH);
    }
    // Now it comes to the end, or nearly.
    let seen = look().await;
    assert!(!seen.is_all && seen.jobs[0] == 1, "it was left alone");
    let mut seen = Seen::default();
    seen.look(asked.connection().await, source, &Full, SHORT, beyond).await.unwrap();
    assert!(seen.is_all && seen.has_runnable && seen.jobs.contains(&good));
    assert_eq!(asked.count("delayed").await, 3 * BATCH, "no more of them than it takes");
    let mut connection = asked.connection().await;
    let stats = connection.stats_job(2).await.unwrap().unwrap();
    assert_eq!((stats.get("state"), stats.get("pri")), (Some("delayed"), Some("7")));
    assert!((15..=30).contains(&stats.number("delay").unwrap()));
    let stats = connection.stats_job(good).await.unwrap().unwrap();
    assert_eq!((stats.get("state"), stats.get("releases")), (Some("ready"), Some("0")));
    assert_eq!(stats.disconnects(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_the_others_is_found_in_the_list() {
    let asked = Asked::start().await;
    asked.put(std::iter::repeat_n(&b"other"[..], 4 * BATCH)).await;
    let good = asked.put([&b"good"[..]].into_iter()).await;
    let mut beyond = Beyond::default();
    // The second begins where the first ended: at the beginning.
    for _ in 0..2 {
        let (connection, mut seen) = (asked.connection().await, Seen::default());
        seen.look(connection, &asked.source, &Full, SHORT, &mut beyond).await.unwrap();
        assert!(!seen.is_all && seen.has_runnable && seen.jobs.len() == 2 * BATCH);
        assert_eq!(seen.found.len(), 2 * BATCH + 1, "what cannot be run is not asked for");
        assert_eq!(seen.found[2 * BATCH].job.number, good);
    }
    // Where all is seen, nothing is added.
    let (mut seen, extent) = (Seen::default(), Extent { most: 5 * BATCH, ..SHORT });
    let connection = asked.connection().await;
    seen.look(connection, &asked.source, &Full, extent, &mut beyond).await.unwrap();
    assert_eq!(seen.found.len(), 4 * BATCH + 1);
    assert_eq!(asked.count("ready").await, 4 * BATCH + 1);
    let mut connection = asked.connection().await;
    for number in [1, 2 * BATCH as JobId + 1, good] {
        let stats = connection.stats_job(number).await.unwrap().unwrap();
        for key in ["releases", "timeouts", "buries", "kicks", "disconnects"] {
            assert_eq!(stats.get(key), Some("0"), "{key} of {number}");
        }
    }
}
