//! Policies of tubes.

use std::fs;

use serde_json::{Value, json};

use crate::client::Http;
use crate::support::{eventually, scratch_path};

const POLICY: &str = "/api/v1/tubes/mail/policy";
const JOBS: &str = "/api/v1/tubes/mail/jobs";
const BYTES: (&str, &str) = ("Content-Type", "application/octet-stream");

#[test]
fn a_policy_is_set_seen_and_removed() {
    let http = Http::operating(&[]);
    http.get(POLICY).is_problem(404, "not-found");
    http.delete(POLICY).is_problem(404, "not-found");
    let policy = json!({
        "max_jobs": 2, "max_bytes": 100, "max_reserves": 3, "max_timeouts": 4,
        "max_disconnects": 5, "dead_letter": "dead", "expires": 60, "unique": true,
        "default_ttr": 7, "reserve_rate": 2.5,
    });
    let with_source = |mut policy: Value| {
        policy["source"] = "api".into();
        policy
    };
    let answered = with_source(policy.clone());
    assert_eq!(http.json("PUT", POLICY, &policy.to_string()).expect(200), answered);
    assert_eq!(http.get(POLICY).expect(200), answered);
    // What is answered can be sent back.
    assert_eq!(http.json("PUT", POLICY, &answered.to_string()).expect(200), answered);
    let tube = http.get("/api/v1/tubes/mail").expect(200);
    assert_eq!((&tube["policy"], &tube["has_policy"]), (&answered, &true.into()));
    assert_eq!(tube["policy_counts"]["refused"], 0);
    let paused = http.post("/api/v1/tubes/mail/pause", r#"{"seconds":9}"#).expect(200);
    assert_eq!(paused["tube"]["policy"], answered);
    // It replaces all of the one before. Without anything set, it is none.
    let less = json!({"max_jobs": 1});
    let answered = with_source(less.clone());
    assert_eq!(http.json("PUT", POLICY, &less.to_string()).expect(200), answered);
    assert_eq!(http.get(POLICY).expect(200), answered);
    assert_eq!(http.delete(POLICY).expect(200), json!({}));
    assert_eq!(http.get(POLICY).expect(200), json!({}));
    let tube = http.get("/api/v1/tubes/mail").expect(200);
    assert_eq!((tube.get("policy"), tube.get("policy_counts")), (None, None));
    assert_eq!(tube["has_policy"], false);
    let output = http.server.output();
    for action in ["set-policy", "remove-policy"] {
        let logged = |line: &str| line.contains("by HTTP") && line.contains(action);
        assert!(output.lines().any(logged), "{action}: {output}");
    }
}

#[test]
fn a_put_beyond_a_limit_is_refused_and_a_known_body_is_not() {
    let http = Http::operating(&[]);
    http.json("PUT", POLICY, r#"{"max_jobs":1,"unique":true,"default_ttr":7}"#).expect(200);
    let put = |text: &str| http.post(JOBS, &format!(r#"{{"text":"{text}","ttr":0}}"#));
    assert_eq!(put("a").expect(201), json!({"id": 1, "tube": "mail", "repeated": false}));
    // It is there already, and so it is said.
    assert_eq!(put("a").expect(200), json!({"id": 1, "tube": "mail", "repeated": true}));
    assert_eq!(http.get("/api/v1/jobs/1").expect(200)["ttr"], 7);
    let problem = put("b").is_problem(507, "limit-reached");
    assert!(problem["detail"].as_str().unwrap().contains("as many jobs"), "{problem}");
    let mut queue = http.queue();
    queue.ask("use mail");
    queue.send("put 0 0 0 1\r\nb\r\n");
    assert_eq!(queue.reply().bytes(), b"OUT_OF_MEMORY\r\n");
    queue.send("put 0 0 0 1\r\na\r\n");
    assert_eq!(queue.reply().bytes(), b"INSERTED 1\r\n");
    let counts = json!({
        "refused": 2, "duplicates": 2, "expired": 0, "dead_lettered": 0, "buried": 0,
    });
    let tube = http.get("/api/v1/tubes/mail").expect(200);
    assert_eq!((&tube["policy_counts"], &tube["body_bytes"]), (&counts, &1.into()));
    let server = http.get("/api/v1/server").expect(200);
    assert_eq!(server["policy_counts"], counts);
    assert_eq!(server["refusals"]["tube_max_jobs"], 2);
    assert_eq!(server["refusals"]["max_jobs"], 0);
    // What is sampled may be a few seconds old. A list says which tubes have one.
    eventually("the list is as it should be", || {
        let tubes = http.get("/api/v1/tubes").expect(200);
        let listed = |name: &str| {
            let mut tubes = tubes["tubes"].as_array().expect("a list").iter();
            tubes.find(|tube| tube["name"] == name).map(|tube| tube["has_policy"].clone())
        };
        (listed("mail"), listed("default")) == (Some(true.into()), Some(false.into()))
    });
    await_metrics(
        &http,
        &[
            "jq_policy_events_total{event=\"duplicate\"} 2",
            "jq_tube_policy_events_total{tube=\"mail\",event=\"refuse\"} 2",
            "jq_tube_body_bytes{tube=\"mail\"} 1",
            "jq_refusals_total{cause=\"tube_max_jobs\"} 2",
            "jq_refused_connections_total 0",
        ],
    );
    let metrics = metrics(&http);
    assert!(!metrics.contains("jq_tube_policy_events_total{tube=\"default\""), "{metrics}");
    assert!(!metrics.contains("jq_limit{"), "{metrics}");
}

fn metrics(http: &Http) -> String {
    String::from_utf8(http.get("/metrics").body).expect("it is UTF-8")
}

/// Waits until all of these lines are among the metrics.
fn await_metrics(http: &Http, wanted: &[&str]) {
    for line in wanted {
        eventually(line, || metrics(http).lines().any(|found| found == *line));
    }
}

/// A key stands for the job that is there, however it came to be.
#[test]
fn a_key_and_a_known_body() {
    let http = Http::operating(&[]);
    http.json("PUT", POLICY, r#"{"unique":true}"#).expect(200);
    let put = |key: &str| http.send("POST", JOBS, &[("Idempotency-Key", key), BYTES], b"a");
    assert_eq!(put("one").expect(201)["repeated"], false);
    for key in ["two", "two", "one"] {
        let answer = put(key).expect(200);
        assert_eq!((&answer["id"], &answer["repeated"]), (&1.into(), &true.into()), "{key}");
    }
}

/// What the file of `--tubes` says is not changed by a request.
#[test]
fn the_file_wins() {
    let file = scratch_path("toml");
    let path = file.to_str().expect("it is UTF-8");
    fs::write(&file, "[tubes.mail]\nmax-jobs = 5\n[tubes.free]\n").expect("it is writable");
    let http = Http::operating(&["--tubes", path, "--max-jobs", "7", "--max-connections", "9"]);
    let set = json!({"max_jobs": 5, "source": "file"});
    assert_eq!(http.get(POLICY).expect(200), set);
    assert_eq!(http.get("/api/v1/tubes/mail").expect(200)["policy"], set);
    // A tube that the file says to have nothing is the file's too.
    for tube in [POLICY, "/api/v1/tubes/free/policy"] {
        for reply in [http.json("PUT", tube, r#"{"unique":true}"#), http.delete(tube)] {
            let problem = reply.is_problem(409, "wrong-state");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(&format!("is set by the file {path}")), "{detail}");
        }
    }
    assert_eq!(http.get(POLICY).expect(200), set);
    // A mistake is told first.
    http.json("PUT", POLICY, r#"{"max_jobs":0}"#).is_problem(422, "bad-field");
    // Others are as ever.
    let other = "/api/v1/tubes/other/policy";
    let answered = http.json("PUT", other, r#"{"unique":true}"#).expect(200);
    assert_eq!(answered, json!({"unique": true, "source": "api"}));

    // One that others have set becomes the file's, and one that is taken out is free.
    fs::write(&file, "[tubes.other]\ndefault-ttr = 9\n").expect("it is writable");
    http.server.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the file is read again", || {
        http.get(other).expect(200) == json!({"default_ttr": 9, "source": "file"})
            && http.get(POLICY).status == 404
    });
    http.json("PUT", POLICY, r#"{"unique":true}"#).expect(200);
    http.delete(other).is_problem(409, "wrong-state");
    let limits = ["jq_limit{limit=\"jobs\"} 7", "jq_limit{limit=\"connections\"} 9"];
    await_metrics(&http, &limits);
    let server = http.get("/api/v1/server").expect(200);
    assert_eq!(server["limits"], json!({"jobs": 7, "connections": 9}));
    assert_eq!(server["job_memory_bytes"], 0);
    let _ = fs::remove_file(&file);
}

#[test]
fn what_is_wrong_is_named() {
    let http = Http::operating(&[]);
    let least = [
        "max_jobs",
        "max_bytes",
        "max_reserves",
        "max_timeouts",
        "max_disconnects",
        "expires",
        "default_ttr",
    ];
    let mut wrong: Vec<(&str, String)> = least.map(|field| (field, "0".to_owned())).into();
    wrong.extend([
        ("dead_letter", r#""no name""#.to_owned()),
        ("dead_letter", r#""""#.to_owned()),
        ("reserve_rate", "0".to_owned()),
        ("reserve_rate", "0.0009".to_owned()),
        ("reserve_rate", "4294967.5".to_owned()),
        ("reserve_rate", "-1".to_owned()),
    ]);
    for (field, value) in wrong {
        let reply = http.json("PUT", POLICY, &format!(r#"{{"{field}":{value}}}"#));
        let problem = reply.is_problem(422, "bad-field");
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with(field), "{problem}");
    }
    for content in [r#"{"max_job":1}"#, r#"{"max_jobs":-1}"#, "[]"] {
        let reply = http.json("PUT", POLICY, content);
        assert!([400, 422].contains(&reply.status), "{content}: {reply:?}");
    }
    // A good name, but not for this tube.
    let problem =
        http.json("PUT", POLICY, r#"{"dead_letter":"mail"}"#).is_problem(409, "wrong-state");
    assert_eq!(problem["field"], "dead_letter", "{problem}");
    http.get(POLICY).is_problem(404, "not-found");
    for rate in ["0.001", "4294967"] {
        let content = format!(r#"{{"reserve_rate":{rate}}}"#);
        http.json("PUT", POLICY, &content).expect(200);
    }
}
