//! What needs only the protocol.

use serde_json::json;

use crate::each_server;
use crate::rig::Ctl;

each_server!(
    puts_and_looks,
    a_body_comes_from_wherever_it_is,
    takes_and_gives_back,
    changes_jobs,
    what_is_not_there_is_said,
    kicks_only_what_was_buried,
    pauses_and_resumes,
    waits_until_a_tube_is_empty,
    measures_and_leaves_nothing,
    destroys_only_after_a_yes,
    bodies_cannot_move_the_cursor,
    clears_a_tube,
    lists_and_moves_where_that_is_possible,
);

fn puts_and_looks(ctl: &Ctl) {
    assert_eq!(ctl.ok(&["put", "mail", "hello", "--priority", "7"]), "1\n");
    assert_eq!(ctl.json(&["put", "mail", "later", "--delay", "9"]), json!({"id": 2}));
    let job = ctl.json(&["job", "1"]);
    assert_eq!(
        (&job["body"], &job["pri"], &job["state"]),
        (&json!("hello"), &json!(7), &json!("ready"))
    );
    assert!(ctl.ok(&["job", "1"]).ends_with("\n\nhello\n"));
    let tube = ctl.json(&["tube", "mail"]);
    assert_eq!((&tube["name"], &tube["current-jobs-delayed"]), (&json!("mail"), &json!(1)));
    let stats = ctl.json(&["stats", "current-jobs"]);
    assert_eq!(stats["current-jobs-ready"], json!(1));
    assert!(stats.as_object().unwrap().keys().all(|key| key.contains("current-jobs")));
    let tubes = ctl.ok(&["tubes"]);
    let mail = tubes.lines().find(|line| line.starts_with("mail")).unwrap();
    assert!(mail.ends_with("nobody watches it"), "{tubes}");
    let tubes = ctl.json(&["tubes", "ai", "--sort", "ready"]);
    assert_eq!(tubes.as_array().unwrap().len(), 1);
    assert_eq!(ctl.ok(&["peek", "mail"]), "hello\n");
    assert_eq!(ctl.ok(&["peek", "mail", "--state", "delayed"]), "later\n");
    assert_eq!(ctl.json(&["peek", "mail"]), json!({"id": 1, "body": "hello"}));
}

fn a_body_comes_from_wherever_it_is(ctl: &Ctl) {
    let from = |args: &[&str], input: &[u8]| {
        let said = ctl.run_on(args, input);
        assert_eq!(said.status, 0, "{said:?}");
        said.out
    };
    assert_eq!(from(&["put", "t"], b"from\nstdin\n"), "1\n");
    assert_eq!(from(&["put", "t", "--lines"], b"a\r\nb\n\nlast"), "2\n3\n4\n5\n");
    assert_eq!(ctl.json(&["job", "1"])["body"], json!("from\nstdin\n"));
    let bodies = ["2", "3", "4", "5"].map(|id| ctl.json(&["job", id])["body"].clone());
    assert_eq!(bodies, ["a", "b", "", "last"].map(|body| json!(body)));
    let file = env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml";
    assert_eq!(from(&["put", "t", "--file", &file], b""), "6\n");
    let body = ctl.json(&["job", "6"])["body"].clone();
    assert_eq!(body, json!(std::fs::read_to_string(&file).unwrap()));
    let said = ctl.run(&["put", "t", "--file", "/nonexistent"]);
    assert_eq!(said.status, 7, "{said:?}");
    assert!(said.err.contains("/nonexistent"), "{said:?}");
    assert_eq!(from(&["put", "t"], b"\xff\x00"), "7\n");
    assert_eq!(ctl.json(&["job", "7"])["body_base64"], json!("/wA="));
}

