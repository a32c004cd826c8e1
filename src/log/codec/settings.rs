//! The bytes of settings: what is set for a tube, or for the server.
//!
//! A version comes first, then (of a tube) the name, then a field for each setting that is not the
//! default: a tag, a length and so many bytes. A setting that is added gets a new tag. A release
//! that does not know a tag must not go on without what it says, and refuses.

use std::fmt;

use jq_engine::{Nanos, Pause, ServerSettings, TubeSettings};

use crate::log::codec::{Damage, Fields};

/// How settings are laid out. Another layout gets another number; another setting does not.
const LAYOUT: u8 = 1;

/// Most bytes of settings, besides a tube's name.
pub(crate) const MAX_LEN: usize = 2 + FIELD_LEN + PAUSE_LEN;

/// Bytes in front of each field.
const FIELD_LEN: usize = 2;
const PAUSE_LEN: usize = 4 + 8;

// Tags of a tube's settings.
const PAUSE: u8 = 1;

// Tags of the server's settings.
const DRAINING: u8 = 1;

/// What a newer release has written that this one does not know.
///
/// One number, so that whatever may fail with it stays small: reading a log comes to millions of
/// fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newer(u32);

/// Whose settings a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Tube,
    Server,
}

impl Newer {
    /// Stands for a layout in place of a tag, which have the lower byte.
    const LAYOUT: u32 = 1 << 8;
    /// Stands for the server's settings in place of a tube's.
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
        let what = if self.0 & Self::LAYOUT == 0 { "with one of kind" } else { "in version" };
        let value = self.0 & 0xFF;
        write!(f, "{whose} settings, {what} {value}, which is unknown to this release")
    }
}

pub(crate) fn encode_tube(name: &str, settings: &TubeSettings, out: &mut Vec<u8>) {
    let TubeSettings { pause } = settings;
    out.push(LAYOUT);
    // A name has 200 bytes at most.
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
    if let Some(Pause { seconds, until }) = pause {
        out.extend_from_slice(&[PAUSE, PAUSE_LEN as u8]);
        out.extend_from_slice(&seconds.to_le_bytes());
        out.extend_from_slice(&until.0.to_le_bytes());
    }
}

pub(crate) fn decode_tube<'a>(fields: &mut Fields<'a>) -> Result<(&'a str, TubeSettings), Damage> {
    read_layout(Owner::Tube, fields)?;
    let len = fields.u8()?;
    let name = fields.name(usize::from(len))?;
    let mut settings = TubeSettings::default();
    each_setting(Owner::Tube, fields, |tag, value| {
        match tag {
            PAUSE => {
                let (seconds, until) = (value.u32()?, Nanos(value.u64()?));
                settings.pause = Some(Pause { seconds, until });
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((name, settings))
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

/// Hands each setting to `take`, which says whether it knows its tag, and must read all of it.
fn each_setting(
    owner: Owner,
    fields: &mut Fields<'_>,
    mut take: impl FnMut(u8, &mut Fields<'_>) -> Result<bool, Damage>,
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
