//! Each command line in the pages would be accepted by the program that it starts.

use std::path::Path;
use std::process;

use crate::links::begins_in_the_project;
use crate::markdown::{Page, Placed, pages, project};
use crate::shell::{self, Command};
use crate::{cargo, programs, support};

/// Programs of others, of which only the files that they are given are checked.
const OTHERS: &[&str] = &[
    "beanstalkd",
    "cp",
    "curl",
    "docker",
    "export",
    "kubectl",
    "mdbook",
    "mkdir",
    "nc",
    "php",
    "printf",
    "python3",
    "systemctl",
    "telnet",
    "xargs",
];

/// Words that begin like a script of ours.
const SCRIPT: &str = "#!";

#[test]
fn command_lines_are_accepted() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages() {
        for command in commands(&page) {
            count += 1;
            if let Err(why) = accepted(&command) {
                let line = command.words.join(" ");
                wrong.push(format!("{}: {line}\n    {}", command.place, why.trim()));
            }
        }
    }
    assert!(count > 50, "command lines are found: {count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a page shows: all of a block that is labelled `sh`; of others, and of code in the text, what
/// starts a program of ours.
fn commands(page: &Page) -> Vec<Command> {
    let is_ours = |command: &Command| {
        command.program() == "cargo" || programs::OURS.contains(&command.program())
    };
    let mut commands = Vec::new();
    for block in page.blocks() {
        if block.text().starts_with(SCRIPT) {
            continue;
        }
        let shown = shell::commands(&block).into_iter();
        match &*block.language {
            "sh" => commands.extend(shown),
            // `jq-worker` in a listing is no command.
            "" => commands.extend(shown.filter(|it| is_ours(it) && it.words.len() > 1)),
            _ => {}
        }
    }
    let in_text = page.spans().into_iter().filter(is_complete);
    let in_text = in_text.flat_map(|span| shell::parse(&span));
    commands.extend(in_text.filter(|it| is_ours(it) && it.words.len() > 1));
    commands
}

/// Three dots stand for what is left out.
fn is_complete(span: &Placed) -> bool {
    !span.text.contains("...")
}

fn accepted(command: &Command) -> Result<(), String> {
    let program = command.program();
    let arguments = command.arguments();
    for path in command.words.iter().filter(|word| begins_in_the_project(word)) {
        if !project().join(path).exists() {
            return Err(format!("there is no {path}"));
        }
    }
    if program == "cargo" {
        cargo::accepts(arguments)
    } else if programs::OURS.contains(&program) {
        programs::accepts(program, arguments)
    } else if let Some(script) = script(&command.words[0]) {
        script_accepts(&script, arguments)
    } else if OTHERS.contains(&program) {
        Ok(())
    } else {
        Err(format!("{program} is not known here"))
    }
}

/// A program of the project that need not be built.
fn script(word: &str) -> Option<std::path::PathBuf> {
    let path = project().join(word);
    (word.contains('/') && path.is_file()).then_some(path)
}

fn script_accepts(script: &Path, arguments: &[String]) -> Result<(), String> {
    if support::executable("python3").is_none() || script.extension().is_none_or(|it| it != "py") {
        return Ok(());
    }
    let output =
        process::Command::new("python3").arg(script).args(arguments).arg("--help").output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn wrong_command_lines_are_found() {
    let accepted = |text: &str| {
        let line = Placed { place: "here".to_owned(), text: text.to_owned() };
        shell::parse(&line).iter().try_for_each(accepted)
    };
    assert_eq!(accepted("./test --locked && cargo build # both"), Ok(()));
    assert_eq!(accepted("python3 examples/website/submit.py"), Ok(()));
    for wrong in ["jq-sever -p 1", "./tset", "python3 examples/no-such.py", "cargo build -z"] {
        assert!(accepted(wrong).is_err(), "{wrong}");
    }
    if support::executable("python3").is_some() {
        assert!(accepted("benches/baseline.py no-such").is_err());
    }
}
