//! Jobs that are ready in a queue and wait there until they can be run here.
//!
//! There is no room for their type, their results could not be sent at present, or another job of their id is
//! to be over first. Any worker can have them. When they can be run here, they are reserved by their numbers.
//! So a type with a limit is as busy as its limit allows, and no job stays reserved that is not run.
//!
//! What is known of a server is replaced by each [look](crate::look) at its ready jobs, if that came to their
//! end. While a look is under way it has these jobs itself, so none of them is taken.
//!
//! Owns: which jobs these are. Must not know: how a job is run.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jq_client::JobId;
use uuid::Uuid;

use crate::destinations::Place;
use crate::job::{Job, JobType};
use crate::source::Source;

/// Most jobs that are remembered. Others are found by a later look.
const MAX_PARKED: usize = 100_000;

/// A job in a queue.
#[derive(Debug)]
pub struct Parked {
    /// Where it is.
    pub source: Arc<Source>,
    /// Its number there.
    pub number: JobId,
    /// Its own id, by which it is known from others of the same number. `None`: it cannot be read.
    pub id: Option<Uuid>,
}

impl Parked {
    /// Whether this is the job's body. A server that lost its jobs gives out the same numbers again.
    pub fn is_of(&self, body: &[u8]) -> bool {
        self.id == Job::parse(body).map_or_else(|bad| bad.id, |job| Some(job.id))
    }
}

/// What a job needs to be run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wait {
    /// Room of its type. `None`: it is no job, and is refused.
    pub kind: Option<JobType>,
    /// A destination that takes its result. `None`: its result is not sent.
    pub place: Option<Place>,
}

impl Wait {
    /// What the job of this body needs.
    pub fn of(body: &[u8]) -> (Self, Option<Uuid>) {
        match Job::parse(body) {
            Ok(job) => (Self::of_job(&job), Some(job.id)),
            Err(bad) => (Self { kind: None, place: None }, bad.id),
        }
    }

    /// What this job needs.
    pub fn of_job(job: &Job) -> Self {
        let place = job.first_target().map(|target| Place::of(&target.url));
        Self { kind: Some(job.kind.clone()), place }
    }
}

/// A job that a look has found.
#[derive(Debug)]
pub struct Candidate {
    /// What it needs.
    pub wait: Wait,
    /// Where it is.
    pub job: Parked,
    /// Another job of its id is to be over first.
    pub is_second: bool,
}

/// Jobs of one server that need the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Group {
    server: Server,
    /// What they need.
    pub wait: Wait,
}

/// A [`Source`], by its address in memory: jobs keep it there.
type Server = usize;

fn server(source: &Arc<Source>) -> Server {
    Arc::as_ptr(source) as usize
}

/// All that are known, by server and by what they need. Oldest first.
#[derive(Debug, Default)]
pub struct Parking {
    lot: Mutex<Lot>,
}

#[derive(Debug, Default)]
struct Lot {
    /// Each with its number in the order of all.
    groups: HashMap<Group, VecDeque<(u64, Parked)>>,
    /// Those that wait for another job of their id. They are in no group: there may be thousands, and no two
    /// of them are alike.
    seconds: HashMap<Uuid, Vec<(Wait, Parked)>>,
    /// How many jobs of a server are about to be reserved again.
    taken: HashMap<Server, usize>,
    /// Servers whose ready jobs are looked through.
    looked_at: HashSet<Server>,
    /// All of them: a job can be given back twice before there is a look.
    known: HashSet<(Server, JobId)>,
    /// How many there have been.
    total: u64,
}

impl Lot {
    fn add(&mut self, Candidate { wait, job, is_second }: Candidate) {
        if self.known.len() >= MAX_PARKED || !self.known.insert((server(&job.source), job.number)) {
            return;
        }
        match job.id.filter(|_| is_second) {
            Some(id) => self.seconds.entry(id).or_default().push((wait, job)),
            None => self.join(wait, job),
        }
    }

    fn join(&mut self, wait: Wait, job: Parked) {
        self.total += 1;
        let group = Group { server: server(&job.source), wait };
        self.groups.entry(group).or_default().push_back((self.total, job));
    }

    fn forget(&mut self, server: Server) {
        self.groups.retain(|group, _| group.server != server);
        self.seconds.retain(|_, jobs| {
            jobs.retain(|(_, job)| self::server(&job.source) != server);
            !jobs.is_empty()
        });
        self.known.retain(|(of, _)| *of != server);
    }

