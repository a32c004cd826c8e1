//! Plays a session that was made up to one server and notes everything it answers.

use std::time::{Duration, Instant};

use super::framing::Command;
use super::judge::{HELD_TUBE, HOLDER, Judge, WAITER};
use super::session::{Session, Step};
use crate::compare::Heard;
use crate::side::Side;
use crate::support::{Input, Reply};

/// How long a reserve may take to be answered before the server is asked whether it waits.
const GLANCE: Duration = Duration::from_millis(1);

/// Something that a server did.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// The step of the session.
    pub(crate) step: usize,
    pub(crate) conn: u8,
    /// The line that this answers, for the report.
    pub(crate) command: Vec<u8>,
    pub(crate) answer: Answer,
}

/// What it did.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Reply(Heard),
    Waits,
    Closed,
    /// What was due did not come. The session ends here.
    Missing(String),
}

/// Plays a session to a fresh server.
pub(crate) fn play(session: &Session, side: Side, patience: Duration) -> Vec<Event> {
    let mut player = Player {
        side,
        patience,
        judge: Judge::new(session.mode),
        is_waiting: false,
        step: 0,
        polls: 0,
        events: Vec::new(),
    };
    // An error is the last event.
    let _ = player.play(session);
    player.events
}

struct Player {
    side: Side,
    patience: Duration,
    judge: Judge,
    /// Whether [`WAITER`] is blocked.
    is_waiting: bool,
    step: usize,
    /// The harness's own `stats` before what is being answered was sent.
    polls: u64,
    events: Vec<Event>,
}

/// Something was missing.
struct Stopped;

