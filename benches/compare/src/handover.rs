//! How often a second a job goes from one producer to one of many workers that wait, and how long
//! the two wait for their replies.
//!
//! A worker that has got a job deletes it and waits again, one command at a time. The producer puts
//! the next job when the last one is with a worker and its own reply has come, so a server that
//! answers one of the two late is slow.

use std::{
    thread,
    time::{Duration, Instant},
};

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
    metric::{self, Metric, Sample},
    session::{Session, tube_name},
    spec::Dialect,
    stats::Histogram,
    wire::{Op, Wire, delete},
};

/// How long one wait for events may take before it is looked at whether the time is over.
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Events taken from the kernel at a time.
const EVENTS: usize = 256;
/// The event that stands for the producer; workers count from 0.
const PRODUCER: u64 = u64::MAX;
/// How long a server without statistics may take to let the workers wait.
const SETTLE: Duration = Duration::from_millis(200);
/// How often a server is asked how many wait.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// Has `count` workers wait, and hands jobs over for some time.
pub(crate) fn measure(
    session: &Session<'_>,
    count: usize,
    body: usize,
    warm_up: Duration,
    time: Duration,
) -> Result<Sample, Failure> {
    let wire = session.wire(body, 1);
    let mut floor = Floor::new(session, &wire, count)?;
    await_waiting(session, count)?;
    let begun = Instant::now();
    let (warm, end) = (begun + warm_up, begun + warm_up + time);
    let mut from = None;
    floor.put()?;
    while Instant::now() < end {
        floor.wait()?;
        if from.is_none() && Instant::now() >= warm {
            from = Some((session.meter.read()?, floor.handed_over));
            floor.since = Some(Instant::now());
        }
    }
    let (from, before) =
        from.ok_or_else(|| Failure::Server("no job was handed over in time".to_owned()))?;
    let usage = session.meter.since(&from)?;
    let handed_over = floor.handed_over - before;
    floor.finish()?;
    let wall = usage.wall.as_secs_f64();
    let mut values = vec![(Metric::HandOversPerSecond, handed_over as f64 / wall)];
    values.extend(metric::latencies(&floor.woken));
    values.extend(metric::put_latencies(&floor.answered));
    if let Some(server) = usage.server {
        values.push((Metric::ServerBusy, server.as_secs_f64() / wall * 100.0));
    }
    values.push((Metric::ClientBusy, usage.client.as_secs_f64() / wall * 100.0));
    Ok(Sample { values, others: usage.others })
}

/// Returns when so many workers wait.
fn await_waiting(session: &Session<'_>, count: usize) -> Result<(), Failure> {
    if session.server.dialect != Dialect::Queue {
        thread::sleep(SETTLE);
        return Ok(());
    }
    let mut control = session.connect(None)?;
    let command = format!("stats-tube {}", tube_name(None));
    let asked = Instant::now();
    while control.stat(&command, "current-waiting")? != count as u64 {
        if asked.elapsed() > PATIENCE {
            return Err(Failure::Untrue(format!("of {count} workers not all wait")));
        }
        thread::sleep(ASK_EVERY);
    }
    Ok(())
}

/// Everybody who takes part.
struct Floor<'a> {
    wire: &'a Wire,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    producer: Channel,
    workers: Vec<Worker>,
    /// The job that is on its way.
    job: Option<Job>,
    /// Workers that delete.
    busy: usize,
    handed_over: u64,
    /// Latencies of what was put since then are measured.
    since: Option<Instant>,
    /// From the put until the worker had the job.
    woken: Histogram,
    /// From the put until its reply.
    answered: Histogram,
    deletes: Vec<u8>,
}

struct Worker {
    channel: Channel,
    /// What it waits for the reply to.
    op: Op,
}

/// A job that was put.
struct Job {
    put: Instant,
    /// What the producer was told, and what the worker was given.
    inserted: Option<u64>,
    reserved: Option<u64>,
}

