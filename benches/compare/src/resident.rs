//! How much memory jobs and waiting connections take.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    channel::Channel,
    control::{Control, PATIENCE},
    failure::Failure,
    interrupt,
    metric::{Metric, Sample},
    session::Session,
};

/// Connections that are opened at a time, well below any server's backlog.
const CONNECT_AT_ONCE: usize = 256;
/// How often the server is asked whether it has seen all of them.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// Resident bytes that each of `jobs` adds.
pub(crate) fn jobs(session: &mut Session<'_>, jobs: u64, body: usize) -> Result<Sample, Failure> {
    // The first jobs also pay for what the server sets up once.
    session.fill(1, body)?;
    let before = resident(session)?;
    session.fill(jobs, body)?;
    let added = resident(session)? - before;
    Ok(Sample::single(Metric::BytesPerJob, added / jobs as f64))
}

/// Resident bytes that each of `count` connections adds that wait in `reserve`.
pub(crate) fn waiting(session: &Session<'_>, count: usize) -> Result<Sample, Failure> {
    let mut control = session.connect(None)?;
    let already = control.stat("stats", "current-waiting")?;
    let before = resident(session)?;
    let mut waiting = Vec::with_capacity(count);
    while waiting.len() < count {
        for _ in 0..CONNECT_AT_ONCE.min(count - waiting.len()) {
            let mut channel = Channel::connect(&session.server.way)?;
            channel.send(b"reserve\r\n")?;
            waiting.push(channel);
        }
        until_waiting(&mut control, already + waiting.len() as u64)?;
    }
    let added = resident(session)? - before;
    Ok(Sample::single(Metric::BytesPerConnection, added / count as f64))
}

fn until_waiting(control: &mut Control, expected: u64) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = control.stat("stats", "current-waiting")?;
        if found == expected {
            return Ok(());
        }
        if interrupt::requested() {
            return Err(Failure::Interrupted);
        }
        if Instant::now() > deadline {
            let message = format!("stats show {found} waiting connections, expected {expected}");
            return Err(Failure::Untrue(message));
        }
        thread::sleep(ASK_EVERY);
    }
}

fn resident(session: &Session<'_>) -> Result<f64, Failure> {
    let bytes = session.meter.resident()?;
    let unknown = || {
        Failure::Server(
            "the server's process is unknown: give its PID as addr:HOST:PORT@PID".to_owned(),
        )
    };
    bytes.map(|bytes| bytes as f64).ok_or_else(unknown)
}
