//! Websites that do not answer as they should.

use crate::ending::{await_spool, begin, end, fails, failure, within_memory};
use crate::site::{Answer, Site};
use crate::trap::{Harm, Trap};

/// What the worker may take more for one exchange, in bytes: the limit of an input, and buffers.
const SOME: u64 = 32 << 20;

#[test]
fn an_input_that_never_ends() {
    let (rig, queue) = begin();
    rig.configure("retry_delay = 1\n[http]\ntimeout = 2\nmax_input = '1 MiB'");
    rig.handler("good", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    rig.site.script("/endless", [Answer::Endless]);
    let job = rig.job("good").with("input", rig.site.url("/endless"));
    let message = within_memory(&worker, SOME, || fails(&rig, &queue, &job, "input"));
    assert!(message.contains("1048576"), "{message}");
    assert!(rig.runs(&job).is_empty(), "it is not run");
    end(&rig, &queue, worker, 1);
}

#[test]
fn an_input_that_does_not_come() {
    let (rig, queue) = begin();
    rig.configure("concurrency = 8\n[http]\ntimeout = 1");
    rig.handler("good", "echo 1", "");
    let harms =
        [Harm::Silence, Harm::Close, Harm::Headers, Harm::Trickle, Harm::Short, Harm::Noise];
    let traps = harms.map(|harm| (harm, Trap::set(harm)));
    let mut flags = Vec::new();
    let places = traps.each_ref().map(|(_, trap)| trap.url("/"));
    for place in &places {
        flags.extend(["--allow-url", place]);
    }
    let worker = rig.work(&queue, &flags);
    let jobs = places.each_ref().map(|place| rig.job("good").with("input", place.as_str()));
    let ids = jobs.each_ref().map(|job| queue.put(job.body()));
    within_memory(&worker, SOME, || {
        for ((job, id), (harm, _)) in jobs.iter().zip(ids).zip(&traps) {
            failure(&rig.result(job), "input");
            queue.await_state(id, "buried");
            assert!(rig.runs(job).is_empty(), "{harm:?}: it is not run");
        }
    });
    end(&rig, &queue, worker, ids.len() as u64);
}

#[test]
fn a_result_that_is_not_taken() {
    let (rig, queue) = begin();
    rig.configure("concurrency = 1\npublish_timeout = 2\n[http]\ntimeout = 1");
    rig.handler("good", "echo 1", "");
    let traps = [Harm::Silence, Harm::Close, Harm::Headers, Harm::Noise].map(Trap::set);
    let places = traps.each_ref().map(|trap| trap.url("/"));
    let mut flags = Vec::new();
    for place in &places {
        flags.extend(["--allow-url", place]);
    }
    let worker = rig.work(&queue, &flags);
    let jobs = places.each_ref().map(|place| rig.job("good").with("result", place.as_str()));
    let ids = jobs.each_ref().map(|job| queue.put(job.body()));
    // The room is the next one's, whoever waits for the result to be taken.
    let next = rig.job("good");
    queue.put(next.body());
    assert_eq!(rig.result(&next)["status"], "successful");
    for (job, id) in jobs.iter().zip(ids) {
        queue.await_state(id, "buried");
        assert_eq!(worker.result(job)["status"], "successful", "it is served all the same");
        assert_eq!(rig.runs(job), [1], "it was run once");
    }
    await_spool(&worker, ids.len() as f64);
    end(&rig, &queue, worker, ids.len() as u64);
}

#[test]
fn a_refusal_that_is_not_taken_takes_no_room() {
    let (rig, queue) = begin();
    rig.configure("concurrency = 1");
    rig.handler("good", "echo 1", "");
    let nobody = Site::down();
    let worker = rig.work(&queue, &["--allow-url", &nobody.url("/")]);
    let unknown = rig.job("unheard-of").with("result", nobody.url("/1"));
    let malformed = rig.job("good").with("timeout", -1).with("result", nobody.url("/2"));
    for job in [unknown, malformed] {
        let id = queue.put(job.body());
        queue.await_state(id, "reserved");
        assert_eq!(worker.result(&job)["status"], "failed");
        let next = rig.job("good");
        queue.put(next.body());
        assert_eq!(rig.result(&next)["status"], "successful", "there is room for the next");
    }
    rig.finish(worker);
}
