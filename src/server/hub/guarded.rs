//! Batches of connections that have a [`Guard`]: the same as those of others, but each request is judged
//! first, under the same lock.

use std::sync::Arc;
use std::vec::Drain;

use beanstalk_protocol::{AccessStats, Command, Request, ServerStats};
use jq_engine::{Body, Cause, ConnId, Cursor, Engine, Flow, Nanos, Sink, TubeSums};

use super::{Actor, Applied, Batch, Hub, Outcome, State};
use crate::server::guard::{AccessControl, Guard, Judgement, Then, TooMany};

/// Places of the table of tubes that are looked at under one lock, or watched tubes.
const LOOKS: usize = 512;

/// The sums over the tubes that a principal may see are good for so many times as long as it took to add
/// them up: so they are up to date where there are few tubes, and cost little where there are many.
const GOOD_FOR: u32 = 20;

/// Whether a batch has a guard is known when the code for it is compiled.
pub(super) trait Judge {
    type Again<'a>: Judge
    where
        Self: 'a;

    fn guard(&mut self) -> Option<&mut Guard>;

    /// For as long as it is lent.
    fn reborrow(&mut self) -> Self::Again<'_>;

    /// Whether the first of these requests, if there are any, may be carried out without a closer look.
    fn admits_first(&self, requests: &[(Request, usize)]) -> bool;
}

/// Everything may be carried out.
pub(super) struct Unguarded;

impl Judge for Unguarded {
    type Again<'a> = Self;

    #[inline(always)]
    fn guard(&mut self) -> Option<&mut Guard> {
        None
    }

    #[inline(always)]
    fn reborrow(&mut self) -> Self {
        Self
    }

    #[inline(always)]
    fn admits_first(&self, _: &[(Request, usize)]) -> bool {
        true
    }
}

impl Judge for &mut Guard {
    type Again<'a>
        = &'a mut Guard
    where
        Self: 'a;

    #[inline(always)]
    fn guard(&mut self) -> Option<&mut Guard> {
        Some(self)
    }

    #[inline(always)]
    fn reborrow(&mut self) -> &mut Guard {
        self
    }

    #[inline(always)]
    fn admits_first(&self, requests: &[(Request, usize)]) -> bool {
        requests.first().is_some_and(|(request, _)| self.admits(request))
    }
}

/// A batch that is being judged.
pub(super) struct Judging<'a> {
    pub(super) conn: ConnId,
    pub(super) outcome: &'a mut Outcome,
    pub(super) applied: &'a mut Applied,
    /// Bytes of replies at which the batch ends.
    pub(super) limit: usize,
}

/// Carries out a request that was looked at closely. The code for those that come often is compiled apart.
#[cold]
#[inline(never)]
fn carry_out(
    engine: &mut Engine,
    now: Nanos,
    conn: ConnId,
    request: Request,
    mut sink: &mut dyn Sink,
) -> Flow {
    engine.handle(now, conn, request, &mut sink)
}

/// A body is one too many. That the sink is not known here leaves the code for all others as it is.
#[cold]
#[inline(never)]
fn refuse(
    engine: &mut Engine,
    conn: ConnId,
    cause: Cause,
    body: Box<[u8]>,
    mut sink: &mut dyn Sink,
) {
    engine.refuse_body(conn, cause, body, &mut sink);
}

/// What is to be done after a request that needed a closer look.
fn finish(state: &mut State, guard: &mut Guard, conn: ConnId, then: Then) {
    guard.after(&state.engine, conn, then);
    if let Then::Own(job, bytes) = then
        && state.engine.job_place(conn, job).is_some()
    {
        state.owners.get_or_insert_default().insert(job, bytes, guard.owners());
    }
    guard.has_paused = then == Then::Pause;
}

impl Hub {
    /// Who may do what; `None` if everybody may do everything.
    pub(crate) fn access_control(&self) -> Option<&Arc<AccessControl>> {
        self.control.as_ref()
    }

    /// The same as [`Hub::apply`] for a connection that has a guard, for which [`Hub::renew`] was called. Ends
    /// behind an `auth`, which is left in the guard.
    pub fn apply_guarded(&self, conn: ConnId, batch: &mut Batch, guard: &mut Guard) -> Applied {
        guard.has_paused = false;
        self.apply_with(conn, batch, guard)
    }

    /// Looks closely at the requests that are left, up to the first that needs no closer look. Returns whether
    /// the batch goes on with that.
    #[cold]
    #[inline(never)]
    pub(super) fn judge_next(
        &self,
        requests: &mut Drain<'_, (Request, usize)>,
        state: &mut State,
        guard: &mut Guard,
        judging: &mut Judging<'_>,
    ) -> bool {
        guard.begin(state.last);
        loop {
            let is_over = judging.applied.flow != Flow::Continue
                || guard.has_paused
                || judging.outcome.out.len() >= judging.limit;
            let Some((request, _)) = requests.as_slice().first().filter(|_| !is_over) else {
                return false;
            };
            if guard.admits(request) {
                return true;
            }
            let Some((request, end)) = requests.next() else { return false };
            self.judge(request, state, guard, judging);
            judging.applied.end = end;
            state.last.0 += 1;
        }
    }

