//! What is packaged is what the manuals say of it.

use std::fs;

use crate::cargo;
use crate::markdown::project;

/// The values of a setting in a unit.
fn values<'u>(unit: &'u str, name: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

#[test]
fn the_unit_of_the_worker_is_what_the_manual_says() {
    let read = |path: &str| fs::read_to_string(project().join(path)).expect("it is there");
    let unit = read("packaging/jq-worker.service");
    let value = |name: &str| match values(&unit, name)[..] {
        [value] => value,
        ref other => panic!("{name}: {other:?}"),
    };
    let command = "/usr/bin/jq-worker --config /etc/jq-worker/jq-worker.toml";
    assert!(value("ExecStart").starts_with(command), "{}", value("ExecStart"));
    assert_eq!(value("DynamicUser"), "yes", "a user of its own");
    assert_eq!(value("StateDirectory"), "jq-worker", "in /var/lib");
    assert_eq!((value("KillMode"), value("KillSignal")), ("mixed", "SIGTERM"));
    assert_eq!(value("Delegate"), "yes");
    assert_eq!(value("ExecReload"), "/bin/kill -HUP $MAINPID");
    let (stop, manual) = (value("TimeoutStopSec"), read("docs/worker.md"));
    let row =
        manual.lines().find(|line| line.starts_with("| `stop_timeout` |")).expect("it is there");
    let default = row.split('|').nth(3).and_then(|it| it.trim().parse::<u64>().ok());
    assert!(stop.parse::<u64>().ok() > default && default.is_some(), "{stop} and {default:?}");
    // A full disk is waited for: the statuses that a restart would not help are those of the manual.
    assert_eq!(value("RestartPreventExitStatus"), "5 10");
    for status in ["5 invalid flags or configuration", "10 the state directory cannot be used"] {
        assert!(manual.replace('\n', " ").contains(status), "{status}");
    }
}

/// What builds the image would be taken by cargo.
#[test]
fn the_commands_of_the_image_are_accepted() {
    let text = fs::read_to_string(project().join("Dockerfile")).expect("it is there");
    let text = text.replace("\\\n", " ");
    let runs = text.lines().filter_map(|line| line.strip_prefix("RUN "));
    let commands: Vec<Vec<String>> = runs
        .flat_map(|run| run.split("&&"))
        .map(|command| command.split_whitespace().map(str::to_owned).collect())
        .filter(|words: &Vec<String>| words.first().is_some_and(|word| word == "cargo"))
        .collect();
    assert!(!commands.is_empty(), "the image is built by cargo");
    for words in commands {
        // It hands all of its arguments on.
        let from = 1 + usize::from(words[1] == "auditable");
        assert_eq!(cargo::accepts(&words[from..]), Ok(()), "{}", words.join(" "));
    }
}
