//! A measured number that several pages state is the same in all of them.

use crate::markdown::page;

/// The text between two others, the first of which is there once.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let mut parts = text.split(before).skip(1);
    let rest = parts.next().unwrap_or_else(|| panic!("{before:?} is there"));
    assert!(parts.next().is_none(), "{before:?} is there once");
    rest.split(after).next().expect("a split has a first part").trim()
}

/// How much more a command costs beanstalkd with 30,000 tubes than with one.
#[test]
fn the_cost_of_tubes() {
    let unwrapped = |path: &str| page(path).text.replace("\n  ", " ");
    let readme = unwrapped("README.md");
    let row = between(&readme, "30,000 tubes, CPU time as a multiple of that with one tube |", "|");
    let compat = unwrapped("docs/compat.md");
    let sentence = "With 30,000 tubes, a put, reserve and delete cost beanstalkd";
    let performance = unwrapped("docs/performance.md");
    assert_eq!(row, between(&compat, sentence, " times as much as with one"));
    assert_eq!(row, between(&performance, "with 10,000 tubes, and", "with 30,000 (`tubes-30k`"));
    assert!(row.parse::<f64>().is_ok_and(|factor| factor > 1.0), "{row}");
}
