//! What a principal sees of the whole server.

use crate::scene::Scene;
use crate::support::Conn;

const SITE: &str = "[[principal]]\nname = \"site\"\nput = [\"a*\"]\npeek = [\"b\"]\n";

fn fill(operator: &mut Conn) {
    for (tube, jobs) in [("a1", 1), ("a2", 2), ("b", 3), ("c", 4)] {
        operator.ask(format!("use {tube}"));
        for _ in 0..jobs {
            operator.send("put 5 0 60 10\r\n0123456789\r\n");
            operator.reply();
        }
    }
    operator.ask("use c");
}

#[test]
fn only_tubes_with_a_right_are_listed() {
    let scene = Scene::start(SITE, &["site"], &[]);
    let mut operator = scene.operator();
    fill(&mut operator);
    let mut conn = scene.act_as("site");
    conn.send("list-tubes\r\nlist-tubes\r\nlist-tube-used\r\n");
    let list = "OK 20\r\n---\n- a1\n- a2\n- b\n\r\n";
    let list = list.replace("OK 20", &format!("OK {}", "---\n- a1\n- a2\n- b\n".len()));
    conn.expect(format!("{list}{list}USING default\r\n"));
    let all = operator.ask("list-tubes");
    assert!(all.to_string().contains("- c"), "{all}");
    // Every listing is a batch of its own, whatever comes behind.
    conn.send("list-tubes\r\n".repeat(600));
    conn.expect(list.repeat(600));
}

#[test]
fn stats_are_the_sums_of_what_is_seen() {
    let scene = Scene::start(SITE, &["site"], &[]);
    let mut operator = scene.operator();
    fill(&mut operator);
    let mut conn = scene.act_as("site");
    conn.ask("pause-tube c 0");
    let stats = conn.ask("stats");
    let whole = operator.ask("stats");
    let expected = [
        ("current-jobs-urgent", "6", "10"),
        ("current-jobs-ready", "6", "10"),
        ("current-jobs-bytes", "60", "100"),
        ("total-jobs", "6", "10"),
        ("current-tubes", "3", "5"),
        ("denied-commands", "1", "1"),
        ("max-job-size", "65535", "65535"),
        ("version", "\"1.13\"", "\"1.13\""),
        ("draining", "false", "false"),
        ("cmd-put", "0", "10"),
        ("current-producers", "0", "1"),
    ];
    for (key, part, all) in expected {
        assert_eq!(stats.value(key), Some(part), "{key} of the site");
        assert_eq!(whole.value(key), Some(all), "{key} of the operator");
    }
    for key in ["pid", "hostname", "os", "current-connections", "memory-resident-bytes"] {
        let told = stats.value(key).expect("the key is there");
        assert!(["0", "\"\""].contains(&told), "{key}: {told}");
        assert_ne!(whole.value(key), Some(told), "{key} of the operator");
    }
    // What is known for a moment is not known for ever.
    operator.send("use a1\r\nput 5 0 60 1\r\nx\r\n");
    operator.expect("USING a1\r\n");
    operator.reply();
    crate::support::eventually("the new job is counted", || {
        conn.ask("stats").value("current-jobs-ready") == Some("7")
    });
}

#[test]
fn the_keys_of_stats_are_the_same_for_all() {
    let scene = Scene::start(SITE, &["site"], &[]);
    let keys = |mut conn: Conn| {
        let stats = conn.ask("stats");
        let text = String::from_utf8_lossy(stats.body().expect("it has a body")).into_owned();
        let key = |line: &str| line.split(':').next().map(str::to_owned);
        text.lines().filter_map(key).collect::<Vec<_>>()
    };
    assert_eq!(keys(scene.act_as("site")), keys(scene.operator()));
}
