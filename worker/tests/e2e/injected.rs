//! System calls of the worker that fail with one error after another: no job is lost, and none is blamed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Rig, Worker};
use crate::support::{eventually, skip};

each_queue!(files_that_cannot_be_opened, files_that_cannot_be_written, files_that_cannot_be_synced);
each_queue!(processes_that_cannot_be_started, one_sync_covers_all_results_that_are_ready);

/// Compiles the library that makes calls fail. `None`, after saying so, if that cannot be done.
pub(crate) fn library(rig: &Rig) -> Option<PathBuf> {
    let path = rig.dir.join("inject.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/inject.c");
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-o"]).arg(&path).arg(source).arg("-ldl");
    if command.status().is_ok_and(|status| status.success()) {
        return Some(path);
    }
    skip("injected failures", "no C compiler is installed");
    None
}

/// A worker whose calls fail while the file `inject` says so.
fn start(rig: &Rig, queue: &Queue, library: &PathBuf, flags: &[&str]) -> Worker {
    let mut command = rig.command();
    command.env("LD_PRELOAD", library).env("INJECT", rig.dir.join("inject"));
    command.env("INJECT_BELOW", rig.dir.join("results"));
    command.args(["--server", &queue.name(), "--tube", TUBE, "--listen", "127.0.0.1:0", "-V"]);
    command.args(["--allow-url", &rig.site.url("/")]).args(flags);
    Worker::start(command)
}

const TWO: &[&str] = &["--concurrency", "2"];

/// Has an operation fail with each of these errors, while jobs come. Each is done in its first attempt, once
/// the operation works again.
fn play(kind: Kind, operation: &str, reason: &str, errors: &[i32], is_fresh: bool) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let Some(library) = library(&rig) else { return };
    // Small results need no new file, so that nothing of theirs would fail to be opened.
    let letters = if operation == "open" { 40_000 } else { 1 };
    rig.handler("ok", &format!("echo x > $JQ_OUTPUT_DIR/plot; printf '\"%{letters}s\"' x"), "");
    let mut worker = start(&rig, &queue, &library, TWO);
    let inject = rig.dir.join("inject");
    for error in errors {
        fs::write(&inject, format!("{operation} {error}")).unwrap();
        let jobs: Vec<_> = (0..5).map(|_| rig.job("ok")).collect();
        let ids: Vec<_> = jobs.iter().map(|job| queue.put(job.body())).collect();
        let name = format!("jq_worker_reasons{{reason=\"{reason}\"}} 1\n");
        eventually(&format!("it says that {operation} fails with {error}"), || {
            let metrics = String::from_utf8(worker.get("/metrics").body).unwrap();
            worker.get("/readyz").status() == 503 && metrics.contains(&name)
        });
        let is_counted = |id: &u64, key| queue.job(*id, key).is_none_or(|count| count != "0");
        for key in ["releases", "timeouts", "buries"] {
            assert!(!ids.iter().any(|id| is_counted(id, key)), "{operation} {error}: {key}");
        }
        fs::remove_file(&inject).unwrap();
        for job in &jobs {
            let result = rig.result(job);
            assert_eq!((&result["status"], &result["attempt"]), (&json!("successful"), &json!(1)));
        }
        queue.await_empty();
        worker.await_metric("jq_worker_spool", 0.0);
        eventually("it is ready", || worker.get("/readyz").status() == 200);
        for job in &jobs {
            assert_eq!((rig.sent(job), rig.runs(job).len()), (1, 1), "{operation} {error}");
            assert_eq!(worker.result(job)["status"], "successful");
            assert_eq!(
                worker.get(&format!("{}/plot", job.path())).body,
                b"x\n",
                "{operation} {error}"
            );
        }
        if is_fresh {
            worker.stop();
            worker = start(&rig, &queue, &library, TWO);
        }
    }
    assert_eq!(queue.count(TUBE, "current-jobs-buried"), 0);
    rig.finish(worker);
}

fn files_that_cannot_be_opened(kind: Kind) {
    let errors = [libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::EIO, libc::EROFS, libc::EACCES];
    play(kind, "open", "state_directory", &errors, false);
}

fn files_that_cannot_be_written(kind: Kind) {
    let errors = [libc::ENOSPC, libc::EDQUOT, libc::EIO];
    play(kind, "write", "state_directory", &errors, false);
}

fn files_that_cannot_be_synced(kind: Kind) {
    play(kind, "sync", "state_directory", &[libc::EIO, libc::ENOSPC], false);
}

fn processes_that_cannot_be_started(kind: Kind) {
    // A keeper that was started is used again, so each error needs a worker without one.
    play(kind, "fork", "processes", &[libc::EAGAIN, libc::ENOMEM, libc::EMFILE], true);
}

fn one_sync_covers_all_results_that_are_ready(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let Some(library) = library(&rig) else { return };
    let script = "while read -r line; do echo 1; done";
    rig.handler("ok", script, "mode = 'persistent'\npipeline = 32\ngrace = 1");
    let mut worker = start(&rig, &queue, &library, &["--concurrency", "32"]);
    let inject = rig.dir.join("inject");
    fs::write(&inject, "slow 0").unwrap();
    let jobs: Vec<_> = (0..128).map(|_| rig.job("ok")).collect();
    for job in &jobs {
        queue.put(job.body());
    }
    eventually("all are done", || rig.site.count() == jobs.len());
    let syncs = fs::read(&inject).unwrap().len() - "slow 0".len();
    // While one is under way, the results of 32 jobs become ready.
    assert!((1..=64).contains(&syncs), "{syncs} for {} results", jobs.len());
    queue.await_empty();
    worker.stop();
    rig.assert_no_process(&[]);
}
