//! The encoding of records, for any log: a length, a checksum and the fact. `docs/binlog.md`
//! describes the format.
//!
//! All numbers are little-endian. Records follow one another; a length of zero means that nothing
//! was written there. Besides facts, there is one kind of record about the log itself, the mark,
//! for logs that are files.

mod fields;
pub mod settings;

use beanstalk_protocol::{MAX_JOB_SIZE, MAX_TUBE_NAME};
use crc32c::{crc32c, crc32c_append};
use jq_engine::{DurableState, JobCounters, JobIds, JobRecord, JobUpdate, Nanos, Pause, Record};
use jq_engine::{ServerSettings, TubeSettings};

pub(crate) use self::fields::Fields;
use self::settings::Newer;

/// The version of the format that is written.
///
/// A record means the same in every version. A new version means that there may be kinds of
/// records, or flags in them, that older releases do not know, or files beside the segments.
pub const VERSION: u32 = 4;

/// The oldest version that is read.
pub const OLDEST_VERSION: u32 = 1;

/// Size of the frame of each record, its length and checksum, in bytes.
pub const FRAME_LEN: usize = 8;

/// Size of a mark, including its frame, in bytes.
pub const MARK_LEN: usize = FRAME_LEN + 1 + 8;

/// Maximum size of a record about an existing job, including its frame, in bytes.
pub const SMALL_LEN: usize = FRAME_LEN + 1 + 8 + 4 + 4 + 1 + 8 + COUNTERS_LEN + 4;

/// Maximum size of the record of a move, including its frame, in bytes.
pub const MOVE_LEN: usize = SMALL_LEN + MAX_TUBE_NAME;

/// Maximum size of the record of a clearing without the ids in it, including its frame, in bytes.
pub const CLEAR_LEN: usize = FRAME_LEN + 1 + 1 + MAX_TUBE_NAME;

/// Size of the record of a deletion, including its frame, in bytes.
pub const DELETE_LEN: usize = FRAME_LEN + 1 + 8;

/// Size of the full record of a job without counters, excluding its tube's name and its body, in
/// bytes.
pub const JOB_LEN: usize = FRAME_LEN + 1 + 8 + 8 + 4 + 4 + 4 + 1 + 1;

/// Size of what a large put has in place of its body, in bytes.
pub const STORED_LEN: usize = 8;

/// Size of the counters that beanstalkd has too, in bytes.
const COUNTERS_LEN: usize = 20;

/// Maximum length of a record: the largest body, the longest name, and ample room for the rest.
const MAX_LEN: usize = MAX_JOB_SIZE as usize + 1024;

// The kind of a record: its first byte.
const PUT: u8 = 1;
const UPDATE: u8 = 2;
const RESERVED: u8 = 3;
const TIMED_OUT: u8 = 4;
const KICKED: u8 = 5;
const DELETE: u8 = 6;
/// Read but not written: version 1 has it in place of [`TUBE`].
const PAUSE: u8 = 7;
/// Read but not written: version 1 has it in place of [`SERVER`].
const DRAIN: u8 = 8;
const MARK: u8 = 9;
const TUBE: u8 = 10;
const SERVER: u8 = 11;
const DISCONNECTED: u8 = 12;
const MOVED: u8 = 13;
const CLEARED: u8 = 14;
const LARGE_PUT: u8 = 15;

// The flags of a job.
const STATE: u8 = 0b11;
const READY: u8 = 0;
const DELAYED: u8 = 1;
const BURIED: u8 = 2;
const HAS_COUNTERS: u8 = 0b100;
const HAS_DISCONNECTS: u8 = 0b1000;

/// Why bytes are invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// They end too early.
    Short,
    /// They do not begin like a segment.
    Magic,
    /// They have an unsupported version of the format.
    Version(u32),
    /// No record has this length.
    Length(u32),
    /// The checksum does not match.
    Checksum,
    /// The checksum matches, but the contents are invalid: written by other software or a newer
    /// version.
    Meaning,
    /// Some settings are unknown to this release: a newer one has written them.
    Newer(Newer),
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short => f.write_str("the file ends within it"),
            Self::Magic => f.write_str("it does not start with \"jqbinlog\""),
            Self::Version(version) => write!(
                f,
                "its format is version {version}; this release reads {OLDEST_VERSION} to {VERSION}"
            ),
            Self::Length(len) => write!(f, "its length, {len}, is invalid"),
            Self::Checksum => f.write_str("its checksum does not match"),
            Self::Meaning => f.write_str("its checksum matches, but its contents are invalid"),
            Self::Newer(newer) => newer.fmt(f),
        }
    }
}

