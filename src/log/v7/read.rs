//! From the bytes of a file to its records.
//!
//! beanstalkd preallocates files with zeros, and writes a record in up to four pieces. So the
//! records end where only zeros follow, and if beanstalkd was killed, the zeros may begin within a
//! record. No client was told of such a record. As beanstalkd begins another file when it is
//! restarted, any file can end like that, not only the last one.

use beanstalk_protocol::{MAX_TUBE_NAME, TubeName};

use super::format::{self, CRLF, Damage, Fields, State, VERSION_LEN, Version};

/// A record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) fields: Fields,
    /// Only in a full record: the tube and the body.
    pub(super) whole: Option<(TubeName, &'a [u8])>,
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    Record(Found<'a>),
    /// The end of the records.
    End,
    /// The last record was not completely written.
    Torn,
}

/// Reads the records of a file one after another.
#[derive(Debug)]
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    version: Version,
    /// Where the next record begins.
    offset: usize,
    /// The end of the last byte that is not zero.
    written: usize,
}

impl<'a> Records<'a> {
    /// Reads a file with these bytes. `None` if it was preallocated and nothing was written to it.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Option<Self>, Damage> {
        let Some(written) = bytes.iter().rposition(|byte| *byte != 0).map(|last| last + 1) else {
            return Ok(None);
        };
        let (version, _) = bytes.split_first_chunk::<VERSION_LEN>().ok_or(Damage::Short)?;
        let version = Version::of(u32::from_le_bytes(*version))?;
        Ok(Some(Self { bytes, version, offset: VERSION_LEN, written }))
    }

    /// Where the next record begins.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// Whether only zeros follow.
    pub(super) fn is_at_end(&self) -> bool {
        self.offset >= self.written
    }

    /// The next record.
    pub(super) fn next(&mut self) -> Result<Next<'a>, Damage> {
        if self.is_at_end() {
            return Ok(Next::End);
        }
        let mut at = self.offset;
        let name_len =
            format::name_len(self.version, self.take(&mut at, self.version.name_len_len())?);
        let len = usize::try_from(name_len).ok().filter(|len| *len <= MAX_TUBE_NAME);
        let name = self.take(&mut at, len.ok_or(Damage::NameLength(name_len))?)?;
        let job_at = at;
        let job = self.take(&mut at, self.version.job_len())?;
        if format::id(job) == 0 {
            return if self.written <= job_at { Ok(Next::Torn) } else { Err(Damage::BehindEnd) };
        }
        let is_written = |until: usize| self.written > job_at + until;
        let fields = match format::fields(self.version, job) {
            Ok(fields) => fields,
            Err(_) if !is_written(format::BODY_SIZE_END) => return Ok(Next::Torn),
            Err(damage) => return Err(damage),
        };
        if fields.state == State::Deleted && !name.is_empty() {
            // A new job is never deleted: its state was not written.
            let torn = !is_written(format::STATE_AT);
            return if torn { Ok(Next::Torn) } else { Err(Damage::Value("state", 0)) };
        }
        let mut whole = None;
        if !name.is_empty() {
            let tube = format::tube_name(name)?;
            let body = self.take(&mut at, fields.body_len)?;
            let end = self.take(&mut at, CRLF.len())?;
            if end != CRLF {
                return if self.written < at { Ok(Next::Torn) } else { Err(Damage::BodyEnd) };
            }
            whole = Some((tube, body));
        }
        self.offset = at;
        Ok(Next::Record(Found { fields, whole }))
    }

    fn take(&self, at: &mut usize, len: usize) -> Result<&'a [u8], Damage> {
        let taken = self.bytes[*at..].get(..len).ok_or(Damage::Short)?;
        *at += len;
        Ok(taken)
    }
}
