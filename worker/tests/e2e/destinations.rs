//! Hosts that take no results: they hold up no other, and cost no more than they must.

use serde_json::json;

use crate::each_queue;
use crate::many::patiently;
use crate::queue::{Kind, Queue, TUBE};
use crate::rig::{Job, Rig, Worker};
use crate::site::{Answer, Site};
use crate::support::eventually;

each_queue!(
    a_closed_host_holds_nobody_up,
    a_hanging_host_holds_nobody_up,
    a_host_that_knows_no_such_place_holds_nobody_up,
    a_host_that_fails_holds_nobody_up,
    ten_thousand_jobs_for_a_dead_host_hold_nobody_up,
    an_answer_that_will_not_change_is_given_up_soon,
    an_answer_that_may_change_is_not,
    a_dead_host_for_callbacks_silences_no_other,
    a_worker_in_debt_says_to_whom,
    what_was_given_up_is_dropped_when_its_job_is_gone,
    what_was_given_up_is_kept_while_its_job_is_buried,
);

fn to(site: &Site, job: Job) -> Job {
    let url = site.url(&job.path());
    job.with("result", url)
}

fn sent(site: &Site, job: &Job) -> usize {
    site.requests(&job.path()).len()
}

fn reasons(worker: &Worker) -> String {
    worker.status()["reasons"].to_string()
}

/// Plays a host that takes nothing, with many jobs for it before and among those for a good one. The good
/// ones are all done meanwhile. When it takes results, the others are.
fn play(kind: Kind, mut bad: Site, is_in_trouble: bool, cure: impl FnOnce(&mut Site)) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("max_unpublished = 5");
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &["--concurrency", "2", "--allow-url", &bad.url("/")]);
    let dead: Vec<_> = (0..150).map(|_| to(&bad, rig.job("ok"))).collect();
    let good: Vec<_> = (0..60).map(|_| rig.job("ok")).collect();
    let (first, among) = dead.split_at(90);
    let mut conn = queue.connect();
    let mut put = |job: &Job| crate::queue::put(&mut conn, crate::queue::TTR, job.body());
    first.iter().for_each(|job| _ = put(job));
    for (one, other) in good.iter().zip(among) {
        put(one);
        put(other);
    }
    eventually("the good ones are done", || good.iter().all(|job| rig.sent(job) == 1));
    assert_eq!(worker.get("/readyz").status(), 200, "{}", reasons(&worker));
    let place = bad.url("");
    if is_in_trouble {
        eventually("it says which host is dead", || reasons(&worker).contains(&place));
        worker.await_log(&format!("taking no jobs whose results go to {place}"));
        worker.await_metric("jq_worker_reasons", 1.0);
    }
    let run = || dead.iter().filter(|job| !rig.runs(job).is_empty()).count();
    // At most those that may wait, and the few that were given up before it was known.
    assert!(run() <= 20, "{} were run for nothing", run());
    cure(&mut bad);
    let is_buried = || queue.count(TUBE, "current-jobs-buried") as usize;
    queue.await_empty();
    assert!(is_buried() <= 20, "{} are buried", is_buried());
    for job in good.iter().chain(&dead) {
        assert_eq!(rig.runs(job), [1]);
    }
    worker.await_metric("jq_worker_spool", is_buried() as f64);
    assert_eq!(reasons(&worker), "[]");
    rig.finish(worker);
}

fn a_closed_host_holds_nobody_up(kind: Kind) {
    play(kind, Site::down(), true, Site::go_up);
}

fn a_hanging_host_holds_nobody_up(kind: Kind) {
    let bad = Site::start();
    bad.always(Answer::Hold);
    // It may answer yet, so it is in no trouble; but no more than a few wait for it.
    play(kind, bad, false, |bad| bad.go_on());
}

fn a_host_that_knows_no_such_place_holds_nobody_up(kind: Kind) {
    let bad = Site::start();
    bad.always(Answer::Body(404, Vec::new()));
    play(kind, bad, true, |bad| bad.always(Answer::Body(204, Vec::new())));
}

