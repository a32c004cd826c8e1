//! The engine and the model, side by side: everything happens to both, and all their answers are
//! compared.

mod asks;
mod audit;
mod ops;
mod passing;

use beanstalk_protocol::{Command, JobId, Request};
use jq_engine::{CloseReason, ConnId, Engine, Flow, Nanos, NewJob};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::common::Wire;
use crate::model::{Model, Place};
pub(crate) use ops::{Kind, Op, sessions};

/// Maximum number of connections at a time, including the auditor.
const MAX_CONNS: usize = 7;

/// Tubes with histograms of their own: not enough for all.
const OBSERVED_TUBES: usize = 3;

type Outcome = Result<(), TestCaseError>;

pub(crate) struct Duel {
    engine: Engine,
    model: Model,
    now: Nanos,
    /// A connection that only inspects.
    auditor: ConnId,
    /// The last tick was not complete.
    overdue: bool,
    /// Jobs that were there when a tube was cleared.
    cleared: Vec<JobId>,
}

impl Duel {
    pub(crate) fn new() -> Self {
        let (mut engine, mut model) = (Engine::new(), Model::new());
        engine.observe(Nanos::from_secs(1000), OBSERVED_TUBES);
        let auditor = engine.connect();
        assert_eq!(auditor, model.connect());
        Self {
            engine,
            model,
            now: Nanos::from_secs(1000),
            auditor,
            overdue: false,
            cleared: Vec::new(),
        }
    }

