//! Whether an answer is one that its request can have.

use beanstalk_protocol::{Command, JobId, Rejection, Reply, Request};
use jq_engine::{ConnId, Nanos};

use super::ledger::Holder;
use super::told::Told;
use super::world::{Client, World};

impl World {
    /// Whether the answer to a client's request is one that it can have.
    pub(super) fn judge(&mut self, index: usize, request: &Request, told: Told) {
        let draining = self.draining;
        match (request, told) {
            (Request::Command(command), told) => self.judge_command(index, command, told),
            (Request::Body(body), Told::Reply(reply)) => {
                let incoming = self.clients[index].incoming.take();
                let (id, header) = incoming.expect("a body comes after its line");
                match reply {
                    Reply::Inserted(told) if told == id && !draining => {
                        self.ledger.insert(id, header, body.to_vec());
                    }
                    Reply::Draining if draining => {}
                    _ => panic!("{reply:?} to the put of {id}, draining: {draining}"),
                }
            }
            (Request::BrokenBody, Told::Reply(Reply::ExpectedCrlf))
            | (Request::UnheldBody, Told::Reply(Reply::OutOfMemory))
            | (Request::Rejected(Rejection::UnknownCommand), Told::Reply(Reply::UnknownCommand))
            | (
                Request::Rejected(
                    Rejection::BadFormat | Rejection::BadPut | Rejection::BadPauseTube,
                ),
                Told::Reply(Reply::BadFormat),
            )
            | (Request::Rejected(Rejection::JobTooBig), Told::Reply(Reply::JobTooBig)) => {}
            (request, told) => panic!("{told:?} to {request:?}"),
        }
    }

