//! From records to jobs.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use beanstalk_protocol::{JobId, TubeName};
use jq_engine::{DurableState, JobCounters, JobRecord, JobUpdate};

use super::format::{Damage, Fields, State};
use super::read::{Found, Next, Records};

/// A job according to the records so far.
#[derive(Debug)]
struct Job {
    tube: Rc<str>,
    body: Box<[u8]>,
    fields: Fields,
    /// Its turn among the buried jobs, if it is buried.
    buried: u64,
}

impl Job {
    /// Whether a later record with these fields is plausible. The fields that never change show
    /// whether it is about this job. If it says that the job is deleted but counters have gone
    /// back, it is in fact another record that was not completely written.
    fn may_become(&self, later: &Fields) -> bool {
        let numbers = |fields: &Fields| {
            let JobCounters { reserves, timeouts, releases, buries, kicks, disconnects: _ } =
                fields.counters;
            [reserves, timeouts, releases, buries, kicks]
        };
        let mut counters = std::iter::zip(numbers(&self.fields), numbers(later));
        let is_same =
            (self.fields.created, self.fields.body_len) == (later.created, later.body_len);
        is_same && (later.state != State::Deleted || counters.all(|(before, now)| before <= now))
    }
}

/// The jobs of all files, read from the oldest to the newest.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: BTreeMap<JobId, Job>,
    /// The name of each tube, stored once.
    tubes: HashSet<Rc<str>>,
    /// The largest id in any record.
    last_id: JobId,
    next_bury: u64,
}

impl Jobs {
    /// The number of jobs.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// The first id that no job in the files has had.
    pub(super) fn next_id(&self) -> JobId {
        self.last_id + 1
    }

    /// Applies the records of a file. Returns the offset in bytes of the last record if that was
    /// not completely written, or as the error the offset of damage.
    pub(super) fn take_file(&mut self, bytes: &[u8]) -> Result<Option<usize>, (usize, Damage)> {
        let Some(mut records) = Records::of(bytes).map_err(|damage| (0, damage))? else {
            return Ok(None);
        };
        loop {
            let offset = records.offset();
            let damaged = |damage| (offset, damage);
            let found = match records.next().map_err(damaged)? {
                Next::Record(found) => found,
                Next::End => return Ok(None),
                Next::Torn => return Ok(Some(offset)),
            };
            // A deletion is marked by a zero, so the state may just not have been written.
            let may_be_torn = found.fields.state == State::Deleted && records.is_at_end();
            match self.take(found) {
                Err(_) if may_be_torn => return Ok(Some(offset)),
                taken => taken.map_err(damaged)?,
            }
        }
    }

    /// Applies a record, unless it contradicts earlier ones.
    fn take(&mut self, found: Found<'_>) -> Result<(), Damage> {
        let Found { fields, whole } = found;
        let id = fields.id;
        if whole.is_none() && self.jobs.get(&id).is_some_and(|job| !job.may_become(&fields)) {
            return Err(Damage::Contradiction);
        }
        self.last_id = self.last_id.max(id);
        if fields.state == State::Deleted {
            self.jobs.remove(&id);
            return Ok(());
        }
        let turn = self.turn(&fields);
        if let Some((tube, body)) = whole {
            let tube = self.tube(tube);
            self.jobs.insert(id, Job { tube, body: body.into(), fields, buried: turn });
        } else if let Some(job) = self.jobs.get_mut(&id) {
            job.fields = fields;
            job.buried = turn;
        }
        // Otherwise the job's full record was in a file that was deleted, and so the job is deleted
        // too.
        Ok(())
    }

    /// A job that is written once more, because its file will be deleted, keeps its turn among the
    /// buried ones.
    fn turn(&mut self, fields: &Fields) -> u64 {
        if fields.state != State::Buried {
            return 0;
        }
        if let Some(job) = self.jobs.get(&fields.id)
            && job.fields.state == State::Buried
            && job.fields.counters.buries == fields.counters.buries
        {
            return job.buried;
        }
        self.next_bury += 1;
        self.next_bury
    }

    fn tube(&mut self, name: TubeName) -> Rc<str> {
        if let Some(tube) = self.tubes.get(name.as_str()) {
            return Rc::clone(tube);
        }
        let tube: Rc<str> = name.as_str().into();
        self.tubes.insert(Rc::clone(&tube));
        tube
    }

    /// The full records of all jobs, by id.
    pub(super) fn records(&self) -> impl Iterator<Item = JobRecord<'_>> {
        self.jobs.values().map(|job| {
            let Fields { id, priority, delay, counters, .. } = job.fields;
            let state = match job.fields.state {
                State::Ready | State::Deleted => DurableState::Ready,
                State::Delayed(until) => DurableState::Delayed(until),
                State::Buried => DurableState::Buried(job.buried),
            };
            JobRecord {
                tube: &job.tube,
                created: job.fields.created,
                ttr: job.fields.ttr,
                now: JobUpdate { id, priority, delay, state, counters },
                body: &job.body,
                shared: None,
            }
        })
    }
}
