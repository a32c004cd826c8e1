//! The format of beanstalkd's files: the layout and padding of C structs on a 64-bit little-endian
//! machine.
//!
//! A file begins with its version, 4 bytes. A record of version 7 consists of the length of a
//! tube's name (4 bytes), the name, 80 bytes about the job, and its body with CRLF. If the length
//! is 0, there is no name and no body: the record updates a job that an earlier record describes in
//! full. Version 5, of older releases, has a length of 8 bytes, 77 bytes about the job, and
//! microseconds where version 7 has nanoseconds.

use std::fmt;

use beanstalk_protocol::{BadTubeName, JobId, MAX_JOB_SIZE, Priority, Seconds, TubeName};
use jq_engine::{DurableState, JobCounters, JobRecord, Nanos};

/// Size of the version at the beginning of each file, in bytes.
pub(super) const VERSION_LEN: usize = 4;

/// The version that is written.
pub(super) const VERSION_7: u32 = 7;

/// Size of the fields of a job in version 7, in bytes.
const JOB_LEN: usize = 80;

/// Offset in these fields of the end of the body's size.
pub(super) const BODY_SIZE_END: usize = 36;

/// Offset in these fields of the job's state; only padding follows.
pub(super) const STATE_AT: usize = 76;

/// Ends every body.
pub(super) const CRLF: &[u8] = b"\r\n";

/// beanstalkd's states.
const INVALID: u8 = 0;
const READY: u8 = 1;
const RESERVED: u8 = 2;
const BURIED: u8 = 3;
const DELAYED: u8 = 4;

/// How the records of a file are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Five,
    Seven,
}

impl Version {
    pub(super) fn of(number: u32) -> Result<Self, Damage> {
        match number {
            5 => Ok(Self::Five),
            VERSION_7 => Ok(Self::Seven),
            other => Err(Damage::Version(other)),
        }
    }

    /// Size of the length of a tube's name, in bytes.
    pub(super) fn name_len_len(self) -> usize {
        match self {
            Self::Five => 8,
            Self::Seven => 4,
        }
    }

    /// Size of the fields of a job, in bytes.
    pub(super) fn job_len(self) -> usize {
        match self {
            Self::Five => STATE_AT + 1,
            Self::Seven => JOB_LEN,
        }
    }

    /// Its unit of time, in nanoseconds.
    fn unit(self) -> u64 {
        match self {
            Self::Five => 1000,
            Self::Seven => 1,
        }
    }
}

/// Why bytes are not valid records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The file has an unsupported version.
    Version(u32),
    /// The file ends within a record, which beanstalkd's files never do.
    Short,
    /// No tube's name is that long.
    NameLength(u64),
    /// This is not a valid tube name.
    Name(BadTubeName),
    /// This value is invalid.
    Value(&'static str, i64),
    /// The bytes after a body are not CRLF.
    BodyEnd,
    /// It contradicts an earlier record of the same job.
    Contradiction,
    /// There is something after the end of the records.
    BehindEnd,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version} is neither 7 nor 5"),
            Self::Short => f.write_str("the file ends within it"),
            Self::NameLength(len) => write!(f, "no tube's name has {len} bytes"),
            Self::Name(error) => write!(f, "the name of its tube: {error}"),
            Self::Value(what, value) => write!(f, "its {what} is {value}"),
            Self::BodyEnd => f.write_str("its body does not end with CRLF"),
            Self::Contradiction => f.write_str("it contradicts an earlier record of the same job"),
            Self::BehindEnd => f.write_str("it has no id, but more data follows"),
        }
    }
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Deleted,
    Ready,
    Buried,
    Delayed(Nanos),
}

/// The fields of a job that every record has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) id: JobId,
    pub(super) priority: Priority,
    pub(super) delay: Seconds,
    pub(super) ttr: Seconds,
    /// Size of the body without CRLF, in bytes.
    pub(super) body_len: usize,
    pub(super) created: Nanos,
    pub(super) counters: JobCounters,
    pub(super) state: State,
}

/// Reads numbers from the front of bytes, whose length the caller has checked.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn bytes<const LEN: usize>(&mut self) -> [u8; LEN] {
        let (first, rest) = self.0.split_first_chunk().expect("the caller has checked the length");
        self.0 = rest;
        *first
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.bytes())
    }

    /// Skips the padding that C inserts before a number of 8 bytes.
    fn skip_padding(&mut self) {
        self.bytes::<4>();
    }
}

/// The length of a tube's name.
pub(super) fn name_len(version: Version, bytes: &[u8]) -> u64 {
    let mut numbers = Numbers(bytes);
    match version {
        Version::Five => u64::from_le_bytes(numbers.bytes()),
        Version::Seven => u64::from(numbers.u32()),
    }
}

