//! The files that are shipped are those that the programs make now, `man` and `mandoc` accept the pages,
//! and the shells complete with the completions.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jq_manuals::{files, packaging, programs};

// Others need a beanstalkd too.
#[allow(dead_code)]
#[path = "../../../tests/support/peer.rs"]
mod peer;

/// The folders in `packaging/` that are made.
const MADE: [&str; 2] = ["man", "completions"];

fn files_in(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).expect("it is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            files_in(&path, found);
        } else {
            found.insert(path.strip_prefix(packaging()).expect("it is in there").to_owned());
        }
    }
}

#[test]
fn they_are_current() {
    let files = files();
    for (path, text) in &files {
        let found = fs::read_to_string(packaging().join(path)).unwrap_or_default();
        assert!(found == *text, "{} is not what the programs say: cargo manuals", path.display());
    }
    let mut found = BTreeSet::new();
    MADE.iter().for_each(|folder| files_in(&packaging().join(folder), &mut found));
    let made: BTreeSet<PathBuf> = files.into_iter().map(|(path, _)| path).collect();
    assert_eq!(found, made, "nothing is there that is not made any more");
}

/// Somebody who adds a program would otherwise forget them there.
#[test]
fn the_image_has_them() {
    let dockerfile = fs::read_to_string(packaging().join("../Dockerfile")).expect("it is there");
    for (path, _) in files() {
        let path = Path::new("packaging").join(path);
        assert!(dockerfile.contains(path.to_str().expect("it is text")), "{}", path.display());
    }
}

/// All flags, subcommands, variables and statuses of each program.
#[test]
fn the_pages_have_everything() {
    for (command, facts) in programs() {
        let name = command.get_name().to_owned();
        let page =
            fs::read_to_string(packaging().join(format!("man/{name}.1"))).expect("it is there");
        // As roff writes it.
        let page = page.replace("\\-", "-").replace("\\fR", " ").replace("\\fB", " ");
        let has = |text: &str| assert!(page.contains(text), "{name}.1 says nothing of {text}");
        let headings = page.lines().filter_map(|line| line.strip_prefix(".SH "));
        let headings: Vec<&str> = headings.map(|it| it.trim_matches('"')).collect();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT"]
        {
            assert!(headings.contains(&section), "{name}.1 has {headings:?}");
        }
        let subcommands = command.get_subcommands().filter(|it| !it.is_hide_set());
        for command in std::iter::once(&command).chain(subcommands) {
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                arg.get_long().into_iter().for_each(|long| has(&format!("--{long}")));
                arg.get_short().into_iter().for_each(|short| has(&format!(" -{short} ")));
                arg.get_env().into_iter().for_each(|name| has(&name.to_string_lossy()));
            }
        }
        for command in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            has(&format!("{name} {}", command.get_name()));
        }
        for (status, _) in &facts.statuses {
            has(&format!(" {status} "));
        }
    }
}

fn pages() -> Vec<PathBuf> {
    programs().map(|(it, _)| packaging().join(format!("man/{}.1", it.get_name()))).to_vec()
}

#[test]
fn mandoc_accepts_the_pages() {
    let Some(mandoc) = peer::executable("mandoc") else {
        return peer::skip("mandoc", "it is not installed (Debian: apt-get install mandoc)");
    };
    for page in pages() {
        let linted =
            Command::new(&mandoc).args(["-T", "lint", "-W", "warning"]).arg(&page).output();
        let linted = linted.expect("it runs");
        let said = String::from_utf8_lossy(&linted.stdout).into_owned()
            + &String::from_utf8_lossy(&linted.stderr);
        // They have none on purpose.
        let wrong: Vec<&str> = said.lines().filter(|line| !line.contains("missing date")).collect();
        assert!(wrong.is_empty(), "{}:\n{}", page.display(), wrong.join("\n"));
    }
}

