//! The load: connections that put, reserve and delete as fast as the server answers.
//!
//! Each connection sends a batch of one kind of command, waits for all replies, and goes on with
//! the next kind. With batches of one command that is a client without pipelining.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::OwnedFd,
};

use crate::{
    channel::Channel,
    control::PATIENCE,
    failure::{Context, Failure},
    interrupt,
    ledger::Ledger,
    meter::{Meter, Reading, Usage},
    stats::Histogram,
    wire::{Op, Wire, delete},
};

/// How long one wait for events may take before deadlines are looked at.
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// A measurement goes on until each connection has gone through its cycle this often, on average:
/// a server that waits for its disk in one half of the cycle is measured in both.
const MIN_TURNS: u64 = 2;
/// But it takes at most this many times as long as was asked for.
const MAX_STRETCH: u32 = 10;
/// Events taken from the kernel at a time.
const EVENTS: usize = 256;

/// Who does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    /// Commands in one batch.
    pub(crate) depth: usize,
    /// What each connection does, in turn.
    pub(crate) cycle: &'static [Op],
    /// Whether each connection has a tube of its own; otherwise all share one.
    pub(crate) own_tubes: bool,
}

/// When a load ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// After so many turns of the cycle (jobs), all connections together.
    Jobs(u64),
    /// The same, or after this time with fewer.
    JobsWithin(u64, Duration),
    /// When it has been measured for some time, after a while of warming up; or already when so
    /// many jobs have been done. Somewhat later if the server is so slow that every connection
    /// is still at the beginning.
    Measured { warm_up: Duration, time: Duration, jobs: Option<u64> },
}

/// What was measured while a load was going on.
pub(crate) struct Window {
    /// Replies received.
    pub(crate) commands: u64,
    /// How many of them each job costs.
    pub(crate) commands_per_job: usize,
    pub(crate) usage: Usage,
    /// From sending a batch to its last reply.
    pub(crate) latency: Histogram,
}

/// Runs a load to its end; `None` where nothing was to be measured. When it returns, no command
/// is under way.
pub(crate) fn run(
    channels: Vec<Channel>,
    shape: &Shape,
    wire: &Wire,
    until: Until,
    ledger: &mut Ledger,
    meter: &Meter,
) -> Result<Option<Window>, Failure> {
    let poll = Poll::new(&channels)?;
    let mut workers: Vec<Worker> = channels.into_iter().map(Worker::new).collect();
    let mut clock = Clock::new(meter, until);
    let jobs = match until {
        Until::Jobs(jobs) | Until::JobsWithin(jobs, _) => Some(jobs),
        Until::Measured { jobs, .. } => jobs,
    };
    let mut run = Run {
        shape,
        wire,
        ledger,
        jobs_left: jobs.unwrap_or(u64::MAX),
        commands: 0,
        turns: 0,
        latency: None,
        active: 0,
    };
    for (token, worker) in workers.iter_mut().enumerate() {
        run.active += 1;
        worker.next_batch(&mut run, Instant::now())?;
        poll.watch(token, worker)?;
    }
    let mut events = Vec::with_capacity(EVENTS);
    let mut progress = (0, Instant::now());
    while run.active > 0 {
        poll.wait(&mut events, &mut workers, &mut run)?;
        clock.tick(&mut run)?;
        let now = Instant::now();
        if run.commands != progress.0 {
            progress = (run.commands, now);
        } else if now - progress.1 > PATIENCE {
            return Err(Failure::Silent(PATIENCE));
        }
        if interrupt::requested() {
            return Err(Failure::Interrupted);
        }
    }
    run.ledger.settle()?;
    clock.finish(&mut run)
}

/// What the connections of a load have in common.
struct Run<'a> {
    shape: &'a Shape,
    wire: &'a Wire,
    ledger: &'a mut Ledger,
    /// Turns of the cycle that no connection has begun.
    jobs_left: u64,
    /// Replies received so far.
    commands: u64,
    /// Turns of the cycle that have ended.
    turns: u64,
    /// Latencies of what was sent since then, while they are measured.
    latency: Option<(Instant, Histogram)>,
    /// Connections that have not finished.
    active: usize,
}

