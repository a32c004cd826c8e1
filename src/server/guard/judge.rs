//! Which right each request needs.

use beanstalk_protocol::{Command, JobId, Rejection, Request};
use jq_engine::{Cause, ConnId, Engine, TubeRef};

use super::Guard;
use crate::access::Rights;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The engine carries it out, and then something is to be done.
    Allowed(Then),
    /// It is answered with `INTERNAL_ERROR`.
    Denied,
    /// So is the body that follows this line of a put.
    DeniedWithBody,
    /// A body that is one too many, for this cause.
    Full(Cause),
    /// The client says who it is.
    Auth,
}

/// What is to be done when a request has been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing.
    GoOn,
    /// The connection may use another tube.
    LookAtUsed,
    /// It watches this tube no more.
    Forget(u64),
    /// Count the bytes of this job for those who put it, if it is there.
    Own(JobId, u32),
    /// It was the list of tubes, of which only some are shown, or the sums over these.
    Pause,
}

/// Kinds of requests that come often. All others are of another kind, which is never allowed unseen.
const OTHER: u32 = 0;
const PUT: u32 = 1;
const BODY: u32 = 2;
const RESERVE: u32 = 3;
/// About a job that the connection has reserved. Of others, the engine says that it does not know them, and
/// before it deletes one, it asks.
const OWN: u32 = 4;

#[inline]
fn kind(request: &Request) -> u32 {
    match request {
        Request::Put(_) => PUT,
        Request::Body(_) => BODY,
        Request::Command(Command::Reserve | Command::ReserveWithTimeout(_)) => RESERVE,
        Request::Command(
            Command::Delete(_) | Command::Touch(_) | Command::Release { .. } | Command::Bury { .. },
        ) => OWN,
        _ => OTHER,
    }
}

const ALLOWED: Judgement = Judgement::Allowed(Then::GoOn);

impl Guard {
    /// Whether this request may be carried out without a closer look. The rights of the connection in the tubes
    /// that it uses and watches are known; this is for the requests that come often.
    #[inline]
    pub(crate) fn admits(&self, request: &Request) -> bool {
        self.may >> kind(request) & 1 != 0
    }

    /// Which kinds of requests need no closer look.
    pub(super) fn note_kinds(&mut self) {
        let kinds = [
            (PUT, self.used.allow(Rights::PUT)),
            (BODY, !self.body_is_special),
            (RESERVE, self.may_reserve),
            (OWN, self.is_clean),
        ];
        // Where each has to be counted, each is looked at.
        let may = kinds.iter().filter(|(_, may)| *may && !self.is_paced);
        self.may = may.fold(0, |all, (kind, _)| all | 1 << kind);
    }

    /// Whether this request may be carried out. The right is looked up, if that is necessary.
    pub(crate) fn judge(&mut self, engine: &Engine, conn: ConnId, request: &Request) -> Judgement {
        match request {
            Request::Put(_) | Request::OversizedPut => {
                if self.used.allow(Rights::PUT) {
                    return ALLOWED;
                }
                let used = engine.used_tube(conn);
                self.deny("put", Some(used.name));
                self.refuses_put = true;
                self.body_is_special = true;
                self.note_kinds();
                Judgement::DeniedWithBody
            }
            Request::Body(_)
            | Request::BrokenBody
            | Request::UnheldBody
            | Request::Rejected(Rejection::JobTooBig)
                if self.refuses_put =>
            {
                self.refuses_put = false;
                self.body_is_special = self.counts_bytes();
                self.note_kinds();
                Judgement::Denied
            }
            Request::Body(body) => self.judge_size(engine, conn, body.len()),
            Request::BrokenBody | Request::UnheldBody | Request::Rejected(Rejection::JobTooBig) => {
                ALLOWED
            }
            Request::Auth(_) => Judgement::Auth,
            Request::Command(Command::Quit) => ALLOWED,
            _ if self.identity.is_none() => {
                let what = match request {
                    Request::Command(command) => command.name(),
                    _ => "a line that is no command",
                };
                self.deny(what, None);
                Judgement::Denied
            }
            Request::Rejected(_) => ALLOWED,
            Request::Command(command) => self.judge_command(engine, conn, command),
        }
    }

    /// Whether those who put it may have another body of this size.
    fn judge_size(&self, engine: &Engine, conn: ConnId, bytes: usize) -> Judgement {
        let causes = [Cause::PrincipalMaxBytes, Cause::AddressMaxBytes];
        for ((account, most), cause) in self.byte_limits().into_iter().zip(causes) {
            if let (Some(account), Some(most)) = (account, most)
                && account.bytes().saturating_add(bytes as u64) > most
            {
                return Judgement::Full(cause);
            }
        }
        match engine.arriving(conn) {
            Some(job) if self.counts_bytes() => {
                Judgement::Allowed(Then::Own(job, u32::try_from(bytes).unwrap_or(u32::MAX)))
            }
            _ => ALLOWED,
        }
    }

