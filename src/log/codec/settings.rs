//! The encoding of the settings of a tube or of the server.
//!
//! First comes the layout version, then, for a tube, its name, then a field for each setting that
//! is not the default: a tag, a length, and that many bytes. A new setting gets a new tag. A
//! release that does not know a tag cannot ignore it, so it refuses the record.

use std::fmt;

use beanstalk_protocol::MAX_TUBE_NAME;
use jq_engine::{Nanos, Pause, Policy, ServerSettings, TubeSettings};

use crate::log::codec::{Damage, Fields};

/// The layout version. It changes with the layout, but not when a setting is added.
const LAYOUT: u8 = 1;

/// Maximum size of settings, without a tube's name, in bytes.
pub(crate) const MAX_LEN: usize = 2 + FIELD_LEN + PAUSE_LEN + POLICY_LEN;

/// Size of the tag and the length of each field, in bytes.
const FIELD_LEN: usize = 2;
const PAUSE_LEN: usize = 4 + 8;
/// All fields of a policy: two numbers of 8 bytes, six of 4, a name, and two without a value.
const POLICY_LEN: usize = 11 * FIELD_LEN + 2 * 8 + 6 * 4 + MAX_TUBE_NAME;

// Tags of a tube's settings.
const PAUSE: u8 = 1;
const MAX_JOBS: u8 = 2;
const MAX_BYTES: u8 = 3;
const MAX_RESERVES: u8 = 4;
const MAX_TIMEOUTS: u8 = 5;
const MAX_DISCONNECTS: u8 = 6;
const DEAD_LETTER: u8 = 7;
const EXPIRES: u8 = 8;
const UNIQUE: u8 = 9;
const DEFAULT_TTR: u8 = 10;
const RESERVE_RATE: u8 = 11;
const FROM_FILE: u8 = 12;

// Tags of the server's settings.
const DRAINING: u8 = 1;

/// Something that a newer release has written and this one does not know.
///
/// Packed into one number, so that the results of functions that can fail with it stay small:
/// reading a log means reading millions of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newer(u32);

/// Whose settings a record contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Tube,
    Server,
}

impl Newer {
    /// Marks a layout version rather than a tag; either is in the lower byte.
    const LAYOUT: u32 = 1 << 8;
    /// Marks the server's settings rather than a tube's.
    const SERVER: u32 = 1 << 9;

    fn tag(owner: Owner, tag: u8) -> Damage {
        Damage::Newer(Self(u32::from(tag) | Self::of(owner)))
    }

    fn layout(owner: Owner, layout: u8) -> Damage {
        Damage::Newer(Self(u32::from(layout) | Self::LAYOUT | Self::of(owner)))
    }

    fn of(owner: Owner) -> u32 {
        match owner {
            Owner::Tube => 0,
            Owner::Server => Self::SERVER,
        }
    }
}

impl fmt::Display for Newer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.0 & Self::SERVER == 0 { "a tube's" } else { "the server's" };
        let what = if self.0 & Self::LAYOUT == 0 { "with the tag" } else { "in layout version" };
        let value = self.0 & 0xFF;
        write!(f, "{whose} settings, {what} {value}, which this release does not know")
    }
}

pub(crate) fn encode_tube(name: &str, settings: &TubeSettings<'_>, out: &mut Vec<u8>) {
    let TubeSettings { pause, policy } = settings;
    out.push(LAYOUT);
    // A name has at most 200 bytes.
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
    if let Some(Pause { seconds, until }) = pause {
        out.extend_from_slice(&[PAUSE, PAUSE_LEN as u8]);
        out.extend_from_slice(&seconds.to_le_bytes());
        out.extend_from_slice(&until.0.to_le_bytes());
    }
    if let Some(policy) = policy {
        encode_policy(policy, out);
    }
}

