//! Recorded sessions: see `script` for the format, and `transcripts/` for the sessions.

mod common;
mod script;

use std::collections::BTreeSet;
use std::path::Path;

use script::{Pieces, play_file};

/// One test for each file, and one that checks that there are no other files.
macro_rules! transcripts {
    ($($test:ident: $file:literal,)*) => {
        $(#[test]
        fn $test() {
            play($file);
        })*

        const FILES: &[&str] = &[$($file),*];
    };
}

transcripts! {
    framing: "framing.txt",
    dispatch: "dispatch.txt",
    numbers: "numbers.txt",
    tubes: "tubes.txt",
    put: "put.txt",
    scheduling: "scheduling.txt",
    deadlines: "deadlines.txt",
    pauses: "pauses.txt",
    stats: "stats.txt",
    disconnects: "disconnects.txt",
    fairness: "fairness.txt",
    draining: "draining.txt",
    policies: "policies.txt",
    limits: "limits.txt",
    dialect: "dialect.txt",
    extensions: "extensions.txt",
    bugs_not_copied: "bugs-not-copied.txt",
}

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts"))
}

fn play(file: &str) {
    for pieces in [Pieces::Whole, Pieces::Bytes] {
        if let Err(failure) = play_file(&directory().join(file), pieces) {
            panic!("{file}, {failure}\n(input in pieces: {pieces:?})");
        }
    }
}

#[test]
fn every_file_is_played() {
    let files = directory().read_dir().expect("the transcripts lie beside this file");
    let found: BTreeSet<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, FILES.iter().map(|file| (*file).to_string()).collect());
}
