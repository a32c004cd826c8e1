//! Every sentence of the worker's manual, and of the page about the binlog, names the tests that show that it
//! holds, in `promises.txt`.
//!
//! A sentence there is known by how it begins, within its section. So a new sentence, or one that begins in
//! another way, fails until a test is named for it; so do a test that does not exist, and a sentence that is
//! not in the manual any more. A sentence that promises nothing says so with a `-` and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::markdown::{page, project};

const PROMISES: &str = "tests/docs/promises.txt";

/// The pages, and which section of it; `None` is all.
const PAGES: [(&str, Option<&str>); 3] =
    [("docs/worker.md", None), ("docs/binlog.md", None), ("README.md", Some("jq-worker"))];

/// Where tests are. A name is the path of a file below one of these, without its end, and a function in it.
const ROOTS: [&str; 9] = [
    "worker/tests",
    "worker/src",
    "api/src",
    "http/src",
    "http/tests",
    "quickstart/tests",
    "engine/tests",
    "src",
    "tests",
];

/// A page and a section of it.
type Section = (String, String);

/// The beginning of a sentence, and what is named for it: tests, or a reason why there are none.
#[derive(Debug, Clone)]
struct Entry {
    line: usize,
    begin: String,
    named: Vec<String>,
}

/// The entries by section.
fn entries(text: &str) -> BTreeMap<Section, Vec<Entry>> {
    let mut all: BTreeMap<Section, Vec<Entry>> = BTreeMap::new();
    let (mut page, mut section) = (String::new(), String::new());
    for (number, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut section);
        } else if let Some(path) = line.strip_prefix("# ") {
            path.clone_into(&mut page);
        } else if let Some(named) = line.strip_prefix("    ") {
            let entries = all.get_mut(&(page.clone(), section.clone()));
            let entry = entries.and_then(|entries| entries.last_mut());
            let entry = entry.unwrap_or_else(|| panic!("{PROMISES}:{}: of what?", number + 1));
            entry.named.push(named.to_owned());
        } else if !line.is_empty() {
            let entry = Entry { line: number + 1, begin: line.to_owned(), named: Vec::new() };
            all.entry((page.clone(), section.clone())).or_default().push(entry);
        }
    }
    all
}

/// Text without what is only there for its looks: links are their text.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(end) = rest.find("](") {
        plain.push_str(&rest[..end].replacen('[', "", 1));
        let after = &rest[end + 2..];
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    plain.replace("**", "").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cuts a paragraph into sentences.
fn sentences(paragraph: &str) -> Vec<String> {
    let (mut found, mut begin) = (Vec::new(), 0);
    for (at, _) in paragraph.match_indices(". ") {
        let next = paragraph[at + 2..].chars().next();
        if next.is_some_and(|it| it.is_ascii_uppercase() || "`\"*([".contains(it)) {
            found.push(paragraph[begin..=at].to_owned());
            begin = at + 2;
        }
    }
    found.push(paragraph[begin..].to_owned());
    found
}

/// The sentences of a page by section. The rows of a table and the points of a list count as paragraphs, and
/// a row as one sentence.
fn said(text: &str) -> Vec<(String, String)> {
    let (mut said, mut section, mut open) = (Vec::new(), String::new(), String::new());
    let (mut is_code, mut is_table) = (false, false);
    for line in text.lines().chain([""]) {
        let line = line.trim();
        let is_fence = line.starts_with("```");
        let ends =
            is_fence || line.is_empty() || ["#", "|", "- "].iter().any(|it| line.starts_with(it));
        if ends && !open.is_empty() {
            let paragraph = plain(&std::mem::take(&mut open));
            said.extend(sentences(&paragraph).into_iter().map(|it| (section.clone(), it)));
        }
        is_code ^= is_fence;
        if is_code || is_fence {
            continue;
        }
        let is_row = line.starts_with('|');
        if line.starts_with('#') {
            line.trim_start_matches('#').trim().clone_into(&mut section);
        } else if is_row && is_table && !line.chars().all(|it| "|-: ".contains(it)) {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(plain).collect();
            said.push((section.clone(), cells.join(" | ")));
        } else if !is_row {
            open.push_str(line.strip_prefix("- ").unwrap_or(line));
            open.push(' ');
            if line.is_empty() {
                open.clear();
            }
        }
        // The first row is the head.
        is_table = is_row;
    }
    said
}

/// What is wrong with the entries for a page.
fn unfulfilled(
    path: &str,
    text: &str,
    only: Option<&str>,
    entries: &BTreeMap<Section, Vec<Entry>>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for (section, sentence) in said(text) {
        if only.is_some_and(|only| only != section) {
            continue;
        }
        let of_section = entries.get(&(path.to_owned(), section.clone()));
        let fits = of_section.into_iter().flatten().filter(|it| sentence.starts_with(&it.begin));
        let fits: Vec<&Entry> = fits.collect();
        match fits[..] {
            [] => wrong.push(format!("{path}: {section}: no test is named for: {sentence}")),
            [entry] if !used.insert(entry.line) => {
                wrong.push(format!("{PROMISES}:{}: two sentences begin like this", entry.line));
            }
            [_] => {}
            [_, other, ..] => {
                wrong.push(format!("{PROMISES}:{}: another entry is for this too", other.line));
            }
        }
    }
    let of_page = entries.iter().filter(|((page, _), _)| page == path);
    for entry in of_page.flat_map(|(_, entries)| entries) {
        if !used.contains(&entry.line) {
            wrong.push(format!("{PROMISES}:{}: {path} does not say this", entry.line));
        }
    }
    wrong
}

