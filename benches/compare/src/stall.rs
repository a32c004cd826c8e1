//! How long others have to wait while a server does something big.
//!
//! One connection puts, reserves and deletes in a tube of its own, one command at a time, while
//! something happens to a great number of jobs in another tube, or another client does what costs
//! the server much. What counts is how long it has waited for its replies, and the longest time most
//! of all.

mod actor;
mod prepare;
mod probe;

use std::time::Duration;

use rustix::process::Signal;

use crate::{failure::Failure, metric::Sample, session::Session, session::tube_name, wire::Wire};
use actor::{Actor, Deleting, Draining, Putting, Unread};
use prepare::{AT_ONCE, bury, in_batches, put_delayed, reserve, sleep_until};
use probe::{Probe, Watch};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Nothing: what the machine does by itself.
    Nothing,
    /// So many jobs were delayed and fall due together.
    Due,
    /// So many jobs were buried, and one `kick` makes them ready.
    Kick,
    /// A tube with so many ready jobs is cleared by one `clear-tube`.
    Clear,
    /// So many jobs were reserved by one connection, which closes.
    Disconnect,
    /// One client deletes so many ready jobs, many commands at a time.
    Delete,
    /// One client reserves and deletes so many jobs, as fast as it can.
    Drain,
    /// One client puts a job of so many bytes, and deletes it.
    LargePut,
    /// One client asks [`UNREAD`] times and reads nothing, while there are so many tubes; then it
    /// goes.
    Unread(Question, Parting),
}

/// What is asked again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// `list-tubes`.
    Lists,
    /// `stats`.
    Stats,
}

/// How a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// It closes its socket, as a process that ends does. What it has not read makes its kernel
    /// send a reset as well.
    Close,
    /// It throws away what it has sent, too, and sends a reset at once.
    Reset,
}

/// How often a client asks that reads no reply.
pub(crate) const UNREAD: usize = 200_000;

/// Delays are whole seconds and count from each put, so what is due in the same second is spread
/// over one.
const SPREAD: Duration = Duration::from_secs(1);
/// The server is stopped so much before the first job is due, and so much longer than the last.
const MARGIN: Duration = Duration::from_millis(100);

/// The line in a tube's statistics that says how many jobs are ready.
const READY: &str = "current-jobs-ready";
/// The line in the statistics that says how many connections there are.
const CONNECTIONS: &str = "current-connections";

/// Prepares what `number` says, lets the event happen, and watches the probe.
pub(crate) fn measure(
    session: &mut Session<'_>,
    event: Event,
    number: u64,
    body: usize,
) -> Result<Sample, Failure> {
    let mut probe = Probe::new(session, body)?;
    let mut control = session.connect(None)?;
    let jobs = number;
    match event {
        Event::Nothing => Watch::start(session)?.finish(session, &mut probe),
        Event::Due => {
            let due = put_delayed(session, &mut control, jobs, body)?;
            let ready = control.stat(&stats_tube(), READY)? + jobs;
            // On a stopped server all of them become due, so that it finds them together.
            sleep_until(due - MARGIN)?;
            let freezes = session.server.signal(Signal::STOP)?;
            if freezes {
                sleep_until(due + SPREAD + MARGIN)?;
            }
            let watch = Watch::start(session)?;
            session.server.signal(Signal::CONT)?;
            watch.until(session, &mut probe, &mut control, &stats_tube(), READY, ready)
        }
        Event::Kick => {
            session.fill(jobs, body)?;
            let wire = Wire::new(body, AT_ONCE);
            in_batches(jobs, |count| bury(&mut control, &wire, count))?;
            let watch = Watch::start(session)?;
            let mut kicker = session.connect(None)?;
            kicker.send(format!("kick {jobs}\r\n").as_bytes())?;
            let sample =
                watch.until(session, &mut probe, &mut control, &stats_tube(), READY, jobs)?;
            kicker.expect(&format!("KICKED {jobs}"))?;
            Ok(sample)
        }
        Event::Clear => {
            session.fill(jobs, body)?;
            let cleared = session.take_ids().len();
            let watch = Watch::start(session)?;
            let mut clearer = session.connect(None)?;
            clearer.send(format!("clear-tube {}\r\n", tube_name(None)).as_bytes())?;
            let sample = watch.until(session, &mut probe, &mut control, &stats_tube(), READY, 0)?;
            clearer.expect(&format!("CLEARED {cleared}"))?;
            Ok(sample)
        }
        Event::Disconnect => {
            session.fill(jobs, body)?;
            let mut holder = session.connect(None)?;
            let wire = Wire::new(body, AT_ONCE);
            in_batches(jobs, |count| reserve(&mut holder, &wire, count).map(|_| ()))?;
            let watch = Watch::start(session)?;
            drop(holder);
            watch.until(session, &mut probe, &mut control, &stats_tube(), READY, jobs)
        }
        Event::Delete => {
            session.fill(jobs, body)?;
            let ids = session.take_ids();
            let channel = session.connect(None)?.into_channel();
            beside(session, &mut probe, Deleting::new(channel, ids)?)
        }
        Event::Drain => {
            session.fill(jobs, body)?;
            let ids = session.take_ids();
            let channel = session.connect(None)?.into_channel();
            beside(session, &mut probe, Draining::new(channel, body, ids.len() as u64)?)
        }
        Event::LargePut => {
            let channel = session.connect(None)?.into_channel();
            beside(session, &mut probe, Putting::new(channel, number)?)
        }
        Event::Unread(question, parting) => {
            session.make_tubes(number as usize)?;
            let before = control.stat("stats", CONNECTIONS)?;
            let channel = session.connect(None)?.into_channel();
            let mut actor = Unread::new(channel, question, parting)?;
            let watch = Watch::start(session)?;
            watch.beside(&mut probe, &mut actor)?;
            // A server that has not noticed yet is still about to do what costs much.
            watch.until(session, &mut probe, &mut control, "stats", CONNECTIONS, before)
        }
    }
}

/// Watches the probe while somebody acts.
fn beside(
    session: &Session<'_>,
    probe: &mut Probe,
    mut actor: impl Actor,
) -> Result<Sample, Failure> {
    let watch = Watch::start(session)?;
    watch.beside(probe, &mut actor)?;
    watch.finish(session, probe)
}

fn stats_tube() -> String {
    format!("stats-tube {}", tube_name(None))
}
