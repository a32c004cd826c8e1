//! How long others have to wait while a server does something big.
//!
//! One connection puts, reserves and deletes in a tube of its own, one command at a time, while
//! something happens to a great number of jobs in another tube. What counts is the longest time
//! that it has waited for a reply.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    control::{Control, PATIENCE},
    failure::Failure,
    interrupt,
    meter::Reading,
    metric::{Metric, Sample, latencies},
    session::{Session, tube_name},
    stats::Histogram,
    wire::{Op, Wire, delete},
};

/// What happens to all the jobs at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// They were delayed and fall due together.
    Due,
    /// They were buried, and one `kick` makes them ready.
    Kick,
    /// They were reserved by one connection, which closes.
    Disconnect,
}

/// Commands sent together while the jobs are prepared.
const AT_ONCE: usize = 500;
/// The probe goes on for at least this long.
const WATCH: Duration = Duration::from_secs(1);
/// After that, how often it looks whether all jobs are ready.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The share of the jobs, as a divisor, that shows how fast a server takes them.
const PILOT: u64 = 20;
/// Delays are whole seconds and count from each put, so what is due in the same second is spread
/// over one.
const SPREAD: Duration = Duration::from_secs(1);
/// How long to sleep before looking whether the user has asked to stop.
const TURN: Duration = Duration::from_millis(50);
/// The server is stopped so much before the first job is due, and so much longer than the last.
const MARGIN: Duration = Duration::from_millis(100);

/// Prepares `jobs` jobs in the shared tube, lets the event happen, and watches the probe.
pub(crate) fn measure(
    session: &mut Session<'_>,
    event: Event,
    jobs: u64,
    body: usize,
) -> Result<Sample, Failure> {
    let mut probe = Probe::new(session, body)?;
    let mut control = session.connect(None)?;
    match event {
        Event::Due => {
            let due = put_delayed(session, &mut control, jobs, body)?;
            let ready = control.stat(&stats_tube(), READY)? + jobs;
            // On a stopped server all of them become due, so that it finds them together.
            sleep_until(due - MARGIN)?;
            let freezes = session.server.signal(Signal::STOP)?;
            if freezes {
                sleep_until(due + SPREAD + MARGIN)?;
            }
            let watch = Watch::start(session, ready)?;
            session.server.signal(Signal::CONT)?;
            watch.finish(session, &mut probe, &mut control)
        }
        Event::Kick => {
            session.fill(jobs, body)?;
            let wire = Wire::new(body, AT_ONCE);
            in_batches(jobs, |count| bury(&mut control, &wire, count))?;
            let watch = Watch::start(session, jobs)?;
            let mut kicker = session.connect(None)?;
            kicker.send(format!("kick {jobs}\r\n").as_bytes())?;
            let sample = watch.finish(session, &mut probe, &mut control)?;
            kicker.expect(&format!("KICKED {jobs}"))?;
            Ok(sample)
        }
        Event::Disconnect => {
            session.fill(jobs, body)?;
            let mut holder = session.connect(None)?;
            let wire = Wire::new(body, AT_ONCE);
            in_batches(jobs, |count| reserve(&mut holder, &wire, count).map(|_| ()))?;
            let watch = Watch::start(session, jobs)?;
            drop(holder);
            watch.finish(session, &mut probe, &mut control)
        }
    }
}

/// The line in a tube's statistics that says how many jobs are ready.
const READY: &str = "current-jobs-ready";

fn stats_tube() -> String {
    format!("stats-tube {}", tube_name(None))
}

/// Puts jobs that are due within one second, and says when that begins.
fn put_delayed(
    session: &mut Session<'_>,
    control: &mut Control,
    jobs: u64,
    body: usize,
) -> Result<Instant, Failure> {
    let mut put = |wire: &Wire, count| {
        control.send(wire.puts(count))?;
        (0..count).try_for_each(|_| session.inserted(control.reply(wire, Op::Put)?))
    };
    let begun = Instant::now();
    let wire = Wire::new(body, AT_ONCE);
    let pilot = jobs.div_ceil(PILOT);
    in_batches(pilot, |count| put(&wire, count))?;
    // Twice the time that it will probably take, because servers slow down with their size.
    let estimate = begun.elapsed().mul_f64(jobs as f64 / pilot as f64) * 2;
    let due = Instant::now() + estimate + 2 * SPREAD;
    let (mut delay, mut wire) = (0, wire);
    in_batches(jobs, |count| {
        // Rounded up: a job put now is due within the second that begins at `due`.
        let left = due.saturating_duration_since(Instant::now());
        if left <= MARGIN {
            let taken = estimate.as_secs_f64();
            return Err(Failure::Server(format!(
                "the delayed jobs were due before all were put, which was to take {taken:.1} s"
            )));
        }
        let needed = left.as_secs() + 1;
        if needed != delay {
            (delay, wire) = (needed, Wire::delayed(body, AT_ONCE, needed));
        }
        put(&wire, count)
    })?;
    Ok(due)
}

