//! Replays what the fuzzer found worth keeping.

use std::path::Path;

/// Runs a target on every file of its corpus.
pub fn replay(target: &str, run: fn(&[u8])) {
    // The crate's folder is the top, or one below it.
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let folder = above.find_map(|top| Some(top.join("fuzz/corpus")).filter(|it| it.is_dir()));
    let folder = folder.expect("the corpus is part of the sources").join(target);
    let entries = std::fs::read_dir(&folder).expect("the corpus is part of the sources");
    let mut files: Vec<_> =
        entries.map(|entry| entry.expect("the corpus is readable").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        // Shown if the test fails: this is the file that did it.
        eprintln!("{}", file.display());
        run(&std::fs::read(&file).expect("the corpus is readable"));
    }
}
