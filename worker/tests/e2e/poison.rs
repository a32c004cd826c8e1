//! A job that kills its worker comes to an end, and the others are not blamed for it.

use nix::sys::signal::Signal;

use crate::each_queue;
use crate::queue::{Kind, Queue};
use crate::rig::{Job, Rig, Worker};
use crate::support::eventually;

each_queue!(
    three_workers_and_one_poison,
    a_single_worker_dies_as_often_as_it_may,
    nobody_is_blamed_when_workers_are_stopped,
    nobody_is_blamed_for_lost_connections,
    a_kicked_job_has_its_retries_and_crashes_anew,
    a_worker_says_that_a_job_runs_alone,
);

/// The keeper is the parent of a process, and the worker is the keeper's.
const POISON: &str = r#"[ -e "$HOME/antidote" ] && exit 0
    kill -KILL $(cut -d' ' -f4 /proc/$PPID/stat); sleep 60"#;

const WAIT: &str = r#"while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo 1"#;

/// A worker with a state directory of its own, which somebody starts again whenever it dies.
struct Restarted<'a> {
    rig: &'a Rig,
    queue: &'a Queue,
    flags: Vec<&'a str>,
    worker: Worker,
    crashes: usize,
}

impl<'a> Restarted<'a> {
    fn start(rig: &'a Rig, queue: &'a Queue, flags: &[&'a str]) -> Self {
        let flags = flags.to_vec();
        Self { rig, queue, worker: rig.work(queue, &flags), flags, crashes: 0 }
    }

    fn look_after(&mut self) {
        if self.worker.has_ended() {
            self.crashes += 1;
            self.worker = self.rig.work(self.queue, &self.flags);
        }
    }
}

fn is_buried(queue: &Queue, id: u64) -> bool {
    queue.job(id, "state").as_deref() == Some("buried")
}

fn assert_crashed(rig: &Rig, queue: &Queue, job: &Job, id: u64) {
    let result = rig.result(job);
    assert_eq!(
        (&result["status"], &result["error"]["kind"]),
        (&"failed".into(), &"crashed".into())
    );
    let message = result["error"]["message"].as_str().expect("it is a text");
    assert!(message.contains("died"), "{message}");
    assert_eq!(queue.job(id, "buries").as_deref(), Some("1"));
}

fn three_workers_and_one_poison(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("poison", POISON, "").handler("good", "sleep 0.2; echo 1", "");
    let poison = rig
        .job("poison")
        .with("callback", serde_json::json!({"failedUri": rig.site.url("/failed")}));
    let good: Vec<_> = (0..24).map(|_| rig.job("good")).collect();
    let put = |jobs: &[Job]| jobs.iter().map(|job| queue.put(job.body())).collect::<Vec<_>>();
    let mut ids = put(&good[..12]);
    let id = queue.put(poison.body());
    ids.extend(put(&good[12..]));
    let mut workers: Vec<_> = ["one", "two", "three"]
        .map(|name| Restarted::start(&rig, &queue, &["--concurrency", "4", "--results", name]))
        .into();
    eventually("the poison is buried, and the others are done", || {
        workers.iter_mut().for_each(Restarted::look_after);
        is_buried(&queue, id) && ids.iter().all(|id| queue.job(*id, "state").is_none())
    });
    // One may have died just before another buried it.
    workers.iter_mut().for_each(Restarted::look_after);
    assert_crashed(&rig, &queue, &poison, id);
    for job in &good {
        assert_eq!(rig.result(job)["status"], "successful");
    }
    assert_eq!(rig.sent(&poison), 1);
    eventually("it is announced", || rig.site.requests("/failed").len() == 1);
    let crashes: usize = workers.iter().map(|worker| worker.crashes).sum();
    // Each of them may see for itself once that it dies of this job alone. To beanstalkd a job that another
    // worker gave back looks like one whose worker vanished.
    let least = if kind == Kind::Beanstalkd { 2 } else { 3 };
    assert!((least..=6).contains(&crashes), "{crashes} crashes");
    let workers = workers.into_iter().map(|it| it.worker);
    workers.for_each(|mut worker| worker.stop());
    rig.assert_no_process(&[]);
}

fn a_single_worker_dies_as_often_as_it_may(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("max_crashes = 2").handler("poison", POISON, "");
    let job = rig.job("poison");
    let id = queue.put(job.body());
    let mut worker = Restarted::start(&rig, &queue, &["--concurrency", "1"]);
    eventually("it is buried", || {
        worker.look_after();
        is_buried(&queue, id)
    });
    assert_crashed(&rig, &queue, &job, id);
    assert_eq!((worker.crashes, rig.runs(&job)), (2, vec![1, 1]), "a crash is not an attempt");
    assert_eq!(worker.worker.result(&job)["error"]["kind"], "crashed");
    rig.finish(worker.worker);
}

fn nobody_is_blamed_when_workers_are_stopped(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("max_crashes = 1\nstop_timeout = 0").handler("wait", WAIT, "");
    let jobs = [rig.job("wait"), rig.job("wait")];
    let ids = jobs.each_ref().map(|job| queue.put(job.body()));
    for runs in 1..=3 {
        let mut worker = rig.work(&queue, &["--concurrency", "1"]);
        eventually("one runs", || {
            jobs.iter().map(|job| rig.runs(job).len()).sum::<usize>() == runs
        });
        worker.stop();
        rig.assert_no_process(&[]);
    }
    if kind == Kind::Jq {
        for id in ids {
            assert_eq!(queue.job(id, "disconnects").as_deref(), Some("0"));
        }
    }
    std::fs::write(rig.dir.join("go"), "").unwrap();
    let worker = rig.work(&queue, &["--concurrency", "1"]);
    for job in &jobs {
        assert_eq!(rig.result(job)["status"], "successful");
        assert!(rig.runs(job).iter().all(|attempt| *attempt == 1), "nor is it an attempt");
    }
    rig.finish(worker);
}

fn nobody_is_blamed_for_lost_connections(kind: Kind) {
    let (rig, mut queue) = (Rig::new(), Queue::durable(kind));
    rig.configure("max_crashes = 1").handler("wait", WAIT, "");
    let jobs = [rig.job("wait"), rig.job("wait")];
    for job in &jobs {
        queue.put(job.body());
    }
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    for runs in 1..=4 {
        // Both at a time: none of them is suspected.
        jobs.iter().for_each(|job| rig.await_runs(job, runs));
        if runs < 4 {
            queue.kill();
            rig.await_no_process(&[&worker]);
            queue.revive();
        }
    }
    std::fs::write(rig.dir.join("go"), "").unwrap();
    for job in &jobs {
        assert_eq!(rig.result(job)["status"], "successful");
    }
    rig.finish(worker);
}

fn a_kicked_job_has_its_retries_and_crashes_anew(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("max_crashes = 1\nretry_delay = 0");
    rig.handler("poison", POISON, "").handler("fails", "exit 1", "");
    let (poison, fails) = (rig.job("poison"), rig.job("fails").with("retry", 2));
    let id = queue.put(poison.body());
    let mut worker = Restarted::start(&rig, &queue, &["--concurrency", "1"]);
    eventually("it is buried", || {
        worker.look_after();
        is_buried(&queue, id)
    });
    assert_crashed(&rig, &queue, &poison, id);
    std::fs::write(rig.dir.join("antidote"), "").unwrap();
    queue.connect().ask(format!("kick-job {id}"));
    queue.await_deleted(id);
    eventually("it succeeded", || {
        rig.site.requests(&poison.path()).last().unwrap().json()["status"] == "successful"
    });

    let id = queue.put(fails.body());
    for life in 1..=3 {
        queue.await_state(id, "buried");
        assert_eq!(rig.runs(&fails), [1, 2, 3].repeat(life));
        eventually("its result is sent", || rig.sent(&fails) == life);
        worker.worker.await_metric("jq_worker_spool", 0.0);
        if life < 3 {
            queue.connect().ask(format!("kick-job {id}"));
            rig.await_runs(&fails, 3 * life + 1);
        }
    }
    worker.worker.signal(Signal::SIGTERM);
    worker.worker.await_exit();
    rig.assert_no_process(&[]);
}

fn a_worker_says_that_a_job_runs_alone(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("wait", WAIT, "").handler("good", "echo 1", "");
    let waits = rig.job("wait");
    queue.put(waits.body());
    let mut worker = rig.work(&queue, &["--concurrency", "4"]);
    rig.await_runs(&waits, 1);
    assert_eq!(worker.get("/readyz").status(), 200);
    worker.kill();
    let worker = rig.work(&queue, &["--concurrency", "4"]);
    rig.await_runs(&waits, 2);
    let good = rig.job("good");
    let id = queue.put(good.body());
    let why = "a job that ran when a worker died is run while nothing else runs";
    let answer = worker.get("/readyz");
    assert_eq!(answer.status(), 503);
    assert!(String::from_utf8_lossy(&answer.body).contains(why), "{answer:?}");
    assert_eq!(worker.status()["reasons"], serde_json::json!([why]));
    assert_eq!(worker.status()["state"], "waiting");
    assert!(String::from_utf8_lossy(&worker.get("/").body).contains(why));
    assert_eq!(worker.metric("jq_worker_ready"), 0.0);
    assert_eq!(worker.metric("jq_worker_reasons"), 1.0);
    worker.await_log(&format!("taking no jobs: {why}"));
    assert_eq!(queue.job(id, "state").as_deref(), Some("ready"), "it is not taken");
    std::fs::write(rig.dir.join("go"), "").unwrap();
    assert_eq!(rig.result(&good)["status"], "successful");
    assert_eq!(rig.result(&waits)["status"], "successful");
    eventually("it takes jobs", || worker.get("/readyz").status() == 200);
    worker.await_log("over: other jobs are taken again");
    rig.finish(worker);
}
