//! Records for one segment that lie side by side, on their way from the book to the file.
//!
//! A large body is not copied among the others: the chunk ends with it, and shares it with the job. Its
//! checksum is made by the writer, so that nobody who waits for the queue waits for that.

use std::io;
use std::sync::Arc;

use beanstalk_protocol::JobId;
use jq_engine::{JobRecord, Record, Subject, growth};

use crate::log::Position;
use crate::log::binlog::disk::DiskFile;
use crate::log::binlog::format::{self, Entry, HEADER_LEN, Next, StoredBody};

/// A body from this many bytes on is shared rather than copied.
pub(crate) const LARGE_FROM: usize = 32 * 1024;

/// A chunk that has so many bytes takes no more records: what waits for a slow disk is in pieces, since there
/// may be no memory for a large one.
pub(crate) const MOST: usize = 512 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Which segment.
    pub(crate) segment: u64,
    /// Where in it.
    pub(crate) offset: u64,
    /// The records; of the last one only what comes before its body if that is large.
    pub(crate) bytes: Vec<u8>,
    large: Option<Large>,
    /// The end of the chunk in the log.
    pub(crate) end: Position,
}

/// The body of a chunk's last record.
#[derive(Debug, Clone)]
struct Large {
    id: JobId,
    /// Where in the chunk's bytes the record begins.
    at: usize,
    body: Arc<Box<[u8]>>,
    /// Whether its checksum is made.
    sealed: bool,
}

/// A record in a chunk.
#[derive(Debug)]
pub(crate) enum Stored<'a> {
    /// It is there as a whole: what it says, and its bytes.
    Whole(Entry<'a>, &'a [u8]),
    /// It has all there is to know of this job, and a large body.
    Large(JobId, &'a Chunk),
}

impl<'a> Stored<'a> {
    /// What the record is about, and whether it has all there is to know of a job; `None` for a mark.
    pub(crate) fn subject(&self) -> Option<(Subject<'a>, bool)> {
        match self {
            Self::Whole(Entry::Fact(fact), _) => Some((fact.subject(), fact.whole_job().is_some())),
            Self::Whole(Entry::LargePut(job, _), _) => Some((Subject::Job(job.now.id), true)),
            Self::Whole(Entry::Mark(_), _) => None,
            Self::Large(id, _) => Some((Subject::Job(*id), true)),
        }
    }

    /// Appends the record to chunks that lie one behind the other in a segment; there is one at least.
    pub(crate) fn append_to(&self, chunks: &mut Vec<Chunk>) {
        match self {
            Self::Whole(_, bytes) => append(chunks, |chunk| chunk.bytes.extend_from_slice(bytes)),
            Self::Large(_, from) => append(chunks, |chunk| chunk.take_large(from)),
        }
    }
}

/// Appends to chunks that lie one behind the other in a segment; there is one at least.
pub(crate) fn append(chunks: &mut Vec<Chunk>, push: impl FnOnce(&mut Chunk)) {
    if let Some(last) = chunks.last().filter(|last| !last.is_open()) {
        let next = Chunk::new(last.segment, last.offset_end(), Vec::new(), last.end);
        growth::push(chunks, next);
    }
    if let Some(last) = chunks.last_mut() {
        push(last);
    }
}

impl Chunk {
    /// An empty one, or one that begins with these bytes.
    pub(crate) fn new(segment: u64, offset: u64, bytes: Vec<u8>, end: Position) -> Self {
        Self { segment, offset, bytes, large: None, end }
    }

    /// How long it is.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.large.as_ref().map_or(0, |large| large.body.len())
    }

    /// Where it ends in its segment.
    pub(crate) fn offset_end(&self) -> u64 {
        self.offset + self.len() as u64
    }

    /// Whether more records can be appended.
    pub(crate) fn is_open(&self) -> bool {
        self.large.is_none() && self.bytes.len() < MOST
    }

    /// Appends a record to a chunk that is open. Returns how many bytes it takes.
    #[inline]
    pub(crate) fn push(&mut self, record: &Record<'_>) -> usize {
        debug_assert!(self.large.is_none(), "a large body is the end of a chunk");
        if let Some(job) = record.whole_job()
            && let Some(body) = job.shared.filter(|body| body.len() >= LARGE_FROM)
        {
            let at = self.bytes.len();
            let len = format::encode_before_body(job, &mut self.bytes);
            self.large = Some(Large { id: job.now.id, at, body: Arc::clone(body), sealed: false });
            return len;
        }
        format::encode(record, &mut self.bytes)
    }

    /// Appends the record of a job to a chunk that is open; its body is stored apart. Returns how many
    /// bytes it takes.
    pub(crate) fn push_large_put(&mut self, job: &JobRecord<'_>, body: StoredBody) -> usize {
        format::encode_large_put(job, body, &mut self.bytes)
    }

    /// Makes the checksum that is missing.
    pub(crate) fn seal(&mut self) {
        if let Some(large) = self.large.as_mut().filter(|large| !large.sealed) {
            format::seal(&mut self.bytes[large.at..], &large.body);
            large.sealed = true;
        }
    }

    /// Writes it to where it belongs in the file. It is sealed.
    pub(crate) fn write(&self, file: &dyn DiskFile) -> io::Result<()> {
        file.write_at(&self.bytes, self.offset)?;
        match &self.large {
            Some(large) => {
                debug_assert!(large.sealed, "the writer seals before it writes");
                file.write_at(&large.body, self.offset + self.bytes.len() as u64)
            }
            None => Ok(()),
        }
    }

    /// The same without the header that a segment's first chunk begins with, for this place in another
    /// segment.
    pub(crate) fn moved(mut self, segment: u64, offset: u64) -> Self {
        if self.offset == 0 {
            self.bytes.drain(..HEADER_LEN);
            if let Some(large) = &mut self.large {
                large.at -= HEADER_LEN;
            }
        }
        (self.segment, self.offset) = (segment, offset);
        self
    }

    /// Appends the last record of another chunk, whose body is large.
    fn take_large(&mut self, from: &Self) {
        if let Some(large) = &from.large {
            let at = self.bytes.len();
            self.bytes.extend_from_slice(&from.bytes[large.at..]);
            self.large = Some(Large { at, ..large.clone() });
        }
    }

    /// The records, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = Stored<'_>> {
        let start = if self.offset == 0 { HEADER_LEN } else { 0 };
        let end = self.large.as_ref().map_or(self.bytes.len(), |large| large.at);
        let mut rest = &self.bytes[start..end];
        let whole = std::iter::from_fn(move || {
            let Ok(Next::Entry(entry, len)) = format::decode(rest) else { return None };
            let (record, behind) = rest.split_at(len);
            rest = behind;
            Some(Stored::Whole(entry, record))
        });
        whole.chain(self.large.as_ref().map(|large| Stored::Large(large.id, self)))
    }
}
