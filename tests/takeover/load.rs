//! Random work for a server, and what it tells of each job on the way.
//!
//! beanstalkd does not write everything: not a reserve, and not a release without delay. After it is
//! killed, a job is as it was last written. So what is told is kept since then: as compaction may
//! write a job at any time, any of it may come back.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::support::{Conn, Reply, eventually};
use crate::told::Told;

/// The tubes that are used, besides one with as long a name as there may be.
const TUBES: [&str; 4] = ["default", "a", "b-+/;.$_()", "0"];

/// Of the longest name, in bytes.
const LONGEST_NAME: usize = 200;

/// Of the largest body, in bytes.
pub(crate) const LARGEST: usize = 65_535;

/// Delays and times to run longer than any test, in seconds.
const LONG: std::ops::Range<u32> = 1000..1_000_000;

/// How often a job is asked for by the tests that want many.
pub(crate) const STEPS: usize = 1500;

/// What a server told of its jobs.
pub(crate) struct Load {
    rng: Rng,
    tubes: Vec<String>,
    /// Of each job that there is: as it was last written, and everything since then.
    pub(crate) jobs: BTreeMap<u64, Vec<Told>>,
    /// Jobs that are reserved here.
    reserved: Vec<u64>,
    pub(crate) last_id: u64,
    /// Whether the server writes everything.
    writes_all: bool,
}

impl Load {
    /// Work that follows from `seed`, for beanstalkd.
    pub(crate) fn beanstalkd(seed: u64) -> Self {
        Self::new(seed, false)
    }

    /// Work that follows from `seed`, for our server.
    pub(crate) fn jq(seed: u64) -> Self {
        Self::new(seed, true)
    }

    fn new(seed: u64, writes_all: bool) -> Self {
        let mut tubes: Vec<String> = TUBES.map(str::to_owned).into();
        tubes.push("n".repeat(LONGEST_NAME));
        Self {
            rng: Rng::with_seed(seed),
            tubes,
            jobs: BTreeMap::new(),
            reserved: Vec::new(),
            last_id: 0,
            writes_all,
        }
    }

    /// Works for so many steps.
    pub(crate) fn work(&mut self, conn: &mut Conn, steps: usize) {
        // Nobody else has any on this connection.
        self.reserved.clear();
        for tube in self.tubes.clone() {
            conn.ask(format!("watch {tube}"));
        }
        self.time_out(conn);
        self.put_sizes(conn);
        for _ in 0..steps {
            match self.rng.u32(..100) {
                0..35 => {
                    let size = self.rng.usize(..300);
                    let delay = if self.rng.u32(..3) == 0 { self.rng.u32(LONG) } else { 0 };
                    let ttr = self.rng.u32(LONG);
                    self.put(conn, size, delay, ttr);
                }
                35..65 => self.reserve(conn),
                65..85 => self.let_go(conn),
                85..90 => self.kick(conn),
                90..92 => self.kick_job(conn),
                _ => self.delete(conn),
            }
        }
        self.put_sizes(conn);
    }

    /// Puts jobs of the smallest and largest sizes that there are.
    fn put_sizes(&mut self, conn: &mut Conn) {
        for size in [0, 1, LARGEST - 1, LARGEST] {
            self.put(conn, size, 0, 1000);
        }
    }

    /// What is wrong with the jobs of a server that has taken them over, if anything is. `adjust`
    /// changes what is expected.
    pub(crate) fn differences(&self, conn: &mut Conn, adjust: impl Fn(&mut Told)) -> Vec<String> {
        let mut wrong = Vec::new();
        for (id, told) in &self.jobs {
            let now = Told::of(conn, *id);
            let mut told = told.clone();
            told.iter_mut().for_each(&adjust);
            if !now.as_ref().is_some_and(|now| told.iter().any(|told| now.continues(told))) {
                wrong.push(format!("job {id} was {told:?} and is {now:?}"));
            }
        }
        let count = crate::told::count(conn);
        if count != self.jobs.len() as u64 {
            wrong.push(format!("there were {} jobs and are {count}", self.jobs.len()));
        }
        wrong
    }

    /// Adds what the server tells now of a job.
    fn tell(&mut self, conn: &mut Conn, id: u64, is_written: bool) {
        let told = Told::of(conn, id).unwrap_or_else(|| panic!("job {id} is there"));
        let all = self.jobs.entry(id).or_default();
        if is_written || self.writes_all {
            all.clear();
        }
        all.push(told);
    }

    /// Adds what another server tells now of a job that it has not written.
    pub(crate) fn tell_again(&mut self, conn: &mut Conn, id: u64) {
        self.tell(conn, id, false);
    }

