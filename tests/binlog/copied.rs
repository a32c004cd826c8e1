//! A directory that is copied file by file while a server works in it: the copy has everything, or it
//! is refused. A backup has everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use jq_engine::{Engine, Nanos, Record};
use jq_server::log::binlog::{Binlog, Options, RealDisk, ReplayError, SyncPolicy};

use crate::support::folder::{Folder, name};
use crate::support::{Conn, Process, eventually, jq_server};

const SEGMENT: u64 = 65_536;

/// Jobs that are there while the directory is copied.
const JOBS: usize = 150;

/// Copies that are made under each policy.
const COPIES: usize = 25;

/// What the client was told, and what it has asked for.
#[derive(Default)]
struct Told {
    there: BTreeMap<u64, String>,
    /// Asked to be deleted, which may or may not have happened.
    touched: BTreeSet<u64>,
    deleted: BTreeSet<u64>,
}

/// Ends the client when the test ends, also when it fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Puts and deletes without an end, so that segments come and go.
fn work(mut conn: Conn, told: &Mutex<Told>, done: &AtomicU64, stop: &AtomicBool) {
    let mut random = fastrand::Rng::with_seed(12);
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        let body = format!("{count:0>len$}", len = random.usize(10..1500));
        conn.send(format!("put 0 0 600 {}\r\n{body}\r\n", body.len()));
        let reply = conn.reply();
        let line = String::from_utf8_lossy(reply.line()).into_owned();
        let id =
            line.strip_prefix("INSERTED ").and_then(|id| id.parse().ok()).expect("it is taken");
        told.lock().expect("nobody panics").there.insert(id, body);
        let victim = {
            let told = &mut *told.lock().expect("nobody panics");
            let old = told.there.keys().copied().filter(|id| !told.touched.contains(id));
            let old: Vec<u64> = old.collect();
            // Most of them are young, so that some get old.
            let at = old.len().saturating_sub(random.usize(1..JOBS));
            (old.len() > JOBS).then(|| old[at])
        };
        if let Some(id) = victim {
            told.lock().expect("nobody panics").touched.insert(id);
            assert_eq!(conn.ask(format!("delete {id}")).line(), b"DELETED");
            let told = &mut *told.lock().expect("nobody panics");
            told.there.remove(&id);
            told.deleted.insert(id);
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Copies all files in any order, and has the client work in between. A file that is gone by then is
/// left out, as `cp` leaves it out.
fn copy(from: &Path, to: &Path, random: &mut fastrand::Rng, pause: impl Fn(u64)) {
    fs::create_dir_all(to).expect("it is new");
    let entries = fs::read_dir(from).expect("it is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    random.shuffle(&mut paths);
    let at = random.usize(..paths.len());
    for (number, path) in paths.iter().enumerate() {
        // Once for long enough that segments are begun and reclaimed.
        pause(if number == at { random.u64(..400) } else { random.u64(..8) });
        match fs::read(path) {
            Ok(bytes) => fs::write(to.join(name(path)), bytes).expect("it can be written"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{path:?}"),
        }
    }
}

/// Starts a log on a copy, as a server does.
fn open(folder: &Path, policy: SyncPolicy) -> Result<BTreeMap<u64, String>, ReplayError> {
    let mut engine = Engine::new();
    let disk = Arc::new(RealDisk::new(folder.to_owned()));
    let options = Options::new(policy, SEGMENT);
    let now = Nanos::from_secs(1_800_000_000);
    Binlog::open(disk, options, &mut engine, now, false, Box::new(|| ()))?;
    let mut jobs = BTreeMap::new();
    engine.tell_all(|record| {
        if let Record::Put(job) = record {
            jobs.insert(job.now.id, String::from_utf8_lossy(job.body).into_owned());
        }
    });
    Ok(jobs)
}

/// Has a server worked with, its directory copied by `copy` now and then, and the copies compared with
/// what the client was told. A copy may be refused if `may_refuse`.
fn under_load(
    flag: &str,
    policy: SyncPolicy,
    may_refuse: bool,
    mut copy: impl FnMut(&Folder, &Path, &dyn Fn(u64)),
) {
    let folder = Folder::new();
    let copies = Folder::new();
    let server = folder.serve(&[flag, "-s", &SEGMENT.to_string()]);
    let (told, done) = (Mutex::new(Told::default()), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopper = Stop(&stop);
        let worker = scope.spawn(|| work(server.connect(), &told, &done, &stop));
        let wait = |operations| {
            let until = done.load(Ordering::Relaxed) + operations;
            eventually("the client works", || {
                worker.is_finished() || done.load(Ordering::Relaxed) >= until
            });
        };
        wait(3 * JOBS as u64);
        for number in 0..COPIES {
            let (there, deleted) = {
                let told = told.lock().expect("nobody panics");
                (told.there.clone(), told.deleted.clone())
            };
            let to = copies.path().join(number.to_string());
            copy(&folder, &to, &wait);
            let touched = told.lock().expect("nobody panics").touched.clone();
            let inner = to.join("jq-binlog");
            match open(&inner, policy) {
                Ok(jobs) => {
                    for (id, body) in there.iter().filter(|(id, _)| !touched.contains(id)) {
                        assert_eq!(jobs.get(id), Some(body), "{flag}, copy {number}: job {id}");
                    }
                    let back: Vec<_> = deleted.iter().filter(|id| jobs.contains_key(id)).collect();
                    assert!(back.is_empty(), "{flag}, copy {number}: {back:?} are back");
                }
                Err(ReplayError::Io { what, error }) => panic!("{what}: {error}"),
                Err(error) => assert!(may_refuse && error.is_repairable(), "{error}"),
            }
            fs::remove_dir_all(&to).expect("it is ours");
        }
        drop(stopper);
        worker.join().expect("the client is served");
    });
}

fn copies_under_load(flag: &str, policy: SyncPolicy) {
    let mut random = fastrand::Rng::with_seed(34);
    under_load(flag, policy, true, |folder, to, wait| {
        copy(&folder.inner(), &to.join("jq-binlog"), &mut random, wait);
    });
}

fn backups_under_load(flag: &str, policy: SyncPolicy) {
    under_load(flag, policy, false, |folder, to, wait| {
        wait(20);
        let mut command = Command::new(jq_server());
        command.arg("--binlog-backup").arg(folder.path()).arg(to);
        let mut process = Process::spawn(command);
        assert_eq!(process.exit_code(), 0, "{}", process.output());
    });
}

#[test]
fn backups_of_a_server_that_syncs_at_times() {
    backups_under_load("-f50", SyncPolicy::Every(Duration::from_millis(50)));
}

#[test]
fn backups_of_a_server_that_never_syncs() {
    backups_under_load("-F", SyncPolicy::Never);
}

#[test]
fn copies_of_a_server_that_syncs_at_once() {
    copies_under_load("-f0", SyncPolicy::Always);
}

#[test]
fn copies_of_a_server_that_syncs_at_times() {
    copies_under_load("-f50", SyncPolicy::Every(Duration::from_millis(50)));
}

#[test]
fn copies_of_a_server_that_never_syncs() {
    copies_under_load("-F", SyncPolicy::Never);
}