    fn judge_command(&mut self, engine: &Engine, conn: ConnId, command: &Command) -> Judgement {
        use Rights as R;
        let then = self.what_then(engine, conn, command);
        let mut job = None;
        let (tube, needed) = match command {
            Command::ListTubes
            | Command::ListTubeUsed
            | Command::ListTubesWatched
            | Command::Stats
            | Command::Ignore(_)
            | Command::Quit => return Judgement::Allowed(then),
            Command::Reserve | Command::ReserveWithTimeout(_) | Command::BatchReserve { .. } => {
                if self.may_reserve {
                    return ALLOWED;
                }
                let closed = |name: &&str| !self.rights_by_name(name).allow(R::RESERVE);
                let mut names = engine.watched_tubes(conn, 0).take(LOOKS).map(|tube| tube.name);
                let tube = names.find(closed).map(str::to_owned);
                self.deny(command.name(), tube.as_deref());
                return Judgement::Denied;
            }
            Command::Use(tube) => {
                let rights = self.rights_by_name(tube.as_str());
                // Any of them.
                (tube.as_str(), if rights.are_none() { R::ALL } else { rights })
            }
            Command::Watch(tube) => (tube.as_str(), R::RESERVE),
            Command::StatsTube(tube) => (tube.as_str(), R::PEEK),
            Command::PauseTube(tube, _) => (tube.as_str(), R::PAUSE),
            Command::ClearTube(tube) => (tube.as_str(), R::DELETE),
            Command::PeekReady | Command::PeekDelayed | Command::PeekBuried => {
                (engine.used_tube(conn).name, R::PEEK)
            }
            Command::ListJobs(query) => match &query.tube {
                Some(tube) => (tube.as_str(), R::PEEK),
                None => (engine.used_tube(conn).name, R::PEEK),
            },
            Command::Kick(_) => (engine.used_tube(conn).name, R::KICK),
            Command::Move(order) => {
                job = Some(order.id);
                (order.to.as_str(), R::PUT)
            }
            Command::Delete(id)
            | Command::Release { id, .. }
            | Command::Bury { id, .. }
            | Command::Touch(id)
            | Command::Peek(id)
            | Command::StatsJob(id)
            | Command::KickJob(id)
            | Command::ReserveJob(id) => {
                return self.judge_job(engine, conn, *id, command);
            }
        };
        if !self.rights_by_name(tube).allow(needed) {
            self.deny(command.name(), Some(tube));
            return Judgement::Denied;
        }
        match job {
            Some(id) => self.judge_job(engine, conn, id, command),
            None => Judgement::Allowed(then),
        }
    }

    /// Whether a job of this tube may be deleted, which the connection has not reserved.
    #[cold]
    pub(crate) fn may_delete(&mut self, tube: TubeRef<'_>) -> bool {
        let may = self.rights_in(tube).allow(Rights::DELETE);
        if !may {
            self.deny("delete", Some(tube.name));
        }
        may
    }

    /// The same for a command about a job. One that does not exist is for the engine to answer.
    fn judge_job(
        &mut self,
        engine: &Engine,
        conn: ConnId,
        id: JobId,
        command: &Command,
    ) -> Judgement {
        let Some(place) = engine.job_place(conn, id) else { return ALLOWED };
        let needed = match command {
            // The engine asks when it has found it.
            Command::Delete(_) if !place.is_own => return ALLOWED,
            // Of another's job, the engine says that there is none.
            Command::Release { .. } | Command::Bury { .. } | Command::Touch(_) if !place.is_own => {
                return ALLOWED;
            }
            Command::KickJob(_) => Rights::KICK,
            Command::ReserveJob(_) => Rights::RESERVE,
            // Whoever has reserved it may see it and be done with it.
            _ if place.is_own => Rights::RESERVE,
            Command::Peek(_) | Command::StatsJob(_) => Rights::PEEK,
            _ => Rights::DELETE,
        };
        let rights = self.rights_in(place.tube);
        let sees = matches!(command, Command::Peek(_) | Command::StatsJob(_))
            && rights.allow(Rights::PEEK);
        if sees || rights.allow(needed) {
            return ALLOWED;
        }
        self.deny(command.name(), Some(place.tube.name));
        Judgement::Denied
    }

    /// What is to be done after a command that is allowed.
    fn what_then(&self, engine: &Engine, conn: ConnId, command: &Command) -> Then {
        match command {
            Command::Use(_) => Then::LookAtUsed,
            // The last one it goes on watching.
            Command::Ignore(tube) if !self.may_reserve && engine.watching(conn) > 1 => {
                let watched = engine.watched_tube(conn, tube.as_str());
                watched.map_or(Then::GoOn, |tube| Then::Forget(tube.number))
            }
            Command::ListTubes | Command::Stats if !self.operates() => Then::Pause,
            _ => Then::GoOn,
        }
    }
}

/// So many watched tubes are looked at to name one that is closed in the log.
const LOOKS: usize = 1000;
