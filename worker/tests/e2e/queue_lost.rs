//! The queue goes away, or takes a job away: what runs is killed, and the worker goes on.

use nix::sys::signal::Signal;

use crate::each_queue;
use crate::queue::{Kind, Queue, TUBE, put};
use crate::rig::Rig;
use crate::site::Answer;
use crate::support::{Conn, eventually};

each_queue!(
    restarted_with_its_jobs,
    restarted_without_its_jobs,
    down_when_the_worker_starts,
    a_queue_that_does_not_answer,
    restarted_while_a_result_waits,
    restarted_without_the_job_of_a_result_that_waits,
);

/// Time to run of a job that is to be lost while its worker is stopped.
const SHORT: u32 = 3;

const WAIT: &str = r#"while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1"#;

fn go(rig: &Rig) {
    std::fs::write(rig.dir.join("go"), "").unwrap();
}

// Not of beanstalkd: when a connection has touched a job and is silent from then on, it often forgets
// to take the job back. That a job is lost with its connection is tested of both.

/// Waits until the queue takes this job for lost and gives it to another connection.
fn taken_by_another(queue: &Queue, id: u64) -> Conn {
    let mut other = queue.connect();
    let taken = other.ask("reserve-with-timeout 10");
    assert!(taken.line().starts_with(format!("RESERVED {id} ").as_bytes()), "{taken}");
    other
}

fn restarted_with_its_jobs(kind: Kind) {
    let (rig, mut queue) = (Rig::new(), Queue::durable(kind));
    rig.handler("wait", WAIT, "");
    let worker = rig.work(&queue, &["--concurrency", "1"]);
    let jobs: Vec<_> = (0..3).map(|_| rig.job("wait")).collect();
    for job in &jobs {
        queue.put(job.body());
    }
    rig.await_runs(&jobs[0], 1);
    queue.kill();
    // Another worker may get the job, so it must not go on here.
    rig.await_no_process(&[&worker]);
    worker.await_metric("jq_worker_leases_lost_total", 1.0);
    assert_eq!(rig.sent(&jobs[0]), 0);
    eventually("it says that it takes no jobs", || worker.get("/readyz").status() == 503);
    go(&rig);
    queue.revive();
    queue.await_empty();
    for job in &jobs {
        assert_eq!(rig.result(job)["status"], "successful");
        assert_eq!(rig.sent(job), 1);
    }
    eventually("it says that it takes jobs", || worker.get("/readyz").status() == 200);
    rig.finish(worker);
}

fn restarted_without_its_jobs(kind: Kind) {
    let (rig, mut queue) = (Rig::new(), Queue::start(kind));
    rig.handler("wait", WAIT, "");
    let worker = rig.work(&queue, &["--concurrency", "1"]);
    let (lost, kept) = (rig.job("wait"), rig.job("wait"));
    queue.put(lost.body());
    rig.await_runs(&lost, 1);
    queue.kill();
    rig.await_no_process(&[&worker]);
    go(&rig);
    queue.revive();
    let id = queue.put(kept.body());
    assert_eq!(rig.result(&kept)["attempt"], 1);
    queue.await_deleted(id);
    assert_eq!(rig.sent(&lost), 0);
    rig.finish(worker);
}

fn down_when_the_worker_starts(kind: Kind) {
    let (rig, mut queue) = (Rig::new(), Queue::durable(kind));
    rig.handler("ok", "echo 1", "");
    let job = rig.job("ok");
    let id = queue.put(job.body());
    queue.kill();
    let worker = rig.work(&queue, &[]);
    worker.await_log("cannot take jobs from the server");
    queue.revive();
    assert_eq!(rig.result(&job)["status"], "successful");
    queue.await_deleted(id);
    rig.finish(worker);
}

#[test]
fn a_lease_that_ran_out() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    let script = r#"[ $JQ_ATTEMPT -gt 1 ] || { setsid sleep 30 & sleep 30; }; echo 1"#;
    rig.handler("long", script, "");
    // With room for a second job, it would be the one that gets the job again.
    let worker = rig.work(&queue, &["--concurrency", "1"]);
    let job = rig.job("long");
    let id = queue.put_with(SHORT, job.body());
    rig.await_runs(&job, 1);
    // It does not touch its job any more, until another has got it.
    worker.signal(Signal::SIGSTOP);
    let mut other = taken_by_another(&queue, id);
    worker.signal(Signal::SIGCONT);
    worker.await_metric("jq_worker_leases_lost_total", 1.0);
    rig.await_no_process(&[&worker]);
    assert_eq!(worker.status()["failures"][0]["kind"], "lease_lost");
    assert_eq!(rig.sent(&job), 0, "nothing is published: the other has the job");
    other.ask(format!("release {id} 100 0"));
    assert_eq!(rig.result(&job)["status"], "successful");
    queue.await_deleted(id);
    rig.finish(worker);
}

