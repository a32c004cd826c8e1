//! Clients: what they ask for, and what they make of the answers.

use std::collections::VecDeque;

use beanstalk_protocol::{Command, JobId, JobListing, JobMove, JobQuery, PutHeader, Request};
use fastrand::Rng;
use jq_engine::ConnId;
use jq_server::log::{Gated, Staging};
use jq_server::server::outbuf::OutBuf;

use crate::facts::Fact;
use crate::history::Moment;
use crate::job::{ClientId, Job, Place};
use crate::model::{Model, TUBES};
use crate::observe::{JobSeen, number, tube_name};
use crate::support::Reply;

/// What a client asks for.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Put(PutHeader, Vec<u8>),
    Command(Command),
}

/// Replies that the client has not received yet.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) out: OutBuf,
    pub(crate) gated: Gated,
    /// How many replies these are.
    pub(crate) count: usize,
    /// What they promise.
    pub(crate) promise: Moment,
    /// The jobs that were put.
    pub(crate) puts: Vec<JobId>,
}

/// A put that is to be carried out when its body is stored.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) ask: Ask,
    pub(crate) staging: Staging,
    /// When its line came, in nanoseconds.
    pub(crate) at: u64,
}

/// Batches of replies that a client has to receive yet before it asks for nothing more.
const MAX_HELD: usize = 5;

/// A connection. It asks for nothing more while many replies are held, or it waits for a job.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) conn: ConnId,
    /// The tube that it uses.
    pub(crate) used: usize,
    pub(crate) waits: bool,
    /// A put whose body is being stored.
    pub(crate) staged: Option<Staged>,
    pub(crate) held: VecDeque<Held>,
}

impl Client {
    pub(crate) fn new(conn: ConnId) -> Self {
        Self { conn, used: 0, waits: false, staged: None, held: VecDeque::new() }
    }

    pub(crate) fn may_ask(&self) -> bool {
        self.held.len() < MAX_HELD && !self.waits && self.staged.is_none()
    }
}

/// What is likely to be asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taste {
    /// Of ten bodies, so many are large.
    pub(crate) large: u8,
    /// A large body has fewer bytes than this.
    pub(crate) largest: usize,
    /// Above this number of jobs, they are deleted more than put.
    pub(crate) jobs: usize,
}

/// Something to ask for.
pub(crate) fn think(rng: &mut Rng, model: &Model, me: ClientId, taste: Taste) -> Ask {
    let mine = |job: &Job| {
        job.now.as_ref().is_some_and(|now| matches!(now.reserved, Some((owner, _)) if owner == me))
    };
    let id = |rng: &mut Rng| some_job(rng, model, |_| true);
    let held = |rng: &mut Rng| some_job(rng, model, mine);
    let place = |rng: &mut Rng| {
        some_job(rng, model, |job| job.now.as_ref().is_some_and(|now| now.place != Place::Ready))
    };
    let many = model.jobs.values().filter(|job| job.now.is_some()).count() > taste.jobs;
    let tube = |rng: &mut Rng| tube_name(rng.usize(..TUBES.len()));
    let priority = |rng: &mut Rng| rng.choice([0, 1, 2, 5000]).unwrap_or(0);
    let delay = |rng: &mut Rng| if rng.u8(..4) == 0 { rng.u32(1..8) } else { 0 };
    let command = match rng.u8(..100) {
        0..30 if many => Command::Delete(id(rng)),
        0..30 => {
            let size = match rng.u8(..10) {
                0 => 0,
                roll if roll <= taste.large => rng.usize(..taste.largest),
                _ => rng.usize(..120),
            };
            let body: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(size).collect();
            let (priority, delay, ttr) = (priority(rng), delay(rng), rng.u32(0..6));
            return Ask::Put(PutHeader { priority, delay, ttr, size: size as u32 }, body);
        }
        30..40 => Command::Delete(held(rng)),
        40..50 => Command::ReserveWithTimeout(Some(rng.u32(..3))),
        50 => Command::Reserve,
        51 => Command::BatchReserve { max: rng.u32(1..5), timeout: rng.u32(..3) },
        52..58 => Command::Release { id: held(rng), priority: priority(rng), delay: delay(rng) },
        58..60 => Command::Move(Box::new(JobMove { id: id(rng), to: tube(rng) })),
        60..66 => Command::Bury { id: held(rng), priority: priority(rng) },
        66 => Command::Move(Box::new(JobMove { id: held(rng), to: tube(rng) })),
        67 => Command::Move(Box::new(JobMove { id: place(rng), to: tube(rng) })),
        68..70 => Command::Touch(held(rng)),
        70 if many => Command::ClearTube(tube(rng)),
        70 => Command::ListJobs(Box::new(JobQuery {
            tube: Some(tube(rng)),
            state: None,
            cursor: 0,
            count: 100,
        })),
        71..75 => Command::Kick(rng.u32(1..4)),
        75..78 => Command::KickJob(place(rng)),
        78..82 => Command::ReserveJob(place(rng)),
        82..84 => Command::ReserveJob(id(rng)),
        84..86 => Command::PauseTube(tube(rng), rng.u32(..4)),
        86..89 => Command::Use(tube(rng)),
        89..92 => Command::Watch(tube(rng)),
        92..93 => Command::Ignore(tube(rng)),
        93..95 => Command::Peek(id(rng)),
        95..98 => Command::StatsJob(id(rng)),
        _ => Command::Delete(place(rng)),
    };
    Ask::Command(command)
}