fn a_host_that_fails_holds_nobody_up(kind: Kind) {
    let bad = Site::start();
    bad.always(Answer::Body(503, Vec::new()));
    play(kind, bad, true, |bad| bad.always(Answer::Body(204, Vec::new())));
}

/// They are in front of the others, and cost the queue little: it is not asked for all of them again for each
/// of the others.
fn ten_thousand_jobs_for_a_dead_host_hold_nobody_up(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("max_unpublished = 5");
    rig.handler("ok", "echo 1", "");
    let bad = Site::down();
    let mut conn = queue.connect();
    let mut put = |job: &Job| crate::queue::put(&mut conn, crate::queue::TTR, job.body());
    let dead: Vec<_> = (0..10_000).map(|_| put(&to(&bad, rig.job("ok")))).collect();
    let good: Vec<_> = (0..200).map(|_| rig.job("ok")).collect();
    good.iter().for_each(|job| _ = put(job));
    let worker = rig.work(&queue, &["--concurrency", "4", "--allow-url", &bad.url("/")]);
    patiently("the good ones are done", 10_000, || rig.site.count() == good.len());
    for job in &good {
        assert_eq!((&rig.result(job)["attempt"], rig.runs(job)), (&json!(1), vec![1]));
    }
    assert_eq!(worker.get("/readyz").status(), 200, "{}", reasons(&worker));
    assert!(queue.count(TUBE, "cmd-delete") < 210, "hardly any was run for nothing");
    let reserves = |id: &u64| queue.job(*id, "reserves").unwrap().parse::<u64>().unwrap();
    let most = dead.iter().step_by(500).map(reserves).max();
    assert!(most < Some(100), "one was looked at {most:?} times");
    let mut worker = worker;
    worker.kill();
}

fn an_answer_that_will_not_change_is_given_up_soon(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    for answer in [Answer::Body(404, Vec::new()), Answer::Redirect("/trap".into())] {
        rig.site.always(answer);
        let job = rig.job("ok");
        let id = queue.put(job.body());
        queue.await_state(id, "buried");
        assert_eq!((rig.sent(&job), rig.runs(&job)), (4, vec![1]));
        assert_eq!(worker.result(&job)["status"], "successful", "it is served here");
        let failures = worker.status()["failures"].clone();
        assert_eq!(failures[0]["kind"], "publish", "{failures}");
        assert_eq!(failures[0]["id"], json!(job.id), "{failures}");
        rig.site.always(Answer::Body(204, Vec::new()));
        queue.connect().ask(format!("kick-job {id}"));
        queue.await_deleted(id);
        assert_eq!((rig.sent(&job), rig.runs(&job)), (5, vec![1]));
    }
    worker.await_metric("jq_worker_spool", 0.0);
    rig.finish(worker);
}

fn an_answer_that_may_change_is_not(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok");
    let answers = [408, 425, 429, 500, 503].map(|status| Answer::Body(status, Vec::new()));
    rig.site.script(&job.path(), answers);
    let id = queue.put(job.body());
    queue.await_deleted(id);
    assert_eq!((rig.sent(&job), rig.runs(&job)), (6, vec![1]));
    rig.finish(worker);
}

fn a_dead_host_for_callbacks_silences_no_other(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("max_unpublished = 2");
    rig.handler("ok", "echo 1", "");
    let mut bad = Site::down();
    let worker = rig.work(&queue, &["--concurrency", "2", "--allow-url", &bad.url("/")]);
    let told = |site: &Site| {
        let job = rig.job("ok");
        let url = site.url(&told_at(&job));
        job.with("callback", json!({"successUri": url}))
    };
    let jobs: Vec<_> = (0..20).map(|_| (told(&bad), told(&rig.site))).collect();
    for (one, other) in &jobs {
        queue.put(one.body());
        queue.put(other.body());
    }
    // No job waits for its callback.
    queue.await_empty();
    for (_, job) in &jobs {
        rig.site.await_request(&told_at(job));
    }
    assert_eq!(bad.count(), 0);
    bad.go_up();
    worker.await_metric("jq_worker_spool", 0.0);
    let count = jobs.iter().filter(|(job, _)| !bad.requests(&told_at(job)).is_empty()).count();
    assert!((1..=2).contains(&count), "{count} callbacks waited for the dead host");
    rig.finish(worker);
}