fn takes_and_gives_back(ctl: &Ctl) {
    for body in ["one", "two", "three"] {
        ctl.ok(&["put", "t", body, "--priority", "3"]);
    }
    assert_eq!(ctl.ok(&["reserve", "t"]), "one\n");
    let job = ctl.json(&["job", "1"]);
    assert_eq!(
        (&job["state"], &job["pri"], &job["releases"]),
        (&json!("ready"), &json!(3), &json!(1))
    );
    assert_eq!(ctl.ok(&["reserve", "other", "t", "--then", "bury"]), "one\n");
    assert_eq!(ctl.json(&["job", "1"])["state"], json!("buried"));
    assert_eq!(ctl.ok(&["reserve", "t", "--then", "delete", "--count", "2"]), "two\nthree\n");
    let said = ctl.run(&["reserve", "t", "--within", "0"]);
    assert_eq!((said.status, said.err.as_str()), (3, "jq-ctl: no job came in time\n"));
}

fn changes_jobs(ctl: &Ctl) {
    for body in ["1", "2", "3"] {
        ctl.ok(&["put", "t", body]);
    }
    assert_eq!(ctl.ok(&["bury", "1", "2"]), "2 buried\n");
    assert_eq!(ctl.ok(&["kick", "--job", "1"]), "1 kicked\n");
    assert_eq!(ctl.json(&["job", "2"])["state"], json!("buried"));
    assert_eq!(ctl.json(&["kick", "t", "--count", "5"]), json!({"kicked": 1}));
    assert_eq!(
        ctl.json(&["delete", "1", "3", "--yes"]),
        json!({"deleted": [1, 3], "not_found": []})
    );
    assert_eq!(ctl.json(&["stats", "current-jobs-ready"])["current-jobs-ready"], json!(1));
}

fn what_is_not_there_is_said(ctl: &Ctl) {
    ctl.ok(&["put", "t", "1"]);
    for (args, named) in [
        (&["job", "77"][..], "job 77"),
        (&["tube", "nowhere"], "tube nowhere"),
        (&["peek", "t", "--state", "buried"], "buried job in tube t"),
        (&["kick", "--job", "1", "--job", "78"], "jobs 1, 78"),
        (&["bury", "79"], "job 79"),
        (&["delete", "80", "--yes"], "job 80"),
        (&["pause", "nowhere", "5"], "tube nowhere"),
        (&["kick", "nowhere", "--all"], ""),
    ] {
        let said = ctl.run(args);
        if named.is_empty() {
            // To use a tube makes it.
            assert_eq!(said.status, 0, "{args:?}: {said:?}");
        } else {
            assert_eq!(said.status, 2, "{args:?}: {said:?}");
            assert!(said.err.contains(named), "{args:?}: {said:?}");
        }
    }
}