/// A record as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A fact.
    Fact(Record<'a>),
    /// All there is to know of a job except its body, which the log stores apart from its records.
    LargePut(JobRecord<'a>, StoredBody),
    /// When this mark was written, everything in this segment before the offset was on disk.
    Mark(u64),
}

/// A body that a log stores apart from its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBody {
    /// Its length in bytes.
    pub len: u32,
    /// Its CRC-32C.
    pub crc: u32,
}

/// Appends a record, and returns its size in bytes.
pub fn encode(fact: &Record<'_>, out: &mut Vec<u8>) -> usize {
    match fact {
        Record::Put(job) | Record::Again(job) => record(out, PUT, |out| {
            put_job(job, out);
            out.extend_from_slice(job.body);
        }),
        Record::Update(update) => record(out, UPDATE, |out| put_update(out, update)),
        Record::Moved { tube, now } => record(out, MOVED, |out| {
            put_update(out, now);
            out.extend_from_slice(tube.as_bytes());
        }),
        Record::Reserved(id) => record(out, RESERVED, |out| out.extend(id.to_le_bytes())),
        Record::TimedOut(id) => record(out, TIMED_OUT, |out| out.extend(id.to_le_bytes())),
        Record::Kicked(id) => record(out, KICKED, |out| out.extend(id.to_le_bytes())),
        Record::Delete(id) => record(out, DELETE, |out| out.extend(id.to_le_bytes())),
        Record::Disconnected(id) => record(out, DISCONNECTED, |out| out.extend(id.to_le_bytes())),
        Record::Cleared { tube, kept } => record(out, CLEARED, |out| {
            put_name(tube, out);
            out.extend_from_slice(kept.as_bytes());
        }),
        Record::Tube { tube, settings } => {
            record(out, TUBE, |out| settings::encode_tube(tube, settings, out))
        }
        Record::Server(settings) => {
            record(out, SERVER, |out| settings::encode_server(settings, out))
        }
    }
}

/// Appends the record of a job whose body is stored apart, and returns its size in bytes.
pub fn encode_large_put(job: &JobRecord<'_>, body: StoredBody, out: &mut Vec<u8>) -> usize {
    record(out, LARGE_PUT, |out| {
        put_job(job, out);
        out.extend_from_slice(&body.len.to_le_bytes());
        out.extend_from_slice(&body.crc.to_le_bytes());
    })
}

/// Appends the record of a job, without its body, which must follow, and without its checksum,
/// which [`seal`] fills in. Returns the size of the record in bytes, including the body.
pub(crate) fn encode_before_body(job: &JobRecord<'_>, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_LEN]);
    out.push(PUT);
    put_job(job, out);
    let len = out.len() - start + job.body.len();
    // A body has at most a gigabyte.
    out[start..start + 4].copy_from_slice(&((len - FRAME_LEN) as u32).to_le_bytes());
    len
}

/// Fills in the checksum of a record that begins with these bytes and ends with this body.
pub(crate) fn seal(record: &mut [u8], body: &[u8]) {
    let (frame, payload) = record.split_at_mut(FRAME_LEN);
    let crc = crc32c_append(crc32c_append(crc32c(&frame[..4]), payload), body);
    frame[4..].copy_from_slice(&crc.to_le_bytes());
}

#[inline(always)]
fn put_job(job: &JobRecord<'_>, out: &mut Vec<u8>) {
    // Together, since each look at the buffer costs as much as several fields.
    let mut fields = [0; 28];
    fields[..8].copy_from_slice(&job.now.id.to_le_bytes());
    fields[8..16].copy_from_slice(&job.created.0.to_le_bytes());
    fields[16..20].copy_from_slice(&job.now.priority.to_le_bytes());
    fields[20..24].copy_from_slice(&job.now.delay.to_le_bytes());
    fields[24..].copy_from_slice(&job.ttr.to_le_bytes());
    out.extend_from_slice(&fields);
    let has_counters = job.now.counters != JobCounters::default();
    put_state(out, &job.now, has_counters);
    put_name(job.tube, out);
}

#[inline(always)]
fn put_name(tube: &str, out: &mut Vec<u8>) {
    // A name has at most 200 bytes.
    out.push(tube.len() as u8);
    out.extend_from_slice(tube.as_bytes());
}

