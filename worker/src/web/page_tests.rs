use super::*;

fn status() -> Status {
    let started = "2026-11-22T10:00:00Z".parse().unwrap();
    Status {
        worker: "worker1.example".to_owned(),
        version: "0.1.0".to_owned(),
        state: State::Running,
        reasons: Vec::new(),
        started,
        concurrency: 4,
        unpublished: 0,
        servers: Vec::new(),
        running: Vec::new(),
        types: Vec::new(),
        resources: Vec::new(),
        failures: Vec::new(),
    }
}

fn now() -> Timestamp {
    "2026-11-22T12:03:10.12Z".parse().unwrap()
}

fn failure(message: &str) -> FailureStatus {
    FailureStatus {
        id: Some(Uuid::nil()),
        job_type: None,
        at: now(),
        kind: "executor".to_owned(),
        message: message.to_owned(),
    }
}

#[test]
fn what_comes_from_elsewhere_is_text() {
    let hostile = "</td><script>alert(1)</script>&\"'\u{0}\u{202e}";
    let mut status = status();
    status.worker = hostile.to_owned();
    status.version = hostile.to_owned();
    status.reasons = vec![hostile.to_owned()];
    status.failures = vec![FailureStatus {
        job_type: Some(hostile.to_owned()),
        kind: hostile.to_owned(),
        ..failure(hostile)
    }];
    status.servers = vec![ServerStatus {
        address: hostile.to_owned(),
        tubes: vec![hostile.to_owned()],
        connected: false,
        error: Some(hostile.to_owned()),
    }];
    status.types = vec![TypeStatus {
        name: hostile.to_owned(),
        running: 0,
        concurrency: 1,
        successful: 0,
        failed: 0,
        retried: 0,
    }];
    status.resources =
        vec![ResourceStatus { name: hostile.to_owned(), total: 2, in_use: 1, waiting: 3 }];
    status.running = vec![RunStatus {
        id: Uuid::nil(),
        job_type: hostile.to_owned(),
        attempt: 1,
        started: now(),
        progress: Some(f64::NAN),
    }];
    let page = render(&status, now());
    assert!(!page.contains("<script>alert"), "{page}");
    assert!(!page.contains(['\u{0}', '\u{202e}']), "{page}");
    let escaped =
        "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;\u{fffd}\u{fffd}";
    assert_eq!(page.matches(escaped).count(), 13, "{page}");
    assert!(!page.contains("NaN"), "{page}");
}

#[test]
fn jobs_can_be_cancelled_and_run_again() {
    let mut status = status();
    status.failures = vec![failure("x")];
    status.running = vec![RunStatus {
        id: Uuid::max(),
        job_type: "t".to_owned(),
        attempt: 1,
        started: now(),
        progress: None,
    }];
    let page = render(&status, now());
    for (id, what) in [(Uuid::max(), "cancel"), (Uuid::nil(), "run again")] {
        assert!(page.contains(&format!("<button data-id=\"{id}\">{what}</button>")), "{page}");
    }
}

#[test]
fn a_long_text_and_a_long_table_are_cut() {
    let mut status = status();
    status.failures = vec![failure(&"\u{e9}".repeat(10_000)); 1000];
    let page = render(&status, now());
    assert_eq!(page.matches("\u{e9}\u{2026}").count(), MAX_ROWS);
    assert!(page.contains("<p>And 900 more.</p>"), "{page}");
    assert!(page.len() < 200_000, "{} bytes", page.len());
}

#[test]
fn states_are_said_in_words() {
    for (state, word) in [
        (State::Running, ">running<"),
        (State::Waiting, ">waiting: takes no new jobs at present<"),
        (State::Holding, ">holding: takes no new jobs<"),
        (State::Draining, ">draining: finishes what runs, then exits<"),
    ] {
        let page = render(&Status { state, ..status() }, now());
        assert!(page.contains(word), "{page}");
        assert!(page.contains("2 h 3 min"), "{page}");
        assert!(!page.contains("not published"), "{page}");
    }
    let page = render(&Status { unpublished: 3, ..status() }, now());
    assert!(page.contains(">3 not published yet<"), "{page}");
}

#[test]
fn resources_are_shown_if_there_are_any() {
    assert!(!render(&status(), now()).contains("Resources"));
    let gpu = ResourceStatus { name: "gpu".to_owned(), total: 2, in_use: 1, waiting: 3000 };
    let page = render(&Status { resources: vec![gpu], ..status() }, now());
    let row = "<tr><td>gpu<td class=n>1 of 2<td class=n>3\u{202f}000</tr>";
    assert!(page.contains("<h2>Resources</h2>") && page.contains(row), "{page}");
}

#[test]
fn times_and_numbers_are_for_people() {
    let ago = |seconds: i64| {
        let then = now() - jiff::SignedDuration::from_secs(seconds);
        let text = Ago(then, now()).to_string();
        text.split(['<', '>']).nth(2).unwrap().to_owned()
    };
    for (seconds, text) in [
        (-5, "0 s"),
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 1 h"),
    ] {
        assert_eq!(ago(seconds), text);
    }
    for (number, text) in
        [(0, "0"), (999, "999"), (1000, "1\u{202f}000"), (1_234_567, "1\u{202f}234\u{202f}567")]
    {
        assert_eq!(Count(number).to_string(), text);
    }
}

#[test]
fn nothing_comes_from_elsewhere() {
    let page = render(&status(), now());
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
    // An inline handler or style would be stopped by the policy.
    for forbidden in [" style=", " onclick=", "javascript:"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let policy = POLICY.to_str().unwrap();
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
}
