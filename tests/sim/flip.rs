//! Bits that turn over while no server runs.

use beanstalk_protocol::{Command, JobId, Request};
use jq_engine::{CloseReason, ConnId, Subject};
use jq_server::log::binlog::format::{self, Entry, HEADER_LEN, Header, Next};
use jq_server::log::binlog::{ReplayError, body_name, segment_name};

use crate::history::Moment;
use crate::job::Job;
use crate::model::{Policy, TUBES};
use crate::observe::tube_name;
use crate::server::Server;
use crate::sim::{Sim, Violation};

/// What a flipped bit belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hit {
    /// Nothing that must come back: a mark, room that is not used.
    Nothing,
    /// A header, which may be all that is left of the numbers of jobs that are gone.
    Header,
    /// A record about this job.
    Job(u64),
    /// The record that this tube was cleared.
    Jobs(usize),
    /// A record of settings: a pause, draining.
    Note,
}

impl Hit {
    /// Whether what is known of the job may have been hit.
    pub(crate) fn concerns(self, id: JobId, job: &Job) -> bool {
        match self {
            Self::Job(hit) => hit == id,
            Self::Jobs(tube) => job.was_in(tube),
            Self::Nothing | Self::Header | Self::Note => false,
        }
    }
}

impl Sim {
    /// A bit turns over while no server runs. That is seen, or it does not matter.
    pub(crate) fn flip(&mut self, floor: Moment) -> Result<(), Violation> {
        let bodies = self.disk.bodies();
        if let Some(job) = self.rng.choice(bodies).filter(|_| self.rng.bool()) {
            return self.flip_body(job, floor);
        }
        let segments = self.disk.segments();
        let at = self.rng.usize(..segments.len().max(1));
        let Some((number, bytes)) = segments.get(at).filter(|(_, bytes)| !bytes.is_empty()) else {
            return self.start_sound(floor);
        };
        let (offset, bit) = (self.rng.usize(..bytes.len()), self.rng.u8(..8));
        let (hit, marked) = hit(bytes, offset);
        let name = segment_name(*number);
        self.trace.note(format_args!(
            "bit {bit} at {offset} of {name}, {hit:?} {marked} {:?}",
            segments.iter().map(|s| (s.0, s.1.len())).collect::<Vec<_>>()
        ));
        self.disk.flip(&name, offset, bit);
        match Server::start(&self.disk, self.plan.options, &self.time, false) {
            Ok(server) => {
                self.server = server;
                // If not all of the next one's header was written, this one is the last. So is the one
                // before, until a mark in the last says that all of it was synced.
                let behind: Vec<_> = segments[at + 1..]
                    .iter()
                    .filter_map(|(_, bytes)| Some((Header::decode(bytes).ok()?, bytes)))
                    .collect();
                let seen = match &behind[..] {
                    [] => marked,
                    [(header, bytes)] => marked || !header.is_early || has_mark(bytes),
                    _ => true,
                };
                if seen && !behind.is_empty() {
                    return self.check(floor, None);
                }
                // What was last written may look as if it had never been synced.
                if seen {
                    return Err(format!("not noticed, though it was marked as synced: {hit:?}"));
                }
                self.start_over()
            }
            Err(ReplayError::Io { what, error }) => Err(format!("cannot {what}: {error}")),
            Err(error) => {
                self.trace.note(format_args!("{error}"));
                let is_whole = self.repair()?;
                match hit {
                    // Where the segment before it ends is not known any more, so what failed and
                    // was written anew may have happened twice.
                    Hit::Header => self.start_over(),
                    hit if is_whole => self.check(floor, Some(hit)),
                    _ => self.start_over(),
                }
            }
        }
    }

    /// The same in the body of a job.
    fn flip_body(&mut self, job: JobId, floor: Moment) -> Result<(), Violation> {
        let name = body_name(job);
        let len = self.disk.bytes(&name).map_or(0, |bytes| bytes.len());
        let (offset, bit) = (self.rng.usize(..len.max(1)), self.rng.u8(..8));
        self.trace.note(format_args!("bit {bit} at {offset} of {name}"));
        self.disk.flip(&name, offset, bit);
        match Server::start(&self.disk, self.plan.options, &self.time, false) {
            Ok(server) => {
                // Its put, or its deletion, was never known to anybody. Or its body would be another.
                self.server = server;
                self.check(floor, None)
            }
            Err(ReplayError::DamagedBody { job: named, .. }) if named == job => {
                if !self.repair()? {
                    return self.start_over();
                }
                self.check(floor, Some(Hit::Job(job)))
            }
            Err(error) => Err(format!("the body of {job} is damaged, but: {error}")),
        }
    }

    /// What a flipped bit has changed may be anything now: away with it.
    pub(crate) fn level(&mut self, hit: Hit) -> Result<(), Violation> {
        let conn = self.server.connect();
        match hit {
            Hit::Nothing | Hit::Header => {}
            Hit::Job(id) => {
                self.away_with(conn, id)?;
            }
            Hit::Jobs(tube) => {
                let ids = self.model.jobs.iter().filter(|(_, job)| job.was_in(tube));
                let ids: Vec<_> = ids.map(|(id, _)| *id).collect();
                for id in ids {
                    self.away_with(conn, id)?;
                }
            }
            Hit::Note => {
                let all = (0..TUBES.len()).map(|tube| Command::PauseTube(tube_name(tube), 0));
                self.apply(conn, all.map(Request::Command).collect())?;
                self.server.drain(false);
                let taken = (0..TUBES.len()).all(|tube| self.server.rule(tube, &Policy::default()));
                if !taken {
                    return Err("a policy cannot be removed on a good disk".into());
                }
                self.model.lose_notes();
            }
        }
        self.server.hub.disconnect(conn, CloseReason::Quit);
        self.server.binlog.sync().map_err(|failure| format!("{failure:?}"))
    }

    /// Deletes a job of which nothing is known.
    fn away_with(&mut self, conn: ConnId, id: JobId) -> Result<(), Violation> {
        self.model.lose(id);
        self.apply(conn, vec![Request::Command(Command::Delete(id))])?;
        Ok(())
    }
}

/// Whether there is a mark in a segment.
fn has_mark(segment: &[u8]) -> bool {
    hit(segment, 0).1
}

/// What is at this offset of a segment, and whether a later mark says that it was synced.
fn hit(segment: &[u8], offset: usize) -> (Hit, bool) {
    let mut hit = if offset < HEADER_LEN { Hit::Header } else { Hit::Nothing };
    let mut marked = false;
    let mut at = HEADER_LEN;
    while let Some(rest) = segment.get(at..)
        && let Ok(Next::Entry(entry, len)) = format::decode(rest)
    {
        if (at..at + len).contains(&offset) {
            hit = what_is_hit(&entry);
        }
        marked |= matches!(entry, Entry::Mark(synced) if synced > offset as u64);
        at += len;
    }
    (hit, marked)
}

fn what_is_hit(entry: &Entry<'_>) -> Hit {
    match entry {
        Entry::Fact(record) => match record.subject() {
            Subject::Job(id) => Hit::Job(id),
            Subject::Jobs(name) => {
                Hit::Jobs(TUBES.iter().position(|tube| *tube == name).expect("it is one of them"))
            }
            Subject::Tube(_) | Subject::Server => Hit::Note,
        },
        Entry::LargePut(job, _) => Hit::Job(job.now.id),
        Entry::Mark(_) => Hit::Nothing,
    }
}
