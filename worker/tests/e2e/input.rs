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
    several_inputs,
    several_inputs_that_cannot_be_had,
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

fn several_inputs(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let show = r#"umask 077; cd "$JQ_INPUTS_DIR"; [ "$PWD" -ef "$TMPDIR/inputs" ] || exit 65
        printf '"%s|%s|%s"' "$(cat map)" "$(cat "table 1.csv")" "$(cat "$JQ_INPUT_FILE")""#;
    rig.handler("shows", show, "");
    rig.handler("none", r#"[ -z "$JQ_INPUTS_DIR" ] && echo 1"#, "");
    rig.handler("merges", r#"cat > in; printf '"%s"' "$(cat inputs/map)""#, "input = 'merge'");
    let worker = rig.work(&queue, &[]);
    let url = |path: &str, text: &str| {
        rig.site.script(path, [Answer::Body(200, text.into())]);
        rig.site.url(path)
    };
    let digest = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
    let inputs = json!({"map": url("/map?sign=secret", "one"),
        "table 1.csv": {"url": url("/table", "abc"), "digest": digest}});
    let job = rig.job("shows").with("inputs", inputs).with("input", url("/in", "two"));
    queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!(result["output"], "one|abc|two", "{result}");
    assert_eq!(result["inputs"]["map"]["url"], json!(rig.site.url("/map")));
    assert_eq!(result["inputs"]["table 1.csv"]["digest"], digest);
    assert!(!result.to_string().contains("secret"));
    let job = rig.job("none");
    queue.put(job.body());
    assert_eq!(rig.result(&job)["output"], 1);
    let inputs = json!({"map": url("/map", "three")});
    let job = rig.job("merges").with("inputs", inputs).with("input", url("/in", "{}"));
    queue.put(job.body());
    assert_eq!(rig.result(&job)["output"], "three");
    rig.finish(worker);
}

fn several_inputs_that_cannot_be_had(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let elsewhere = Site::start();
    rig.configure("[http]\nmax_input = 1000");
    rig.handler("ok", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let url = |path: &str, answer: Answer| {
        rig.site.script(path, [answer]);
        rig.site.url(path)
    };
    let body = |length: usize| Answer::Body(200, vec![b'x'; length]);
    let digest = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
    for (inputs, why) in [
        (json!({"a": url("/404", Answer::Body(404, Vec::new()))}), "cannot fetch the input \"a\""),
        (json!({"a": {"url": url("/d", body(5)), "digest": digest}}), "and should be sha-256"),
        (
            json!({"a": {"url": url("/d", body(5)), "digest": "md5"}}),
            "\"digest\" of the input \"a\"",
        ),
        (json!({"a": elsewhere.url("/x")}), "not allowed"),
        (json!({"a": url("/big", body(1001))}), "longer than 1000 bytes"),
        (
            json!({"a": url("/1", body(600)), "b": url("/2", body(600))}),
            "the inputs are longer than 1000 bytes together",
        ),
    ] {
        let job = rig.job("ok").with("inputs", inputs).with("retry", 3);
        let id = queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!(
            (&result["status"], &result["error"]["kind"]),
            (&json!("failed"), &json!("input"))
        );
        let said = result["error"]["message"].as_str().expect("it says why");
        assert!(said.contains(why), "{said}");
        assert!(result["inputs"]["a"]["url"].is_string());
        queue.await_state(id, "buried");
        assert!(rig.runs(&job).is_empty());
    }
    // What may come later is waited for.
    rig.site.script("/late", [Answer::Body(202, Vec::new()), body(3)]);
    let job = rig.job("ok").with("inputs", json!({"a": rig.site.url("/late")})).with("retry", 3);
    queue.put(job.body());
    assert_eq!(rig.result(&job)["status"], "successful");
    assert_eq!(elsewhere.count(), 0);
    rig.finish(worker);
}
