//! Comparing everything.

use beanstalk_protocol::{Command, Request, TubeName};
use jq_engine::{CloseReason, ConnId, Cursor, Nanos};
use proptest::prelude::*;

use super::{Duel, OBSERVED_TUBES, Outcome};
use crate::model::Place;

impl Duel {
    /// Compares everything that can be queried: the stats of the server, of every tube and of every
    /// job, and the tubes of every connection.
    ///
    /// The model counts on demand. So if the answers agree, the engine's counters agree with its
    /// contents, and each of its jobs is in one place.
    pub(crate) fn audit(&mut self) -> Outcome {
        for question in self.questions() {
            self.request(self.auditor, Request::Command(question))?;
        }
        let conns: Vec<ConnId> = self.model.conns.iter().map(|conn| conn.id).collect();
        for conn in conns {
            if !self.is_waiting(conn) && !self.is_mid_put(conn) {
                self.request(conn, Request::Command(Command::ListTubesWatched))?;
                self.request(conn, Request::Command(Command::ListTubeUsed))?;
            }
        }
        prop_assert_eq!(self.engine.job_count(), self.model.job_count());
        self.compare_observations()
    }

    /// Compares what is observed, tube by tube and in all.
    fn compare_observations(&self) -> Outcome {
        let mut own = 0;
        let mut from = Some(Cursor::default());
        let mut seen = 0;
        while let Some(cursor) = from {
            let mut views = Vec::new();
            from = self.engine.view_tubes(self.now, cursor, 3, |view| {
                let name = view.stats.name.clone();
                let ready = self.model.ready(&name);
                let known = ready.first().map(|oldest| oldest.job);
                let oldest = (view.oldest_ready(None), view.oldest_ready(known));
                views.push((name, view.activity, ready, oldest, view.times.copied()));
            });
            seen += views.len();
            for (name, activity, ready, (found, known), times) in views {
                let tube = self.model.tubes.iter().find(|tube| tube.name == name);
                let expected = &tube.expect("the model has the same tubes").seen;
                prop_assert_eq!(activity, expected.activity);
                prop_assert_eq!(known, ready.first().copied());
                if ready.len() <= 8 {
                    prop_assert_eq!(found, known);
                } else {
                    prop_assert!(found.is_some_and(|found| ready.contains(&found)));
                }
                own += usize::from(times.is_some());
                prop_assert!(times.is_none_or(|times| times == expected.times()));
            }
        }
        prop_assert_eq!(seen, self.model.tubes.len());
        prop_assert!(own <= OBSERVED_TUBES);
        let overall = self.engine.overall();
        prop_assert_eq!(overall.all, self.model.seen.times());
        prop_assert_eq!(self.engine.activity(), self.model.seen.activity);
        Ok(())
    }

    /// The auditor's requests. They include jobs that are still arriving, which must not be
    /// visible.
    pub(super) fn questions(&self) -> Vec<Command> {
        let tubes = self.model.tubes.iter().map(|tube| Command::StatsTube(tube.name.clone()));
        let cleared = self.cleared.iter().copied().filter(|id| self.model.find(*id).is_none());
        let jobs = self.model.jobs.iter().map(|job| job.id).chain(cleared).map(Command::StatsJob);
        [Command::Stats, Command::ListTubes].into_iter().chain(tubes).chain(jobs).collect()
    }

    /// All clients leave, and every job is inspected, reserved and deleted. Nothing must be left.
    pub(crate) fn end(&mut self) -> Outcome {
        self.finish_tick(1000)?;
        let mut conns: Vec<ConnId> = self.model.conns.iter().map(|conn| conn.id).collect();
        conns.retain(|conn| *conn != self.auditor);
        for conn in conns {
            self.disconnect(conn, CloseReason::Vanished)?;
        }
        let tubes: Vec<TubeName> = self.model.tubes.iter().map(|tube| tube.name.clone()).collect();
        for tube in &tubes {
            self.both(
                |engine, now, said| {
                    engine.set_policy(now, tube, None, said).expect("it is recorded");
                },
                |model, now, said| model.set_policy(now, tube, None, said),
            )?;
        }
        self.finish_tick(1000)?;
        let tubes: Vec<TubeName> = self.model.tubes.iter().map(|tube| tube.name.clone()).collect();
        for tube in &tubes {
            self.commands([
                Command::Use(tube.clone()),
                Command::PeekReady,
                Command::PeekDelayed,
                Command::PeekBuried,
                Command::Kick(u32::MAX),
                Command::Kick(u32::MAX),
                Command::PauseTube(tube.clone(), 0),
                Command::Watch(tube.clone()),
            ])?;
        }
        while self.model.job_count() > 0 {
            self.commands([Command::ReserveWithTimeout(Some(0))])?;
            let is_reserved = |place| matches!(place, Place::Reserved { .. });
            let taken = self.model.jobs.iter().find(|job| is_reserved(job.place));
            let id = taken.expect("no job is delayed, buried or paused any more").id;
            self.commands([Command::Delete(id)])?;
        }
        let default = TubeName::default_tube();
        self.commands([Command::Use(default.clone()), Command::Watch(default.clone())])?;
        for tube in tubes.into_iter().filter(|tube| *tube != default) {
            self.commands([Command::Ignore(tube)])?;
        }
        self.audit()?;
        prop_assert_eq!(self.model.tubes.len(), 1);
        prop_assert_eq!(self.model.next_due(), None);
        // The engine's remaining timer entries are out of date, and are removed when they fall due.
        self.wake_until(Nanos::NEVER, 1)?;
        prop_assert_eq!(self.engine.next_deadline(), None);
        Ok(())
    }

    /// A request of the auditor that must be answered at once.
    fn commands<const N: usize>(&mut self, commands: [Command; N]) -> Outcome {
        for command in commands {
            self.request(self.auditor, Request::Command(command))?;
        }
        Ok(())
    }
}
