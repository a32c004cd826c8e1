//! What every scenario begins and ends with.

use std::fs;

use serde_json::{Value, json};

use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Job, Rig, Worker};
use crate::support::{eventually, procfs};

/// A folder and a queue, and a handler `good` that says 1.
pub(crate) fn begin() -> (Rig, Queue) {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    // A worker that cannot deliver something is not waited for.
    rig.configure("stop_timeout = 1");
    (rig, queue)
}

/// Has the worker do a good job, waits until the queue holds only so many buried jobs, and stops it.
/// Returns what it logged.
pub(crate) fn end(rig: &Rig, queue: &Queue, worker: Worker, buried: u64) -> String {
    assert_works(rig, queue, buried);
    let log = rig.finish(worker);
    assert_nothing_left(rig);
    log
}

/// As [`end`], where processes stay up until the worker stops.
pub(crate) fn end_of_those_that_stay(rig: &Rig, queue: &Queue, mut worker: Worker, buried: u64) {
    assert_works(rig, queue, buried);
    worker.stop();
    rig.assert_no_process(&[]);
    assert_nothing_left(rig);
}

fn assert_works(rig: &Rig, queue: &Queue, buried: u64) {
    let job = rig.job("good");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["status"], "successful", "the worker still works");
    queue.await_empty();
    assert_eq!(queue.count(TUBE, "current-jobs-buried"), buried);
}

/// Asserts that no job left a file in its working directory, and none a directory elsewhere.
fn assert_nothing_left(rig: &Rig) {
    let work = fs::read_dir(rig.dir.join("results/work")).expect("the worker made it");
    for directory in work {
        let path = directory.expect("it can be read").path();
        let count = fs::read_dir(&path).map_or(0, Iterator::count);
        assert_eq!(count, 0, "{} is not empty", path.display());
    }
    for entry in fs::read_dir(rig.dir.join("results/results")).expect("the worker made it") {
        let folder = entry.expect("it can be read");
        let name = folder.file_name().into_string().expect("it is text");
        assert!(name.len() == 2 && u8::from_str_radix(&name, 16).is_ok(), "{name}");
    }
}

/// Asserts that a result says of a failure whose fault it was, and returns why.
pub(crate) fn failure(result: &Value, kind: &str) -> String {
    assert_eq!(result["status"], "failed", "{result}");
    assert_eq!(result["error"]["kind"], json!(kind), "{result}");
    assert_eq!(result["timestamp"], result["finished"]);
    result["error"]["message"].as_str().expect("it says why").to_owned()
}

/// Puts a job that is to fail; asserts whose fault it was, that it is buried, and returns why.
pub(crate) fn fails(rig: &Rig, queue: &Queue, job: &Job, kind: &str) -> String {
    let id = queue.put(job.body());
    let message = failure(&rig.result(job), kind);
    queue.await_state(id, "buried");
    message
}

/// Asserts that what is done does not make the worker's memory grow by more than so many bytes, at
/// any moment.
pub(crate) fn within_memory<T>(worker: &Worker, bytes: u64, what: impl FnOnce() -> T) -> T {
    let peak = || {
        let text = procfs::status(worker.pid(), "VmHWM");
        let kib = text.split(' ').next().and_then(|kib| kib.parse::<u64>().ok());
        kib.unwrap_or_else(|| panic!("a number of KiB, not {text:?}")) * 1024
    };
    let before = peak();
    let result = what();
    let grown = peak() - before;
    assert!(grown <= bytes, "it grew by {grown} bytes");
    result
}

/// Waits until the worker has as many results that are owed something.
pub(crate) fn await_spool(worker: &Worker, count: f64) {
    eventually("what is owed", || worker.metric("jq_worker_spool") == count);
}
