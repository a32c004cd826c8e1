//! How long a waiting worker takes to get the job that somebody puts.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    failure::Failure,
    interrupt,
    metric::{self, Metric, Sample},
    session::Session,
    stats::Histogram,
    wire::Op,
};

/// Lets the server take note of the worker and fall asleep before the next put.
const PAUSE: Duration = Duration::from_micros(200);

/// Has one connection wait and another one put, again and again. The time runs from before the
/// put is written until the worker has the whole reply; the worker's reply is read first, however
/// the server orders the two.
pub(crate) fn measure(
    session: &Session<'_>,
    body: usize,
    warm_up: Duration,
    time: Duration,
) -> Result<Sample, Failure> {
    let mut worker = session.connect(None)?;
    let mut producer = session.connect(None)?;
    let wire = session.wire(body, 1);
    let mut latency = Histogram::new();
    let (warm, end) = {
        let now = Instant::now();
        (now + warm_up, now + warm_up + time)
    };
    let mut from = None;
    loop {
        let now = Instant::now();
        if now >= end {
            break;
        }
        if now >= warm && from.is_none() {
            from = Some(session.meter.read()?);
        }
        if interrupt::requested() {
            return Err(Failure::Interrupted);
        }
        worker.send(wire.reserves(1))?;
        thread::sleep(PAUSE);
        let sent = Instant::now();
        producer.send(wire.puts(1))?;
        let reserved = worker.reply(&wire, Op::Reserve)?;
        if from.is_some() {
            latency.record(sent.elapsed());
        }
        let id = producer.reply(&wire, Op::Put)?;
        if reserved != id {
            return Err(Failure::Untrue(format!("job {id} was put, and {reserved} handed out")));
        }
        if !wire.takes_away() {
            worker.ask(&format!("delete {id}"), "DELETED")?;
        }
    }
    let mut values = metric::latencies(&latency);
    let mut others = None;
    if let Some(from) = from {
        let usage = session.meter.since(&from)?;
        let wall = usage.wall.as_secs_f64();
        others = usage.others;
        values.extend(
            usage.server.map(|server| (Metric::ServerBusy, server.as_secs_f64() / wall * 100.0)),
        );
    }
    Ok(Sample { values, others })
}
