//! A look at everything, through the commands that anybody has.

use std::collections::BTreeMap;

use beanstalk_protocol::{Command, JobState, Reply, Request, TubeName};
use jq_engine::{CloseReason, Flow};

use super::ledger::Holder;
use super::told::{Answers, JobTally, Told, TubeView};
use super::world::World;

impl World {
    /// Lets happen what is due, then compares every count with what it counts.
    pub(super) fn audit(&mut self) {
        self.settle();
        let Told::Server(stats) = self.ask(Command::Stats) else { panic!("stats") };
        let Told::Tubes(names) = self.ask(Command::ListTubes) else { panic!("list-tubes") };
        assert_eq!(stats.tubes, names.len() as u64);

        let mut by_tube = self.count_jobs();
        let mut all = JobTally::default();
        for name in names {
            let view = self.view(&name);
            let counted = by_tube.remove(&name).unwrap_or_default();
            assert_eq!(view.jobs, counted, "tube {name}");
            all.add(&counted);
            self.check_tube(&view);
        }
        for client in &self.clients {
            let Some(until) = client.waiting else { continue };
            assert!(until > self.now, "{:?} waits for too long", client.conn);
            assert!(!self.ledger.deadline_soon(self.now, client.conn), "{:?}", client.conn);
        }
        assert!(by_tube.is_empty(), "jobs in tubes that are not listed: {by_tube:?}");
        assert_eq!(JobTally::of(&stats), all);
    }

    /// The end: everybody leaves, every job is deleted, and nothing is left.
    pub(super) fn finish(&mut self) {
        self.audit();
        // Some go meanwhile, with a `quit` that waited for its turn.
        while let Some(client) = self.clients.iter().position(|client| !client.half_closed) {
            self.half_close(client);
        }
        assert!(self.clients.iter().all(|client| client.waiting.is_none()));
        self.check();
        self.audit();
        while !self.clients.is_empty() {
            self.disconnect(0, CloseReason::Vanished);
            self.check();
        }
        self.audit();
        let stats = self.engine.server_stats();
        assert_eq!([stats.reserved, stats.producers, stats.workers, stats.waiting], [0; 4]);
        while let Some(id) = self.ledger.jobs.keys().next().copied() {
            let told = self.ask(Command::Delete(id));
            assert!(matches!(told, Told::Reply(Reply::Deleted)), "{told:?} for job {id}");
            self.ledger.jobs.remove(&id);
        }
        self.check();
        // Longer than any pause.
        self.now = self.now.after(u32::MAX);
        self.settle();
        let told = self.ask(Command::ListTubes);
        assert!(matches!(&told, Told::Tubes(names) if names == &["default"]), "{told:?}");
        assert_eq!(self.engine.next_deadline(), None);
    }

    /// Ticks until nothing is due. A tick moves something, so that comes to an end.
    fn settle(&mut self) {
        let most = 100 + 4 * self.ledger.jobs.len() + self.engine.unfreed_jobs();
        let ticks = (0..most).take_while(|_| self.tick(3)).count();
        assert!(ticks < most, "something stays due for ever");
    }

    /// Where each job is, by its own word.
    fn count_jobs(&mut self) -> BTreeMap<String, JobTally> {
        let mut by_tube: BTreeMap<String, JobTally> = BTreeMap::new();
        let ids: Vec<_> = self.ledger.jobs.keys().copied().collect();
        for id in ids {
            let told = self.ask(Command::StatsJob(id));
            let Told::Job { tube, state, urgent, .. } = told else { panic!("{told:?}") };
            by_tube.entry(tube).or_default().count(state, urgent);
            let held = matches!(self.ledger.holder(self.now, id), Holder::Conn(_));
            assert_eq!(state == JobState::Reserved, held, "job {id}");
            let told = self.ask(Command::Peek(id));
            let Told::Reply(Reply::Found(_, body)) = told else { panic!("{told:?}") };
            self.ledger.seen(id, &body);
        }
        by_tube
    }

    /// The tube's connections are counted right, and none of them waits for what is there.
    fn check_tube(&self, view: &TubeView) {
        let is_default = u64::from(view.name == "default");
        let watchers = || self.clients.iter().filter(|client| client.watched.contains(&view.name));
        let using = self.clients.iter().filter(|client| client.used == view.name).count();
        let waiting = watchers().filter(|client| client.waiting.is_some()).count();
        assert_eq!(view.using, using as u64 + is_default, "tube {}", view.name);
        assert_eq!(view.watching, watchers().count() as u64 + is_default, "tube {}", view.name);
        assert_eq!(view.waiting, waiting as u64, "tube {}", view.name);
        assert!(
            waiting == 0 || view.jobs.ready == 0 || view.is_paused,
            "somebody waits for the ready jobs of {}",
            view.name
        );
        let needed = view.using + view.watching + view.jobs.all() > 0 || view.is_paused;
        assert!(needed, "nothing needs {}", view.name);
    }

    fn view(&mut self, name: &str) -> TubeView {
        let tube = TubeName::new(name.as_bytes()).expect("tubes have good names");
        let told = self.ask(Command::StatsTube(tube));
        let Told::Tube(view) = told else { panic!("{told:?}") };
        view
    }

    /// A question of the observer, which nobody else notices.
    pub(super) fn ask(&mut self, command: Command) -> Told {
        let mut answers = Answers::default();
        let request = Request::Command(command.clone());
        let flow = self.engine.handle(self.now, self.observer, request, &mut answers);
        assert_eq!(flow, Flow::Continue);
        let mut answers = answers.0.into_iter();
        match (answers.next(), answers.next()) {
            (Some((to, told)), None) if to == self.observer => told,
            other => panic!("{other:?} to {command:?}"),
        }
    }
}