/// The number of a job of a kind; of any, perhaps gone, if there is none.
fn some_job(rng: &mut Rng, model: &Model, is: impl Fn(&Job) -> bool) -> JobId {
    let ids: Vec<JobId> = model
        .jobs
        .iter()
        .filter_map(|(id, job)| (job.now.is_some() && is(job)).then_some(*id))
        .collect();
    match rng.choice(ids) {
        Some(id) if rng.u8(..20) > 0 => id,
        _ => rng.u64(1..=model.ids),
    }
}

/// The requests that ask for this.
pub(crate) fn requests(ask: &Ask) -> Vec<Request> {
    match ask {
        Ask::Put(header, body) => {
            vec![Request::Put(*header), Request::Body(body.clone().into_boxed_slice())]
        }
        Ask::Command(command) => vec![Request::Command(command.clone())],
    }
}

/// Somebody asked for something, and got a reply.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) who: ClientId,
    pub(crate) ask: &'a Ask,
    pub(crate) reply: &'a Reply,
    /// When, in nanoseconds.
    pub(crate) at: u64,
    /// When the body of a put was handled, if that was not at once.
    pub(crate) late: Option<u64>,
    /// Whether nothing happened meanwhile that the model does not know of yet.
    pub(crate) undisturbed: bool,
}

