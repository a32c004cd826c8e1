//! What a server tells of its jobs.

use std::time::Instant;

use crate::support::Conn;

/// The counters of `stats-job`, in its order.
const COUNTERS: [&str; 5] = ["reserves", "timeouts", "releases", "buries", "kicks"];

/// Where `buries` is among them.
pub(crate) const BURIES: usize = 3;

/// Seconds by which times may differ: each is rounded, and told at another moment.
const TOLERANCE: i64 = 2;

/// What `stats-job` and `peek` tell of a job.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) id: u64,
    pub(crate) tube: String,
    pub(crate) state: String,
    pub(crate) priority: u64,
    pub(crate) delay: i64,
    pub(crate) ttr: i64,
    pub(crate) counters: [u64; COUNTERS.len()],
    pub(crate) body: Vec<u8>,
    age: i64,
    time_left: i64,
    at: Instant,
}

impl Told {
    /// Asks for a job; `None` if it is not there.
    pub(crate) fn of(conn: &mut Conn, id: u64) -> Option<Self> {
        let stats = conn.ask(format!("stats-job {id}"));
        let text = |key| stats.value(key).map(|value| value.trim_matches('"').to_owned());
        let number = |key: &str| -> i64 {
            let value = stats.value(key).and_then(|value| value.parse().ok());
            value.unwrap_or_else(|| panic!("{key} is a number in {stats}"))
        };
        let tube = text("tube")?;
        let told = Self {
            id,
            tube,
            state: text("state").expect("a job has a state"),
            priority: number("pri").unsigned_abs(),
            delay: number("delay"),
            ttr: number("ttr"),
            counters: COUNTERS.map(|key| number(key).unsigned_abs()),
            body: Vec::new(),
            age: number("age"),
            time_left: number("time-left"),
            at: Instant::now(),
        };
        let found = conn.ask(format!("peek {id}"));
        let body = found.body().unwrap_or_else(|| panic!("it was there: {found}")).to_vec();
        Some(Self { body, ..told })
    }

    /// Whether a server that tells `self` now has got the job that `before` tells of, after a
    /// restart.
    pub(crate) fn continues(&self, before: &Self) -> bool {
        let passed = (self.at - before.at).as_secs() as i64;
        let is_near = |now: i64, then: i64| (now - then).abs() <= TOLERANCE;
        let state = match (&*before.state, &*self.state) {
            ("reserved", now) => now == "ready",
            ("delayed", "delayed") => is_near(self.time_left, before.time_left - passed),
            ("delayed", "ready") => before.time_left <= passed + TOLERANCE,
            (before, now) => before == now,
        };
        let fixed = |told: &Self| {
            let Self { id, tube, priority, delay, ttr, counters, body, .. } = told.clone();
            (id, tube, priority, delay, ttr, counters, body)
        };
        state && fixed(self) == fixed(before) && is_near(self.age, before.age + passed)
    }
}

/// A number that `stats` tells.
pub(crate) fn stat(conn: &mut Conn, key: &str) -> u64 {
    let stats = conn.ask("stats");
    let value = stats.value(key).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{key} is a number in {stats}"))
}

/// How many jobs there are.
pub(crate) fn count(conn: &mut Conn) -> u64 {
    ["ready", "reserved", "delayed", "buried"]
        .map(|state| stat(conn, &format!("current-jobs-{state}")))
        .iter()
        .sum()
}