/// A kick that asks for more than is buried would not go on with delayed jobs, but the next would.
fn kicks_only_what_was_buried(ctl: &Ctl) {
    let bodies: String = (0..1500).map(|number| format!("{number}\n")).collect();
    assert_eq!(ctl.run_on(&["put", "t", "--lines"], bodies.as_bytes()).status, 0);
    let ids: Vec<String> = (1..=1500).map(|id| id.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ctl.ok(&[&["bury"], &ids[..]].concat());
    ctl.ok(&["put", "t", "later", "--delay", "1000"]);
    assert_eq!(ctl.ok(&["kick", "t", "--all"]), "1,500 kicked\n");
    let tube = ctl.json(&["tube", "t"]);
    assert_eq!(tube["current-jobs-delayed"], json!(1));
    assert_eq!(ctl.ok(&["kick", "t", "--all"]), "1 kicked\n");
    assert_eq!(ctl.ok(&["kick", "t", "--all"]), "0 kicked\n");
}

fn pauses_and_resumes(ctl: &Ctl) {
    ctl.ok(&["put", "t", "1"]);
    assert_eq!(ctl.ok(&["pause", "t", "1000"]), "t is paused for 1,000 s\n");
    assert_eq!(ctl.json(&["tube", "t"])["pause"], json!(1000));
    assert!(ctl.ok(&["tubes"]).contains("paused for"));
    assert_eq!(ctl.json(&["resume", "t"]), json!({"tube": "t", "pause": 0}));
    assert_eq!(ctl.json(&["tube", "t"])["pause"], json!(0));
}

fn waits_until_a_tube_is_empty(ctl: &Ctl) {
    assert_eq!(ctl.ok(&["wait", "never-was"]), "");
    ctl.ok(&["put", "t", "1"]);
    ctl.ok(&["bury", "1"]);
    let said = ctl.run(&["wait", "t", "--within", "0"]);
    assert_eq!((said.status, said.err.as_str()), (3, "jq-ctl: t still has jobs: 1 buried\n"));
    ctl.ok(&["wait", "t", "--except", "buried"]);
    let waiting = ctl.command(&["wait", "t"]).spawn().unwrap();
    ctl.ok(&["delete", "1", "--yes"]);
    let mut waiting = waiting;
    assert!(waiting.wait().unwrap().success());
}

fn measures_and_leaves_nothing(ctl: &Ctl) {
    let measured = ctl.json(&["bench", "--jobs", "500", "--size", "10", "--in-flight", "7"]);
    let commands = measured.as_array().unwrap().iter().map(|it| it["command"].as_str().unwrap());
    assert_eq!(commands.collect::<Vec<_>>(), ["put", "reserve", "delete"]);
    assert_eq!(ctl.json(&["stats", "current-jobs-ready"])["current-jobs-ready"], json!(0));
    ctl.ok(&["put", "busy", "1"]);
    let said = ctl.run(&["bench", "--tube", "busy"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert_eq!(ctl.json(&["job", "501"])["state"], json!("ready"));
}

fn destroys_only_after_a_yes(ctl: &Ctl) {
    ctl.ok(&["put", "t", "1"]);
    let said = ctl.run(&["delete", "1"]);
    assert_eq!(said.status, 4, "{said:?}");
    assert!(said.err.contains("--yes"), "{said:?}");
    assert_eq!(ctl.json(&["job", "1"])["state"], json!("ready"));
}

fn bodies_cannot_move_the_cursor(ctl: &Ctl) {
    let body = "\x1b[2Jgone\x07";
    ctl.ok(&["put", "t", body]);
    let shown = ctl.ok(&["job", "1"]);
    assert!(shown.contains(r"\u{1b}[2Jgone\u{7}"), "{shown:?}");
    // For a pipe it is what it is.
    assert_eq!(ctl.ok(&["peek", "t"]), format!("{body}\n"));
}

fn clears_a_tube(ctl: &Ctl) {
    ctl.ok(&["put", "t", "ready"]);
    ctl.ok(&["put", "t", "delayed", "--delay", "100"]);
    ctl.ok(&["put", "t", "buried"]);
    ctl.ok(&["bury", "3"]);
    assert_eq!(ctl.run(&["clear", "t"]).status, 4);
    assert_eq!(ctl.json(&["clear", "t", "--yes"]), json!({"deleted": 3}));
    ctl.ok(&["wait", "t", "--within", "5"]);
    assert_eq!(ctl.run(&["clear", "nowhere", "--yes"]).status, 2);
}

/// beanstalkd has no command for it, and nothing stands for it: that is said.
fn lists_and_moves_where_that_is_possible(ctl: &Ctl) {
    ctl.ok(&["put", "t", "1"]);
    let ours = ctl.json(&["stats"]).get("jq-version").is_some();
    for args in [&["jobs", "t"][..], &["move", "--to", "u", "1"], &["export", "t"]] {
        let said = ctl.run(args);
        if ours {
            assert_eq!(said.status, 0, "{args:?}: {said:?}");
            // For the next of them it is back where it was.
            ctl.run(&["move", "--to", "t", "1"]);
        } else {
            assert_eq!(said.status, 1, "{args:?}: {said:?}");
            assert!(said.err.contains("this server cannot"), "{args:?}: {said:?}");
        }
    }
}
