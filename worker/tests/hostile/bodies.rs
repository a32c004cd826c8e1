//! Members of jobs that are not what they should be.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::ending::{begin, end, fails, failure};
use crate::rig::Job;

#[test]
fn a_path_in_the_id_is_no_job() {
    let (rig, queue) = begin();
    rig.handler("good", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let ids = [
        "../../../../etc/passwd",
        "/etc/passwd",
        "..",
        "",
        "13775310-8f59-412e-aa2c-549a20077664/../x",
        "13775310-8f59-412e-aa2c-549a20077664\0",
        "13775310-8f59-412e-aa2c-549a2007766\u{ff14}",
        "%2e%2e%2f%2e%2e",
    ];
    for id in ids {
        let job = rig.job("good").with("id", id);
        let number = queue.put(job.body());
        queue.await_state(number, "buried");
    }
    assert_eq!(rig.site.count(), 0, "without an id there is no result to tell of");
    assert!(!rig.dir.join("runs").exists(), "nothing was run");
    for folder in ["results/results", "results/packs"] {
        let kept: Vec<_> = std::fs::read_dir(rig.dir.join(folder)).unwrap().collect();
        assert!(kept.is_empty(), "{kept:?}");
    }
    assert_eq!(worker.get("/../../../../etc/passwd").status(), 404);
    assert_eq!(worker.get("/..%2f..%2fjournal-00000000").status(), 404);
    end(&rig, &queue, worker, ids.len() as u64);
}

#[test]
fn a_type_is_never_a_path_or_an_option() {
    let (rig, queue) = begin();
    rig.script("mine/good", "echo 1");
    rig.script("mine/sub/deeper", "echo 1");
    let worker = rig.work(&queue, &["--handlers", "mine"]);
    let long = "x".repeat(101);
    let types = [
        "a/b",
        "../mine/good",
        "sub/deeper",
        "-rf",
        ".",
        "..",
        ".good",
        "good\0",
        "g o",
        "",
        &long,
    ];
    for kind in types {
        let message = fails(&rig, &queue, &rig.job(kind), "input");
        assert!(message.contains("not a job type"), "{kind:?}: {message}");
    }
    let unknown = ["deeper", "good.sh", "sh"];
    for kind in unknown {
        let message = fails(&rig, &queue, &rig.job(kind), "input");
        assert!(message.contains("no handler of the type"), "{kind:?}: {message}");
    }
    assert!(!rig.dir.join("runs").exists(), "nothing was run");
    end(&rig, &queue, worker, (types.len() + unknown.len()) as u64);
}

#[test]
fn an_id_can_be_written_in_several_ways() {
    let (rig, queue) = begin();
    rig.handler("good", "echo \"\\\"$JQ_JOB_ID\\\"\"", "");
    let worker = rig.work(&queue, &[]);
    let forms: [fn(Uuid) -> String; 4] = [
        |id| id.to_string().to_uppercase(),
        |id| id.braced().to_string(),
        |id| id.simple().to_string(),
        |id| id.urn().to_string(),
    ];
    for form in forms {
        let job = rig.job("good");
        let id = job.id;
        queue.put(job.clone().with("id", form(id)).body());
        let result = rig.result(&job);
        assert_eq!((&result["id"], &result["output"]), (&json!(id), &json!(id)));
        assert_eq!(worker.result(&job)["id"], json!(id));
    }
    end(&rig, &queue, worker, 0);
}

#[test]
fn numbers_and_times_that_are_none() {
    let (rig, queue) = begin();
    rig.handler("good", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let cases: [(&str, Value); 13] = [
        ("timeout", json!(-1)),
        ("timeout", json!(1.5)),
        ("timeout", json!(0)),
        ("timeout", json!(1e300)),
        ("timeout", json!(u64::MAX)),
        ("timeout", json!("1")),
        ("timeout", json!([1])),
        ("retry", json!(-1)),
        ("retry", json!(0.5)),
        ("retry", json!(u64::MAX)),
        ("expires_at", json!("99999-01-01T00:00:00Z")),
        ("expires_at", json!("tomorrow")),
        ("expires_at", json!(4_000_000_000_u64)),
    ];
    for (name, value) in &cases {
        fails(&rig, &queue, &rig.job("good").with(name, value.clone()), "input");
    }
    assert!(!rig.dir.join("runs").exists(), "nothing was run");
    let far = [
        ("expires_at", "9999-12-30T21:59:59Z"),
        ("created_at", "0001-01-01T00:00:00Z"),
        ("created_at", "9999-12-30T21:59:59Z"),
        ("created_at", "9999-12-31T23:59:59Z"),
        ("created_at", "2026-02-30T00:00:00Z"),
    ];
    for (name, time) in far {
        let job = rig.job("good").with(name, time);
        queue.put(job.body());
        assert_eq!(rig.result(&job)["status"], "successful", "{name} {time}");
    }
    end(&rig, &queue, worker, cases.len() as u64);
}

#[test]
fn members_that_are_given_twice() {
    let (rig, queue) = begin();
    rig.handler("good", "cat", "");
    let worker = rig.work(&queue, &[]);
    let with = |job: &Job, more: &str| {
        let body = job.body();
        format!("{},{more}}}", body.strip_suffix('}').expect("it is an object"))
    };
    // Which of them counts would be anybody's guess, as parsers differ.
    for more in
        ["\"type\":\"good\"", "\"jobtype\":\"good\"", "\"retry\":1", "\"args\":1,\"args\":2"]
    {
        let job = rig.job("good");
        let id = queue.put(with(&job, more));
        assert!(failure(&rig.result(&job), "input").contains("duplicate"), "{more}");
        queue.await_state(id, "buried");
    }
    // What is not ours to read is passed on as it was written.
    let job = rig.job("good");
    queue.put(with(&job, "\"args\":{\"a\":1,\"a\":1.00,\"b\":1e999},\"custom\":{\"c\":2,\"c\":3}"));
    let body = rig.site.await_request(&job.path()).body;
    let text = String::from_utf8(body).expect("it is text");
    assert!(text.contains(r#""args":{"a":1,"a":1.00,"b":1e999}"#), "{text}");
    assert!(text.contains(r#""custom":{"c":2,"c":3}"#), "{text}");
    end(&rig, &queue, worker, 4);
}

#[test]
fn what_is_not_utf_8() {
    let (rig, queue) = begin();
    rig.handler("good", "cat", "");
    let worker = rig.work(&queue, &[]);
    for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\0", b"\xe2\x82"] {
        let job = rig.job("good").with("custom", "@").with("args", "@");
        let mut body = Vec::new();
        for byte in job.body().bytes() {
            if byte == b'@' { body.extend_from_slice(bytes) } else { body.push(byte) }
        }
        let id = queue.put(body);
        // Who it was can be read all the same.
        failure(&rig.result(&job), "input");
        queue.await_state(id, "buried");
        assert!(rig.runs(&job).is_empty());
    }
    end(&rig, &queue, worker, 5);
}

#[test]
fn a_job_as_large_as_the_queue_takes() {
    let (rig, queue) = begin();
    rig.handler("good", "cat", "");
    rig.handler("deaf", "echo 1", "");
    let worker = rig.work(&queue, &[]);
    let (args, custom) = ("\u{1F409}\"\\".repeat(3_700), "x".repeat(32_000));
    let job = rig.job("good").with("args", args.clone()).with("custom", custom.clone());
    assert!((60_000..65_535).contains(&job.body().len()), "{}", job.body().len());
    queue.put(job.body());
    let result = rig.result(&job);
    assert_eq!(result["output"]["args"], json!(args));
    assert_eq!(result["output"]["custom"], json!(custom));
    assert_eq!(result["custom"], json!(custom));
    // More than a pipe holds, and nobody reads it.
    let job = rig.job("deaf").with("args", "x".repeat(65_000));
    queue.put(job.body());
    assert_eq!(rig.result(&job)["status"], "successful");
    end(&rig, &queue, worker, 0);
}