impl<'a> Floor<'a> {
    fn new(session: &Session<'_>, wire: &'a Wire, count: usize) -> Result<Self, Failure> {
        let setting_up = || "cannot set up epoll".to_owned();
        let epoll = epoll::create(CreateFlags::CLOEXEC).during(setting_up)?;
        let connect = |token| {
            let channel = session.connect(None)?.into_channel();
            channel.set_nonblocking().during(setting_up)?;
            epoll::add(&epoll, &channel, EventData::new_u64(token), EventFlags::IN)
                .during(setting_up)?;
            Ok::<_, Failure>(channel)
        };
        let producer = connect(PRODUCER)?;
        let mut workers = Vec::with_capacity(count);
        for token in 0..count as u64 {
            let mut channel = connect(token)?;
            channel.send(wire.reserves(1))?;
            workers.push(Worker { channel, op: Op::Reserve });
        }
        Ok(Self {
            wire,
            epoll,
            events: Vec::with_capacity(EVENTS),
            producer,
            workers,
            job: None,
            busy: 0,
            handed_over: 0,
            since: None,
            woken: Histogram::new(),
            answered: Histogram::new(),
            deletes: Vec::new(),
        })
    }

    fn put(&mut self) -> Result<(), Failure> {
        self.job = Some(Job { put: Instant::now(), inserted: None, reserved: None });
        self.producer.send(self.wire.puts(1))
    }

    /// Waits for replies, and goes on.
    fn wait(&mut self) -> Result<(), Failure> {
        self.receive()?;
        if self.job.is_none() { self.put() } else { Ok(()) }
    }

    /// Has everything that is under way come to its end.
    fn finish(&mut self) -> Result<(), Failure> {
        self.since = None;
        while self.job.is_some() || self.busy > 0 {
            self.receive()?;
        }
        Ok(())
    }

    /// Takes what has arrived. Each worker goes on; the producer does not.
    fn receive(&mut self) -> Result<(), Failure> {
        self.events.clear();
        let room = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, room, Some(&TURN)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).during(|| "cannot wait for events".to_owned()),
        }
        for at in 0..self.events.len() {
            match self.events[at].data.u64() {
                PRODUCER => self.answer()?,
                worker => self.work(worker as usize)?,
            }
        }
        if interrupt::requested() {
            return Err(Failure::Interrupted);
        }
        match &self.job {
            Some(job) if job.put.elapsed() > PATIENCE => Err(Failure::Silent(PATIENCE)),
            _ => Ok(()),
        }
    }

    /// Takes the producer's reply.
    fn answer(&mut self) -> Result<(), Failure> {
        self.producer.fill()?;
        let reply = self.wire.reply(Op::Put, self.producer.unread())?;
        let Some((length, id)) = reply else { return Ok(()) };
        self.producer.consume(length);
        let (now, since) = (Instant::now(), self.since);
        match &mut self.job {
            Some(job) if job.inserted.is_none() => {
                job.inserted = Some(id);
                if since.is_some_and(|since| job.put >= since) {
                    self.answered.record(now - job.put);
                }
            }
            _ => return Err(Failure::Untrue(format!("INSERTED {id} without a put"))),
        }
        self.settle()
    }

    /// Takes a worker's reply, and has it go on.
    fn work(&mut self, worker: usize) -> Result<(), Failure> {
        let Worker { channel, op } = &mut self.workers[worker];
        channel.fill()?;
        let Some((length, id)) = self.wire.reply(*op, channel.unread())? else { return Ok(()) };
        channel.consume(length);
        if *op == Op::Delete {
            *op = Op::Reserve;
            self.busy -= 1;
            return channel.send(self.wire.reserves(1));
        }
        let (now, since) = (Instant::now(), self.since);
        match &mut self.job {
            Some(job) if job.reserved.is_none() => {
                job.reserved = Some(id);
                if since.is_some_and(|since| job.put >= since) {
                    self.woken.record(now - job.put);
                }
            }
            _ => return Err(Failure::Untrue(format!("RESERVED {id} without a put"))),
        }
        if self.wire.takes_away() {
            channel.send(self.wire.reserves(1))?;
        } else {
            self.deletes.clear();
            delete(&mut self.deletes, id);
            *op = Op::Delete;
            self.busy += 1;
            channel.send(&self.deletes)?;
        }
        self.settle()
    }

    /// The job is over when both have their replies.
    fn settle(&mut self) -> Result<(), Failure> {
        match self.job {
            Some(Job { inserted: Some(put), reserved: Some(got), .. }) if put != got => {
                Err(Failure::Untrue(format!("job {put} was put, and {got} handed out")))
            }
            Some(Job { inserted: Some(_), reserved: Some(_), .. }) => {
                self.job = None;
                self.handed_over += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
