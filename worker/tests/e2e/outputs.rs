//! What becomes of what a process writes: an output, a note, or a failure that says where it breaks.

use serde_json::{Value, json};

use crate::each_queue;
use crate::queue::{Kind, Queue};
use crate::rig::Rig;

each_queue!(
    output_that_cannot_be_used_is_a_failure,
    text_is_no_output_and_says_so,
    where_the_output_is,
    lines_of_persistent_handlers_that_cannot_be_used,
);

fn output_that_cannot_be_used_is_a_failure(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let deep = format!("printf '%s' '{}{}'", "[".repeat(101), "]".repeat(101));
    let cases = [
        ("nan", "echo '{\"a\": NaN}'", "NaN at line 1 column 7"),
        ("infinity", "echo '[1,'; echo ' -Infinity]'", "Infinity at line 2 column 3"),
        ("mark", "printf '\\357\\273\\277 [NaN]'", "null in its place"),
        ("deep", &deep, "nested 101 deep"),
        ("cut", "echo '{\"a\": [1, 2'", "EOF while parsing"),
        ("twice", "echo '{\"a\":1}'; echo '{\"a\":2}'", "trailing characters at line 2"),
        ("quotes", "printf '%s' \"{\\\"a\\\": \"; printf '\\047b\\047}'", "line 1 column 7"),
        ("stray", "echo loading; echo '{\"a\":1}'", "JSON begins at line 2"),
        ("long", "head -c 3000 /dev/zero | tr '\\000' 1", "3000 bytes: 2000 is the maximum"),
        ("text", "seq 1000", "3893 bytes: 2000 is the maximum"),
        (
            "file",
            "echo '{\"a\": NaN}' > $JQ_RESULT_FILE",
            "the result file: not JSON: NaN at line 1",
        ),
    ];
    for (name, script, _) in &cases {
        rig.handler(name, script, "output = 2000");
    }
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    for (name, _, why) in &cases {
        // It would fail again in the same way, so it is not tried again.
        let job = rig.job(name).with("retry", 5);
        let id = queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!(result["status"], "failed", "{name}");
        assert_eq!(result["error"]["kind"], "executor", "{name}");
        let message = result["error"]["message"].as_str().expect("it is text");
        assert!(message.contains(why), "{name}: {message}");
        assert_eq!((&result["output"], &result["exit_code"]), (&Value::Null, &json!(0)), "{name}");
        queue.await_state(id, "buried");
        assert_eq!(rig.runs(&job), [1], "{name}");
    }
    rig.finish(worker);
}

fn text_is_no_output_and_says_so(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    rig.handler("text", "echo '3 files'; echo '[INFO] done'", "");
    rig.handler("silent", "", "");
    rig.handler("json", "printf '\\357\\273\\277 {\"a\":1}\\n\\n'", "");
    let worker = rig.work(&queue, &[]);
    for (name, output, has_note) in [
        ("text", Value::Null, true),
        ("silent", Value::Null, false),
        ("json", json!({"a":1}), false),
    ] {
        let job = rig.job(name);
        let id = queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!((&result["status"], &result["output"]), (&json!("successful"), &output));
        let note = result["output_note"].as_str();
        assert_eq!(note.is_some_and(|it| it.contains("not JSON")), has_note, "{name}: {note:?}");
        assert_eq!(result.get("output_note").is_some(), has_note, "{name}");
        queue.await_deleted(id);
    }
    rig.finish(worker);
}

fn where_the_output_is(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let both = "echo '{\"from\":\"file\"}' > $JQ_RESULT_FILE; echo '{\"from\":\"stdout\"}'";
    // More than is kept of a whole output, and than the tail of one.
    let logs =
        "seq 3000; printf '{\"from\":\"'; head -c 9000 /dev/zero | tr '\\000' x; echo '\"}'; echo";
    let long = format!("{{\"from\":\"{}\"}}", "x".repeat(9000));
    let long: Value = serde_json::from_str(&long).expect("it is JSON");
    let cases = [
        ("auto", both, "auto", Ok(json!({"from":"file"}))),
        ("file", both, "file", Ok(json!({"from":"file"}))),
        ("no-file", "echo '[1]'", "file", Err("did not write it")),
        ("stdout", both, "stdout", Ok(json!({"from":"stdout"}))),
        ("no-stdout", "", "stdout", Err("nothing on it")),
        ("not-stdout", "echo done", "stdout", Err("standard output is not JSON")),
        ("line", logs, "last-line", Ok(long)),
        ("one-line", "printf 7", "last-line", Ok(json!(7))),
        ("no-line", "echo", "last-line", Err("no line on it")),
        ("not-line", "echo '[1]'; echo done", "last-line", Err("the last line")),
        ("long-line", "echo x; seq -s , 4000", "last-line", Err("more than 10000 bytes")),
        ("none", "echo '{\"a\": NaN}'; echo '[' > $JQ_RESULT_FILE", "none", Ok(Value::Null)),
    ];
    for (name, script, from, _) in &cases {
        rig.handler(name, script, &format!("output_from = '{from}'\noutput = 10000"));
    }
    let worker = rig.work(&queue, &["--concurrency", "2"]);
    for (name, _, _, expected) in &cases {
        let job = rig.job(name);
        queue.put(job.body());
        let result = rig.result(&job);
        match expected {
            Ok(output) => {
                assert_eq!((&result["status"], &result["output"]), (&json!("successful"), output));
                assert_eq!(result.get("output_note"), None, "{name}");
            }
            Err(why) => {
                assert_eq!(result["error"]["kind"], "executor", "{name}");
                let message = result["error"]["message"].as_str().expect("it is text");
                assert!(message.contains(why), "{name}: {message}");
            }
        }
        let tail = result["stdout"]["tail"].as_str().expect("it is text");
        assert!(tail.len() <= 8192, "{name}: {}", tail.len());
    }
    rig.finish(worker);
}

fn lines_of_persistent_handlers_that_cannot_be_used(kind: Kind) {
    let (rig, queue) = (Rig::new(), Queue::start(kind));
    let script = r#"while read -r line; do
        case "$line" in
        *'"nan"'*) echo '{"output": NaN}' ;;
        *'"text"'*) echo 'loading' ;;
        *) echo '{"output":1}' ;;
        esac
    done"#;
    rig.configure("retry_delay = 0");
    rig.handler("stays", script, "mode = 'persistent'\ngrace = 0");
    let mut worker = rig.work(&queue, &[]);
    let ask = |args: &str| {
        let job = rig.job("stays").with("args", args).with("retry", 1);
        queue.put(job.body());
        rig.result(&job)
    };
    let result = ask("nan");
    assert_eq!((&result["error"]["kind"], &result["attempt"]), (&json!("executor"), &json!(1)));
    assert!(result["error"]["message"].as_str().is_some_and(|it| it.contains("NaN at line 1")));
    // A stray line may have been for another job.
    let result = ask("text");
    assert_eq!(result["attempt"], 2);
    assert!(result["error"]["message"].as_str().is_some_and(|it| it.contains("loading")));
    assert_eq!(ask("good")["output"], 1);
    worker.stop();
    rig.assert_no_process(&[]);
}
