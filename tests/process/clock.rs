//! Time does not follow the wall clock, which is read once, at the start; but for the dates of certificates. To
//! step it needs rights that a test should not have, so this looks for who could read it.

use std::fs;
use std::path::Path;

/// What the wall clock is called.
const NAMES: [&str; 3] = ["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME"];

#[test]
fn the_wall_clock_is_read_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for folder in ["src", "engine/src", "protocol/src"] {
        visit(&root.join(folder), &mut |file| {
            let text = fs::read_to_string(file).expect("it is text");
            if file == root.join("src/clock.rs") {
                let calls = text.matches("SystemTime::now()").count();
                assert_eq!(calls, 2, "the clock begins there, and dates are compared with it");
                assert_eq!(text.matches("SystemTime").count(), 3, "its use, and its calls");
                assert!(!text.contains("CLOCK_REALTIME"));
            } else {
                for name in NAMES {
                    assert!(!text.contains(name), "{name} in {}", file.display());
                }
            }
            let is_its_place = file == root.join("src/clock.rs");
            if !is_its_place && !file.starts_with(root.join("src/server/tls")) {
                assert!(!text.contains("wall_seconds"), "dates in {}", file.display());
            }
            // Whoever starts the server hands the clock on.
            if !file.starts_with(root.join("src/bin")) {
                assert!(!text.contains("Clock::start()"), "another clock in {}", file.display());
            }
            files += 1;
        });
    }
    assert!(files > 30, "only {files} files: the sources are elsewhere");
}

fn visit(folder: &Path, look_at: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            visit(&path, look_at);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            look_at(&path);
        }
    }
}