/// One connection.
struct Worker {
    channel: Channel,
    /// Where in the cycle the batch is that is under way.
    step: usize,
    /// Commands in each batch of this turn of the cycle.
    size: usize,
    /// Replies that have not come.
    owed: usize,
    /// Reserved jobs.
    jobs: Vec<u64>,
    deletes: Vec<u8>,
    sent: Instant,
    wants_to_write: bool,
}

impl Worker {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            step: 0,
            size: 0,
            owed: 0,
            jobs: Vec::new(),
            deletes: Vec::new(),
            sent: Instant::now(),
            wants_to_write: false,
        }
    }

    /// Takes what has arrived, and sends the next batch if that was all of the last one.
    fn receive(&mut self, run: &mut Run<'_>) -> Result<(), Failure> {
        if !self.channel.fill()? {
            return Ok(());
        }
        let op = run.shape.cycle[self.step];
        let mut used = 0;
        while self.owed > 0 {
            let Some((length, id)) = run.wire.reply(op, &self.channel.unread()[used..])? else {
                self.channel.consume(used);
                return Ok(());
            };
            used += length;
            self.owed -= 1;
            run.commands += 1;
            match op {
                Op::Put => run.ledger.inserted(id)?,
                Op::Reserve | Op::Batch => {
                    run.ledger.reserved(id)?;
                    if run.wire.takes_away() {
                        run.ledger.deleted();
                    } else {
                        self.jobs.push(id);
                    }
                }
                Op::Delete => run.ledger.deleted(),
            }
        }
        self.channel.consume(used);
        if !self.channel.unread().is_empty() {
            return Err(Failure::wrong("no more replies than commands", self.channel.unread()));
        }
        let now = Instant::now();
        if let Some((since, latency)) = &mut run.latency
            && self.sent >= *since
        {
            latency.record(now - self.sent);
        }
        self.step = (self.step + 1) % run.shape.cycle.len();
        self.next_batch(run, now)
    }

    fn next_batch(&mut self, run: &mut Run<'_>, now: Instant) -> Result<(), Failure> {
        if self.step == 0 {
            run.turns += 1;
            self.size = run.jobs_left.min(run.shape.depth as u64) as usize;
            run.jobs_left -= self.size as u64;
            if self.size == 0 {
                run.active -= 1;
                return Ok(());
            }
        }
        self.owed = self.size;
        self.sent = now;
        if self.step == 0 {
            // Where the cycle deletes nothing.
            self.jobs.clear();
        }
        match run.shape.cycle[self.step] {
            Op::Put => self.channel.send(run.wire.puts(self.size)),
            Op::Reserve => self.channel.send(run.wire.reserves(self.size)),
            Op::Batch => {
                let command = format!("batch-reserve {} 0\r\n", self.size);
                self.channel.send(command.as_bytes())
            }
            Op::Delete => {
                self.deletes.clear();
                self.jobs.drain(..).for_each(|id| delete(&mut self.deletes, id));
                self.channel.send(&self.deletes)
            }
        }
    }
}

/// Waits for connections and lets them go on.
enum Poll {
    /// A single connection blocks in `read`: that saves a system call for each reply, and nobody
    /// else has to be waited for.
    One,
    Many(OwnedFd),
}

impl Poll {
    fn new(channels: &[Channel]) -> Result<Self, Failure> {
        if channels.len() == 1 {
            return Ok(Self::One);
        }
        let create = || -> std::io::Result<OwnedFd> {
            let epoll = epoll::create(CreateFlags::CLOEXEC)?;
            for (token, channel) in channels.iter().enumerate() {
                channel.set_nonblocking()?;
                epoll::add(&epoll, channel, EventData::new_u64(token as u64), EventFlags::IN)?;
            }
            Ok(epoll)
        };
        create().map(Self::Many).during(|| "cannot set up epoll".to_owned())
    }

