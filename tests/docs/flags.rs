//! The tables of flags and `--help` name the same.

use std::collections::BTreeSet;

use crate::markdown::{first_cells, page, pages};
use crate::programs::{OURS, help};

/// Accepted for the sake of old command lines, and not shown by `--help`.
const OBSOLETE: [&str; 2] = ["-c", "-n"];

/// The flags of other programs, of which pages speak.
const OF_OTHERS: &[&str] = &["--write"];

/// The subcommands of jq-worker that have flags of their own.
const COMMANDS: [&str; 4] = ["check", "selftest", "run", "submit"];

/// The options in a help text, all the names of each.
fn options(help: &str) -> Vec<Vec<&str>> {
    let lines = help.lines().map(str::trim_start).filter(|line| is_flag(line));
    lines
        .map(|line| {
            let words = line.split([' ', ',']).filter(|word| !word.is_empty());
            words
                .take_while(|word| word.starts_with('-'))
                .map(|it| it.trim_end_matches("..."))
                .collect()
        })
        .collect()
}

/// The flags among these spans of code, without their values.
fn flags<'a>(spans: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    spans.filter(|span| is_flag(span)).filter_map(|span| span.split([' ', '=']).next()).collect()
}

fn is_flag(span: &str) -> bool {
    let name = span.trim_start_matches('-');
    let dashes = span.len() - name.len();
    (1..=2).contains(&dashes) && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// The flags in the first column of a section's tables.
fn in_table(path: &str, heading: &str) -> BTreeSet<String> {
    let page = page(path);
    let cells = first_cells(page.section(heading));
    let spans = cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2));
    flags(spans).into_iter().map(str::to_owned).collect()
}

#[test]
fn the_readme_has_every_flag_of_the_server_and_no_other() {
    let table = in_table("README.md", "Flags");
    let help = help("jq-server", &[]);
    assert_table_is(&table, options(&help));
}

#[test]
fn the_page_on_compatibility_has_every_short_flag_and_no_other() {
    let table = in_table("docs/compat.md", "Command line");
    let help = help("jq-server", &[]);
    let short = options(&help)
        .into_iter()
        .map(|names| names.into_iter().filter(|name| !name.starts_with("--")).collect::<Vec<_>>());
    assert_table_is(&table, short.filter(|names| !names.is_empty()).collect());
}

fn assert_table_is(table: &BTreeSet<String>, options: Vec<Vec<&str>>) {
    assert!(options.len() > 10, "{options:?}");
    for names in &options {
        assert!(names.iter().any(|name| table.contains(*name)), "{names:?} is not in the table");
    }
    let known: BTreeSet<&str> = options.into_iter().flatten().chain(OBSOLETE).collect();
    for flag in table {
        assert!(known.contains(&**flag), "{flag} is in the table and not in --help");
    }
}

#[test]
fn the_page_on_the_worker_has_every_flag() {
    let page = page("docs/worker.md");
    let spans = page.spans();
    let named = flags(spans.iter().map(|span| &*span.text));
    // How to ask for help needs no documentation.
    let obvious = ["--help", "--version"];
    // The pages show it in command lines.
    let shown = |name: &&str| page.text.contains(&format!("{name} "));
    for subcommand in COMMANDS.iter().map(|it| Some(*it)).chain([None]) {
        let help = help("jq-worker", subcommand.as_slice());
        for names in options(&help) {
            let is_named =
                names.iter().any(|it| named.contains(it) || obvious.contains(it) || shown(it));
            assert!(is_named, "{subcommand:?} {names:?} is not in docs/worker.md");
        }
    }
}

/// The commands that jq-ctl lists in its help.
fn subcommands_of_ctl() -> Vec<String> {
    let help = help("jq-ctl", &[]);
    let listed = help.split("Commands:").nth(1).and_then(|rest| rest.split("Options:").next());
    let lines = listed.expect("it lists its commands").lines();
    let name = |line: &str| Some(line.strip_prefix("  ")?.split(' ').next()?.to_owned());
    lines.filter_map(name).filter(|name| !name.is_empty() && name != "help").collect()
}

/// The table of commands has them all and no other.
#[test]
fn the_page_on_ctl_has_every_command() {
    let page = page("docs/ctl.md");
    let table = page.text.split("## Commands").nth(1).and_then(|it| it.split("## ").next());
    let rows = table.expect("there is one").lines().filter(|line| line.starts_with("| `"));
    let in_table: BTreeSet<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect();
    let listed = subcommands_of_ctl();
    assert_eq!(in_table, listed.iter().map(String::as_str).collect());
}

/// Every flag that a page speaks of is one of our programs'.
#[test]
fn flags_that_are_named_exist() {
    let mut helps: Vec<String> = OURS.iter().map(|program| help(program, &[])).collect();
    helps.extend(COMMANDS.iter().map(|subcommand| help("jq-worker", &[subcommand])));
    helps.push(help("jq-server", &["hash-token"]));
    helps.extend(subcommands_of_ctl().iter().map(|subcommand| help("jq-ctl", &[subcommand])));
    let known: BTreeSet<&str> = helps.iter().flat_map(|help| options(help)).flatten().collect();
    let known: BTreeSet<&str> =
        known.into_iter().chain(OBSOLETE).chain(OF_OTHERS.iter().copied()).collect();
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages() {
        for span in page.spans() {
            for flag in flags(std::iter::once(&*span.text)) {
                count += 1;
                // A bundle, or a value attached: the first letter is a flag.
                let first = &flag[..2];
                let is_known = known.contains(flag) || (first != "--" && known.contains(first));
                if !is_known {
                    wrong.push(format!("{}: {flag}", span.place));
                }
            }
        }
    }
    assert!(count > 50, "flags are found: {count}");
    assert!(wrong.is_empty(), "there are no such flags:\n{}", wrong.join("\n"));
}

#[test]
fn options_are_read_from_help() {
    let help = "Options:\n  -b <DIR>\n          Keep\n  -v, --version  Print\n      --x <Y>\n  -V...  More\n";
    assert_eq!(options(help), [vec!["-b"], vec!["-v", "--version"], vec!["--x"], vec!["-V"]]);
    let spans = ["-b DIR", "--x=1", "-1", "- a", "---", "x -b"];
    assert_eq!(flags(spans.into_iter()), BTreeSet::from(["-b", "--x"]));
}
