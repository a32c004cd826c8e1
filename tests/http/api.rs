//! Looking into the queue, and changing it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::Http;
use crate::support::eventually;

/// Puts this many jobs into a tube through the queue.
fn put(http: &Http, tube: &str, jobs: usize) {
    let mut queue = http.queue();
    queue.ask(format!("use {tube}"));
    for number in 0..jobs {
        let body = format!("{tube}-{number}");
        queue.send(format!("put 10 0 60 {}\r\n{body}\r\n", body.len()));
        queue.reply();
    }
}

/// All items of a listing, page by page.
fn all(http: &Http, path: &str, items: &str) -> Vec<Value> {
    let (mut found, mut next) = (Vec::new(), String::new());
    loop {
        let page = http.get(&format!("{path}{next}")).expect(200);
        found.extend(page[items].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return found,
        }
    }
}

#[test]
fn the_program_and_the_server() {
    let http = Http::operating(&["--compat", "1.12"]);
    assert_eq!(http.get("/healthz").body, b"ok\n");
    let version = http.get("/version").expect(200);
    assert_eq!(
        version,
        json!({"name": "jq-server", "version": env!("CARGO_PKG_VERSION"), "compat": "1.12"})
    );
    put(&http, "t", 3);
    let mut queue = http.queue();
    queue.ask("watch t");
    queue.ask("reserve");
    let server = http.get("/api/v1/server").expect(200);
    assert_eq!(
        server["jobs"],
        json!({"ready": 2, "urgent": 2, "reserved": 1, "delayed": 0, "buried": 0})
    );
    let stats = queue.ask("stats");
    let same =
        |key: &str, path: &Value| assert_eq!(stats.value(key), Some(&*path.to_string()), "{key}");
    same("pid", &server["pid"]);
    same("total-jobs", &server["total_jobs"]);
    same("cmd-put", &server["commands"]["put"]);
    same("max-job-size", &server["max_job_size"]);
    same("current-connections", &server["connections"]["open"]);
    assert_eq!((&server["state"], &server["log"]), (&json!("running"), &Value::Null));
    // A reply to HEAD has no body.
    let head = http.send("HEAD", "/api/v1/server", &[], b"");
    assert!(head.status == 200 && head.body.is_empty());
}

#[test]
fn tubes_by_name_and_by_number() {
    let http = Http::operating(&[]);
    for (tube, jobs) in [("a/b", 2), ("mail", 5), ("b", 1)] {
        put(&http, tube, jobs);
    }
    let names = |query: &str| -> Vec<String> {
        let tubes = all(&http, &format!("/api/v1/tubes?limit=2{query}"), "tubes");
        tubes.iter().map(|tube| tube["name"].as_str().unwrap().to_owned()).collect()
    };
    eventually("the list has what is there", || names("").len() == 4);
    assert_eq!(names(""), ["a/b", "b", "default", "mail"]);
    eventually("it has the numbers too", || {
        names("&sort=ready") == ["mail", "a/b", "b", "default"]
    });
    assert_eq!(names("&name=A"), ["a/b", "default", "mail"]);
    let tube = http.get("/api/v1/tubes/a%2Fb").expect(200);
    assert_eq!((&tube["name"], &tube["jobs"]["ready"]), (&json!("a/b"), &json!(2)));
    let problem = http.get("/api/v1/tubes/none").is_problem(404, "not-found");
    assert_eq!(problem["detail"], "there is no tube none");
}

