//! Time does not follow the wall clock. To step that needs rights that a test should not have, so
//! this looks for who could read it.

use std::fs;
use std::path::Path;

#[test]
fn nobody_reads_the_wall_clock() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for folder in ["src", "engine/src", "protocol/src"] {
        visit(&root.join(folder), &mut |file| {
            let text = fs::read_to_string(file).expect("it is text");
            for name in ["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME"] {
                assert!(!text.contains(name), "{name} in {}", file.display());
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
