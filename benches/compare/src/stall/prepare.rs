//! Jobs in the state in which something is about to happen to them.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{MARGIN, SPREAD};
use crate::{
    control::Control,
    failure::Failure,
    interrupt,
    session::Session,
    wire::{Op, Wire},
};

/// Commands sent together while the jobs are prepared.
pub(super) const AT_ONCE: usize = 500;
/// The share of the jobs, as a divisor, that shows how fast a server takes them.
const PILOT: u64 = 20;
/// How long to sleep before looking whether the user has asked to stop.
const TURN: Duration = Duration::from_millis(50);

/// Puts jobs that are due within one second, and says when that begins.
pub(super) fn put_delayed(
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

/// Reserves so many jobs of the tube that the connection watches: their ids.
pub(super) fn reserve(
    control: &mut Control,
    wire: &Wire,
    count: usize,
) -> Result<Vec<u64>, Failure> {
    control.send(wire.reserves(count))?;
    (0..count).map(|_| control.reply(wire, Op::Reserve)).collect()
}

/// Reserves so many jobs and buries them.
pub(super) fn bury(control: &mut Control, wire: &Wire, count: usize) -> Result<(), Failure> {
    let bury = |id| format!("bury {id} 1024\r\n");
    let commands: String = reserve(control, wire, count)?.into_iter().map(bury).collect();
    control.send(commands.as_bytes())?;
    (0..count).try_for_each(|_| control.expect("BURIED"))
}

/// Calls `step` with the sizes of batches that are `jobs` together.
pub(super) fn in_batches(
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

/// Sleeps, but not through an interrupt.
pub(super) fn sleep_until(then: Instant) -> Result<(), Failure> {
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