/// Whether the text of a file has a test of this name.
fn has_test(text: &str, name: &str) -> bool {
    let is_word = |at: usize, length: usize| {
        let is_part = |it: char| it.is_alphanumeric() || it == '_';
        !text[..at].ends_with(is_part) && !text[at + length..].starts_with(is_part)
    };
    // Scenarios that are played against each queue are listed in a macro.
    let listed = text.split("each_queue!(").skip(1).filter_map(|rest| rest.split(')').next());
    if listed.flat_map(|list| list.split(',')).any(|it| it.trim() == name) {
        return true;
    }
    let function = format!("fn {name}(");
    text.match_indices(&function).any(|(at, _)| {
        let before = text[..at].trim_end_matches("async ").trim_end();
        let attribute = before.lines().next_back().unwrap_or_default().trim();
        is_word(at + 3, name.len()) && attribute.starts_with("#[") && attribute.contains("test")
    })
}

fn exists(test: &str) -> bool {
    let Some((path, name)) = test.split_once("::") else { return false };
    ROOTS.iter().any(|root| {
        let file = project().join(root).join(format!("{path}.rs"));
        fs::read_to_string(file).is_ok_and(|text| has_test(&text, name))
    })
}

#[test]
fn every_sentence_has_a_test() {
    let text = fs::read_to_string(project().join(PROMISES)).expect("it is there");
    let entries = entries(&text);
    let mut wrong = Vec::new();
    for (path, only) in PAGES {
        wrong.extend(unfulfilled(path, &page(path).text, only, &entries));
    }
    let mut tests = 0;
    for entry in entries.values().flatten() {
        let is_none = |line: &String| line.strip_prefix("- ").is_some_and(|why| !why.is_empty());
        if entry.named.len() == 1 && is_none(&entry.named[0]) {
            continue;
        }
        if entry.named.is_empty() {
            wrong.push(format!("{PROMISES}:{}: names no test", entry.line));
        }
        for test in &entry.named {
            tests += 1;
            if !exists(test) {
                wrong.push(format!("{PROMISES}:{}: there is no test {test}", entry.line));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tests > 300, "tests are named: {tests}");
}

#[test]
fn what_is_not_kept_is_found() {
    let text = "# T\n\nOne *a*. Two [b](c.md#d) is\n`x. y`. **Three.**\n\n## S\n\n- Four. Five.\n- Six\n\n\
                ```sh\nno. No.\n```\n\n| h | i |\n|---|--:|\n| `a` | Seven. Eight. |\n";
    let sentences: Vec<(String, String)> = said(text);
    let sentences: Vec<_> = sentences.iter().map(|(s, t)| (s.as_str(), t.as_str())).collect();
    let expected = [
        ("T", "One *a*."),
        ("T", "Two b is `x. y`."),
        ("T", "Three."),
        ("S", "Four."),
        ("S", "Five."),
        ("S", "Six"),
        ("S", "`a` | Seven. Eight."),
    ];
    assert_eq!(sentences, expected);
    let list = "# p.md\n## T\nOne\n    a::b\nTwo\n    - why\nThr\n    a::c\n    a::d\n## S\nF\n    x\n\
                Six\n    y\n`a` | S\n    z\nNine\n    n\n";
    let entries = entries(list);
    let wrong = unfulfilled("p.md", text, None, &entries);
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].contains(":11: two sentences") && wrong[1].contains(":17: p.md does not say"));
    let fewer = list.replace("Two\n    - why\n", "").replace("\nNine\n    n\n", "\nFour\n    n\n");
    let wrong = unfulfilled("p.md", text, None, &self::entries(&fewer)).join("\n");
    assert!(wrong.contains("T: no test is named for: Two b is"), "{wrong}");
    assert!(wrong.contains("another entry is for this too"), "{wrong}");
    let source = "each_queue!(\n    one, two,\n);\n#[test]\nfn three() {}\n#[tokio::test]\nasync fn four() {}\n\
                  fn five() {}\n#[test]\nfn three_more() {}";
    for (name, is_there) in [
        ("one", true),
        ("three", true),
        ("four", true),
        ("five", false),
        ("more", false),
        ("on", false),
    ] {
        assert_eq!(has_test(source, name), is_there, "{name}");
    }
    assert!(exists("docs/promises::what_is_not_kept_is_found"));
    for wrong in ["docs/promises::no_such", "docs/no_such::what_is_not_kept_is_found", "docs"] {
        assert!(!exists(wrong), "{wrong}");
    }
}