fn encode_policy(policy: &Policy<&str>, out: &mut Vec<u8>) {
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
    for (tag, value) in [(MAX_JOBS, max_jobs), (MAX_BYTES, max_bytes)] {
        if let Some(value) = value {
            put(tag, &value.to_le_bytes(), out);
        }
    }
    let numbers = [
        (MAX_RESERVES, max_reserves),
        (MAX_TIMEOUTS, max_timeouts),
        (MAX_DISCONNECTS, max_disconnects),
        (EXPIRES, expires),
        (DEFAULT_TTR, default_ttr),
        (RESERVE_RATE, reserve_rate),
    ];
    for (tag, value) in numbers {
        if let Some(value) = value {
            put(tag, &value.to_le_bytes(), out);
        }
    }
    if let Some(name) = dead_letter {
        put(DEAD_LETTER, name.as_bytes(), out);
    }
    if unique {
        put(UNIQUE, &[], out);
    }
    if from_file {
        put(FROM_FILE, &[], out);
    }
}

/// Appends a field. No value has more than 200 bytes.
fn put(tag: u8, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag, value.len() as u8]);
    out.extend_from_slice(value);
}

pub(crate) fn decode_tube<'a>(
    fields: &mut Fields<'a>,
) -> Result<(&'a str, TubeSettings<'a>), Damage> {
    read_layout(Owner::Tube, fields)?;
    let len = fields.u8()?;
    let name = fields.name(usize::from(len))?;
    let mut settings = TubeSettings::default();
    each_setting(Owner::Tube, fields, |tag, value| match tag {
        PAUSE => {
            let (seconds, until) = (value.u32()?, Nanos(value.u64()?));
            settings.pause = Some(Pause { seconds, until });
            Ok(true)
        }
        _ => {
            let policy = settings.policy.get_or_insert_default();
            decode_policy(policy, tag, value)
        }
    })?;
    Ok((name, settings))
}

/// Reads a setting of a policy. Returns whether the tag is that of one.
fn decode_policy<'a>(
    policy: &mut Policy<&'a str>,
    tag: u8,
    value: &mut Fields<'a>,
) -> Result<bool, Damage> {
    match tag {
        MAX_JOBS => policy.max_jobs = Some(value.u64()?),
        MAX_BYTES => policy.max_bytes = Some(value.u64()?),
        MAX_RESERVES => policy.max_reserves = Some(value.u32()?),
        MAX_TIMEOUTS => policy.max_timeouts = Some(value.u32()?),
        MAX_DISCONNECTS => policy.max_disconnects = Some(value.u32()?),
        DEAD_LETTER => policy.dead_letter = Some(value.name(value.len())?),
        EXPIRES => policy.expires = Some(value.u32()?),
        UNIQUE => policy.unique = true,
        DEFAULT_TTR => policy.default_ttr = Some(value.u32()?),
        RESERVE_RATE => policy.reserve_rate = Some(value.u32()?),
        FROM_FILE => policy.from_file = true,
        _ => return Ok(false),
    }
    Ok(true)
}

pub(crate) fn encode_server(settings: &ServerSettings, out: &mut Vec<u8>) {
    let ServerSettings { draining } = settings;
    out.push(LAYOUT);
    if *draining {
        out.extend_from_slice(&[DRAINING, 0]);
    }
}

pub(crate) fn decode_server(fields: &mut Fields<'_>) -> Result<ServerSettings, Damage> {
    read_layout(Owner::Server, fields)?;
    let mut settings = ServerSettings::default();
    each_setting(Owner::Server, fields, |tag, _| {
        match tag {
            DRAINING => settings.draining = true,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(settings)
}

fn read_layout(owner: Owner, fields: &mut Fields<'_>) -> Result<(), Damage> {
    match fields.u8()? {
        LAYOUT => Ok(()),
        layout => Err(Newer::layout(owner, layout)),
    }
}

/// Passes each setting to `take`, which returns whether it knows the tag, and must read the whole
/// value.
fn each_setting<'a>(
    owner: Owner,
    fields: &mut Fields<'a>,
    mut take: impl FnMut(u8, &mut Fields<'a>) -> Result<bool, Damage>,
) -> Result<(), Damage> {
    while fields.len() > 0 {
        let (tag, len) = (fields.u8()?, fields.u8()?);
        let mut value = Fields::new(fields.bytes(usize::from(len))?);
        if !take(tag, &mut value)? {
            return Err(Newer::tag(owner, tag));
        }
        if value.len() > 0 {
            return Err(Damage::Meaning);
        }
    }
    Ok(())
}
