//! Storing large bodies in files of their own, at a pace that does not disturb commits.
//!
//! Each piece of a body is on its way to the disk before the next is written, so there is never much
//! that a commit could have to wait for. Several bodies take turns, so that a short one does not wait
//! for all of a long one.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use beanstalk_protocol::JobId;
use crc32c::crc32c_append;
use tracing::{info, warn};

use crate::descriptors;
use crate::log::binlog::disk::DiskFile;
use crate::log::binlog::driver::{BinlogDriver, Turn};
use crate::log::binlog::format::StoredBody;
use crate::log::binlog::{Binlog, body_name, lock, stored};
use crate::log::{Bell, Order};

/// Bytes written in one turn, and the most that is on its way to the disk at a time.
const PIECE: usize = 256 * 1024;

/// Bodies that take turns. Others wait until one of these is stored.
const MOST: usize = 4;

/// Where connections leave the bodies that are to be stored.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    orders: Mutex<VecDeque<Order>>,
    pub(crate) bell: Bell,
    /// The last one could not be stored, which was logged.
    is_failing: AtomicBool,
}

/// The state of the stager between its turns.
#[derive(Debug, Default)]
pub struct Stager {
    bodies: VecDeque<Storing>,
    /// The job whose body is being removed.
    removing: Option<JobId>,
}

/// A body that is being stored.
#[derive(Debug)]
struct Storing {
    order: Order,
    progress: Written,
}

/// How far a body is written to its file.
#[derive(Debug)]
struct Written {
    file: Arc<dyn DiskFile>,
    bytes: usize,
    crc: u32,
}

impl Desk {
    pub(crate) fn leave(&self, order: Order) {
        lock(&self.orders).push_back(order);
        self.bell.ring();
    }
}

impl Stager {
    /// Whether it has work in progress.
    pub fn is_busy(&self) -> bool {
        !self.bodies.is_empty() || self.removing.is_some()
    }
}

impl Written {
    fn nothing(file: Arc<dyn DiskFile>) -> Self {
        Self { file, bytes: 0, crc: 0 }
    }

    /// Writes a piece more. Returns whether all is written, and synced if `syncs`.
    fn go_on(&mut self, body: &[u8], syncs: bool) -> io::Result<bool> {
        let piece = &body[self.bytes..body.len().min(self.bytes + PIECE)];
        self.crc = crc32c_append(self.crc, piece);
        self.file.write_at(piece, self.bytes as u64)?;
        self.bytes += piece.len();
        let is_whole = self.bytes == body.len();
        if is_whole && syncs {
            self.file.sync()?;
        } else {
            self.file.write_out((self.bytes - piece.len()) as u64, piece.len() as u64)?;
        }
        Ok(is_whole)
    }

    /// What a record says of a body of which all is written.
    fn body(&self) -> StoredBody {
        // A body has at most a gigabyte.
        StoredBody { len: self.bytes as u32, crc: self.crc }
    }
}

impl Binlog {
    /// Makes the file for a body, with room for all of it.
    fn create_body(&self, job: JobId, len: usize) -> io::Result<Written> {
        let file = self.disk.create_if_free(&body_name(job))?;
        match file.allocate(0, len as u64) {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => {
                stored::remove(&*self.disk, job);
                Err(error)
            }
            _ => Ok(Written::nothing(file)),
        }
    }

    /// Stores the body of a job that is recorded next, if it is large, and waits for that.
    pub(crate) fn store_if_large(&self, job: JobId, body: &[u8]) -> io::Result<()> {
        if body.len() < self.options.store_from {
            return Ok(());
        }
        let mut written = self.create_body(job, body.len())?;
        while !written.go_on(body, true)? {}
        self.disk.sync()?;
        self.body_is_stored(job, written.body());
        Ok(())
    }
}

impl BinlogDriver {
    /// A turn of the stager: removes a part of a body that nobody needs, and stores a piece of another.
    pub fn stage_some(&self, stager: &mut Stager) -> Turn {
        let removes = self.remove_some(stager);
        if stager.bodies.len() < MOST {
            // Not while the lock is held: a file is made.
            let order = lock(&self.desk().orders).pop_front();
            if let Some(order) = order {
                self.begin(order, stager);
                return Turn::Again;
            }
        }
        let Some(mut body) = stager.bodies.pop_front() else {
            return if removes { Turn::Again } else { Turn::Wait(None) };
        };
        if body.order.is_forgotten() {
            stored::remove(&*self.binlog().disk, body.order.job());
            return Turn::Again;
        }
        let syncs = self.binlog().policy().syncs();
        match body.progress.go_on(body.order.body(), syncs) {
            Ok(false) => stager.bodies.push_back(body),
            Ok(true) => self.finish(body, syncs),
            Err(error) => self.refuse(&body.order, &error),
        }
        Turn::Again
    }

    /// Removes a part of a body that nobody needs. Returns whether there was one.
    fn remove_some(&self, stager: &mut Stager) -> bool {
        let next = stager.removing.take().or_else(|| self.binlog().next_unneeded_body());
        let Some(job) = next else { return false };
        // If it cannot be shortened, it is removed at once.
        if self.binlog().disk.shorten(&body_name(job)).unwrap_or(false) {
            stager.removing = Some(job);
        } else {
            stored::remove(&*self.binlog().disk, job);
        }
        true
    }

    fn begin(&self, order: Order, stager: &mut Stager) {
        if order.is_forgotten() {
            return;
        }
        match self.binlog().create_body(order.job(), order.body().len()) {
            Ok(progress) => stager.bodies.push_back(Storing { order, progress }),
            // It goes to the segment with all others.
            Err(error) if descriptors::are_missing(&error) => drop(order.give_back()),
            Err(error) => self.refused(&order, &error),
        }
    }

    /// All of it is written: from here on, the put may be carried out.
    fn finish(&self, body: Storing, syncs: bool) {
        let Storing { order, progress } = body;
        if syncs && let Err(error) = self.binlog().disk.sync() {
            return self.refuse(&order, &error);
        }
        let job = order.job();
        self.binlog().body_is_stored(job, progress.body());
        if !order.give_back() {
            self.binlog().put_ended(job);
        }
        if self.desk().is_failing.swap(false, Ordering::Relaxed) {
            info!("large jobs can be stored again");
        }
    }

    fn refuse(&self, order: &Order, error: &io::Error) {
        stored::remove(&*self.binlog().disk, order.job());
        self.refused(order, error);
    }

    fn refused(&self, order: &Order, error: &io::Error) {
        if !self.desk().is_failing.swap(true, Ordering::Relaxed) {
            let bytes = order.body().len();
            warn!(%error, bytes, "cannot store a large job: such jobs are refused until that works");
        }
    }
}