fn told_at(job: &Job) -> String {
    format!("/told/{}", job.id)
}

fn a_worker_in_debt_says_to_whom(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("max_unpublished = 1");
    rig.handler("ok", "echo 1", "");
    let mut sites: Vec<_> = (0..12).map(|_| Site::down()).collect();
    let urls: Vec<_> = sites.iter().map(|site| site.url("/")).collect();
    let mut flags = vec!["--concurrency", "1"];
    urls.iter().for_each(|url| flags.extend(["--allow-url", url]));
    let worker = rig.work(&queue, &flags);
    let jobs: Vec<_> = sites.iter().map(|site| to(site, rig.job("ok"))).collect();
    for job in &jobs {
        queue.put(job.body());
    }
    eventually("it takes no jobs", || {
        let answer = worker.get("/readyz");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let named = sites.iter().filter(|site| text.contains(&format!("1 to {}", site.url(""))));
        answer.status() == 503
            && text.contains("too many results wait to be sent")
            && (8..=9).contains(&named.count())
    });
    assert_eq!(worker.status()["state"], "waiting");
    worker.await_log("reason=\"debt\"");
    // One more may have begun when the last result came. Which of them wait is not said: a job that was
    // given back for a moment comes behind the others.
    let waiting = jobs.iter().filter(|job| rig.runs(job).is_empty()).count();
    assert!((3..=4).contains(&waiting), "{waiting} jobs wait");
    sites.iter_mut().for_each(Site::go_up);
    queue.await_empty();
    for (site, job) in sites.iter().zip(&jobs) {
        assert_eq!((sent(site, job), rig.runs(job)), (1, vec![1]));
    }
    eventually("it is ready", || worker.get("/readyz").status() == 200);
    rig.finish(worker);
}

/// A job whose result was given up. The worker has stopped.
fn given_up(rig: &Rig, queue: &Queue) -> (Job, u64) {
    rig.configure("publish_timeout = 0");
    rig.handler("ok", "echo 1", "");
    let mut worker = rig.work(queue, &[]);
    let job = rig.job("ok");
    rig.site.script(&job.path(), [Answer::Body(503, Vec::new())]);
    let id = queue.put(job.body());
    queue.await_state(id, "buried");
    worker.await_metric("jq_worker_spool", 1.0);
    worker.stop();
    (job, id)
}

fn what_was_given_up_is_dropped_when_its_job_is_gone(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let (job, id) = given_up(&rig, &queue);
    queue.connect().ask(format!("delete {id}"));
    let worker = rig.work(&queue, &[]);
    worker.await_metric("jq_worker_spool", 0.0);
    assert_eq!((rig.sent(&job), rig.runs(&job)), (1, vec![1]));
    assert_eq!(worker.result(&job)["status"], "successful", "it is served still");
    rig.finish(worker);
}

fn what_was_given_up_is_kept_while_its_job_is_buried(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let (job, id) = given_up(&rig, &queue);
    let worker = rig.work(&queue, &[]);
    // Another job shows that it has begun.
    let other = rig.job("ok");
    let next = queue.put(other.body());
    queue.await_deleted(next);
    worker.await_metric("jq_worker_spool", 1.0);
    assert_eq!(queue.job(id, "state").as_deref(), Some("buried"));
    assert_eq!(rig.sent(&job), 1);
    queue.connect().ask(format!("kick-job {id}"));
    queue.await_deleted(id);
    worker.await_metric("jq_worker_spool", 0.0);
    assert_eq!((rig.sent(&job), rig.runs(&job)), (2, vec![1]));
    rig.finish(worker);
}
