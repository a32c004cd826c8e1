//! Reclaiming the oldest segment: what is still true of it is recorded once more, then it goes.
//!
//! Always the oldest, whatever is in it: so no segment that remains is older than one that is gone,
//! and a delete can be forgotten with its segment, since the put is in the same or in an older one.
//! Disk use stays bounded because a round through all segments copies only what is live, and begins
//! only when there is less of that than of what is dead.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};

use beanstalk_protocol::JobId;
use jq_engine::{Cursor, Engine, PageSize, Record, SegmentRef, Sink, Subject};

use crate::log::Position;
use crate::log::binlog::book::Health;
use crate::log::binlog::disk::{Disk, DiskFile};
use crate::log::binlog::format::{Entry, HEADER_LEN, Header};
use crate::log::binlog::manifest::Manifest;
use crate::log::binlog::options::Options;
use crate::log::binlog::read::{Found, SegmentReader};
use crate::log::binlog::segments::Segment;
use crate::log::binlog::{Book, lock, segment_name};

/// Facts that are looked at in one step.
const STEP_FACTS: usize = 256;

/// Bytes that are read in one step, at most, unless a single record has more.
const STEP_BYTES: u64 = 256 * 1024;

/// Segments that are removed at once, when nothing in them is live.
const AT_ONCE: usize = 16;

/// Of a segment that cannot be read, so much is looked for in memory under one lock.
const AT_A_TIME: PageSize = PageSize { items: 64, looks: 10_000 };

/// Something that may have to be recorded once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// What is to be known of this job.
    Job(JobId),
    /// The same, unless its record is in one of the segments behind the first of these numbers, up
    /// to the second: then this is what is left of a failure or a restart, and needed no more.
    Old(JobId, u64, u64),
    /// What is set for this tube.
    Tube(String),
    /// What is set for the server.
    Server,
    /// Everything that the book has in the segment of this number, from this job on: it cannot be read.
    All(u64, Cursor),
}

impl Fact {
    /// What may have to be recorded once more when the segment of this number, where the record is,
    /// is reclaimed; `last` is the last segment that there is. `None` if that is told by another
    /// record.
    fn of(record: &Record<'_>, number: u64, last: u64) -> Option<Self> {
        match record.subject() {
            Subject::Job(id) => record.whole_job().map(|_| Self::Old(id, number, last)),
            // Puts from before it are in the same segment or in an older one.
            Subject::Jobs(_) => None,
            Subject::Tube(tube) => Some(Self::Tube(tube.to_owned())),
            Subject::Server => Some(Self::Server),
        }
    }

    /// Has the engine record it once more in `sink`, as far as it is true. Returns what is left of it, if it
    /// is too much for one go.
    #[must_use]
    pub fn record_again(&self, engine: &mut Engine, mut sink: &mut dyn Sink) -> Option<Self> {
        let sink = &mut sink;
        match self {
            Self::Job(id) => {
                engine.record_again(*id, sink);
            }
            Self::Old(id, oldest, last) => {
                let number = engine.segment_of(*id).map(|segment| segment.number(*oldest));
                if !number.is_some_and(|number| number > *oldest && number <= *last) {
                    engine.record_again(*id, sink);
                }
            }
            Self::Tube(tube) => engine.record_tube_again(tube, sink),
            Self::Server => engine.record_server_again(sink),
            Self::All(number, from) => {
                let some = engine.jobs_in(SegmentRef::of(*number), *from, AT_A_TIME);
                for id in some.items {
                    engine.record_again(id, sink);
                }
                if let Some(next) = some.next {
                    return Some(Self::All(*number, next));
                }
                for tube in engine.tubes_with_settings() {
                    engine.record_tube_again(&tube, sink);
                }
                engine.record_server_again(sink);
            }
        }
        None
    }
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Idle,
    /// To record these facts once more, as far as they are true, and to come back.
    Again(Vec<Fact>),
    /// To come back when everything up to this position is durable.
    Await(Position),
}

/// The segment that is being reclaimed.
#[derive(Debug)]
struct Victim {
    number: u64,
    /// Those up to this number go with it: nothing in them is live.
    through: u64,
    /// `None` when all of it was read.
    reader: Option<SegmentReader>,
    /// What must be durable before it goes, when all was read.
    after: Option<Position>,
    /// The setbacks of the log when it was begun. Facts that were to be recorded once more may be lost
    /// in one, so it is begun again then.
    setbacks: u64,
    /// What is set for these was in it, and is recorded once more: tubes, and the server without a name.
    settings: HashSet<Option<String>>,
}

#[derive(Debug)]
pub(crate) struct Compactor {
    disk: Arc<dyn Disk>,
    manifest: Arc<Manifest>,
    options: Options,
    victim: Option<Victim>,
    /// Bytes that the last step has read.
    read: u64,
}

impl Compactor {
    pub(crate) fn new(disk: Arc<dyn Disk>, manifest: Arc<Manifest>, options: Options) -> Self {
        Self { disk, manifest, options, victim: None, read: 0 }
    }

    /// What the facts of the last step take at most when they are recorded once more, in bytes.
    pub(crate) fn copies(&self) -> u64 {
        self.read
    }

    /// The segment that is being reclaimed stays for now.
    pub(crate) fn abandon(&mut self) {
        self.victim = None;
    }

