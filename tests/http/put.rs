//! Putting jobs.

use serde_json::json;

use crate::client::Http;

const JOBS: &str = "/api/v1/tubes/mail/jobs";
const BYTES: [(&str, &str); 1] = [("Content-Type", "application/octet-stream")];

#[test]
fn a_body_as_bytes_with_parameters() {
    let http = Http::operating(&[]);
    let path = format!("{JOBS}?priority=3&delay=0&ttr=7");
    let reply = http.send("POST", &path, &BYTES, b"\x00\xff\r\n");
    assert_eq!(reply.expect(201), json!({"id": 1, "tube": "mail", "repeated": false}));
    assert_eq!(reply.header("location"), Some("/api/v1/jobs/1"));
    let mut queue = http.queue();
    queue.ask("watch mail");
    assert_eq!(queue.ask("reserve").bytes(), b"RESERVED 1 4\r\n\x00\xff\r\n\r\n");
    let stats = queue.ask("stats-job 1");
    let of = |key| stats.value(key);
    assert_eq!((of("pri"), of("ttr"), of("delay")), (Some("3"), Some("7"), Some("0")));
    // No type, or that of curl, is no JSON either; nor is an empty body a mistake.
    for headers in [&[][..], &[("Content-Type", "application/x-www-form-urlencoded")]] {
        http.send("POST", JOBS, headers, b"a=b").expect(201);
    }
    let empty = http.send("POST", JOBS, &[], b"").expect(201);
    let job = http.get(&format!("/api/v1/jobs/{}", empty["id"])).expect(200);
    assert_eq!((&job["size"], &job["body"]), (&json!(0), &json!({"text": ""})));
    let of = |key: &str| job[key].as_u64();
    assert_eq!((of("priority"), of("delay"), of("ttr")), (Some(1 << 31), Some(0), Some(60)));
}

#[test]
fn a_job_as_json() {
    let http = Http::operating(&[]);
    for (content, body) in [
        (r#"{"text":"h\u00e9"}"#, "h\u{e9}".as_bytes()),
        (r#"{"json":{"b": 1.50,  "a": null}}"#, br#"{"b": 1.50,  "a": null}"#),
        (r#"{"json":null}"#, b"null"),
        (r#"{"base64":"/wA="}"#, b"\xff\x00"),
        (r#"{"base64":"/wA"}"#, b"\xff\x00"),
        (r#"{"text":""}"#, b""),
    ] {
        let id = http.post(JOBS, content).expect(201)["id"].as_u64().unwrap();
        assert_eq!(http.get(&format!("/api/v1/jobs/{id}/body")).body, body, "{content}");
    }
    let content = r#"{"text":"x","priority":0,"delay":100,"ttr":0}"#;
    let id = http.post(JOBS, content).expect(201)["id"].as_u64().unwrap();
    let job = http.get(&format!("/api/v1/jobs/{id}")).expect(200);
    assert_eq!(job["state"], "delayed");
    let of = |key: &str| job[key].as_u64();
    assert_eq!((of("priority"), of("delay"), of("ttr")), (Some(0), Some(100), Some(1)));
    assert!((90..=100).contains(&of("time_left").unwrap()));
}

/// A worker that waits gets the job, and the largest one comes through in both forms.
#[test]
fn the_largest_job_and_one_byte_more() {
    let http = Http::operating(&["-z", "100000"]);
    let mut worker = http.queue();
    worker.ask("watch mail");
    for (headers, wrap) in [(BYTES, false), ([("Content-Type", "application/json")], true)] {
        let content = |size: usize| {
            let body = "a".repeat(size);
            if wrap { format!(r#"{{"text":"{body}"}}"#) } else { body }
        };
        worker.send("reserve\r\n");
        let put = http.send("POST", JOBS, &headers, content(100_000).as_bytes());
        let id = put.expect(201)["id"].as_u64().unwrap();
        assert_eq!(worker.reply().line(), format!("RESERVED {id} 100000").as_bytes());
        worker.ask(format!("delete {id}"));
        let refused = http.send("POST", JOBS, &headers, content(100_001).as_bytes());
        let problem = refused.is_problem(413, "too-big");
        assert!(problem["detail"].as_str().unwrap().contains("100000"), "{problem}");
    }
    // It could only be one, if its escapes are taken out.
    let escaped = format!(r#"{{"text":"{}"}}"#, "\\u0061".repeat(20_000));
    http.post(JOBS, &escaped).expect(201);
    let far_too_much = vec![b' '; 300_000];
    http.send("POST", JOBS, &[("Content-Type", "application/json")], &far_too_much)
        .is_problem(413, "too-big");
}

#[test]
fn a_key_stands_for_the_first_jobs_number() {
    let http = Http::operating(&[]);
    let put = |key: &str, path: &str, body: &[u8]| {
        http.send("POST", path, &[("Idempotency-Key", key), BYTES[0]], body)
    };
    let first = put("k1", JOBS, b"one").expect(201);
    let reply = put("k1", JOBS, b"one");
    assert_eq!(reply.expect(200), json!({"id": first["id"], "tube": "mail", "repeated": true}));
    assert_eq!(reply.header("location"), Some("/api/v1/jobs/1"));
    for (path, body) in [
        (JOBS, &b"two"[..]),
        ("/api/v1/tubes/other/jobs", b"one"),
        (&format!("{JOBS}?priority=1"), b"one"),
    ] {
        let problem = put("k1", path, body).is_problem(422, "key-reused");
        assert_eq!(problem["field"], "Idempotency-Key");
    }
    assert_eq!(put("k2", JOBS, b"one").expect(201)["id"], 2);
    // The key of somebody else is another.
    let token = crate::client::token("submit");
    let other =
        http.send_as(Some(&token), "POST", JOBS, &[("Idempotency-Key", "k1"), BYTES[0]], b"x");
    assert_eq!(other.expect(201)["id"], 3);
    // It stands for the job even when that is gone.
    http.delete("/api/v1/jobs/1").expect(200);
    assert_eq!(put("k1", JOBS, b"one").expect(200)["id"], 1);
    for key in ["", "two words", &"k".repeat(256), "caf\u{e9}"] {
        let problem = put(key, JOBS, b"x").is_problem(422, "bad-field");
        assert_eq!(problem["field"], "Idempotency-Key");
    }
    put(&"k".repeat(255), JOBS, b"x").expect(201);
}

/// A put that was refused may be made again with its key.
#[test]
fn a_drained_server_takes_no_jobs() {
    let http = Http::operating(&[]);
    let drained = http.post("/api/v1/server/drain", "").expect(200);
    assert_eq!(drained, json!({"action": "drain", "changed": 1}));
    assert_eq!(http.post("/api/v1/server/drain", "").expect(200)["changed"], 0);
    let put = || http.send("POST", JOBS, &[("Idempotency-Key", "k")], b"x");
    let reply = put();
    reply.is_problem(503, "draining");
    assert!(reply.header("retry-after").is_some());
    let ready = http.get("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["reasons"][0]["name"], "draining");
    assert_eq!(http.get("/api/v1/server").expect(200)["state"], "draining");
    assert_eq!(http.queue().ask("stats").value("draining"), Some("true"));
    http.post("/api/v1/server/undrain", "").expect(200);
    put().expect(201);
    assert_eq!(http.get("/readyz").expect(200), json!({"ready": true, "reasons": []}));
}