#[test]
fn a_tube_is_paused_resumed_and_cleared() {
    let http = Http::operating(&[]);
    put(&http, "t", 4);
    let mut worker = http.queue();
    worker.ask("watch t");
    worker.ask("reserve");
    let paused = http.post("/api/v1/tubes/t/pause", r#"{"seconds":1000}"#).expect(200);
    assert_eq!(
        (&paused["action"], &paused["tube"]["pause"]["seconds"]),
        (&json!("pause"), &json!(1000))
    );
    assert_eq!(worker.ask("reserve-with-timeout 0").line(), b"TIMED_OUT");
    worker.send("reserve\r\n");
    let resumed = http.post("/api/v1/tubes/t/resume", "").expect(200);
    assert_eq!((&resumed["changed"], &resumed["tube"]["pause"]), (&json!(1), &Value::Null));
    assert_eq!(worker.reply().line(), b"RESERVED 2 3");
    assert_eq!(http.post("/api/v1/tubes/t/resume", "").expect(200)["changed"], 0);

    let cleared = http.post("/api/v1/tubes/t/clear", "").expect(200);
    assert_eq!((&cleared["changed"], &cleared["tube"]["jobs"]["reserved"]), (&json!(2), &json!(2)));
    assert!(all(&http, "/api/v1/tubes/t/jobs?state=ready", "jobs").is_empty());
    assert_eq!(worker.ask("delete 1").line(), b"DELETED");
    for path in ["pause", "resume", "clear"] {
        let content = if path == "pause" { r#"{"seconds":1}"# } else { "" };
        http.post(&format!("/api/v1/tubes/none/{path}"), content).is_problem(404, "not-found");
    }
}

#[test]
fn jobs_of_a_tube_page_by_page() {
    let http = Http::operating(&[]);
    put(&http, "t", 25);
    put(&http, "other", 5);
    http.post("/api/v1/jobs/3/bury", "").expect(200);
    http.post("/api/v1/jobs/4/bury", r#"{"priority":77}"#).expect(200);
    for limit in [1, 7, 1000] {
        let ids = |query: &str| -> Vec<u64> {
            let jobs = all(&http, &format!("/api/v1/tubes/t/jobs?limit={limit}{query}"), "jobs");
            jobs.iter().map(|job| job["id"].as_u64().unwrap()).collect()
        };
        assert_eq!(ids(""), (1..=25).collect::<Vec<_>>());
        assert_eq!(ids("&state=buried"), [3, 4]);
        assert_eq!(ids("&state=ready").len(), 23);
        assert!(ids("&state=delayed").is_empty());
    }
    let page = http.get("/api/v1/tubes/t/jobs?limit=7").expect(200);
    let job = &page["jobs"][3];
    assert_eq!(
        (&job["priority"], &job["buries"], &job["size"]),
        (&json!(77), &json!(1), &json!(3))
    );
    http.get("/api/v1/tubes/none/jobs").is_problem(404, "not-found");
}

#[test]
fn each_change_of_one_job() {
    let http = Http::operating(&[]);
    put(&http, "t", 6);
    let mut worker = http.queue();
    worker.ask("watch t");
    let post = |path: &str, json: &str| http.post(&format!("/api/v1/jobs/{path}"), json);
    let state = |changed: Value| changed["job"]["state"].as_str().unwrap().to_owned();

    assert_eq!(worker.ask("reserve").line(), b"RESERVED 1 3");
    post("1/kick", "").is_problem(409, "wrong-state");
    post("1/move", r#"{"tube":"u"}"#).is_problem(409, "wrong-state");
    assert_eq!(state(post("1/release", "").expect(200)), "ready");
    assert_eq!(worker.ask("delete 1").line(), b"DELETED");
    post("2/release", "").is_problem(409, "wrong-state");
    assert_eq!(state(post("2/bury", "").expect(200)), "buried");
    assert_eq!(state(post("2/kick", "").expect(200)), "ready");
    let moved = post("2/move", r#"{"tube":"u"}"#).expect(200);
    assert_eq!((&moved["job"]["tube"], &moved["job"]["kicks"]), (&json!("u"), &json!(1)));
    let set = http.json("PATCH", "/api/v1/jobs/3", r#"{"priority":5,"delay":60}"#).expect(200);
    assert_eq!((&set["job"]["state"], &set["job"]["priority"]), (&json!("delayed"), &json!(5)));
    assert_eq!(worker.ask("stats-job 3").value("state"), Some("delayed"));
    let deleted = http.delete("/api/v1/jobs/3").expect(200);
    assert_eq!(
        (&deleted["action"], &deleted["job"]["state"]),
        (&json!("delete"), &json!("delayed"))
    );
    assert_eq!(worker.ask("peek 3").line(), b"NOT_FOUND");
    for (method, path) in [
        ("POST", "3/kick"),
        ("POST", "3/bury"),
        ("POST", "3/release"),
        ("GET", "3"),
        ("GET", "3/body"),
        ("DELETE", "3"),
    ] {
        let path = format!("/api/v1/jobs/{path}");
        http.send(method, &path, &[], b"").is_problem(404, "not-found");
    }
    let output = http.server.output();
    for action in ["release", "bury", "kick", "move", "set", "delete"] {
        assert!(output.contains(&format!("action=\"{action}\"")), "{action} in {output}");
    }
}

#[test]
fn connections_and_closing_one() {
    let http = Http::operating(&[]);
    put(&http, "t", 2);
    let mut worker = http.queue();
    worker.ask("watch t");
    assert_eq!(worker.ask("reserve").line(), b"RESERVED 1 3");
    let mut others: Vec<_> = (0..5).map(|_| http.queue()).collect();
    for other in &mut others {
        other.ask("use u");
    }
    eventually("those that are gone are gone", || {
        all(&http, "/api/v1/connections?limit=2", "connections").len() == 6
    });
    let found = all(&http, "/api/v1/connections?limit=2", "connections");
    let ids: BTreeSet<u64> = found.iter().map(|conn| conn["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 6, "{found:?}");
    let conn = found.iter().find(|conn| conn["reserved"] == 1).unwrap();
    assert_eq!(conn["watching"], json!(["default", "t"]));
    assert_eq!(
        (&conn["using"], &conn["worker"], &conn["waiting"]),
        (&json!("default"), &json!(true), &json!(false))
    );
    assert!(conn["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{conn}");
    assert!(conn["idle"].as_u64().unwrap() < 60 && conn["time_left"].as_u64().unwrap() <= 60);

    let id = &conn["id"];
    let path = format!("/api/v1/connections/{id}");
    assert_eq!(http.get(&path).expect(200)["id"], *id);
    let job = http.get("/api/v1/jobs/1").expect(200);
    assert_eq!((&job["state"], &job["connection"]), (&json!("reserved"), id));
    let closed = http.delete(&path).expect(200);
    assert_eq!((&closed["action"], &closed["connection"]["id"]), (&json!("close"), id));
    worker.expect_closed();
    eventually("its job is ready again", || {
        http.get("/api/v1/jobs/1").expect(200)["state"] == "ready"
    });
    eventually("it is gone", || http.get(&path).status == 404);
    http.delete(&path).is_problem(404, "not-found");
}

/// Requests behind a reserve that waits, and replies that nobody reads.
#[test]
fn bytes_that_wait() {
    let http = Http::operating(&[]);
    let mut blocked = http.queue();
    blocked.send("reserve\r\n");
    let conn = || {
        let found = all(&http, "/api/v1/connections?limit=100", "connections");
        found.into_iter().find(|conn| conn["waiting"] == true)
    };
    eventually("it waits", || conn().is_some());
    blocked.send("stats\r\n".repeat(10));
    eventually("its requests wait", || conn().unwrap()["unread_bytes"] == 70);

    let mut deaf = http.queue();
    let body = "x".repeat(60_000);
    deaf.send(format!("put 0 0 60 {}\r\n{body}\r\n", body.len()));
    blocked.expect(format!("RESERVED 1 {}\r\n{body}\r\n", body.len()));
    deaf.reply();
    // More than the buffers of both sides take.
    deaf.send("peek 1\r\n".repeat(400));
    eventually("its replies wait", || {
        let found = all(&http, "/api/v1/connections?limit=100", "connections");
        found.iter().any(|conn| conn["unsent_bytes"].as_u64().unwrap() > 100_000)
    });
}
