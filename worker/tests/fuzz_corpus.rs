//! The fuzz targets for documents, the journal and packs, with what is worth keeping, and with random changes of
//! that.

#[path = "../../fuzz/src/corpus.rs"]
pub mod corpus;
#[path = "../../fuzz/src/job.rs"]
pub mod job;
#[path = "../../fuzz/src/journal.rs"]
pub mod journal;
#[path = "../../fuzz/src/packs.rs"]
pub mod packs;
#[path = "../../fuzz/src/result.rs"]
pub mod result;

/// Words that change what a document means.
const WORDS: [&[u8]; 14] = [
    b"NaN", b"null", b"-1", b"1e400", b"\"", b"\\", b"{", b"}", b"[", b"]", b",", b"\"id\":",
    b"\xff", b"\n",
];

/// Replays the corpus of a target, and so many variants of each file.
fn replay(target: &str, run: fn(&[u8]), variants: u32) {
    corpus::replay(target, run);
    let seed =
        std::env::var("JQ_SEED").map_or_else(|_| fastrand::u64(..), |it| it.parse().unwrap());
    // Shown if the test fails.
    eprintln!("JQ_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus");
    let entries = std::fs::read_dir(format!("{folder}/{target}")).expect("it is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it is readable").path()).collect();
    paths.sort();
    for path in paths {
        let original = std::fs::read(&path).expect("it is readable");
        for _ in 0..variants {
            let mut data = original.clone();
            for _ in 0..random.usize(1..4) {
                change(&mut data, &mut random);
            }
            run(&data);
        }
    }
}

fn change(data: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let at = random.usize(..=data.len());
    match random.u8(..4) {
        0 => data.truncate(at),
        1 => {
            let end = data.len().min(at + random.usize(..20));
            data.drain(at..end);
        }
        2 => {
            let word = WORDS[random.usize(..WORDS.len())];
            data.splice(at..at, word.iter().copied());
        }
        _ => {
            if let Some(byte) = data.get_mut(at) {
                *byte = random.u8(..);
            }
        }
    }
}

#[test]
fn job_documents() {
    replay("job", job::run, 2000);
}

#[test]
fn results_and_outputs() {
    replay("result", result::run, 2000);
}

#[test]
fn journals() {
    replay("journal", journal::run, 20);
}

#[test]
fn packs_of_results() {
    replay("packs", packs::run, 6);
}