    /// How many of a server wait for another job of their id.
    fn seconds_of(&self, of: Server) -> usize {
        let jobs = self.seconds.values().flatten();
        jobs.filter(|(_, job)| server(&job.source) == of).count()
    }
}

impl Parking {
    /// Remembers a job.
    pub fn park(&self, job: Candidate) {
        self.lot().add(job);
    }

    /// Jobs that wait for another one of their id: one for each id.
    pub fn seconds(&self) -> Vec<(Uuid, Arc<Source>, JobId)> {
        let lot = self.lot();
        let first = |(id, jobs): (&Uuid, &Vec<(Wait, Parked)>)| {
            let (_, job) = jobs.first()?;
            Some((*id, Arc::clone(&job.source), job.number))
        };
        lot.seconds.iter().filter_map(first).collect()
    }

    /// Those that wait for another job of this id need not wait for it any more.
    pub fn free_seconds(&self, id: Uuid) {
        let mut lot = self.lot();
        let jobs = lot.seconds.remove(&id).unwrap_or_default();
        jobs.into_iter().for_each(|(wait, job)| lot.join(wait, job));
    }

    /// Where jobs of this id are known to be. There are many that are known, and few are asked for.
    pub fn places_of(&self, id: Uuid) -> Vec<(Arc<Source>, JobId)> {
        let lot = self.lot();
        let seconds = lot.seconds.get(&id).into_iter().flatten().map(|(_, job)| job);
        let others = lot.groups.values().flatten().map(|(_, job)| job);
        let found = others.filter(|job| job.id == Some(id)).chain(seconds);
        found.map(|job| (Arc::clone(&job.source), job.number)).collect()
    }

    /// Forgets a job of this id and number, on whichever server.
    pub fn forget(&self, id: Uuid, number: JobId) {
        let mut lot = self.lot();
        let is_it = |job: &Parked| job.id == Some(id) && job.number == number;
        let mut gone = Vec::new();
        for jobs in lot.groups.values_mut() {
            let found = jobs.iter().filter(|(_, job)| is_it(job));
            gone.extend(found.map(|(_, job)| (server(&job.source), number)));
            jobs.retain(|(_, job)| !is_it(job));
        }
        lot.groups.retain(|_, jobs| !jobs.is_empty());
        if let Some(jobs) = lot.seconds.get_mut(&id) {
            gone.extend(
                jobs.iter()
                    .filter(|(_, job)| is_it(job))
                    .map(|(_, job)| (server(&job.source), number)),
            );
            jobs.retain(|(_, job)| !is_it(job));
            if jobs.is_empty() {
                lot.seconds.remove(&id);
            }
        }
        gone.iter().for_each(|known| {
            lot.known.remove(known);
        });
    }

    /// A look through the ready jobs of a server begins.
    pub fn begin_look(&self, source: &Arc<Source>) {
        self.lot().looked_at.insert(server(source));
    }

    /// The look is over. These are known of the server now; if they are all, no others are.
    pub fn end_look(&self, source: &Arc<Source>, found: Vec<Candidate>, is_all: bool) {
        let mut lot = self.lot();
        lot.looked_at.remove(&server(source));
        if is_all {
            lot.forget(server(source));
        }
        found.into_iter().for_each(|found| lot.add(found));
    }

    /// Forgets all of them: the servers are others now.
    pub fn clear(&self) {
        let mut lot = self.lot();
        lot.groups.clear();
        lot.seconds.clear();
        lot.known.clear();
    }

    /// How many of this server are known, with those that are [about to be reserved](Self::taking).
    pub fn count_of(&self, source: &Arc<Source>) -> usize {
        let (lot, server) = (self.lot(), server(source));
        let groups = lot.groups.iter().filter(|(group, _)| group.server == server);
        let known: usize = groups.map(|(_, jobs)| jobs.len()).sum();
        known + lot.seconds_of(server) + lot.taken.get(&server).copied().unwrap_or(0)
    }

    /// Counts a job of this server as known, until the returned value is dropped.
    pub fn taking(self: &Arc<Self>, source: &Arc<Source>) -> Taking {
        let server = server(source);
        *self.lot().taken.entry(server).or_default() += 1;
        Taking { parking: Arc::clone(self), server }
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        let lot = self.lot();
        lot.groups.is_empty() && lot.seconds.is_empty()
    }

