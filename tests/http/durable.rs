//! With a log: what was answered is there after a crash; what the log says is shown.

use serde_json::json;

use crate::client::Http;
use crate::small_disk::SmallDisk;
use crate::support::eventually;
use crate::support::folder::{Folder, kill};

const JOBS: &str = "/api/v1/tubes/t/jobs";

#[test]
fn what_was_answered_outlives_a_crash() {
    let folder = Folder::new();
    let flags = ["-f", "0", "-b", folder.path().to_str().unwrap()];
    let http = Http::operating(&flags);
    for number in 1..=6 {
        let put = http.send("POST", JOBS, &[], format!("body {number}").as_bytes());
        assert_eq!(put.expect(201)["id"], number);
    }
    http.delete("/api/v1/jobs/1").expect(200);
    http.post("/api/v1/jobs/2/bury", "").expect(200);
    http.post("/api/v1/jobs/3/move", r#"{"tube":"u"}"#).expect(200);
    http.json("PATCH", "/api/v1/jobs/4", r#"{"priority":9,"delay":1000}"#).expect(200);
    http.post("/api/v1/tubes/u/pause", r#"{"seconds":1000}"#).expect(200);
    http.post("/api/v1/server/drain", "").expect(200);
    let log = http.get("/api/v1/server").expect(200)["log"].clone();
    assert_eq!((&log["health"], &log["error"]), (&json!("good"), &json!(null)));
    kill(http.server);

    let http = Http::operating(&flags);
    let state = |id: u32| http.get(&format!("/api/v1/jobs/{id}")).expect(200)["state"].clone();
    http.get("/api/v1/jobs/1").is_problem(404, "not-found");
    assert_eq!([state(2), state(3), state(4), state(5)], ["buried", "ready", "delayed", "ready"]);
    let moved = http.get("/api/v1/jobs/3").expect(200);
    assert_eq!((&moved["tube"], &moved["body"]["text"]), (&json!("u"), &json!("body 3")));
    assert_eq!(http.get("/api/v1/tubes/u").expect(200)["pause"]["seconds"], 1000);
    http.send("POST", JOBS, &[], b"x").is_problem(503, "draining");
}

/// Large bodies are kept apart in the log, and are known by the policy of their tube all the same.
#[test]
fn a_policy_outlives_a_crash() {
    let folder = Folder::new();
    let flags = ["-f", "0", "-z", "2000000", "-b", folder.path().to_str().unwrap()];
    let http = Http::operating(&flags);
    let policy = json!({"max_bytes": 1_500_001, "dead_letter": "dead", "unique": true});
    let path = "/api/v1/tubes/t/policy";
    http.json("PUT", path, &policy.to_string()).expect(200);
    let (large, small) = (vec![b'x'; 1_500_000], b"y");
    let put = |http: &Http, body: &[u8]| http.send("POST", JOBS, &[], body);
    assert_eq!(put(&http, &large).expect(201)["id"], 1);
    assert_eq!(put(&http, small).expect(201)["id"], 2);
    kill(http.server);

    let http = Http::operating(&flags);
    let mut found = http.get(path).expect(200);
    found.as_object_mut().expect("an object").remove("source");
    assert_eq!(found, policy);
    assert_eq!(put(&http, &large).expect(200)["id"], 1);
    assert_eq!(put(&http, small).expect(200)["id"], 2);
    put(&http, b"z").is_problem(507, "limit-reached");
    http.delete("/api/v1/jobs/1").expect(200);
    // The id of a put that is refused is not used.
    assert_eq!(put(&http, &large).expect(201)["id"], 3);
    http.delete(path).expect(200);
    kill(http.server);

    let http = Http::operating(&flags);
    assert_eq!(http.get(path).expect(200), json!({}));
    assert_eq!(put(&http, small).expect(201)["id"], 4);
}

/// The same reason everywhere: `/readyz`, the server, `stats`, the problem of a put.
#[test]
fn a_full_log_is_told() {
    let Some(disk) = SmallDisk::mount() else { return };
    let folder = disk.folder();
    let http = Http::operating(&["-s", "100000", "-b", folder.to_str().unwrap()]);
    let body = vec![b'x'; 10_000];
    let mut refused = None;
    for _ in 0..1000 {
        let put = http.send("POST", JOBS, &[], &body);
        if put.status != 201 {
            refused = Some(put);
            break;
        }
    }
    let refused = refused.expect("the disk is full at some time");
    assert!([503, 507].contains(&refused.status), "{refused:?}");
    eventually("the log is full", || {
        let put = http.send("POST", JOBS, &[], &body);
        put.status == 507 && put.is_problem(507, "log-full")["detail"].as_str().is_some()
    });
    let ready = http.get("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["reasons"][0]["name"], "log_full");
    let server = http.get("/api/v1/server").expect(200);
    assert_eq!(server["log"]["health"], "full");
    assert_eq!(http.queue().ask("stats").value("binlog-state"), Some("full"));
    // Deletes have their room, and make some: the log recovers by itself.
    http.post("/api/v1/tubes/t/clear", "").expect(200);
    eventually("there is room again", || http.get("/readyz").status == 200);
    http.send("POST", JOBS, &[], &body).expect(201);
}

/// It says so until the clients are gone, and refuses changes.
#[test]
fn while_it_stops() {
    let mut http = Http::operating(&[]);
    // A client that does not read holds the end up.
    let mut deaf = http.queue();
    let body = "x".repeat(60_000);
    deaf.send(format!("put 0 0 60 {}\r\n{body}\r\n", body.len()));
    deaf.reply();
    deaf.send("peek 1\r\n".repeat(400));
    eventually("its replies wait", || {
        let found = http.get("/api/v1/connections").expect(200);
        let found = found["connections"].as_array().unwrap().clone();
        found.iter().any(|conn| conn["unsent_bytes"].as_u64().unwrap() > 100_000)
    });
    http.server.signal(nix::sys::signal::Signal::SIGTERM);
    eventually("it says that it stops", || {
        let ready = http.get("/readyz");
        ready.status == 503 && ready.json()["reasons"][0]["name"] == "stopping"
    });
    assert_eq!(http.get("/api/v1/server").expect(200)["state"], "stopping");
    http.send("POST", JOBS, &[], b"x").is_problem(503, "stopping");
    drop(deaf);
    let status = http.server.exit_status(crate::support::PATIENCE);
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}