    /// Lets the connections that have something to read or room to write go on.
    fn wait(
        &self,
        events: &mut Vec<epoll::Event>,
        workers: &mut [Worker],
        run: &mut Run<'_>,
    ) -> Result<(), Failure> {
        let Self::Many(epoll) = self else { return workers[0].receive(run) };
        events.clear();
        match epoll::wait(epoll, rustix::buffer::spare_capacity(events), Some(&TURN)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).during(|| "cannot wait for events".to_owned()),
        }
        for event in &*events {
            let (token, flags) = (event.data.u64() as usize, event.flags);
            let worker = &mut workers[token];
            if flags.contains(EventFlags::OUT) {
                worker.channel.flush()?;
            }
            if flags != EventFlags::OUT {
                worker.receive(run)?;
            }
            self.watch(token, worker)?;
        }
        Ok(())
    }

    /// Asks for room to write only while something waits to be written.
    fn watch(&self, token: usize, worker: &mut Worker) -> Result<(), Failure> {
        let wants_to_write = !worker.channel.is_flushed();
        let Self::Many(epoll) = self else { return Ok(()) };
        if wants_to_write == worker.wants_to_write {
            return Ok(());
        }
        worker.wants_to_write = wants_to_write;
        let write = if wants_to_write { EventFlags::OUT } else { EventFlags::empty() };
        let data = EventData::new_u64(token as u64);
        epoll::modify(epoll, &worker.channel, data, EventFlags::IN | write)
            .during(|| "cannot change what epoll waits for".to_owned())
    }
}

/// Opens and closes the window in which a load is measured.
struct Clock<'a> {
    meter: &'a Meter,
    stage: Stage,
}

enum Stage {
    /// Nothing is measured.
    Filling {
        until: Instant,
    },
    WarmingUp {
        until: Instant,
        time: Duration,
    },
    Measuring {
        until: Instant,
        latest: Instant,
        turns: u64,
        from: Reading,
        commands: u64,
    },
    Over(Option<Window>),
}

impl<'a> Clock<'a> {
    fn new(meter: &'a Meter, until: Until) -> Self {
        let stage = match until {
            Until::Jobs(_) => Stage::Over(None),
            Until::JobsWithin(_, time) => Stage::Filling { until: Instant::now() + time },
            Until::Measured { warm_up, time, .. } => {
                Stage::WarmingUp { until: Instant::now() + warm_up, time }
            }
        };
        Self { meter, stage }
    }

    fn tick(&mut self, run: &mut Run<'_>) -> Result<(), Failure> {
        match &self.stage {
            Stage::Filling { until } if Instant::now() >= *until => {
                self.stage = Stage::Over(None);
                run.jobs_left = 0;
            }
            Stage::WarmingUp { until, time } if Instant::now() >= *until => {
                let from = self.meter.read()?;
                let now = Instant::now();
                run.latency = Some((now, Histogram::new()));
                let (until, latest) = (now + *time, now + *time * MAX_STRETCH);
                let turns = run.turns + MIN_TURNS * run.shape.connections as u64;
                let commands = run.commands;
                self.stage = Stage::Measuring { until, latest, turns, from, commands };
            }
            Stage::Measuring { until, latest, turns, from, commands }
                if run.jobs_left == 0 || {
                    let now = Instant::now();
                    now >= *until && (run.turns >= *turns || now >= *latest)
                } =>
            {
                let usage = self.meter.since(from)?;
                let (_, latency) = run.latency.take().expect("latencies are kept while measuring");
                let (commands, commands_per_job) = (run.commands - commands, run.shape.cycle.len());
                let window = Window { commands, commands_per_job, usage, latency };
                self.stage = Stage::Over(Some(window));
                // Every connection finishes its cycle, so that nothing is left behind.
                run.jobs_left = 0;
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self, run: &mut Run<'_>) -> Result<Option<Window>, Failure> {
        // The jobs may have run out within the last turn of the loop.
        self.tick(run)?;
        match self.stage {
            Stage::Over(window) => Ok(window),
            Stage::Filling { .. } => Ok(None),
            Stage::WarmingUp { .. } | Stage::Measuring { .. } => {
                Err(Failure::Server("too few jobs for a measurement".to_owned()))
            }
        }
    }
}