impl Player {
    fn play(&mut self, session: &Session) -> Result<(), Stopped> {
        let hold = format!("use {HELD_TUBE}\r\n").into_bytes();
        self.send(HOLDER, &[hold], &[])?;
        for (index, step) in session.steps.iter().enumerate() {
            self.step = index;
            match step {
                // What it would say has to wait, and then its turn would be uncertain.
                Step::Send { conn, .. } if *conn == WAITER && self.is_waiting => {}
                Step::Send { conn, commands, cuts } => {
                    let at: Vec<(usize, bool)> =
                        cuts.iter().map(|cut| (cut.at, cut.settle)).collect();
                    self.send(*conn, commands, &at)?;
                }
                Step::Finish { conn } => self.finish(*conn)?,
                Step::Reset { conn } => {
                    self.judge.close(*conn);
                    self.is_waiting &= *conn != WAITER;
                    self.check(*conn, |side, name| !side.is_open(name) || side.reset(name))?;
                }
                Step::Drain => self.check(HOLDER, |side, _| side.drain())?,
            }
            self.serve_waiter()?;
        }
        for conn in 0..=HOLDER {
            self.finish(conn)?;
            self.serve_waiter()?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        conn: u8,
        commands: &[Vec<u8>],
        cuts: &[(usize, bool)],
    ) -> Result<(), Stopped> {
        let bytes = commands.concat();
        self.side.conn(&name_of(conn));
        let framer = self.judge.framer(conn);
        let counted_before = framer.counted_puts();
        let due = framer.feed(&bytes);
        let (counted, is_unfinished) = (framer.counted_puts(), framer.unfinished().is_some());
        // A put that is not over yet is not answered, but `cmd-put` shows when it was read.
        let put_count = is_unfinished
            .then(|| (self.side.stat("cmd-put") + counted - counted_before).to_string());
        self.polls = self.side.polls();
        self.write(conn, &bytes, cuts);
        for command in due {
            if command.is_quit() {
                return self.closed(conn, &command.line);
            }
            match command.may_block() && conn == WAITER {
                true => self.reserve(&command)?,
                false => self.reply(conn, &command.line)?,
            }
        }
        match put_count {
            Some(count) => self.check(conn, |side, _| side.await_stat("cmd-put", &count)),
            None => Ok(()),
        }
    }

    fn write(&mut self, conn: u8, bytes: &[u8], cuts: &[(usize, bool)]) {
        let name = name_of(conn);
        let mut cuts: Vec<_> =
            cuts.iter().map(|(at, settle)| (at % bytes.len(), *settle)).collect();
        cuts.sort_unstable();
        let mut start = 0;
        for (at, settle) in cuts {
            // A server that has closed after a quit takes no more; what it answered tells.
            let _ = self.side.conn(&name).try_send(&bytes[start..at]);
            if settle {
                self.side.settle();
            }
            start = at;
        }
        let _ = self.side.conn(&name).try_send(&bytes[start..]);
    }

    /// Reads one reply.
    fn reply(&mut self, conn: u8, command: &[u8]) -> Result<(), Stopped> {
        match self.side.conn(&name_of(conn)).next(self.patience) {
            Input::Reply(reply) => {
                self.heard(conn, command, reply);
                Ok(())
            }
            other => self.missing(conn, command, format!("no reply but {other:?}")),
        }
    }

    /// Reads the reply to a reserve, or finds that it waits.
    fn reserve(&mut self, command: &Command) -> Result<(), Stopped> {
        let deadline = Instant::now() + self.patience;
        while Instant::now() < deadline {
            match self.side.conn(&name_of(WAITER)).next(GLANCE) {
                Input::Reply(reply) => {
                    self.heard(WAITER, &command.line, reply);
                    return Ok(());
                }
                Input::Silence if self.side.waiting() > 0 => {
                    self.is_waiting = true;
                    self.note(WAITER, &command.line, Answer::Waits);
                    return Ok(());
                }
                Input::Silence => {}
                closed @ Input::Closed(_) => {
                    return self.missing(WAITER, &command.line, format!("{closed:?}"));
                }
            }
        }
        self.missing(WAITER, &command.line, "neither answered nor waiting".to_owned())
    }

    /// If the waiter waits no longer, its answer is on its way.
    fn serve_waiter(&mut self) -> Result<(), Stopped> {
        if self.is_waiting && self.side.waiting() == 0 {
            self.is_waiting = false;
            self.reply(WAITER, b"(the waiter is served)")?;
        }
        Ok(())
    }

    /// Half-closes, and reads what is still to come.
    fn finish(&mut self, conn: u8) -> Result<(), Stopped> {
        let name = name_of(conn);
        if !self.side.is_open(&name) {
            return Ok(());
        }
        self.judge.close(conn);
        self.side.conn(&name).finish();
        if conn == WAITER && std::mem::take(&mut self.is_waiting) {
            self.reply(conn, b"(the waiter half-closes)")?;
        }
        self.closed(conn, b"(fin)")
    }

    fn closed(&mut self, conn: u8, command: &[u8]) -> Result<(), Stopped> {
        self.judge.close(conn);
        let name = name_of(conn);
        match self.side.conn(&name).next(self.patience) {
            Input::Closed(rest) if rest.is_empty() => {
                self.note(conn, command, Answer::Closed);
                self.check(conn, Side::forget)
            }
            other => self.missing(conn, command, format!("not closed but {other:?}")),
        }
    }

    fn check(&mut self, conn: u8, act: impl Fn(&mut Side, &str) -> bool) -> Result<(), Stopped> {
        match act(&mut self.side, &name_of(conn)) {
            true => Ok(()),
            false => self.missing(conn, b"", "the server's stats do not show it".to_owned()),
        }
    }

    fn heard(&mut self, conn: u8, command: &[u8], reply: Reply) {
        let polls = self.polls;
        self.note(conn, command, Answer::Reply(Heard { reply, polls }));
    }

    fn missing(&mut self, conn: u8, command: &[u8], what: String) -> Result<(), Stopped> {
        self.note(conn, command, Answer::Missing(what));
        Err(Stopped)
    }

    fn note(&mut self, conn: u8, command: &[u8], answer: Answer) {
        self.events.push(Event { step: self.step, conn, command: command.to_vec(), answer });
    }
}

fn name_of(conn: u8) -> String {
    conn.to_string()
}
