//! Clients that put jobs into one tube, and others that compete for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};

use crate::kill::found::Found;
use crate::kill::{Round, number};
use crate::support::Conn;

const TUBE: &str = "shared";

/// Puts that are sent without waiting for the answers, at most.
const MOST_PUTS: usize = 20;

/// What all of them know.
#[derive(Default)]
pub(super) struct Shared(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Bodies whose puts are not answered.
    unanswered: BTreeSet<String>,
    /// Jobs that somebody was told of: by the answer to a put, or to a reserve.
    told: BTreeMap<u64, String>,
    /// Jobs whose deletes were sent, and those whose deletes were answered.
    deleting: BTreeSet<u64>,
    deleted: BTreeSet<u64>,
}

impl Known {
    fn tell(&mut self, id: u64, body: &str) {
        self.unanswered.remove(body);
        let before = self.told.insert(id, body.to_owned());
        assert!(before.is_none_or(|before| before == body), "the id {id} is used again");
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("nobody fails with it")
    }

    /// Puts jobs until the server is gone.
    pub(super) fn produce(
        &self,
        conn: &mut Conn,
        round: &Round,
        random: &mut fastrand::Rng,
        name: &str,
    ) {
        let mut alive = round.exchange(conn, &format!("use {TUBE}\r\n"), 1, |_, _| {});
        let mut count = 0;
        while alive {
            let puts = if random.bool() { 1 } else { random.usize(2..MOST_PUTS) };
            let bodies: Vec<String> =
                (0..puts).map(|put| format!("{name}-{}", count + put)).collect();
            count += puts;
            let pri = random.u32(0..2000);
            let text = bodies.iter().map(|it| format!("put {pri} 0 6000 {}\r\n{it}\r\n", it.len()));
            let text: String = text.collect();
            self.known().unanswered.extend(bodies.iter().cloned());
            alive = round.exchange(conn, &text, puts, |at, reply| {
                let id = round.inserted(reply);
                self.known().tell(id, &bodies[at]);
            });
        }
    }

    /// Reserves jobs and does something with them until the server is gone.
    pub(super) fn work(&self, conn: &mut Conn, round: &Round, random: &mut fastrand::Rng) {
        let text = format!("use {TUBE}\r\nwatch {TUBE}\r\nignore default\r\n");
        let mut alive = round.exchange(conn, &text, 3, |_, _| {});
        while alive {
            let mut got = None;
            alive = round.exchange(conn, "reserve-with-timeout 1\r\n", 1, |_, reply| {
                if reply.line() == b"TIMED_OUT" {
                    return;
                }
                let id = number(reply, "RESERVED ");
                let body = reply.body().expect("a job has a body");
                let mut known = self.known();
                assert!(!known.deleted.contains(&id), "job {id} was deleted");
                known.tell(id, std::str::from_utf8(body).expect("it is text"));
                got = Some(id);
            });
            let Some(id) = got.filter(|_| alive) else { continue };
            let (line, words) = match random.u32(0..100) {
                0..70 => {
                    self.known().deleting.insert(id);
                    (format!("delete {id}"), &b"DELETED"[..])
                }
                70..85 => (format!("release {id} {} 0", random.u32(0..2000)), &b"RELEASED"[..]),
                85..95 => (format!("bury {id} 7"), &b"BURIED"[..]),
                _ => (format!("release {id} 7 1"), &b"RELEASED"[..]),
            };
            alive = round.exchange(conn, &format!("{line}\r\n"), 1, |_, reply| {
                assert_eq!(reply.line(), words, "{line}");
                if words == b"DELETED" {
                    self.known().deleted.insert(id);
                }
            });
            if alive && random.u32(0..10) == 0 {
                alive = round.exchange(conn, "kick 5\r\n", 1, |_, reply| {
                    number(reply, "KICKED ");
                });
            }
        }
    }

    /// Compares the jobs with what the server has, and takes them from there.
    pub(super) fn check(&self, found: &mut Found) {
        let mut known = self.known();
        let Known { unanswered, told, deleting, deleted } = &mut *known;
        let (ours, others): (BTreeMap<_, _>, _) =
            std::mem::take(&mut found.jobs).into_iter().partition(|(_, job)| job.tube == TUBE);
        found.jobs = others;
        for (id, body) in told.iter() {
            match ours.get(id) {
                Some(job) => {
                    assert_eq!(&job.body, body, "job {id}");
                    assert!(!deleted.contains(id), "job {id} was deleted, and is back");
                }
                None => assert!(deleting.contains(id), "job {id} is lost"),
            }
        }
        let mut bodies = HashMap::new();
        for (id, job) in ours {
            let twice = bodies.insert(job.body.clone(), id);
            assert_eq!(twice, None, "job {id} is there twice");
            let known = told.contains_key(&id) || unanswered.contains(&job.body);
            assert!(known, "nobody has put job {id}, {:?}, or it was gone before", job.body);
            told.insert(id, job.body);
        }
        unanswered.clear();
        // What is gone stays gone, and what is not was not deleted.
        let there: BTreeSet<u64> = bodies.into_values().collect();
        *deleted = told.keys().copied().filter(|id| !there.contains(id)).collect();
        deleting.clone_from(deleted);
    }
}