/// Makes true what the reply says. Returns the moment that it promises.
pub(crate) fn believe(
    model: &mut Model,
    client: &mut Client,
    exchange: &Exchange<'_>,
) -> Result<Moment, String> {
    let Exchange { who, ask, reply, at, late, undisturbed } = *exchange;
    let line = String::from_utf8_lossy(reply.line());
    let word = line.split(' ').next().unwrap_or_default();
    let command = match ask {
        Ask::Put(header, body) => {
            return match (word, number(reply)) {
                ("INSERTED", Some(id)) => {
                    if *model.draining.last() {
                        return Err("a job was taken while draining".into());
                    }
                    let is_late = late.is_some();
                    let times = (at, late.unwrap_or(at + 1));
                    let judged = undisturbed && !is_late;
                    if model.is_known(id, client.used, body, judged)? {
                        return Ok(model.known(id));
                    }
                    model.put((id, is_late), times, client.used, *header, body.clone())?;
                    Ok(model.known(id))
                }
                ("DRAINING", _) if *model.draining.last() => Ok(0),
                ("OUT_OF_MEMORY", _) => Ok(0),
                _ => Err(format!("put: {reply}")),
            };
        }
        Ask::Command(command) => command,
    };
    match (command, word) {
        (
            Command::Reserve | Command::ReserveWithTimeout(_) | Command::ReserveJob(_),
            "RESERVED",
        ) => {
            let id = number(reply).ok_or("a job has a number")?;
            if !matches!(command, Command::ReserveJob(_)) {
                model.count_reserve(id, at)?;
            }
            model.reserve(id, who, at)?;
            same_body(model, id, reply)?;
            Ok(model.known(id))
        }
        (Command::BatchReserve { max, .. }, "BATCH") => {
            let jobs = reply.batch();
            if jobs.is_empty() || jobs.len() > *max as usize {
                return Err(format!("{max} were asked for: {reply}"));
            }
            jobs.iter().try_fold(0, |promise, reply| {
                let id = number(reply).ok_or("a job has a number")?;
                model.count_reserve(id, at)?;
                model.reserve(id, who, at)?;
                same_body(model, id, reply)?;
                Ok(model.known(id).max(promise))
            })
        }
        // Who waited for a batch is known to have waited for a job.
        (Command::Reserve, "BATCH") => {
            let [reply] = &reply.batch()[..] else { return Err(format!("more than one: {reply}")) };
            let id = number(reply).ok_or("a job has a number")?;
            model.count_reserve(id, at)?;
            model.reserve(id, who, at)?;
            same_body(model, id, reply)?;
            Ok(model.known(id))
        }
        (
            Command::Reserve | Command::ReserveWithTimeout(_) | Command::BatchReserve { .. },
            "TIMED_OUT" | "DEADLINE_SOON",
        ) => Ok(0),
        (Command::ClearTube(name), "CLEARED") => {
            let (tube, count) = (tube_of(name.as_str())?, number(reply).ok_or("a count")?);
            if count == 0 {
                return model.clear(tube, count).map(|()| 0);
            }
            model.expect(|fact| *fact == Fact::Cleared(tube))?;
            model.clear(tube, count).map(|()| model.moment)
        }
        (Command::ClearTube(_) | Command::ListJobs(_), "NOT_FOUND") => Ok(0),
        (Command::Move(job), "MOVED") => {
            let to = tube_of(job.to.as_str())?;
            if !model.is_in(job.id, to) {
                model.expect(
                    |it| matches!(it, Fact::Moved(at, now) if (*at, now.id) == (to, job.id)),
                )?;
            }
            model.move_job(job.id, to)?;
            Ok(model.known(job.id))
        }
        (Command::Move(job), "NOT_FOUND") => Ok(model.known(job.id)),
        (Command::ListJobs(_), "OK") => {
            let text = String::from_utf8_lossy(reply.body().unwrap_or_default()).into_owned();
            let listing = JobListing::from_yaml(&text).ok_or_else(|| format!("no list: {text}"))?;
            let mut known = listing.jobs.iter().map(|job| {
                let is_there = model.jobs.get(&job.id).is_some_and(|job| job.now.is_some());
                if is_there {
                    Ok(model.known(job.id))
                } else {
                    Err(format!("{} is listed", job.id))
                }
            });
            known.try_fold(0, |most, known| Ok(most.max(known?)))
        }
        (Command::Delete(id), "DELETED") => {
            model.expect(|fact| *fact == Fact::Gone(*id))?;
            model.delete(*id).map(|()| model.known(*id))
        }
        (Command::Release { id, priority, delay }, "RELEASED") => {
            model.expect(|fact| matches!(fact, Fact::Changed(now) if now.id == *id))?;
            model.release(*id, *priority, *delay, at)?;
            model.end_attempt(*id)?;
            Ok(model.known(*id))
        }
        (Command::Bury { id, priority }, "BURIED") => {
            model.expect(|fact| matches!(fact, Fact::Changed(now) if now.id == *id))?;
            model.bury(*id, *priority)?;
            Ok(model.known(*id))
        }
        (Command::Touch(id), "TOUCHED") => model.touch(*id, at).map(|()| model.known(*id)),
        (Command::KickJob(id), "KICKED") => {
            model.expect(|fact| *fact == Fact::Kicked(*id))?;
            model.kick_job(*id).map(|()| model.known(*id))
        }
        (Command::Kick(_), "KICKED") => {
            let count = number(reply).ok_or("a count")?;
            let mut ids = Vec::new();
            for _ in 0..count {
                let note =
                    |fact: &Fact| matches!(fact, Fact::Kicked(id) if { ids.push(*id); true });
                model.expect(note)?;
            }
            model.kick(client.used, &ids)?;
            Ok(if count > 0 { model.moment } else { 0 })
        }
        (Command::PauseTube(name, seconds), "PAUSED") => {
            model.pause(tube_of(name.as_str())?, *seconds, at);
            Ok(model.moment)
        }
        (Command::PauseTube(..), "NOT_FOUND") => Ok(0),
        (Command::Use(name), "USING") => {
            client.used = tube_of(name.as_str())?;
            Ok(0)
        }
        (Command::Watch(_) | Command::Ignore(_), "WATCHING" | "NOT_IGNORED") => Ok(0),
        (Command::Peek(id), "FOUND") => same_body(model, *id, reply).map(|()| model.known(*id)),
        (Command::StatsJob(id), "OK") => {
            if undisturbed {
                same_stats(model, *id, reply, at)?;
            }
            Ok(model.known(*id))
        }
        (Command::Peek(id) | Command::StatsJob(id), "NOT_FOUND") => {
            if undisturbed && model.jobs.get(id).is_some_and(|job| job.now.is_some()) {
                return Err(format!("job {id} should be there"));
            }
            Ok(model.known(*id))
        }
        (
            Command::Delete(id)
            | Command::Release { id, .. }
            | Command::Bury { id, .. }
            | Command::Touch(id)
            | Command::KickJob(id)
            | Command::ReserveJob(id),
            "NOT_FOUND",
        ) => Ok(model.known(*id)),
        // Unless the log has failed, there is room for it. When it has, others may have taken that.
        (Command::Delete(_), "INTERNAL_ERROR") if model.has_failed => Ok(0),
        (
            Command::Release { .. }
            | Command::Bury { .. }
            | Command::Kick(_)
            | Command::KickJob(_)
            | Command::PauseTube(..)
            | Command::ClearTube(_)
            | Command::Move(_),
            "INTERNAL_ERROR",
        ) => Ok(0),
        _ => Err(format!("{command:?}: {reply}")),
    }
}