    /// Does a small part of the work.
    pub(crate) fn step(&mut self, book: &Mutex<Book>) -> io::Result<Step> {
        self.read = 0;
        let (oldest, wanted, durable, setbacks, last) = {
            let book = lock(book);
            if matches!(book.health(), Health::Failed(_)) {
                return Ok(Step::Idle);
            }
            let (oldest, wanted) = (book.oldest_sealed(), book.wants_compaction());
            (oldest, wanted, book.durable(), book.setbacks(), book.last().number)
        };
        let Some(oldest) = oldest else {
            self.victim = None;
            return Ok(Step::Idle);
        };
        let full = matches!(lock(book).health(), Health::Full(_));
        if full && !wanted {
            // What it would still take is room for deletes.
            self.victim = None;
            return Ok(Step::Idle);
        }
        let is_begun =
            |victim: &Victim| (victim.number, victim.setbacks) == (oldest.number, setbacks);
        if !self.victim.as_ref().is_some_and(is_begun) {
            if !wanted {
                return Ok(Step::Idle);
            }
            if let Some(position) = lock(book).awaits(oldest.number) {
                return Ok(Step::Await(position));
            }
            let through = oldest.number;
            self.victim = Some(Victim {
                number: through,
                through,
                reader: None,
                setbacks,
                after: None,
                settings: HashSet::new(),
            });
            // Of one without its header, all that counts is in another.
            if oldest.live + oldest.notes > 0 && oldest.bytes > HEADER_LEN as u64 {
                return Ok(self.open(oldest.number, oldest.bytes));
            }
        }
        let Some(victim) = &mut self.victim else { return Ok(Step::Idle) };
        if let Some(reader) = &mut victim.reader {
            let start = reader.offset();
            // Should the disk be full when they are written, the reserve has room for them.
            let bytes = STEP_BYTES.min(self.options.reserve() / 2);
            let mut facts = scan(reader, start + bytes, oldest.number, last);
            self.read = reader.offset() - start;
            // However often something was set: or else as many records as there once were would be
            // recorded again for ever.
            if let Some(facts) = &mut facts {
                facts.retain(|fact| {
                    let name = match fact {
                        Fact::Tube(tube) => Some(tube.clone()),
                        Fact::Server => None,
                        Fact::Job(_) | Fact::Old(..) | Fact::All(..) => return true,
                    };
                    let is_first = victim.settings.insert(name.clone());
                    if is_first {
                        lock(book).forget_set(name.as_deref());
                    }
                    is_first
                });
            }
            return Ok(match facts {
                Some(facts) if !facts.is_empty() || !reader.is_done() => Step::Again(facts),
                Some(_) => {
                    victim.reader = None;
                    Step::Again(Vec::new())
                }
                // The disk has lost it; the memory has not.
                None => {
                    tracing::error!(
                        segment = victim.number,
                        "a binlog segment is damaged; writing what was in it from memory"
                    );
                    victim.reader = None;
                    Step::Again(vec![Fact::All(victim.number, Cursor::default())])
                }
            });
        }
        let after = match victim.after {
            Some(after) => after,
            None => {
                let book = lock(book);
                victim.through = book.dead_through(victim.number, AT_ONCE);
                // What made them obsolete was appended before.
                *victim.after.insert(book.position())
            }
        };
        if after > durable {
            return Ok(Step::Await(after));
        }
        let through = victim.through;
        self.victim = None;
        self.reclaim(through, book)?;
        Ok(Step::Again(Vec::new()))
    }

    /// Removes the oldest segments, up to this number: one sync of the manifest and one of the directory
    /// for all of them.
    fn reclaim(&self, through: u64, book: &Mutex<Book>) -> io::Result<()> {
        let segments = lock(book).sealed_through(through);
        self.manifest.reclaim_before(lock(book).number_behind(through))?;
        for segment in &segments {
            match self.disk.remove(&segment_name(segment.number)) {
                // The last attempt may have got so far.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.options.policy.syncs() {
            // Before others go: the order in which they vanish matters, should the manifest be lost.
            self.disk.sync()?;
        }
        let mut book = lock(book);
        for segment in segments {
            book.drop_oldest();
            let Segment { number, bytes, live, .. } = segment;
            tracing::debug!(segment = number, bytes, live, "a binlog segment is reclaimed");
        }
        Ok(())
    }

    fn open(&mut self, number: u64, bytes: u64) -> Step {
        let opened = self.disk.open(&segment_name(number)).and_then(|file| {
            let mut header = [0; HEADER_LEN];
            file.read_at(&mut header, 0)?;
            Ok((Header::decode(&header), file))
        });
        let facts = match opened {
            Ok((Ok(_), file)) => {
                let reader =
                    SegmentReader::new(file as Arc<dyn DiskFile>, HEADER_LEN as u64, bytes);
                if let Some(victim) = &mut self.victim {
                    victim.reader = Some(reader);
                }
                Vec::new()
            }
            Ok((Err(_), _)) | Err(_) => {
                tracing::error!(
                    segment = number,
                    "a binlog segment cannot be read; writing what was in it from memory"
                );
                vec![Fact::All(number, Cursor::default())]
            }
        };
        Step::Again(facts)
    }
}

/// Reads on a little, about as far as `end`; `None` if there is damage.
fn scan(reader: &mut SegmentReader, end: u64, number: u64, last: u64) -> Option<Vec<Fact>> {
    let mut facts = Vec::new();
    while facts.len() < STEP_FACTS && reader.offset() < end {
        match reader.next() {
            Ok(Found::Entry(Entry::Fact(record))) => {
                let Some(fact) = Fact::of(&record, number, last) else { continue };
                // There are not so many that looking at them all took long.
                if !facts.contains(&fact) {
                    facts.push(fact);
                }
            }
            Ok(Found::Entry(Entry::LargePut(job, _))) => {
                let fact = Fact::Old(job.now.id, number, last);
                if !facts.contains(&fact) {
                    facts.push(fact);
                }
            }
            Ok(Found::Entry(Entry::Mark(_))) => {}
            Ok(Found::End) => break,
            Ok(Found::Nothing | Found::Damage(_)) | Err(_) => return None,
        }
    }
    Some(facts)
}
