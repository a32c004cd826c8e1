//! Sessions made up from a seed, played to both servers, every reply compared.
//!
//! A session is made so that its outcome is certain: nothing in it depends on how fast either
//! server is, nor on a deviation that is meant (`judge` sees to that; written sessions show those). So whatever differs is a mistake, and is shrunk to few commands before it is shown.
//!
//! - `JQ_COMPAT_COMMANDS`: about how many commands to play, 100,000 unless given.
//! - `JQ_COMPAT_SEED`: the seed of the first session, the clock unless given.

mod framing;
mod generate;
mod grammar;
mod judge;
mod play;
mod session;
mod shrink;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::generate::generate;
use self::play::{Answer, Event, play};
use self::session::{FLAGS, Session};
use self::shrink::shrink;
use crate::compare::difference;
use crate::side::Side;
use crate::support::folder::Folder;
use crate::support::{self, PATIENCE, Server};

/// Commands of one session, which gets two fresh servers.
const SESSION_COMMANDS: usize = 2500;

/// How many commands to play unless told.
const DEFAULT_COMMANDS: usize = 100_000;

/// Replies that every run must have had, or it has shown little.
const EXPECTED_WORDS: [&str; 21] = [
    "BAD_FORMAT",
    "BURIED",
    "DELETED",
    "EXPECTED_CRLF",
    "FOUND",
    "INSERTED",
    "JOB_TOO_BIG",
    "KICKED",
    "NOT_FOUND",
    "NOT_IGNORED",
    "OK",
    "PAUSED",
    "RELEASED",
    "RESERVED",
    "TIMED_OUT",
    "TOUCHED",
    "UNKNOWN_COMMAND",
    "USING",
    "WATCHING",
    "(waits)",
    "(closed)",
];

/// How much of a session a report shows at most.
const REPORTED_LINES: usize = 100;

/// Where two servers part.
struct Parting {
    step: usize,
    conn: u8,
    command: String,
    theirs: String,
    ours: String,
}

#[test]
fn random_sessions_get_the_same_replies() {
    let Some(beanstalkd) = support::beanstalkd("random sessions against beanstalkd") else {
        return;
    };
    let commands = number("JQ_COMPAT_COMMANDS").map_or(DEFAULT_COMMANDS, |count| count as usize);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let first = number("JQ_COMPAT_SEED").unwrap_or(clock.as_secs());
    let mut words = BTreeMap::new();
    let mut played = 0;
    for seed in first.. {
        if played >= commands {
            break;
        }
        let session = generate(seed, SESSION_COMMANDS.min(commands));
        assert!(session.is_certain(), "JQ_COMPAT_SEED={seed}: a session must be certain");
        let (events, parting) = play_to_both(&session, &beanstalkd, PATIENCE);
        if let Some(parting) = parting {
            panic!("{}", report(seed, &session, &parting, &beanstalkd));
        }
        played += events.len();
        for event in &events {
            *words.entry(event.answer.word()).or_insert(0) += 1;
        }
    }
    println!("{played} replies from seed {first} on: {words:?}");
    if commands >= DEFAULT_COMMANDS {
        let unheard: Vec<_> =
            EXPECTED_WORDS.iter().filter(|&&word| !words.contains_key(word)).collect();
        assert!(unheard.is_empty(), "never answered: {unheard:?}");
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {value:?}")))
}

/// Plays a session to both servers at once; what beanstalkd did, and the first difference.
fn play_to_both(
    session: &Session,
    beanstalkd: &Path,
    patience: Duration,
) -> (Vec<Event>, Option<Parting>) {
    let owned = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>();
    let mut their_flags = owned(&FLAGS);
    let mut our_flags = owned(&FLAGS);
    our_flags.extend(owned(session.mode.flags()));
    if support::is_our_server() {
        our_flags.extend(["--threads".to_owned(), session.threads.to_string()]);
    }
    let play = |server| play(session, Side::new(server, patience), patience);
    let folders = session.binlog.map(|_| [Folder::new(), Folder::new()]);
    if let (Some(flags), Some([their_folder, our_folder])) = (session.binlog, &folders) {
        their_flags.extend(their_folder.flags(flags));
        our_flags.extend(our_folder.flags(flags));
    }
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| play(Server::start(beanstalkd, &their_flags)));
        let ours = play(Server::jq(&our_flags));
        (theirs.join().expect("the player does not panic"), ours)
    });
    let parting = (0..theirs.len().max(ours.len())).find_map(|index| {
        let (theirs, ours) = (theirs.get(index), ours.get(index));
        let (mut their_text, mut our_text) = (describe(theirs), describe(ours));
        if let (Some(Answer::Reply(theirs)), Some(Answer::Reply(ours))) =
            (theirs.map(|event| &event.answer), ours.map(|event| &event.answer))
        {
            let found = difference(theirs, ours, session.mode)?;
            (their_text, our_text) = (found.theirs, found.ours);
        } else if their_text == our_text && !is_missing(theirs) {
            return None;
        }
        let Event { step, conn, command, .. } = theirs.or(ours)?;
        let command = command.escape_ascii().to_string();
        Some(Parting { step: *step, conn: *conn, command, theirs: their_text, ours: our_text })
    });
    (theirs, parting)
}

/// Even if both servers fall silent, then one must not: the harness expects the wrong thing.
fn is_missing(event: Option<&Event>) -> bool {
    event.is_some_and(|event| matches!(event.answer, Answer::Missing(_)))
}

fn describe(event: Option<&Event>) -> String {
    match event.map(|event| &event.answer) {
        None => "(nothing more)".to_owned(),
        Some(Answer::Reply(heard)) => heard.reply.to_string(),
        Some(Answer::Missing(what)) => format!("({what})"),
        Some(answer) => answer.word(),
    }
}

impl Answer {
    /// The first word of a reply, or what happened instead.
    fn word(&self) -> String {
        match self {
            Self::Reply(heard) => {
                let line = String::from_utf8_lossy(heard.reply.line());
                line.split(' ').next().unwrap_or("").to_owned()
            }
            Self::Waits => "(waits)".to_owned(),
            Self::Closed => "(closed)".to_owned(),
            Self::Missing(_) => "(missing)".to_owned(),
        }
    }
}

fn report(seed: u64, session: &Session, parting: &Parting, beanstalkd: &Path) -> String {
    let mut prefix = session.clone();
    prefix.steps.truncate(parting.step + 1);
    let shrunk = shrink(&prefix, |candidate| {
        // A reply that has not come by then is taken to be missing.
        play_to_both(candidate, beanstalkd, Duration::from_secs(1)).1.is_some()
    });
    let again = play_to_both(&shrunk, beanstalkd, PATIENCE).1;
    let (shown, parting, how) = match &again {
        Some(parting) => (shrunk, parting, "shrunk"),
        None => (prefix, parting, "its last lines; it does not differ every time"),
    };
    let text = shown.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(REPORTED_LINES)..].join("\n");
    let Parting { step, conn, command, theirs, ours } = parting;
    format!(
        "JQ_COMPAT_SEED={seed}, mode {:?}, {how}:\n{tail}\n\
         at step {step}, connection {conn}, command: {command}\n  \
         beanstalkd: {theirs}\n  ours:       {ours}\n",
        session.mode
    )
}