fn put_update(out: &mut Vec<u8>, update: &JobUpdate) {
    out.extend_from_slice(&update.id.to_le_bytes());
    out.extend_from_slice(&update.priority.to_le_bytes());
    out.extend_from_slice(&update.delay.to_le_bytes());
    put_state(out, update, true);
}

/// Appends a mark.
pub fn encode_mark(synced: u64, out: &mut Vec<u8>) -> usize {
    record(out, MARK, |out| out.extend_from_slice(&synced.to_le_bytes()))
}

#[inline(always)]
fn put_state(out: &mut Vec<u8>, update: &JobUpdate, has_counters: bool) {
    let counters = if has_counters { counters_flags(&update.counters) } else { 0 };
    match update.state {
        DurableState::Ready => out.push(READY | counters),
        DurableState::Delayed(until) => {
            out.push(DELAYED | counters);
            out.extend_from_slice(&until.0.to_le_bytes());
        }
        DurableState::Buried(turn) => {
            out.push(BURIED | counters);
            out.extend_from_slice(&turn.to_le_bytes());
        }
    }
    if has_counters {
        put_counters(out, &update.counters);
    }
}

fn counters_flags(counters: &JobCounters) -> u8 {
    if counters.disconnects > 0 { HAS_COUNTERS | HAS_DISCONNECTS } else { HAS_COUNTERS }
}

/// Not inlined: most jobs have no counters.
#[inline(never)]
fn put_counters(out: &mut Vec<u8>, counters: &JobCounters) {
    let JobCounters { reserves, timeouts, releases, buries, kicks, disconnects } = *counters;
    for counter in [reserves, timeouts, releases, buries, kicks] {
        out.extend_from_slice(&counter.to_le_bytes());
    }
    if disconnects > 0 {
        out.extend_from_slice(&disconnects.to_le_bytes());
    }
}

/// Appends a record with this payload, whatever it means.
pub fn frame(payload: &[u8], out: &mut Vec<u8>) {
    put_frame(out, &[0; FRAME_LEN], |out| out.extend_from_slice(payload));
}

fn record(out: &mut Vec<u8>, kind: u8, fields: impl FnOnce(&mut Vec<u8>)) -> usize {
    let mut head = [0; FRAME_LEN + 1];
    head[FRAME_LEN] = kind;
    put_frame(out, &head, fields)
}

/// Appends a record that begins with these bytes, of which those of the frame are filled in.
#[inline(always)]
fn put_frame(out: &mut Vec<u8>, head: &[u8], payload: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.extend_from_slice(head);
    payload(out);
    // A body has at most a gigabyte.
    let len = ((out.len() - start - FRAME_LEN) as u32).to_le_bytes();
    let crc = crc32c_append(crc32c(&len), &out[start + FRAME_LEN..]);
    out[start..start + 4].copy_from_slice(&len);
    out[start + 4..start + FRAME_LEN].copy_from_slice(&crc.to_le_bytes());
    out.len() - start
}

/// What is at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// A record, and its size in bytes.
    Entry(Entry<'a>, usize),
    /// Possibly a record: this many bytes are needed to tell.
    Need(usize),
    /// A length of zero: nothing was written here.
    Nothing,
}

/// Reads the record at the beginning of `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Next<'_>, Damage> {
    Ok(match check(bytes)? {
        Checked::Sound(len) => Next::Entry(parse(&bytes[..len])?, len),
        Checked::Need(len) => Next::Need(len),
        Checked::Nothing => Next::Nothing,
    })
}

/// The result of [`check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// A valid record of this many bytes.
    Sound(usize),
    /// Possibly a record: this many bytes are needed to tell.
    Need(usize),
    /// A length of zero: nothing was written here.
    Nothing,
}

/// Checks the record at the beginning of `bytes`.
pub(crate) fn check(bytes: &[u8]) -> Result<Checked, Damage> {
    let Some((frame, rest)) = bytes.split_first_chunk::<FRAME_LEN>() else {
        return Ok(Checked::Need(FRAME_LEN));
    };
    let [len, crc] = [0, 4]
        .map(|at| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]));
    if len == 0 && crc == 0 {
        return Ok(Checked::Nothing);
    }
    if len == 0 || len as usize > MAX_LEN {
        return Err(Damage::Length(len));
    }
    let Some(payload) = rest.get(..len as usize) else {
        return Ok(Checked::Need(FRAME_LEN + len as usize));
    };
    if crc32c_append(crc32c(&len.to_le_bytes()), payload) != crc {
        return Err(Damage::Checksum);
    }
    Ok(Checked::Sound(FRAME_LEN + len as usize))
}