    /// Whether none of this server is known.
    pub fn is_empty_of(&self, source: &Arc<Source>) -> bool {
        let (lot, server) = (self.lot(), server(source));
        !lot.groups.keys().any(|group| group.server == server) && lot.seconds_of(server) == 0
    }

    /// All groups, that of the first job first.
    pub fn groups(&self) -> Vec<Group> {
        let lot = self.lot();
        let is_free = |group: &Group| !lot.looked_at.contains(&group.server);
        let first = |jobs: &VecDeque<(u64, Parked)>| jobs.front().map(|(number, _)| *number);
        let groups = lot.groups.iter().filter(|(group, _)| is_free(group));
        let mut groups: Vec<_> = groups.map(|(group, jobs)| (first(jobs), group)).collect();
        groups.sort_by_key(|(number, _)| *number);
        groups.into_iter().map(|(_, group)| group.clone()).collect()
    }

    /// Those of one server.
    pub fn groups_of(&self, source: &Arc<Source>) -> Vec<Group> {
        let mut groups = self.groups();
        groups.retain(|group| group.server == server(source));
        groups
    }

    /// Takes out the job that has waited longest.
    pub fn next(&self, group: &Group) -> Option<Parked> {
        let mut lot = self.lot();
        if lot.looked_at.contains(&group.server) {
            return None;
        }
        let jobs = lot.groups.get_mut(group)?;
        let (_, next) = jobs.pop_front()?;
        if jobs.is_empty() {
            lot.groups.remove(group);
        }
        lot.known.remove(&(group.server, next.number));
        Some(next)
    }

    /// Takes out any job of this type.
    pub fn any_of(&self, kind: Option<&JobType>) -> Option<Parked> {
        let mut groups = self.groups();
        groups.retain(|group| group.wait.kind.as_ref() == kind);
        let group = fastrand::choice(&groups)?;
        let mut lot = self.lot();
        let jobs = lot.groups.get_mut(group)?;
        // One that is put in the place of another is as good as the first.
        let other = fastrand::usize(..jobs.len());
        jobs.swap(0, other);
        drop(lot);
        self.next(group)
    }

    /// How many wait, by type. What is no job is left out.
    pub fn counts(&self) -> HashMap<JobType, usize> {
        let lot = self.lot();
        let mut counts = HashMap::new();
        let seconds = lot.seconds.values().flatten().map(|(wait, _)| (wait, 1));
        for (wait, jobs) in
            lot.groups.iter().map(|(it, jobs)| (&it.wait, jobs.len())).chain(seconds)
        {
            if let Some(kind) = &wait.kind {
                *counts.entry(kind.clone()).or_default() += jobs;
            }
        }
        counts
    }

