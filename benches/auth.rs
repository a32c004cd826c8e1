//! Whether the time that a verification takes tells something about the token.
//!
//! `cargo bench --bench auth` prints a table, within a minute. Without `--bench`, as the tests run it, every
//! kind of token is verified a few times, and only the verdicts are looked at.
//!
//! Tokens of four kinds are verified in turns, over the same path as those of clients: right ones, wrong
//! ones of a principal, ones of a principal that there is not, and ones without any name. For each kind the
//! table has the median, and how often it took longer than a right one, of all pairs. Without any
//! difference that is 0.5. What chance alone explains is in the last column, as three standard deviations: a
//! figure beyond that is marked, and would be worth a look.

use std::env;
use std::fs;
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use beanstalk_protocol::Token;
use jq_server::access::token::Hash;
use jq_server::access::{Access, Verdict, Verifier};
use jq_server::clock::Clock;

/// What a token is, for people, and the token.
const KINDS: [(&str, &str); 4] = [
    ("right", "site.0123456789abcdef"),
    ("wrong", "site.0123456789abcdeg"),
    ("nobody's", "nobody.0123456789abcdef"),
    ("no name", "0123456789abcdef"),
];

fn main() {
    let rounds = if env::args().any(|arg| arg == "--bench") { 300 } else { 3 };
    let file = env::temp_dir().join(format!("jq-bench-auth-{}.toml", process::id()));
    let times = fs::write(&file, principals()).map(|()| {
        let access = Arc::new(Access::open(&file).expect("the file is a good one"));
        measure(&access, rounds)
    });
    let _ = fs::remove_file(&file);
    let mut times = times.expect("the temporary folder is writable");
    times.iter_mut().for_each(|times| times.sort_unstable());
    if rounds > 3 {
        print(&times);
    }
}

/// A file with some principals, each with one token as `jq-server hash-token` makes it.
fn principals() -> String {
    let entry = |name: &str| {
        let token = format!("{name}.0123456789abcdef");
        let token = Token::new(token.as_bytes()).expect("it is short");
        let hash = Hash::of(&token).expect("there is memory");
        format!("[[principal]]\nname = \"{name}\"\ntokens = [\"{}\"]\n", hash.as_str())
    };
    ["site", "other", "third"].map(entry).concat()
}

/// How long each kind took, in each round.
fn measure(access: &Arc<Access>, rounds: usize) -> [Vec<Duration>; KINDS.len()] {
    let verifier = Verifier::start(Arc::clone(access), Clock::start()).expect("a thread");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut times = KINDS.map(|_| Vec::new());
    for round in 0..rounds {
        // So that the right one is not known already.
        access.reload().expect("the file is a good one");
        for turn in 0..KINDS.len() {
            let kind = (round + turn) % KINDS.len();
            let token = Token::new(KINDS[kind].1.as_bytes()).expect("it is short");
            let start = Instant::now();
            // From a Unix socket, where no wrong token delays another.
            let verdict = runtime.block_on(verifier.verify(token, None));
            times[kind].push(start.elapsed());
            assert_eq!(matches!(verdict, Verdict::Right(_)), kind == 0, "{}", KINDS[kind].0);
        }
    }
    times
}

fn print(times: &[Vec<Duration>; KINDS.len()]) {
    println!(
        "{:10} {:>10} {:>22} {:>12}",
        "token", "median", "longer than a right one", "by chance"
    );
    let right = &times[0];
    for ((kind, _), times) in KINDS.iter().zip(times) {
        let (count, of_right) = (times.len() as f64, right.len() as f64);
        let shorter = |time: &Duration| {
            // Of equal ones, half.
            let (before, upto) =
                (right.partition_point(|it| it < time), right.partition_point(|it| it <= time));
            (before + upto) as f64 / 2.0
        };
        let longer = times.iter().map(shorter).sum::<f64>() / (count * of_right);
        let by_chance = 3.0 * ((count + of_right + 1.0) / (12.0 * count * of_right)).sqrt();
        let is_told = (longer - 0.5).abs() > by_chance;
        println!(
            "{kind:10} {:>7.2} ms {longer:>22.3} {:>12} {}",
            times[times.len() / 2].as_secs_f64() * 1000.0,
            format!("0.5±{by_chance:.3}"),
            if is_told { "<-- a difference" } else { "" }
        );
    }
}
