//! Jobs that are none, and jobs that nobody wants any more.

use serde_json::json;

use crate::each_queue;
use crate::queue::{Kind, Queue};
use crate::rig::Rig;

each_queue!(
    bodies_that_are_no_jobs,
    an_unknown_type_is_told,
    hostile_jobs,
    nobody_wants_it_any_more,
);

fn bodies_that_are_no_jobs(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let bodies: [&[u8]; 8] =
        [b"", b"hello", b"\xff\xfe", b"[]", b"[1,2,3]", b"{}", b"{\"id\":\"x\"", b"null"];
    for (count, body) in (1..).zip(bodies) {
        let id = queue.put(body);
        queue.await_state(id, "buried");
        worker.await_metric("jq_worker_refused_total", f64::from(count));
    }
    assert_eq!(rig.site.count(), 0);
    let job = rig.job("ok");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["status"], "successful", "it goes on");
    queue.await_empty();
    rig.finish(worker);
}

fn an_unknown_type_is_told(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let job = rig.job("unheard-of");
    let id = queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!((&result["status"], &result["error"]["kind"]), (&json!("failed"), &json!("input")));
    assert_eq!(result["timestamp"], result["finished"]);
    assert!(result["error"]["message"].as_str().is_some_and(|it| it.contains("unheard-of")));
    queue.await_state(id, "buried");
    worker.await_metric("jq_worker_refused_total", 1.0);
    worker.await_metric("jq_worker_spool", 0.0);
    rig.finish(worker);
}

fn hostile_jobs(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let nested =
        rig.job("ok").with("args", 0).body().replace("\"args\":0", &format!("\"args\":{deep}"));
    let refused = [
        rig.job("../../../bin/sh").body(),
        rig.job("ok/../ok").body(),
        rig.job("-rf").body(),
        rig.job("ok").with("id", "../../../../etc/passwd").body(),
        rig.job("ok").with("id", "/etc/passwd").body(),
        rig.job("ok").with("result", "file:///etc/passwd").body(),
        rig.job("ok").with("input", "file:///etc/passwd").body(),
        rig.job("ok").with("retry", 1_000_000).body(),
        rig.job("ok").with("timeout", 0).body(),
        nested,
        deep,
    ];
    for body in refused {
        let id = queue.put(&body);
        queue.await_state(id, "buried");
    }
    assert!(!rig.dir.join("runs").exists(), "nothing was run");
    rig.finish(worker);
}

fn nobody_wants_it_any_more(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let late = rig.job("ok").with("expires_at", "2020-01-01T00:00:00Z");
    let early = rig.job("ok").with("expires_at", "2999-01-01T00:00:00Z");
    let ids = [queue.put(late.body()), queue.put(early.body())];
    assert_eq!(rig.result(&late)["status"], "dismissed");
    assert_eq!(rig.result(&early)["status"], "successful");
    for id in ids {
        queue.await_deleted(id);
    }
    assert_eq!((rig.runs(&late).len(), rig.runs(&early).len()), (0, 1));
    rig.finish(worker);
}