    fn lot(&self) -> MutexGuard<'_, Lot> {
        // A panic between two of its statements leaves one unknown at worst.
        self.lot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that was taken out of those that are known, and is about to be reserved.
#[derive(Debug)]
pub struct Taking {
    parking: Arc<Parking>,
    server: Server,
}

impl Drop for Taking {
    fn drop(&mut self) {
        let mut lot = self.parking.lot();
        if let Some(count) = lot.taken.get_mut(&self.server) {
            *count -= 1;
            if *count == 0 {
                lot.taken.remove(&self.server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jq_client::ConnectOptions;

    use super::*;

    fn source() -> Arc<Source> {
        let server = ConnectOptions::new("localhost:1".parse().unwrap());
        Arc::new(Source::new(server, Vec::new()))
    }

    fn parked(source: &Arc<Source>, number: JobId) -> Parked {
        Parked { source: Arc::clone(source), number, id: Some(Uuid::nil()) }
    }

    fn first(wait: Wait, job: Parked) -> Candidate {
        Candidate { wait, job, is_second: false }
    }

    fn wait(kind: &str) -> Wait {
        Wait { kind: Some(kind.parse().unwrap()), place: None }
    }

    #[test]
    fn first_come_first_served_by_what_they_wait_for() {
        let (parking, source) = (Parking::default(), source());
        for number in [1, 2, 2, 3] {
            parking.park(first(wait("a"), parked(&source, number)));
        }
        parking.park(first(wait("b"), parked(&source, 7)));
        let groups = parking.groups();
        assert_eq!([&groups[0].wait, &groups[1].wait], [&wait("a"), &wait("b")]);
        let next = |group: &Group| parking.next(group).map(|job| job.number);
        let (a, b) = (&groups[0], &groups[1]);
        assert_eq!((next(a), next(a), next(b), next(b)), (Some(1), Some(2), Some(7), None));
        assert_eq!(parking.groups(), std::slice::from_ref(a));
        assert!(parking.any_of(b.wait.kind.as_ref()).is_none());
        assert_eq!(parking.counts(), HashMap::from([("a".parse().unwrap(), 1)]));
    }

    #[test]
    fn a_look_replaces_what_was_known_of_its_server() {
        let (parking, one, other) = (Arc::new(Parking::default()), source(), source());
        parking.park(first(wait("a"), parked(&one, 1)));
        parking.park(first(wait("a"), parked(&other, 1)));
        let groups = parking.groups();
        assert_eq!((groups.len(), parking.groups_of(&one).len()), (2, 1));
        let taking = parking.taking(&one);
        assert_eq!((parking.count_of(&one), parking.count_of(&other)), (2, 1));
        drop(taking);
        assert_eq!(parking.count_of(&one), 1);
        parking.begin_look(&one);
        assert_eq!(parking.groups(), parking.groups_of(&other));
        assert!(parking.next(&groups[0]).is_none() && !parking.is_empty_of(&one));
        let found = |number| first(wait("b"), parked(&one, number));
        parking.end_look(&one, vec![found(5)], true);
        parking.end_look(&one, vec![found(5), found(6)], false);
        assert_eq!(parking.count_of(&one), 2);
        assert!(parking.next(&groups[0]).is_none());
        let group = &parking.groups_of(&one)[0];
        assert_eq!(group.wait, wait("b"));
        assert_eq!(parking.next(group).unwrap().number, 5);
        assert_eq!(parking.any_of(group.wait.kind.as_ref()).unwrap().number, 6);
        parking.park(first(wait("b"), parked(&one, 7)));
        parking.end_look(&one, Vec::new(), true);
        assert!(parking.is_empty_of(&one) && !parking.is_empty_of(&other));
        parking.clear();
        assert!(parking.is_empty());
    }

    #[test]
    fn what_waits_for_another_of_its_id_is_known_but_not_taken() {
        let (parking, source, other) = (Parking::default(), source(), source());
        let second =
            |number| Candidate { is_second: true, ..first(wait("a"), parked(&source, number)) };
        parking.park(second(1));
        parking.park(second(2));
        parking.park(second(2));
        assert!(parking.groups().is_empty() && !parking.is_empty());
        assert!(!parking.is_empty_of(&source) && parking.is_empty_of(&other));
        assert_eq!(parking.count_of(&source), 2);
        assert_eq!(parking.counts(), HashMap::from([("a".parse().unwrap(), 2)]));
        let [(id, _, number)] = parking.seconds()[..] else { panic!("there is one id") };
        assert_eq!((id, number), (Uuid::nil(), 1));
        parking.free_seconds(Uuid::max());
        parking.end_look(&other, Vec::new(), true);
        assert!(parking.groups().is_empty());
        parking.free_seconds(id);
        assert!(parking.seconds().is_empty());
        let group = &parking.groups()[0];
        assert_eq!(parking.next(group).unwrap().number, 1);
        parking.end_look(&source, vec![second(3)], true);
        assert!(parking.groups().is_empty());
        parking.end_look(&source, Vec::new(), true);
        assert!(parking.is_empty());
    }

    #[test]
    fn it_is_bounded() {
        let (parking, source) = (Parking::default(), source());
        for number in 0..2 * MAX_PARKED as u64 {
            parking.park(first(wait("a"), parked(&source, number)));
        }
        let group = &parking.groups()[0];
        let mut count = 0;
        while parking.next(group).is_some() {
            count += 1;
        }
        assert_eq!(count, MAX_PARKED);
        assert!(parking.groups().is_empty());
    }

    #[test]
    fn a_job_is_known_by_its_id() {
        let id = Uuid::from_u128(7);
        let of = |body: &str, id| Parked { id, ..parked(&source(), 1) }.is_of(body.as_bytes());
        let (good, bad) = (format!(r#"{{"id":"{id}","type":"t"}}"#), format!(r#"{{"id":"{id}"}}"#));
        assert!(of(&good, Some(id)) && of(&bad, Some(id)) && of("x", None));
        assert!(!of(&good, Some(Uuid::nil())) && !of("x", Some(id)) && !of(&good, None));
        assert_eq!(Wait::of(good.as_bytes()), (wait("t"), Some(id)));
        assert_eq!(Wait::of(b"x"), (Wait { kind: None, place: None }, None));
    }
}
