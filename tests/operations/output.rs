//! Whether what was printed is what the page shows.

/// Stands for any text in a line, and alone on a line for any lines.
const ANY: &str = "...";

/// Compares line by line. Blanks count as one, since columns are as wide as their numbers.
pub(crate) fn is_as_shown(shown: &[impl AsRef<str>], printed: &str) -> bool {
    let shown: Vec<String> = shown.iter().map(|line| normal(line.as_ref())).collect();
    let printed: Vec<String> = printed.lines().map(normal).collect();
    lines_match(&shown, &printed)
}

fn normal(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn lines_match(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == ANY => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        Some((first, rest)) => printed.split_first().is_some_and(|(line, others)| {
            line_matches(&first.split(ANY).collect::<Vec<_>>(), line) && lines_match(rest, others)
        }),
    }
}

/// Whether a line consists of these parts, with anything between them.
fn line_matches(parts: &[&str], line: &str) -> bool {
    let [first, rest @ ..] = parts else { return line.is_empty() };
    let Some(mut left) = line.strip_prefix(first) else { return false };
    let [middle @ .., last] = rest else { return left.is_empty() };
    for part in middle {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[test]
fn what_matches() {
    let yes = |shown: &[&str], printed: &str| assert!(is_as_shown(shown, printed), "{printed}");
    let no = |shown: &[&str], printed: &str| assert!(!is_as_shown(shown, printed), "{printed}");
    yes(&[], "");
    yes(&["a  b"], "a b\n");
    yes(&["a ... c ... e"], "a b c d e");
    yes(&["a", "...", "d"], "a\nb\nc\nd\n");
    yes(&["...", "d", "..."], "d\n");
    no(&[], "a");
    no(&["a"], "");
    no(&["a ... c"], "a b");
    no(&["a"], "ab");
    no(&["... b"], "a c");
    no(&["a...a"], "a");
    no(&["a", "...", "d"], "a\nb\n");
}