    fn judge_command(&mut self, index: usize, command: &Command, told: Told) {
        let now = self.now;
        let client = &mut self.clients[index];
        let conn = client.conn;
        match (command, told) {
            (Command::Reserve | Command::ReserveWithTimeout(_), Told::Reply(reply)) => {
                let until = wait_until(now, command);
                self.judge_reserve(index, until, &reply);
            }
            (Command::BatchReserve { max, .. }, Told::Batch(jobs)) => {
                assert!((1..=*max as usize).contains(&jobs.len()), "{} of {max}", jobs.len());
                for (id, body) in jobs {
                    self.ledger.reserve(now, conn, id, &body);
                }
            }
            (Command::BatchReserve { .. }, Told::Reply(reply)) => {
                assert!(!matches!(reply, Reply::Reserved(..)), "{reply:?} to a batch");
                self.judge_reserve(index, wait_until(now, command), &reply);
            }
            (Command::ClearTube(_), Told::Reply(Reply::Cleared(count))) => {
                let ids: Vec<JobId> = self.ledger.jobs.keys().copied().collect();
                let mut gone = 0;
                for id in ids {
                    if let Told::Reply(Reply::NotFound) = self.ask(Command::Peek(id)) {
                        let holder = self.ledger.holder(now, id);
                        assert!(!matches!(holder, Holder::Conn(_)), "job {id} had {holder:?}");
                        self.ledger.jobs.remove(&id);
                        gone += 1;
                    }
                }
                assert_eq!(gone, count);
            }
            (Command::ListJobs(query), Told::Jobs(listing)) => {
                let most = query.count.max(1) as usize;
                assert!(listing.jobs.len() <= most, "{} of {most}", listing.jobs.len());
                for job in listing.jobs {
                    assert!(query.state.is_none_or(|state| state == job.state), "{job:?}");
                    let body = self.ledger.jobs.get(&job.id).map(|known| known.body.len() as u64);
                    assert_eq!(body, Some(job.size), "{job:?}");
                }
            }
            (Command::ClearTube(_) | Command::ListJobs(_), Told::Reply(Reply::NotFound)) => {}
            (Command::Move(job), Told::Reply(Reply::Moved)) => {
                match self.ledger.holder(now, job.id) {
                    Holder::NoJob => panic!("there was no job {}", job.id),
                    Holder::Conn(holder) => assert_eq!(holder, conn, "job {}", job.id),
                    Holder::Nobody | Holder::Overdue(_) => {}
                }
                self.ledger.give_back(job.id);
            }
            (Command::Move(job), Told::Reply(Reply::NotFound)) => {
                match self.ledger.holder(now, job.id) {
                    Holder::NoJob => {}
                    Holder::Conn(holder) | Holder::Overdue(holder) => assert_ne!(holder, conn),
                    Holder::Nobody => panic!("job {} is there", job.id),
                }
            }
            (Command::ReserveJob(id), Told::Reply(Reply::Reserved(told, body))) => {
                assert_eq!(told, *id);
                self.ledger.reserve(now, conn, told, &body);
            }
            (Command::ReserveJob(id), Told::Reply(Reply::NotFound)) => {
                assert_ne!(self.ledger.holder(now, *id), Holder::Nobody, "job {id}");
            }
            (Command::Delete(id), Told::Reply(Reply::Deleted)) => {
                match self.ledger.holder(now, *id) {
                    Holder::NoJob => panic!("there was no job {id}"),
                    Holder::Conn(holder) => assert_eq!(holder, conn, "job {id}"),
                    Holder::Nobody | Holder::Overdue(_) => {}
                }
                self.ledger.jobs.remove(id);
            }
            (Command::Delete(id), Told::Reply(Reply::NotFound)) => {
                match self.ledger.holder(now, *id) {
                    Holder::NoJob => {}
                    Holder::Conn(holder) | Holder::Overdue(holder) => assert_ne!(holder, conn),
                    Holder::Nobody => panic!("job {id} is there"),
                }
            }
            (Command::Touch(id), Told::Reply(Reply::Touched)) => {
                self.assert_holds(conn, *id);
                self.ledger.extend(now, conn, *id);
            }
            (Command::Release { id, .. }, Told::Reply(Reply::Released))
            | (Command::Bury { id, .. }, Told::Reply(Reply::Buried)) => {
                self.assert_holds(conn, *id);
                self.ledger.give_back(*id);
            }
            (
                Command::Touch(id) | Command::Release { id, .. } | Command::Bury { id, .. },
                Told::Reply(Reply::NotFound),
            ) => assert_ne!(self.ledger.holder(now, *id), Holder::Conn(conn), "job {id}"),
            (Command::Use(tube), Told::Reply(Reply::Using(told))) => {
                assert_eq!(told, *tube);
                client.used = told.to_string();
            }
            (Command::ListTubeUsed, Told::Reply(Reply::Using(told))) => {
                assert_eq!(told.as_str(), client.used);
            }
            (Command::Watch(tube), Told::Reply(Reply::Watching(count))) => {
                if !client.watched.iter().any(|name| name == tube.as_str()) {
                    client.watched.push(tube.to_string());
                }
                assert_eq!(count, client.watched.len() as u64);
            }
            (Command::Ignore(tube), Told::Reply(Reply::Watching(count))) => {
                let found = client.watched.iter().position(|name| name == tube.as_str());
                if let Some(at) = found {
                    client.watched.swap_remove(at);
                }
                assert_eq!(count, client.watched.len() as u64);
                assert_ne!(count, 0, "the last one stays");
            }
            (Command::Ignore(tube), Told::Reply(Reply::NotIgnored)) => {
                assert_eq!(client.watched, [tube.as_str()]);
            }
            (Command::ListTubesWatched, Told::Tubes(names)) => assert_eq!(names, client.watched),
            (Command::ListTubes, Told::Tubes(names)) => {
                assert_eq!(names.first().map(String::as_str), Some("default"));
            }
            (Command::Peek(id), Told::Reply(Reply::Found(told, body))) => {
                assert_eq!(told, *id);
                self.ledger.seen(told, &body);
            }
            (Command::Peek(id) | Command::StatsJob(id), Told::Reply(Reply::NotFound)) => {
                assert_eq!(self.ledger.holder(now, *id), Holder::NoJob, "job {id}");
            }
            (
                Command::PeekReady | Command::PeekDelayed | Command::PeekBuried,
                Told::Reply(Reply::Found(id, body)),
            ) => {
                self.ledger.seen(id, &body);
                let holder = self.ledger.holder(now, id);
                assert!(!matches!(holder, Holder::Conn(_)), "job {id} is reserved: {holder:?}");
            }
            (
                Command::PeekReady | Command::PeekDelayed | Command::PeekBuried,
                Told::Reply(Reply::NotFound),
            ) => {}
            (Command::Kick(bound), Told::Reply(Reply::Kicked(count))) => {
                assert!(count <= u64::from(*bound).min(self.ledger.jobs.len() as u64));
            }
            (Command::KickJob(_), Told::Reply(Reply::KickedJob | Reply::NotFound))
            | (Command::PauseTube(..), Told::Reply(Reply::Paused | Reply::NotFound))
            | (Command::Stats, Told::Server(_)) => {}
            (Command::StatsJob(id), Told::Job { id: told, disconnects, .. }) => {
                assert_eq!(told, *id);
                self.ledger.counted(told, disconnects);
            }
            (Command::StatsTube(tube), Told::Tube(view)) => assert_eq!(view.name, tube.as_str()),
            (Command::StatsTube(tube), Told::Reply(Reply::NotFound)) => {
                let known = |client: &Client| {
                    let watched = client.watched.iter().any(|name| name == tube.as_str());
                    watched || client.used == tube.as_str()
                };
                assert!(!self.clients.iter().any(known), "{tube} is there");
            }
            (command, told) => panic!("{told:?} to {command:?}"),
        }
    }

    /// The answer to a reserve command that may wait until `until`.
    pub(super) fn judge_reserve(&mut self, index: usize, until: Nanos, reply: &Reply<Vec<u8>>) {
        let Client { conn, half_closed, .. } = self.clients[index];
        match reply {
            Reply::Reserved(id, body) => self.ledger.reserve(self.now, conn, *id, body),
            Reply::DeadlineSoon => assert!(self.ledger.deadline_soon(self.now, conn)),
            Reply::TimedOut => assert!(until <= self.now || half_closed, "not before {until:?}"),
            _ => panic!("{reply:?} to a reserve command"),
        }
    }

    fn assert_holds(&self, conn: ConnId, id: JobId) {
        let holder = self.ledger.holder(self.now, id);
        let holds = matches!(holder, Holder::Conn(it) | Holder::Overdue(it) if it == conn);
        assert!(holds, "{conn:?} does not hold job {id}: {holder:?}");
    }
}

/// How long a reserve command waits.
pub(super) fn wait_until(now: Nanos, command: &Command) -> Nanos {
    match command {
        Command::ReserveWithTimeout(Some(seconds)) => now.after(*seconds),
        Command::BatchReserve { timeout, .. } => now.after(*timeout),
        _ => Nanos::NEVER,
    }
}
