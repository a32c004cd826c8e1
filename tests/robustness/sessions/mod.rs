//! Random sessions of several hostile clients that end at any byte, while an innocent client measures
//! how long it waits.
//!
//! Hostile clients pipeline whatever costs a server time or memory, and close, reset, half-close or
//! stall in the middle of it. The innocent one puts, reserves and deletes jobs of its own, one command
//! at a time. After each round it must have all of its jobs, and the server must have nothing of the
//! hostile ones: no jobs, tubes or connections, no descriptors and no memory.
//!
//! A failure names its seed, which `JQ_SESSIONS_SEED` takes. It makes the same sessions, but no seed
//! decides what happens between them. For longer runs see `CONTRIBUTING.md`.

mod hostile;
mod innocent;
mod waits;

use std::env;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use self::hostile::Hostile;
use self::innocent::Innocent;
use self::waits::Waits;
use crate::subject::{Subject, id_in};
use crate::support::folder::{Folder, kill};
use crate::support::{Server, comes_true, eventually};

/// How long each server is played with unless somebody asks for more.
const SECONDS: u64 = 6;

/// A round is this long, then what is left of it is looked at.
const ROUND: Duration = Duration::from_secs(3);

/// Hostile clients at a time. Each has further connections that have stalled.
const HOSTILE: u64 = 5;

/// The longest that the innocent client may wait, less what its thread and the server's waited for a
/// processor. More than what was ever seen of a server without optimization on a machine with twenty times as
/// much to do as it can, and a fraction of what one client could take, in seconds of an optimized server, before
/// requests were carried out in turns.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Memory that may remain after a round.
const REMAINS: u64 = 48 << 20;

/// Descriptors for segments that a log may have besides those that it began with.
const SEGMENTS: usize = 16;

/// Largest job, in bytes.
const LARGEST: &str = "10000000";

#[test]
fn in_memory() {
    play("memory", &["--threads", "1"], false);
}

#[test]
fn with_threads() {
    play("threads", &["--threads", "3"], false);
}

#[test]
fn with_a_log() {
    play("log", &["--threads", "1"], true);
}

fn play(name: &str, flags: &[&str], logged: bool) {
    let time = Duration::from_secs(setting("JQ_SESSIONS_SECONDS").unwrap_or(SECONDS));
    let most = setting("JQ_SESSIONS_MOST_MS").map_or(LONGEST_WAIT, Duration::from_millis);
    let mut seed = setting("JQ_SESSIONS_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    // How long a disk takes is not what this measures.
    let folder = Folder::in_memory();
    let mut flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
    flags.extend(["-z".to_owned(), LARGEST.to_owned()]);
    if logged {
        flags.extend(folder.flags(&[]));
    }
    let mut subject = Subject::of(Server::jq(&flags));
    let begins = subject.resident();
    let (began, mut waits, mut sessions) = (Instant::now(), Waits::default(), 0);
    while began.elapsed() < time {
        let round = Round { seed, name };
        let mut innocent = Innocent::new(&subject);
        sessions += round.play(&subject, &mut innocent);
        let longest = innocent.waits.longest();
        assert!(longest < most, "the innocent client waited {longest:?}: {}", innocent.waits);
        waits.add(&innocent.waits);
        if logged && fastrand::bool() {
            // What the innocent client was told of is there for the next server.
            kill(subject.server);
            let server = Server::jq(&flags);
            let mut conn = server.connect();
            innocent.expect_kept(&mut conn);
            sweep(&mut conn);
            drop(conn);
            subject = Subject::of(server);
        } else {
            innocent.expect_kept(&mut subject.witness);
            drop(innocent);
            sweep(&mut subject.connect());
            subject.settle_with(if logged { SEGMENTS } else { 0 });
        }
        let mut now = 0;
        let back = comes_true(|| {
            now = subject.resident();
            now < begins + REMAINS
        });
        assert!(back, "{now} bytes are resident, at first {begins}");
        println!("{name}, seed {seed}, {sessions} sessions, {now} bytes: {waits}");
        seed += 1;
        drop(round);
    }
    subject.server.signal(Signal::SIGTERM);
    assert_eq!(subject.server.process().exit_code(), 0);
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// Names its seed if something in it fails.
struct Round<'a> {
    seed: u64,
    name: &'a str,
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}: this was JQ_SESSIONS_SEED={}", self.name, self.seed);
        }
    }
}

impl Round<'_> {
    /// Tells how many sessions there were.
    fn play(&self, subject: &Subject, innocent: &mut Innocent) -> u64 {
        let (stop, sessions, put) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            let hostile: Vec<_> = (0..HOSTILE)
                .map(|number| {
                    let endpoint = subject.server.endpoint();
                    let random = self.seed.wrapping_mul(HOSTILE).wrapping_add(number);
                    let mut client = Hostile::new(random, endpoint, &put);
                    let (stop, sessions) = (&stop, &sessions);
                    scope.spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            client.session();
                            sessions.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let began = Instant::now();
            while began.elapsed() < ROUND {
                innocent.cycle();
            }
            stop.store(true, Ordering::Relaxed);
            // They go one by one, and so does what they leave.
            while hostile.iter().any(|client| !client.is_finished()) {
                innocent.cycle();
            }
        });
        for _ in 0..100 {
            innocent.cycle();
        }
        sessions.into_inner()
    }
}

/// Deletes all jobs, in whatever state.
fn sweep(conn: &mut crate::support::Conn) {
    const TOGETHER: usize = 500;
    eventually("the hostile clients' jobs are gone", || {
        let reply = conn.ask("list-tubes");
        let list = String::from_utf8_lossy(reply.body().expect("it is a list")).into_owned();
        for tube in list.lines().filter_map(|line| line.strip_prefix("- ")) {
            conn.send(format!("use {tube}\r\nwatch {tube}\r\npause-tube {tube} 0\r\n"));
            conn.send("kick 1000000000\r\n".repeat(2));
            (0..5).for_each(|_| drop(conn.reply()));
        }
        loop {
            conn.send("reserve-with-timeout 0\r\n".repeat(TOGETHER));
            let replies: Vec<_> = (0..TOGETHER).map(|_| conn.reply()).collect();
            // Others are about to time out.
            let reserved = replies.iter().filter(|reply| reply.line().starts_with(b"RESERVED "));
            let ids: Vec<u64> = reserved.map(|reply| id_in(reply, "RESERVED")).collect();
            conn.send(ids.iter().map(|id| format!("delete {id}\r\n")).collect::<String>());
            ids.iter().for_each(|_| assert_eq!(conn.reply().line(), b"DELETED"));
            if ids.is_empty() {
                break;
            }
        }
        let stats = conn.ask("stats");
        ["urgent", "ready", "reserved", "delayed", "buried"]
            .iter()
            .all(|state| stats.value(&format!("current-jobs-{state}")) == Some("0"))
    });
}