fn tube_of(name: &str) -> Result<usize, String> {
    TUBES.iter().position(|tube| *tube == name).ok_or_else(|| format!("tube {name}"))
}

fn same_body(model: &Model, id: JobId, reply: &Reply) -> Result<(), String> {
    let job = model.jobs.get(&id).filter(|job| job.now.is_some());
    let job = job.ok_or_else(|| format!("job {id} should be gone: {reply}"))?;
    if reply.body() == Some(&job.body) { Ok(()) } else { Err(format!("job {id} has another body")) }
}

/// Compares a running server's `stats-job` with the model.
fn same_stats(model: &Model, id: JobId, reply: &Reply, at: u64) -> Result<(), String> {
    let job = model.jobs.get(&id);
    let Some((job, now)) = job.and_then(|job| Some((job, job.now.as_ref()?))) else {
        return Err(format!("job {id} should be gone: {reply}"));
    };
    let seen = JobSeen::new(reply.clone(), job.body.clone(), at, at);
    let state = match (now.reserved, now.place) {
        (Some(_), _) => "reserved",
        (None, Place::Ready) => "ready",
        (None, Place::Delayed(_)) => "delayed",
        (None, Place::Buried(_)) => "buried",
    };
    let counts = [now.reserves, now.timeouts, now.disconnects].map(u64::from);
    if job.is_same(&seen)
        && seen.is(state)
        && counts == ["reserves", "timeouts", "disconnects"].map(|key| seen.number(key))
    {
        return Ok(());
    }
    Err(format!("job {id} should be {state}, {counts:?}: {reply}: {job:?}"))
}