fn reserve(control: &mut Control, wire: &Wire, count: usize) -> Result<Vec<u64>, Failure> {
    control.send(wire.reserves(count))?;
    (0..count).map(|_| control.reply(wire, Op::Reserve)).collect()
}

fn bury(control: &mut Control, wire: &Wire, count: usize) -> Result<(), Failure> {
    let bury = |id| format!("bury {id} 1024\r\n");
    let commands: String = reserve(control, wire, count)?.into_iter().map(bury).collect();
    control.send(commands.as_bytes())?;
    (0..count).try_for_each(|_| control.expect("BURIED"))
}

/// Calls `step` with the sizes of batches that are `jobs` together.
fn in_batches(
    jobs: u64,
    mut step: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut left = jobs;
    while left > 0 {
        let count = left.min(AT_ONCE as u64);
        step(count as usize)?;
        left -= count;
    }
    Ok(())
}

fn sleep_until(then: Instant) -> Result<(), Failure> {
    loop {
        let left = then.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if interrupt::requested() {
            return Err(Failure::Interrupted);
        }
        thread::sleep(left.min(TURN));
    }
}

/// The connection that should not notice anything.
struct Probe {
    control: Control,
    wire: Wire,
    latency: Histogram,
}

impl Probe {
    fn new(session: &Session<'_>, body: usize) -> Result<Self, Failure> {
        let mut probe = Self {
            control: session.connect(Some(0))?,
            wire: Wire::new(body, 1),
            latency: Histogram::new(),
        };
        // The first time costs more, on both sides.
        probe.cycle()?;
        probe.latency = Histogram::new();
        Ok(probe)
    }

    fn cycle(&mut self) -> Result<(), Failure> {
        let mut command = Vec::new();
        for op in [Op::Put, Op::Reserve, Op::Delete] {
            let sent = Instant::now();
            match op {
                Op::Put => self.control.send(self.wire.puts(1))?,
                Op::Reserve => self.control.send(self.wire.reserves(1))?,
                Op::Delete => self.control.send(&command)?,
            }
            let id = self.control.reply(&self.wire, op)?;
            self.latency.record(sent.elapsed());
            if op == Op::Reserve {
                delete(&mut command, id);
            }
        }
        Ok(())
    }
}

/// The time from the event on.
struct Watch {
    from: Reading,
    begun: Instant,
    /// How many jobs are ready in the end.
    ready: u64,
}

impl Watch {
    fn start(session: &Session<'_>, ready: u64) -> Result<Self, Failure> {
        Ok(Self { from: session.meter.read()?, begun: Instant::now(), ready })
    }

    /// Runs the probe until everything is over.
    fn finish(
        self,
        session: &Session<'_>,
        probe: &mut Probe,
        control: &mut Control,
    ) -> Result<Sample, Failure> {
        let mut look = WATCH;
        loop {
            probe.cycle()?;
            let passed = self.begun.elapsed();
            if passed < look {
                continue;
            }
            let found = control.stat(&stats_tube(), READY)?;
            if found == self.ready {
                break;
            }
            if passed > PATIENCE {
                let message = format!("{found} jobs are ready, not {}", self.ready);
                return Err(Failure::Untrue(message));
            }
            look = passed + LOOK_EVERY;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_all_jobs_together() {
        for jobs in [0, 1, 499, 500, 501, 1750] {
            let mut sizes = Vec::new();
            in_batches(jobs, |count| {
                sizes.push(count);
                Ok(())
            })
            .unwrap();
            assert_eq!(sizes.iter().sum::<usize>() as u64, jobs);
            assert!(sizes.iter().all(|&size| (1..=AT_ONCE).contains(&size)), "{sizes:?}");
        }
        assert!(in_batches(2, |_| Err(Failure::Closed)).is_err());
    }
}
