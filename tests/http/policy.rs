//! Policies of tubes.

use serde_json::json;

use crate::client::Http;

const POLICY: &str = "/api/v1/tubes/mail/policy";
const JOBS: &str = "/api/v1/tubes/mail/jobs";

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
    assert_eq!(http.json("PUT", POLICY, &policy.to_string()).expect(200), policy);
    assert_eq!(http.get(POLICY).expect(200), policy);
    assert_eq!(http.get("/api/v1/tubes/mail").expect(200)["policy"], policy);
    let paused = http.post("/api/v1/tubes/mail/pause", r#"{"seconds":9}"#).expect(200);
    assert_eq!(paused["tube"]["policy"], policy);
    // It replaces all of the one before. Without anything set, it is none.
    let less = json!({"max_jobs": 1});
    assert_eq!(http.json("PUT", POLICY, &less.to_string()).expect(200), less);
    assert_eq!(http.get(POLICY).expect(200), less);
    assert_eq!(http.delete(POLICY).expect(200), json!({}));
    assert_eq!(http.get(POLICY).expect(200), json!({}));
    assert_eq!(http.get("/api/v1/tubes/mail").expect(200).get("policy"), None);
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
    assert_eq!(put("a").expect(201)["id"], 1);
    assert_eq!(put("a").expect(201)["id"], 1);
    assert_eq!(http.get("/api/v1/jobs/1").expect(200)["ttr"], 7);
    let problem = put("b").is_problem(507, "limit-reached");
    assert!(problem["detail"].as_str().unwrap().contains("as many jobs"), "{problem}");
    let mut queue = http.queue();
    queue.ask("use mail");
    queue.send("put 0 0 0 1\r\nb\r\n");
    assert_eq!(queue.reply().bytes(), b"OUT_OF_MEMORY\r\n");
    queue.send("put 0 0 0 1\r\na\r\n");
    assert_eq!(queue.reply().bytes(), b"INSERTED 1\r\n");
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
