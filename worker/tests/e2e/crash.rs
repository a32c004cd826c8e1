//! A worker that is killed: what was done is not done again, and what was not done is.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::Rig;
use crate::site::Answer;
use crate::support::eventually;

each_queue!(
    killed_while_a_process_runs,
    killed_while_a_process_stays_up,
    killed_between_disk_and_publishing,
    killed_between_publishing_and_delete,
    a_failure_is_not_tried_again_after_a_crash,
    the_journal_is_torn,
    two_workers_have_a_result_and_the_later_one_counts,
    without_syncs_a_killed_worker_loses_nothing,
);

/// The pack that has this result.
fn on_disk(rig: &Rig, job: &crate::rig::Job) -> Option<PathBuf> {
    let packs = fs::read_dir(rig.dir.join("results/packs")).unwrap();
    let mut packs = packs.map(|pack| pack.unwrap().path());
    packs.find(|pack| crate::rig::read(pack).contains(&job.id.to_string()))
}

fn killed_while_a_process_runs(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = r#"touch litter; [ -e "$HOME/go" ] || { setsid sleep 60 & sleep 60 & sleep 60; }
        echo 1"#;
    rig.handler("slow", script, "");
    let mut worker = rig.work(&queue, &[]);
    let job = rig.job("slow");
    let id = queue.put(job.body());
    rig.await_runs(&job, 1);
    eventually("all of it runs", || rig.processes(&[&worker]).len() >= 4);
    worker.kill();
    rig.await_no_process(&[]);
    assert_eq!(rig.sent(&job), 0);

    fs::write(rig.dir.join("go"), "").unwrap();
    let worker = rig.work(&queue, &[]);
    assert_eq!(rig.result(&job)["status"], "successful");
    queue.await_deleted(id);
    assert_eq!(rig.runs(&job).len(), 2, "nothing was on the disk, so it ran again");
    assert_eq!(rig.sent(&job), 1);
    // Nor are its files left.
    let folders = fs::read_dir(rig.dir.join("results/work")).unwrap();
    assert!(folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap()).count() == 0);
    rig.finish(worker);
}

fn killed_while_a_process_stays_up(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = "setsid sleep 60 & while read -r line; do sleep 0.2; echo 1; done";
    rig.handler("stays", script, "mode = 'persistent'\npipeline = 4");
    let mut worker = rig.work(&queue, &["--concurrency", "4"]);
    let jobs: Vec<_> = (0..8).map(|_| rig.job("stays")).collect();
    for job in &jobs {
        queue.put(job.body());
    }
    rig.result(&jobs[0]);
    worker.kill();
    rig.await_no_process(&[]);
    let mut worker = rig.work(&queue, &["--concurrency", "4"]);
    queue.await_empty();
    for job in &jobs {
        assert_eq!(rig.result(job)["status"], "successful");
    }
    worker.stop();
    rig.assert_no_process(&[]);
}

fn killed_between_disk_and_publishing(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let job = rig.job("ok");
    rig.site.script(&job.path(), [Answer::Hold]);
    let mut worker = rig.work(&queue, &[]);
    let id = queue.put(job.body());
    let first = rig.site.await_request(&job.path());
    assert!(on_disk(&rig, &job).is_some(), "it is on the disk before it is sent");
    worker.kill();

    let worker = rig.work(&queue, &[]);
    queue.await_deleted(id);
    assert_eq!(rig.runs(&job), [1], "it is not run again");
    let sent = rig.site.requests(&job.path());
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].body, first.body, "the same result");
    assert_eq!(worker.get(&job.path()).body, first.body);
    worker.await_metric("jq_worker_spool", 0.0);
    rig.finish(worker);
}

fn without_syncs_a_killed_worker_loses_nothing(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("sync = 'never'").handler("ok", "echo 1", "");
    let job = rig.job("ok");
    rig.site.script(&job.path(), [Answer::Hold]);
    let mut worker = rig.work(&queue, &[]);
    let id = queue.put(job.body());
    let first = rig.site.await_request(&job.path());
    worker.kill();
    let worker = rig.work(&queue, &[]);
    queue.await_deleted(id);
    assert_eq!(rig.runs(&job), [1], "it is not run again");
    assert_eq!(rig.site.requests(&job.path())[1].body, first.body, "the same result");
    rig.finish(worker);
}