#[test]
fn man_shows_the_pages() {
    let Some(man) = peer::executable("man") else {
        return peer::skip("man", "it is not installed (Debian: apt-get install man-db)");
    };
    for page in pages() {
        let shown = Command::new(&man)
            .args(["--warnings=all", "--local-file"])
            .arg(&page)
            .envs([("MANWIDTH", "80"), ("LC_ALL", "C.UTF-8"), ("MANPAGER", "cat")])
            .output()
            .expect("it runs");
        let (said, wrong) =
            (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
        assert!(shown.status.success() && wrong.is_empty(), "{}: {wrong}", page.display());
        for section in ["SYNOPSIS", "EXIT STATUS"] {
            assert!(said.contains(section), "{}: {section} in {said}", page.display());
        }
    }
}

/// What a shell offers, one on a line, when this script is run in the folder of its completions.
fn complete(shell: &str, script: &str) -> Option<BTreeSet<String>> {
    let Some(program) = peer::executable(shell) else {
        let install = format!("it is not installed (Debian: apt-get install {shell})");
        peer::skip(shell, &install);
        return None;
    };
    let folder = packaging().join("completions").join(shell);
    let home = std::env::temp_dir().join(format!("jq-completions-{shell}-{}", std::process::id()));
    fs::create_dir_all(&home).expect("the temporary folder is writable");
    let done = Command::new(program)
        .args(["-c", script])
        .current_dir(folder)
        // No settings of the one who tests.
        .envs([("HOME", &home), ("XDG_CONFIG_HOME", &home), ("ZDOTDIR", &home)])
        .output();
    fs::remove_dir_all(&home).expect("it was just made");
    let done = done.expect("the shell runs");
    let (said, wrong) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && wrong.is_empty(), "{shell}: {said}\n{wrong}");
    // What fish says of each is behind a tab.
    let words = said.lines().filter_map(|line| line.split('\t').next());
    Some(words.map(str::to_owned).collect())
}

#[track_caller]
fn assert_has(offered: &BTreeSet<String>, wanted: &[&str]) {
    for word in wanted {
        assert!(offered.contains(*word), "{word} in {offered:?}");
    }
}

/// Loaded, and asked as bash asks when somebody presses Tab.
#[test]
fn bash_completes() {
    let ask = |program: &str, words: &[&str]| {
        let words = [&[program], words].concat();
        let (last, before) = (words.len() - 1, words.len() - 2);
        let script = format!(
            "source ./{program} && COMP_WORDS=({all}) COMP_CWORD={last} && \
             \"$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/')\" {program} '{}' '{}' && \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words[last],
            words[before],
            all = words.join(" "),
        );
        complete("bash", &script)
    };
    let Some(commands) = ask("jq-ctl", &["k"]) else { return };
    assert_has(&commands, &["kick"]);
    let Some(states) = ask("jq-ctl", &["jobs", "--state", "b"]) else { return };
    assert_has(&states, &["buried"]);
    let Some(flags) = ask("jq-server", &["--binlog-"]) else { return };
    assert_has(&flags, &["--binlog-backup", "--binlog-check", "--binlog-dump"]);
    let Some(commands) = ask("jq-worker", &["s"]) else { return };
    assert_has(&commands, &["selftest", "submit"]);
}

#[test]
fn fish_completes() {
    let ask = |program: &str, line: &str| {
        complete("fish", &format!("source ./{program}.fish; complete -C '{line}'"))
    };
    let Some(commands) = ask("jq-ctl", "jq-ctl k") else { return };
    assert_has(&commands, &["kick"]);
    let Some(states) = ask("jq-ctl", "jq-ctl jobs --state b") else { return };
    assert_has(&states, &["buried"]);
    let Some(flags) = ask("jq-server", "jq-server --binlog-") else { return };
    assert_has(&flags, &["--binlog-backup", "--binlog-check", "--binlog-dump"]);
    let Some(commands) = ask("jq-worker", "jq-worker s") else { return };
    assert_has(&commands, &["selftest", "submit"]);
}

/// Loaded by zsh's own machinery, which has to find them by their names, and asked in a terminal of its
/// own, since zsh completes only there.
#[test]
fn zsh_completes() {
    let ask = |line: &str| {
        // What is offered is shown by a `compadd` of ours, instead of by the editor. Markers are put
        // together from two parts, since the terminal echoes what is typed.
        let script = r#"
            zmodload zsh/zpty && zpty z zsh -f -i
            zpty -w z 'PROMPT=; fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D
                compadd() {
                    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
                    typeset -a offered; builtin compadd -A offered "$@"
                    print -rl -- "offered="$^offered
                }
                bindkey "^I" complete-word; print rea""dy'
            zpty -r -m z said '*ready*'
            zpty -w -n z $'LINE\t'
            zpty -w z $'\C-uprint fini""shed'
            zpty -r -m z said '*finished*'
            print -r -- $said | tr -d '\r' | sed -n 's/.*offered=//p'"#;
        complete("zsh", &script.replace("LINE", line))
    };
    let Some(commands) = ask("jq-ctl k") else { return };
    assert_has(&commands, &["kick"]);
    let Some(states) = ask("jq-ctl jobs --state b") else { return };
    assert_has(&states, &["buried"]);
    let Some(flags) = ask("jq-server --binlog-") else { return };
    assert_has(&flags, &["--binlog-backup", "--binlog-check", "--binlog-dump"]);
    let Some(commands) = ask("jq-worker s") else { return };
    assert_has(&commands, &["selftest", "submit"]);
}
