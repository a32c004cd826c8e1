//! A client with a tube of its own. It knows of each of its jobs in which states it may be, should
//! the server end now: the one that was acknowledged last, and those that were asked for since.

use std::collections::BTreeMap;

use crate::kill::Round;
use crate::kill::found::{Found, Place, State};
use crate::support::Conn;

/// Long enough that it is not over within a test, in seconds.
const LONG: u32 = 100_000;

/// Commands of one batch at most, apart from the reserves that they need.
const MOST_COMMANDS: usize = 30;

pub(super) struct Owner {
    tube: String,
    random: fastrand::Rng,
    /// By their ids, also those that are gone.
    jobs: BTreeMap<u64, Job>,
    /// Jobs whose puts were not answered.
    unanswered: Vec<Put>,
    /// Number of jobs that were put.
    puts: u64,
    /// Batches that were sent.
    batches: u64,
}

struct Job {
    body: String,
    /// What the client has asked for; `None` for a job that is deleted.
    now: Option<State>,
    is_reserved: bool,
    /// In which states it may come back: what was asked for in turn, each with the batch and the
    /// place in it where that was. The first is acknowledged.
    possible: Vec<((u64, usize), Option<State>)>,
}

struct Put {
    body: String,
    state: State,
}

/// What a reply is to be.
enum Wanted {
    Inserted(Put),
    /// The words, the job, and whether they promise anything.
    Done(&'static str, u64, bool),
}

impl Owner {
    pub(super) fn new(number: u64, random: fastrand::Rng) -> Self {
        Self {
            tube: format!("own-{number}"),
            random,
            jobs: BTreeMap::new(),
            unanswered: Vec::new(),
            puts: 0,
            batches: 0,
        }
    }

    /// Sends commands until the server is gone.
    pub(super) fn work(&mut self, conn: &mut Conn, round: &Round) {
        let mut alive = round.exchange(conn, &format!("use {}\r\n", self.tube), 1, |_, _| {});
        while alive {
            let commands = if self.random.bool() { 1 } else { self.random.usize(2..MOST_COMMANDS) };
            let mut text = String::new();
            let mut wanted = Vec::new();
            for _ in 0..commands {
                self.command(&mut text, &mut wanted);
            }
            let mut inserted = Vec::new();
            let mut answered = 0;
            let batch = self.batches;
            alive = round.exchange(conn, &text, wanted.len(), |at, reply| {
                answered += 1;
                match &wanted[at] {
                    Wanted::Inserted(_) => inserted.push((at, round.inserted(reply))),
                    Wanted::Done(words, id, promises) => {
                        assert!(reply.line().starts_with(words.as_bytes()), "{id}: {reply}");
                        let job = self.jobs.get_mut(id).expect("it is one of ours");
                        if *promises {
                            job.possible.retain(|(when, _)| *when >= (batch, at));
                        }
                    }
                }
            });
            for (at, wanted) in wanted.into_iter().enumerate() {
                let Wanted::Inserted(put) = wanted else { continue };
                if at >= answered {
                    self.unanswered.push(put);
                } else if let Some((_, id)) = inserted.iter().find(|(of, _)| *of == at) {
                    self.adopt(*id, put.body, put.state);
                }
            }
            self.batches += 1;
        }
    }

    fn adopt(&mut self, id: u64, body: String, state: State) {
        let possible = vec![((self.batches, 0), Some(state))];
        let job = Job { body, now: Some(state), is_reserved: false, possible };
        assert!(self.jobs.insert(id, job).is_none(), "the id {id} is used again");
    }

    /// Adds a command, and the reserve that it needs.
    fn command(&mut self, text: &mut String, wanted: &mut Vec<Wanted>) {
        let alive: Vec<u64> =
            self.jobs.iter().filter(|(_, job)| job.now.is_some()).map(|(id, _)| *id).collect();
        let (delay, pri) = (if self.random.bool() { LONG } else { 0 }, self.random.u32(0..2000));
        let after = if delay > 0 { Place::Delayed } else { Place::Ready };
        let choice = self.random.u32(0..100);
        if alive.is_empty() || choice < 35 {
            let len = if self.random.u32(0..20) == 0 { 3000 } else { self.random.usize(0..100) };
            let body = format!("{}/{}/{}", self.tube, self.puts, "x".repeat(len));
            self.puts += 1;
            text.push_str(&format!("put {pri} {delay} 6000 {}\r\n{body}\r\n", body.len()));
            let state = State { place: after, pri, releases: 0, buries: 0, kicks: 0 };
            wanted.push(Wanted::Inserted(Put { body, state }));
            return;
        }
        let id = alive[self.random.usize(0..alive.len())];
        let batch = self.batches;
        let job = self.jobs.get_mut(&id).expect("it was just found");
        let mut ask = |job: &mut Job, line: String, words, state: Option<State>, promises| {
            text.push_str(&line);
            text.push_str("\r\n");
            job.possible.push(((batch, wanted.len()), state));
            job.now = state;
            wanted.push(Wanted::Done(words, id, promises));
        };
        let was = job.now.expect("it is alive");
        match choice {
            35..60 => ask(job, format!("delete {id}"), "DELETED", None, true),
            60..70 if !job.is_reserved && was.place != Place::Ready => {
                let state = State { place: Place::Ready, kicks: was.kicks + 1, ..was };
                ask(job, format!("kick-job {id}"), "KICKED", Some(state), true);
            }
            _ => {
                let ready = State { place: Place::Ready, ..was };
                if !job.is_reserved {
                    // It comes back ready; but that it was reserved may be forgotten.
                    ask(job, format!("reserve-job {id}"), "RESERVED ", Some(ready), false);
                    job.is_reserved = true;
                }
                if choice >= 95 {
                    return;
                }
                job.is_reserved = false;
                if choice < 80 {
                    let state = State { place: Place::Buried, pri, buries: was.buries + 1, ..was };
                    ask(job, format!("bury {id} {pri}"), "BURIED", Some(state), true);
                } else {
                    let state = State { place: after, pri, releases: was.releases + 1, ..was };
                    let line = format!("release {id} {pri} {delay}");
                    ask(job, line, "RELEASED", Some(state), true);
                }
            }
        }
    }

    /// Compares its jobs with what the server has, and takes them from there.
    pub(super) fn check(&mut self, found: &mut Found) {
        for (id, job) in &mut self.jobs {
            let there = found.jobs.remove(id);
            if let Some(there) = &there {
                assert_eq!((&there.tube, &there.body), (&self.tube, &job.body), "job {id}");
            }
            let state = there.map(|there| there.state);
            let possible = job.possible.iter().any(|(_, possible)| *possible == state);
            assert!(possible, "job {id} is {state:?}, which is none of {:?}", job.possible);
            job.now = state;
            job.is_reserved = false;
            job.possible = vec![((self.batches, 0), state)];
        }
        // Jobs that nobody was told of may be there, but each only once.
        for put in std::mem::take(&mut self.unanswered) {
            let id = found.jobs.iter().find(|(_, job)| job.body == put.body).map(|(id, _)| *id);
            let Some((id, job)) = id.and_then(|id| Some((id, found.jobs.remove(&id)?))) else {
                continue;
            };
            assert_eq!((&job.tube, job.state), (&self.tube, put.state), "job {id}");
            self.adopt(id, job.body, job.state);
        }
        self.batches += 1;
    }
}
