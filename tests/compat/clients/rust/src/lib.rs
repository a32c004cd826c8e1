//! What the Rust suites share: running checks, and a few words to write them with.

use std::collections::HashMap;
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a condition may take to come true. Only a broken server lets this pass.
pub const PATIENCE: Duration = Duration::from_secs(6);

/// A body of text that is not ASCII.
pub const TEXT: &str = "naïve ☃ \u{1f40d}";

/// Just under the default limit of 65,535 bytes, and more than any socket hands over at once.
pub const LARGE: usize = 65_000;

/// What a check comes to: an error is a failure, whatever its type.
pub type Outcome = Result<(), Error>;

/// Any error, of the library's or a text of our own.
pub type Error = Box<dyn std::error::Error>;

/// What is checked, and the check, which is given the name of a tube of its own.
pub type Check = (&'static str, fn(&Server, &str) -> Outcome);

/// The server under test.
#[derive(Debug, Clone)]
pub struct Server {
    /// As given on the command line.
    pub host: String,
    /// As given on the command line.
    pub port: u16,
}

/// Runs the checks of the library and prints their results; HOST and PORT are this program's
/// arguments. `list_tubes` asks the server over a new connection.
pub fn run(
    library: &str,
    checks: &[Check],
    list_tubes: fn(&Server) -> Result<Vec<String>, Error>,
) -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(host), Some(Ok(port))) = (args.next(), args.next().map(|port| port.parse())) else {
        eprintln!("usage: {library} HOST PORT");
        return ExitCode::from(2);
    };
    let server = Server { host, port };
    // Several suites and several runs share a server, hence names that nobody else has.
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.subsec_nanos());
    let prefix = format!("{library}-{}-{started}", std::process::id());

    let mut failed = 0;
    let mut record = |title: &str, outcome: Outcome| match outcome {
        Ok(()) => println!("ok   {title}"),
        Err(error) => {
            failed += 1;
            println!("FAIL {title}: {error}");
        }
    };
    for (number, (title, check)) in checks.iter().enumerate() {
        record(title, check(&server, &format!("{prefix}-{number}")));
    }
    let gone = until(|| Ok(!list_tubes(&server)?.iter().any(|tube| tube.starts_with(&prefix))));
    record("every tube of this run is gone, so no job or watcher is left", gone);

    println!("{library}: {} passed, {failed} failed", checks.len() + 1 - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The bytes that an unclean library or server changes: all of them, line ends, a false reply.
pub fn binary() -> Vec<u8> {
    let mut body: Vec<u8> = (0..=u8::MAX).collect();
    body.extend_from_slice(b"\r\n\0\r\nINSERTED 1\r\n");
    body
}

/// What the environment says; `None` if it does not, and then the check does not apply.
pub fn setting(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        println!("skip: {name} is not set");
    }
    value
}

/// The same host with the port of a server that takes no more connections.
pub fn crowded(server: &Server) -> Option<Server> {
    let port = setting("JQ_CROWDED_PORT")?.parse().ok()?;
    Some(Server { port, ..server.clone() })
}

/// The same host with the port of a server that allows nothing.
pub fn denied(server: &Server) -> Option<Server> {
    let port = setting("JQ_DENIED_PORT")?.parse().ok()?;
    Some(Server { port, ..server.clone() })
}

/// Fails unless the two are equal.
pub fn equal<A: PartialEq<B> + Debug, B: Debug>(actual: A, expected: B) -> Outcome {
    let short = |value: &dyn Debug| format!("{value:?}").chars().take(200).collect::<String>();
    holds(actual == expected, || format!("expected {}, got {}", short(&expected), short(&actual)))
}

/// Fails with that text unless the condition holds.
pub fn holds(condition: bool, what: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(what().into()) }
}

/// Polls, with a pause after each attempt, until the condition holds.
pub fn until(mut condition: impl FnMut() -> Result<bool, Error>) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        holds(Instant::now() < deadline, || format!("still not so after {PATIENCE:?}"))?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Fails unless a stats reply has all of beanstalkd's keys.
pub fn has_keys(reply: &HashMap<String, String>, expected: &str) -> Outcome {
    let missing: Vec<_> = expected.lines().filter(|&key| !reply.contains_key(key)).collect();
    holds(missing.is_empty(), || format!("missing: {missing:?}"))
}

/// The values of those keys, empty where there is none.
pub fn pick<'a, const N: usize>(
    reply: &'a HashMap<String, String>,
    keys: [&str; N],
) -> [&'a str; N] {
    keys.map(|key| reply.get(key).map_or("", String::as_str))
}

/// The value of that key as a number.
pub fn number(reply: &HashMap<String, String>, key: &str) -> Result<u64, String> {
    let [value] = pick(reply, [key]);
    value.parse().map_err(|_| format!("{key} is {value:?}, not a number"))
}

/// The keys of each stats reply, one to a line, in beanstalkd's order.
pub mod keys {
    /// Of `stats`.
    pub const STATS: &str = include_str!("../../expected/stats.txt");
    /// Of `stats-job`.
    pub const STATS_JOB: &str = include_str!("../../expected/stats-job.txt");
    /// Of `stats-tube`.
    pub const STATS_TUBE: &str = include_str!("../../expected/stats-tube.txt");
}
