//! What is kept in a directory, checked, or told record by record.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beanstalk_protocol::JobId;
use jq_engine::{DurableState, JobCounters, JobUpdate, Nanos, Policy, Record};
use serde_json::{Map, Value, json};

use crate::log::OpenError;
use crate::log::backup::segments_of;
use crate::log::binlog::format::StoredBody;
use crate::log::binlog::view::{View, attempt};
use crate::log::binlog::{body_name, segment_name, stored};

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    jobs: usize,
    records: u64,
    segments: usize,
    bytes: u64,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, records, segments, bytes } = self;
        writeln!(f, "sound: {jobs} jobs, {records} records in {segments} segments, {bytes} bytes")
    }
}

/// Reads everything that is kept in `dir` and changes nothing. A server may be working there.
pub fn check(dir: &Path, now: Nanos) -> Result<Checked, OpenError> {
    let path = segments_of(dir)?;
    let view = View::new(path.clone());
    let (engine, replayed) = attempt(|| view.replay(now, &mut |_, _, _, _| ()))
        .map_err(|error| OpenError::Replay(path.display().to_string(), error))?;
    Ok(Checked {
        jobs: engine.job_count(),
        records: replayed.records,
        segments: replayed.segments.len(),
        bytes: replayed.bytes(),
    })
}

/// Writes each record that is kept in `dir` as a line of JSON, in the order in which they were written,
/// up to the first that is damaged.
pub fn dump(dir: &Path, now: Nanos, out: impl Write) -> Result<(), OpenError> {
    let path = segments_of(dir)?;
    let view = View::new(path.clone());
    let mut lines = Lines { out: BufWriter::new(out), tubes: HashMap::new(), failed: Ok(()) };
    let failed = |error| OpenError::Replay(path.display().to_string(), error);
    // Otherwise a segment that is reclaimed just now would look like one that is missing.
    attempt(|| view.replay(now, &mut |_, _, _, _| ()))
        .map(|_| ())
        .or_else(|error| if error.is_incomplete() { Err(failed(error)) } else { Ok(()) })?;
    let told = view.replay(now, &mut |segment, offset, record, body| {
        let body = body.map(|body| (record.whole_job().map_or(0, |job| job.now.id), body));
        lines.tell(segment, offset, record, body.map(|(job, body)| Apart::read(&view, job, body)));
    });
    let flushed = lines.finish();
    told.map_err(failed)?;
    flushed.map_err(OpenError::Output)
}

/// A body that is in a file of its own.
struct Apart {
    file: String,
    /// `None` if the file is gone, because the job was deleted, or is not sound.
    body: Option<Box<[u8]>>,
}

impl Apart {
    fn read(view: &View, job: JobId, body: StoredBody) -> Self {
        Self { file: body_name(job), body: stored::read(view, job, body).ok() }
    }
}

struct Lines<W: Write> {
    out: BufWriter<W>,
    /// Of each job that there is.
    tubes: HashMap<JobId, String>,
    /// The first failure. Nothing is written after it.
    failed: io::Result<()>,
}

impl<W: Write> Lines<W> {
    fn tell(&mut self, segment: u64, offset: u64, record: &Record<'_>, apart: Option<Apart>) {
        if self.failed.is_err() {
            return;
        }
        let mut line = Map::new();
        line.insert("segment".into(), segment_name(segment).into());
        line.insert("offset".into(), offset.into());
        self.fields(record, apart, &mut line);
        self.failed = writeln!(self.out, "{}", Value::Object(line));
    }

