//! Who is told that a job is over, and how it knows that it was us.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::each_queue;
use crate::http::Message;
use crate::queue::{Kind, Queue};
use crate::rig::Rig;
use crate::site::Answer;
use crate::support::eventually;

each_queue!(
    success_and_failure_are_told_to_whom_they_concern,
    told_again_under_the_same_id,
    a_callback_outlives_its_worker,
    unsigned_callbacks_have_an_id_too,
);

const SECRET: [u8; 24] = *b"a secret of 24 bytes ...";

fn with_secret(rig: &Rig) {
    let secret = format!("whsec_{}\n", STANDARD.encode(SECRET));
    std::fs::write(rig.dir.join("secret"), secret).unwrap();
    rig.configure("[callbacks]\nsecret_files = ['secret']");
}

/// Checks the signature as a receiver does, and reads what is told.
fn verified(request: &Message) -> Value {
    assert_eq!(request.method(), "POST");
    let header = |name| request.header(name).unwrap_or_else(|| panic!("there is {name}"));
    let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET).unwrap();
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&request.body);
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(header("webhook-signature"), format!("v1,{signature}"));
    request.json()
}

fn uris(rig: &Rig) -> Value {
    json!({"successUri": rig.site.url("/success"), "failedUri": rig.site.url("/failed")})
}

fn unsigned_callbacks_have_an_id_too(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "echo 1", "");
    let job = rig.job("ok").with("callback", uris(&rig));
    rig.site.script("/success", [Answer::Body(500, Vec::new())]);
    let worker = rig.work(&queue, &[]);
    queue.put(job.body());
    eventually("it is told twice", || rig.site.requests("/success").len() == 2);
    let told = rig.site.requests("/success");
    let ids: Vec<_> = told.iter().map(|request| request.header("webhook-id")).collect();
    assert!(ids[0].is_some_and(|id| id.starts_with(&job.id.to_string())), "{ids:?}");
    assert_eq!(ids[0], ids[1]);
    assert!(told[0].header("webhook-timestamp").is_some());
    assert!(told[0].header("webhook-signature").is_none());
    rig.finish(worker);
}

fn success_and_failure_are_told_to_whom_they_concern(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    with_secret(&rig);
    rig.handler("ok", "echo 1", "").handler("fails", "exit 65", "");
    let worker = rig.work(&queue, &[]);
    for (handler, path, event) in
        [("ok", "/success", "job.successful"), ("fails", "/failed", "job.failed")]
    {
        let job = rig.job(handler).with("callback", uris(&rig));
        queue.put(job.body());
        let told = verified(&rig.site.await_request(path));
        assert_eq!(told["type"], event);
        assert_eq!(told["data"], rig.result(&job), "the whole result is in it");
        assert_eq!(told["timestamp"], told["data"]["timestamp"]);
    }
    worker.await_metric("jq_worker_spool", 0.0);
    assert_eq!(rig.site.count(), 4, "each once, and nobody else");
    queue.await_empty();
    rig.finish(worker);
}

fn told_again_under_the_same_id(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    with_secret(&rig);
    rig.handler("ok", "echo 1", "");
    rig.site.script("/success", [Answer::Body(500, Vec::new())]);
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok").with("callback", uris(&rig));
    let id = queue.put(job.body());
    // The job does not wait for it.
    queue.await_deleted(id);
    eventually("it is told again", || rig.site.requests("/success").len() == 2);
    let told = rig.site.requests("/success");
    assert_eq!(verified(&told[0]), verified(&told[1]));
    assert_eq!(told[0].header("webhook-id"), told[1].header("webhook-id"));
    worker.await_metric("jq_worker_spool", 0.0);
    worker.await_metric("jq_worker_callback_failures_total", 1.0);
    rig.finish(worker);
}

fn a_callback_outlives_its_worker(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    with_secret(&rig);
    rig.handler("ok", "echo 1", "");
    rig.site.script("/success", [Answer::Hold]);
    let mut worker = rig.work(&queue, &[]);
    let job = rig.job("ok").with("callback", uris(&rig));
    let id = queue.put(job.body());
    let first = rig.site.await_request("/success");
    queue.await_deleted(id);
    worker.kill();
    let worker = rig.work(&queue, &[]);
    eventually("it is told again", || rig.site.requests("/success").len() == 2);
    let second = rig.site.requests("/success").pop().unwrap();
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(verified(&first), verified(&second));
    worker.await_metric("jq_worker_spool", 0.0);
    assert_eq!(rig.runs(&job), [1]);
    // It may be sent again: that it was sent is not synced, nor even waited for.
    assert!(rig.sent(&job) >= 1);
    rig.finish(worker);
}