    pub(crate) fn put(&mut self, conn: &mut Conn, size: usize, delay: u32, ttr: u32) -> u64 {
        let tube = self.rng.choice(&self.tubes).expect("there are tubes").clone();
        conn.ask(format!("use {tube}"));
        let priority = [0, self.rng.u32(..), u32::MAX][self.rng.usize(..3)];
        let mut put = format!("put {priority} {delay} {ttr} {size}\r\n").into_bytes();
        put.extend((0..size).map(|_| self.rng.u8(..)));
        put.extend_from_slice(b"\r\n");
        conn.send(put);
        let reply = conn.reply();
        let id = id_in(&reply, "INSERTED ").unwrap_or_else(|| panic!("a put: {reply}"));
        self.last_id = id;
        self.tell(conn, id, true);
        id
    }

    /// A job whose time to run runs out.
    fn time_out(&mut self, conn: &mut Conn) {
        let id = self.put(conn, 5, 0, 1);
        assert_eq!(id_in(&conn.ask(format!("reserve-job {id}")), "RESERVED "), Some(id));
        eventually("the time runs out", || {
            let told = Told::of(conn, id);
            told.is_some_and(|told| told.counters[1] == 1)
        });
        assert_eq!(id_in(&conn.ask(format!("reserve-job {id}")), "RESERVED "), Some(id));
        assert_eq!(conn.ask(format!("bury {id} 17")).line(), b"BURIED");
        self.tell(conn, id, true);
    }

    fn reserve(&mut self, conn: &mut Conn) {
        if let Some(id) = id_in(&conn.ask("reserve-with-timeout 0"), "RESERVED ") {
            self.reserved.push(id);
            self.tell(conn, id, false);
        }
    }

    /// Buries, releases or deletes a reserved job.
    fn let_go(&mut self, conn: &mut Conn) {
        if self.reserved.is_empty() {
            return;
        }
        let id = self.reserved.swap_remove(self.rng.usize(..self.reserved.len()));
        let priority = self.rng.u32(..);
        match self.rng.u32(..4) {
            0 => {
                assert_eq!(conn.ask(format!("bury {id} {priority}")).line(), b"BURIED");
                self.tell(conn, id, true);
            }
            1 => {
                let delay = self.rng.u32(LONG);
                let reply = conn.ask(format!("release {id} {priority} {delay}"));
                assert_eq!(reply.line(), b"RELEASED");
                self.tell(conn, id, true);
            }
            2 => {
                let reply = conn.ask(format!("release {id} {priority} 0"));
                assert_eq!(reply.line(), b"RELEASED");
                self.tell(conn, id, false);
            }
            _ => {
                assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
                self.jobs.remove(&id);
            }
        }
    }

    /// Kicks some jobs of a tube. Which they were, their counters tell.
    fn kick(&mut self, conn: &mut Conn) {
        let tube = self.rng.choice(&self.tubes).expect("there are tubes").clone();
        conn.ask(format!("use {tube}"));
        conn.ask(format!("kick {}", self.rng.u32(1..4)));
        let last = self.jobs.iter().map(|(id, told)| (*id, told.last().expect("one is kept")));
        let candidates = last.filter(|(_, told)| told.tube == tube && told.state != "ready");
        let candidates: Vec<_> = candidates.map(|(id, told)| (id, told.counters)).collect();
        for (id, counters) in candidates {
            if Told::of(conn, id).is_some_and(|told| told.counters != counters) {
                self.tell(conn, id, true);
            }
        }
    }

    fn kick_job(&mut self, conn: &mut Conn) {
        if let Some(id) = self.rng.choice(self.jobs.keys().copied())
            && conn.ask(format!("kick-job {id}")).line() == b"KICKED"
        {
            self.tell(conn, id, true);
        }
    }

    fn delete(&mut self, conn: &mut Conn) {
        if let Some(id) = self.rng.choice(self.jobs.keys().copied()) {
            assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
            self.jobs.remove(&id);
            self.reserved.retain(|reserved| *reserved != id);
        }
    }
}

/// The number behind a word at the beginning of a reply.
pub(crate) fn id_in(reply: &Reply, word: &str) -> Option<u64> {
    let line = std::str::from_utf8(reply.line()).ok()?.strip_prefix(word)?;
    line.split(' ').next()?.parse().ok()
}

/// Puts a job, and tells its number.
pub(crate) fn put_one(conn: &mut Conn) -> u64 {
    conn.send("put 0 0 1 1\r\nx\r\n");
    let reply = conn.reply();
    id_in(&reply, "INSERTED ").unwrap_or_else(|| panic!("a put: {reply}"))
}