    /// Plays one step, and compares all answers and what is due next.
    pub(crate) fn play(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Connect if self.model.conns.len() < MAX_CONNS => {
                prop_assert_eq!(self.engine.connect(), self.model.connect());
            }
            Op::Connect => {}
            Op::Disconnect(pick, reason) => {
                if let Some(conn) = self.client(pick, |_| true) {
                    self.disconnect(conn, *reason)?;
                }
            }
            Op::HalfClose(pick) => {
                if let Some(conn) = self.client(pick, |_| true) {
                    self.both(
                        |engine, _, said| engine.half_close(conn, said),
                        |model, _, said| model.half_close(conn, said),
                    )?;
                }
            }
            Op::Ask(pick, ask) => self.ask(pick, ask)?,
            Op::Pass(span, ticks) => self.pass(*span, *ticks)?,
            Op::Drain(on) => {
                self.engine.set_draining(*on, &mut Wire::default());
                self.model.set_draining(*on);
            }
            Op::Act(pick, deed) => {
                let (id, action) = (self.job(self.auditor, pick), asks::action(deed));
                self.both(
                    |engine, now, said| engine.act(now, id, &action, said),
                    |model, now, said| model.act(now, id, &action, said),
                )?
                .ok();
            }
            Op::Clear(number) => {
                let name = asks::tube(*number);
                self.cleared = self.model.arrived().map(|job| job.id).collect();
                self.both(
                    |engine, now, said| engine.clear_tube(now, name.as_str(), said),
                    |model, _, _| model.clear_tube(&name),
                )?
                .ok();
                self.look_for_dead();
            }
            Op::Pause(number, seconds) => {
                let name = asks::tube(*number);
                self.both(
                    |engine, now, said| engine.pause(now, name.as_str(), *seconds, said),
                    |model, now, said| model.set_pause(now, &name, *seconds, said),
                )?
                .ok();
            }
            Op::Put(number, _, size)
                if self.model.is_ambiguous(&asks::tube(*number), &vec![b'.'; *size as usize]) => {}
            Op::Put(number, new, size) => {
                let (tube, body) = (asks::tube(*number), || vec![b'.'; *size as usize].into());
                let new = NewJob { priority: new.priority, delay: new.delay, ttr: new.ttr };
                self.both(
                    |engine, now, said| engine.put(now, &tube, new, body(), said),
                    |model, now, said| model.put(now, &tube, new, body(), said),
                )?
                .ok();
            }
            Op::Policy(number, rules) => {
                let name = asks::tube(*number);
                let mut policy = rules.as_ref().map(asks::policy);
                // Several jobs that are adopted at one moment expire in an order of the engine's own.
                if let Some(policy) = &mut policy
                    && self.engine.policy(name.as_str()).is_none_or(|it| it.expires.is_none())
                    && self.model.ready_count(&name) > 1
                {
                    policy.expires = None;
                }
                let same = policy.clone();
                self.both(
                    |engine, now, said| {
                        engine.set_policy(now, &name, policy, said).expect("it is recorded");
                    },
                    |model, now, said| model.set_policy(now, &name, same, said),
                )?;
                // Jobs that were there are adopted in steps.
                self.finish_tick(1000)?;
            }
        }
        self.compare_deadlines()
    }

    /// One of the connections, except the auditor.
    fn client(&self, pick: &Index, wanted: impl Fn(ConnId) -> bool) -> Option<ConnId> {
        let ids = self.model.conns.iter().map(|conn| conn.id);
        let found: Vec<_> = ids.filter(|conn| *conn != self.auditor && wanted(*conn)).collect();
        (!found.is_empty()).then(|| *pick.get(&found))
    }

    fn is_waiting(&self, id: ConnId) -> bool {
        self.model.conns.iter().any(|conn| conn.id == id && conn.waiting.is_some())
    }

    fn is_mid_put(&self, conn: ConnId) -> bool {
        self.model.jobs.iter().any(|job| job.place == Place::Arriving { from: conn })
    }

    /// Jobs that are gone may be left to be freed, of which the model knows nothing.
    fn look_for_dead(&mut self) {
        self.overdue |= self.engine.unfreed_jobs() > 0;
    }

    fn disconnect(&mut self, conn: ConnId, reason: CloseReason) -> Outcome {
        self.both(
            |engine, now, said| engine.disconnect(now, conn, reason, said),
            |model, now, said| model.disconnect(now, conn, reason, said),
        )
    }

    fn request(&mut self, conn: ConnId, request: Request) -> Outcome {
        // Of several equal jobs, the engine answers with any.
        let ambiguous = match (&request, self.model.arriving_in(conn)) {
            (Request::Body(body), Some(tube)) => self.model.is_ambiguous(tube, body),
            _ => false,
        };
        let request = if ambiguous { Request::BrokenBody } else { request };
        let same = request.clone();
        if matches!(request, Request::Command(Command::ClearTube(_))) {
            self.cleared = self.model.arrived().map(|job| job.id).collect();
        }
        let flow = self.both(
            |engine, now, said| {
                // A server asks for this only if it is worth it; in vain it changes nothing either.
                engine.look_ahead(conn, [&request].into_iter());
                engine.handle(now, conn, request, said)
            },
            |model, now, said| model.handle(now, conn, same, said),
        )?;
        self.look_for_dead();
        if flow == Flow::Close { self.disconnect(conn, CloseReason::Quit) } else { Ok(()) }
    }

    /// Does the same to the engine and to the model. Their answers and return values must agree.
    fn both<T: PartialEq + std::fmt::Debug>(
        &mut self,
        engine: impl FnOnce(&mut Engine, Nanos, &mut Wire) -> T,
        model: impl FnOnce(&mut Model, Nanos, &mut Wire) -> T,
    ) -> Result<T, TestCaseError> {
        let hides_bytes = self.engine.unfreed_jobs() > 0;
        let mut said = Wire { hides_bytes, ..Wire::default() };
        let mut expected = said.clone();
        let result = engine(&mut self.engine, self.now, &mut said);
        prop_assert_eq!(&result, &model(&mut self.model, self.now, &mut expected));
        prop_assert_eq!(by_connection(&said), by_connection(&expected));
        Ok(result)
    }
}

/// The answers to each connection, in order. No client sees the order across connections.
fn by_connection(wire: &Wire) -> Vec<(ConnId, String)> {
    let text = |(conn, bytes): &(_, Vec<u8>)| (*conn, bytes.escape_ascii().to_string());
    let mut said: Vec<_> = wire.said.iter().map(text).collect();
    said.sort_by_key(|(conn, _)| *conn);
    said
}