    /// Carries out a request if it is allowed, or answers it.
    fn judge(
        &self,
        request: Request,
        state: &mut State,
        guard: &mut Guard,
        judging: &mut Judging<'_>,
    ) {
        let Judging { conn, ref mut outcome, .. } = *judging;
        let judgement = guard.judge(&state.engine, conn, &request);
        guard.count(&request);
        match (judgement, request) {
            (Judgement::Allowed(Then::Pause), Request::Command(Command::ListTubes)) => {
                let names = state.engine.list_tubes();
                outcome.list(names, |name| guard.sees(name));
                guard.has_paused = true;
            }
            (Judgement::Allowed(then), request) => {
                let now = state.last;
                let (engine, mut replies) =
                    state.parts_with(Actor::Conn(conn), outcome, self, &mut *guard);
                judging.applied.flow = carry_out(engine, now, conn, request, &mut replies);
                finish(state, guard, conn, then);
            }
            (Judgement::DeniedWithBody, _) => {}
            (Judgement::Denied, request) => {
                outcome.deny();
                if let Request::Body(body) = request {
                    outcome.discarded.push(Body::from(body));
                }
            }
            (Judgement::Full(cause), Request::Body(body)) => {
                let (engine, mut replies) = state.parts(Actor::Conn(conn), outcome, self);
                refuse(engine, conn, cause, body, &mut replies);
            }
            (Judgement::Auth, Request::Auth(token)) => {
                guard.token = Some(token);
                guard.has_paused = true;
            }
            // The judgement is about the request.
            (Judgement::Full(_) | Judgement::Auth, _) => {}
        }
    }

    /// What is left to do when the queue is unlocked.
    pub(super) fn tell(&self, outcome: &mut Outcome, guard: &mut Guard, clock: Nanos) {
        guard.count_commands(clock);
        guard.tell();
        outcome.out.render(|stats, binlog| {
            if guard.operates() {
                let refused = guard.control().stats();
                self.identity.to_yaml(stats, binlog, self.crowd.total(), Some(refused), clock)
            } else {
                let denied = guard.account().denied();
                let refused = AccessStats { denied_commands: denied, failed_auths: 0 };
                let stats = self.stats_in_part(stats, guard);
                self.identity.to_yaml_in_part(&stats, refused, clock)
            }
        });
    }

    /// If the file was read again, looks up everything that the guard knows again. To be called before the
    /// requests of a batch are decoded: the bodies of puts are held only for those who are known. Returns
    /// whether it was.
    pub fn renew(&self, conn: ConnId, guard: &mut Guard) -> bool {
        let is_stale = guard.is_stale();
        if is_stale {
            // One connection too many was closed when it came.
            let _ = self.look_again(conn, guard);
        }
        is_stale
    }

    /// Looks up who the connection acts for, if the file was read again, and its rights in the tubes that it
    /// uses and watches. `Err`: there are too many connections; then it is to be closed.
    #[cold]
    pub(crate) fn look_again(&self, conn: ConnId, guard: &mut Guard) -> Result<(), TooMany> {
        guard.begin(self.clock.now());
        if guard.is_stale() {
            guard.renew()?;
        }
        self.read(|engine, _| guard.look_at_used(engine, conn, engine.has_reserved(conn)));
        if guard.operates() || !guard.is_known() {
            return Ok(());
        }
        let mut from = 0;
        loop {
            // The connection watches a hundred thousand tubes, perhaps: others have their turn meanwhile, and
            // only this connection can change what it watches.
            let some: Vec<(u64, Box<str>)> = self.read(|engine, _| {
                let watched = engine.watched_tubes(conn, from).take(LOOKS);
                watched.map(|tube| (tube.number, tube.name.into())).collect()
            });
            guard.look_at_watched(some.iter().map(|(number, name)| (*number, &**name)));
            from += some.len();
            if some.len() < LOOKS {
                return Ok(());
            }
        }
    }

    /// The file was read again while the connection waits for a job: if it may not reserve any more, that
    /// ends. The answer goes through its mailbox.
    #[cold]
    pub fn judge_wait(&self, conn: ConnId, guard: &mut Guard) {
        if self.look_again(conn, guard).is_err() || !guard.may_reserve() {
            // Other waits, for the end of a large kick, go on.
            self.operate(Actor::Outside, |engine, replies, _| engine.refuse_wait(conn, replies));
        }
    }

    /// What of `stats` concerns the tubes that the principal may see, or everybody.
    fn stats_in_part(&self, stats: &ServerStats, guard: &Guard) -> ServerStats {
        let TubeSums { tubes, urgent, ready, reserved, delayed, buried, total_jobs, body_bytes } =
            self.sums_for(guard);
        let draining = stats.draining;
        ServerStats {
            tubes,
            urgent,
            ready,
            reserved,
            delayed,
            buried,
            total_jobs,
            body_bytes,
            draining,
            ..ServerStats::default()
        }
    }

    fn sums_for(&self, guard: &Guard) -> TubeSums {
        let now = self.clock.now();
        let account = guard.account();
        if let Some(known) = account.sums(guard.generation(), now) {
            return known;
        }
        let (mut sums, mut next) = (TubeSums::default(), Some(Cursor(0)));
        while let Some(from) = next {
            next = self.read(|engine, _| {
                engine.add_up_tubes(from, LOOKS, |name| guard.sees(name), &mut sums)
            });
        }
        let took = self.clock.now().0.saturating_sub(now.0);
        let until = Nanos(now.0 + took.saturating_mul(GOOD_FOR.into()));
        account.set_sums(guard.generation(), until, sums);
        sums
    }
}