#[test]
fn a_lease_that_ran_out_before_it_was_heard_of() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    rig.handler("ok", "echo 1", "");
    let (first, job) = (rig.job("ok"), rig.job("ok"));
    let worker = rig.work(&queue, &["--concurrency", "1"]);
    queue.await_deleted(queue.put(first.body()));
    eventually("it waits for a job", || queue.count(TUBE, "current-waiting") == 1);
    worker.signal(Signal::SIGSTOP);
    eventually("all of its threads have stopped", || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", worker.pid())).unwrap();
        let mut states = threads.map(|thread| {
            let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
            stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T'))
        });
        states.all(|is_stopped| is_stopped)
    });
    // It is given to the worker, which does not hear of it.
    let id = queue.put_with(SHORT, job.body());
    queue.await_state(id, "reserved");
    let mut other = taken_by_another(&queue, id);
    worker.signal(Signal::SIGCONT);
    worker.await_metric("jq_worker_leases_lost_total", 1.0);
    assert_eq!(rig.runs(&job), [] as [u32; 0], "the other has the job");
    other.ask(format!("release {id} 100 0"));
    assert_eq!(rig.result(&job)["status"], "successful");
    queue.await_deleted(id);
    rig.finish(worker);
}

#[test]
fn a_lease_that_ran_out_before_the_process_was_done() {
    let (rig, queue) = (Rig::new(), Queue::start(Kind::Jq));
    rig.handler("short", WAIT, "");
    let worker = rig.work(&queue, &["--concurrency", "1"]);
    let job = rig.job("short");
    let id = queue.put_with(SHORT, job.body());
    rig.await_runs(&job, 1);
    worker.signal(Signal::SIGSTOP);
    let mut other = taken_by_another(&queue, id);
    other.ask(format!("bury {id} 100"));
    go(&rig);
    rig.await_no_process(&[&worker]);
    // When it hears that the process is done, the job has been another's for long.
    worker.signal(Signal::SIGCONT);
    worker.await_metric("jq_worker_leases_lost_total", 1.0);
    worker.await_metric("jq_worker_running", 0.0);
    assert_eq!(rig.sent(&job), 0, "nothing is published");
    assert_eq!(worker.metric("jq_worker_spool"), 0.0);
    rig.finish(worker);
}

fn a_queue_that_does_not_answer(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("wait", WAIT, "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("wait");
    let id = queue.put_with(1, job.body());
    rig.await_runs(&job, 1);
    queue.signal(Signal::SIGSTOP);
    // When its time to run is over, the job may be another's.
    rig.await_no_process(&[&worker]);
    assert_eq!(rig.sent(&job), 0);
    go(&rig);
    queue.signal(Signal::SIGCONT);
    assert_eq!(rig.result(&job)["status"], "successful");
    queue.await_deleted(id);
    worker.await_metric("jq_worker_leases_lost_total", 1.0);
    rig.finish(worker);
}

/// What is on the disk is sent, whatever becomes of the job; and if that comes again, it is not run
/// again.
fn restarted_while_a_result_waits(kind: Kind) {
    let (rig, mut queue) = (Rig::new(), Queue::durable(kind));
    rig.handler("ok", "echo 1", "");
    let job = rig.job("ok");
    rig.site.script(&job.path(), [Answer::Hold]);
    let worker = rig.work(&queue, &[]);
    let id = put(&mut queue.connect(), 10, job.body());
    rig.site.await_request(&job.path());
    queue.kill();
    worker.await_metric("jq_worker_leases_lost_total", 1.0);
    queue.revive();
    rig.site.go_on();
    queue.await_deleted(id);
    assert_eq!((rig.sent(&job), rig.runs(&job)), (1, vec![1]));
    eventually("nothing is owed", || worker.metric("jq_worker_spool") == 0.0);
    rig.finish(worker);
}

/// Nothing is owed for a job that the queue has lost, so the result can expire.
fn restarted_without_the_job_of_a_result_that_waits(kind: Kind) {
    let (rig, mut queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let (job, next) = (rig.job("ok"), rig.job("ok"));
    rig.site.script(&job.path(), [Answer::Hold]);
    let worker = rig.work(&queue, &[]);
    queue.put(job.body());
    rig.site.await_request(&job.path());
    queue.kill();
    worker.await_metric("jq_worker_leases_lost_total", 1.0);
    queue.revive();
    // It gets the number of the job that is lost, and is not taken for it.
    let id = queue.put(next.body());
    queue.await_deleted(id);
    assert_eq!((rig.sent(&next), rig.runs(&next)), (1, vec![1]));
    rig.site.go_on();
    eventually("nothing is owed", || worker.metric("jq_worker_spool") == 0.0);
    assert_eq!((rig.sent(&job), rig.runs(&job)), (1, vec![1]));
    rig.finish(worker);
}
