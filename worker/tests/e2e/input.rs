//! Inputs that cannot be had, and places that a job must not lead to.

use serde_json::{Value, json};

use crate::each_queue;
use crate::queue::{Kind, Queue};
use crate::rig::Rig;
use crate::site::{Answer, Site};

each_queue!(
    inputs_that_cannot_be_had,
    an_input_that_comes_later,
    a_digest_that_fits,
    an_encoded_input_is_decoded,
    the_query_of_an_input_is_shown_only_if_asked_for,
    results_that_must_not_be_sent,
);

fn inputs_that_cannot_be_had(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let inside = Site::start();
    rig.configure("[http]\nmax_input = '100 KiB'");
    rig.handler("ok", "echo 1", "");
    rig.handler("merge", "echo 1", "input = 'merge'");
    let url = |path: &str, answer: Answer| {
        rig.site.script(path, [answer]);
        rig.site.url(path)
    };
    let body = |length: usize| Answer::Body(200, vec![b'x'; length]);
    let whole = url("/digest", body(5));
    let digest = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
    let status = |code: u16| Answer::Body(code, b"{}".to_vec());
    let cases: [(&str, &str, Value, &str); 11] = [
        ("a part", "ok", json!(url("/206", status(206))), "answered 206 Partial Content"),
        ("unchanged", "ok", json!(url("/304", Answer::Body(304, Vec::new()))), "answered 304"),
        ("missing", "ok", json!(url("/404", Answer::Body(404, Vec::new()))), "404"),
        ("digest", "ok", json!({"url": whole, "digest": digest}), "digest"),
        ("no digest", "ok", json!({"url": whole, "digest": "md5=:x:"}), "digest"),
        ("too big", "ok", json!(url("/big", body(100 * 1024 + 1))), "102400"),
        ("endless", "ok", json!(url("/endless", Answer::Endless)), "102400"),
        ("redirect", "ok", json!(url("/away", Answer::Redirect(inside.url("/in")))), "307"),
        ("not allowed", "ok", json!(inside.url("/in")), "not allowed"),
        ("metadata", "ok", json!("http://169.254.169.254/latest/meta-data/"), "not allowed"),
        ("not JSON", "merge", json!(url("/text", body(3))), "JSON"),
    ];
    let worker = rig.work(&queue, &[]);
    for (name, handler, input, message) in cases {
        let job = rig.job(handler).with("input", input).with("retry", 3);
        let id = queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!(result["status"], "failed", "{name}");
        assert_eq!(result["error"]["kind"], "input", "{name}");
        let said = result["error"]["message"].as_str().expect("it says why");
        assert!(said.contains(message), "{name}: {said}");
        assert!(result["input"]["url"].is_string(), "{name}");
        queue.await_state(id, "buried");
        assert!(rig.runs(&job).is_empty(), "{name}: it is not run");
    }
    assert_eq!(inside.count(), 0);
    rig.finish(worker);
}

fn an_input_that_comes_later(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.configure("retry_delay = 1");
    rig.handler("ok", "cat $JQ_INPUT_FILE", "");
    let answers = [(503, "busy"), (202, "{\"status\":\"running\"}"), (200, "[1]")];
    let answers = answers.map(|(status, body)| Answer::Body(status, body.into()));
    rig.site.script("/in", answers);
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok").with("input", rig.site.url("/in")).with("retry", 2);
    let id = queue.put(job.body());
    queue.await_deleted(id);
    let result = rig.result(&job);
    assert_eq!((&result["output"], &result["attempt"]), (&json!([1]), &json!(3)));
    rig.finish(worker);
}

fn a_digest_that_fits(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "wc -c < $JQ_INPUT_FILE", "");
    rig.site.script("/in", [Answer::Body(200, Vec::new())]);
    let digest = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok").with("input", json!({"url": rig.site.url("/in"), "digest": digest}));
    queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!((&result["output"], &result["input"]["digest"]), (&json!(0), &json!(digest)));
    queue.await_empty();
    rig.finish(worker);
}

fn an_encoded_input_is_decoded(kind: Kind) {
    const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xabV\xaaP\xb2\x8a6\xd41\xd21\x8e\xad\x05\0\xdf\xe0\xaaR\r\0\0\0";
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("ok", "cat $JQ_INPUT_FILE", "");
    rig.site.script("/in", [Answer::Encoded("gzip", GZIP)]);
    let worker = rig.work(&queue, &[]);
    let job = rig.job("ok").with("input", rig.site.url("/in"));
    queue.put(job.body());
    assert_eq!(rig.result(&job)["output"], json!({"x": [1, 2, 3]}));
    assert_eq!(rig.site.requests("/in")[0].header("accept-encoding"), Some("identity"));
    queue.await_empty();
    rig.finish(worker);
}

fn the_query_of_an_input_is_shown_only_if_asked_for(kind: Kind) {
    for is_shown in [false, true] {
        let (rig, queue) = (Rig::new(), Queue::start(kind));
        rig.configure(&format!("[http]\nshow_input_query = {is_shown}"));
        rig.handler("ok", "grep -q 'signature=secret'", "");
        rig.site.script("/in?signature=secret", [Answer::Body(200, Vec::new())]);
        let worker = rig.work(&queue, &[]);
        let url = rig.site.url("/in?signature=secret");
        let job = rig.job("ok").with("input", url.clone());
        queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!(result["status"], "successful", "the process is told the whole: {result}");
        let wanted = if is_shown { url } else { rig.site.url("/in") };
        assert_eq!(result["input"]["url"], wanted);
        assert_eq!(result.to_string().contains("secret"), is_shown);
        queue.await_empty();
        rig.finish(worker);
    }
}

fn results_that_must_not_be_sent(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let inside = Site::start();
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    for job in [
        rig.job("ok").with("result", inside.url("/r")),
        rig.job("ok").with("result", "http://169.254.169.254/"),
        rig.job("ok").with("callback", json!({"successUri": inside.url("/c")})),
        rig.job("ok").with("callback", json!({"failedUri": inside.url("/c")})),
    ] {
        let id = queue.put(job.body());
        queue.await_state(id, "buried");
        let result = worker.result(&job);
        assert_eq!(
            (&result["status"], &result["error"]["kind"]),
            (&json!("failed"), &json!("publish"))
        );
        assert!(rig.runs(&job).is_empty(), "it is not run for nothing");
    }
    assert_eq!(inside.count(), 0);
    worker.await_metric("jq_worker_spool", 0.0);
    rig.finish(worker);
}
