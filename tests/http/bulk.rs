//! Actions on many jobs.

use serde_json::{Value, json};

use crate::client::Http;
use crate::support::eventually;

const BULK: &str = "/api/v1/bulk";

/// Jobs in a tube, put in a few large batches; every tenth has the word `odd` in it.
fn put(http: &Http, tube: &str, jobs: usize) {
    let mut queue = http.queue();
    queue.ask(format!("use {tube}"));
    let text = |number: usize| {
        let body = if number.is_multiple_of(10) { "odd one" } else { "even" };
        format!("put 10 0 60 {}\r\n{body}\r\n", body.len())
    };
    for batch in (0..jobs).collect::<Vec<_>>().chunks(1000) {
        queue.send(batch.iter().map(|number| text(*number)).collect::<String>());
        for _ in batch {
            queue.reply();
        }
    }
}

fn finished(http: &Http, id: &Value) -> Value {
    let mut last = Value::Null;
    eventually("it is over", || {
        last = http.get(&format!("{BULK}/{id}")).expect(200);
        last["state"] != "running"
    });
    last
}

fn run(http: &Http, request: &Value) -> Value {
    let reply = http.post(BULK, &request.to_string());
    let begun = reply.expect(202);
    assert_eq!(reply.header("location"), Some(&*format!("{BULK}/{}", begun["id"])));
    finished(http, &begun["id"])
}

#[test]
fn counted_first_and_then_done() {
    let http = Http::operating(&[]);
    put(&http, "t", 3000);
    let mut request = json!({"action": "bury", "tube": "t", "contains": "odd", "dry_run": true});
    let done = run(&http, &request);
    assert_eq!(
        (&done["matched"], &done["state"], &done["by"]),
        (&json!(300), &json!("done"), &json!("operate"))
    );
    assert_eq!(http.get("/api/v1/tubes/t").expect(200)["jobs"]["buried"], 0);
    let line = |what: &str| {
        let said =
            || http.server.output().lines().find(|line| line.contains(what)).map(str::to_owned);
        eventually(what, || said().is_some());
        said().expect("it was there")
    };
    let said = line("a dry run is over: Done");
    assert!(
        said.contains(" matched=300 would_change=300") && !said.contains(" changed="),
        "{said}"
    );
    request["dry_run"] = json!(false);
    let done = run(&http, &request);
    assert_eq!(
        (&done["matched"], &done["changed"], &done["progress"]),
        (&json!(300), &json!(300), &json!(1.0))
    );
    assert_eq!(http.get("/api/v1/tubes/t").expect(200)["jobs"]["buried"], 300);
    let said = line("an action on many jobs is over: Done");
    assert!(said.contains(" matched=300 changed=300") && !said.contains("would_change"), "{said}");

    let moved = run(&http, &json!({"action": "move", "tube": "t", "state": "buried", "to": "u"}));
    assert_eq!(moved["changed"], 300);
    let kicked = run(&http, &json!({"action": "kick", "tube": "u"}));
    assert_eq!(kicked["changed"], 300);
    let set = run(&http, &json!({"action": "set", "tube": "u", "priority": 1, "delay": 1000}));
    assert_eq!(set["changed"], 300);
    let counts = http.get("/api/v1/tubes/u").expect(200);
    assert_eq!((&counts["jobs"]["delayed"], &counts["jobs"]["ready"]), (&json!(300), &json!(0)));
    let none = run(&http, &json!({"action": "delete", "tube": "t", "older_than": 1_000_000}));
    assert_eq!((&none["matched"], &none["state"]), (&json!(0), &json!("done")));
    let deleted = run(&http, &json!({"action": "delete", "tube": "t", "younger_than": 1_000_000}));
    assert_eq!(deleted["changed"], 2700);
    // All of it can be asked for, the newest first.
    let list = http.get(BULK).expect(200);
    let ids: Vec<_> = list["bulk"].as_array().unwrap().iter().map(|bulk| &bulk["id"]).collect();
    assert_eq!(ids, [7, 6, 5, 4, 3, 2, 1].map(|id| json!(id)).iter().collect::<Vec<_>>());
    http.get(&format!("{BULK}/8")).is_problem(404, "not-found");
}

/// What somebody has reserved is taken from them.
#[test]
fn reserved_jobs_are_released() {
    let http = Http::operating(&[]);
    put(&http, "t", 20);
    let mut worker = http.queue();
    worker.ask("watch t");
    for _ in 0..20 {
        worker.ask("reserve");
    }
    let refused = run(&http, &json!({"action": "kick", "tube": "t"}));
    assert_eq!((&refused["refused"], &refused["changed"]), (&json!(20), &json!(0)));
    let released = run(&http, &json!({"action": "release", "tube": "t", "state": "reserved"}));
    assert_eq!(released["changed"], 20);
    assert_eq!(worker.ask("delete 1").line(), b"DELETED");
    assert_eq!(worker.ask("release 2 0 0").line(), b"NOT_FOUND");
}

/// Clients are served meanwhile, and it stops where it is told to.
#[test]
fn it_can_be_stopped_and_others_get_on() {
    let http = Http::operating(&[]);
    put(&http, "t", 100_000);
    let begin = |request: Value| http.post(BULK, &request.to_string()).expect(202)["id"].clone();
    let id = begin(json!({"action": "bury", "tube": "t"}));
    let mut queue = http.queue();
    for _ in 0..20 {
        queue.ask("list-tube-used");
    }
    http.delete(&format!("{BULK}/{id}")).expect(200);
    let over = finished(&http, &id);
    assert!(["stopped", "done"].contains(&over["state"].as_str().unwrap()), "{over}");
    let buried = http.get("/api/v1/tubes/t").expect(200)["jobs"]["buried"].clone();
    assert_eq!(buried, over["changed"]);
    // What is over stays as it is.
    assert_eq!(http.delete(&format!("{BULK}/{id}")).expect(200)["state"], over["state"]);
}

#[test]
fn only_so_many_go_on_at_a_time() {
    let http = Http::operating(&[]);
    put(&http, "t", 100_000);
    let request = json!({"action": "set", "tube": "t", "priority": 5}).to_string();
    let replies: Vec<_> = (0..12).map(|_| http.post(BULK, &request)).collect();
    let (begun, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 202);
    assert!(begun.len() >= 4, "{replies:?}");
    for reply in refused {
        reply.is_problem(503, "busy");
    }
    for reply in begun {
        http.delete(&format!("{BULK}/{}", reply.json()["id"])).expect(200);
    }
}
