//! Bytes as operations. Every byte means something, so that the fuzzer's changes do too.

use beanstalk_protocol::{
    Command, Dialect, JobId, JobMove, JobQuery, JobState, PutHeader, TubeName,
};

/// One step of the world.
pub(super) enum Operation {
    Connect,
    /// The client's number is taken modulo the number of clients, here and below.
    Disconnect(usize),
    HalfClose(usize),
    Send(usize, Vec<u8>),
    /// So many nanoseconds go by; what is due then waits for a tick.
    Pass(u64),
    Tick(usize),
    Drain(bool),
    Audit,
}

/// Reads operations off the front of the bytes.
pub(super) struct Input<'a> {
    rest: &'a [u8],
    dialect: Dialect,
}

/// Tubes that the operations name: enough for a connection to watch many.
const TUBES: u8 = 40;

const SECOND: u64 = 1_000_000_000;

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        let (dialect, rest) = match data.split_first() {
            Some((first, rest)) if first % 2 == 1 => (Dialect::V1_12, rest),
            Some((_, rest)) => (Dialect::V1_13, rest),
            None => (Dialect::V1_13, data),
        };
        Self { rest, dialect }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The next operation. `newest` is the number of the last job.
    pub(super) fn operation(&mut self, newest: JobId) -> Option<Operation> {
        let kind = self.byte()?;
        Some(match kind % 32 {
            0 => Operation::Connect,
            1 => Operation::Disconnect(self.client()),
            2 => Operation::HalfClose(self.client()),
            3 => Operation::Drain(kind & 32 != 0),
            4 => Operation::Audit,
            5 | 6 => Operation::Tick(usize::from(self.number() % 8)),
            7..=9 => Operation::Pass(self.nanos()),
            10 | 11 => Operation::Send(self.client(), self.raw()),
            12 => Operation::Send(self.client(), self.many(Command::Watch)),
            13 => Operation::Send(self.client(), self.many(Command::Ignore)),
            14..=18 => Operation::Send(self.client(), self.put()),
            _ => Operation::Send(self.client(), self.command(newest)),
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// The next byte as an argument; 0 when there are no more.
    fn number(&mut self) -> u8 {
        self.byte().unwrap_or_default()
    }

    fn client(&mut self) -> usize {
        usize::from(self.number())
    }

    fn nanos(&mut self) -> u64 {
        let byte = self.number();
        match byte % 16 {
            0 => 1,
            1 => SECOND / 2,
            2 => SECOND - 1,
            3..=6 => SECOND,
            7 => SECOND + 1,
            8..=11 => 2 * SECOND,
            12 => 10 * SECOND,
            13 => 256 * SECOND,
            14 => SECOND << 32,
            _ => u64::from(byte),
        }
    }

    /// Bytes as they are, up to a length that comes first.
    fn raw(&mut self) -> Vec<u8> {
        let length = usize::from(self.number() % 64).min(self.rest.len());
        let (raw, rest) = self.rest.split_at(length);
        self.rest = rest;
        raw.to_vec()
    }

    fn many(&mut self, command: fn(TubeName) -> Command) -> Vec<u8> {
        let (first, count) = (self.number(), self.number() % TUBES);
        let mut bytes = Vec::new();
        for tube in 0..count {
            command(tube_name(first.wrapping_add(tube))).encode(&mut bytes);
        }
        bytes
    }

    fn put(&mut self) -> Vec<u8> {
        let form = self.number();
        let size = u32::from(form >> 3);
        let (priority, delay) = (self.priority(), self.seconds() / 2);
        let ttr = self.seconds().max(1);
        let mut bytes = Vec::new();
        PutHeader { priority, delay, ttr, size }.encode(&mut bytes);
        // The rest of a body may come as whatever is sent next.
        match form % 8 {
            0 => {}
            1 => bytes.extend((0..size / 2).map(|_| b'h')),
            2 => bytes.extend((0..size + 2).map(|_| b'x')),
            _ => {
                // Bodies differ, so that they cannot be mixed up unnoticed.
                let salt = self.number();
                bytes.extend((0..size as u8).map(|at| at.wrapping_mul(31) ^ salt));
                bytes.extend_from_slice(b"\r\n");
            }
        }
        bytes
    }

    fn command(&mut self, newest: JobId) -> Vec<u8> {
        let kind = self.number();
        let command = match kind % 32 {
            0..=3 => Command::Reserve,
            4 | 5 => Command::ReserveWithTimeout(Some(u32::from(kind >> 5))),
            6 => match self.dialect {
                Dialect::V1_12 => Command::ReserveWithTimeout(None),
                Dialect::V1_13 => Command::ReserveWithTimeout(Some(i32::MAX as u32)),
            },
            7 => Command::ReserveJob(self.id(newest)),
            8 | 9 => Command::Delete(self.id(newest)),
            10 | 11 => Command::Release {
                id: self.id(newest),
                priority: self.priority(),
                delay: self.seconds() / 2,
            },
            12 | 13 => Command::Bury { id: self.id(newest), priority: self.priority() },
            14 => Command::Touch(self.id(newest)),
            15 | 16 => Command::Use(self.tube()),
            17 => Command::Watch(self.tube()),
            18 => Command::Ignore(self.tube()),
            19 => Command::Peek(self.id(newest)),
            20 => Command::PeekReady,
            21 => Command::PeekDelayed,
            22 => Command::PeekBuried,
            23 => Command::Kick(if kind >= 128 { u32::MAX } else { u32::from(kind >> 5) }),
            24 => Command::KickJob(self.id(newest)),
            25 => Command::StatsJob(self.id(newest)),
            26 => Command::StatsTube(self.tube()),
            27 => Command::ListTubesWatched,
            28 => Command::PauseTube(self.tube(), self.seconds() - 1),
            29 => Command::PauseTube(self.tube(), 0),
            30 if kind >= 128 => Command::Quit,
            30 => Command::ListTubes,
            _ => match kind >> 5 {
                0 | 1 => Command::ListTubeUsed,
                2 | 3 => {
                    let max = 1 + u32::from(self.number() % 8);
                    Command::BatchReserve { max, timeout: self.seconds() - 1 }
                }
                4 => Command::ClearTube(self.tube()),
                5 => Command::ListJobs(Box::new(self.query())),
                _ => Command::Move(Box::new(JobMove { id: self.id(newest), to: self.tube() })),
            },
        };
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        bytes
    }

    fn query(&mut self) -> JobQuery {
        use JobState::{Buried, Delayed, Ready, Reserved};
        let choice = self.number();
        let states = [None, Some(Ready), Some(Delayed), Some(Reserved), Some(Buried)];
        let state = states[usize::from(choice) % states.len()];
        let tube = (choice < 128).then(|| self.tube());
        JobQuery { tube, state, cursor: 0, count: 1 + u32::from(choice) }
    }

    /// One of the latest jobs, or one that does not exist.
    fn id(&mut self, newest: JobId) -> JobId {
        match self.number() {
            255 => u64::MAX,
            back => (newest + 1).saturating_sub(u64::from(back % 32)),
        }
    }

    fn priority(&mut self) -> u32 {
        match self.number() {
            255 => u32::MAX,
            number if number >= 128 => 1024 + u32::from(number % 2),
            number => u32::from(number % 4),
        }
    }

    /// At least 1, mostly little.
    fn seconds(&mut self) -> u32 {
        match self.number() {
            255 => u32::MAX,
            number => 1 + u32::from(number % 5),
        }
    }

    fn tube(&mut self) -> TubeName {
        tube_name(self.number())
    }
}

/// One of [`TUBES`], the first ones preferred.
fn tube_name(number: u8) -> TubeName {
    let number = if number >= 128 { number % 4 } else { number % TUBES };
    match number {
        0 => TubeName::default_tube(),
        _ => TubeName::new(format!("t{number}").as_bytes()).expect("a good name"),
    }
}
