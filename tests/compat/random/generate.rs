//! Whole sessions from a seed.

use fastrand::Rng;

use super::grammar::Grammar;
use super::judge::{End, Judge, WAITER};
use super::session::{Cut, Session, Step};
use crate::script::Mode;

/// Connections of a session; the first is [`WAITER`].
const CONNS: u8 = 5;

/// Commands in one batch, at most.
const LONGEST_BATCH: usize = 40;

/// Commands that would swallow more bytes than this are left out.
const LONGEST_BODY: u64 = 2200;

/// How both servers keep their jobs: half of all sessions in memory.
const BINLOGS: [Option<&[&str]>; 6] =
    [None, Some(&["-f", "0"]), None, Some(&["-F"]), None, Some(&[])];

/// Makes up a session of about so many commands whose outcome is certain.
pub(crate) fn generate(seed: u64, commands: usize) -> Session {
    let mode = if seed.is_multiple_of(2) { Mode::V1_12 } else { Mode::Default };
    let mut generator = Generator {
        grammar: Grammar { rng: Rng::with_seed(seed), last_id: 0, tried: Vec::new() },
        tried: vec![Vec::new(); usize::from(CONNS)],
        judge: Judge::new(mode),
        steps: Vec::new(),
        count: 0,
    };
    // One session in four ends draining.
    let drains_at = if generator.grammar.rng.u32(0..4) == 0 { commands * 9 / 10 } else { commands };
    while generator.count < drains_at {
        generator.step();
    }
    if drains_at < commands {
        generator.steps.push(Step::Drain);
    }
    while generator.count < commands {
        generator.step();
    }
    let binlog = BINLOGS[(seed / 6 % BINLOGS.len() as u64) as usize];
    Session { mode, threads: 1 + seed / 2 % 3, binlog, steps: generator.steps }
}

struct Generator {
    grammar: Grammar,
    /// What the grammar remembers of each connection.
    tried: Vec<Vec<u64>>,
    judge: Judge,
    steps: Vec<Step>,
    count: usize,
}

impl Generator {
    fn step(&mut self) {
        let conn = self.grammar.rng.u8(0..CONNS);
        std::mem::swap(&mut self.grammar.tried, &mut self.tried[usize::from(conn)]);
        match self.grammar.rng.u32(0..100) {
            0..2 => self.close(conn),
            2..4 => {
                self.batch(conn, true);
                self.close(conn);
            }
            _ => self.batch(conn, false),
        }
        std::mem::swap(&mut self.grammar.tried, &mut self.tried[usize::from(conn)]);
    }

    fn close(&mut self, conn: u8) {
        self.judge.close(conn);
        self.grammar.tried.clear();
        self.steps.push(match self.grammar.rng.bool() {
            true => Step::Finish { conn },
            false => Step::Reset { conn },
        });
    }

    fn batch(&mut self, conn: u8, is_last: bool) {
        let length = match self.grammar.rng.u32(0..4) {
            0 => 1,
            _ => self.grammar.rng.usize(1..=LONGEST_BATCH),
        };
        let mut batch = Batch { conn, commands: Vec::new(), is_over: false };
        for _ in 0..length {
            let command = self.grammar.command();
            self.add(&mut batch, command);
        }
        if conn == WAITER && self.grammar.rng.bool() {
            let reserve = self.grammar.rng.choice(["reserve\r\n", "reserve-with-timeout 1000\r\n"]);
            self.add(&mut batch, reserve.unwrap_or("reserve\r\n").into());
        }
        if is_last {
            // Half of something, for the close that follows.
            let mut command = self.grammar.command();
            command.truncate(self.grammar.rng.usize(0..=command.len()));
            self.add(&mut batch, command);
        } else if let Some(left) = self.judge.framer(conn).body_left() {
            self.add(&mut batch, vec![b'z'; left as usize]);
        }
        self.push(batch);
    }

    fn push(&mut self, Batch { conn, commands, .. }: Batch) {
        if commands.concat().is_empty() {
            return;
        }
        self.count += commands.len();
        let rng = &mut self.grammar.rng;
        let count = if rng.bool() { 0 } else { rng.usize(1..4) };
        let cuts =
            (0..count).map(|_| Cut { at: rng.usize(..), settle: rng.u32(0..4) == 0 }).collect();
        self.steps.push(Step::Send { conn, commands, cuts });
    }

    /// Takes a command into the batch if the outcome stays certain.
    fn add(&mut self, batch: &mut Batch, command: Vec<u8>) {
        let mut judge = self.judge.clone();
        let Some(end) = judge.send(batch.conn, &command) else { return };
        if batch.is_over || judge.framer(batch.conn).swallows() > LONGEST_BODY {
            return;
        }
        // Steps of a blocked waiter are left out, so each must stand alone and take no ids.
        let stands_alone = judge.ids() == self.judge.ids() && judge.framer(batch.conn).is_at_rest();
        if batch.conn == WAITER && !stands_alone {
            return;
        }
        self.grammar.last_id = judge.ids();
        self.judge = judge;
        batch.is_over = end != End::Open;
        batch.commands.push(command);
    }
}

/// What becomes one step.
struct Batch {
    conn: u8,
    commands: Vec<Vec<u8>>,
    /// Whether its last command blocks or closes.
    is_over: bool,
}
