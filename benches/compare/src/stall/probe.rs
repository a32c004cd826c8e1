//! The connection that should not notice anything, and the time for which it is watched.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::actor::Actor;
use crate::{
    control::{Control, PATIENCE},
    failure::{Context, Failure},
    interrupt,
    meter::Reading,
    metric::{Metric, Sample, latencies},
    session::Session,
    stats::Histogram,
    wire::{Op, Wire, delete},
};

/// The probe goes on for at least this long.
const WATCH: Duration = Duration::from_secs(1);
/// After that, how often it looks whether all is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long one wait for somebody else may take before it is looked at whether the actor is due.
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// The connection that should not notice anything.
pub(super) struct Probe {
    control: Control,
    wire: Wire,
    latency: Histogram,
    /// The commands of a cycle in turn, and the job that the last of them deletes.
    deletes: Vec<u8>,
}

const CYCLE: [Op; 3] = [Op::Put, Op::Reserve, Op::Delete];

impl Probe {
    pub(super) fn new(session: &Session<'_>, body: usize) -> Result<Self, Failure> {
        let mut probe = Self {
            control: session.connect(Some(0))?,
            wire: Wire::new(body, 1),
            latency: Histogram::new(),
            deletes: Vec::new(),
        };
        // The first time costs more, on both sides.
        probe.cycle()?;
        probe.latency = Histogram::new();
        Ok(probe)
    }

    /// Puts, reserves and deletes a job.
    fn cycle(&mut self) -> Result<(), Failure> {
        for op in CYCLE {
            let sent = self.send(op)?;
            let id = self.control.reply(&self.wire, op)?;
            self.received(op, sent, id);
        }
        Ok(())
    }

    /// The same while somebody else acts, who is let go on whenever its socket is ready. With one
    /// thread for the two of them they do not take the core from each other; the time that the
    /// actor takes for a step is in what the probe waits, and short.
    fn cycle_beside(&mut self, actor: &mut impl Actor) -> Result<(), Failure> {
        for op in CYCLE {
            let sent = self.send(op)?;
            loop {
                let wanted = actor.wants();
                let mut ready = [
                    PollFd::new(self.control.channel(), PollFlags::IN),
                    PollFd::new(actor.channel().unwrap_or(self.control.channel()), wanted),
                ];
                match poll(&mut ready, Some(&TURN)) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(e) => return Err(e).during(|| "cannot wait for events".to_owned()),
                }
                let [ours, theirs] = ready.map(|fd| !fd.revents().is_empty());
                let answered = match ours {
                    true => self.control.reply_if_there(&self.wire, op)?,
                    false => None,
                };
                if let Some(id) = answered {
                    self.received(op, sent, id);
                }
                if !wanted.is_empty() {
                    actor.step(theirs)?;
                }
                if interrupt::requested() {
                    return Err(Failure::Interrupted);
                }
                if answered.is_some() {
                    break;
                }
                if sent.elapsed() > PATIENCE {
                    return Err(Failure::Silent(PATIENCE));
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, op: Op) -> Result<Instant, Failure> {
        let sent = Instant::now();
        match op {
            Op::Put => self.control.send(self.wire.puts(1))?,
            Op::Reserve | Op::Batch => self.control.send(self.wire.reserves(1))?,
            Op::Delete => self.control.send(&self.deletes)?,
        }
        Ok(sent)
    }

    fn received(&mut self, op: Op, sent: Instant, id: u64) {
        self.latency.record(sent.elapsed());
        if op == Op::Reserve {
            self.deletes.clear();
            delete(&mut self.deletes, id);
        }
    }
}

/// The time from the event on.
pub(super) struct Watch {
    from: Reading,
    begun: Instant,
}

impl Watch {
    pub(super) fn start(session: &Session<'_>) -> Result<Self, Failure> {
        Ok(Self { from: session.meter.read()?, begun: Instant::now() })
    }

    /// Runs the probe until somebody who acts has done all.
    pub(super) fn beside(&self, probe: &mut Probe, actor: &mut impl Actor) -> Result<(), Failure> {
        while actor.channel().is_some() {
            probe.cycle_beside(actor)?;
        }
        Ok(())
    }

    /// Runs the probe until everything is over: until a number in the reply to `command` is the
    /// right one.
    pub(super) fn until(
        self,
        session: &Session<'_>,
        probe: &mut Probe,
        control: &mut Control,
        command: &str,
        key: &str,
        number: u64,
    ) -> Result<Sample, Failure> {
        let mut look = WATCH;
        loop {
            probe.cycle()?;
            let passed = self.begun.elapsed();
            if passed < look {
                continue;
            }
            let asked = Instant::now();
            let found = control.stat(command, key)?;
            // Whoever looks waits, too.
            probe.latency.record(asked.elapsed());
            if found == number {
                return self.finish(session, probe);
            }
            if passed > PATIENCE {
                return Err(Failure::Untrue(format!("{key} is {found}, not {number}")));
            }
            look = passed + LOOK_EVERY;
        }
    }

    /// Runs the probe until it was watched for long enough.
    pub(super) fn finish(
        self,
        session: &Session<'_>,
        probe: &mut Probe,
    ) -> Result<Sample, Failure> {
        while self.begun.elapsed() < WATCH {
            probe.cycle()?;
        }
        let usage = session.meter.since(&self.from)?;
        let mut values = Vec::new();
        if let Some(longest) = probe.latency.longest() {
            values.push((Metric::LongestStall, longest.as_secs_f64() * 1e3));
        }
        values.extend(latencies(&probe.latency));
        Ok(Sample { values, others: usage.others })
    }
}
