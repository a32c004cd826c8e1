//! Plays the sessions under `sessions/` to beanstalkd and to our server, in both of our modes.

use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use crate::compare::difference;
use crate::play::{Replies, Who, play};
use crate::script::{self, Mode, Script};
use crate::side::Side;
use crate::support::{self, PATIENCE, Server};

/// How often a session that waits for time to pass is played to our server, if a busy machine
/// upsets it.
const OUR_ATTEMPTS: usize = 2;

/// The same for beanstalkd, which also loses one in five timers of silent connections.
const THEIR_ATTEMPTS: usize = 10;

/// A file of sessions.
pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// One test for each file.
macro_rules! files {
    ($($name:ident),* $(,)?) => {
        /// Every file of sessions.
        pub(crate) const FILES: &[File] = &[$(File {
            name: concat!(stringify!($name), ".txt"),
            text: include_str!(concat!("sessions/", stringify!($name), ".txt")),
        }),*];

        $(#[test]
        fn $name() {
            play_file(concat!(stringify!($name), ".txt"));
        })*
    };
}

files!(
    framing, dispatch, numbers, tubes, put, scheduling, waiting, stats, closing, draining, timed,
    deviations
);

#[test]
fn every_file_is_played() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/sessions");
    let mut found: Vec<String> = fs::read_dir(folder)
        .expect("the folder of sessions is there")
        .map(|entry| entry.expect("it can be listed").file_name().into_string().unwrap())
        .collect();
    let mut played: Vec<&str> = FILES.iter().map(|file| file.name).collect();
    found.sort();
    played.sort_unstable();
    assert_eq!(found, played);
}

fn play_file(name: &str) {
    let file = FILES.iter().find(|file| file.name == name).expect("it is one of them");
    let scripts = script::parse(file.text);
    // Sessions that wait do it together, so a file takes as long as its longest.
    let (timed, instant): (Vec<_>, Vec<_>) = scripts.iter().partition(|script| script.is_timed());
    let failures: Vec<String> = thread::scope(|scope| {
        let timed: Vec<_> =
            timed.into_iter().map(|script| scope.spawn(|| play_to_both(script))).collect();
        let instant: Vec<_> = instant.into_iter().map(play_to_both).collect();
        let timed = timed.into_iter().map(joined);
        instant.into_iter().chain(timed).filter_map(Result::err).collect()
    });
    assert!(failures.is_empty(), "in {name}:\n{}", failures.join("\n"));
}

fn play_to_both(script: &Script) -> Result<(), String> {
    let modes = [Mode::V1_12, Mode::Default];
    let modes = modes.into_iter().filter(|mode| script.only.is_none_or(|only| only == *mode));
    thread::scope(|scope| {
        let theirs = scope.spawn(|| play_theirs(script));
        let ours: Vec<_> =
            modes.map(|mode| (mode, scope.spawn(move || play_ours(script, mode)))).collect();
        let theirs = joined(theirs)?;
        for (mode, thread) in ours {
            let ours = joined(thread)?;
            if let Some(theirs) = &theirs {
                compare(script, theirs, &ours, mode)?;
            }
        }
        Ok(())
    })
}

/// What a thread returned; its panic is ours.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// `None` without beanstalkd. The replies that the session expects are then still ours to give.
fn play_theirs(script: &Script) -> Result<Option<Replies>, String> {
    let Some(program) = support::beanstalkd("the comparison with beanstalkd") else {
        return Ok(None);
    };
    attempt(script, THEIR_ATTEMPTS, || {
        play(script, Side::new(Server::start(&program, &script.flags), PATIENCE), Who::Theirs)
    })
    .map(Some)
}

fn play_ours(script: &Script, mode: Mode) -> Result<Replies, String> {
    // A beanstalkd that stands in for our server has its own replies.
    let (who, attempts) = match support::is_our_server() {
        true => (Who::Ours, OUR_ATTEMPTS),
        false => (Who::Theirs, THEIR_ATTEMPTS),
    };
    let mut flags = script.flags.clone();
    flags.extend(mode.flags().iter().map(|&flag| flag.to_owned()));
    attempt(script, attempts, || play(script, Side::new(Server::jq(&flags), PATIENCE), who))
        .map_err(|why| format!("{why}, mode {mode:?}"))
}

fn attempt(
    script: &Script,
    attempts: usize,
    play: impl Fn() -> Result<Replies, String>,
) -> Result<Replies, String> {
    let retries = if script.is_timed() { attempts - 1 } else { 0 };
    (0..retries).find_map(|_| play().ok()).map_or_else(play, Ok)
}

fn compare(script: &Script, theirs: &Replies, ours: &Replies, mode: Mode) -> Result<(), String> {
    for ((line, theirs), (_, ours)) in theirs.iter().zip(ours) {
        if let Some(found) = difference(theirs, ours, mode) {
            return Err(format!(
                "== {}, line {line}, mode {mode:?}\n  beanstalkd: {}\n  ours:       {}",
                script.name, found.theirs, found.ours
            ));
        }
    }
    Ok(())
}
