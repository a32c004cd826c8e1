//! The page, as far as it is played.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the project.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Its contents.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Something in an incident that is played.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `<!-- make: NAME -->`: something happens that an operator does not do.
    Make(String),
    /// A command of a `console` block, and the lines that it is shown to print.
    Run { line: usize, command: String, shown: Vec<String> },
}

/// The sections of the runbook: heading, and what is played.
pub(crate) fn incidents() -> Vec<(String, Vec<Step>)> {
    parse(&read("docs/operations.md"))
}

fn parse(text: &str) -> Vec<(String, Vec<Step>)> {
    let mut incidents: Vec<(String, Vec<Step>)> = Vec::new();
    let mut in_runbook = false;
    let mut in_block = false;
    for (number, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("## ") {
            in_runbook = heading == "Runbook";
        }
        if !in_runbook {
            continue;
        }
        if let Some(heading) = line.strip_prefix("### ") {
            incidents.push((heading.to_owned(), Vec::new()));
            continue;
        }
        let Some((_, steps)) = incidents.last_mut() else { continue };
        let made = line.strip_prefix("<!-- make: ").and_then(|rest| rest.strip_suffix(" -->"));
        if let Some(name) = made {
            steps.push(Step::Make(name.to_owned()));
        } else if line.starts_with("```") {
            in_block = line == "```console";
        } else if in_block {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    let command = command.to_owned();
                    steps.push(Step::Run { line: number + 1, command, shown: Vec::new() });
                }
                (None, Some(Step::Run { shown, .. })) => shown.push(line.to_owned()),
                (None, _) => panic!("line {}: a block begins with a command", number + 1),
            }
        }
    }
    incidents
}

#[test]
fn steps_are_found() {
    let text = "## Runbook\n### A\n<!-- make: x -->\n```console\n$ a b\n1\n2\n$ c\n```\n\
                ```sh\n$ no\n```\n## B\n### C\n";
    let run = |line, command: &str, shown: &[&str]| Step::Run {
        line,
        command: command.to_owned(),
        shown: shown.iter().map(ToString::to_string).collect(),
    };
    let steps = vec![Step::Make("x".into()), run(5, "a b", &["1", "2"]), run(8, "c", &[])];
    assert_eq!(parse(text), [("A".to_owned(), steps)]);
}
