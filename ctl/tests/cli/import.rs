//! Jobs to a file, and back.

use std::fs;

use serde_json::{Value, json};

use crate::each_server;
use crate::rig::Ctl;
use crate::support::scratch_path;

each_server!(
    a_tube_goes_to_a_file_and_into_another_tube,
    a_line_that_is_wrong_is_named,
    it_goes_on_where_it_ended,
    a_refused_line_is_named,
);

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn a_tube_goes_to_a_file_and_into_another_tube(ctl: &Ctl) {
    ctl.ok(&["put", "t", "text", "--priority", "5", "--ttr", "9"]);
    ctl.run_on(&["put", "t"], b"\xff");
    let path = scratch_path("jsonl");
    let file = path.to_str().unwrap();
    assert_eq!(ctl.ok(&["export", "t", file, "--by-reserving"]), "2 exported\n");
    // They are back.
    assert_eq!(ctl.json(&["tube", "t"])["current-jobs-ready"], json!(2));
    let said = ctl.run(&["export", "t", file, "--by-reserving"]);
    assert_eq!(said.status, 7, "an earlier export is not overwritten: {said:?}");
    let exported = fs::read_to_string(&path).unwrap();
    assert_eq!(
        lines(&exported),
        [
            json!({"id": 1, "tube": "t", "state": "ready", "priority": 5, "delay": 0, "ttr": 9,
                "body": "text"}),
            json!({"id": 2, "tube": "t", "state": "ready", "priority": 2_147_483_648_u32,
                "delay": 0, "ttr": 60, "body_base64": "/w=="}),
        ]
    );
    assert_eq!(ctl.ok(&["import", file, "--tube", "copy"]), "2 jobs queued\n");
    let copy = ctl.json(&["job", "3"]);
    assert_eq!((&copy["tube"], &copy["pri"], &copy["ttr"]), (&json!("copy"), &json!(5), &json!(9)));
    assert_eq!(ctl.json(&["job", "4"])["body_base64"], json!("/w=="));
    fs::remove_file(path).unwrap();
    // Buried jobs are buried, and nobody can take them before that.
    let buried = br#"{"tube": "b", "state": "buried", "priority": 3, "delay": 0, "body": "x"}"#;
    assert_eq!(ctl.run_on(&["import"], buried).status, 0);
    let job = ctl.json(&["job", "5"]);
    assert_eq!((&job["state"], &job["pri"]), (&json!("buried"), &json!(3)));
}

fn a_line_that_is_wrong_is_named(ctl: &Ctl) {
    for (line, why) in [
        ("{", "EOF"),
        (r#"{"tube": "t"}"#, "neither"),
        (r#"{"tube": "t", "body": "x", "surprise": 1}"#, "surprise"),
        (r#"{"tube": "a b", "body": "x"}"#, "tube: "),
        (r#"{"body": "x"}"#, "--tube"),
        (r#"{"tube": "t", "body_base64": "!"}"#, "body_base64"),
        ("\u{fffd}", "expected value"),
    ] {
        let input = format!("{{\"tube\": \"t\", \"body\": \"first\"}}\n\n{line}\n");
        let said = ctl.run_on(&["import"], input.as_bytes());
        assert_eq!(said.status, 7, "{said:?}");
        for part in ["line 3", why, "1 jobs queued", "--from-line 3"] {
            assert!(said.err.contains(part), "{part} in {said:?}");
        }
    }
}

fn it_goes_on_where_it_ended(ctl: &Ctl) {
    let good = |number: usize| format!("{{\"tube\": \"t\", \"body\": \"{number}\"}}\n");
    let broken: String =
        (1..=5000).map(|it| if it == 3000 { "?\n".into() } else { good(it) }).collect();
    let said = ctl.run_on(&["import"], broken.as_bytes());
    assert_eq!(said.status, 7);
    assert!(said.err.contains("2,999 jobs queued"), "{said:?}");
    let whole: String = (1..=5000).map(good).collect();
    let said = ctl.run_on(&["import", "--from-line", "3000"], whole.as_bytes());
    assert_eq!((said.status, said.out.as_str()), (0, "2,001 jobs queued\n"), "{said:?}");
    assert_eq!(ctl.json(&["tube", "t"])["current-jobs-ready"], json!(5000));
}

/// All that was on its way behind it is in the queue, and the message says so.
fn a_refused_line_is_named(ctl: &Ctl) {
    let large = "x".repeat(70_000);
    let input: String = (1..=100)
        .map(|number| {
            let body = if number == 40 { large.as_str() } else { "small" };
            format!("{{\"tube\": \"t\", \"body\": \"{body}\"}}\n")
        })
        .collect();
    let said = ctl.run_on(&["import"], input.as_bytes());
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.err.contains("line 40 was not queued"), "{said:?}");
    let queued = ctl.json(&["tube", "t"])["current-jobs-ready"].as_u64().unwrap();
    assert!(said.err.contains(&format!("{queued} jobs queued")), "{queued}: {said:?}");
    // It can be gone on with behind it.
    let from = said.err.rsplit("--from-line ").next().unwrap().trim().to_owned();
    let rest = ctl.run_on(&["import", "--from-line", &from], input.as_bytes());
    assert_eq!(rest.status, 0, "{rest:?}");
    assert_eq!(ctl.json(&["tube", "t"])["current-jobs-ready"], json!(99));
}
