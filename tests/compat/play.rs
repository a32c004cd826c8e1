//! Plays a written session to one server.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::compare::Heard;
use crate::script::{Action, Script, Wanted};
use crate::side::Side;
use crate::support::{Input, PATIENCE, Reply};

/// A timed reply may be this much early: two clocks are read, and upstream rounds to milliseconds.
const EARLY: Duration = Duration::from_millis(20);

/// A timed reply may be this late, the machine being busy with other tests.
const LATE: Duration = Duration::from_secs(3);

/// Whose replies are expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Ours,
    /// Beanstalkd's, which the session gives where they differ.
    Theirs,
}

/// The replies that are left to compare, each with the line of the session that expects it. Those
/// of which the session says how they differ are not among them.
pub(crate) type Replies = Vec<(usize, Heard)>;

/// Plays a session to a fresh server. The error says where it did not go as the session says.
pub(crate) fn play(script: &Script, side: Side, who: Who) -> Result<Replies, String> {
    let player = Player {
        side,
        who,
        waiting: BTreeSet::new(),
        start: Instant::now(),
        due: None,
        polls: 0,
        heard: Vec::new(),
    };
    player.play(script)
}

struct Player {
    side: Side,
    who: Who,
    /// Connections that are known to wait in a reserve.
    waiting: BTreeSet<String>,
    start: Instant,
    /// When the next reply is due, if it is a timed one.
    due: Option<Duration>,
    /// The harness's own `stats` before the last command was sent.
    polls: u64,
    heard: Replies,
}

impl Player {
    fn play(mut self, script: &Script) -> Result<Replies, String> {
        for step in &script.steps {
            self.step(step.line, &step.action).map_err(|why| {
                let Script { name, .. } = script;
                format!("== {name}, line {}, played to {:?}: {why}", step.line, self.who)
            })?;
        }
        Ok(self.heard)
    }

    fn step(&mut self, line: usize, action: &Action) -> Result<(), String> {
        match action {
            Action::Send { conn, bytes } => {
                self.side.conn(conn);
                self.polls = self.side.polls();
                self.side.conn(conn).try_send(bytes).map_err(|error| error.to_string())
            }
            Action::Expect { conn, wanted, theirs } => {
                let wanted = match (self.who, theirs) {
                    (Who::Theirs, Some(theirs)) => theirs,
                    _ => wanted,
                };
                let heard = self.expect(conn, wanted)?;
                if let Some(reply) = heard.filter(|_| theirs.is_none()) {
                    self.heard.push((line, Heard { reply, polls: self.polls }));
                }
                Ok(())
            }
            Action::Finish { conn } => {
                self.side.conn(conn).finish();
                Ok(())
            }
            Action::Close { conn } => {
                self.waiting.remove(conn);
                check(self.side.forget(conn), "the server does not notice the close")
            }
            Action::Reset { conn } => {
                self.waiting.remove(conn);
                check(self.side.reset(conn), "the server does not notice the reset")
            }
            Action::Drain => check(self.side.drain(), "the server does not drain"),
            Action::Until { key, value } => {
                check(self.side.await_stat(key, value), "the server's stats do not come to that")
            }
            Action::NotBefore(due) => {
                self.due = Some(*due);
                Ok(())
            }
            Action::SleepUntil(moment) => {
                thread::sleep(moment.saturating_sub(self.start.elapsed()));
                Ok(())
            }
        }
    }

    fn expect(&mut self, name: &str, wanted: &Wanted) -> Result<Option<Reply>, String> {
        match wanted {
            Wanted::Silence => {
                check(self.side.is_silent(name), "something has arrived")?;
                Ok(None)
            }
            Wanted::Waits => {
                self.waiting.insert(name.to_owned());
                check(self.side.await_waiting(self.waiting.len()), "it does not wait")?;
                check(self.side.is_silent(name), "it does not wait in silence")?;
                Ok(None)
            }
            Wanted::Closed => {
                self.waiting.remove(name);
                match self.side.conn(name).next(PATIENCE) {
                    Input::Closed(rest) if rest.is_empty() => {}
                    other => return Err(format!("not closed but {other:?}")),
                }
                check(self.side.forget(name), "the server keeps counting the connection")?;
                Ok(None)
            }
            Wanted::Reply { line, open_ended, body } => {
                self.waiting.remove(name);
                let reply = self.read(name)?;
                let right_line = match open_ended {
                    true => reply.line().starts_with(line),
                    false => reply.line() == line,
                };
                check(right_line && has_body(&reply, body), format!("the reply is {reply:?}"))?;
                Ok(Some(reply))
            }
        }
    }

    fn read(&mut self, name: &str) -> Result<Reply, String> {
        let due = self.due.take();
        let patience = match due {
            Some(due) => (due + LATE).saturating_sub(self.start.elapsed()),
            None => PATIENCE,
        };
        let got = self.side.conn(name).next(patience);
        let elapsed = self.start.elapsed();
        match got {
            Input::Reply(reply) if due.is_none_or(|due| elapsed + EARLY >= due) => Ok(reply),
            Input::Reply(reply) => Err(format!("{reply:?} comes too early, after {elapsed:?}")),
            other => Err(format!("no reply but {other:?}")),
        }
    }
}

fn has_body(reply: &Reply, wanted: &[Vec<u8>]) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let Some(body) = reply.body() else { return false };
    if reply.line().starts_with(b"OK ") {
        let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
        return wanted.iter().all(|line| lines.contains(&&line[..]));
    }
    body == wanted.concat()
}

fn check(holds: bool, otherwise: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