/// The id in the fields of a job; 0 if nothing was written there.
pub(super) fn id(bytes: &[u8]) -> JobId {
    u64::from_le_bytes(Numbers(bytes).bytes())
}

/// Reads the fields of a job, which are [`Version::job_len`] bytes.
pub(super) fn fields(version: Version, bytes: &[u8]) -> Result<Fields, Damage> {
    let mut numbers = Numbers(bytes);
    let id = numbers.i64();
    let priority = numbers.u32();
    numbers.skip_padding();
    let (delay, ttr) = (numbers.i64(), numbers.i64());
    let body_size = i64::from(numbers.u32().cast_signed());
    numbers.skip_padding();
    let (created, deadline) = (numbers.i64(), numbers.i64());
    let counters = JobCounters {
        reserves: numbers.u32(),
        timeouts: numbers.u32(),
        releases: numbers.u32(),
        buries: numbers.u32(),
        kicks: numbers.u32(),
        disconnects: 0,
    };
    let [state] = numbers.bytes();
    let nanos = |what, value: i64| match u64::try_from(value) {
        Ok(value) => Ok(Nanos(value.saturating_mul(version.unit()))),
        Err(_) => Err(Damage::Value(what, value)),
    };
    let seconds = |what, value| {
        let whole = nanos(what, value)?.0.div_ceil(Nanos::from_secs(1).0);
        Seconds::try_from(whole).map_err(|_| Damage::Value(what, value))
    };
    let body_len = usize::try_from(body_size).ok().and_then(|size| size.checked_sub(CRLF.len()));
    let body_len = body_len.filter(|len| *len <= MAX_JOB_SIZE as usize);
    Ok(Fields {
        id: JobId::try_from(id).map_err(|_| Damage::Value("id", id))?,
        priority,
        delay: seconds("delay", delay)?,
        ttr: seconds("time to run", ttr)?,
        body_len: body_len.ok_or(Damage::Value("size of its body", body_size))?,
        created: nanos("time of its creation", created)?,
        counters,
        state: match state {
            INVALID => State::Deleted,
            // No connection is left that could have it reserved.
            READY | RESERVED => State::Ready,
            BURIED => State::Buried,
            DELAYED => State::Delayed(nanos("deadline", deadline)?),
            other => return Err(Damage::Value("state", other.into())),
        },
    })
}

/// Checks the name of a tube.
pub(super) fn tube_name(bytes: &[u8]) -> Result<TubeName, Damage> {
    TubeName::new(bytes).map_err(Damage::Name)
}

/// Writes a job in full, as a record of version 7.
pub(super) fn encode_job(job: &JobRecord<'_>, out: &mut Vec<u8>) {
    let (state, deadline) = match job.now.state {
        DurableState::Ready => (READY, Nanos(0)),
        DurableState::Delayed(until) => (DELAYED, until),
        DurableState::Buried(_) => (BURIED, Nanos(0)),
    };
    // At most 200 bytes.
    out.extend_from_slice(&(job.tube.len() as u32).to_le_bytes());
    out.extend_from_slice(job.tube.as_bytes());
    encode_fields(job, state, deadline, out);
    out.extend_from_slice(job.body);
    out.extend_from_slice(CRLF);
}

/// Writes the deletion of a job, as a record of version 7.
pub(super) fn encode_deleted(job: &JobRecord<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&0_u32.to_le_bytes());
    encode_fields(job, INVALID, Nanos(0), out);
}

fn encode_fields(job: &JobRecord<'_>, state: u8, deadline: Nanos, out: &mut Vec<u8>) {
    let now = &job.now;
    let padding = [0; 4];
    out.extend_from_slice(&now.id.to_le_bytes());
    out.extend_from_slice(&now.priority.to_le_bytes());
    out.extend_from_slice(&padding);
    out.extend_from_slice(&signed(Nanos(0).after(now.delay)).to_le_bytes());
    out.extend_from_slice(&signed(Nanos(0).after(job.ttr)).to_le_bytes());
    // A body has at most a gigabyte.
    out.extend_from_slice(&((job.body.len() + CRLF.len()) as u32).to_le_bytes());
    out.extend_from_slice(&padding);
    out.extend_from_slice(&signed(job.created).to_le_bytes());
    out.extend_from_slice(&signed(deadline).to_le_bytes());
    // There is no place for disconnects.
    let JobCounters { reserves, timeouts, releases, buries, kicks, disconnects: _ } = now.counters;
    for count in [reserves, timeouts, releases, buries, kicks] {
        out.extend_from_slice(&count.to_le_bytes());
    }
    out.extend_from_slice(&[state, 0, 0, 0]);
}

/// As beanstalkd stores it. A time beyond its range never comes.
fn signed(time: Nanos) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}