fn killed_between_publishing_and_delete(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let job = rig.job("ok");
    rig.site.script(&job.path(), [Answer::Hold]);
    let mut worker = rig.work(&queue, &[]);
    let id = queue.put_with(60, job.body());
    rig.site.await_request(&job.path());
    // From here on the queue does not answer, so the job cannot be deleted.
    queue.signal(Signal::SIGSTOP);
    rig.site.go_on();
    worker.await_log("done: publish the result");
    eventually("it is noted", || {
        let journals = fs::read_dir(rig.dir.join("results")).unwrap();
        let mut journals = journals.map(|entry| entry.unwrap().path());
        journals.any(|path| crate::rig::read(&path).contains("published"))
    });
    worker.kill();
    queue.signal(Signal::SIGCONT);

    // The delete may have been on its way: either is right.
    let worker = rig.work(&queue, &[]);
    queue.await_deleted(id);
    worker.await_metric("jq_worker_spool", 0.0);
    assert_eq!(rig.runs(&job), [1], "it is not run again");
    assert_eq!(rig.sent(&job), 1, "nor sent again");
    rig.finish(worker);
}

fn a_failure_is_not_tried_again_after_a_crash(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("fails", "exit 65", "");
    let job = rig.job("fails");
    rig.site.script(&job.path(), [Answer::Hold]);
    let mut worker = rig.work(&queue, &[]);
    let id = queue.put(job.body());
    rig.site.await_request(&job.path());
    worker.kill();
    let worker = rig.work(&queue, &[]);
    queue.await_state(id, "buried");
    worker.await_metric("jq_worker_spool", 0.0);
    let sent = rig.site.requests(&job.path());
    assert_eq!((sent.len(), &sent[1].json()["status"]), (2, &json!("failed")));
    assert_eq!(rig.runs(&job), [1]);
    rig.finish(worker);
}

fn two_workers_have_a_result_and_the_later_one_counts(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let job = rig.job("ok");
    let ok = || Answer::Body(204, Vec::new());
    rig.site.script(&job.path(), [Answer::Hold, ok(), Answer::Body(412, Vec::new())]);
    let mut first = rig.work(&queue, &["--results", "first"]);
    let id = queue.put(job.body());
    let held = rig.site.await_request(&job.path());
    assert_eq!(held.header("if-unmodified-since"), None);
    first.kill();
    let second = rig.work(&queue, &["--results", "second"]);
    queue.await_deleted(id);
    assert_eq!((rig.sent(&job), rig.runs(&job).len()), (2, 2));

    // The first comes back, and learns that its result is not the last.
    let first = rig.work(&queue, &["--results", "first"]);
    first.await_log("a later result is there");
    first.await_metric("jq_worker_spool", 0.0);
    let sent = rig.site.requests(&job.path());
    assert_eq!(sent.len(), 3, "nor is it sent again");
    assert_eq!(sent[2].body, held.body);
    assert_eq!(sent[2].header("if-unmodified-since"), held.header("last-modified"));
    assert_eq!(first.get(&job.path()).body, held.body, "each serves its own");
    assert_eq!(second.get(&job.path()).body, sent[1].body);
    let mut first = first;
    first.stop();
    rig.finish(second);
}

fn the_journal_is_torn(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let job = rig.job("ok");
    rig.site.script(&job.path(), [Answer::Hold]);
    let mut worker = rig.work(&queue, &[]);
    let id = queue.put(job.body());
    rig.site.await_request(&job.path());
    worker.kill();
    // As by a crash in the middle of the next record; and the result's own file is not whole.
    let journals = fs::read_dir(rig.dir.join("results")).unwrap();
    let mut journals: Vec<_> = journals.map(|entry| entry.unwrap().path()).collect();
    journals.retain(|path| path.to_string_lossy().contains("journal-"));
    assert_eq!(journals.len(), 1, "{journals:?}");
    let mut journal = OpenOptions::new().append(true).open(&journals[0]).unwrap();
    journal.write_all(b"12345678 {\"keep\":{\"serial\":99,\"ent").unwrap();
    let pack = on_disk(&rig, &job).unwrap();
    let half = fs::metadata(&pack).unwrap().len() / 2;
    OpenOptions::new().write(true).open(pack).unwrap().set_len(half).unwrap();

    let worker = rig.work(&queue, &[]);
    queue.await_deleted(id);
    assert_eq!(rig.runs(&job), [1]);
    assert_eq!(worker.result(&job)["status"], "successful");
    // And it goes on.
    let next = rig.job("ok");
    queue.put(next.body());
    assert_eq!(rig.result(&next)["output"], 1);
    eventually("that is deleted too", || queue.count(TUBE, "cmd-delete") == 2);
    rig.finish(worker);
}
