//! Turns a drawn [`Ask`] into a request about what exists.

use beanstalk_protocol::{
    Command, JobId, JobMove, JobQuery, PutHeader, Rejection, Request, TubeName,
};
use jq_engine::{Action, ConnId, JobChange, Policy};
use proptest::sample::Index;

use super::ops::{Ask, Deed, JobPick, Kind, NewJob, Rules};
use super::{Duel, Outcome};
use crate::model::Place;

/// The body that follows an [`Ask::PutLine`].
const LATE_BODY: &[u8] = b"late";

impl Duel {
    /// Makes a connection that is not waiting send a request. One in the middle of a put sends the
    /// body instead.
    pub(super) fn ask(&mut self, pick: &Index, ask: &Ask) -> Outcome {
        let Some(conn) = self.client(pick, |conn| !self.is_waiting(conn)) else { return Ok(()) };
        if self.is_mid_put(conn) {
            let body = match ask {
                Ask::BrokenBody => Request::BrokenBody,
                Ask::UnheldBody => Request::UnheldBody,
                _ => Request::Body(LATE_BODY.into()),
            };
            return self.request(conn, body);
        }
        for request in self.requests(conn, ask) {
            self.request(conn, request)?;
        }
        Ok(())
    }

    fn requests(&self, conn: ConnId, ask: &Ask) -> Vec<Request> {
        let job = |pick: &JobPick| self.job(conn, pick);
        let command = match ask {
            Ask::WatchMany(from, count) => {
                return many(*from, *count).map(Command::Watch).map(Request::Command).collect();
            }
            Ask::IgnoreMany(from, count) => {
                return many(*from, *count).map(Command::Ignore).map(Request::Command).collect();
            }
            Ask::Put(into, new, size) => {
                let body = vec![b'.'; *size as usize].into_boxed_slice();
                let put = [Request::Put(header(*new, *size)), Request::Body(body)];
                let tube = into.map(|into| Request::Command(Command::Use(tube(into))));
                return tube.into_iter().chain(put).collect();
            }
            Ask::PutMany(into, new, count) => {
                let puts = (0..*count).flat_map(|_| {
                    [Request::Put(header(*new, 1)), Request::Body(Box::from(&b"m"[..]))]
                });
                let used = Request::Command(Command::Use(tube(*into)));
                return [used].into_iter().chain(puts).collect();
            }
            Ask::PutLine(new) => {
                return vec![Request::Put(header(*new, LATE_BODY.len() as u32))];
            }
            Ask::BrokenBody | Ask::UnheldBody => return Vec::new(),
            Ask::OversizedPut => {
                let rejection = Request::Rejected(Rejection::JobTooBig);
                return vec![Request::OversizedPut, rejection];
            }
            Ask::Rejected(rejection) => return vec![Request::Rejected(*rejection)],
            Ask::Use(name) => Command::Use(tube(*name)),
            Ask::Watch(name) => Command::Watch(tube(*name)),
            Ask::Ignore(name) => Command::Ignore(tube(*name)),
            Ask::Pause(name, seconds) => Command::PauseTube(tube(*name), *seconds),
            Ask::Reserve => Command::Reserve,
            Ask::ReserveWithTimeout(seconds) => Command::ReserveWithTimeout(*seconds),
            Ask::ReserveJob(pick) => Command::ReserveJob(job(pick)),
            Ask::Delete(pick) => Command::Delete(job(pick)),
            Ask::Release(pick, priority, delay) => {
                Command::Release { id: job(pick), priority: *priority, delay: *delay }
            }
            Ask::Bury(pick, priority) => Command::Bury { id: job(pick), priority: *priority },
            Ask::Touch(pick) => Command::Touch(job(pick)),
            Ask::Peek(pick) => Command::Peek(job(pick)),
            Ask::PeekReady => Command::PeekReady,
            Ask::PeekDelayed => Command::PeekDelayed,
            Ask::PeekBuried => Command::PeekBuried,
            Ask::Kick(bound) => Command::Kick(*bound),
            Ask::KickJob(pick) => Command::KickJob(job(pick)),
            Ask::BatchReserve(max, timeout) => {
                Command::BatchReserve { max: *max, timeout: *timeout }
            }
            Ask::ClearTube(name) => Command::ClearTube(tube(*name)),
            Ask::ListJobs(name, state) => Command::ListJobs(Box::new(JobQuery {
                tube: name.map(tube),
                state: *state,
                cursor: 0,
                count: 1000,
            })),
            Ask::Move(pick, to) => {
                Command::Move(Box::new(JobMove { id: job(pick), to: tube(*to) }))
            }
            Ask::Quit => Command::Quit,
        };
        vec![Request::Command(command)]
    }

    pub(super) fn job(&self, conn: ConnId, pick: &JobPick) -> JobId {
        let is_mine = |place| matches!(place, Place::Reserved { by, .. } if by == conn);
        let (pick, only_mine) = match pick {
            JobPick::Unknown(id) => return *id,
            JobPick::Mine(pick) => (pick, true),
            JobPick::Any(pick) => (pick, false),
        };
        let jobs = &self.model.jobs;
        let all: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
        let mine = jobs.iter().filter(|job| is_mine(job.place)).map(|job| job.id);
        let mine: Vec<JobId> = mine.collect();
        match (only_mine, mine.is_empty(), all.is_empty()) {
            (true, false, _) => *pick.get(&mine),
            (_, _, false) => *pick.get(&all),
            (_, _, true) => 1,
        }
    }
}

fn many(from: u8, count: u8) -> impl Iterator<Item = TubeName> {
    (from..from + count).map(|number| tube(number % Kind::Wide.tubes()))
}

pub(super) fn tube(number: u8) -> TubeName {
    match number {
        0 => TubeName::default_tube(),
        _ => TubeName::new(format!("t{number}").as_bytes()).expect("a letter and digits"),
    }
}

pub(super) fn action(deed: &Deed) -> Action {
    match *deed {
        Deed::Kick => Action::Kick,
        Deed::Bury(priority) => Action::Bury(priority),
        Deed::Delete => Action::Delete,
        Deed::Release => Action::Release,
        Deed::Move(to) => Action::Move(tube(to)),
        Deed::Set(priority, delay) => Action::Set(JobChange { priority, delay }),
    }
}

pub(super) fn policy(rules: &Rules) -> Policy<TubeName> {
    let Rules {
        max_jobs,
        max_bytes,
        max_reserves,
        max_timeouts,
        max_disconnects,
        dead_letter,
        expires,
        unique,
        default_ttr,
        reserve_rate,
    } = *rules;
    Policy {
        max_jobs,
        max_bytes,
        max_reserves,
        max_timeouts,
        max_disconnects,
        dead_letter: dead_letter.map(tube),
        expires,
        unique,
        default_ttr,
        reserve_rate,
        from_file: false,
    }
}

fn header(new: NewJob, size: u32) -> PutHeader {
    PutHeader { priority: new.priority, delay: new.delay, ttr: new.ttr, size }
}