/// Decodes a record that was checked.
pub(crate) fn parse(record: &[u8]) -> Result<Entry<'_>, Damage> {
    let mut fields = Fields::new(record.get(FRAME_LEN..).ok_or(Damage::Short)?);
    let fact = match fields.u8()? {
        PUT => Record::Put(job(&mut fields)?),
        UPDATE => Record::Update(update(&mut fields)?),
        MOVED => {
            let now = update(&mut fields)?;
            Record::Moved { tube: fields.name(fields.len())?, now }
        }
        RESERVED => Record::Reserved(fields.u64()?),
        TIMED_OUT => Record::TimedOut(fields.u64()?),
        KICKED => Record::Kicked(fields.u64()?),
        DELETE => Record::Delete(fields.u64()?),
        PAUSE => {
            let (seconds, until) = (fields.u32()?, Nanos(fields.u64()?));
            let pause = (seconds > 0).then_some(Pause { seconds, until });
            Record::Tube {
                tube: fields.name(fields.len())?,
                settings: TubeSettings { pause, policy: None },
            }
        }
        DRAIN => Record::Server(ServerSettings { draining: fields.u8()? != 0 }),
        CLEARED => {
            let len = fields.u8()?;
            let tube = fields.name(usize::from(len))?;
            let (ids, rest) = fields.rest().as_chunks::<8>();
            if !rest.is_empty() {
                return Err(Damage::Meaning);
            }
            Record::Cleared { tube, kept: JobIds::new(ids) }
        }
        TUBE => {
            let (tube, settings) = settings::decode_tube(&mut fields)?;
            Record::Tube { tube, settings }
        }
        SERVER => Record::Server(settings::decode_server(&mut fields)?),
        DISCONNECTED => Record::Disconnected(fields.u64()?),
        MARK => return Ok(Entry::Mark(fields.u64()?)),
        LARGE_PUT => return large_put(&mut fields),
        _ => return Err(Damage::Meaning),
    };
    Ok(Entry::Fact(fact))
}

#[cold]
fn large_put<'a>(fields: &mut Fields<'a>) -> Result<Entry<'a>, Damage> {
    let job = job(fields)?;
    let mut stored = Fields::new(job.body);
    let body = StoredBody { len: stored.u32()?, crc: stored.u32()? };
    if stored.len() > 0 || body.len > MAX_JOB_SIZE {
        return Err(Damage::Meaning);
    }
    Ok(Entry::LargePut(JobRecord { body: &[], ..job }, body))
}

/// Always inlined: passing a whole job between functions costs more than reading it.
#[inline(always)]
fn job<'a>(fields: &mut Fields<'a>) -> Result<JobRecord<'a>, Damage> {
    let (id, created) = (fields.u64()?, Nanos(fields.u64()?));
    let (priority, delay, ttr) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (state, counters) = state(fields)?;
    let len = fields.u8()?;
    let tube = fields.name(usize::from(len))?;
    let body = fields.rest();
    let now = JobUpdate { id, priority, delay, state, counters };
    Ok(JobRecord { tube, created, ttr, now, body, shared: None })
}

fn update(fields: &mut Fields<'_>) -> Result<JobUpdate, Damage> {
    let (id, priority, delay) = (fields.u64()?, fields.u32()?, fields.u32()?);
    let (state, counters) = state(fields)?;
    Ok(JobUpdate { id, priority, delay, state, counters })
}

#[inline(always)]
fn state(fields: &mut Fields<'_>) -> Result<(DurableState, JobCounters), Damage> {
    let flags = fields.u8()?;
    let state = match flags & STATE {
        READY => DurableState::Ready,
        DELAYED => DurableState::Delayed(Nanos(fields.u64()?)),
        BURIED => DurableState::Buried(fields.u64()?),
        _ => return Err(Damage::Meaning),
    };
    let mut counters = JobCounters::default();
    if flags & HAS_COUNTERS != 0 {
        let JobCounters { reserves, timeouts, releases, buries, kicks, disconnects } =
            &mut counters;
        for counter in [reserves, timeouts, releases, buries, kicks] {
            *counter = fields.u32()?;
        }
        if flags & HAS_DISCONNECTS != 0 {
            *disconnects = fields.u32()?;
        }
    }
    Ok((state, counters))
}

/// Whether a record can begin with this byte.
pub(crate) fn is_kind(byte: u8) -> bool {
    (PUT..=LARGE_PUT).contains(&byte)
}
