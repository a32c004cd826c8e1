//! `kill -9` at random moments under load: every acknowledged fact is there afterwards.
//!
//! Some clients have jobs of their own, of which they know every possible state; others share a tube
//! and compete. How many rounds of this are played: `JQ_BINLOG_KILLS=1000 cargo test --test binlog
//! kill`.

mod found;
mod owner;
mod shared;

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::support::folder::{Folder, kill};
use crate::support::{Conn, Input, PATIENCE, Reply, eventually};

use self::found::find_all;
use self::owner::Owner;
use self::shared::Shared;

/// Rounds of each test, unless `JQ_BINLOG_KILLS` says how many.
const ROUNDS: u64 = 10;

/// A directory is used for so many rounds, so that what was found once is looked for again.
const ROUNDS_PER_FOLDER: u64 = 5;

/// The server is killed before it has given more replies than this.
const MOST_REPLIES: u64 = 4000;

/// Clients of each kind.
const OWNERS: u64 = 4;
const PRODUCERS: u64 = 2;
const WORKERS: u64 = 3;

#[test]
fn with_each_reply_synced() {
    play("-f0", 1);
}

#[test]
fn with_a_sync_now_and_then() {
    play("-f50", 2);
}

#[test]
fn without_syncs() {
    play("-F", 3);
}

/// What all clients of a round have in common.
pub(super) struct Round {
    /// Replies that were received.
    replies: AtomicU64,
    /// The largest id that anybody was told.
    largest: AtomicU64,
    /// What that was when the server was started.
    floor: u64,
}

impl Round {
    /// Sends commands that are answered by `count` replies, and has each of them looked at. Returns
    /// whether the server is still there.
    fn exchange(
        &self,
        conn: &mut Conn,
        commands: &str,
        count: usize,
        mut look: impl FnMut(usize, &Reply),
    ) -> bool {
        if conn.try_send(commands).is_err() {
            return false;
        }
        for at in 0..count {
            match conn.next(PATIENCE) {
                Input::Reply(reply) => {
                    look(at, &reply);
                    self.replies.fetch_add(1, Ordering::Relaxed);
                }
                Input::Closed(_) => return false,
                Input::Silence => panic!("no reply to one of {commands:?}"),
            }
        }
        true
    }

    /// The id in the answer to a put, which nobody may have been told before the restart.
    fn inserted(&self, reply: &Reply) -> u64 {
        let id = number(reply, "INSERTED ");
        assert!(id > self.floor, "the id {id} is used again: {} was known", self.floor);
        self.largest.fetch_max(id, Ordering::Relaxed);
        id
    }
}

/// The number behind these words, at the beginning of a reply.
fn number(reply: &Reply, words: &str) -> u64 {
    let line = std::str::from_utf8(reply.line()).expect("it is text");
    let rest = line.strip_prefix(words).unwrap_or_else(|| panic!("{words:?}, not {line:?}"));
    let number = rest.split(' ').next().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("a number in {line:?}"))
}

fn play(policy: &str, salt: u64) {
    let rounds = env::var("JQ_BINLOG_KILLS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds: u64 = rounds.unwrap_or(ROUNDS);
    let seed = fastrand::u64(..) ^ salt;
    println!("policy {policy}, seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..rounds.div_ceil(ROUNDS_PER_FOLDER) {
        play_in_one_folder(policy, &mut random);
    }
}

fn play_in_one_folder(policy: &str, random: &mut fastrand::Rng) {
    let folder = Folder::new();
    let threads = if random.bool() { "1" } else { "3" };
    let flags = [policy, "-s", "65536", "--threads", threads];
    let mut owners: Vec<Owner> = (0..OWNERS).map(|it| Owner::new(it, random.fork())).collect();
    let shared = Shared::default();
    let mut largest = 0;
    for number in 0..ROUNDS_PER_FOLDER {
        let server = folder.serve(&flags);
        let round = Round { replies: AtomicU64::new(0), largest: largest.into(), floor: largest };
        let goal = random.u64(1..MOST_REPLIES);
        thread::scope(|scope| {
            for owner in &mut owners {
                let (mut conn, round) = (server.connect(), &round);
                scope.spawn(move || owner.work(&mut conn, round));
            }
            for it in 0..PRODUCERS {
                let (mut conn, round, shared) = (server.connect(), &round, &shared);
                let mut random = random.fork();
                let name = format!("{number}-{it}");
                scope.spawn(move || shared.produce(&mut conn, round, &mut random, &name));
            }
            for _ in 0..WORKERS {
                let (mut conn, round, shared) = (server.connect(), &round, &shared);
                let mut random = random.fork();
                scope.spawn(move || shared.work(&mut conn, round, &mut random));
            }
            // In here, so that the clients come to an end also if this fails.
            let server = server;
            eventually("it has something to lose", || {
                round.replies.load(Ordering::Relaxed) >= goal
            });
            kill(server);
        });
        largest = round.largest.into_inner();

        let server = folder.serve(&flags);
        let mut found = find_all(&mut server.connect(), largest);
        for owner in &mut owners {
            owner.check(&mut found);
        }
        shared.check(&mut found);
        assert!(found.jobs.is_empty(), "nobody has put these: {:?}", found.jobs);
        largest = found.largest;
        kill(server);
    }
}
