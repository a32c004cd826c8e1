//! Whether our programs accept a command line, by their own parsers.

use std::ffi::OsString;
use std::process::Command;

use jq_server::config::Config;

use crate::support;

/// Our programs, as the pages call them.
pub(crate) const OURS: &[&str] = &["jq-server", "jq-worker", "jq-ctl", "jq-compare"];

/// The names that stand for a number in a command line.
const PORT: &str = "{port}";

/// Whether the program would take these arguments; if not, why.
pub(crate) fn accepts(program: &str, arguments: &[String]) -> Result<(), String> {
    match program {
        "jq-server" => server_accepts(arguments),
        "jq-compare" => {
            help_accepts(program, arguments)?;
            arguments.iter().filter_map(|word| word.split_once('=')).try_for_each(|(_, server)| {
                let words: Vec<String> = server.split(' ').map(str::to_owned).collect();
                let name = words[0].rsplit('/').next().unwrap_or_default();
                if OURS.contains(&name) { accepts(name, &words[1..]) } else { Ok(()) }
            })
        }
        _ => help_accepts(program, arguments),
    }
}

/// The server's parser is a function without effects, so all of it is asked: values and what
/// excludes each other, too.
fn server_accepts(arguments: &[String]) -> Result<(), String> {
    let words = arguments.iter().map(|word| OsString::from(word.replace(PORT, "1")));
    match Config::from_args(std::iter::once("jq-server".into()).chain(words)) {
        Err(exit) if exit.status != 0 => Err(exit.message),
        _ => Ok(()),
    }
}

/// With `--help` behind them, arguments are read and nothing is done: a flag that does not exist
/// and a value that makes no sense are refused before help is asked for.
fn help_accepts(program: &str, arguments: &[String]) -> Result<(), String> {
    // What is behind `--` is another program's.
    let own = arguments.iter().take_while(|word| *word != "--");
    let output = Command::new(support::program(program))
        .args(own)
        .arg("--help")
        .output()
        .unwrap_or_else(|error| panic!("{program} starts: {error}"));
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What `--help` prints, behind further arguments.
pub(crate) fn help(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(support::program(program));
    let output = command.args(arguments).arg("--help").output().expect("it starts");
    assert!(output.status.success(), "{program} {arguments:?} --help");
    String::from_utf8(output.stdout).expect("help is text")
}

#[test]
fn what_the_programs_refuse_is_found() {
    let split = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
    for (program, right) in [
        ("jq-server", "-l 127.0.0.1 -p {port} -b {dir} -f 0 --threads 1"),
        ("jq-worker", "run job.json --handlers ./handlers"),
        ("jq-worker", "--tube t -- ./simulate --fast"),
        ("jq-compare", "--server jq=target/release/jq-server --list"),
    ] {
        let arguments: Vec<String> = split(right)
            .into_iter()
            .map(|it| it.replace("target/release/jq-server", "x {port}"))
            .collect();
        assert_eq!(accepts(program, &arguments), Ok(()), "{program} {right}");
    }
    for (program, wrong) in [
        ("jq-server", "--thread 1"),
        ("jq-server", "-f soon"),
        ("jq-server", "-x"),
        ("jq-server", "-b x --binlog-export-v7 y"),
        ("jq-worker", "--tubes t"),
        ("jq-worker", "run job.json --handler ./handlers"),
        ("jq-worker", "start"),
        ("jq-worker", "--server nowhere"),
        ("jq-compare", "--round 5"),
        ("jq-compare", "--scenario no-such"),
    ] {
        assert!(accepts(program, &split(wrong)).is_err(), "{program} {wrong}");
    }
    let nested = "jq=target/release/jq-server -p {port} --no-such";
    assert!(accepts("jq-compare", &["--server".to_owned(), nested.to_owned()]).is_err());
}