    fn fields(&mut self, record: &Record<'_>, apart: Option<Apart>, line: &mut Map<String, Value>) {
        let mut set = |key: &str, value: Value| line.insert(key.into(), value);
        match record {
            Record::Put(job) | Record::Again(job) => {
                self.tubes.insert(job.now.id, job.tube.to_owned());
                set("record", "put".into());
                set("id", job.now.id.into());
                set("tube", job.tube.into());
                update(&job.now, line);
                line.insert("ttr".into(), job.ttr.into());
                line.insert("created".into(), seconds(job.created));
                let body = match &apart {
                    Some(Apart { file, body }) => {
                        line.insert("body_file".into(), file.as_str().into());
                        body.as_deref()
                    }
                    None => Some(job.body),
                };
                match body.map(std::str::from_utf8) {
                    None => line.insert("body".into(), Value::Null),
                    Some(Ok(text)) => line.insert("body".into(), text.into()),
                    Some(Err(_)) => {
                        let body = STANDARD.encode(body.unwrap_or_default());
                        line.insert("body_base64".into(), body.into())
                    }
                };
            }
            Record::Update(now) => {
                set("record", "update".into());
                set("id", now.id.into());
                set("tube", self.tube(now.id));
                update(now, line);
            }
            Record::Moved { tube, now } => {
                set("record", "moved".into());
                set("id", now.id.into());
                set("tube", (*tube).into());
                if let Some(known) = self.tubes.get_mut(&now.id) {
                    (*tube).clone_into(known);
                }
                update(now, line);
            }
            Record::Reserved(id) => self.event("reserved", *id, "ready", line),
            Record::TimedOut(id) => self.event("timed out", *id, "ready", line),
            Record::Kicked(id) => self.event("kicked", *id, "ready", line),
            Record::Disconnected(id) => self.event("disconnected", *id, "ready", line),
            Record::Delete(id) => {
                self.event("delete", *id, "deleted", line);
                self.tubes.remove(id);
            }
            Record::Cleared { tube, kept } => {
                let kept: HashSet<JobId> = kept.iter().collect();
                self.tubes.retain(|id, of| of != tube || kept.contains(id));
                let mut kept: Vec<JobId> = kept.into_iter().collect();
                kept.sort_unstable();
                set("record", "cleared".into());
                set("tube", (*tube).into());
                set("kept", kept.into());
            }
            Record::Tube { tube, settings } => {
                set("record", "tube".into());
                set("tube", (*tube).into());
                let pause = settings.pause.as_ref();
                let pause = pause
                    .map(|pause| json!({"seconds": pause.seconds, "until": seconds(pause.until)}));
                set("pause", pause.into());
                set("policy", settings.policy.as_ref().map(policy).into());
            }
            Record::Server(settings) => {
                set("record", "server".into());
                set("draining", settings.draining.into());
            }
        }
    }

    fn event(&self, record: &str, id: JobId, state: &str, line: &mut Map<String, Value>) {
        line.insert("record".into(), record.into());
        line.insert("id".into(), id.into());
        line.insert("tube".into(), self.tube(id));
        line.insert("state".into(), state.into());
    }

    /// `null` of a job that is gone.
    fn tube(&self, id: JobId) -> Value {
        self.tubes.get(&id).cloned().into()
    }

    fn finish(mut self) -> io::Result<()> {
        self.failed.and_then(|()| self.out.flush())
    }
}

fn update(now: &JobUpdate, line: &mut Map<String, Value>) {
    let mut set = |key: &str, value: Value| line.insert(key.into(), value);
    match now.state {
        DurableState::Ready => set("state", "ready".into()),
        DurableState::Delayed(until) => {
            set("state", "delayed".into());
            set("until", seconds(until))
        }
        DurableState::Buried(_) => set("state", "buried".into()),
    };
    set("priority", now.priority.into());
    set("delay", now.delay.into());
    let JobCounters { reserves, timeouts, releases, buries, kicks, disconnects } = now.counters;
    for (key, count) in [
        ("reserves", reserves),
        ("timeouts", timeouts),
        ("releases", releases),
        ("buries", buries),
        ("kicks", kicks),
        ("disconnects", disconnects),
    ] {
        set(key, count.into());
    }
}

/// Since 1970.
fn seconds(time: Nanos) -> Value {
    (time.0 as f64 / 1e9).into()
}

/// A policy, with the members that are set.
fn policy(policy: &Policy<&str>) -> Value {
    let Policy {
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
        from_file,
    } = *policy;
    let all = [
        ("max_jobs", max_jobs.map(Value::from)),
        ("max_bytes", max_bytes.map(Value::from)),
        ("max_reserves", max_reserves.map(Value::from)),
        ("max_timeouts", max_timeouts.map(Value::from)),
        ("max_disconnects", max_disconnects.map(Value::from)),
        ("dead_letter", dead_letter.map(Value::from)),
        ("expires", expires.map(Value::from)),
        ("unique", unique.then_some(true.into())),
        ("default_ttr", default_ttr.map(Value::from)),
        ("reserve_rate", reserve_rate.map(|rate| (f64::from(rate) / 1000.0).into())),
        ("from_file", from_file.then_some(true.into())),
    ];
    let set = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(set.collect())
}
